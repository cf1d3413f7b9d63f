"""Retrieval metrics against naive loops and a peer library."""

import numpy as np
import pytest
import torch

from skhug import metrics
from skhug.metrics import (
    mean_average_precision_at_r,
    mean_reciprocal_rank,
    precision_at_k,
    r_precision,
    recall_at_k,
)


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 5)), rng.integers(8, size=60)


def naive(points, labels, gallery=None, gallery_labels=None, k=3, metric="cosine"):
    """Every metric, query by query over fully sorted neighbours."""
    themselves = gallery is None
    if themselves:
        gallery, gallery_labels = points, labels
    if metric == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
        gallery = gallery / np.linalg.norm(gallery, axis=1, keepdims=True)
    rows = []
    for i in range(len(points)):
        order = np.argsort(np.linalg.norm(gallery - points[i], axis=1), kind="stable")
        hits = [gallery_labels[j] == labels[i] for j in order if not (themselves and j == i)]
        r = sum(hits)
        if r:
            precisions = [sum(hits[: j + 1]) / (j + 1) for j in range(r)]
            average = sum(p for p, hit in zip(precisions, hits, strict=False) if hit) / r
            first = 1 / (1 + hits.index(True))
            rows.append([any(hits[:k]), sum(hits[:k]) / k, sum(hits[:r]) / r, average, first])
    return np.mean(rows, axis=0)


def ours(*args, k=3, **kwargs):
    return [
        recall_at_k(*args, k=k, **kwargs),
        precision_at_k(*args, k=k, **kwargs),
        r_precision(*args, **kwargs),
        mean_average_precision_at_r(*args, **kwargs),
        mean_reciprocal_rank(*args, **kwargs),
    ]


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 59])
def test_metrics_equal_naive_loops(points, metric, k):
    np.testing.assert_allclose(
        ours(*points, k=k, metric=metric), naive(*points, k=k, metric=metric)
    )


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_metrics_of_a_gallery_equal_naive_loops(points, metric):
    X, y = points
    gallery = {"gallery": X[:25], "gallery_labels": y[:25], "metric": metric}
    np.testing.assert_allclose(ours(X[25:], y[25:], **gallery), naive(X[25:], y[25:], **gallery))


def test_metrics_equal_the_peers(points):
    peer = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    rng = np.random.default_rng(1)
    X, y = (
        torch.from_numpy(rng.normal(size=(300, 16))),
        torch.from_numpy(rng.integers(20, size=300)),
    )
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_reciprocal_rank")
    calculator = peer.AccuracyCalculator(
        include=names,
        k=299,
        device=torch.device("cpu"),
        knn_func=inference.CustomKNN(distances.LpDistance(normalize_embeddings=True)),
    )
    expected = calculator.get_accuracy(X, y)
    got = [recall_at_k(X, y), *ours(X, y)[2:]]
    np.testing.assert_allclose(got, [expected[name] for name in names], atol=1e-6)


def test_blocks_change_nothing(points, monkeypatch):
    whole = ours(*points)
    monkeypatch.setattr(metrics, "_BLOCK_ELEMENTS", 7 * len(points[0]))
    np.testing.assert_allclose(ours(*points), whole)


@pytest.mark.parametrize("convert", [lambda y: y.astype(str), lambda y: y * 1000 - 3, torch.tensor])
def test_labels_of_any_type_count_alike(points, convert):
    X, y = points
    assert ours(X, convert(y)) == ours(X, y)


def test_tensors_and_single_precision_arrays_are_taken(points):
    X, y = points
    np.testing.assert_allclose(ours(torch.from_numpy(X), y), ours(X, y))
    np.testing.assert_allclose(ours(X.astype(np.float32), y), ours(X, y), rtol=1e-6)


def test_queries_without_another_of_their_class_are_left_out(points):
    X, y = points
    lonely_X, lonely_y = np.vstack([X, X[:1] + 5]), np.append(y, 99)
    np.testing.assert_allclose(ours(lonely_X, lonely_y), naive(lonely_X, lonely_y))
    with pytest.raises(ValueError, match="No query has another of its class"):
        recall_at_k(X[:3], [0, 1, 2])


def test_integer_weights_equal_repeated_queries(points):
    X, y = points
    weight = np.arange(30) % 3
    gallery = {"gallery": X[30:], "gallery_labels": y[30:]}
    weighted = ours(X[:30], y[:30], **gallery, sample_weight=weight)
    repeated = ours(X[:30].repeat(weight, 0), y[:30].repeat(weight), **gallery)
    np.testing.assert_allclose(weighted, repeated)


def test_ties_do_not_count_as_nearer():
    X = np.array([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    assert mean_reciprocal_rank(X, ["a", "a", "b", "b"]) == pytest.approx((1 + 1 + 1 / 3 + 1) / 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 60}, "pass 1 to 59"),
        ({"k": 0}, "pass 1 to 59"),
        ({"metric": "l1"}, "'cosine' or 'euclidean'"),
        ({"gallery": np.ones((3, 5))}, "Pass both"),
        ({"gallery": np.ones((3, 4)), "gallery_labels": [0, 1, 2]}, "same model"),
    ],
)
def test_wrong_input_is_explained(points, arguments, message):
    with pytest.raises(ValueError, match=message):
        recall_at_k(*points, **arguments)
    with pytest.raises(ValueError, match="one label for each of 60 rows"):
        recall_at_k(points[0], points[1][:-1])
    with pytest.raises(ValueError, match="NaN or infinite"):
        recall_at_k(points[0] * np.nan, points[1])
