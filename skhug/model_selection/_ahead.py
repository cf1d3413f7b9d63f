"""Fits trained before they are asked for: a search's jobs planned, stacked and trained."""

from __future__ import annotations

import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import torch

from skhug._callbacks import has_callbacks
from skhug._device import threads_for
from skhug._training.build import step_flops
from skhug._training.fit import FitRequest, begin_fit, finish_fit, trained_elsewhere
from skhug._training.stack import Replica, stack_key, train_stack
from skhug._training.state import TrainingState

__all__ = ["Ahead", "asked_first"]

# Weights planned at once: with gradients and moments, four times as many numbers in memory.
_WEIGHTS = 2**24


class Planned(Exception):
    """Carries the request of a fit that got as far as its training."""


@contextmanager
def asked_first(answer: Callable[[FitRequest], dict[str, Any] | None]) -> Iterator[None]:
    """Ask ``answer`` for the fitted attributes before any fit of this thread trains."""
    token = trained_elsewhere.set(answer)
    try:
        yield
    finally:
        trained_elsewhere.reset(token)


@dataclass
class _Plan:
    """A planned fit: which job it is, what it asked for, and its state once it is trained."""

    job: int
    request: FitRequest
    trained: TrainingState | None = None


class Ahead:
    """Answers fits with states that were trained in stacks beforehand.

    The first fit that comes and is not known yet has jobs planned: they run up to their
    training, those that can are trained together, and each fit that comes then is recognised by
    its parameters and rows. What was not planned or could not be stacked gets no answer and
    trains by itself, so that a plan that does not come true costs time and nothing else.

    Parameters
    ----------
    jobs : iterable of callable
        Each fits one estimator, in the order in which the fits will come.
    """

    def __init__(self, jobs: Iterable[Callable[[], object]]) -> None:
        self._jobs = enumerate(jobs)
        self._plans: list[_Plan] = []
        # What to add to the measured seconds of each job's fit, to share a stack's among its own.
        self.seconds: dict[int, float] = defaultdict(float)

    def __call__(self, request: FitRequest) -> dict[str, Any] | None:
        """Return the fitted attributes of a fit trained already; None if there are none."""
        plan = self._claim(request)
        if plan is None:
            start = time.perf_counter()
            stacked = self._plan()
            plan = self._claim(request)
            self._share(time.perf_counter() - start, stacked, plan)
        if plan is None or plan.trained is None or has_callbacks(request.estimator):
            return None
        return finish_fit(request, plan.trained)

    def _claim(self, request: FitRequest) -> _Plan | None:
        for i, plan in enumerate(self._plans):
            if _same_fit(plan.request, request):
                return self._plans.pop(i)
        return None

    def _share(self, seconds: float, stacked: list[_Plan], asked: _Plan | None) -> None:
        """Take the time off the job that happened to wait for it and give it to all."""
        if asked is not None and stacked:
            self.seconds[asked.job] -= seconds
            for plan in stacked:
                self.seconds[plan.job] += seconds / len(stacked)

    def _plan(self) -> list[_Plan]:
        """Plan jobs, train those that go together, and return them."""
        stacks: dict[Hashable, list[tuple[_Plan, Replica]]] = defaultdict(list)
        weights, shared = 0, _Shared()
        for job, fit in self._jobs:
            request = _requested(fit)
            if request is None:
                continue
            plan = _Plan(job, shared.rows(request))
            self._plans.append(plan)
            replica = _begin(request, shared) if _can_wait(request) else None
            key = None if replica is None else stack_key(replica)
            if key is None:
                continue
            stacks[key].append((plan, replica))
            weights += sum(segment.values.numel() for segment in replica.state.segments)
            if weights > _WEIGHTS:
                break
        return [plan for members in stacks.values() for plan in _train(members)]


def _begin(request: FitRequest, shared: _Shared) -> Replica | None:
    """Start a fit; None if that fails, as it will again where scikit-learn deals with it."""
    try:
        state, batches, max_epochs = begin_fit(request)
    except Exception:
        return None
    batches.X = shared.tensor(batches.X)
    return Replica(state, batches, max_epochs, request.schedule)


