"""A fit from settings and rows to fitted attributes."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from skhug._data.batches import Batches
from skhug._data.expansion import refuse_gaps
from skhug._data.folds import NO_FOLD, assign_folds
from skhug._data.rows import Rows, Task, split_rows
from skhug._defaults import Settings
from skhug._device import tf32, to_numpy, to_tensor
from skhug._distributed.group import ALONE, Alone
from skhug._model.calibration import calibration_rows
from skhug._model.embedding import device_of, embed
from skhug._model.sphere_encoder import SphereEncoder
from skhug._process import seeded, threads_for
from skhug._sklearn import EpochCallbacks
from skhug._sparse import CompressedRows
from skhug._training.build import build_batches, build_model, build_objective
from skhug._training.continuing import Earlier
from skhug._training.cuda_graph import acceleration
from skhug._training.frozen import stage_of
from skhug._training.keeping import NoKeeper
from skhug._training.left_out import LeftOut
from skhug._training.loop import as_it_is, train
from skhug._training.monitor import Monitor
from skhug._training.preflight import preflight
from skhug._training.state import Choice, CycleEnds, Patience, TrainingState
from skhug._training.synchronised import refuse_empty_parts, synchronise
from skhug._training.tracking import make_tracker
from skhug.encoders import Vectors
from skhug.proxies._phase_code import CodedProxies, PhaseCode

if TYPE_CHECKING:
    from skhug._training.resuming import Keeper

__all__ = ["Goal", "Plan", "begin", "finish", "fit", "hold_out"]


class Goal(Protocol):
    """What an estimator is trained for: the three things in which estimators differ."""

    def check_scorable(self, y: np.ndarray) -> None:
        """Refuse validation rows that have no score; before training, not after an epoch."""

    def validation_score(self, embeddings: Tensor, rows: Rows, proxies: Tensor) -> float:
        """Return how good the embeddings of the validation rows are; higher is better."""

    def fitted_attributes(
        self, encoder: SphereEncoder, proxies: Tensor, sample: Callable[[], Sample]
    ) -> dict[str, Any]:
        """Return further fitted attributes, from rows that were not trained on if there are any."""


class Sample(NamedTuple):
    """Rows as points in the ball, to calibrate on.

    ``points`` (n, n_components), ``y`` (n,), ``weight`` (n,); ``trained_on`` says whether the
    points are of networks that were trained on these rows.
    """

    points: Tensor
    y: Tensor
    weight: Tensor
    trained_on: bool


class Plan(NamedTuple):
    """A fit about to be made: how, on what, for what, and who listens.

    ``listen`` makes the callbacks of a fit of so many epochs. ``known_end`` is false where the
    last epoch is not known, since partial_fit may be called once more. ``deal`` says which rows
    each of several members leaves out. ``group`` are the processes that make the fit.
    """

    settings: Settings
    task: Task
    goal: Goal
    listen: Callable[..., EpochCallbacks]
    earlier: Earlier | None = None
    known_end: bool = True
    deal: Callable[..., np.ndarray | None] = assign_folds
    group: Alone = ALONE


def hold_out(task: Task, fraction: float | None, seed: int, goal: Goal) -> Task:
    """Set a share of the rows aside to validate on, if there is one and no other such rows."""
    if fraction is not None and task.validation is None:
        rows, held_out = split_rows(task.rows, fraction, seed)
        task = task._replace(rows=rows, validation=held_out)
    if task.validation is not None:
        goal.check_scorable(task.validation.labels_of_all().y)
    return task


def fit(plan: Plan, keeper: Keeper | NoKeeper) -> tuple[dict[str, Any], TrainingState]:
    """Train as planned; return the fitted attributes, and the state to go on from."""
    settings = plan.settings
    saved = keeper.saved
    with seeded(settings.seed, settings.device):
        state, batches = begin(plan)
        choice = _choice(plan, state)
        if saved is not None:
            from skhug._training.resuming import restore

            restore(saved, state, choice)
            if settings.verbose:
                print(f"going on after epoch {state.epoch}, from {keeper.path}")
        ended = _run(plan, state, batches, choice, keeper)
    fitted = finish(plan, state)
    keeper.done = ended
    return fitted, state


def begin(plan: Plan) -> tuple[TrainingState, Batches]:
    """Return what training starts from; draws from torch's global generator."""
    settings, task, earlier = plan.settings, plan.task, plan.earlier
    encoder, proxies, start = build_model(settings, task, earlier, plan.group)
    drawn = [proxies] if isinstance(proxies, Tensor) else []  # a code is the same everywhere
    plan.group.same_([*drawn, *encoder.parameters(), *encoder.buffers()])
    encoder.softness = plan.group.first(lambda: encoder.softness)
    if not encoder.prepare.takes_gaps:
        for rows in filter(None, (task.rows, task.validation)):
            refuse_gaps(rows.X)
    folds = _folds(plan, encoder)
    stage = stage_of(settings, task, encoder)
    task = stage.task
    unsynchronise = synchronise(stage.encoder.body, plan.group, device_of(encoder))
    objective = build_objective(settings, stage.encoder, proxies)
    objective.count_between(1 / plan.group.size)
    batches = build_batches(settings, stage, objective, folds, plan.group)
    state = TrainingState.start(
        objective,
        settings.optimizer,
        settings.seed,
        learning_rate=settings.learning_rate,
        proxy_learning_rate=settings.proxy_learning_rate,
        weight_decay=settings.weight_decay,
    )
    state.task, state.closed_form, state.when_done = task, start, unsynchronise
    # To look which rows count waits for the device: on others than the CPU it costs more. Sparse
    # rows are shared: their products cost little, and copies of them more.
    dense = not isinstance(task.rows.X, CompressedRows)
    on_cpu = batches.y.device.type == "cpu"
    batches.apart = folds is not None and objective.has_kernel and on_cpu and dense
    refuse_empty_parts(stage.encoder.body, batches, plan.group)
    preflight(state, task.rows.X, batches.least_rows)
    counted = task.rows._replace(weight=settings.counts(task.rows))
    if folds is not None and task.rows.shards.any(counted.weight[folds != NO_FOLD].any()):
        state.left_out = LeftOut(objective, counted, folds)
    if earlier is not None and "optimizer" in (earlier.progress or {}):
        state.resume(earlier.progress)
        if start is not None:  # a class that had no row yet had no place
            new = torch.from_numpy(start.new_classes)
            state.objective.proxies.data[new] = proxies[new].to(state.objective.proxies)
    return state, batches


