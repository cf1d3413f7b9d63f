"""Retrieval metrics against naive loops and a peer library."""

import itertools
import math
import pickle
import re

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, ndcg_score

from skhug.metrics import (
    _blocks,
    _retrieval_measures,
    mean_average_precision_at_k,
    mean_average_precision_at_r,
    mean_reciprocal_rank,
    ndcg_at_k,
    precision_at_k,
    r_precision,
    recall_at_k,
    retrieval_report,
)
from skhug.metrics import _neighbours as _search


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    return rng.normal(size=(60, 5)), rng.integers(8, size=60)


def values_of(hits, r, k):
    """Every metric of one query, in the order of ``ours``."""
    precisions = [sum(hits[: j + 1]) / (j + 1) * hits[j] for j in range(len(hits))]
    discount = [1 / math.log2(j + 2) for j in range(len(hits))]
    gain = sum(d for d, hit in zip(discount[:k], hits, strict=False) if hit)
    return [
        any(hits[:k]),
        sum(hits[:k]) / k,
        sum(hits[:r]) / r,
        sum(precisions[:r]) / r,
        1 / (1 + hits.index(True)),
        sum(precisions[:k]) / min(r, k),
        gain / sum(discount[: min(r, k)]),
    ]


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
            rows.append(values_of(hits, r, k))
    return np.mean(rows, axis=0)


def ours(*args, k=3, **kwargs):
    return [
        recall_at_k(*args, k=k, **kwargs),
        precision_at_k(*args, k=k, **kwargs),
        r_precision(*args, **kwargs),
        mean_average_precision_at_r(*args, **kwargs),
        mean_reciprocal_rank(*args, **kwargs),
        mean_average_precision_at_k(*args, k=k, **kwargs),
        ndcg_at_k(*args, k=k, **kwargs),
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


def peers(X, y, *reference, metric, k=None):
    """The four metrics that pytorch-metric-learning has too."""
    peer = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    inference = pytest.importorskip("pytorch_metric_learning.utils.inference")
    distances = pytest.importorskip("pytorch_metric_learning.distances")
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_reciprocal_rank")
    calculator = peer.AccuracyCalculator(
        include=names,
        k=k,
        device=torch.device("cpu"),
        knn_func=inference.CustomKNN(
            distances.LpDistance(normalize_embeddings=metric == "cosine"), batch_size=64
        ),
    )
    scores = calculator.get_accuracy(X, y, *reference)
    return [scores[name] for name in names]


@pytest.fixture
def clustered():
    """Embeddings near their class's centre; classes 20 to 29 have one member each."""
    rng = np.random.default_rng(1)
    y = np.concatenate([rng.integers(20, size=290), np.arange(20, 30)])
    X = rng.normal(size=(30, 16))[y] + rng.normal(size=(300, 16))
    order = rng.permutation(300)
    return torch.from_numpy(X[order]), torch.from_numpy(y[order])


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_metrics_equal_the_peers_with_classes_of_one_member(clustered, metric):
    X, y = clustered
    got = [recall_at_k(X, y, metric=metric), *ours(X, y, metric=metric)[2:5]]
    np.testing.assert_allclose(got, peers(X, y, metric=metric), rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_metrics_of_a_gallery_equal_the_peers(clustered, metric):
    X, y = clustered  # some classes have no member in the gallery
    gallery = {"gallery": X[100:], "gallery_labels": y[100:], "metric": metric}
    got = [
        recall_at_k(X[:100], y[:100], **gallery),
        *ours(X[:100], y[:100], **gallery)[2:5],
    ]
    expected = peers(X[:100], y[:100], X[100:], y[100:], metric=metric)
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-6)


def test_metrics_equal_the_peers_with_faiss(clustered):
    pytest.importorskip("faiss")
    peer = pytest.importorskip("pytorch_metric_learning.utils.accuracy_calculator")
    X, y = clustered[0].float(), clustered[1]
    names = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_reciprocal_rank")
    calculator = peer.AccuracyCalculator(include=names, device=torch.device("cpu"))  # k=None
    expected = calculator.get_accuracy(X, y)
    got = [recall_at_k(X, y, metric="euclidean"), *ours(X, y, metric="euclidean")[2:5]]
    np.testing.assert_allclose(got, [expected[name] for name in names], rtol=0, atol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 3, 40])
