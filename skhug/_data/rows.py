"""Validated rows with their classes and weights."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from skhug._data.expansion import Expand
from skhug._data.sources import Source, take
from skhug._distributed.group import ALONE, Alone
from skhug._sparse import CompressedRows

__all__ = ["Rows", "Task", "split_rows"]


class Rows(NamedTuple):
    """Validated rows: features (n, ...), class indices (n,), weights (n,).

    ``expand`` makes more columns of levels and gaps, where there are any. ``shards`` are the
    processes that hold further rows of the same data; alone, these are all.
    """

    X: np.ndarray | Source | CompressedRows
    y: np.ndarray
    weight: np.ndarray
    expand: Expand | None = None
    shards: Alone = ALONE

    @property
    def n_all(self) -> int:
        """Number of rows that all processes hold."""
        return self.shards.count(len(self.y))

    @property
    def heaviest(self) -> float:
        """The largest weight that any process holds."""
        return max(self.shards.gather(float(self.weight.max(initial=0))))

    @property
    def sample_shape(self) -> tuple[int, ...]:
        """Shape of a row as an encoder takes it."""
        return tuple(self.X.shape[1:]) if self.expand is None else (self.expand.width,)

    def take(self, index: np.ndarray) -> Rows:
        """Return some rows; many are not copied, but looked up when they are read."""
        return Rows(
            take(self.X, index), self.y[index], self.weight[index], self.expand, self.shards
        )

    def drawn(self, index: np.ndarray) -> Rows:
        """Return some rows, by their places among those that all processes hold."""
        if len(index) == self.n_all:
            return self
        return self.take(self.shards.own(index, len(self.y)))

    def labels_of_all(self) -> Rows:
        """Return the rows with the labels and the weights of all processes."""
        y, weight = (self.shards.join(array) for array in (self.y, self.weight))
        return self._replace(y=y, weight=weight)

    def weighted(self) -> Rows:
        """Return the rows that have a weight above zero."""
        used = self.weight > 0
        return self if used.all() else self.take(np.flatnonzero(used))


class Task(NamedTuple):
    """What to learn: training rows, rows to validate on or None, and the classes' labels."""

    rows: Rows
    validation: Rows | None
    classes: np.ndarray


def split_rows(rows: Rows, fraction: float, seed: int) -> tuple[Rows, Rows]:
    """Set a stratified share of the rows aside; classes with a single row stay in training.

    Raises
    ------
    ValueError
        If the share is too small to hold a row of every class that can be split.
    """
    # Here and not above: it brings most of scikit-learn, and few fits hold rows out.
    from sklearn.model_selection import train_test_split

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
    return rows.take(train), rows.take(held_out)