def _train(members: list[tuple[_Plan, Replica]]) -> list[_Plan]:
    """Train a stack of at least two; return the plans that came out well."""
    if len(members) < 2:
        return []
    replicas = [replica for _, replica in members]
    state, batches = replicas[0].state, replicas[0].batches
    # As for a single fit: a stack consists of small operations as that does.
    flops = step_flops(state.objective, batches.batch_size)
    try:
        with threads_for(flops, batches.X.device):
            train_stack(replicas)
    except (TypeError, ValueError, RuntimeError):  # single fits show whose it is
        return []
    good = [(plan, replica.state) for plan, replica in members if _is_finite(replica.state)]
    for plan, state in good:
        plan.trained = state
    return [plan for plan, _ in good]


def _is_finite(state: TrainingState) -> bool:
    """Whether training went well; if not, a single fit knows which weights to keep."""
    return state.is_finite() and all(np.isfinite(row["loss"]) for row in state.history)


def _requested(fit: Callable[[], object]) -> FitRequest | None:
    """Run a fit up to its training and return what it asked for."""

    def stop(request: FitRequest) -> None:
        raise Planned(request)

    with asked_first(stop), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they come again with the fit itself
        try:
            fit()
        except Planned as planned:
            return planned.args[0]
        except Exception:  # it comes again where scikit-learn deals with it
            return None
    return None


def _can_wait(request: FitRequest) -> bool:
    """Whether nothing happens between the epochs of a fit, and it can be recognised later."""
    estimator = request.estimator
    return (
        request.task.validation is None
        and not request.continued
        and not estimator.early_stopping
        and estimator.checkpoint is None
        and not estimator.verbose
        and not estimator.track
        and not has_callbacks(estimator)
        and isinstance(estimator.random_state, Integral | None)
    )


def _same_fit(one: FitRequest, other: FitRequest) -> bool:
    return (
        type(one.estimator) is type(other.estimator)
        and _same(one.estimator.get_params(), other.estimator.get_params())
        and np.array_equal(one.task.classes, other.task.classes)
        and all(_same_array(a, b) for a, b in zip(one.task.rows, other.task.rows, strict=True))
    )


def _same(one: Any, other: Any) -> bool:
    """Whether two parameters are certain to mean the same."""
    if one is other:
        return True
    if type(one) is not type(other):
        return False
    if hasattr(one, "get_params"):
        return _same(one.get_params(), other.get_params())
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, np.ndarray):
        return np.array_equal(one, other)
    try:
        return bool(one == other)
    except (RuntimeError, TypeError, ValueError):  # compared element by element
        return False


def _same_array(one: np.ndarray, other: np.ndarray) -> bool:
    if one is other:
        return True
    # Most that differ do so in the first row.
    return (
        one.shape == other.shape
        and one.dtype == other.dtype
        and np.array_equal(one[:1], other[:1])
        and np.array_equal(one, other)
    )


class _Shared:
    """One object for equal rows: candidates train on the same folds."""

    def __init__(self) -> None:
        self._arrays: list[np.ndarray] = []
        self._tensors: list[torch.Tensor] = []

    def rows(self, request: FitRequest) -> FitRequest:
        """Return the request with rows that equal requests share."""
        X = request.task.rows.X
        known = next((array for array in self._arrays if _same_array(array, X)), None)
        if known is None:
            self._arrays.append(X)
            return request
        task = request.task._replace(rows=request.task.rows._replace(X=known))
        return request._replace(task=task)

    def tensor(self, X: torch.Tensor) -> torch.Tensor:
        """Return the tensor that equal ones share."""
        for known in self._tensors:
            alike = known.shape == X.shape and known.dtype == X.dtype
            if alike and torch.equal(known[:1], X[:1]) and torch.equal(known, X):
                return known
        self._tensors.append(X)
        return X
