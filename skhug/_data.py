"""Batches: training rows on the device, a new order every epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from sklearn.model_selection import train_test_split
from torch import Tensor

__all__ = ["Batches", "Rows", "split_rows"]


class Rows(NamedTuple):
    """Validated rows: features (n, ...), class indices (n,), weights (n,)."""

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray


def split_rows(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Set a stratified share of the rows aside; classes with a single row stay in training.

    Raises
    ------
    ValueError
        If the share is too small to hold a row of every class that can be split.
    """
    counts = np.bincount(rows.y)
    splittable = np.flatnonzero(counts[rows.y] > 1)
    try:
        train, held_out = train_test_split(
            splittable, test_size=fraction, stratify=rows.y[splittable], random_state=seed
        )
    except ValueError as error:
        raise ValueError(
            f"early_stopping cannot set {fraction:.0%} of {len(rows.y)} rows of "
            f"{np.count_nonzero(counts)} classes aside: {error} Raise validation_fraction, pass "
            "X_val and y_val, or set early_stopping=False."
        ) from error
    train = np.concatenate([train, np.flatnonzero(counts[rows.y] == 1)])
    return Rows(*(a[train] for a in rows)), Rows(*(a[held_out] for a in rows))


class Batches:
    """Training rows resident on the device, cut into batches by one permutation an epoch.

    Parameters
    ----------
    X : Tensor of shape (n, ...)
        Rows.
    y : Tensor of shape (n,)
        Class indices, int64.
    sample_weight : Tensor of shape (n,)
        Positive weights.
    class_weight : Tensor of shape (n_classes,)
        Weights of the classes' means, of mean 1.
    batch_size : int
        Rows a batch. A last batch of one row joins the one before it, since batch
        normalisation cannot take it alone.
    prepare : callable
        From the rows of a batch to what is yielded.
    """

    def __init__(
        self,
        X: Tensor,
        y: Tensor,
        sample_weight: Tensor,
        class_weight: Tensor,
        batch_size: int,
        prepare: Callable[[Tensor], Tensor] = lambda X: X,
    ) -> None:
        self.prepare = prepare
        self.X = X
        self.y = y
        self.sample_weight = sample_weight
        self.class_weight = class_weight
        self.batch_size = batch_size

    def __len__(self) -> int:
        """Number of batches in an epoch."""
        return len(self._bounds())

    def _bounds(self) -> list[tuple[int, int]]:
        n = len(self.X)
        starts = list(range(0, n, self.batch_size))
        if len(starts) > 1 and n - starts[-1] == 1:
            starts.pop()
        return list(zip(starts, [*starts[1:], n], strict=True))

    def epoch(self, generator: torch.Generator) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        """Yield (X, y, coef) of every batch of a new epoch.

        ``coef`` are the rows' coefficients in the within-class sum: means over the classes of a
        batch of weighted means over their rows.
        """
        bounds = self._bounds()
        if len(bounds) == 1:  # the order of a full batch is of no consequence
            order, batch, y = None, torch.zeros_like(self.y), self.y
            weight = self.sample_weight
        else:
            order = torch.randperm(len(self.X), generator=generator).to(self.X.device)
            batch = torch.arange(len(order), device=order.device) // self.batch_size
            batch.clamp_(max=len(bounds) - 1)
            y, weight = self.y[order], self.sample_weight[order]
        coef = _epoch_coefficients(batch, y, weight, self.class_weight, len(bounds))
        if order is None:
            yield self.prepare(self.X), y, coef
            return
        sizes = [stop - start for start, stop in bounds]
        for rows, labels, share in zip(
            order.split(sizes), y.split(sizes), coef.split(sizes), strict=True
        ):
            yield self.prepare(self.X.index_select(0, rows)), labels, share


def _epoch_coefficients(
    batch: Tensor, y: Tensor, weight: Tensor, class_weight: Tensor, n_batches: int
) -> Tensor:
    """Coefficients of all batches of an epoch in one pass.

    As :func:`skhug.losses.class_mean_coefficients` batch by batch, at a fraction of its calls.
    """
    group, n_groups = batch * len(class_weight) + y, n_batches * len(class_weight)
    if n_groups > 4 * len(y):  # mostly empty: number those that occur
        ordered, rank = group.sort()
        steps = torch.zeros_like(ordered)
        steps[1:] = ordered[1:] != ordered[:-1]
        group = torch.empty_like(rank).index_copy_(0, rank, steps.cumsum(0))
        n_groups = len(y)
    totals = weight.new_zeros(n_groups).index_add_(0, group, weight)
    # A class counts as present once: each of its rows adds its share.
    share = weight / totals[group]
    present = weight.new_zeros(n_batches).index_add_(0, batch, share)
    return share * class_weight[y] / present[batch]