def _folds(plan: Plan, encoder: SphereEncoder) -> np.ndarray | None:
    """Return which rows each of several members leaves out."""
    device = device_of(encoder)

    def prepared(rows: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return to_numpy(encoder.prepare(to_tensor(rows, device)))

    members = encoder.n_members
    if members == 1:
        return None
    # Of the first process where all have the same rows: keys may round otherwise elsewhere.
    return plan.group.copies.first(lambda: plan.deal(plan.task.rows, members, prepared))


def finish(plan: Plan, state: TrainingState) -> dict[str, Any]:
    """Return the fitted attributes of a trained state."""
    state.release()
    state.when_done()
    flops = state.objective.step_flops(len(plan.task.rows.y))
    with threads_for(flops, device_of(state.objective)):
        return _fitted_attributes(plan, state)


def _choice(plan: Plan, state: TrainingState) -> Choice | None:
    """Return what keeps an epoch: by validation rows if they may stop, else by rows left out."""
    settings = plan.settings
    if not plan.known_end:
        return None
    if settings.patience is not None:
        return Patience(*settings.patience)
    return None if state.left_out is None else CycleEnds(settings.cycle_ends)


def _run(
    plan: Plan,
    state: TrainingState,
    batches: Batches,
    choice: Choice | None,
    keeper: Keeper | NoKeeper,
) -> bool:
    """Train; return whether training came to its end, and was not interrupted."""
    settings = plan.settings
    monitor = _monitor(plan, state, choice, keeper)
    if state.epoch == 0 and isinstance(state.objective.encoder.spec, Vectors):
        monitor.weigh_start(state)
    flops = state.objective.step_flops(batches.batch_size)
    device = batches.class_weight.device
    with threads_for(flops, device), tf32(settings.tf32, device):
        ended = train(
            state,
            batches,
            max_epochs=settings.max_epochs,
            schedule=settings.schedule,
            begin_epoch=partial(monitor.begin_epoch, state),
            end_epoch=monitor.end_epoch,
            accelerate=acceleration(state, flops) if plan.group.size == 1 else as_it_is,
            group=plan.group,
        )
    monitor.end_fit(state)
    return ended


def _monitor(
    plan: Plan, state: TrainingState, choice: Choice | None, keeper: Keeper | NoKeeper
) -> Monitor:
    settings, rows, classes = plan.settings, plan.task.rows, plan.task.classes
    listen = plan.listen if plan.group.leads else _no_callbacks
    callbacks = listen(
        settings.max_epochs - state.epoch,
        X=rows.X.csr if isinstance(rows.X, CompressedRows) else rows.X,
        y=lambda: classes[rows.y],
        metadata={"sample_weight": rows.weight} if np.ptp(rows.weight) else None,
    )
    return Monitor(
        callbacks,
        # Callbacks keep what they are given, and training goes on with the weights.
        lambda: copy.deepcopy(_fitted_attributes(_of_first(plan), state)),
        _scores(plan, state),
        partial(plan.group.first, make_tracker(settings.track, state.objective, state.task.rows)),
        choice,
        settings.verbose,
        settings.max_epochs if plan.known_end else None,
        keeper.end_epoch,
        settings.seed,
        plan.group,
    )


def _no_callbacks(*_: Any, **__: Any) -> EpochCallbacks:
    return EpochCallbacks.of_nobody()


def _of_first(plan: Plan) -> Plan:
    """Return the plan as the first process follows it while the others wait.

    Raises
    ------
    ValueError
        If it has but a shard of the rows.
    """
    if plan.group.sharded:
        raise ValueError(
            "A callback asks for the fitted estimator after an epoch, which takes the rows of all "
            "shards: leave it out, or pass the same rows to every process, sharded=False."
        )
    return plan._replace(group=ALONE)


def _scores(plan: Plan, state: TrainingState) -> dict[str, Callable[[], float | None]]:
    """Return what measures an epoch on rows that were not trained on, by name.

    None is of an epoch that is not worth it.
    """
    objective, validation, scores = state.objective, state.task.validation, {}
    if validation is not None:

        def validation_score() -> float:
            embeddings = validation.shards.join(embed(objective.encoder, validation.X))
            return plan.goal.validation_score(embeddings, scored, objective.unit_proxies())

        scored = validation.labels_of_all()
        scores["validation_score"] = validation_score
    if state.left_out is not None:

        def left_out_score() -> float | None:
            return state.left_out.score() if _settles(plan.settings, state.epoch) else None

        scores["left_out_score"] = left_out_score
    one = plan.group.copies.first
    return {name: partial(one, score) for name, score in scores.items()}


def _settles(settings: Settings, epoch: int) -> bool:
    """Whether weights come to rest in an epoch: in cycles, where the learning rate does not rise.

    Where it rises none is better than what the cycle before ended with, or hardly.
    """
    ends = settings.cycle_ends
    if not ends or epoch in ends:
        return True
    start, middle = (settings.schedule((epoch - x) / settings.max_epochs) for x in (1, 0.5))
    return middle <= start


def _fitted_attributes(plan: Plan, state: TrainingState) -> dict[str, Any]:
    objective, history = state.objective, list(state.history)
    proxies = objective.unit_proxies()
    return {
        "module_": objective.encoder.whole,
        "proxies_": to_numpy(proxies) if isinstance(proxies, Tensor) else CodedProxies.of(proxies),
        "classes_": plan.task.classes,
        "history_": history,
        "n_iter_": state.epoch,
        "loss_": history[-1]["loss"] if history else float("nan"),
        **_goal_attributes(plan, state, proxies),
    }


def _goal_attributes(
    plan: Plan, state: TrainingState, proxies: Tensor | PhaseCode
) -> dict[str, Any]:
    """Return the estimator's own fitted attributes, the same in all processes."""
    encoder, group = state.objective.encoder, plan.group

    def made() -> dict[str, Any]:
        return plan.goal.fitted_attributes(encoder, proxies, lambda: _sample(plan, state))

    own = group.copies.first(made)
    return group.shards.first(lambda: own)


def _sample(plan: Plan, state: TrainingState) -> Sample:
    """Return validation rows or rows left out, and training rows where there are neither."""
    encoder, task, left_out = state.objective.encoder, state.task, state.left_out
    shards = task.rows.shards
    validates = task.validation is not None and shards.any(
        plan.settings.counts(task.validation).any()
    )
    if left_out is not None and not validates:
        y, weight = left_out.y, left_out.weight
        return Sample(left_out.embeddings(), y, weight, trained_on=False)
    rows = task.validation if validates else task.rows
    rows = rows._replace(weight=plan.settings.counts(rows)).weighted()
    rows = rows.drawn(calibration_rows(rows.n_all, len(task.classes)))
    z = shards.join(embed(encoder, rows.X, SphereEncoder.ball))
    y, weight = (to_tensor(shards.join(a), z.device) for a in (rows.y, rows.weight))
    return Sample(z, y, weight, trained_on=not validates)
