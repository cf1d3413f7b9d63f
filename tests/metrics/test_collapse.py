"""Neural-collapse and uniformity measures against naive loops and known optima."""

import itertools
import math
import pickle

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skhug import HUGClassifier, HUGEmbedder, HUGLoss, metrics
from skhug._known_optima import known_optimum
from skhug.losses import MHE
from skhug.metrics import _class_statistics as _classwise
from skhug.metrics import geometry_report, neural_collapse_report
from skhug.proxies import cross_polytope, minimal_energy, simplex


@pytest.fixture
def sample():
    """Unbalanced classes around unequal centres, and proxies near those."""
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(6), [3, 9, 1, 5, 7, 4])
    centres = rng.normal(size=(6, 4))
    X = centres[y] + 0.3 * rng.normal(size=(len(y), 4))
    return X, y, centres + 0.1 * rng.normal(size=(6, 4))


def unit(points):
    return points / np.linalg.norm(points, axis=-1, keepdims=True)


def class_means(X, y):
    return [np.mean([x for x, label in zip(X, y, strict=True) if label == c], 0) for c in set(y)]


def naive(X, y, W):
    """Every measure by its formula, with loops over rows and pairs."""
    means = class_means(X, y)
    C, d = len(means), X.shape[1]
    centre = sum(means) / C
    within, between, variance = np.zeros((d, d)), np.zeros((d, d)), []
    for c, mean in enumerate(means):
        rows = X[y == c]
        within += sum(np.outer(x - mean, x - mean) for x in rows) / len(rows) / C
        between += np.outer(mean - centre, mean - centre) / C
        variance.append(sum(np.sum((x - mean) ** 2) for x in rows) / len(rows))
    pairs = list(itertools.permutations(range(C), 2))
    centred = [mean - centre for mean in means]
    norms = [np.linalg.norm(m) for m in centred]
    cosines = [unit(centred[a]) @ unit(centred[b]) for a, b in pairs]
    gram = np.array([[a @ b for b in centred] for a in centred])
    ideal = (np.eye(C) - 1 / C) / np.sqrt(C - 1)
    M, P = np.array(centred), W - W.mean(0)
    agreed = 0
    for x in X:
        by_mean = np.argmin([np.linalg.norm(x - mean) for mean in means])
        agreed += by_mean == np.argmax([unit(x) @ unit(w) for w in W])

    def energy(points):
        return sum(np.linalg.norm(unit(points[a]) - unit(points[b])) ** -2 for a, b in pairs) / C

    spread = np.mean(
        [np.mean([np.sum((unit(x) - unit(W[c])) ** 2) for x in X[y == c]]) for c in range(C)]
    )
    return {
        "within_class_variability": np.trace(within @ np.linalg.pinv(between)) / C,
        "cdnv": np.mean(
            [(variance[a] + variance[b]) / 2 / np.sum((means[a] - means[b]) ** 2) for a, b in pairs]
        ),
        "equinorm": np.std(norms) / np.mean(norms),
        "equiangularity": np.std(cosines),
        "maximal_angle": np.mean([abs(cosine + 1 / (C - 1)) for cosine in cosines]),
        "simplex_distance": np.linalg.norm(gram / np.linalg.norm(gram) - ideal),
        "self_duality": np.linalg.norm(M / np.linalg.norm(M) - P / np.linalg.norm(P)) ** 2,
        "ncc_agreement": agreed / len(X),
        "energy": energy(means),
        "separation": min(np.linalg.norm(unit(means[a]) - unit(means[b])) for a, b in pairs),
        "uniformity_between": -energy(W),
        "uniformity_within": spread,
        "uniformity_gap": -energy(W) - spread,
    }


def assert_equal_reports(got, expected, **tolerance):
    assert list(got) == list(expected)
    np.testing.assert_allclose(list(got.values()), list(expected.values()), **tolerance)


def test_measures_equal_naive_loops(sample):
    assert_equal_reports(geometry_report(*sample), naive(*sample), rtol=1e-9)


def test_blocks_change_nothing(sample, monkeypatch):
    monkeypatch.setattr(_classwise, "_BLOCK_ELEMENTS", 13)  # 2 classes or 3 rows at a time
    assert_equal_reports(geometry_report(*sample), naive(*sample), rtol=1e-9)


def test_tensors_single_precision_and_labels_of_any_type_count_alike(sample):
    X, y, W = sample
    expected = geometry_report(X, y, W)
    names = np.array(["a", "b", "c", "d", "e", "f"])[y]
    assert_equal_reports(geometry_report(torch.tensor(X), torch.tensor(y), W), expected)
    assert_equal_reports(geometry_report(X, names, W), expected)
    assert_equal_reports(geometry_report(X.astype(np.float32), y, W), expected, rtol=1e-5)


