"""Verification: who chooses the threshold on which rows, and what it does to the others."""

import json

import common
import numpy as np
import pytest
from evidence import harness, verification
from sklearn.preprocessing import FunctionTransformer

ALPHABETS = (*verification.TRAIN, *verification.HELD_OUT, "Greek", "Tagalog")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """Seven alphabets of four characters of twenty drawings, each near its character's."""
    rng = np.random.default_rng(0)
    y = np.arange(28).repeat(20)
    X = rng.normal(size=(28, 10))[y] + 0.8 * rng.normal(size=(560, 10))
    arrays = {"X": X, "y": y, "alphabet": y // 4, "alphabet_names": np.array(ALPHABETS)}
    np.savez(tmp_path / "omniglot.npz", **arrays)
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    monkeypatch.setattr(verification, "N_TEST", 6)
    monkeypatch.setattr(verification, "N_HELD_OUT", 6)
    return tmp_path


@pytest.mark.parametrize("split", [verification.at_random, verification.by_alphabets])
def test_no_class_is_tested_that_chose_a_threshold(folder, split):
    with np.load(folder / "omniglot.npz") as file:
        y, alphabets = file["y"], file["alphabet_names"][file["alphabet"]]
    held_out, test = split(alphabets, y, 1)
    known = ~(held_out | test)
    sides = [set(y[rows]) for rows in (held_out, test, known)]
    assert all(sides)
    assert sum(map(len, sides)) == 28
    new = verification._drawn(y, 1)
    assert (np.bincount(y[new]) == verification.NEW_ROWS).all()


def test_every_source_and_rate_is_reported(folder, monkeypatch):
    drawn = FunctionTransformer(lambda X: X / np.linalg.norm(X, axis=1, keepdims=True))
    cases = {
        name: (split, lambda epochs, seed: drawn) for name, (split, _) in verification.CASES.items()
    }
    monkeypatch.setattr(verification, "CASES", cases)
    monkeypatch.setattr(verification, "RATES", (1e-1, 1e-2))
    verification.ask(harness.Lab(folder, None, jobs=1, quick=True))
    found = json.loads((folder / "evidence_verification_quick.json").read_text())["results"]
    for of_case in found.values():
        for rate, by_source in of_case.items():
            assert set(by_source) == set(verification.SOURCES)
            oracle = by_source[verification.ORACLE]
            assert 0 < oracle["FAR"]["mean"] <= float(rate)
            assert oracle["FAR"]["mean"] < oracle["TAR"]["mean"] < 1
    text = (folder / "evidence_verification_quick.md").read_text()
    assert text.count("| classes held out |") == 3 * 2