def test_blocks_of_queries_and_of_the_gallery_change_nothing(points, metric, k, monkeypatch):
    X, y = points
    gallery = {"gallery": X[10:], "gallery_labels": y[10:]}
    whole = ours(X, y, k=k, metric=metric), ours(X[:10], y[:10], k=k, metric=metric, **gallery)
    monkeypatch.setattr(_search, "_CHUNK_ROWS", 7)
    monkeypatch.setattr(_search, "_BLOCK_ELEMENTS", {"cpu": 70})
    blocked = ours(X, y, k=k, metric=metric), ours(X[:10], y[:10], k=k, metric=metric, **gallery)
    np.testing.assert_allclose(blocked, whole)


def test_first_hits_beyond_the_search_are_counted(monkeypatch):
    rng = np.random.default_rng(2)
    X, y = rng.normal(size=(200, 4)), np.repeat(np.arange(100), 2)  # mostly far down the list
    expected = naive(X, y)[4]
    assert mean_reciprocal_rank(X, y) == pytest.approx(expected)
    monkeypatch.setattr(_search, "_CHUNK_ROWS", 13)
    assert mean_reciprocal_rank(X, y) == pytest.approx(expected)


def test_memory_does_not_grow_with_the_gallery(monkeypatch):
    sizes = []
    plain = _search.Search._similarity

    def recorded(self, *arguments):
        block = plain(self, *arguments)
        sizes.append(block.numel())
        return block

    monkeypatch.setattr(_search.Search, "_similarity", recorded)
    X = np.random.default_rng(3).normal(size=(70_000, 8))
    y = np.arange(70_000) // 2
    recall_at_k(X[:80], y[:80], k=5, gallery=X, gallery_labels=y)
    assert len(sizes) == 2 * 3
    recall_at_k(np.sign(X[:80]), y[:80], k=5, gallery=np.sign(X), gallery_labels=y)
    assert len(sizes) == 2 * 3 + 2 * 2 * 3  # ties are counted in a second pass
    assert max(sizes) <= _search._BLOCK_ELEMENTS["cpu"]


@pytest.mark.parametrize("k", [1, 20, 125, 400, 5000])
@pytest.mark.parametrize("n", [30, 1024, 5000, 5003])
def test_the_largest_are_those_of_topk(n, k):
    values = torch.randn(7, n, generator=torch.Generator().manual_seed(0))
    values[:, ::3] = -torch.inf
    found, columns = _blocks.largest(values, k)
    assert torch.equal(found, values.topk(min(k, n), 1).values)
    assert torch.equal(values.gather(1, columns), found)
    assert all(len(set(row)) == len(row) for row in columns.tolist())


@pytest.mark.parametrize("n_equal", [300, 1500])
def test_the_largest_of_many_equal_values_are_those_of_topk(n_equal):
    values = torch.rand(5, 1500, generator=torch.Generator().manual_seed(0))
    values[2, :n_equal] = 2.0
    found, columns = _blocks.largest(values, 10)
    assert torch.equal(found, values.topk(10, 1).values)
    assert torch.equal(values.gather(1, columns), found)
    assert all(len(set(row)) == len(row) for row in columns.tolist())


def test_euclidean_search_is_exact_far_from_the_origin(points):
    X, y = points
    far = (X + 1000).astype(np.float32)
    np.testing.assert_allclose(
        ours(far, y, metric="euclidean"), naive(far.astype(float), y, metric="euclidean")
    )


def test_a_report_holds_what_the_functions_return(points):
    report = retrieval_report(*points, k=(1, 3, 60))  # 60 are more than there are
    expected = ours(*points, k=3)
    assert list(report) == [
        "recall_at_1",
        "precision_at_1",
        "mean_average_precision_at_1",
        "ndcg_at_1",
        "recall_at_3",
        "precision_at_3",
        "mean_average_precision_at_3",
        "ndcg_at_3",
        "r_precision",
        "mean_average_precision_at_r",
        "mean_reciprocal_rank",
        "n_queries",
    ]
    got = list(report.values())[4:-1]
    np.testing.assert_allclose([*got[:2], *got[4:], *got[2:4]], expected, rtol=1e-6)
    assert report["recall_at_1"] == recall_at_k(*points)


