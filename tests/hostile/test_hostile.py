"""Hostile and odd input, drawn by hypothesis: it works, is stopped or is refused, never else.

A fifth of the cases is drawn where slow tests are left out; ``benchmarks/faults/hostile.py`` draws
thousands of the same.
"""

from collections import Counter

import hostile_cases as cases
import hostile_checks as checks
import pytest
from hypothesis import HealthCheck, given, settings

share = pytest.mark.parametrize("share", [5, pytest.param(1, marks=pytest.mark.slow)])


def outcomes(strategy, run, n):
    """Run n cases; how often each outcome came."""
    counts = Counter()

    @settings(
        max_examples=n,
        derandomize=True,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy())
    def once(case):
        counts[run(case).outcome] += 1

    once()
    return counts


@share
def test_a_fit_works_is_stopped_or_is_refused(share):
    assert outcomes(cases.fits, checks.run_fit, 200 // share)["worked"] > 100 // share


@share
def test_what_cannot_be_fitted_is_refused_before_training(share):
    counts = outcomes(cases.flawed, checks.run_fit, 100 // share)
    assert counts["refused"] == counts.total()


@share
def test_partial_fits_work_are_stopped_or_are_refused(share):
    assert outcomes(cases.calls, checks.run_calls, 60 // share)["worked"] > 30 // share


@share
def test_images_work_are_stopped_or_are_refused(share):
    assert outcomes(cases.images, checks.run_fit, 100 // share)["worked"] > 20 // share


@share
def test_metrics_are_in_their_range_or_refuse(share):
    assert outcomes(cases.measures, checks.run_measure, 200 // share)["worked"] > 40 // share


@share
def test_points_on_the_sphere_are_unit_vectors_or_refused(share):
    assert (
        outcomes(cases.arrangements, checks.run_arrangement, 100 // share)["worked"] > 30 // share
    )


def test_an_error_that_nobody_raised_on_purpose_is_no_refusal():
    with pytest.raises(AssertionError, match="no deliberate refusal"):
        checks.attempt(lambda: [].index(0))
