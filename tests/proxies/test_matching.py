"""Similar classes get near proxies, where it matters which class gets which."""

from itertools import permutations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs
from torch import nn

from skhug import MLP, HUGClassifier
from skhug._data.rows import Rows
from skhug._defaults import resolve
from skhug._process import draw_seed
from skhug._training.build import build_encoder, class_centres
from skhug.proxies import optimal_proxies
from skhug.proxies._assignment import similar_to_near


def agreement(points, centres):
    directions = centres - centres.mean(0)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.triu((directions @ directions.T) * (points @ points.T), 1).sum()


def test_no_order_of_few_classes_agrees_better():
    centres = np.random.default_rng(0).normal(size=(6, 4))
    points = optimal_proxies(6, 2, random_state=0).numpy()
    found = agreement(points[similar_to_near(points, centres, 0)], centres)
    best = max(agreement(points[list(order)], centres) for order in permutations(range(6)))
    assert found == pytest.approx(best)


@pytest.mark.parametrize("n_classes", [8, 70])
def test_a_shuffled_ring_is_put_back_in_order(n_classes):
    angle = 2 * np.pi * np.arange(n_classes) / n_classes
    ring = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    centres = 7 + 3 * ring[np.random.default_rng(1).permutation(n_classes)]
    order = similar_to_near(ring, centres, 0)
    assert sorted(order) == list(range(n_classes))
    assert agreement(ring[order], centres) > 0.95 * agreement(ring, ring)


@pytest.mark.parametrize("scale", [1e-200, 1e150])
def test_scale_of_the_centres_does_not_matter(scale):
    centres = np.random.default_rng(0).normal(size=(9, 4))
    points = optimal_proxies(9, 3, random_state=0).numpy()
    order = similar_to_near(points, scale * centres, 0)
    assert np.array_equal(order, similar_to_near(points, centres, 0))


@pytest.mark.parametrize("value", [0.0, 0.1])
def test_rounding_makes_no_classes_similar(value):
    points = optimal_proxies(5, 2, random_state=0).numpy()
    order = similar_to_near(points, np.full((5, 3), value), 0)
    assert np.array_equal(order, similar_to_near(points, np.zeros((5, 3)), 0))


def test_classes_that_are_not_known_do_not_disturb_the_others():
    centres = np.random.default_rng(0).normal(size=(12, 5))
    centres[8:] = centres[:8].mean(0)
    points = optimal_proxies(12, 3, random_state=0).numpy()
    placed = points[similar_to_near(points, centres, 0)]
    found = agreement(placed[:8], centres[:8])
    shuffled = [np.random.default_rng(i).permutation(12)[:8] for i in range(2000)]
    assert found > max(agreement(points[some], centres[:8]) for some in shuffled)


@pytest.fixture(scope="module")
def blobs():
    return make_blobs(600, 5, centers=20, cluster_std=1.5, random_state=0)


def test_a_fit_in_few_dimensions_matches_classes_and_gains():
    gains = []
    for seed in range(3):
        X, y = make_blobs(300, 5, centers=20, cluster_std=0.5, random_state=seed)
        params = {"n_components": 2, "max_epochs": 8, "random_state": seed}
        matched = HUGClassifier(**params).fit(X, y)
        points = optimal_proxies(20, 2, random_state=seed).numpy()
        blind = HUGClassifier(proxies=points, **params).fit(X, y)
        centres = np.stack([X[y == c].mean(0) for c in range(20)])
        assert agreement(matched.proxies_, centres) > agreement(blind.proxies_, centres)
        gains.append(matched.score(X, y) - blind.score(X, y))
    assert np.mean(gains) > 0.03  # of three seeds the gains were 0.13, 0.05 and 0.13


def test_the_arrangement_stays_the_optimum(blobs):
    model = HUGClassifier(n_components=3, max_epochs=1, random_state=0).fit(*blobs)
    again = HUGClassifier(n_components=3, max_epochs=1, random_state=0).fit(*blobs)
    assert np.array_equal(model.proxies_, again.proxies_)
    seed = draw_seed(0)  # the estimator's
    distances = torch.pdist(torch.from_numpy(model.proxies_).double()).sort().values
    plain = torch.pdist(optimal_proxies(20, 3, random_state=seed)).sort().values
    torch.testing.assert_close(distances, plain, rtol=1e-5, atol=1e-5)


def test_declared_classes_without_rows_are_no_neighbours_by_that():
    X, y = make_blobs(400, 5, centers=8, random_state=0)
    model = HUGClassifier(n_components=3, random_state=0).partial_fit(X, y, classes=np.arange(12))
    centres = np.stack([X[y == c].mean(0) for c in range(8)])
    points = model.proxies_
    shuffled = [np.random.default_rng(i).permutation(12)[:8] for i in range(2000)]
    assert agreement(points[:8], centres) > max(agreement(points[s], centres) for s in shuffled)


def test_rows_without_bound_are_left_unmatched(recwarn):
    X, y = 1.5e308 * np.eye(5).repeat(2, axis=0), np.arange(10) // 2

    class Shrinks(nn.Linear):
        def forward(self, X):
            return super().forward(X / 1e308)

    model = HUGClassifier(
        lambda shape, width: Shrinks(*shape, width), n_components=2, precision="float64",
        max_epochs=1, random_state=0,
    ).fit(X, y)  # fmt: skip
    assert np.isfinite(model.transform(X)).all()
    assert not [w for w in recwarn if issubclass(w.category, RuntimeWarning)]


def test_wide_rows_are_told_by_some_of_their_features():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 6
    X = rng.normal(size=(6, 20_000))[y] + rng.normal(size=(60, 20_000))
    rows = Rows(X, y, np.ones(60))
    model = HUGClassifier(MLP(4), n_components=2, device="cpu")
    encoder = build_encoder(resolve(model, rows, np.arange(6), 0), rows)
    assert class_centres(encoder, rows, 6).shape == (6, 4000)
