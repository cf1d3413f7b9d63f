"""A fit from validated rows to fitted attributes."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skhug._callbacks import EpochCallbacks
from skhug._configured import plain
from skhug._data.batches import Batches
from skhug._data.placement import place_rows
from skhug._data.rows import Rows, split_rows
from skhug._device import (
    FLOPS_A_FUNCTION,
    draw_seed,
    resolve_device,
    resolve_dtype,
    seeded,
    tf32_for,
    threads_for,
    to_numpy,
    to_tensor,
    trains_in_bfloat16,
)
from skhug._model.embedding import device_of, embed
from skhug._parameters import (
    check_instances,
    default_batch_size,
    default_decay,
    default_max_epochs,
    expand,
    warn_of_idle_alpha,
)
from skhug._training import build as assembly
from skhug._training.continuing import (
    Summary,
    continued_encoder,
    pack_summary,
    running_summary,
    summary_of,
)
from skhug._training.cuda_graph import acceleration
from skhug._training.loop import train
from skhug._training.monitor import Monitor
from skhug._training.objective import Objective
from skhug._training.preflight import Probe, check_numbers, check_start
from skhug._training.resuming import Keeper, NoKeeper, make_keeper, restore
from skhug._training.state import Patience, TrainingState
from skhug._training.tracking import make_tracker
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
    # Whether the last epoch is known: partial_fit may be called once more.
    known_end: bool = True


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
    estimator = plain(estimator)
    request = FitRequest(estimator, task, continued, plain(max_epochs), schedule)
    fitted = trained_elsewhere.get()(request)
    warn_of_idle_alpha(estimator)
    if fitted is not None:
        return fitted
    with make_keeper(estimator, *task, continued) as keeper:
        saved = keeper.load()
        request, seed = _drawn(request, keeper.seeds)
        with seeded(seed, resolve_device(estimator.device)):
            state, batches, max_epochs = _begin(request, seed)
            patience = _patience(estimator)
            if saved is not None:
                restore(saved, state, patience)
                if estimator.verbose:
                    print(f"going on after epoch {state.epoch}, from {keeper.path}")
            ended = _run(request, state, batches, max_epochs, patience, keeper)
        fitted = finish_fit(request, state)
        keeper.done = ended
    return fitted


def _drawn(request: FitRequest, seeds: list[int]) -> tuple[FitRequest, int]:
    """Set rows aside for early stopping; return the request and the seed of the training.

    ``seeds`` are those of an interrupted fit, or receive those that are drawn.
    """
    estimator, task = request.estimator, request.task
    splits = task.validation is None and estimator.early_stopping
    drawn = [draw_seed(estimator.random_state) for _ in range(1 + splits)]
    seeds[:] = seeds or drawn
    if splits:
        rows, held_out = split_rows(task.rows, estimator.validation_fraction, seeds[0])
        request = request._replace(task=task._replace(rows=rows, validation=held_out))
    if request.task.validation is not None:
        estimator._check_scorable(request.task.validation.y)
    return request, seeds[-1]


def _patience(estimator: Any) -> Patience | None:
    if not estimator.early_stopping:
        return None
    return Patience(estimator.n_iter_no_change, estimator.tol)


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
    estimator, task, continued, max_epochs, *_ = request
    state, batches = _start(estimator, task, seed, continued)
    if max_epochs == "auto":
        max_epochs = default_max_epochs(len(batches))
    return state, batches, max_epochs


def fit_one_epoch(estimator: Any, task: Task, *, continued: bool) -> dict[str, Any]:
    """Train one epoch more, with the optimizer's state of the last call; return the attributes.

    The learning rate stays constant: a schedule needs to know the end.
    """
    estimator = plain(estimator)
    progress = getattr(estimator, "_progress", None)
    seed = draw_seed(estimator.random_state) if progress is None else progress["seed"] + 1
    request = FitRequest(estimator, task, continued, 1, SCHEDULES["constant"], known_end=False)
    summary = None
    if not continued:
        warn_of_idle_alpha(estimator)
    else:
        saved = (progress or {}).get("summary")  # files of older versions have none
        summary = running_summary(estimator, task.rows, saved, seed)
    with seeded(seed, resolve_device(estimator.device)):
        state, batches = _start(estimator, task, seed, continued, summary)
        if progress is not None:
            state.resume(progress)
        before = state.epoch
        _run(request, state, batches, before + 1, None, NoKeeper())
    if state.epoch > before:  # else it diverged, and so did the optimizer's state
        if not continued:
            summary = summary_of(estimator, state.objective.encoder, task.rows, seed)
        progress = {**state.progress(), "seed": seed, "summary": pack_summary(summary)}
    state.release()
    return {**_fitted_attributes(estimator, task, state), "_progress": progress}


def _run(
    request: FitRequest,
    state: TrainingState,
    batches: Batches,
    max_epochs: int,
    patience: Patience | None,
    keeper: Keeper | NoKeeper,
) -> bool:
    """Train; return whether training came to its end, and was not interrupted."""
    monitor = _monitor(request, state, max_epochs, patience, keeper)
    flops = assembly.step_flops(state.objective, batches.batch_size)
    device = batches.class_weight.device
    with threads_for(flops, device), tf32_for(request.estimator.precision, device):
        ended = train(
            state,
            batches,
            max_epochs=max_epochs,
            schedule=request.schedule,
            begin_epoch=monitor.callbacks.begin_epoch,
            end_epoch=monitor.end_epoch,
            accelerate=acceleration(state, flops),
        )
    monitor.end_fit(state)
    return ended


def _objective(
    estimator: Any, task: Task, seed: int, continued: bool, summary: Summary | None
) -> Objective:
    """Return the objective, with new weights or going on from a copy of the fitted ones."""
    e, rows, n_classes = estimator, task.rows, len(task.classes)
    if continued:
        encoder = continued_encoder(e, rows, task.classes, summary)
        points = torch.from_numpy(e.proxies_)
    else:
        device = resolve_device(e.device)
        dtype = resolve_dtype(e.precision, rows.X, device)
        encoder = assembly.build_encoder(
            e.encoder, e.n_components, n_classes, rows.X, rows.weight, device, dtype
        )
        points = assembly.initial_proxies(e.proxies, e.uniformity, n_classes, encoder, rows, seed)
    return assembly.build_objective(encoder, points, e.proxies, e.uniformity, e.alpha, e.beta)


def _batches(estimator: Any, task: Task, objective: Objective) -> Batches:
    rows = task.rows
    batch_size, sampler = estimator.batch_size, None
    if estimator.batch_sampler is not None:
        sampler = estimator.batch_sampler.bind(rows.y)
        batch_size = sampler.batch_size
    elif batch_size == "auto":
        batch_size = default_batch_size(len(rows.X))
    class_weight = assembly.class_weights(
        estimator.class_weight, rows.y, rows.weight, task.classes, 0 if sampler else batch_size
    )
    encoder = objective.encoder
    device, dtype = device_of(encoder), encoder.prepare.dtype
    y = to_tensor(rows.y, device)
    weight, class_weight = (to_tensor(a, device, dtype) for a in (rows.weight, class_weight))
    with threads_for(FLOPS_A_FUNCTION * math.prod(rows.X.shape), device):
        X, prepare = place_rows(encoder.prepare, rows.X, estimator.augment, device)
    return Batches(X, y, weight, class_weight, batch_size, prepare, sampler)


def _start(
    estimator: Any, task: Task, seed: int, continued: bool, summary: Summary | None = None
) -> tuple[TrainingState, Batches]:
    check_instances(estimator.get_params(deep=False))
    objective = _objective(estimator, task, seed, continued, summary)
    batches = _batches(estimator, task, objective)
    objective.train_through(_training_body(estimator, objective, batches.batch_size))
    proxy_rate = getattr(expand("proxies", estimator.proxies), "learning_rate", None)
    names = ("alpha", "beta", "learning_rate", "weight_decay")
    check_numbers(objective.proxies.dtype, **{n: getattr(estimator, n) for n in names})
    decay = estimator.weight_decay
    if decay is None:
        encoder = objective.encoder
        taken = encoder.prepare.output_shape(encoder.input_shape)
        decay = default_decay(estimator.optimizer, taken)
    state = TrainingState.start(
        objective,
        estimator.optimizer,
        seed,
        learning_rate=estimator.learning_rate,
        proxy_learning_rate=estimator.learning_rate if proxy_rate is None else proxy_rate,
        weight_decay=decay,
    )
    state.probe = Probe(objective, task.rows.X)
    check_start(objective, state.probe, min(batches.batch_size, len(task.rows.y)))
    return state, batches


def _training_body(
    estimator: Any, objective: Objective, batch_size: int
) -> Callable[[Tensor], Tensor]:
    """Return what training calls for the body: itself, compiled, under autocast, or both."""
    body, device = objective.encoder.body, objective.proxies.device
    forward = body.__call__
    if estimator.compile:
        # Batches come in two sizes: two fast programs beat one for any size.
        forward = torch.compile(body, dynamic=False).__call__
    flops = assembly.step_flops(objective, batch_size)
    if trains_in_bfloat16(estimator.precision, objective.proxies.dtype, device, flops):
        # Every weight is cast once a step: nothing to keep.
        forward = torch.autocast(device.type, torch.bfloat16, cache_enabled=False)(forward)
    return forward


def _monitor(
    request: FitRequest,
    state: TrainingState,
    max_epochs: int,
    patience: Patience | None,
    keeper: Keeper | NoKeeper,
) -> Monitor:
    estimator, task = request.estimator, request.task
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
        patience,
        bool(estimator.verbose),
        max_epochs if request.known_end else None,
        keeper.end_epoch,
    )


def _fitted_attributes(estimator: Any, task: Task, state: TrainingState) -> dict[str, Any]:
    objective, history = state.objective, list(state.history)
    return {
        "module_": objective.encoder,
        "proxies_": to_numpy(objective.unit_proxies()),
        "classes_": task.classes,
        "history_": history,
        "n_iter_": state.epoch,
        "loss_": history[-1]["loss"] if history else float("nan"),
        **estimator._fitted_extras(objective, task),
    }
