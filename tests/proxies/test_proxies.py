"""Configurations against the known optima."""

import math

import numpy as np
import pytest
import torch

from skhug.losses import hyperspherical_energy, separation
from skhug.proxies import (
    cross_polytope,
    maximal_separation,
    minimal_energy,
    optimal_proxies,
    orthogonal_simplices,
    random_proxies,
    simplex,
)


def off_diagonal(points):
    return (points @ points.T)[~torch.eye(len(points), dtype=torch.bool)]


@pytest.mark.parametrize(("n", "d"), [(2, 1), (2, 5), (3, 2), (10, 9), (10, 64)])
def test_simplex_cosines_are_all_equal(n, d):
    points = simplex(n, d)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(n, dtype=torch.float64))
    expected = torch.full((n * n - n,), -1 / (n - 1), dtype=torch.float64)
    torch.testing.assert_close(off_diagonal(points), expected, rtol=0, atol=1e-12)


def test_optimal_proxies_are_the_simplex_where_it_fits():
    cosines = off_diagonal(optimal_proxies(10, 64))
    assert (cosines + 1 / 9).abs().max() < 1e-5


def test_eight_points_in_four_dimensions_are_the_cross_polytope():
    expected = off_diagonal(cross_polytope(8, 4)).sort().values
    torch.testing.assert_close(off_diagonal(optimal_proxies(8, 4)).sort().values, expected)
    found = off_diagonal(minimal_energy(8, 4, random_state=0)).sort().values
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("n", "energy"), [(12, 49.165253058), (24, 223.347074052), (32, 412.261274651)]
)
def test_minimal_energy_solves_the_thomson_problem(n, energy):
    points = minimal_energy(n, 3, s=1, random_state=0)
    summed = n * hyperspherical_energy(points, 1) / 2
    assert float(summed) == pytest.approx(energy, rel=1e-6)


@pytest.mark.parametrize(("n", "degrees"), [(12, 63.4349), (24, 43.6908)])
@pytest.mark.parametrize("seed", [0, 1])
def test_maximal_separation_solves_the_tammes_problem(n, degrees, seed):
    points = maximal_separation(n, 3, random_state=seed)
    angle = 2 * math.degrees(math.asin(float(separation(points)) / 2))
    assert angle == pytest.approx(degrees, abs=1e-3)


@pytest.mark.parametrize("s", [0, 1, 2])
def test_minimal_energy_on_the_circle_is_the_regular_polygon(s):
    points = minimal_energy(7, 2, s, random_state=0)
    nearest = off_diagonal(points).reshape(7, 6).max(1).values
    expected = torch.full((7,), math.cos(2 * math.pi / 7), dtype=torch.float64)
    torch.testing.assert_close(nearest, expected, rtol=0, atol=1e-6)


def test_more_classes_than_the_cross_polytope_has_vertices_are_well_apart():
    points = optimal_proxies(154, 64, random_state=0)
    energy = minimal_energy(154, 64, random_state=0)
    assert hyperspherical_energy(points) <= hyperspherical_energy(energy) * (1 + 1e-5)
    # Rounding decides which of many arrangements of about one energy the search ends in: their
    # largest cosines are 0.08 to 0.31. Of random points it is 0.5.
    assert off_diagonal(points).max() < 0.4


@pytest.mark.parametrize(("n", "d"), [(5, 3), (6, 4), (7, 4), (9, 6), (20, 13)])
def test_orthogonal_simplices_have_the_least_energy_that_is_found(n, d):
    points = optimal_proxies(n, d)
    assert points.shape == (n, d)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(n, dtype=torch.float64))
    assert off_diagonal(points).max() <= 0
    for s in (1, 2):
        found = minimal_energy(n, d, s, random_state=0)
        assert hyperspherical_energy(points, s) <= hyperspherical_energy(found, s) * (1 + 1e-9)


def test_separation_criterion_takes_vertices_of_the_cross_polytope():
    points = optimal_proxies(7, 4, criterion="separation")
    assert off_diagonal(points).max() == 0


@pytest.mark.parametrize("size", [(7, 4), (9, 4), (3, 2)])
def test_an_unknown_criterion_names_those_that_there_are(size):
    with pytest.raises(ValueError, match="criterion='distance': pass 'energy' or 'separation'"):
        optimal_proxies(*size, criterion="distance")


def test_one_component_holds_two_points_that_classes_share_in_turn():
    assert optimal_proxies(5, 1).ravel().tolist() == [1, -1, 1, -1, 1]


@pytest.mark.usefixtures("random_states_untouched")
@pytest.mark.parametrize("make", [minimal_energy, maximal_separation, random_proxies])
def test_seeds_repeat_and_global_random_states_stay(make):
    first, again, other = (make(5, 3, random_state=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.dtype == torch.float64
    torch.testing.assert_close(first.norm(dim=1), torch.ones(5, dtype=torch.float64))


def test_random_proxies_are_uniform():
    points = random_proxies(20_000, 3, random_state=np.random.RandomState(0))
    torch.testing.assert_close(points.mean(0), torch.zeros(3).double(), rtol=0, atol=0.02)
    torch.testing.assert_close(
        points.T @ points / 20_000, torch.eye(3).double() / 3, rtol=0, atol=0.02
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: simplex(5, 3), "needs 4 components"),
        (lambda: cross_polytope(9, 4), "raise n_components to 5"),
        (lambda: simplex(1, 3), "at least 2 points"),
        (lambda: orthogonal_simplices(9, 4), "Raise n_components to 5"),
        (lambda: minimal_energy(5, 1), "2 components"),
        (lambda: minimal_energy(5, 3, s=-1), "s >= 0"),
    ],
)
def test_what_cannot_be_is_refused_with_advice(call, message):
    with pytest.raises(ValueError, match=message):
        call()
