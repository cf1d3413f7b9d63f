"""Centres and scales of features of every kind."""

import numpy as np
import pytest

from skhug._data.feature_scale import centre_and_scale


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    normal = rng.normal(3.0, 2.0, 4000)
    pixel = np.where(rng.random(4000) < 0.01, rng.uniform(0, 255, 4000), 0)
    heavy = np.exp(3 * rng.normal(size=4000))
    binary = (rng.random(4000) < 0.3).astype(float)
    return np.column_stack([normal, pixel, heavy, binary, np.full(4000, 0.1 + 0.2)])


def test_scale_is_half_the_range_or_robust_where_tails_are_heavy(columns):
    centre, scale = centre_and_scale(columns, np.ones(4000))
    half_range = np.ptp(columns, axis=0) / 2
    np.testing.assert_allclose(scale[0], 3 * 2.0, rtol=0.05)  # under the half range of 4,000 rows
    np.testing.assert_allclose(scale[[1, 3]], half_range[[1, 3]])
    assert scale[2] < half_range[2] / 100
    assert scale[4] == 0
    np.testing.assert_allclose(centre[[0, 1, 3]], columns.mean(0)[[0, 1, 3]])
    assert centre[2] < np.mean(columns[:, 2])


def test_units_and_offsets_only_move_them(columns):
    unit, offset = np.array([1e-6, 1e6, 10.0, -3.0, 1.0]), np.array([0, 1e6, -1e3, 5.0, 0])
    centre, scale = centre_and_scale(columns, np.ones(4000))
    moved_centre, moved_scale = centre_and_scale(columns * unit + offset, np.ones(4000))
    np.testing.assert_allclose(moved_scale, scale * np.abs(unit), rtol=1e-2)
    np.testing.assert_allclose(moved_centre, centre * unit + offset, rtol=1e-2)


def test_integer_weights_equal_repeated_rows(columns):
    X, weight = columns[:500], np.arange(1, 501) % 4 + 1
    weighted = centre_and_scale(X, weight.astype(float))
    repeated = centre_and_scale(X.repeat(weight, axis=0), np.ones(weight.sum()))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-12)


@pytest.mark.parametrize("factor", [1e-30, 1e30, 1e300])
def test_huge_and_tiny_values_stay_finite(columns, factor):
    centre, scale = centre_and_scale(columns[:, :4] * factor, np.ones(4000))
    assert np.isfinite(centre).all()
    np.testing.assert_allclose(scale / factor, centre_and_scale(columns[:, :4], np.ones(4000))[1])
