"""Heads on vectors: everybody gets the same rows, and packages looked at once stay apart."""

import json

import common
import numpy as np
import pytest
from evidence import harness, vectors
from sklearn.dummy import DummyClassifier


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(vectors, "ROWS_A_CLASS", (1, 75))
    heads = {"ours": lambda k: DummyClassifier(), "later": lambda k: DummyClassifier()}
    monkeypatch.setattr(vectors, "CLASSIFIERS", heads)
    monkeypatch.setattr(vectors, "NEEDS_MORE", ("later",))
    raw = "the vectors as they are"
    monkeypatch.setattr(vectors, "EMBEDDERS", {raw: vectors.EMBEDDERS[raw]})
    rng = np.random.default_rng(0)
    y = np.repeat([f"package {i:02}" for i in range(17)], 80)
    X = rng.standard_normal((len(y), 8)).astype(np.float16)
    np.savez(tmp_path / vectors.FILE, X=X, y=y)
    return harness.Lab(tmp_path, None, jobs=1, quick=True)


def test_both_groups_are_measured_and_published(lab, tmp_path):
    vectors.ask(lab)
    found = json.loads((tmp_path / "evidence_vectors_quick.json").read_text())["results"]
    assert list(found) == list(vectors.SEEN)
    for group, n_classes in zip(found.values(), (11, 6), strict=True):
        ours, later = (group["heads"][name] for name in ("ours", "later"))
        assert list(ours) == ["1", "75"]
        assert list(later) == ["75"]
        assert ours["1"]["log-loss"] == pytest.approx([np.log(n_classes)] * 2)
        raw = group["search"]["the vectors as they are"]
        assert 0 < np.mean(raw["MAP@R"]) < 0.3
    assert "Few rows a class" in (tmp_path / "evidence_vectors_quick.md").read_text()
