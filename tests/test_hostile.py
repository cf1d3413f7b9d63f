"""Hostile and odd input, drawn by hypothesis: it works, is stopped or is refused, never else.

``benchmarks/faults/hostile.py`` draws thousands of the same.
"""

import hostile_cases as cases
import hostile_checks as checks
import pytest
from hypothesis import HealthCheck, given, settings

drawn = settings(
    derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
)


@settings(drawn, max_examples=200)
@given(cases.fits())
def test_a_fit_works_is_stopped_or_is_refused(case):
    checks.run_fit(case)


@settings(drawn, max_examples=100)
@given(cases.flawed())
def test_what_cannot_be_fitted_is_refused_before_training(case):
    assert checks.run_fit(case).outcome == "refused"


@settings(drawn, max_examples=100)
@given(cases.calls())
def test_partial_fits_work_are_stopped_or_are_refused(case):
    checks.run_calls(case)


@settings(drawn, max_examples=100)
@given(cases.images())
def test_images_work_are_stopped_or_are_refused(case):
    checks.run_fit(case)


@settings(drawn, max_examples=200)
@given(cases.measures())
def test_metrics_are_in_their_range_or_refuse(case):
    checks.run_measure(case)


@settings(drawn, max_examples=100)
@given(cases.arrangements())
def test_points_on_the_sphere_are_unit_vectors_or_refused(case):
    checks.run_arrangement(case)


def test_an_error_that_nobody_raised_on_purpose_is_no_refusal():
    with pytest.raises(AssertionError, match="no deliberate refusal"):
        checks.attempt(lambda: [].index(0))