def test_a_report_searches_once(points, monkeypatch):
    calls = []
    plain = _search.Search._find
    monkeypatch.setattr(_search.Search, "_find", lambda self, k: calls.append(k) or plain(self, k))
    retrieval_report(*points)
    assert len(calls) == 1


def test_a_report_shows_optima_and_survives_pickling():
    X = [[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.0, 1.1]]
    report = retrieval_report(X, ["a", "a", "b", "b"], k=3)
    assert report.optimum["precision_at_3"] == pytest.approx(1 / 3) == report["precision_at_3"]
    assert report.optimum["recall_at_3"] == 1
    again = pickle.loads(pickle.dumps(report))
    assert again == report
    assert again.optimum == report.optimum
    assert "precision_at_3                 0.3333    0.3333" in str(again)


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


def test_a_report_says_how_many_queries_counted(points):
    X, y = points
    lonely_X, lonely_y = np.vstack([X, X[:1] + 5]), np.append(y, 99)
    report = retrieval_report(lonely_X, lonely_y, sample_weight=np.arange(61) >= 10)
    assert report["n_queries"] == 50
    assert re.search(r"n_queries +50 +-", str(report))


def test_neighbours_may_be_asked_for_by_position(points):
    X, y = points
    assert recall_at_k(X, y, 5) == recall_at_k(X, y, k=5)
    assert precision_at_k(X, y, 5) == precision_at_k(X, y, k=5)
    assert retrieval_report(X, y, 5) == retrieval_report(X, y, k=5)


@pytest.mark.parametrize(
    "metric",
    [
        mean_average_precision_at_k,
        mean_average_precision_at_r,
        mean_reciprocal_rank,
        ndcg_at_k,
        precision_at_k,
        r_precision,
        recall_at_k,
        retrieval_report,
    ],
)
def test_a_search_among_rows_of_one_class_is_refused(points, metric):
    X, y = points
    with pytest.raises(ValueError, match=r"of one class.*at least 2 classes"):
        metric(X, np.ones(60))
    with pytest.raises(ValueError, match=r"of one class.*at least 2 classes"):
        metric(X, y, gallery=X[:4], gallery_labels=y[:1].repeat(4))
    metric(X, np.arange(60) == 0)  # the row of another class may be found wrongly


def test_a_gallery_of_other_classes_is_told_so(points):
    X, y = points
    with pytest.raises(
        ValueError, match=r"No class of the queries is in gallery_labels.*a gallery"
    ):
        recall_at_k(X, y, gallery=X, gallery_labels=y + 100)


def test_integer_weights_equal_repeated_queries(points):
    X, y = points
    weight = np.arange(30) % 3
    gallery = {"gallery": X[30:], "gallery_labels": y[30:]}
    weighted = ours(X[:30], y[:30], **gallery, sample_weight=weight)
    repeated = ours(X[:30].repeat(weight, 0), y[:30].repeat(weight), **gallery)
    np.testing.assert_allclose(weighted, repeated)


def over_all_orders(points, labels, k, metric):
    """Every metric as its mean over all orders of neighbours at equal distance."""
    if metric == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
    rows = []
    for i in range(len(points)):
        distance = np.linalg.norm(points - points[i], axis=1).round(9)
        others = [j for j in range(len(points)) if j != i]
        hits = {d: [labels[j] == labels[i] for j in others if distance[j] == d] for d in distance}
        groups = [itertools.permutations(hits[d]) for d in sorted(hits)]
        r = sum(map(sum, hits.values()))
        values = []
        for order in itertools.product(*map(list, groups)) if r else ():
            found = list(itertools.chain(*order))
            values.append(values_of(found, r, k))
        rows += [np.mean(values, axis=0)] if r else []
    return np.mean(rows, axis=0)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("chunk", [None, 2])
