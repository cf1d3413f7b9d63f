"""Spherical codes: Weil's bound, repulsion, and both against random points."""

import math

import pytest
import torch

from skhug.losses import hyperspherical_energy
from skhug.proxies import minimal_energy, optimal_proxies, random_proxies, spherical_code
from skhug.proxies._phase_code import coherence_bound, phase_code
from skhug.proxies._spherical_codes import random_coherence, repel


def largest_cosine(points):
    return float((points @ points.T).fill_diagonal_(-1).max())


@pytest.mark.parametrize(("n", "d"), [(20, 10), (68, 34), (1000, 34), (1156, 35), (3000, 46)])
def test_no_cosine_of_a_code_is_above_weils_bound(n, d):
    points = phase_code(n, d)
    torch.testing.assert_close(points.norm(dim=1), torch.ones(n, dtype=torch.float64))
    assert largest_cosine(points) <= coherence_bound(n, d) + 1e-12


def test_linear_phases_are_a_cross_polytope():
    cosines = phase_code(4 * 7, 14) @ phase_code(4 * 7, 14).T
    torch.testing.assert_close(cosines, cosines.round(), rtol=0, atol=1e-12)
    assert (cosines.round() == -1).sum(1).tolist() == [1] * 28


def test_points_of_a_code_are_its_formula():
    n, p = 11 * 4 + 2 + 4 * 11 * 3, 11  # quarter turn 2, linear coefficient 0, quadratic 4
    points = phase_code(n + 1, 23)
    f = [(n // 4 % p) * x + (n // 4 // p) * x * x for x in range(p)]
    z = [complex(0, 1) ** (n % 4) * complex(math.cos(a), math.sin(a))
         for a in (2 * math.pi * v / p for v in f)]  # fmt: skip
    expected = torch.tensor([v.real for v in z] + [v.imag for v in z] + [0.0]).double()
    torch.testing.assert_close(points[n] * math.sqrt(p), expected, rtol=0, atol=1e-6)


def test_a_code_is_nested_whatever_the_block():
    assert torch.equal(phase_code(5000, 22)[:4097], phase_code(4097, 22))


def test_random_coherence_is_that_of_random_points():
    found = [largest_cosine(random_proxies(2000, 20, random_state=seed)) for seed in range(5)]
    assert random_coherence(2000, 20) == pytest.approx(sum(found) / 5, abs=0.02)


@pytest.mark.parametrize(("n", "d", "share"), [(3000, 128, 0.4), (3000, 48, 0.65), (3000, 24, 0.7)])
def test_many_points_are_further_apart_than_random_ones(n, d, share):
    random = largest_cosine(random_proxies(n, d, random_state=0))
    assert largest_cosine(spherical_code(n, d, random_state=0)) <= share * random


def test_repulsion_spreads_points_on_the_ordinary_sphere():
    def nearest_angle(points):
        return math.acos(largest_cosine(points))

    ideal = math.sqrt(8 * math.pi / math.sqrt(3) / 2000)  # of the hexagonal lattice
    random = random_proxies(2000, 3, random_state=0)
    assert nearest_angle(random) < 0.1 * ideal
    spread = repel(random.clone(), 200, torch.Generator().manual_seed(0))
    assert nearest_angle(spread) > 0.5 * ideal


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d"), [(1000, 64), (1000, 20)])
def test_energy_is_close_to_what_a_search_finds(n, d):
    searched = hyperspherical_energy(minimal_energy(n, d, random_state=0))
    code = hyperspherical_energy(spherical_code(n, d, random_state=0))
    assert code <= 1.001 * searched


def test_optimal_proxies_of_many_classes_are_the_code():
    n = 4000
    assert torch.equal(optimal_proxies(n, 40, random_state=3), spherical_code(n, 40, 3))
    separated = optimal_proxies(n, 40, criterion="separation", random_state=3)
    assert torch.equal(separated, spherical_code(n, 40, 3))


@pytest.mark.usefixtures("random_states_untouched")
def test_seeds_repeat_the_repulsion():
    first, again, other = (spherical_code(400, 12, random_state=seed) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_no_code_exists_in_few_components():
    assert coherence_bound(100, 5) == math.inf
    assert coherence_bound(10**9, 6) == math.inf


def test_too_few_points_are_refused():
    with pytest.raises(ValueError, match="at least 2 of each"):
        spherical_code(1, 8)
