"""The training loop: what is minimised, what is carried from step to step, and the steps."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor, nn

from skhug._data import Batches
from skhug._device import free_memory, to_numpy
from skhug._kernels import find_kernel
from skhug._modules import SphereEncoder
from skhug._pairs import widened
from skhug._within import within_sum
from skhug.losses import HUGLoss, HUGLossTerms
from skhug.optimizers import (
    FlatStepper,
    Segment,
    TorchStepper,
    default_weight_decay,
    flatten,
    make_stepper,
)

__all__ = ["Objective", "Patience", "TrainingState", "train"]


class Objective(nn.Module):
    """Encoder, proxies and loss as one module.

    Parameters
    ----------
    encoder : SphereEncoder
        Maps rows to the sphere.
    proxies : Tensor of shape (n_classes, n_components)
        Initial or fixed proxies.
    loss : HUGLoss
        Weighs the terms.
    learned : bool
        Whether the proxies are trained. Fixed ones leave the between-class term without a
        gradient: it is computed once, and a step costs the same for any number of classes.
    """

    def __init__(
        self, encoder: SphereEncoder, proxies: Tensor, loss: HUGLoss, learned: bool
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.proxies = nn.Parameter(F.normalize(proxies, dim=1), requires_grad=learned)
        self.loss = loss
        self._gradients: list[Tensor] = []
        self._kernel = None
        self._parts = 1  # that a batch is taken in
        self._fixed_between = None
        if not learned:
            with torch.no_grad():
                self._fixed_between = loss.uniformity.between_fixed(self.proxies)

    def forward(self, X: Tensor, y: Tensor, coef: Tensor) -> HUGLossTerms:
        """Return the loss of prepared rows, summed with their coefficients."""
        raw = self.encoder.body(X)
        within = self.loss.within(raw, self.proxies, y, coef, self.encoder.softness)
        between = self._fixed_between
        if between is None:
            between = self.loss.uniformity.between(self.proxies)
        return self.loss.combine(between, within)

    def gradients(self, X: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Set the parameters' gradients for a batch; return its (between, within).

        The one seam of the loop: forward and backward, or a kernel that does the same by hand.
        Where the device's memory does not hold a batch, it is taken in parts from then on.

        Warns
        -----
        RuntimeWarning
            If the device ran out of memory.
        """
        try:
            if self._kernel is not None:
                return self._fixed_between, self._kernel(X, y, coef)
            return self._backward(X, y, coef)
        except torch.OutOfMemoryError:
            if len(X) < 4 * self._parts:  # batch normalisation takes no part of one row
                raise
        self._kernel = None
        self._parts *= 2
        _warn_out_of_memory(len(X), self._parts)
        free_memory(X.device)
        return self.gradients(X, y, coef)

    def _backward(self, X: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Accumulate the gradients of a batch's parts: its rows' coefficients add up."""
        for gradients in self._gradients:
            gradients.zero_()
        within = torch.zeros_like(coef[:1]).sum()
        parts = (t.tensor_split(self._parts) for t in (X, y, coef))
        for part in zip(*parts, strict=True):
            within += self._backward_within(*part)
        between = self._fixed_between
        if between is None:
            between = self.loss.uniformity.between(self.proxies)
            (self.loss.alpha * between).backward()
        return between.detach(), within

    def _backward_within(self, X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        """Add the gradients of some rows' within-class sum; return the sum."""
        loss, raw = self.loss, self.encoder.body(X)
        # The loss brings its own gradients: autograd only has to take them through the body.
        within = within_sum(
            widened(raw.detach()),
            self.proxies.detach(),
            y,
            coef,
            loss.uniformity,
            self.encoder.softness,
            attached=loss.attached and self.proxies.requires_grad,
        )
        raw.backward(loss.beta * within.features.to(raw.dtype))
        if within.proxies is not None:
            self.proxies.grad.add_(within.proxies, alpha=loss.beta)
        return within.value

    def bind(self, segments: list[Segment]) -> None:
        """Take note of where the gradients lie, and of a kernel that can write them."""
        self._gradients = [segment.gradients for segment in segments]
        self._kernel = find_kernel(self)

    @property
    def fixed_between(self) -> Tensor | None:
        """The between-class term of fixed proxies; None where they are learned."""
        return self._fixed_between

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel writes the gradients, so that nothing is left to autograd."""
        return self._kernel is not None

    @torch.no_grad()
    def unit_proxies(self) -> Tensor:
        """Return the proxies as they are now, on the sphere."""
        return F.normalize(self.proxies, dim=1)


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
        """Whether no parameter or buffer is NaN or infinite; waits for the device."""
        # A sum takes NaN and infinity along, in one pass.
        return all(bool(t.sum().isfinite()) for t in self._tensors())

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
        self.history = progress["history"]
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
        return flat + [buffer for buffer in self.objective.encoder.body.buffers() if buffer.numel()]


def train(
    state: TrainingState,
    batches: Batches,
    *,
    max_epochs: int,
    schedule: Callable[[float], float],
    begin_epoch: Callable[[], None],
    end_epoch: Callable[[TrainingState], bool],
) -> None:
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

    Warns
    -----
    UserWarning
        If Ctrl-C ended the training; the weights of the last step are kept.
    ConvergenceWarning
        If the loss or a weight was not finite; the weights of the last good epoch are kept.
    """
    last_good = state.snapshot()
    state.objective.train()
    try:
        while state.epoch < max_epochs:
            begin_epoch()
            row = _train_epoch(state, batches, max_epochs, schedule)
            if not math.isfinite(row["loss"]) or not state.is_finite():
                state.restore(last_good)
                _warn_diverged(state.epoch)
                break
            last_good = state.snapshot()
            state.epoch += 1
            state.history.append({"epoch": state.epoch, **row})
            if end_epoch(state):
                break
    except KeyboardInterrupt:
        warnings.warn(
            f"Training interrupted by the user after {state.epoch} epochs: "
            "the weights of the last step are kept.",
            stacklevel=2,
        )
    state.objective.eval()


def _train_epoch(
    state: TrainingState, batches: Batches, max_epochs: int, schedule: Callable[[float], float]
) -> dict[str, float]:
    """Take one pass over the data; return the means of the loss's terms over its batches."""
    gradients, stepper = state.objective.gradients, state.stepper
    horizon = max_epochs * len(batches)
    step = state.epoch * len(batches)
    # Where neither autograd nor a foreign optimizer takes part, no tensor needs their records.
    with torch.inference_mode(state.by_hand):
        between_sum, within_sum = sums = batches.class_weight.new_zeros(2)
        for X, y, coef in batches.epoch(state.generator):
            between, within = gradients(X, y, coef)
            between_sum += between
            within_sum += within
            stepper.step(schedule(step / horizon))
            step += 1
        # The epoch's one wait for the device.
        between, within = (to_numpy(sums).astype(float) / len(batches)).tolist()
    loss = state.objective.loss.combine(between, within).loss
    return {"loss": loss, "between": between, "within": within}


def _warn_out_of_memory(rows: int, parts: int) -> None:
    warnings.warn(
        f"The device's memory does not hold a batch of {rows} rows: it is taken in {parts} parts, "
        "whose gradients are added up. A smaller batch_size avoids this.",
        RuntimeWarning,
        stacklevel=2,
    )


def _warn_diverged(epoch: int) -> None:
    warnings.warn(
        f"Training diverged in epoch {epoch + 1}: the weights before that epoch are kept. "
        "Lower learning_rate, or alpha if the proxies are learned.",
        ConvergenceWarning,
        stacklevel=3,
    )
