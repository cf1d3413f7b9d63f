"""The estimator inside searches and pipelines."""

from __future__ import annotations

from typing import Any

from sklearn.utils.validation import check_is_fitted


def fitted_step(estimator: Any) -> Any:
    """Return the estimator inside searches and pipelines, after a check that it is fitted."""
    check_is_fitted(estimator)
    while True:
        if hasattr(estimator, "best_estimator_"):
            estimator = estimator.best_estimator_
        elif hasattr(estimator, "steps"):
            estimator = estimator.steps[-1][1]
        else:
            return estimator
