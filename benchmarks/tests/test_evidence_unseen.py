"""Unseen classes: what is best on the held-out alphabets is what searches the test ones."""

import json

import common
import pytest
from evidence import harness

pytest.importorskip("pytorch_metric_learning")
from evidence import unseen


def pretended(folder, change, train, search, seed):
    """Favour momentum."""
    assert not set(train) & set(search)
    score = 0.5 + 0.1 * change.get("proxies__momentum", 0.0) + 0.001 * seed**2
    return [score, score / 2 + 0.003 * seed * len(change)]


def test_every_change_is_tested_beside_the_start(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(unseen, "trial", pretended)
    (tmp_path / "omniglot.npz").touch()
    unseen.ask(harness.Lab(tmp_path, None, jobs=1, quick=True))
    found = json.loads((tmp_path / "evidence_unseen_quick.json").read_text())["results"]
    assert list(found) == list(unseen.CHANGES)
    assert found["proxies with momentum 0.97"]["Recall@1"] == pytest.approx([0.597, 0.598])
    assert "(0.0970 ± 0.0000, p" in (tmp_path / "evidence_unseen_quick.md").read_text()


def test_every_change_is_one_of_the_estimator():
    for change in unseen.CHANGES.values():
        model = unseen.start(0).set_params(**change)
        assert model.get_params()["uniformity__repulsion"] == 1.0
