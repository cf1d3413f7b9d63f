"""What is kept of vectors that came so far: sums of all, and some rows to choose by.

Sums are written to files and pickles, rows are not.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from skhug._data.class_moments import Sums
from skhug._data.folds import different_rows, mixed
from skhug._data.rows import Rows
from skhug._data.sources import take
from skhug._device import to_numpy, to_tensor
from skhug._model.discriminant import Discriminant

__all__ = ["KeptRows", "SeenVectors"]

# Numbers of sums that a fit keeps for a later partial_fit: 32 MiB.
_MOST_NUMBERS = 1 << 22


class KeptRows(NamedTuple):
    """Some of the rows: ``X`` (k, n_features), and of each its class, what it counts, its number.

    ``weight`` (k,) is what a row counts in means, ``count`` (k,) how many rows it is, up to a
    factor, and ``number`` (k,) how many came before it.
    """

    X: np.ndarray
    y: np.ndarray
    weight: np.ndarray
    count: np.ndarray
    number: np.ndarray

    def first(self, most: int) -> KeptRows:
        """Return at most so many rows, by a lot that hangs on their numbers alone."""
        if len(self.y) <= most:
            return self
        drawn = self.places(most)
        return KeptRows(np.asarray(take(self.X, drawn)[:]), *(a[drawn] for a in self[1:]))

    def places(self, most: int) -> np.ndarray:
        """Return where the rows lie that :meth:`first` returns, in order."""
        if len(self.y) <= most:
            return np.arange(len(self.y))
        lot = mixed(self.number.astype(np.uint64) + np.uint64(1))
        return np.sort(np.argpartition(lot, most)[:most])

    def different(self) -> KeptRows:
        """Return rows that are repeated as one each, which weighs and counts for all of them."""
        places, which = different_rows(self.X, self.y)
        weight, count = (np.bincount(which, a) for a in (self.weight, self.count))
        return KeptRows(self.X[places], self.y[places], weight, count, self.number[places])

    def followed_by(self, later: KeptRows) -> KeptRows:
        """Return both one after the other."""
        return KeptRows(*(np.concatenate(pair) for pair in zip(self, later, strict=True)))


class SeenVectors(NamedTuple):
    """Sums of all rows so far, their number, rows to choose by, and what so many of them chose.

    ``change`` (n_classes, n_features + 1) is what they added to the discriminant's weights and, in
    the last column, its bias; None if it stands as it is.

    However rows are cut into calls, the same rows one after another are the same up to rounding.
    """

    sums: Sums
    n_rows: int
    kept: KeptRows | None = None
    chosen: Discriminant | None = None
    chosen_by: int = 0
    change: np.ndarray | None = None

    @classmethod
    def of(
        cls, rows: Rows, count: np.ndarray, n_classes: int, most: int, before: SeenVectors | None
    ) -> SeenVectors:
        """Return what is kept of rows, and of those that came before.

        Parameters
        ----------
        rows : Rows
            Their weights are what they count in means.
        count : ndarray of shape (n,)
            How many rows each is, up to a factor.
        n_classes : int
            Of them.
        most : int
            Rows to choose by; 0 keeps none.
        before : SeenVectors or None
            Of earlier calls.
        """
        sums = Sums.of(rows.X, rows.y, rows.weight, n_classes, count)
        n_before = 0 if before is None else before.n_rows
        kept = None
        if most:
            number = n_before + np.arange(len(rows.y))
            kept = KeptRows(rows.X, rows.y, rows.weight, count, number).first(most)
        if before is None:
            return cls(sums, len(rows.y), kept)
        if most and before.kept is not None:
            kept = before.kept.followed_by(kept).first(most)
        sums = before.sums.plus(sums)
        return before._replace(sums=sums, n_rows=n_before + len(rows.y), kept=kept)

    def choosing(self, chosen: Discriminant | None, change: np.ndarray | None) -> SeenVectors:
        """Return this with what its rows have chosen; as it was without a choice of theirs."""
        if chosen is None or self.kept is None or len(self.kept.y) < self.chosen_by:
            return self
        return self._replace(chosen=chosen, chosen_by=len(self.kept.y), change=change)

    def packed(self) -> dict[str, Any] | None:
        """Return all but the rows as plain objects and CPU tensors; None of sums of too many."""
        if self.sums.sums.size + self.sums.squares.size > _MOST_NUMBERS:
            return None
        chosen = None if self.chosen is None else list(self.chosen)
        change = None if self.change is None else to_tensor(self.change, torch.device("cpu"))
        return {
            "sums": _tensors(self.sums),
            "n_rows": self.n_rows,
            "chosen": chosen,
            "chosen_by": self.chosen_by,
            "change": change,
        }

    @classmethod
    def unpacked(cls, saved: dict[str, Any], kept: KeptRows | None) -> SeenVectors:
        """Undo :meth:`packed`, with the rows where they are still known."""
        chosen, change = saved["chosen"], saved.get("change")  # older files have none
        return cls(
            Sums(**_arrays(saved["sums"])),
            saved["n_rows"],
            kept,
            None if chosen is None else Discriminant(*chosen),
            saved["chosen_by"],
            None if change is None else to_numpy(change),
        )


def _tensors(some: NamedTuple) -> dict[str, Any]:
    cpu = torch.device("cpu")
    fields = some._asdict().items()
    return {k: to_tensor(v, cpu) if isinstance(v, np.ndarray) else v for k, v in fields}


def _arrays(saved: dict[str, Any]) -> dict[str, Any]:
    return {k: to_numpy(v) if isinstance(v, torch.Tensor) else v for k, v in saved.items()}
