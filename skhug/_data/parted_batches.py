"""Batches that several processes make together, each with its part of the rows."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from skhug._data.batches import Batches, batch_bounds
from skhug._distributed.group import Alone, seed_of
from skhug.losses._coefficients import row_coefficients

__all__ = ["ShardedBatches", "SharedBatches", "coefficients_of_shards", "parted"]

# Numbers in the sums of all batches and classes of an epoch, of which every process holds all.
_MOST_SUMS = 1 << 25


class SharedBatches(Batches):
    """Batches of rows that every process has: all draw the same order, and each takes a part.

    What rows count is that of the whole batch. A part has two rows or more, since batch
    normalisation takes no single one; of a small batch the last processes get none.

    Parameters
    ----------
    *args, **options : object
        As for :class:`~skhug._data.batches.Batches`.
    group : Alone
        The processes.
    seed : int
        Of the training.
    """

    def __init__(self, *args: Any, group: Alone, seed: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.group, self.seed = group, seed

    def _order(
        self, n_batches: int, generator: torch.Generator, number: int
    ) -> tuple[torch.Generator, Tensor]:
        """Return a generator of this process's own, which augments, and the order of all."""
        drawn = self._draw(n_batches, generator)
        drawn = torch.arange(len(self.y)) if drawn is None else drawn
        return _own_generator(self.seed, number, self.group.rank), drawn

    def _part(
        self, drawn: Tensor, order: Tensor, y: Tensor, coef: Tensor, sizes: list[int]
    ) -> tuple[Any, ...]:
        """Return what of an epoch is for this process: a stretch of every batch."""
        starts = torch.tensor([0, *sizes]).cumsum(0).tolist()
        parts = [self._stretch(size) for size in sizes]
        places = zip(starts, parts, strict=False)
        mine = torch.cat([torch.arange(start + a, start + b) for start, (a, b) in places])
        here = mine.to(y.device)
        return drawn[mine], order[here], y[here], coef[here], [b - a for a, b in parts]

    def part_sizes(self) -> list[int]:
        """Return how many rows of every batch this process has."""
        return [stop - start for start, stop in map(self._stretch, self._sizes())]

    @property
    def least_rows(self) -> int:
        """Rows of this process's smallest part, where it has one."""
        return min(filter(None, self.part_sizes()), default=2)

    def _stretch(self, size: int) -> tuple[int, int]:
        """Return where this process's rows of a batch start and stop."""
        taking = min(self.group.size, max(1, size // 2))
        first, last = (min(self.group.rank + i, taking) * size // taking for i in (0, 1))
        return first, last


class ShardedBatches(Batches):
    """Batches of which every process gives rows of its own shard, as many as its share of all.

    Parameters
    ----------
    *args, **options : object
        As for :class:`~skhug._data.batches.Batches`, ``batch_size`` that of all processes.
    group : Alone
        The processes.
    seed : int
        Of the training.
    """

    def __init__(self, *args: Any, group: Alone, seed: int, **options: Any) -> None:
        super().__init__(*args, **options)
        self.group, self.seed = group, seed
        self._n_batches = len(batch_bounds(group.count(len(self.y)), self.batch_size))

    @property
    def least_rows(self) -> int:
        """Rows of this process's smallest part, where it has one."""
        return min(filter(None, self.part_sizes()), default=2)

    def _sizes(self) -> list[int]:
        """Return this process's rows of every batch, even shares of its shard."""
        ends = [i * len(self.y) // self._n_batches for i in range(self._n_batches + 1)]
        return [stop - start for start, stop in pairwise(ends)]

    def _order(
        self, n_batches: int, generator: torch.Generator, number: int
    ) -> tuple[torch.Generator, Tensor | None]:
        """Return a generator of this process's own, and the order of its shard."""
        own = _own_generator(self.seed, number, self.group.rank)
        return own, self._draw(n_batches, own)


def _own_generator(seed: int, epoch: int, rank: int) -> torch.Generator:
    """Return what draws for one process in an epoch; a fit that goes on draws the same."""
    return torch.Generator().manual_seed(seed_of(seed, epoch, rank))


def parted(group: Alone, seed: int) -> Callable[..., Batches]:
    """Return what makes the batches of one of several processes, or of one alone."""
    if group.size == 1:
        return Batches
    kind = ShardedBatches if group.sharded else SharedBatches

    def make(*args: Any, **options: Any) -> Batches:
        return kind(*args, group=group, seed=seed, **options)

    return make


def coefficients_of_shards(
    coefficients: Callable[..., Tensor], shards: Alone
) -> Callable[..., Tensor]:
    """Return what gives the rows of a shard their coefficients in the batches of all shards.

    Parameters
    ----------
    coefficients : callable
        Of :class:`~skhug._data.batches.Batches`, for rows that are all there are.
    shards : Alone
        The processes.
    """
    if shards.size == 1:
        return coefficients
    own = _of_rows if coefficients is row_coefficients else _of_class_means
    return lambda *epoch: own(shards, *epoch)


def _of_rows(
    shards: Alone, batch: Tensor, y: Tensor, weight: Tensor, class_weight: Tensor, n_batches: int
) -> Tensor:
    """As :func:`~skhug.losses._coefficients.row_coefficients`, of all shards' batches."""
    factor = class_weight[y]
    value = weight * (factor if weight.ndim == 1 else factor[:, None])
    sums = torch.cat(
        [torch.bincount(batch, minlength=n_batches).double(), value.sum(0).double().reshape(-1)]
    )
    shards.sum_(sums)
    sizes, total = sums[:n_batches], sums[n_batches:]
    mean = (total / sizes.sum()).clamp_min_(torch.finfo(value.dtype).tiny).to(value.dtype)
    size = sizes[batch].to(value.dtype)
    return value / mean / (size if weight.ndim == 1 else size[:, None])


def _of_class_means(
    shards: Alone, batch: Tensor, y: Tensor, weight: Tensor, class_weight: Tensor, n_batches: int
) -> Tensor:
    """As :func:`~skhug.losses._coefficients.epoch_coefficients`, of all shards' batches."""
    n_groups, tiny = n_batches * len(class_weight), torch.finfo(weight.dtype).tiny
    columns = weight.reshape(len(weight), -1)
    if n_groups * columns.shape[1] > _MOST_SUMS:
        raise ValueError(
            f"class_weight='balanced' of {len(class_weight)} classes in {n_batches} batches an "
            "epoch: of shards every process would hold a number for each pair. Raise batch_size, "
            "or leave class_weight=None."
        )
    group = batch * len(class_weight) + y
    totals = columns.new_zeros(n_groups, columns.shape[1]).index_add_(0, group, columns)
    shards.sum_(totals)
    share = columns / totals[group].clamp_min(tiny)
    # A class counts as present once: each of its rows adds its share.
    present = columns.new_zeros(n_batches, columns.shape[1]).index_add_(0, batch, share)
    shards.sum_(present).clamp_min_(tiny)
    return (share * class_weight[y][:, None] / present[batch]).reshape(weight.shape)
