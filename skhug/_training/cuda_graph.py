"""A training step as a CUDA graph: one launch where there were dozens."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from skhug._device import LAUNCH_BOUND_FLOPS
from skhug._training.loop import Step, as_it_is
from skhug._training.state import TrainingState
from skhug.losses._measures import BUILT_IN_MEASURES
from skhug.optimizers._specifications import BUILT_IN_OPTIMIZERS
from skhug.optimizers._steppers import FlatStepper

__all__ = ["CapturedStep", "CudaGraph", "acceleration"]

# Steps before the capture: libraries set themselves up, and memory for a step is found.
_WARM_UP = 3

Work = Callable[[], None]


class Graph(Protocol):
    """What records work on tensors and repeats it."""

    def warm_up(self, work: Work) -> None:
        """Do the work, where it will be recorded."""

    def record(self, work: Work) -> None:
        """Record the work, without doing it; RuntimeError if that cannot be."""

    def replay(self) -> None:
        """Do the recorded work on what the tensors hold now."""


class CudaGraph:
    """A CUDA graph and the stream on which it is recorded."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._graph = torch.cuda.CUDAGraph()

    def warm_up(self, work: Work) -> None:
        """Do the work on the side stream, in order with the current one."""
        current = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(current)
        with torch.cuda.stream(self._stream):
            work()
        current.wait_stream(self._stream)

    def record(self, work: Work) -> None:
        """Record the work; the current stream is the same afterwards, come what may."""
        current = torch.cuda.current_stream(self._device)
        # The thread that reads rows ahead may go on with its own calls.
        capture = torch.cuda.graph(
            self._graph, stream=self._stream, capture_error_mode="thread_local"
        )
        with torch.cuda.device(self._device):
            try:
                with capture:
                    work()
            finally:  # torch leaves the side stream in place where a capture fails
                torch.cuda.set_stream(current)

    def replay(self) -> None:
        """Launch the graph on the current stream."""
        self._graph.replay()


class CapturedStep:
    """A step that does batches of one size by replaying a graph, and others as they come.

    The first batch sets the size. A few steps warm up, the next is recorded; a step that cannot
    be recorded goes on as it was.

    Parameters
    ----------
    step : Step
        Reads and writes tensors that stay where they are, and decides nothing by their values.
    graph : Graph
        Records it.
    """

    def __init__(self, step: Step, graph: Graph) -> None:
        self._step = step
        self._graph = graph
        self._inputs: tuple[Tensor, ...] = ()
        self._until_recorded = _WARM_UP
        self._do = self._warm_up

    def __call__(self, X: Tensor, y: Tensor, coef: Tensor, factor: float | Tensor) -> None:
        if not self._inputs:
            # float32 is what fused optimizers read a learning rate from.
            rate = torch.zeros((), dtype=torch.float32, device=X.device)
            self._inputs = X.clone(), y.clone(), coef.clone(), rate
        if X.shape != self._inputs[0].shape:
            self._step(X, y, coef, factor)
            return
        *rows, rate = self._inputs
        for held, given in zip(rows, (X, y, coef), strict=True):
            held.copy_(given)
        rate.fill_(factor)
        self._do()

    def _work(self) -> None:
        self._step(*self._inputs)

    def _warm_up(self) -> None:
        self._graph.warm_up(self._work)
        self._until_recorded -= 1
        if self._until_recorded == 0:
            self._do = self._record

    def _record(self) -> None:
        try:
            self._graph.record(self._work)
        except RuntimeError as error:
            warnings.warn(
                f"The training step could not be captured as a CUDA graph ({error}): training "
                "goes on without, at the cost of a launch for each of its operations.",
                RuntimeWarning,
                stacklevel=2,
            )
            self._do = self._work
        else:
            self._do = self._graph.replay
        self._do()


def acceleration(state: TrainingState, flops: float) -> Callable[[Step], Step]:
    """Return what makes steps of so many operations faster: capture on CUDA, where it is safe.

    A user's module, optimizer or measure may decide by values or count in Python, which a graph
    would not repeat; a large step has no launches to save.
    """
    device, stepper = state.objective.proxies.device, state.stepper
    known = (
        state.objective.encoder.spec is not None
        and isinstance(stepper, FlatStepper)
        and type(stepper.spec) in BUILT_IN_OPTIMIZERS
        and type(state.objective.loss.uniformity) in BUILT_IN_MEASURES
    )
    if device.type != "cuda" or flops >= LAUNCH_BOUND_FLOPS or not known:
        return as_it_is
    return lambda step: CapturedStep(step, CudaGraph(device))
