"""Fits of one architecture trained as one: every tensor gets a leading dimension of replicas.

A step on small matrices is mostly calls; a stack makes each call once for all of its replicas.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass
from itertools import accumulate, groupby
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from skhug._data.batches import Batches
from skhug._device import to_numpy
from skhug._training.mlp_gradients import Dense, perceptron_kernel, sphere_pull
from skhug._training.state import TrainingState
from skhug.losses._coefficients import epoch_coefficients
from skhug.losses._measures import BUILT_IN_MEASURES
from skhug.optimizers._specifications import BUILT_IN_OPTIMIZERS
from skhug.optimizers._steppers import FlatStepper

__all__ = ["Replica", "stack_key", "train_stack"]


class Replica(NamedTuple):
    """One fit of a stack: its state, rows, epochs and schedule."""

    state: TrainingState
    batches: Batches
    max_epochs: int
    schedule: Callable[[float], float]


def stack_key(replica: Replica) -> Hashable | None:
    """Return what replicas of one stack have in common; None for a fit that must run alone.

    Learning rates, weight decays, measures, weights, seeds and rows may differ within a stack.
    """
    state, batches = replica.state, replica.batches
    objective = state.objective
    known = (
        state.by_hand
        and batches.plain
        and type(state.stepper.spec) in BUILT_IN_OPTIMIZERS
        and type(objective.loss.uniformity) in BUILT_IN_MEASURES
    )
    if not known:
        return None
    return (
        repr(objective.encoder.body),  # plain layers, told in full by their names and sizes
        objective.encoder.softness,
        tuple(tuple(p.shape for p in segment.parameters) for segment in state.segments),
        _settings(state.stepper.spec),
        (batches.X.dtype, batches.X.device, batches.batch_size, len(batches)),
        (replica.max_epochs, id(replica.schedule)),
    )


def train_stack(replicas: list[Replica]) -> None:
    """Train replicas of one :func:`stack_key` together, each as it would be alone.

    Their states are changed in place. A replica that diverges does not touch the others: its
    history or its weights are not finite in the end.
    """
    # Replicas that share a measure or a learning rate lie side by side, for one call.
    replicas = sorted(replicas, key=lambda replica: (_measure(replica), _rates(replica)))
    with torch.inference_mode():
        stack, batches = Stack(replicas), StackedBatches([r.batches for r in replicas])
        kernel = stack.kernel()
        for epoch in range(replicas[0].max_epochs):
            within = _train_epoch(stack, batches, kernel, epoch)
            stack.record(within / len(batches))
        stack.write_back()


def _train_epoch(
    stack: Stack,
    batches: StackedBatches,
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor],
    epoch: int,
) -> Tensor:
    """Take one pass over the data; return the sums over its batches of the within-class terms."""
    _, _, max_epochs, schedule = stack.replicas[0]
    horizon, step = max_epochs * len(batches), epoch * len(batches)
    within = torch.zeros_like(stack.betas)
    for X, proxy, coef in batches.epoch([r.state.generator for r in stack.replicas]):
        within += kernel(X, proxy, coef)
        stack.stepper.step(schedule(step / horizon))
        step += 1
    return within


def _settings(spec: Any) -> tuple[Any, ...]:
    return type(spec).__name__, *sorted(spec.get_params().items())


def _measure(replica: Replica) -> tuple[Any, ...]:
    return _settings(replica.state.objective.loss.uniformity)


def _rates(replica: Replica) -> list[tuple[float, float]]:
    return [(s.learning_rate, s.weight_decay) for s in replica.state.segments]


@dataclass
class _Slice:
    """A segment of neighbouring replicas with one learning rate, as an optimizer takes it."""

    values: Tensor
    gradients: Tensor
    learning_rate: float
    weight_decay: float


class Stack:
    """Weights, gradients and optimizer of replicas, in buffers of shape (replicas, numbers)."""

    def __init__(self, replicas: list[Replica]) -> None:
        states = [replica.state for replica in replicas]
        self.replicas = replicas
        self._values = [
            torch.stack([segment.values for segment in segments])
            for segments in zip(*(state.segments for state in states), strict=True)
        ]
        self._gradients = [torch.zeros_like(values) for values in self._values]
        self.stepper = FlatStepper(states[0].stepper.spec, self._slices())
        self.betas = self._values[0].new_tensor([state.objective.loss.beta for state in states])

    def _slices(self) -> list[_Slice]:
        slices, start = [], 0
        for rates, members in groupby(self.replicas, _rates):
            stop = start + len(list(members))
            for values, gradients, rate in zip(self._values, self._gradients, rates, strict=True):
                flat = values[start:stop].view(-1), gradients[start:stop].view(-1)
                slices.append(_Slice(*flat, *rate))
            start = stop
        return slices

    def kernel(self) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
        """Return the perceptron's kernel over the stack; it takes rows of all replicas, joined."""
        places = self._places()
        body = self.replicas[0].state.objective.encoder.body
        layers = []
        for layer in body[::2]:
            weight, weight_gradient = places[layer.weight]
            bias, bias_gradient = places[layer.bias]
            layers.append(Dense(weight, bias[:, None], weight_gradient, bias_gradient))
        run = perceptron_kernel(layers, [type(layer) for layer in body[1::2]], self._loss())
        n, width = len(self.replicas), layers[0].weight.shape[2]
        return lambda X, proxy, coef: run(X.view(n, -1, width), proxy, coef)

    def _places(self) -> dict[nn.Parameter, tuple[Tensor, Tensor]]:
        """Values and gradients (replicas, *shape) of each parameter of the first replica."""
        places = {}
        segments = self.replicas[0].state.segments
        for segment, *buffers in zip(segments, self._values, self._gradients, strict=True):
            start = 0
            for parameter in segment.parameters:
                stop = start + parameter.numel()
                places[parameter] = tuple(b[:, start:stop].unflatten(1, parameter.shape)
                                          for b in buffers)  # fmt: skip
                start = stop
        return places

    def _loss(self) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
        objectives = [replica.state.objective for replica in self.replicas]
        proxies = torch.cat([objective.proxies for objective in objectives])
        pull = sphere_pull(objectives[0].encoder.softness, _Measures(self.replicas))
        betas = self.betas[:, None, None]
        plain = bool((betas == 1).all())

        def loss(raw: Tensor, proxy: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
            cost, g = pull(raw.flatten(0, 1), proxies.index_select(0, proxy), coef)
            g = g.view(raw.shape)
            return (coef * cost).view(len(raw), -1).sum(1), g if plain else g.mul_(betas)

        return loss

    def record(self, within: Tensor) -> None:
        """Add an epoch's means (replicas,) to the histories."""
        for replica, mean in zip(self.replicas, to_numpy(within).tolist(), strict=True):
            state, objective = replica.state, replica.state.objective
            between = float(objective.fixed_between)
            loss = objective.loss.combine(between, mean).loss
            state.epoch += 1
            row = {"epoch": state.epoch, "loss": loss, "between": between, "within": mean}
            state.history.append(row)

    def write_back(self) -> None:
        """Give each replica's weights to its state."""
        for i, replica in enumerate(self.replicas):
            for segment, values in zip(replica.state.segments, self._values, strict=True):
                segment.values.copy_(values[i])
            replica.state.objective.eval()


class _Measures:
    """The replicas' measures as one: each run of equal ones pulls its part of the rows."""

    def __init__(self, replicas: list[Replica]) -> None:
        runs = [list(run) for _, run in groupby(replicas, _measure)]
        self._measures = [run[0].state.objective.loss.uniformity for run in runs]
        self._counts = [len(run) for run in runs]
        self._n = len(replicas)
        if len(runs) == 1:
            self.pull = self._measures[0].pull

    def pull(self, squared: Tensor) -> tuple[Tensor, Tensor]:
        """Return the rows' costs and slopes; the rows of a replica lie together."""
        batch = len(squared) // self._n
        parts = squared.split([count * batch for count in self._counts])
        pulled = [m.pull(part) for m, part in zip(self._measures, parts, strict=True)]
        slopes = [slope if isinstance(slope, Tensor) else torch.full_like(cost, slope)
                  for cost, slope in pulled]  # fmt: skip
        return torch.cat([cost for cost, _ in pulled]), torch.cat(slopes)


class StackedBatches:
    """Batches of all replicas, step by step, each in its own order.

    Replicas may differ in length as long as their numbers of batches are equal: rows of
    coefficient zero make up for it in the last batch.
    """

    def __init__(self, batches: list[Batches]) -> None:
        lengths = [len(b.X) for b in batches]
        longest = batches[lengths.index(max(lengths))]
        self._lengths = lengths
        self._batch_size, self._n_batches = longest.batch_size, len(longest)
        distinct, which = _distinct([b.X for b in batches])
        starts = [0, *accumulate(len(X) for X in distinct)]
        device = longest.X.device
        self._X = torch.cat(distinct)
        self._row_start = torch.tensor([[starts[i]] for i in which], device=device)
        # Padded: a row's label and weight by replica and position.
        self._y = pad_sequence([b.y for b in batches], batch_first=True)
        self._weight = pad_sequence([b.sample_weight for b in batches], batch_first=True)
        self._class_weight = pad_sequence([b.class_weight for b in batches], batch_first=True)
        classes = [0, *accumulate(len(b.class_weight) for b in batches)][:-1]
        self._proxy_start = torch.tensor(classes, device=device)[:, None]
        position = torch.arange(max(lengths), device=device)
        batch = (position // longest.batch_size).clamp_(max=len(self) - 1)
        self._batch = batch + len(self) * torch.arange(len(batches), device=device)[:, None]
        self._used = (position < torch.tensor(lengths, device=device)[:, None]).to(self._X.dtype)

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return self._n_batches

    def epoch(self, generators: list[torch.Generator]) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (X, proxy, coef) of every step of a new epoch, replica after replica.

        ``proxy`` are the rows' places in the proxies of all replicas, joined.
        """
        order = self._draw(generators)
        y, weight = self._y.gather(1, order), self._weight.gather(1, order).mul_(self._used)
        ones = torch.ones_like(self._class_weight[0])
        n_batches = len(y) * len(self)
        coef = epoch_coefficients(
            self._batch.flatten(), y.flatten(), weight.flatten(), ones, n_batches
        )
        coef = coef.view(y.shape) * self._class_weight.gather(1, y)
        tables = order + self._row_start, y + self._proxy_start, coef
        for rows, proxy, share in zip(*map(self._by_step, tables), strict=True):
            yield self._X.index_select(0, rows), proxy, share

    def _by_step(self, table: Tensor) -> list[Tensor]:
        """Cut a table (replicas, positions) into batches, replica after replica in each."""
        full, size = len(self) - 1, self._batch_size
        head = table[:, : full * size].unflatten(1, (full, size)).transpose(0, 1)
        return [*head.flatten(1).unbind(), table[:, full * size :].flatten()]

    def _draw(self, generators: list[torch.Generator]) -> Tensor:
        """Orders (replicas, positions) as single fits draw them; each repeats its last row."""
        orders = []
        for n, generator in zip(self._lengths, generators, strict=True):
            shuffled = len(self) > 1  # the order of a full batch is of no consequence
            order = torch.randperm(n, generator=generator) if shuffled else torch.arange(n)
            # The label of a real row, so that its class has a weight in that batch.
            orders.append(torch.cat([order, order[-1:].expand(max(self._lengths) - n)]))
        return torch.stack(orders).to(self._X.device)


def _distinct(tensors: list[Tensor]) -> tuple[list[Tensor], list[int]]:
    """The different objects among tensors, and which of them each tensor is."""
    places = {id(tensor): tensor for tensor in tensors}
    position = {key: i for i, key in enumerate(places)}
    return list(places.values()), [position[id(tensor)] for tensor in tensors]
