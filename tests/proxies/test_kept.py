"""Searched arrangements are kept in the process: used again, never shared, safe to fork."""

import threading

import numpy as np
import pytest
import torch

from skhug import MHE, HUGClassifier
from skhug._defaults import default_components
from skhug.proxies import _choice, _minimised, optimal_proxies


@pytest.fixture
def searches(monkeypatch):
    """Count the searches, none kept from before."""
    found = []
    energy = _choice.minimal_energy

    def counted(*args, **kwargs):
        found.append(args)
        return energy(*args, **kwargs)

    monkeypatch.setattr(_choice, "minimal_energy", counted)
    _choice._kept_search.cache_clear()
    yield found
    _choice._kept_search.cache_clear()


def test_a_search_is_done_once_for_each_question(searches):
    first = optimal_proxies(20, 3, random_state=np.int64(5))
    assert torch.equal(optimal_proxies(20, 3, 2, random_state=5), first)
    assert len(searches) == 1
    for other in ((21, 3, 2.0, 5), (20, 4, 2.0, 5), (20, 3, 1.0, 5), (20, 3, 2.0, 6)):
        optimal_proxies(*other[:3], random_state=other[3])
    assert len(searches) == 5


def test_seedless_searches_are_not_kept(searches):
    first, second = optimal_proxies(20, 3), optimal_proxies(20, 3)
    assert not torch.equal(first, second)
    rng = np.random.RandomState(0)
    optimal_proxies(20, 3, random_state=rng)
    optimal_proxies(20, 3, random_state=rng)
    assert len(searches) == 4


def test_what_a_caller_writes_stays_with_the_caller(searches):
    first = optimal_proxies(20, 3, random_state=0)
    kept = first.clone()
    first.zero_()
    assert torch.equal(optimal_proxies(20, 3, random_state=0), kept)
    assert len(searches) == 1


def test_fits_of_any_seed_search_once(searches):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 4)), np.arange(60) % 12
    for s, seed in ((2.0, 0), (2.0, 1), (2.0, None), (1.0, None)):
        model = HUGClassifier(n_components=3, uniformity=MHE(s), max_epochs=1, random_state=seed)
        model.fit(X, y)
    assert len(searches) == 2


def test_what_is_kept_is_bounded(searches):
    for seed in range(12):
        optimal_proxies(5, 2, random_state=seed)
    assert _choice._kept_search.cache_info().currsize == 8
    _choice._kept_search.cache_clear()
    optimal_proxies(40_000, 128, random_state=0)  # 40 MB, at once
    assert _choice._kept_search.cache_info().currsize == 0


def test_threads_get_the_same_points(searches):
    found = [None] * 4

    def search(i):
        found[i] = optimal_proxies(24, 3, random_state=0)

    threads = [threading.Thread(target=search, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(points, found[0]) for points in found)


@pytest.mark.parametrize("criterion", ["energy", "separation"])
@pytest.mark.parametrize(("n", "d"), [(200, 64), (400, 128), (1000, 128), (1900, 128)])
def test_a_search_spends_no_more_than_its_budget(monkeypatch, criterion, n, d):
    spent = []
    monkeypatch.setattr(
        _minimised, "_lbfgs", lambda _, start, evaluations: spent.append(evaluations) or start
    )
    optimal_proxies(n, d, criterion=criterion)
    # Value and gradient of all pairs; the least number of evaluations may pass the budget.
    assert 4 * n**2 * d * sum(spent) <= 1e11


@pytest.mark.parametrize(
    ("n_classes", "n_components"),
    [(2, 2), (10, 9), (130, 129), (2048, 2047), (2049, 2047), (10_000, 419), (100_000, 128)],
)
def test_the_simplex_fits_by_default_up_to_two_thousand_classes(n_classes, n_components):
    assert default_components(n_classes) == n_components


def test_a_fit_of_hundreds_of_classes_searches_nothing(searches, monkeypatch):
    monkeypatch.setattr(_choice, "_search", pytest.fail)
    X, y = np.random.default_rng(0).normal(size=(400, 8)), np.arange(400) % 200
    model = HUGClassifier(max_epochs=1, random_state=0).fit(X, y)
    assert model.proxies_.shape == (200, 199)
    assert not searches


def test_given_points_of_an_earlier_fit_are_taken_from_disk(tmp_path, searches):
    X, y = np.random.default_rng(0).normal(size=(60, 4)), np.arange(60) % 12
    model = HUGClassifier(n_components=3, max_epochs=1, random_state=0)
    np.save(tmp_path / "proxies.npy", model.fit(X, y).proxies_)
    searches.clear()
    again = HUGClassifier(
        n_components=3, max_epochs=1, random_state=0, proxies=np.load(tmp_path / "proxies.npy")
    ).fit(X, y)
    assert not searches
    np.testing.assert_allclose(again.transform(X), model.transform(X), atol=1e-4)