def test_each_function_is_its_line_of_the_report(sample):
    X, y, W = sample
    report, means = geometry_report(X, y, W), np.array(class_means(X, y))
    single = {
        "cdnv": metrics.class_distance_normalized_variance(X, y),
        "energy": metrics.hyperspherical_energy(means),
        "separation": metrics.separation(means),
        "uniformity_between": metrics.uniformity_between(W),
        "uniformity_within": metrics.uniformity_within(X, y, W),
        "uniformity_gap": metrics.uniformity_gap(X, y, W),
    }
    for name in set(report) - set(single):
        needs = (X, y, W) if name in ("self_duality", "ncc_agreement") else (X, y)
        single[name] = getattr(metrics, name)(*needs)
    assert single == pytest.approx(dict(report))


def test_labels_may_be_the_row_numbers_of_more_proxies(sample):
    X, y, W = sample
    some = np.isin(y, [1, 4, 5])
    expected = geometry_report(X[some], y[some], W[[1, 4, 5]])
    assert_equal_reports(geometry_report(X[some], y[some], W), expected)
    with pytest.raises(ValueError, match="3 classes and there are 6 proxies"):
        geometry_report(X[some], y[some].astype(str), W)


def test_measures_do_not_depend_on_class_sizes(sample):
    X, y, W = sample
    repeats = np.array([1, 4, 2, 3, 1, 5])[y]
    repeated = geometry_report(X.repeat(repeats, 0), y.repeat(repeats), W)
    expected = geometry_report(X, y, W)
    for name in set(expected) - {"ncc_agreement"}:  # a share of rows
        assert repeated[name] == pytest.approx(expected[name], rel=1e-9)


@pytest.mark.parametrize(
    ("n_classes", "n_components"), [(2, 1), (5, 4), (5, 9), (8, 4), (7, 2), (12, 3)]
)
def test_a_collapsed_optimum_reaches_every_optimum(n_classes, n_components):
    if n_classes == 2 * n_components:
        proxies = cross_polytope(n_classes, n_components)
    elif n_classes <= n_components + 1:
        proxies = simplex(n_classes, n_components)
    else:
        proxies = minimal_energy(n_classes, n_components, random_state=0)
    report = geometry_report(proxies.repeat(3, 1), np.tile(np.arange(n_classes), 3), proxies)
    known = [name for name, best in report.optimum.items() if not math.isnan(best)]
    assert len(known) >= 12
    for name in known:
        assert report[name] == pytest.approx(report.optimum[name], abs=2e-6), name


def test_bounds_beyond_the_simplex_hold_for_any_means():
    rng = np.random.default_rng(1)
    for _ in range(20):
        report = geometry_report(rng.normal(size=(9, 3)), np.arange(9))
        assert report["simplex_distance"] >= report.optimum["simplex_distance"]
        # Means of equal norm around the origin: signs of all combinations, thinned at random.
        signs = np.array(list(itertools.product([-1, 1], repeat=4)))
        half = signs[rng.choice(8, 5, replace=False)]
        equal = geometry_report(np.vstack([half, -half]), np.arange(10))
        assert equal["equinorm"] == pytest.approx(0, abs=1e-12)
        assert equal["equiangularity"] >= equal.optimum["equiangularity"] - 1e-12


@pytest.mark.parametrize("s", [0, 1, 2, 3.5])
@pytest.mark.parametrize(
    ("n", "d"), [(2, 1), (4, 3), (4, 7), (6, 3), (10, 5), (7, 2), (12, 3), (16, 5), (27, 6)]
)
def test_optimal_energy_is_what_a_search_finds(n, d, s):
    if d == 1:
        points = np.array([[1.0], [-1.0]])
    else:
        points = minimal_energy(n, d, s, n_starts=4, random_state=0)
    assert metrics.hyperspherical_energy(points, s) == pytest.approx(
        metrics.optimal_energy(n, d, s), rel=1e-6
    )


@pytest.mark.parametrize(("n", "d"), [(12, 3), (120, 4), (16, 5), (27, 6), (56, 7), (240, 8)])
def test_listed_arrangements_are_complete_and_balanced(n, d):
    cosines = known_optimum(n, d).cosines
    assert sum(cosines.values()) == n - 1
    assert sum(c * count for c, count in cosines.items()) == pytest.approx(-1)
    assert sum(c**2 * count for c, count in cosines.items()) == pytest.approx(n / d - 1)


