"""Nested proxies: what may be asked for, and the arrangement of least summed energy."""

import numpy as np
import pytest
import torch

from skhug import HUGEmbedder, Learned, Nested
from skhug.losses import hyperspherical_energy
from skhug.losses._nested import Prefix
from skhug.proxies import optimal_proxies, simplex
from skhug.proxies._nested import all_prefixes, nested_arrangement, side_by_side


def weighted(*widths, weight=0.3):
    return all_prefixes(tuple(Prefix(d, weight) for d in widths[:-1]), widths[-1])


def energies(points, prefixes):
    return [float(hyperspherical_energy(points[:, :d])) for d in prefixes]


def test_every_prefix_of_the_arrangement_has_nearly_the_least_energy():
    prefixes = (3, 6)
    found = energies(nested_arrangement(20, weighted(*prefixes)), prefixes)
    best = [float(hyperspherical_energy(optimal_proxies(20, d, random_state=0))) for d in prefixes]
    assert all(e < 1.02 * b for e, b in zip(found, best, strict=True))
    plain = energies(optimal_proxies(20, 6, random_state=0), prefixes)
    assert plain[0] > 1.3 * best[0]  # the best for all components is not


def test_few_classes_are_a_simplex_in_every_prefix():
    points = nested_arrangement(4, weighted(3, 5, 9))
    cosines = simplex(4, 3) @ simplex(4, 3).T
    for d in (3, 5, 9):
        own = side_by_side(points, (Prefix(d, 1.0),))
        torch.testing.assert_close(own @ own.T, cosines, atol=1e-4, rtol=0)


def test_arrangements_are_the_same_every_time_and_nobodys_to_change():
    first = nested_arrangement(20, weighted(2, 4))
    kept = first.clone()
    first.zero_()
    assert torch.equal(nested_arrangement(20, weighted(2, 4)), kept)


def test_arrangements_beyond_the_search_are_made_without(monkeypatch):
    monkeypatch.setattr("skhug.proxies._nested._LARGE", 1)
    points = nested_arrangement(31, weighted(3, 7))
    assert points.shape == (31, 7)
    assert all(np.isfinite(energies(points, (3, 7))))


def test_all_components_count_one_whether_they_are_named_or_not():
    shorter, whole = Prefix(2, 0.3), Prefix(8, 1.0)
    assert all_prefixes((shorter,), 8) == (shorter, whole)
    assert all_prefixes((shorter, Prefix(8, 0.3)), 8) == (shorter, whole)
    assert all_prefixes((), 8) == ()


@pytest.mark.parametrize("weight", [0, -1.0, float("nan"), float("inf"), "0.1", None])
def test_weights_that_are_none_are_refused(iris, weight):
    model = HUGEmbedder(n_components=8, proxies=Nested((2,), weight=weight), max_epochs=1)
    with pytest.raises(ValueError, match="pass a finite number above 0"):
        model.fit(*iris)


@pytest.mark.parametrize(
    ("prefixes", "error", "match"),
    [
        ((1, 4), ValueError, "rising order, each at least 2"),
        ((4, 2), ValueError, "rising order"),
        ((4, 4), ValueError, "rising order"),
        ((2, 9), ValueError, "prefix of 9 components and the embeddings have 8: raise"),
        ((), TypeError, r"Nested\(prefixes=\(16, 32\)\)"),
        (16, TypeError, r"Nested\(prefixes=\(16, 32\)\)"),
        ((2.5, 4), TypeError, "pass numbers of components"),
        ("48", TypeError, "pass numbers of components"),
    ],
    ids=repr,
)
def test_prefixes_that_are_none_are_refused(Estimator, iris, prefixes, error, match):
    model = Estimator(n_components=8, proxies=Nested(prefixes), max_epochs=1)
    with pytest.raises(error, match=match):
        model.fit(*iris)


@pytest.mark.parametrize(
    ("proxies", "error", "match"),
    [
        ("random", ValueError, "proxies='random': pass 'optimal', 'learned', Learned"),
        (Nested((2,)), ValueError, "pass 'optimal', 'learned', Learned"),
        (Learned, TypeError, r"proxies is the class Learned: pass Learned\(\)"),
        (np.eye(3, 5), ValueError, r"proxies has shape \(3, 5\)"),
        (np.eye(3, 8), ValueError, "no row may be zero in its first 2 columns"),
    ],
    ids=["string", "nested", "class", "shape", "zero prefix"],
)
def test_proxies_that_cannot_be_nested_are_refused(iris, proxies, error, match):
    model = HUGEmbedder(n_components=8, proxies=Nested((2,), proxies), max_epochs=1)
    with pytest.raises(error, match=match):
        model.fit(*iris)
