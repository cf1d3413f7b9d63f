"""The question on nested components runs from the data to its report, on images of noise."""

import json

import common
import numpy as np
import pytest
from evidence import nested
from evidence.harness import Lab


@pytest.fixture
def lab(tmp_path, monkeypatch):
    names = [*nested.TRAIN, *nested.TEST]
    y = np.repeat(np.arange(2 * len(names)), 12)  # two characters an alphabet
    X = np.random.default_rng(0).integers(0, 256, (len(y), 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "omniglot.npz", X=X, y=y, alphabet=y // 2, alphabet_names=names)
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    return Lab(tmp_path, None, jobs=1, quick=True)


def test_nested_reports_every_way_in_every_dimension(lab, tmp_path):
    nested.ask(lab)
    results = json.loads((tmp_path / "evidence_nested_quick.json").read_text())["results"]
    for measure in nested.MEASURES:
        assert results[measure][nested.NESTED].keys() == {"64", "32", "16", "8"}
        assert results[measure][nested.TRAINED].keys() == {"64", "16"}
    assert "ratio" in (tmp_path / "evidence_nested_quick.md").read_text()
