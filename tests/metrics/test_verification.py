"""Verification: every pair against scikit-learn's ROC, ties, blocks and bins."""

import itertools
import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.metrics import roc_auc_score, roc_curve

from skhug.metrics import _pair_counts, _pairs, pair_verification_report, verification_report
from skhug.model_selection import verification_scorer

FAR = (0.3, 0.1, 0.01, 0.001)


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    y = rng.integers(8, size=70)
    return rng.normal(size=(8, 5))[y] + rng.normal(size=(70, 5)), y


def scores_of(X, y, gallery=None, gallery_labels=None):
    """Cosine and truth of every pair, ties where rounding alone parts cosines."""
    themselves = gallery is None
    if themselves:
        gallery, gallery_labels = X, y
    X, gallery = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (X, gallery))
    keep = np.triu_indices(len(X), 1) if themselves else np.nonzero(np.ones((len(X), len(gallery))))
    return (X @ gallery.T)[keep].round(12), (y[:, None] == gallery_labels)[keep]


def expected(cosine, same, weight=None):
    """AUC, EER by the two sides of the crossing, TAR at each rate: scikit-learn's."""
    fpr, tpr, _ = roc_curve(same, cosine, sample_weight=weight, drop_intermediate=False)
    for i in range(1, len(fpr)):
        before, after = (fpr[j] + tpr[j] - 1 for j in (i - 1, i))
        if before < 0 <= after:
            eer = fpr[i - 1] + (fpr[i] - fpr[i - 1]) * -before / (after - before)
    auc = roc_auc_score(same, cosine, sample_weight=weight)
    return [auc, eer, *(tpr[fpr <= far + 1e-12].max() for far in FAR)]


def got(report):
    return [
        report["roc_auc"],
        report["eer"],
        *(report[f"tar_at_far_{name}"] for name in ("3e-1", "1e-1", "1e-2", "1e-3")),
    ]


@pytest.fixture(params=["listed", "binned"])
def counter(request, monkeypatch):
    if request.param == "binned":
        monkeypatch.setattr(_pair_counts, "_FEW", 0)


def codes(n=70, bits=12):
    rng = np.random.default_rng(3)  # 0.1 and its sums are no binary fractions
    return 0.1 * rng.choice([-1, 1], size=(n, bits)), rng.integers(6, size=n)


def test_rates_are_scikit_learns(points, counter):
    report = verification_report(*points, far=FAR)
    np.testing.assert_allclose(got(report), expected(*scores_of(*points)), rtol=1e-12)
    same = scores_of(*points)[1]
    assert (report["n_true_pairs"], report["n_false_pairs"]) == (same.sum(), (~same).sum())


