"""Columns with levels or gaps as columns of numbers: one for each level, one for the gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skhug._device import to_numpy, to_tensor
from skhug._distributed.group import ALONE, Alone

__all__ = ["Expand", "ExpandedRows", "expansion_of", "refuse_gaps", "scale_factors"]

# The scale of a column that is 0 or 1, in half ranges, which are that of a column of numbers: its
# standard deviation is then about that of numbers, and not three times it.
_OF_LEVELS = 3.0


class Expand(nn.Module):
    """Takes the columns of rows to more: the numbers, one for each level, one for gaps.

    A column of levels holds their codes. A gap is NaN, and stays so among the numbers; among the
    levels of its column all are 0 then.

    Parameters
    ----------
    numeric : Tensor of int64
        Columns that hold numbers.
    source, level : Tensor of int64, as many as there are levels
        The column that holds a level's code, and the code.
    gaps : Tensor of int64
        Columns whose gaps get a column that says where they are.
    """

    def __init__(self, numeric: Tensor, source: Tensor, level: Tensor, gaps: Tensor) -> None:
        super().__init__()
        self.register_buffer("numeric", numeric)
        self.register_buffer("source", source)
        self.register_buffer("level", level)
        self.register_buffer("gaps", gaps)

    def arguments(self) -> dict[str, Tensor]:
        """Return what the constructor takes."""
        return dict(self.named_buffers())

    @property
    def width(self) -> int:
        """Number of columns that come out."""
        return len(self.numeric) + len(self.source) + len(self.gaps)

    def forward(self, X: Tensor) -> Tensor:
        """Return rows of shape (batch, width) for rows of shape (batch, n_features)."""
        levels = X.index_select(1, self.source) == self.level
        gaps = X.index_select(1, self.gaps).isnan()
        return torch.cat([X.index_select(1, self.numeric), levels.to(X), gaps.to(X)], dim=1)


class ExpandedRows:
    """Rows as :class:`Expand` makes them, when they are asked for."""

    def __init__(self, X: np.ndarray, expand: Expand) -> None:
        self.shape = (len(X), expand.width)
        self.dtype = X.dtype
        self._rows, self._expand = X, expand

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Return some rows, expanded."""
        block = to_tensor(self._rows[key], self._expand.numeric.device)
        return to_numpy(self._expand(block))


def scale_factors(expand: Expand | None) -> np.ndarray | float:
    """Return what the scales of columns, as numbers have them, are multiplied by."""
    if expand is None:
        return 1.0
    n_numeric = len(expand.numeric)
    return np.repeat([1.0, _OF_LEVELS], [n_numeric, expand.width - n_numeric])


def expansion_of(
    X: Any, counts: np.ndarray, n_levels: Sequence[int | None] | None, shards: Alone = ALONE
) -> Expand | None:
    """Return what expands rows to train on; None where they have neither levels nor gaps.

    Parameters
    ----------
    X : ndarray, Source or CompressedRows of shape (n, ...)
        NaN for a gap, in arrays of flat rows alone.
    counts : ndarray of bool, shape (n,)
        The rows that count.
    n_levels : sequence, or None
        How many levels each column has codes of, None for one of numbers; None where all are.
    shards : Alone
        The processes that hold further rows, whose gaps count as well.
    """
    gaps = np.flatnonzero(np.any(shards.gather(_columns_with_gaps(X, counts)), axis=0))
    counts = [None] * X.shape[1] if n_levels is None else n_levels
    numeric = [i for i, count in enumerate(counts) if count is None]
    if len(numeric) == X.shape[1] and not len(gaps):
        return None
    levels = [(i, j) for i, count in enumerate(counts) for j in range(count or 0)]
    source, level = zip(*levels, strict=True) if levels else ((), ())
    return Expand(
        *(torch.tensor(index, dtype=torch.int64) for index in (numeric, source, level, gaps))
    )


def refuse_gaps(X: Any) -> None:
    """Refuse rows or images with gaps; others than arrays are checked where they are read.

    Raises
    ------
    ValueError
        If there is one, with what to do.
    """
    if isinstance(X, np.ndarray) and _columns_with_gaps(X.reshape(len(X), -1)).any():
        raise ValueError(
            "Input X contains NaN, and the encoder takes none here: images have no gaps, and where "
            "nothing is standardised only columns that had gaps in fit may have some. Impute them "
            "in front, for instance by sklearn.impute.SimpleImputer."
        )


def _columns_with_gaps(X: Any, counts: np.ndarray | slice = slice(None)) -> np.ndarray:
    """Return which columns have a NaN; images, sparse rows, what is read in blocks have none."""
    none = np.zeros(X.shape[1], bool)
    if not isinstance(X, np.ndarray) or X.ndim > 2 or X.dtype.kind != "f":
        return none
    with np.errstate(over="ignore", invalid="ignore"):
        if not np.isnan(X.sum()):  # which is quicker than column by column
            return none
        suspects = np.flatnonzero(np.isnan(X.sum(axis=0)))  # or of sums beyond what floats hold
    none[suspects] = np.isnan(X[:, suspects])[counts].any(axis=0)
    return none
