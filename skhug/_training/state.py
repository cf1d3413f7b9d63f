"""All that a run carries from step to step."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from torch import Tensor

from skhug._data.rows import Task
from skhug._training.left_out import LeftOut
from skhug._training.objective import Objective
from skhug._training.vector_start import VectorStart
from skhug.optimizers import Segment, flatten, make_stepper
from skhug.optimizers._steppers import FlatStepper, TorchStepper

__all__ = ["Choice", "CycleEnds", "Patience", "TrainingState"]

# Share of the loss on rows left out by which a cycle must lower it for another one to be made.
_WORTH_GOING_ON = 0.02
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
    by: ClassVar[str] = "validation_score"
    best_score: float = -float("inf")
    waited: int = 0
    best: list[Tensor] | None = None

    def update(self, score: float, state: TrainingState) -> bool:
        """Take an epoch's score, keep the weights if it is the best; true if it is time to stop."""
        self.waited = 0 if score > self.best_score + self.tol else self.waited + 1
        if score > self.best_score:
            self.best_score = score
            self.best = state.snapshot(self.best)
        return self.waited >= self.n_iter_no_change


@dataclass
class CycleEnds:
    """The choice of an epoch by rows left out: the best so far, and where training may stop.

    Where the learning rate has come down to zero the weights have settled: hardly better there than
    where it last was, longer training only fits the rows more closely.

    Parameters
    ----------
    ends : tuple of int
        Epochs after which it may stop.
    """

    ends: tuple[int, ...]
    by: ClassVar[str] = "left_out_score"
    best_score: float = -float("inf")
    last_score: float = -float("inf")
    best: list[Tensor] | None = None

    def update(self, score: float, state: TrainingState) -> bool:
        """Take an epoch's score, keep the weights if it is the best; true if it is time to stop."""
        if score > self.best_score:
            self.best_score = score
            self.best = state.snapshot(self.best)
        if state.epoch not in self.ends:
            return False
        # The score is minus a loss.
        stalled = not score > self.last_score * (1 - _WORTH_GOING_ON)
        self.last_score = score
        return stalled


@dataclass
class TrainingState:
    """All that a run needs to go on: the model, the optimizer, the random state, the position."""

    objective: Objective
    segments: list[Segment]
    stepper: FlatStepper | TorchStepper
    generator: torch.Generator
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    # What is learned, its rows as the objective's encoder takes them.
    task: Task | None = None
    # Rows that were not trained on, where members leave some out.
    left_out: LeftOut | None = None
    # What it started from, where rows are vectors.
    closed_form: VectorStart | None = None
    # Puts back what is in the encoder for the training alone.
    when_done: Callable[[], None] = field(default=lambda: None, repr=False)
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
        """Lay the parameters out flat and make the optimizer; for None it decays as it will.

        Only matrices decay: biases and the scales of normalisations do not, nor do proxies,
        whose length means nothing.
        """
        parameters = [
            (p, rate, weight_decay if p.ndim > 1 else 0.0)
            for p, rate in objective.encoder.learning_rates(learning_rate)
        ]
        if objective.proxies.requires_grad:
            parameters.append((objective.proxies, proxy_learning_rate, 0.0))
        segments = flatten(parameters)
        if not segments:
            raise ValueError(
                "There is nothing to train: the encoder has no weights, or all are frozen, and "
                "the proxies are fixed. Set proxies='learned', or pass an encoder with weights to "
                "train, for instance Pretrained(module), which adds a last layer."
            )
        objective.bind(segments)
        generator = torch.Generator().manual_seed(seed)
        return cls(objective, segments, make_stepper(optimizer, segments), generator)

    @property
    def by_hand(self) -> bool:
        """Whether every step is made by kernels of ours alone."""
        return self.objective.has_kernel and isinstance(self.stepper, FlatStepper)

    def snapshot(self, into: list[Tensor] | None = None) -> list[Tensor]:
        """Copy the parameters and the buffers, into an earlier copy if there is one."""
        if into is None:
            return [tensor.clone() for tensor in self._tensors()]
        for saved, tensor in zip(into, self._tensors(), strict=True):
            saved.copy_(tensor)
        return into

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
        progress = {
            "epoch": self.epoch,
            "history": self.history,
            "generator": self.generator.get_state(),
            "optimizer": self.stepper.state_dict(),
        }
        proxies = self.objective.proxies.detach()
        if isinstance(proxies, Tensor):
            # As they are trained: their length, which proxies_ does not have, tells how far a
            # step turns them.
            progress["proxies"] = proxies.cpu().clone()
        return progress

    def resume(self, progress: dict[str, Any]) -> None:
        """Go on from a former run's progress."""
        self.epoch = progress["epoch"]
        # A call that fails must not touch what the last one left.
        self.history = list(progress["history"])
        self.generator.set_state(progress["generator"])
        try:
            self.stepper.load_state_dict(progress["optimizer"])
        except (KeyError, RuntimeError, ValueError) as error:
            raise ValueError(
                "The state of the last call does not suit the optimizer or the proxies as they are "
                "set now: set them back, or fit a new model, clone(model)."
            ) from error
        if "proxies" in progress:  # a code needs none, and files of an earlier version have none
            with torch.no_grad():
                self.objective.proxies.copy_(progress["proxies"])

    def release(self) -> None:
        """Give every parameter memory of its own again, and drop the gradients."""
        parameters = [p for segment in self.segments for p in segment.parameters]
        for segment in self.segments:
            segment.gradients = segment.gradients.new_empty(0)
        for parameter in parameters:
            parameter.grad = None
        self.objective.bind([])  # a kernel holds them too
        for parameter in parameters:
            parameter.data = parameter.data.clone()

    def _tensors(self) -> list[Tensor]:
        """All that training changes: what prepares the input stays as it is."""
        flat = [segment.values for segment in self.segments]
        if self.by_hand:  # a plain perceptron, which has no buffers
            return flat
        return flat + [buffer for buffer in self.objective.encoder.body.buffers() if buffer.numel()]


# What keeps the best epoch and stops.
Choice = Patience | CycleEnds


def largest_magnitude(tensors: list[Tensor]) -> float:
    """Return the largest magnitude of a number, NaN where one is; waits for the device once."""
    real = [torch.view_as_real(t) if t.is_complex() else t for t in tensors]
    ends: list[Any] = [end.float() for t in real for end in t.aminmax()]
    return float(torch.stack(ends).abs().amax())
