"""Open set: unknown classes stay out of training, and every score is measured on the same rows."""

import json

import common
import numpy as np
import pytest
from evidence import harness, open_set


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(open_set, "CASES", {"digits": (open_set.digits, open_set.OTHERS, range(2))})
    return harness.Lab(None, None, jobs=1, quick=True)


def test_unknown_classes_stay_out_of_training():
    split = open_set.digits(None, 3)
    assert len(np.unique(split.y)) == 7
    assert set(split.y_known) == set(split.y)
    assert len(split.X) + len(split.X_known) + len(split.X_unknown) == 1797
    assert set(open_set.digits(None, 4).y) != set(split.y)


def test_every_model_is_measured_and_published(lab, tmp_path):
    open_set.ask(lab)
    found = json.loads((tmp_path / "evidence_open_set_quick.json").read_text())["results"]["digits"]
    assert set(found["MLPClassifier"]) == {"accuracy", "largest probability"}
    assert np.mean(found["no model"][open_set.YARDSTICK]) > 0.97
    text = (tmp_path / "evidence_open_set_quick.md").read_text()
    assert "| no model | nearest row, pixels |" in text
    assert text.count("| MLPClassifier |") == 1  # accuracy is no score


def test_scores_of_ours_are_of_every_row(tmp_path):
    split = open_set.digits(None, 0)
    few = split._replace(X_known=split.X_known[:30], y_known=split.y_known[:30])
    scores = open_set.by_perceptron(few, 0, hidden_layer_sizes=(16, 8), members=2)
    accuracy = scores.pop("accuracy")
    assert accuracy > 0.8
    assert {len(score) for score in scores.values()} == {30 + len(few.X_unknown)}
    assert np.ptp(scores["agreement of members"]) > 0
