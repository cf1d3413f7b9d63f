"""A fit from validated rows to fitted attributes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch

from skhug import _assembly as assembly
from skhug._callbacks import EpochCallbacks
from skhug._data import Batches, Rows
from skhug._device import (
    FLOPS_A_FUNCTION,
    draw_seed,
    resolve_device,
    resolve_dtype,
    seeded,
    threads_for,
    to_numpy,
    to_tensor,
)
from skhug._inference import device_of, embed
from skhug._monitor import Monitor
from skhug._objective import Objective
from skhug._parameters import default_batch_size, default_max_epochs, expand
from skhug._placement import place_rows
from skhug._tracking import make_tracker
from skhug._training import Patience, TrainingState, train
from skhug.optimizers import SCHEDULES


class Task(NamedTuple):
    """What to learn: training rows, rows to validate on or None, and the classes."""

    rows: Rows
    validation: Rows | None
    classes: np.ndarray


class FitRequest(NamedTuple):
    """A fit to be done: of what, on what, from the fitted weights or new ones, for how long."""

    estimator: Any
    task: Task
    continued: bool
    max_epochs: int | str
    schedule: Callable[[float], float]


# Asked before a fit trains: a search that has trained it already returns its fitted attributes.
trained_elsewhere: ContextVar[Callable[[FitRequest], dict[str, Any] | None]] = ContextVar(
    "trained_elsewhere", default=lambda request: None
)


def fit_rows(
    estimator: Any,
    task: Task,
    *,
    continued: bool,
    max_epochs: int | str,
    schedule: Callable[[float], float],
) -> dict[str, Any]:
    """Train as the estimator's parameters say; return the fitted attributes."""
    request = FitRequest(estimator, task, continued, max_epochs, schedule)
    fitted = trained_elsewhere.get()(request)
    if fitted is not None:
        return fitted
    seed = draw_seed(estimator.random_state)
    with seeded(seed, resolve_device(estimator.device)):
        state, batches, max_epochs = _begin(request, seed)
        _run(estimator, task, state, batches, max_epochs, schedule)
    return finish_fit(request, state)


def begin_fit(request: FitRequest) -> tuple[TrainingState, Batches, int]:
    """Return what a fit starts from and its epochs, for training that draws no random numbers."""
    seed = draw_seed(request.estimator.random_state)
    with seeded(seed, resolve_device(request.estimator.device)):
        return _begin(request, seed)


def finish_fit(request: FitRequest, state: TrainingState) -> dict[str, Any]:
    """Return the fitted attributes of a trained state."""
    state.release()
    rows = request.task.rows.X
    with threads_for(assembly.step_flops(state.objective, len(rows)), device_of(state.objective)):
        return _fitted_attributes(request.estimator, request.task, state)


def _begin(request: FitRequest, seed: int) -> tuple[TrainingState, Batches, int]:
    estimator, task, continued, max_epochs, _ = request
    objective = _objective(estimator, task, seed, continued)
    batches = _batches(estimator, task, objective)
    if max_epochs == "auto":
        max_epochs = default_max_epochs(len(batches))
    return _start(estimator, objective, seed), batches, max_epochs


def fit_one_epoch(estimator: Any, task: Task, *, continued: bool) -> dict[str, Any]:
    """Train one epoch more, with the optimizer's state of the last call; return the attributes.

    The learning rate stays constant: a schedule needs to know the end.
    """
    progress = getattr(estimator, "_progress", None)
    seed = draw_seed(estimator.random_state) if progress is None else progress["seed"] + 1
    with seeded(seed, resolve_device(estimator.device)):
        objective = _objective(estimator, task, seed, continued)
        batches = _batches(estimator, task, objective)
        state = _start(estimator, objective, seed)
        if progress is not None:
            state.resume(progress)
        _run(estimator, task, state, batches, state.epoch + 1, SCHEDULES["constant"])
    progress = {**state.progress(), "seed": seed}
    state.release()
    return {**_fitted_attributes(estimator, task, state), "_progress": progress}


def _run(
    estimator: Any,
    task: Task,
    state: TrainingState,
    batches: Batches,
    max_epochs: int,
    schedule: Callable[[float], float],
) -> None:
    monitor = _monitor(estimator, task, state, max_epochs)
    flops = assembly.step_flops(state.objective, batches.batch_size)
    with threads_for(flops, batches.class_weight.device):
        train(
            state,
            batches,
            max_epochs=max_epochs,
            schedule=schedule,
            begin_epoch=monitor.callbacks.begin_epoch,
            end_epoch=monitor.end_epoch,
        )
    monitor.end_fit(state)


