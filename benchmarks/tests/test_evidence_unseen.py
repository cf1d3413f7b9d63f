"""Unseen classes: what is best on the held-out alphabets is what searches the test ones."""

import json

import common
import pytest
from evidence import harness

pytest.importorskip("pytorch_metric_learning")
from evidence import unseen


def pretended(folder, change, train, search, seed):
    """Favour softness, and more so on the alphabets held out."""
    assert not set(train) & set(search)
    score = 0.5 + 0.1 * change.get("encoder__softness", 0.0) + 0.001 * seed
    return [score, score / 2]


def test_the_best_trial_and_the_start_are_tested(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(unseen, "trial", pretended)
    few = {name: unseen.TRIALS[name] for name in (unseen.START, "s_within -1", "softness 1")}
    monkeypatch.setattr(unseen, "TRIALS", few)
    (tmp_path / "omniglot.npz").touch()
    unseen.ask(harness.Lab(tmp_path, None, jobs=1, quick=True))
    found = json.loads((tmp_path / "evidence_unseen_quick.json").read_text())["results"]
    assert list(found["held out"]) == list(few)
    assert list(found["test"]) == [unseen.START, "softness 1"]
    assert found["test"]["softness 1"]["Recall@1"] == pytest.approx([0.6, 0.601])


def test_every_change_is_one_of_the_estimator():
    for change in unseen.TRIALS.values():
        model = unseen.start(0).set_params(**change)
        assert model.get_params()["uniformity__repulsion"] == 1.0
