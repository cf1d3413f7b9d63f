"""The training loop: what is carried from step to step, and the steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor

from skhug._data.batches import Batches
from skhug._device import to_numpy
from skhug._objective import Objective
from skhug._soundness import largest_magnitude
from skhug.optimizers import (
    FlatStepper,
    Segment,
    TorchStepper,
    default_weight_decay,
    flatten,
    make_stepper,
)

__all__ = ["Patience", "Step", "TrainingState", "as_it_is", "train"]

# Takes (X, y, coef) of a batch and the factor on the learning rate.
Step = Callable[[Tensor, Tensor, Tensor, "float | Tensor"], None]
# Magnitude of a weight from which on the product of some layers may overflow.
_SUSPICIOUS = 1e3


@dataclass
class Patience:
    """Early stopping: the best validation score so far and what was seen since.

    Parameters
    ----------
    n_iter_no_change : int
        Epochs without a better score after which training stops.
    tol : float
        How much better a score must be to count.
    """

    n_iter_no_change: int
    tol: float
    best_score: float = -float("inf")
    waited: int = 0
    best: list[Tensor] | None = None

    def update(self, score: float, state: TrainingState) -> bool:
        """Take an epoch's score, keep the weights if it is the best; true if it is time to stop."""
        self.waited = 0 if score > self.best_score + self.tol else self.waited + 1
        if score > self.best_score:
            self.best_score = score
            self.best = state.snapshot()
        return self.waited >= self.n_iter_no_change


@dataclass
class TrainingState:
    """All that a run needs to go on: the model, the optimizer, the random state, the position."""

    objective: Objective
    segments: list[Segment]
    stepper: FlatStepper | TorchStepper
    generator: torch.Generator
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    # Whether finite weights give finite embeddings; asked where weights are suspiciously large.
    probe: Callable[[], bool] = field(default=lambda: True, repr=False)

    def __post_init__(self) -> None:
        # A user's buffer may hold infinity on purpose, as a mask does.
        tensors = enumerate(self._tensors())
        self._finite = [i for i, t in tensors if math.isfinite(largest_magnitude([t]))]

    @classmethod
    def start(
        cls,
        objective: Objective,
        optimizer: Any,
        seed: int,
        *,
        learning_rate: float,
        proxy_learning_rate: float,
        weight_decay: float | None,
    ) -> TrainingState:
        """Lay the parameters out flat and make the optimizer; None is its own weight decay.

        Only matrices decay: biases and the scales of normalisations do not, nor do proxies,
        whose length means nothing.
        """
        if weight_decay is None:
            weight_decay = default_weight_decay(optimizer)
        parameters = [
            (p, rate, weight_decay if p.ndim > 1 else 0.0)
            for p, rate in objective.encoder.learning_rates(learning_rate)
        ]
        parameters.append((objective.proxies, proxy_learning_rate, 0.0))
        segments = flatten(parameters)
        objective.bind(segments)
        generator = torch.Generator().manual_seed(seed)
        return cls(objective, segments, make_stepper(optimizer, segments), generator)

    @property
    def by_hand(self) -> bool:
        """Whether every step is made by kernels of ours alone."""
        return self.objective.has_kernel and isinstance(self.stepper, FlatStepper)

    def snapshot(self) -> list[Tensor]:
        """Copy the parameters and the buffers."""
        return [tensor.clone() for tensor in self._tensors()]

    def restore(self, snapshot: list[Tensor]) -> None:
        """Put a copy back in place."""
        for tensor, saved in zip(self._tensors(), snapshot, strict=True):
            tensor.copy_(saved)

    def is_finite(self) -> bool:
        """Whether parameters and buffers are, and what they give; waits for the device."""
        tensors = self._tensors()
        largest = largest_magnitude([tensors[i] for i in self._finite])
        return math.isfinite(largest) and (largest < _SUSPICIOUS or self.probe())

    def progress(self) -> dict[str, Any]:
        """Return what a later run needs beside the model, as plain objects and CPU tensors."""
        return {
            "epoch": self.epoch,
            "history": self.history,
            "generator": self.generator.get_state(),
            "optimizer": self.stepper.state_dict(),
        }

    def resume(self, progress: dict[str, Any]) -> None:
        """Go on from a former run's progress."""
        self.epoch = progress["epoch"]
        # A call that fails must not touch what the last one left.
        self.history = list(progress["history"])
        self.generator.set_state(progress["generator"])
        self.stepper.load_state_dict(progress["optimizer"])

    def release(self) -> None:
        """Give every parameter memory of its own again, and drop the gradients."""
        for segment in self.segments:
            for parameter in segment.parameters:
                parameter.data = parameter.data.clone()
                parameter.grad = None

    def _tensors(self) -> list[Tensor]:
        """All that training changes: what prepares the input stays as it is."""
        flat = [segment.values for segment in self.segments]
        if self.by_hand:  # a plain perceptron, which has no buffers
            return flat
        return flat + [buffer for buffer in self.objective.encoder.body.buffers() if buffer.numel()]


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
    step = accelerate(_make_step(state, sums))
    last_good = state.snapshot()
    state.objective.train()
    ended = True
    try:
        while state.epoch < max_epochs:
            begin_epoch()
            row = _train_epoch(state, batches, step, sums, lambda done: schedule(done / horizon))
            if not math.isfinite(row["loss"]) or not state.is_finite():
                state.restore(last_good)
                _warn_diverged(state, row)
                break
            last_good = state.snapshot()
            state.epoch += 1
            state.history.append({"epoch": state.epoch, **row})
            if end_epoch(state):
                break
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


def _make_step(state: TrainingState, sums: Tensor) -> Step:
    """Return the training step: gradients, update, and the loss's terms added to ``sums``."""
    gradients, update = state.objective.gradients, state.stepper.step
    between_sum, within_sum = sums

    def step(X: Tensor, y: Tensor, coef: Tensor, factor: float | Tensor) -> None:
        between, within = gradients(X, y, coef)
        between_sum.add_(between)
        within_sum.add_(within)
        update(factor)

    return step


def _train_epoch(
    state: TrainingState,
    batches: Batches,
    step: Step,
    sums: Tensor,
    factor: Callable[[int], float],
) -> dict[str, float]:
    """Take one pass over the data; return the means of the loss's terms over its batches."""
    done = state.epoch * len(batches)
    # Where neither autograd nor a foreign optimizer takes part, no tensor needs their records.
    with torch.inference_mode(state.by_hand):
        sums.zero_()
        for X, y, coef in batches.epoch(state.generator):
            step(X, y, coef, factor(done))
            done += 1
        # The epoch's one wait for the device.
        between, within = (to_numpy(sums).astype(float) / len(batches)).tolist()
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