def _objective(estimator: Any, task: Task, seed: int, continued: bool) -> Objective:
    """Return the objective, with new weights or going on from a copy of the fitted ones."""
    e, rows, n_classes = estimator, task.rows, len(task.classes)
    if continued:
        encoder = _continued_encoder(e, task)
        points = torch.from_numpy(e.proxies_)
    else:
        device = resolve_device(e.device)
        dtype = resolve_dtype(e.precision, rows.X, device)
        encoder = assembly.build_encoder(
            e.encoder, e.n_components, n_classes, rows.X, rows.weight, device, dtype
        )
        points = assembly.initial_proxies(
            e.proxies, e.uniformity, n_classes, encoder.n_components, seed
        )
    return assembly.build_objective(encoder, points, e.proxies, e.uniformity, e.alpha, e.beta)


def _continued_encoder(estimator: Any, task: Task) -> Any:
    """Return a copy of the fitted module: a fit that fails leaves the model as it was."""
    encoder = copy.deepcopy(estimator.module_)
    if not np.array_equal(task.classes, estimator.classes_):
        raise ValueError(
            f"warm_start: y has the classes {task.classes!r} and the fitted model "
            f"{estimator.classes_!r}. Set warm_start=False to fit a new model."
        )
    if task.rows.X.shape[1:] != encoder.input_shape:
        raise ValueError(
            f"warm_start: rows have shape {task.rows.X.shape[1:]} and the fitted model takes "
            f"{encoder.input_shape}. Set warm_start=False to fit a new model."
        )
    return encoder


def _batches(estimator: Any, task: Task, objective: Objective) -> Batches:
    rows = task.rows
    class_weight = assembly.class_weights(estimator.class_weight, rows.y, rows.weight, task.classes)
    batch_size, sampler = estimator.batch_size, None
    if estimator.batch_sampler is not None:
        sampler = estimator.batch_sampler.bind(rows.y)
        batch_size = sampler.batch_size
    elif batch_size == "auto":
        batch_size = default_batch_size(len(rows.X))
    encoder = objective.encoder
    device, dtype = device_of(encoder), encoder.prepare.dtype
    y = to_tensor(rows.y, device)
    weight, class_weight = (to_tensor(a, device, dtype) for a in (rows.weight, class_weight))
    with threads_for(FLOPS_A_FUNCTION * math.prod(rows.X.shape), device):
        X, prepare = place_rows(encoder, rows.X, estimator.augment)
    return Batches(X, y, weight, class_weight, batch_size, prepare, sampler)


def _start(estimator: Any, objective: Objective, seed: int) -> TrainingState:
    proxy_rate = getattr(expand("proxies", estimator.proxies), "learning_rate", None)
    return TrainingState.start(
        objective,
        estimator.optimizer,
        seed,
        learning_rate=estimator.learning_rate,
        proxy_learning_rate=estimator.learning_rate if proxy_rate is None else proxy_rate,
        weight_decay=estimator.weight_decay,
    )


def _monitor(estimator: Any, task: Task, state: TrainingState, max_epochs: int) -> Monitor:
    rows, validation, classes = task
    objective, score = state.objective, None
    if validation is not None:

        def score() -> float:
            embeddings = embed(objective.encoder, validation.X)
            return estimator._validation_score(embeddings, validation, objective.unit_proxies())

    callbacks = EpochCallbacks(
        estimator,
        max_epochs - state.epoch,
        X=rows.X,
        y=lambda: classes[rows.y],
        metadata={"sample_weight": rows.weight} if np.ptp(rows.weight) else None,
    )
    return Monitor(
        callbacks,
        # Callbacks keep what they are given, and training goes on with the weights.
        lambda: copy.deepcopy(_fitted_attributes(estimator, task, state)),
        score,
        make_tracker(estimator.track, objective, rows),
        Patience(estimator.n_iter_no_change, estimator.tol) if estimator.early_stopping else None,
        bool(estimator.verbose),
    )


def _fitted_attributes(estimator: Any, task: Task, state: TrainingState) -> dict[str, Any]:
    objective, history = state.objective, list(state.history)
    held_out = task.rows if task.validation is None else task.validation
    return {
        "module_": objective.encoder,
        "proxies_": to_numpy(objective.unit_proxies()),
        "classes_": task.classes,
        "history_": history,
        "n_iter_": state.epoch,
        "loss_": history[-1]["loss"] if history else float("nan"),
        **estimator._fitted_extras(objective, held_out),
    }
