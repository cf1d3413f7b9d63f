"""Each question of the evidence runs from the data to its report, here on scikit-learn's digits."""

import importlib
import json
from pathlib import Path

import common
import numpy as np
import pytest
from evidence import choices, generalisation, harness, longtail, noise
from evidence.models import Budget
from sklearn.datasets import load_digits

from skhug import MLP

TINY = Budget(MLP(16, members=1), n_components=9, epochs=2)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    X, y = load_digits(return_X_y=True)
    np.savez(
        tmp_path / "mnist.npz", X_train=X[:1200], y_train=y[:1200], X_test=X[1200:], y_test=y[1200:]
    )
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return harness.Lab(tmp_path, None, jobs=1, quick=True)


def results(folder, question):
    text = (folder / f"evidence_{question}_quick.md").read_text()
    return text, json.loads((folder / f"evidence_{question}_quick.json").read_text())["results"]


@pytest.mark.slow
def test_noise_reports_every_kind_and_share(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(noise, "QUICK", noise.QUICK._replace(budget=TINY))
    monkeypatch.setattr(noise, "QUICK_TABLES", noise.QUICK_TABLES._replace(budget=TINY))
    noise.ask(lab)
    text, figures = results(tmp_path, "noise")
    on_tables = figures.pop("tabular")
    assert set(on_tables["accuracy"]["wine"]) == set(noise.ON_TABLES)
    assert next(iter(figures)) == "40% symmetric"
    assert len(figures) == len(noise.CHANGES)
    assert all(set(cells) == set(noise.QUICK.contenders) for cells in figures.values())
    assert text.count("| HUG mhe -1 |") == 3  # two rows, and the header of the sets


@pytest.mark.slow
def test_longtail_reports_head_and_tail(lab, tmp_path, monkeypatch):
    budget = TINY._replace(epochs=40)  # enough to know the head
    monkeypatch.setattr(longtail, "QUICK", [longtail.QUICK[0]._replace(budget=budget, trials=1)])
    longtail.ask(lab)
    text, figures = results(tmp_path, "longtail")
    cells = figures["mnist"]["cross-entropy"]
    assert cells["head"]["mean"] > 0.5 > cells["tail"]["mean"]
    assert set(figures["mnist"]["validation"]) == set(longtail.CONTENDERS)
    assert "| contender | balanced accuracy | head | tail |" in text


def test_generalisation_reports_images_and_tables(lab, tmp_path, monkeypatch):
    names = ("cross-entropy", "HUG mhe -2", "RandomForest", "label smoothing")
    few = {name: generalisation.ON_TABLES[name] for name in names}
    monkeypatch.setattr(
        generalisation, "QUICK_MNIST", generalisation.QUICK_MNIST._replace(budget=TINY, trials=1)
    )
    monkeypatch.setattr(
        generalisation,
        "QUICK_TABLES",
        generalisation.QUICK_TABLES._replace(
            budget=TINY, names=("iris", "wine"), folds=(0,), contenders=few
        ),
    )
    generalisation.ask(lab)
    text, figures = results(tmp_path, "generalisation")
    assert set(figures["tabular"]["accuracy"]) == {"iris", "wine"}
    assert sum(figures["tabular"]["ranks"].values()) == pytest.approx(1 + 2 + 3 + 4)
    assert text.count("### ") == 3


@pytest.mark.slow
def test_choices_change_one_thing_and_report_every_set(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(choices, "TABULAR", {"iris": None, "wine": None})
    few = ("the defaults", "softness 100", "weight_decay 2")
    monkeypatch.setattr(choices, "CHOICES", {name: choices.CHOICES[name] for name in few})
    choices.ask(lab)
    text, figures = results(tmp_path, "choices")
    assert list(figures) == list(few)
    for name in few:
        beaten = [
            np.sign(figures[other][data] - figures[name][data])
            for data in ("iris", "wine")
            for other in few
        ]
        # Half a rank for every one that is better, half back for every one that is worse.
        rank = (1 + len(few)) / 2 + sum(beaten) / 4
        assert figures[name]["mean rank over them"] == pytest.approx(rank)
    # The default softness of so few features, by its name: the same fits.
    assert figures["the defaults"] == figures["softness 100"]
    assert "| changed | mean of the tabular sets |" in text


def test_torchs_initial_weights_are_weaker():
    ours, plain = (
        choices.MLP(members=1).build((64,), 2),
        choices.AsTorchStarts(members=1).build((64,), 2),
    )
    for layer in (0, 2):
        ratio = ours[layer].weight.var() / plain[layer].weight.var()
        assert ratio.item() == pytest.approx(6, rel=0.1)


def test_recall_by_class_averages_over_the_classes():
    class Zeros:
        def predict(self, X):
            return np.zeros(len(X), dtype=int)

    y = np.array([0] * 10 + [1, 2, 3, 4, 5])
    split = longtail.Split(None, None, np.zeros((15, 1)), y, 6)
    assert longtail.by_class(Zeros(), split) == {
        "balanced accuracy": pytest.approx(1 / 6),
        "head": pytest.approx(1 / 3),
        "tail": 0.0,
    }


def test_the_command_knows_every_question():
    questions = importlib.import_module("evidence.__main__").QUESTIONS

    folder = Path(harness.__file__).parent
    asked = {path.stem for path in folder.glob("*.py") if "\ndef ask(" in path.read_text()}
    assert set(questions) == asked
