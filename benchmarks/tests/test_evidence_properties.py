"""The questions about HUG's properties run from the data to their reports, here on digits."""

import json

import common
import numpy as np
import pytest
import torch
from evidence import (
    calibration,
    decoupling,
    dimensions,
    geometry,
    harness,
    incremental,
    robustness,
)
from evidence.data import Split, Task, drawn
from evidence.models import Budget

from skhug import MLP

TINY = Budget(MLP(16, members=1), n_components=9, epochs=2)


@pytest.fixture
def lab(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return harness.Lab(None, None, jobs=1, quick=True, figures=tmp_path / "figures")


def results(folder, question):
    text = (folder / f"evidence_{question}_quick.md").read_text()
    return text, json.loads((folder / f"evidence_{question}_quick.json").read_text())["results"]


@pytest.mark.slow
def test_robustness_reports_every_attack_and_the_worst(lab, tmp_path, monkeypatch):
    form = robustness.QUICK._replace(task=Task("digits"), budget=TINY._replace(epochs=20))
    monkeypatch.setattr(robustness, "QUICK", form)
    monkeypatch.setattr(robustness, "RADIUS", 1.0)  # digits' pixels go up to 16
    robustness.ask(lab)
    text, figures = results(tmp_path, "robustness")
    assert "| contender | worst | clean | FGSM |" in text
    for name in form.contenders:
        measured = {k: v["mean"] for k, v in figures[name].items() if k != "setting"}
        single = [v for k, v in measured.items() if k in ("FGSM", "squares") or "PGD" in k]
        assert measured["worst"] <= min(single) < measured["clean"]


def test_dimensions_reports_each_dimension(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(dimensions, "QUICK", [dimensions.QUICK[0]._replace(budget=TINY, trials=1)])
    dimensions.ask(lab)
    text, figures = results(tmp_path, "dimensions")
    assert set(figures["digits"]) == {"9", "2"}
    assert text.count("| contender | d = 9 | d = 2 |") == 2


def test_geometry_reports_the_last_epoch_and_when_it_was_near(lab, tmp_path, monkeypatch):
    few = {n: geometry.CONTENDERS[n] for n in ("cross-entropy", "HUG mhe -2")}
    monkeypatch.setattr(geometry, "CONTENDERS", few)
    monkeypatch.setattr(geometry, "QUICK", geometry.QUICK._replace(budget=TINY))
    geometry.ask(lab)
    text, figures = results(tmp_path, "geometry")
    assert figures["9"]["HUG mhe -2"]["energy"]["mean"] >= 1
    assert figures["9"]["cross-entropy"]["epochs to within"]["mean"] is None
    assert "| - |" in text


@pytest.mark.parametrize("d", [9, 4])
def test_energy_of_a_best_arrangement_is_one(d):
    z = geometry.optimal_proxies(10, d).float()
    near = geometry.near_collapse(z.repeat(3, 1).numpy(), np.tile(np.arange(10), 3))
    assert near["energy"] == pytest.approx(1, rel=1e-4)
    assert near["within"] == pytest.approx(0, abs=1e-6)


def test_first_epoch_counts_from_one():
    assert geometry._first(np.array([False, True, False])) == 2
    assert np.isnan(geometry._first(np.array([False])))


def test_a_path_has_an_epoch_each_for_ours_and_for_peers():
    split = harness.load(None, Task("digits"))
    setting = {"learning_rate": 1e-3, "weight_decay": 0.0}
    for name, own in (("cross-entropy", setting), ("HUG mhe -2", {})):
        model = geometry.CONTENDERS[name].train(TINY, split.X, split.y, 0, 10, **own)
        assert len(model.path) == TINY.epochs


def test_decoupling_reports_the_grid_and_draws_it(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(decoupling, "QUICK", decoupling.QUICK._replace(budget=TINY))
    decoupling.ask(lab)
    _, figures = results(tmp_path, "decoupling")
    form = decoupling.QUICK
    assert len(figures) == len(form.alphas) * len(form.betas)
    assert all(0 < f["HUG"]["between"]["mean"] < 2 for f in figures.values())
    assert (tmp_path / "figures" / "evidence_decoupling.png").stat().st_size > 1000


def test_calibration_reports_models_and_maps(lab, tmp_path, monkeypatch):
    form = calibration.QUICK[0]._replace(budget=TINY)
    monkeypatch.setattr(calibration, "QUICK", [form])
    calibration.ask(lab)
    text, figures = results(tmp_path, "calibration")
    assert set(calibration.MAPS) < set(figures["maps"]["HUG"])
    assert "HUG, defaults" in figures["digits"]
    assert "over cross-entropy's" in text


def test_flexible_map_follows_any_falling_function():
    d2 = 4 * torch.rand(4000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    truth = (-(d2.sqrt()) * 3).softmax(1)
    y = torch.multinomial(truth, 1, generator=torch.Generator().manual_seed(1))[:, 0]
    half = torch.arange(4000) % 2 == 0
    best = -truth[~half].gather(1, y[~half, None]).log().mean().item()
    f, start = calibration.MAPS["falling, piecewise linear in log d"]
    assert calibration._held_out(f, start(3), d2, y, half) < best + 0.01


def test_pieces_add_up_to_the_logarithm_above_the_first_knot():
    d2 = torch.tensor([[0.01, 0.5, 3.9]], dtype=torch.float64)
    total = calibration._pieces(d2).sum(2)
    torch.testing.assert_close(total, (d2 + 1e-3).log() - calibration.KNOTS[0])


@pytest.mark.slow
def test_incremental_reports_each_replay(lab, tmp_path, monkeypatch):
    monkeypatch.setattr(incremental, "QUICK", incremental.QUICK._replace(budget=TINY))
    incremental.ask(lab)
    text, figures = results(tmp_path, "incremental")
    assert set(figures) == {"0", "10"}
    assert text.count("### ") == 2


def test_a_step_brings_its_classes_and_what_was_kept():
    y = np.repeat(np.arange(6), 10)
    arrived = list(incremental.steps(y, 6, 3, seed=0))
    assert [np.bincount(y[rows], minlength=6).tolist() for rows in arrived] == [
        [10, 10, 0, 0, 0, 0],
        [3, 3, 10, 10, 0, 0],
        [3, 3, 3, 3, 10, 10],
    ]


def test_a_draw_of_test_rows_has_every_class_though_they_lie_sorted():
    y = np.repeat(np.arange(10), 100)
    X, labels = drawn(Split(None, None, y[:, None], y, 10), 200)
    assert len(labels) == 200
    assert set(labels) == set(range(10))
    assert np.array_equal(X[:, 0], labels)


def test_class_means_weigh_a_rare_class_as_a_common_one():
    outputs = torch.tensor([[2.0, 0.0]] * 4 + [[1.0, 0.5]], requires_grad=True)
    y = torch.tensor([0, 0, 0, 0, 1])
    each = torch.nn.functional.cross_entropy(outputs, y, reduction="none")
    loss = incremental.ClassMeans(2, 2, None)(outputs, y)
    torch.testing.assert_close(loss, (each[0] + each[4]) / 2)


def test_remembering_is_measured_by_step():
    class First:
        def predict(self, X):
            return np.zeros(len(X), dtype=int)

    split = Split(None, None, np.zeros((4, 1)), np.array([0, 1, 2, 3]), 4)
    assert incremental.remembers(First(), split) == {"all": 0.25, "first two": 0.5, "last two": 0}