def test_metrics_are_means_over_all_orders_of_ties(metric, k, chunk, monkeypatch):
    monkeypatch.setattr(_search, "_BEYOND", 2)
    if chunk:
        monkeypatch.setattr(_search, "_CHUNK_ROWS", chunk)
        monkeypatch.setattr(_retrieval_measures, "_FIRST_HIT_DEPTH", 1)
    rng = np.random.default_rng(k)
    for bits in (1, 2, 3):
        # 0.1 and its sums are no binary fractions: rounding parts equal distances
        X = 0.1 * rng.choice([-1, 1], size=(8, bits, 1)).repeat(3, 2).reshape(8, -1)
        y = rng.integers(3, size=8)
        expected = over_all_orders(X, y, k, metric)
        np.testing.assert_allclose(ours(X, y, k=k, metric=metric), expected, rtol=1e-6)
        got = ours(X.astype(np.float32), y, k=k, metric=metric)
        np.testing.assert_allclose(got, expected, rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
@pytest.mark.parametrize("value", [0.0, 0.1])
def test_embeddings_that_are_all_alike_score_as_chance(metric, value):
    """With n rows of which R hit, in any order."""
    n, r = 2999, 299
    z, y = np.full((n + 1, 7), value), np.arange(n + 1) % 10
    got = dict(retrieval_report(z, y, k=5, metric=metric))
    places = np.arange(r)
    missed = np.cumprod(np.append(1, (n - r - np.arange(n - r)) / (n - np.arange(n - r))))
    chance = r / n
    average = chance * ((1 + places * (r - 1) / (n - 1)) / (1 + places)).mean()
    rank = (missed - np.append(missed[1:], 0)) @ (1 / np.arange(1, n - r + 2))
    average_at_5 = chance * ((1 + places[:5] * (r - 1) / (n - 1)) / (1 + places[:5])).sum() / 5
    expected = [1 - missed[5], chance, average_at_5, chance, chance, average, rank]
    np.testing.assert_allclose(list(got.values())[:7], expected, rtol=1e-9)


@pytest.mark.parametrize("k", [1, 4, 59])
def test_ndcg_equals_scikit_learns_with_its_mean_over_ties(points, k):
    X, y = points
    for z in (X, np.sign(X)):
        unit = z / np.linalg.norm(z, axis=1, keepdims=True)
        cosine = (unit @ unit.T).round(9)
        others = ~np.eye(60, dtype=bool)
        relevance = (y[:, None] == y)[others].reshape(60, 59)
        expected = ndcg_score(relevance, cosine[others].reshape(60, 59), k=k)
        assert ndcg_at_k(z, y, k=k) == pytest.approx(expected, rel=1e-9)


def test_average_precision_over_the_whole_gallery_is_scikit_learns(points):
    X, y = points
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    same, others = y[:, None] == y, ~np.eye(60, dtype=bool)
    values = [
        average_precision_score(same[i][others[i]], (unit @ unit[i])[others[i]])
        for i in range(60)
        if same[i][others[i]].any()
    ]
    assert mean_average_precision_at_k(X, y, k=59) == pytest.approx(np.mean(values), rel=1e-6)


def test_longer_codes_of_the_same_rows_score_better():
    """Two bits, nearly all of whose neighbours are ties, came out first by the reciprocal rank."""
    rng = np.random.default_rng(0)
    y = rng.integers(10, size=600)
    X = rng.normal(size=(10, 64))[y] + rng.normal(size=(600, 64))
    short, long = (ours(np.where(X[:, :bits] > 0, 1.0, -1.0), y, k=1) for bits in (2, 64))
    assert (np.array(long) > np.array(short) + 0.2).all()


@pytest.mark.parametrize("n_components", [8, 37, 384])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_copies_tie_whatever_the_shape_of_the_products(n_components, metric, monkeypatch):
    """Each row thrice, as three classes: chance decides, and not the order of summation."""
    rng = np.random.default_rng(4)
    X = np.concatenate([rng.normal(size=(9, n_components))] * 3).astype(np.float32)
    order = rng.permutation(27)
    X, y = X[order], np.repeat([0, 1, 0], 9)[order]
    whole = ours(X, y, k=1, metric=metric)
    for chunk, elements in ((2, 2), (5, 40), (26, 78), (26, 26)):
        monkeypatch.setattr(_search, "_CHUNK_ROWS", chunk)
        monkeypatch.setattr(_search, "_BLOCK_ELEMENTS", {"cpu": elements})
        np.testing.assert_allclose(ours(X, y, k=1, metric=metric), whole, rtol=1e-6)
        doubled = X * rng.choice([1, 3, 7], size=(27, 1)) if metric == "cosine" else X + 0
        np.testing.assert_allclose(ours(doubled, y, k=1, metric=metric), whole, rtol=1e-6)


@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_order_of_rows_with_ties_does_not_matter(metric):
    rng = np.random.default_rng(5)
    X, y = rng.choice([-1.0, 1.0], size=(400, 6)), rng.integers(5, size=400)
    order = np.argsort(y, kind="stable")
    expected = ours(X, y, metric=metric)
    np.testing.assert_allclose(ours(X[order], y[order], metric=metric), expected, rtol=1e-9)


def test_a_chain_of_near_rows_is_no_tie():
    """Rows at steps within rounding, over a hundred times as much: their ends are apart."""
    step = np.arange(200) * 5e-8
    X = np.concatenate([[0.0], 1 + step, 1 + step[-1] + step]).reshape(-1, 1).astype(np.float32)
    y = np.repeat([0, 0, 1], [1, 200, 200])
    gallery = {"gallery": X[1:], "gallery_labels": y[1:], "metric": "euclidean"}
    assert mean_average_precision_at_r(X[:1], y[:1], **gallery) > 0.95


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"k": 60}, "from 1 to 59"),
        ({"k": 0}, "from 1 to 59"),
        ({"k": 2.5}, "whole number"),
        ({"k": np.ones((3, 5))}, "whole number"),  # a gallery passed by position
        ({"sample_weight": np.zeros(60)}, "give one of them a positive weight"),
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