def test_ties_are_accepted_together_as_scikit_learn_does(counter):
    X, y = codes()
    np.testing.assert_allclose(
        got(verification_report(X, y, far=FAR)), expected(*scores_of(X, y)), rtol=1e-12
    )
    single = verification_report(X.astype(np.float32), y, far=FAR)
    np.testing.assert_allclose(got(single), expected(*scores_of(X, y)), rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_rows_that_are_all_alike_tell_nothing(value, counter):
    report = verification_report(np.full((80, 7), value), np.arange(80) % 4, far=FAR)
    np.testing.assert_allclose(got(report), [0.5, 0.5, 0, 0, 0, 0])


def test_a_gallery_is_paired_with_every_row(points, counter):
    X, y = points
    gallery = {"gallery": X[30:], "gallery_labels": y[30:]}
    report = verification_report(X[:30], y[:30], **gallery, far=FAR)
    np.testing.assert_allclose(got(report), expected(*scores_of(X[:30], y[:30], X[30:], y[30:])))
    assert report["n_true_pairs"] + report["n_false_pairs"] == 30 * 40


def test_given_pairs_are_scored_as_they_come(points, counter):
    X, y = points
    i, j = np.random.default_rng(1).integers(70, size=(2, 3000))
    cosine, same = (a.reshape(70, 70) for a in scores_of(X, y, X, y))
    report = pair_verification_report(X[i], X[j], y[i] == y[j], far=FAR)
    np.testing.assert_allclose(got(report), expected(cosine[i, j], same[i, j]), rtol=1e-12)


@pytest.mark.parametrize("tile", [1, 7, 69, 100])
def test_tiles_change_nothing(points, tile, monkeypatch):
    X, y = points
    gallery = {"gallery": X[50:], "gallery_labels": y[50:]}
    every = np.array(list(itertools.combinations(range(70), 2))).T
    given = X[every[0]], X[every[1]], y[every[0]] == y[every[1]]
    whole = verification_report(X, y), verification_report(X[:50], y[:50], **gallery)
    monkeypatch.setattr(_pairs, "_TILE", {"cpu": tile})
    assert verification_report(X, y) == pytest.approx(whole[0], nan_ok=True)
    assert verification_report(X[:50], y[:50], **gallery) == pytest.approx(whole[1], nan_ok=True)
    assert pair_verification_report(*given) == pytest.approx(whole[0], nan_ok=True)


def test_bins_are_as_good_as_every_pair(points, monkeypatch):
    rng = np.random.default_rng(4)
    y = rng.integers(40, size=1500)
    X = rng.normal(size=(40, 16))[y] + rng.normal(size=(1500, 16))
    listed = verification_report(X, y)
    monkeypatch.setattr(_pair_counts, "_FEW", 0)
    binned = verification_report(X, y)
    for name, value in listed.items():
        assert binned[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name


def test_memory_does_not_grow_with_the_pairs(monkeypatch):
    seen = []
    plain = _pair_counts.Binned.add
    monkeypatch.setattr(
        _pair_counts.Binned, "add", lambda *a: seen.append(a[1].numel()) or plain(*a)
    )
    monkeypatch.setattr(_pair_counts.Listed, "add", None)
    monkeypatch.setattr(_pair_counts, "_FEW", 40_000)
    monkeypatch.setattr(_pairs, "_TILE", {"cpu": 64})
    X, y = np.random.default_rng(5).normal(size=(300, 4)), np.arange(300) % 50
    report = verification_report(X, y)
    assert sum(seen) == 300 * 299 // 2 == report["n_true_pairs"] + report["n_false_pairs"]
    assert max(seen) <= _pairs._TILE["cpu"] ** 2


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_thresholds_accept_what_they_promise(points, dtype, counter):
    X, y = (np.concatenate([a, a]) for a in points)
    X = X.astype(dtype)  # doubled: copies tie at a cosine of 1
    cosine, same = (a[np.triu_indices(140, 1)] for a in (_unit(X) @ _unit(X).T, y[:, None] == y))
    report = verification_report(X, y, far=FAR)
    for far, name in zip(FAR, ("3e-1", "1e-1", "1e-2", "1e-3"), strict=True):
        accepted = cosine >= report[f"threshold_at_far_{name}"]
        assert accepted[same].mean() == pytest.approx(report[f"tar_at_far_{name}"], rel=1e-12)
        assert accepted[~same].mean() <= far
        higher = cosine >= np.sort(cosine[~same & ~accepted])[-1] - 1e-6
        assert higher[~same].mean() > far  # and no lower threshold does
    accepted = cosine >= report["threshold_at_eer"]
    assert accepted[~same].mean() == pytest.approx(report["eer"], abs=0.01)


def _unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def test_a_rate_may_be_used_up():
    z, y = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]], [0, 0, 1, 1]
    report = verification_report(z, y, far=(0.25, 0.26, 0.49, 0.75))  # cosines: 0, 0.6, 0.6, 0.96
    assert [report["tar_at_far_2.5e-1"], report["eer"]] == [1.0, 0.25]
    assert report["tar_at_far_2.6e-1"] == report["tar_at_far_4.9e-1"] == 1.0
    assert report["threshold_at_far_4.9e-1"] == pytest.approx(0.8, abs=1e-6)
    assert report["threshold_at_far_7.5e-1"] == pytest.approx(0.6, abs=1e-6)
    with pytest.raises(ValueError, match="pass a rate above 0"):
        verification_report(z, y, far="0.25")


def test_rates_that_the_false_pairs_cannot_tell_are_nan(points):
    X, y = points
    report = verification_report(X, y)
    assert 1000 < report["n_false_pairs"] < 10_000
    assert not np.isnan(report["tar_at_far_1e-3"])
    assert np.isnan([report["tar_at_far_1e-4"], report["threshold_at_far_1e-5"]]).all()


def test_a_report_shows_optima_and_survives_pickling(points):
    report = verification_report(*points, far=0.05)
    again = pickle.loads(pickle.dumps(report))
    assert again == report
    assert again.optimum == {"roc_auc": 1.0, "eer": 0.0, "tar_at_far_5e-2": 1.0}


@pytest.mark.parametrize("form", [sparse.csr_array, torch.tensor, lambda X: X.tolist()])
def test_sparse_rows_tensors_and_lists_are_taken(points, form):
    X, y = points
    X = np.where(X > 0, X, 0) + 0.0
    X[0] = 0  # as far from all
    gallery = {"gallery": form(X[60:]), "gallery_labels": y[60:]}
    given = verification_report(form(X), y), verification_report(form(X), y, **gallery)
    dense = {"gallery": X[60:], "gallery_labels": y[60:]}
    whole = verification_report(X, y), verification_report(X, y, **dense)
    for a, b in zip(given, whole, strict=True):
        assert a == pytest.approx(b, nan_ok=True)


