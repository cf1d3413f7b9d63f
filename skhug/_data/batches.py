"""Batches: training rows, in a new order every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from skhug._data.streaming import Stream
from skhug.losses._coefficients import row_coefficients
from skhug.sampling import BalancedOrder

__all__ = ["Batches", "batch_bounds", "untouched"]

# Rows gathered at once: a share of a core's cache.
_GATHER_BYTES = 1 << 18


def untouched(X: Tensor, generator: torch.Generator) -> Tensor:
    """Return a batch of prepared rows as it is."""
    return X


def batch_bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    """Return where the batches of an epoch of n rows start and stop.

    A last batch of one row joins the one before it: batch normalisation cannot take it alone.
    """
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


def spread(order: Tensor, folds: Tensor) -> Tensor:
    """Reorder rows so that every stretch of them has its share of every fold.

    Parameters
    ----------
    order : Tensor of shape (n,)
        Row indices; inside a fold they stay in this order.
    folds : Tensor of shape (n,)
        Of each row, numbers from 0 on.
    """
    sizes = torch.bincount(folds)
    grouped = order[folds[order].argsort(stable=True)]
    fold = folds[grouped]
    rank = torch.arange(len(order)) - (sizes.cumsum(0) - sizes)[fold]
    return grouped[((rank + 0.5) / sizes[fold]).argsort(stable=True)]


def rows_that_count(coef: Tensor, sizes: list[int]) -> list[Tensor]:
    """Return which rows of every batch count for each member, shape (members, at least 1).

    Members for which fewer rows count than for another one get some that do not.

    Parameters
    ----------
    coef : Tensor of shape (n, members)
        What the rows of an epoch count.
    sizes : list of int
        Of the batches.
    """
    padded = pad_sequence(coef.split(sizes), batch_first=True)
    most = padded.count_nonzero(1).amax(1).clamp_min(1).tolist()
    rows = padded.mT.sort(dim=2, descending=True, stable=True).indices
    return [of_batch[:, :k] for of_batch, k in zip(rows, most, strict=True)]


class Batches:
    """Training rows in batches, in a new order every epoch.

    Rows are resident on the device, or streamed to it; their order is the same.

    Parameters
    ----------
    X : Tensor of shape (views * n, ...) or Stream
        Rows; of several views of them one after another, epochs take one in turn.
    y : Tensor of shape (n,)
        Class indices, int64.
    sample_weight : Tensor of shape (n,) or (n, members)
        Weights of 0 or more; a column for each of several members.
    class_weight : Tensor of shape (n_classes,)
        Weights of the classes, of mean 1.
    batch_size : int
        Rows per batch. A last batch of one row joins the one before it, since batch
        normalisation cannot take it alone.
    prepare : callable
        From the rows of a batch and the generator to what is yielded.
    sampler : BalancedOrder, optional
        Draws the order of an epoch; by default a permutation.
    coefficients : callable
        From an epoch's (batch, y, weight, class_weight, n_batches) to what each row counts.
    folds : Tensor of shape (n,), optional
        Which member leaves a row out, on the CPU; every batch gets rows of all folds alike.

    Attributes
    ----------
    apart : bool
        Whether members get rows of their own, those that count for them.
    """

    def __init__(
        self,
        X: Tensor | Stream,
        y: Tensor,
        sample_weight: Tensor,
        class_weight: Tensor,
        batch_size: int,
        prepare: Callable[[Tensor, torch.Generator], Tensor] = untouched,
        sampler: BalancedOrder | None = None,
        coefficients: Callable[..., Tensor] = row_coefficients,
        folds: Tensor | None = None,
    ) -> None:
        self.prepare = prepare
        self.X = X
        self.y = y
        self.sample_weight = sample_weight
        self.class_weight = class_weight
        self.batch_size = batch_size
        self.sampler = sampler
        self.coefficients = coefficients
        self.folds = folds
        self.apart = False
        self._alike: Tensor | None = None

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self._sizes())

    def part_sizes(self) -> list[int]:
        """Return how many rows of every batch this process has."""
        return self._sizes()

    @property
    def least_rows(self) -> int:
        """Rows of the smallest batch, a rest aside."""
        return min(self.batch_size, len(self.y))

    @property
    def _n_views(self) -> int:
        return len(self.X) // len(self.y)

    def _sizes(self) -> list[int]:
        """Return the rows of every batch of an epoch."""
        n = len(self.y if self.sampler is None else self.sampler)
        return [stop - start for start, stop in batch_bounds(n, self.batch_size)]

    def epoch(
        self, generator: torch.Generator, number: int = 0
    ) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (X, y, coef) of every batch of a new epoch, the number of which chooses the view.

        ``coef`` of shape (batch,) or (batch, members) are the rows' coefficients in the
        within-class sum. Where members are ``apart``, all three have shape (members, rows, ...).
        """
        sizes, prepare = self._sizes(), self.prepare
        generator, drawn = self._order(len(sizes), generator, number)
        if drawn is None:  # the order of a full batch is of no consequence
            order, y = None, self.y
        else:
            order = drawn.to(self.y.device)
            y = self.y[order]
        coef = self._coefficients_of(order, y, sizes)
        drawn, order, y, coef, sizes = self._part(drawn, order, y, coef, sizes)
        if self._n_views > 1:
            start = number % self._n_views * len(self.y)
            drawn, order = drawn + start, order + start
        streamed = isinstance(self.X, Stream)
        rows = self.X.batches(drawn, sizes) if streamed else self._gather(order, sizes)
        parts = zip(rows, y.split(sizes), coef.split(sizes), strict=True)
        if not self.apart:
            for X, labels, share in parts:
                yield prepare(X, generator), labels, share
            return
        for (X, labels, share), own in zip(parts, rows_that_count(coef, sizes), strict=True):
            if not len(labels):
                yield X, labels, share
                continue
            yield prepare(X, generator)[own], labels[own], share.mT.gather(1, own)

    def _coefficients_of(self, order: Tensor | None, y: Tensor, sizes: list[int]) -> Tensor:
        """Return what each row of an epoch counts: of rows that weigh alike, as in the last one."""
        if self._alike is not None:
            return self._alike
        if order is None:
            batch, weight = torch.zeros_like(y), self.sample_weight
        else:
            places, counts = torch.arange(len(sizes)), torch.tensor(sizes)
            batch = places.repeat_interleave(counts).to(order.device)
            weight = self.sample_weight[order]
        coef = self.coefficients(batch, y, weight, self.class_weight, len(sizes))
        if self._weighs_alike:
            self._alike = coef
        return coef

    @cached_property
    def _weighs_alike(self) -> bool:
        """Whether the order of rows does not matter to what they count; not asked of a GPU."""
        weights = (self.sample_weight, self.class_weight)
        known = self.coefficients is row_coefficients and self.y.device.type == "cpu"
        return known and all(bool((w == w.ravel()[0]).all()) for w in weights)

    def _order(
        self, n_batches: int, generator: torch.Generator, number: int
    ) -> tuple[torch.Generator, Tensor | None]:
        """Return what draws for the rows of a batch from now on, and the order of an epoch."""
        return generator, self._draw(n_batches, generator)

    def _part(self, *epoch: Any) -> tuple[Any, ...]:
        """Return what of an epoch's (drawn, order, y, coef, sizes) is for this process: all."""
        return epoch

    def _draw(self, n_batches: int, generator: torch.Generator) -> Tensor | None:
        """Return the order of an epoch on the CPU, None where it is of no consequence."""
        if self.sampler is not None:
            return torch.from_numpy(self.sampler.draw(generator))
        if n_batches == 1 and self._n_views == 1:
            return None
        order = torch.randperm(len(self.y), generator=generator)
        return order if self.folds is None else spread(order, self.folds)

    def _gather(self, order: Tensor | None, sizes: list[int]) -> Iterator[Tensor]:
        """Yield the rows of each batch, those of several small ones gathered in one call."""
        if order is None:
            yield self.X
            return
        batch_bytes = self.X[0].nbytes * self.batch_size
        group = max(1, _GATHER_BYTES // max(batch_bytes, 1))
        start = 0
        for i in range(0, len(sizes), group):
            stop = start + sum(sizes[i : i + group])
            yield from self.X.index_select(0, order[start:stop]).split(sizes[i : i + group])
            start = stop
