"""What is kept of vectors that came so far: sums of all, and some rows to choose by."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch

from skhug._data.class_moments import Sums
from skhug._data.folds import mixed
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
        lot = mixed(self.number.astype(np.uint64) + np.uint64(1))
        drawn = np.sort(np.argpartition(lot, most)[:most])
        return KeptRows(np.asarray(take(self.X, drawn)[:]), *(a[drawn] for a in self[1:]))

    def followed_by(self, later: KeptRows) -> KeptRows:
        """Return both one after the other."""
        return KeptRows(*(np.concatenate(pair) for pair in zip(self, later, strict=True)))


class SeenVectors(NamedTuple):
    """Sums of all rows so far, their number, rows to choose by or None, and what was chosen.

    However rows are cut into calls, the same rows one after another are the same up to rounding.
    """

    sums: Sums
    n_rows: int
    kept: KeptRows | None = None
    chosen: Discriminant | None = None

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
        chosen = None if before is None else before.chosen
        kept = None
        if most and chosen is None:
            number = n_before + np.arange(len(rows.y))
            kept = KeptRows(rows.X, rows.y, rows.weight, count, number).first(most)
            if before is not None and before.kept is not None:
                kept = before.kept.followed_by(kept).first(most)
        if before is not None:
            sums = before.sums.plus(sums)
        return cls(sums, n_before + len(rows.y), kept, chosen)

    def folded(self, chosen: Discriminant | None) -> SeenVectors | None:
        """Return this without rows and with what they chose; None where sums are too many."""
        most = self.sums.sums.size + self.sums.squares.size
        return self._replace(kept=None, chosen=chosen) if most <= _MOST_NUMBERS else None

    def packed(self) -> dict[str, Any]:
        """Return this as plain objects and CPU tensors."""
        kept = None if self.kept is None else _tensors(self.kept)
        chosen = None if self.chosen is None else list(self.chosen)
        return {
            "sums": _tensors(self.sums),
            "n_rows": self.n_rows,
            "kept": kept,
            "chosen": chosen,
        }

    @classmethod
    def unpacked(cls, saved: dict[str, Any]) -> SeenVectors:
        """Undo :meth:`packed`."""
        kept, chosen = saved["kept"], saved["chosen"]
        return cls(
            Sums(**_arrays(saved["sums"])),
            saved["n_rows"],
            None if kept is None else KeptRows(**_arrays(kept)),
            None if chosen is None else Discriminant(*chosen),
        )


def _tensors(some: NamedTuple) -> dict[str, Any]:
    cpu = torch.device("cpu")
    fields = some._asdict().items()
    return {k: to_tensor(v, cpu) if isinstance(v, np.ndarray) else v for k, v in fields}


def _arrays(saved: dict[str, Any]) -> dict[str, Any]:
    return {k: to_numpy(v) if isinstance(v, torch.Tensor) else v for k, v in saved.items()}
