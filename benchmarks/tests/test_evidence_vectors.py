"""Heads on vectors: everybody gets the same rows, and what is searched was never trained on."""

import json

import common
import numpy as np
import pytest
from evidence import backbones, harness, vector_sets, vectors
from sklearn.dummy import DummyClassifier


@pytest.fixture
def lab(tmp_path, monkeypatch):
    for module in (common, harness):
        monkeypatch.setattr(module, "RESULTS", tmp_path)
    rng = np.random.default_rng(0)
    y = np.repeat([f"package {i:02}" for i in range(17)], 122)
    X = rng.standard_normal((len(y), 8)).astype(np.float16)
    np.savez(tmp_path / vector_sets.FILE, X=X, y=y)
    y = np.repeat(np.arange(20), 18)
    X = rng.integers(0, 256, (len(y), 28, 28), dtype=np.uint8)
    np.savez(tmp_path / "omniglot.npz", X=X, y=y)
    y = np.repeat(np.arange(10), 6)
    X = rng.integers(0, 256, (len(y), 32, 32, 3), dtype=np.uint8)
    np.savez(tmp_path / "cifar10.npz", X_train=X, y_train=y, X_test=X[::2], y_test=y[::2])
    monkeypatch.setattr(backbones, "CHARACTERS", 10)
    monkeypatch.setattr(backbones, "EPOCHS", {"omniglot": 1, "cifar": 1})
    return harness.Lab(tmp_path, None, jobs=1, quick=True)


def test_all_sets_are_measured_and_published(lab, tmp_path, monkeypatch):
    heads = {"ours": lambda k: DummyClassifier(), "later": lambda k: DummyClassifier()}
    monkeypatch.setattr(vectors, "CLASSIFIERS", heads)
    monkeypatch.setattr(vectors, "NEEDS_MORE", ("later",))
    monkeypatch.setattr(vectors, "EMBEDDERS", {vectors.RAW: vectors.EMBEDDERS[vectors.RAW]})
    vectors.ask(lab)
    found = json.loads((tmp_path / "evidence_vectors_quick.json").read_text())["results"]
    assert list(found) == list(vector_sets.SETS)
    for part, n_classes in zip(found.values(), (11, 6, 5, 6), strict=True):
        ours, later = (part["heads"][name] for name in ("ours", "later"))
        assert "1" in ours
        assert "1" not in later
        assert ours["1"]["log-loss"] == pytest.approx([np.log(n_classes)] * 2)
        assert ours["1"]["AUC"] == [0.5, 0.5]
        assert 0 <= np.mean(part["search"][vectors.RAW]["MAP@R"]) < 0.5
    assert "Few rows a class" in (tmp_path / "evidence_vectors_quick.md").read_text()


@pytest.mark.parametrize("name", vector_sets.SETS)
def test_search_is_of_classes_that_no_head_learned(lab, name):
    part = vector_sets.SETS[name].search(lab, 0)
    assert not set(part.y) & set(part.y_new)
    few = vector_sets.SETS[name].few(lab, 0, 2)
    assert set(np.bincount(few.y)) <= {0, 2}
    assert set(few.y) == set(few.y_new)


def test_vectors_of_images_are_of_classes_that_the_network_did_not_learn(lab):
    X, y = backbones.omniglot(lab.folder, 3)
    assert X.shape == (180, backbones.WIDTH)
    assert np.allclose(np.linalg.norm(X, axis=1), 1, atol=1e-5)
    assert len(np.unique(y)) == 10
    learned = np.random.default_rng(3).permutation(20)[:10]
    assert not set(y) & set(learned)


def test_peers_start_from_the_closed_form_and_choose_how_far_to_go():
    pytest.importorskip("pytorch_metric_learning")
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(9), 8)
    X = rng.standard_normal((9, 32))[y] + rng.standard_normal((72, 32))
    X = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype("f4")
    make = lambda losses: losses.NCALoss(softmax_scale=10)  # noqa: E731
    move = vectors.trained_residual(X, y, make, 0)
    closed = vectors.EMBEDDERS["HUGEmbedder()"](X, y, X, 0)
    assert np.allclose(move(X, 0.0), closed, atol=1e-5)
    assert not np.allclose(move(X, 4.0), closed, atol=1e-3)
    assert vectors.residual(make)(X, y, X, 0).shape == X.shape
