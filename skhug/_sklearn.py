"""The one place that knows scikit-learn's private API: checks, callbacks, what wraps estimators."""

from __future__ import annotations

import functools
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from sklearn.base import BaseEstimator
from sklearn.base import _fit_context as fit_context
from sklearn.utils._param_validation import (
    HasMethods,
    Interval,
    InvalidParameterError,
    Options,
    StrOptions,
    validate_parameter_constraints,
)
from sklearn.utils.validation import _check_sample_weight as check_sample_weight
from sklearn.utils.validation import _check_y as check_y
from sklearn.utils.validation import check_is_fitted

__all__ = [
    "CallbackSupportMixin",
    "EpochCallbacks",
    "HasMethods",
    "Interval",
    "InvalidParameterError",
    "Options",
    "QuickEstimator",
    "StrOptions",
    "check_sample_weight",
    "check_y",
    "fit_context",
    "fitted_step",
    "validate_parameter_constraints",
]


class QuickEstimator(BaseEstimator):
    """scikit-learn's base, which reads the signature of a class once and not at every call."""

    @classmethod
    @functools.cache
    def _get_param_names(cls) -> list[str]:
        return super()._get_param_names()


if find_spec("sklearn.callback") is None:

    class CallbackSupportMixin:
        """Stand-in without methods: scikit-learn < 1.9 has no callbacks."""

else:

    class CallbackSupportMixin:
        """scikit-learn's mixin, imported where it is called: it brings rich's progress bars.

        Not a base of this one, so that ``isinstance`` says no; scikit-learn asks for the methods.
        """

        def set_callbacks(self, *callbacks: Any) -> Any:
            """Set callbacks for the estimator.

            Parameters
            ----------
            *callbacks : callback instances
                The callbacks to set.

            Returns
            -------
            self : estimator
            """
            return _theirs().set_callbacks(self, *callbacks)

        def _init_callback_context(self, *args: Any, **options: Any) -> Any:
            return _theirs()._init_callback_context(self, *args, **options)


def _theirs() -> type:
    from sklearn.callback import CallbackSupportMixin

    return CallbackSupportMixin


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


class EpochCallbacks:
    """Tells an estimator's callbacks of the fit and of each of its epochs.

    Parameters
    ----------
    estimator : estimator
        Whose ``fit`` is running, inside scikit-learn's fit context.
    max_epochs : int
        Epochs at most.
    **data : object
        ``X``, ``y`` and ``metadata`` as the hooks receive them, or functions that return them.
    """

    def __init__(self, estimator: Any, max_epochs: int, **data: Any) -> None:
        self._arguments = {"estimator": estimator, **data}
        self._fit = None
        if hasattr(estimator, "_init_callback_context"):
            self._fit = estimator._init_callback_context(max_subtasks=max_epochs)
            self._fit.call_on_fit_task_begin(**self._arguments)

    @classmethod
    def of_nobody(cls) -> EpochCallbacks:
        """Return what tells nobody: in a process that leaves the callbacks to another."""
        return cls(None, 0)

    def begin_epoch(self) -> None:
        """Call the hooks at the begin of an epoch."""
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(**self._arguments)

    def end_epoch(self, fitted: Callable[[], dict[str, Any]]) -> bool:
        """Call the hooks at the end of an epoch; true if one of them asks to stop.

        ``fitted`` returns copies of the fitted attributes; it is called only where a hook
        takes a fitted estimator.
        """
        if self._fit is None:
            return False
        return self._epoch.call_on_fit_task_end(**self._arguments, reconstruction_attributes=fitted)

    def end_fit(self, fitted: Callable[[], dict[str, Any]]) -> None:
        """Call the hooks at the end of the fit."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(**self._arguments, reconstruction_attributes=fitted)
