"""Measures of hyperspherical uniformity against naive loops and closed forms."""

import itertools
import math

import pytest
import torch
from sklearn.base import clone
from torch.nn.functional import normalize

from skhug.losses import (
    MGD,
    MHE,
    MHS,
    HUGLoss,
    _measures,
    _uniformity,
    gram_logdet,
    hyperspherical_energy,
    separation,
)
from skhug.losses import _pair_sums as _pairs


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    return torch.randn(12, 4, generator=generator, dtype=torch.float64).requires_grad_()


def distances(points):
    unit = normalize(points)
    return [(unit[i] - unit[j]).norm() for i, j in itertools.combinations(range(len(unit)), 2)]


@pytest.mark.parametrize("s", [0, 0.5, 1, 2, 3])
def test_energy_equals_naive_loop(points, s):
    terms = [-torch.log(r) if s == 0 else r**-s for r in distances(points)]
    torch.testing.assert_close(hyperspherical_energy(points, s), 2 * sum(terms) / len(points))


@pytest.mark.parametrize("s", [0, 1, 2])
def test_energy_of_near_points_keeps_its_digits_in_float32(s):
    angle = 1e-3
    wide = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)], [-1.0, 0.0]])
    exact = wide.double().requires_grad_()
    single = wide.clone().requires_grad_()
    value, expected = hyperspherical_energy(single, s), hyperspherical_energy(exact, s)
    value.backward()
    expected.backward()
    torch.testing.assert_close(value.double(), expected, rtol=1e-4, atol=0)
    torch.testing.assert_close(single.grad.double()[:2, 1], exact.grad[:2, 1], rtol=1e-3, atol=0)


def test_blocks_change_neither_value_nor_gradient(points, monkeypatch):
    def evaluate():
        value = hyperspherical_energy(points, 2) + separation(points, 0.3)
        return value, *torch.autograd.grad(value, points)

    whole = evaluate()
    monkeypatch.setattr(_pairs, "_TILE", 5)
    torch.testing.assert_close(evaluate(), whole)


def test_separation_is_the_smallest_distance_and_its_smooth_form_tends_to_it(points):
    smallest = min(distances(points))
    torch.testing.assert_close(separation(points), smallest)
    smooth = [separation(points, temperature) for temperature in (1.0, 0.1, 0.01)]
    assert smooth[0] < smooth[1] < smooth[2] <= smallest * (1 + 1e-12)
    expected = -0.1 * torch.log(sum(torch.exp(-r / 0.1) for r in distances(points)))
    torch.testing.assert_close(smooth[1], expected)


def test_gram_logdet_equals_the_determinant(points):
    unit = normalize(points)
    gram = torch.exp(-(1.5**2) * torch.cdist(unit, unit) ** 2)
    torch.testing.assert_close(gram_logdet(points, 1.5), torch.logdet(gram), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "function", [hyperspherical_energy, lambda p: separation(p, 0.2), gram_logdet]
)
def test_between_class_functions_pass_gradcheck(points, function):
    assert torch.autograd.gradcheck(function, points)


@pytest.mark.parametrize("measure", [MHE(), MHS(), MGD()], ids=repr)
def test_measures_prefer_the_simplex_to_random_points(measure, points):
    simplex = torch.eye(5, dtype=torch.float64) - 0.2
    random = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert measure.between(simplex) < measure.between(random)


@pytest.mark.parametrize("measure", [MHE(), MHE(s=0), MHS(), MGD()], ids=repr)
def test_few_fixed_points_are_measured_exactly(measure, points):
    torch.testing.assert_close(measure.between_fixed(points), measure.between(points))


