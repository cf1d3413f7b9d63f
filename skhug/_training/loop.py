"""The training loop."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skhug._data.batches import Batches
from skhug._device import to_numpy
from skhug._distributed.group import ALONE, Alone
from skhug._training.state import TrainingState

__all__ = ["Step", "as_it_is", "train"]

# Takes (X, y, coef) of a batch and the factor on the learning rate.
Step = Callable[[Tensor, Tensor, Tensor, "float | Tensor"], None]


def as_it_is(step: Step) -> Step:
    """Return the step."""
    return step


def train(
    state: TrainingState,
    batches: Batches,
    *,
    max_epochs: int,
    schedule: Callable[[float], float],
    begin_epoch: Callable[[], None],
    end_epoch: Callable[[TrainingState], bool],
    accelerate: Callable[[Step], Step] = as_it_is,
    group: Alone = ALONE,
) -> bool:
    """Train until ``max_epochs``, until ``end_epoch`` returns true, or until Ctrl-C.

    Parameters
    ----------
    state : TrainingState
        Changed in place.
    batches : Batches
        Rows to train on.
    max_epochs : int
        Epoch of the state at which to stop; also the schedule's horizon.
    schedule : callable
        Share of the training done, in [0, 1), to the factor on the learning rate.
    begin_epoch, end_epoch : callable
        Called around every epoch, the latter with the state.
    accelerate : callable
        From the step to what does the same, faster.
    group : Alone
        The processes among which batches are divided.

    Returns
    -------
    ended : bool
        Whether training came to its end; false after Ctrl-C.

    Warns
    -----
    UserWarning
        If Ctrl-C ended the training; the weights of the last step are kept.
    ConvergenceWarning
        If the loss or a weight was not finite; the weights of the last good epoch are kept.
    """
    horizon = max_epochs * len(batches)
    sums = state.objective.proxies.new_zeros(2)
    step = accelerate(_make_step(state, sums, group))
    last_good = state.snapshot()
    state.objective.train()
    ended = True
    try:
        with group.interrupts() as check_interrupts:
            while state.epoch < max_epochs:
                begin_epoch()
                factor = _factor(schedule, horizon)
                row = _train_epoch(state, batches, step, sums, factor, group)
                # Batch normalisation's statistics are those of each process's rows.
                group.same_(state.objective.buffers())
                if not group.all(math.isfinite(row["loss"]) and state.is_finite()):
                    state.restore(last_good)
                    _warn_diverged(state, row)
                    break
                state.snapshot(last_good)
                state.epoch += 1
                state.history.append({"epoch": state.epoch, **row})
                if end_epoch(state):
                    break
                check_interrupts()
    except KeyboardInterrupt:
        ended = False
        warnings.warn(
            f"Training interrupted by the user after {state.epoch} epochs: "
            "the weights of the last step are kept.",
            stacklevel=2,
        )
        if not state.is_finite():  # it was about to diverge
            state.restore(last_good)
    state.objective.eval()
    return ended


def _factor(schedule: Callable[[float], float], horizon: int) -> Callable[[int], float]:
    """Return the factor on the learning rate after so many steps."""
    return lambda done: schedule(done / horizon)


def _make_step(state: TrainingState, sums: Tensor, group: Alone) -> Step:
    """Return the training step: gradients, update, and the loss's terms added to ``sums``."""
    follow = state.objective.follow
    flat = [segment.gradients for segment in state.segments] + (follow.seen if follow else [])
    gradients, update = group.summing(state.objective.gradients, flat), state.stepper.step
    between_sum, within_sum = sums

    def step(X: Tensor, y: Tensor, coef: Tensor, factor: float | Tensor) -> None:
        between, within = gradients(X, y, coef)
        between_sum.add_(between)
        within_sum.add_(within)
        update(factor)
        if follow is not None:
            follow.step()

    return step


def _train_epoch(
    state: TrainingState,
    batches: Batches,
    step: Step,
    sums: Tensor,
    factor: Callable[[int], float],
    group: Alone,
) -> dict[str, float]:
    """Take one pass over the data; return the means of the loss's terms over its batches."""
    done = state.epoch * len(batches)
    # Where neither autograd nor a foreign optimizer takes part, no tensor needs their records.
    with torch.inference_mode(state.by_hand):
        sums.zero_()
        for X, y, coef in batches.epoch(state.generator, state.epoch):
            step(X, y, coef, factor(done))
            done += 1
        # The epoch's one wait for the device.
        between, within = (to_numpy(group.sum_(sums)).astype(float) / len(batches)).tolist()
    loss = state.objective.loss.combine(between, within).loss
    return {"loss": loss, "between": between, "within": within}


def _warn_diverged(state: TrainingState, row: dict[str, float]) -> None:
    warnings.warn(
        f"Training diverged in epoch {state.epoch + 1}: the weights before that epoch are kept. "
        f"{_what_to_lower(state, row)}",
        ConvergenceWarning,
        stacklevel=3,
    )


def _what_to_lower(state: TrainingState, row: dict[str, float]) -> str:
    """Name the parameter that is the likeliest to blame."""
    growth = max(s.learning_rate * (s.weight_decay or 0.0) for s in state.segments)
    if growth > 2:
        # Each step multiplies the weights by 1 minus this product.
        return f"Lower weight_decay or learning_rate, whose product of {growth:.3g} is above 2."
    learned = state.objective.fixed_between is None
    if learned and not math.isfinite(row["between"]):
        measure = state.objective.loss.uniformity
        return f"Lower learning_rate, alpha, or the exponents of uniformity={measure}."
    return "Lower learning_rate" + (", or alpha if the proxies are learned." if learned else ".")