@pytest.mark.parametrize("mixed", [[0, "a"] * 30, np.array([0, "a"] * 30, dtype=object)])
def test_mixed_labels_are_refused(points, mixed):
    with pytest.raises(ValueError, match="labels mix numbers and strings"):
        recall_at_k(points[0], mixed)


def test_labels_of_queries_and_gallery_must_be_of_one_type(points):
    X, y = points
    with pytest.raises(ValueError, match="labels are numbers and gallery_labels strings"):
        recall_at_k(X, y, gallery=X, gallery_labels=y.astype(str))
    with pytest.raises(ValueError, match="gallery_labels has NaN"):
        recall_at_k(X, y, gallery=X, gallery_labels=np.where(y == 3, np.nan, y))


@pytest.mark.parametrize("scale", [1e-300, 1e-38, 1e-30, 1e30, 1e300])
@pytest.mark.parametrize("metric", ["cosine", "euclidean"])
def test_the_scale_of_the_embeddings_does_not_matter(points, metric, scale):
    Z, y = points
    for dtype in (np.float64, np.float32):
        if not float(np.finfo(dtype).tiny) < scale < float(np.finfo(dtype).max):
            continue
        a, b = (
            retrieval_report((Z * factor).astype(dtype), y, metric=metric)
            for factor in (1.0, scale)
        )
        assert a == pytest.approx(b, rel=1e-3)


def test_weights_of_queries_may_be_huge_and_must_be_finite(points):
    Z, y = points
    huge = recall_at_k(Z, y, sample_weight=np.full(len(y), 1e308))
    assert huge == pytest.approx(recall_at_k(Z, y))
    with pytest.raises(ValueError, match="non-negative numbers"):
        recall_at_k(Z, y, sample_weight=np.full(len(y), np.inf))


def test_collapsed_points_score_at_chance_by_distance_too():
    labels = np.arange(40) % 20
    found = mean_reciprocal_rank(np.zeros((40, 2)), labels, metric="euclidean")
    assert found == pytest.approx(np.mean(1 / np.arange(1, 40)))


def test_large_whole_numbers_keep_their_digits():
    rng = np.random.default_rng(0)
    points, labels = rng.integers(0, 30, (60, 3)) + 10**8, np.arange(60) % 5
    exact = recall_at_k(points.astype(float), labels, metric="euclidean")
    assert recall_at_k(points, labels, metric="euclidean") == exact


def test_labels_of_a_tensor_have_no_gaps_either():
    with pytest.raises(ValueError, match="labels has NaN"):
        recall_at_k(torch.eye(4), torch.tensor([0.0, 0, 1, torch.nan]))