def test_weights_of_rows_multiply_pairs(points, counter):
    X, y = points
    weight = np.arange(70) % 3 / 2
    cosine, same = scores_of(X, y)
    products = np.outer(weight, weight)[np.triu_indices(70, 1)]
    report = verification_report(X, y, far=FAR, sample_weight=weight)
    np.testing.assert_allclose(got(report)[:-1], expected(cosine, same, products)[:-1], rtol=1e-9)
    assert report["n_true_pairs"] == (same & (products > 0)).sum()
    gallery = {"gallery": X, "gallery_labels": y, "sample_weight": weight}
    cosine, same = scores_of(X, y, X, y)
    report = verification_report(X, y, far=FAR, **gallery)
    np.testing.assert_allclose(got(report), expected(cosine, same, weight.repeat(70)), rtol=1e-9)


def test_weights_of_given_pairs_count(points, counter):
    X, y = points
    i, j = np.random.default_rng(1).integers(70, size=(2, 3000))
    weight = np.arange(3000) % 4
    weighted = pair_verification_report(X[i], X[j], y[i] == y[j], far=FAR, sample_weight=weight)
    i, j = (a.repeat(weight) for a in (i, j))
    repeated = pair_verification_report(X[i], X[j], y[i] == y[j], far=FAR)
    np.testing.assert_allclose(got(weighted), got(repeated), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_the_scale_of_the_embeddings_does_not_matter(points, scale):
    X, y = points
    assert verification_report(scale * X, y) == pytest.approx(
        verification_report(X, y), nan_ok=True
    )


def test_labels_of_any_type_count_alike(points):
    X, y = points
    report = verification_report(X, y)
    for labels in (y.astype(str), torch.from_numpy(y), y[:, None], y * 0.5):
        assert verification_report(X, labels) == pytest.approx(report, nan_ok=True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.arange(70)}, "No pair is of one class"),
        ({"labels": np.zeros(70)}, r"All pairs are of one class.*at least 2 classes"),
        ({"labels": np.zeros(60)}, "one label for each of 70 rows"),
        ({"sample_weight": np.zeros(70)}, "No pair is of one class"),
        ({"far": 0}, r"far=0: pass a rate above 0"),
        ({"far": (0.1, 2.0)}, r"far=2.0: pass a rate above 0"),
        ({"gallery": np.ones((3, 5))}, "Pass both"),
        ({"gallery": np.ones((3, 4)), "gallery_labels": [0, 1, 2]}, "same model"),
        ({"gallery": sparse.eye_array(5).tocsr(), "gallery_labels": range(5)}, "both sparse"),
    ],
)
def test_wrong_input_is_explained(points, change, message):
    X, y = points
    with pytest.raises(ValueError, match=message):
        verification_report(**{"embeddings": X, "labels": y, **change})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"others": np.ones((9, 5))}, r"z\[pairs\[:, 0\]\]"),
        ({"others": np.ones((10, 4))}, "same model"),
        ({"same": np.arange(10)}, "True or False"),
        ({"same": [True, False]}, "one label for each of 10 rows"),
        ({"same": [True] * 10}, "All pairs are of one class"),
        ({"same": [False] * 10}, "No pair is of one class"),
    ],
)
def test_wrong_pairs_are_explained(points, change, message):
    X, _ = points
    pairs = {"embeddings": X[:10], "others": X[10:20], "same": [True, False] * 5}
    with pytest.raises(ValueError, match=message):
        pair_verification_report(**{**pairs, **change})


def test_numbers_that_came_as_objects_are_points(points):
    X, y = points
    expected = verification_report(X, y)
    assert dict(verification_report(X.astype(object), y)) == pytest.approx(
        dict(expected), nan_ok=True
    )
    assert dict(verification_report(X.astype(str), y)) == pytest.approx(dict(expected), nan_ok=True)


def test_what_is_no_point_or_no_label_is_told(points):
    X, y = points
    with pytest.raises(ValueError, match="embeddings is complex: pass real numbers"):
        verification_report(X + 1j, y)
    with pytest.raises(ValueError, match="embeddings has dtype object, and not all of it"):
        verification_report(np.full(X.shape, "x", object), y)
    for labels in ([None] * len(y), np.full(len(y), None)):
        with pytest.raises(ValueError, match="labels have gaps"):
            verification_report(X, labels)
    for metric in (None, 3):
        with pytest.raises(ValueError, match="pass one or more of roc_auc"):
            verification_scorer(metric)
