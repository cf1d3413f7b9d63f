"""Hostile and odd input, drawn by hypothesis: it works, is stopped or is refused, never else.

``benchmarks/faults/hostile.py`` draws thousands of the same.
"""

from collections import Counter

import hostile_cases as cases
import hostile_checks as checks
import pytest
from hypothesis import HealthCheck, given, settings


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


def test_a_fit_works_is_stopped_or_is_refused():
    assert outcomes(cases.fits, checks.run_fit, 200)["worked"] > 100


def test_what_cannot_be_fitted_is_refused_before_training():
    counts = outcomes(cases.flawed, checks.run_fit, 100)
    assert counts["refused"] == counts.total()


def test_partial_fits_work_are_stopped_or_are_refused():
    assert outcomes(cases.calls, checks.run_calls, 60)["worked"] > 30


def test_images_work_are_stopped_or_are_refused():
    assert outcomes(cases.images, checks.run_fit, 100)["worked"] > 20


def test_metrics_are_in_their_range_or_refuse():
    assert outcomes(cases.measures, checks.run_measure, 200)["worked"] > 40


def test_points_on_the_sphere_are_unit_vectors_or_refused():
    assert outcomes(cases.arrangements, checks.run_arrangement, 100)["worked"] > 30


def test_an_error_that_nobody_raised_on_purpose_is_no_refusal():
    with pytest.raises(AssertionError, match="no deliberate refusal"):
        checks.attempt(lambda: [].index(0))
