"""Each question of the evidence runs from the data to its report, here on scikit-learn's digits."""

import importlib
import json
from pathlib import Path

import common
import numpy as np
import pytest
from evidence import choices, data, generalisation, harness, longtail, noise, own_class
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
    task = longtail.QUICK[0].task._replace(rows=600)  # and 600 to choose settings on
    form = longtail.QUICK[0]._replace(task=task, budget=budget, trials=1)
    monkeypatch.setattr(longtail, "QUICK", [form])
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


def test_a_tails_settings_are_chosen_on_rows_that_it_leaves_out(lab, tmp_path):
    task = data.Task("mnist", 600, ("long tail", 100))
    test, chosen_on = data.load(tmp_path, task), data.load(tmp_path, task, 0.2)
    np.testing.assert_array_equal(chosen_on.X, test.X)  # what is trained on is the same
    counts = np.bincount(chosen_on.y_test)
    assert (counts == counts[0]).all()
    trained_on = {row.tobytes() for row in chosen_on.X}
    assert not any(row.tobytes() in trained_on for row in chosen_on.X_test)
    with pytest.raises(ValueError, match="uses all rows of a class"):
        data._alike(np.arange(6) % 3, np.array([0, 3]))


def test_own_class_reports_accuracy_and_log_loss(lab, tmp_path, monkeypatch):
    task = own_class.QUICK.task._replace(rows=300)
    monkeypatch.setattr(own_class, "QUICK", own_class.QUICK._replace(task=task, budget=TINY))
    monkeypatch.setattr(own_class, "QUICK", own_class.QUICK._replace(trials=1, seeds=(0,)))
    own_class.ask(lab)
    text, figures = results(tmp_path, "own_class")
    assert set(figures) == {*own_class.CONTENDERS, "validation"}
    assert "| contender | accuracy | log-loss | beside NTCE |" in text


def test_recall_by_class_averages_over_the_classes():
    class Zeros:
        def predict_proba(self, X):
            return np.tile([0.5, 0.1, 0.1, 0.1, 0.1, 0.1], (len(X), 1))

    y = np.array([0] * 10 + [1, 2, 3, 4, 5])
    split = longtail.Split(None, None, np.zeros((15, 1)), y, 6)
    assert longtail.by_class(Zeros(), split) == {
        "balanced accuracy": pytest.approx(1 / 6),
        "head": pytest.approx(1 / 3),
        "tail": 0.0,
        "log-loss": pytest.approx(-(10 * np.log(0.5) + 5 * np.log(0.1)) / 15),
    }


def test_the_command_knows_every_question():
    questions = importlib.import_module("evidence.__main__").QUESTIONS

    folder = Path(harness.__file__).parent
    asked = {path.stem for path in folder.glob("*.py") if "\ndef ask(" in path.read_text()}
    assert set(questions) == asked