@pytest.mark.usefixtures("random_states_untouched")
@pytest.mark.parametrize("measure", [MHE(), MHE(s=0), MHS()], ids=repr)
def test_many_fixed_points_are_estimated_closely(measure, monkeypatch):
    points = torch.randn(900, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact = measure.between(points)
    monkeypatch.setattr(_uniformity, "_EXACT_POINTS", 300)
    estimate = measure.between_fixed(points)
    torch.testing.assert_close(estimate, exact, rtol=0.02, atol=0)
    assert estimate != exact


def test_gram_determinant_of_a_subset_is_a_lower_bound(monkeypatch):
    points = torch.randn(200, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact = MGD().between(points)
    monkeypatch.setattr(_measures, "_EXACT_GRAM", 60)
    assert 0 < MGD().between_fixed(points) < exact


@pytest.mark.parametrize("measure", [MHE(s=1), MHS(temperature=0.1), MGD(eps=2.0)], ids=repr)
def test_measures_are_cloned_with_their_parameters(measure):
    copy = clone(measure).set_params(s_within=-3.0)
    assert copy.get_params() == {**measure.get_params(), "s_within": -3.0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hyperspherical_energy(torch.eye(3), -1), "s >= 0"),
        (lambda: separation(torch.eye(3), -1), "0 or more"),
        (lambda: gram_logdet(torch.eye(3), 0), "above 0"),
        (lambda: hyperspherical_energy(torch.ones(1, 3)), "n_points >= 2"),
        (lambda: MHE(s_within=1.0).pull(torch.ones(1)), "below 0"),
    ],
)
def test_wrong_parameters_are_explained(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("s", [0, 2])
def test_sampled_energy_is_unbiased_in_value_and_gradient(s, monkeypatch):
    points = torch.randn(7, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    orders = [torch.tensor(order) for order in itertools.permutations(range(7))]
    draws = iter(orders)
    monkeypatch.setattr(torch, "randperm", lambda n, device: next(draws))
    values, slopes = zip(
        *(MHE(s=s, n_sampled=3).between_gradient(points) for _ in orders), strict=True
    )
    exact, slope = MHE(s=s).between_gradient(points)
    assert torch.stack(values).std() > 0.01 * exact.abs()
    torch.testing.assert_close(torch.stack(values).mean(), exact)  # over every possible draw
    torch.testing.assert_close(torch.stack(slopes).mean(0), slope)


def test_sampled_energies_differ_from_step_to_step_and_repeat_with_the_seed(points):
    def energies():
        torch.manual_seed(0)
        return [float(MHE(n_sampled=5).between(points.detach())) for _ in range(3)]

    first = energies()
    assert len(set(first)) == 3
    assert energies() == first


def test_sampling_all_points_is_exact(points):
    got, expected = MHE(n_sampled=1000).between_gradient(points), MHE().between_gradient(points)
    torch.testing.assert_close(got, expected)


@pytest.mark.parametrize("measure", [MHE(), MHE(n_sampled=5), MHS(), MGD()], ids=repr)
def test_the_gradient_between_classes_equals_autograds(measure, points):
    leaf = points.detach().clone().requires_grad_()
    torch.manual_seed(0)
    measure.between(leaf).backward()
    torch.manual_seed(0)
    value, gradient = measure.between_gradient(points)
    torch.manual_seed(0)
    torch.testing.assert_close(value, measure.between(points))
    torch.testing.assert_close(gradient, leaf.grad)


@pytest.mark.parametrize(
    "measure",
    [
        MHE(s=-1),
        MHE(s_within=0),
        MHE(repulsion=-1.0),
        MHE(repulsion_scale=0),
        MHE(n_sampled=1),
        MHE(n_sampled=2.5),
        MHS(temperature=0.0),
        MGD(eps="wide"),
    ],
    ids=repr,
)
def test_parameters_out_of_range_are_refused_with_the_range(measure):
    with pytest.raises(ValueError, match=r"pass a (whole )?number"):
        HUGLoss(measure)


def test_near_pairs_are_exact_by_arithmetic_of_fixed_shape(monkeypatch):
    generator = torch.Generator().manual_seed(0)
    exact = torch.randn(40, 6, dtype=torch.float64, generator=generator)
    exact[1] = exact[0] + 1e-4 * torch.randn(6, dtype=torch.float64, generator=generator)
    points = exact.float()
    kernel = _pairs.riesz_kernel(2.0, 1e-12)
    expected = _pairs.pair_sum(points.double(), kernel)
    monkeypatch.setattr(_pairs, "_near_pairs", lambda squared: None)  # as on a GPU
    for got, wanted in zip(_pairs.wide_pair_sum(points, kernel), expected, strict=True):
        torch.testing.assert_close(got.double(), wanted, rtol=1e-5, atol=0)
    narrow, _ = _pairs.pair_sum(points, kernel)
    assert abs(narrow / expected[0] - 1) > 1e-3  # what it guards against