def test_optimal_separation_is_known_up_to_twice_the_dimension():
    assert metrics.optimal_separation(4, 3) == pytest.approx(math.sqrt(8 / 3))
    for n in (5, 6):
        assert metrics.optimal_separation(n, 3) == pytest.approx(math.sqrt(2))
    assert metrics.optimal_separation(12, 3) == pytest.approx(1.0514622242382672)
    assert metrics.optimal_separation(240, 8) == 1
    assert math.isnan(metrics.optimal_separation(7, 3))
    assert math.isnan(metrics.optimal_energy(7, 3))


def test_the_gap_is_minus_the_loss(sample):
    X, y, W = (torch.tensor(a) for a in sample)
    terms = HUGLoss(MHE(s=1.5, s_within=-1.0))(X, y, W)
    gap = metrics.uniformity_gap(X, y, W, s=1.5, s_within=-1.0)
    assert gap == pytest.approx(-float(terms.loss), rel=1e-7)  # its coefficients are float32


def test_small_variances_keep_their_digits():
    rng = np.random.default_rng(2)
    centres = np.repeat(np.eye(3), 50, 0)
    noise = rng.normal(size=(150, 3))
    y = np.repeat(np.arange(3), 50)
    wide = metrics.class_distance_normalized_variance(centres + 1e-3 * noise, y)
    narrow = metrics.class_distance_normalized_variance(centres + 1e-7 * noise, y)
    assert narrow / wide == pytest.approx(1e-8, rel=1e-3)


def test_coincident_class_means_are_told_apart_from_numbers():
    X = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.0, 1.0]])
    assert metrics.class_distance_normalized_variance(X, [0, 0, 1, 1]) == math.inf
    assert math.isnan(metrics.equinorm(X, [0, 0, 1, 1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": np.zeros(29)}, "labels have 1 class"),
        ({"labels": np.zeros(28)}, "one label for each of 29 rows"),
        ({"embeddings": np.full((29, 4), np.nan)}, "NaN or infinite"),
        ({"proxies": np.ones((6, 3))}, "those of one model"),
        ({"proxies": np.ones((5, 4))}, "6 classes and there are 5 proxies"),
    ],
)
def test_wrong_input_is_explained(sample, change, message):
    arguments = dict(zip(("embeddings", "labels", "proxies"), sample, strict=True)) | change
    with pytest.raises(ValueError, match=message):
        geometry_report(**arguments)
    with pytest.raises(ValueError, match="s >= 0"):
        metrics.optimal_energy(3, 2, s=-1)
    with pytest.raises(ValueError, match="at least 2 points"):
        metrics.optimal_separation(1, 2)


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_report_of_an_estimator_and_of_a_pipeline(Estimator, iris):
    X, y = iris[0], np.array(["x", "y", "z"])[iris[1]]
    pipeline = make_pipeline(StandardScaler(), Estimator(max_epochs=30, random_state=0)).fit(X, y)
    report = neural_collapse_report(pipeline, X, y)
    direct = geometry_report(pipeline.transform(X), y, pipeline[-1].proxies_)
    assert report == direct
    assert report == neural_collapse_report(pipeline[-1], pipeline[0].transform(X), y)
    assert report["ncc_agreement"] > 0.9 > 0.5 > report["cdnv"]
    with pytest.raises(ValueError, match="classes not seen in training"):
        neural_collapse_report(pipeline, X[:2], ["x", "w"])


def test_report_prints_values_beside_optima(sample):
    report = geometry_report(*sample)
    lines = str(report).splitlines()
    assert lines[0].split() == ["value", "optimum"]
    assert [line.split()[0] for line in lines[1:]] == list(report)
    shown = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert shown["separation"] == [f"{report['separation']:.4f}", "1.4142"]
    assert shown["energy"][1] == "-"  # not known for 6 points in 4 dimensions
    assert pickle.loads(pickle.dumps(report)).optimum.keys() == report.optimum.keys()


def test_the_report_looks_inside_searches_and_pipelines(iris):
    X, y = iris
    pipeline = make_pipeline(StandardScaler(), HUGClassifier(max_epochs=3, random_state=0))
    search = GridSearchCV(pipeline, {"hugclassifier__alpha": [1.0]}, cv=2).fit(X, y)
    inside = neural_collapse_report(search.best_estimator_, X, y)
    assert dict(neural_collapse_report(search, X, y)) == dict(inside)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_the_scale_of_the_embeddings_does_not_matter(sample, scale):
    Z, y, proxies = sample
    plain = geometry_report(Z, y, proxies)
    assert geometry_report(Z * scale, y, proxies / scale) == pytest.approx(plain, nan_ok=True)
    single = (np.asarray(a, dtype=np.float32) for a in (Z, y, proxies))
    assert geometry_report(*single) == pytest.approx(plain, rel=1e-3, abs=1e-4, nan_ok=True)
