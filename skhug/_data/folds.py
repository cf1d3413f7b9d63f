"""Which rows a member leaves out: folds of the training rows."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skhug._data.rows import Rows
from skhug._data.sources import Source
from skhug._data.sparse_rows import dense_blocks

__all__ = [
    "NO_FOLD",
    "assign_folds",
    "deal_folds",
    "deal_shard",
    "different_rows",
    "left_out_weights",
    "mixed",
    "stream_folds",
]

Prepared = Callable[[np.ndarray], np.ndarray]
# Of a row that no member leaves out.
NO_FOLD = -1
# Few rows are dealt out from so many different ones in a fold on, on average.
_FEWEST_IN_A_FOLD = 5
_FEW_ROWS = 200
# Numbers of a block of rows whose keys are computed at once.
_BLOCK_NUMBERS = 1 << 18


def assign_folds(rows: Rows, n_folds: int, prepared: Prepared) -> np.ndarray | None:
    """Deal the rows of each class out to folds.

    The order of the rows does not matter, nor what standardising takes away. Rows that are repeated
    are dealt out one by one: new rows may repeat them just so. The only row of a class has no fold,
    since nobody else could tell the class.

    Parameters
    ----------
    rows : Rows
        To train on.
    n_folds : int
        How many.
    prepared : callable
        From some raw rows to what the networks take.

    Returns
    -------
    index : ndarray of shape (n,) or None
        The fold of each row; None where rows are few, and different ones too few to tell anything.
        With integer weights and with repeated rows these train alike.
    """
    keys = _keys(dense_blocks(rows.X), prepared)
    if len(keys) < _FEW_ROWS and len(np.unique(keys)) < _FEWEST_IN_A_FOLD * n_folds:
        return None
    return _dealt(keys, rows.y, n_folds)


def deal_folds(rows: Rows, n_folds: int, prepared: Prepared) -> np.ndarray | None:
    """Return the folds of :func:`assign_folds`, however few rows there are.

    Rows with weights and repeated ones are alike only where :func:`different_rows` came first.
    """
    return _dealt(_keys(dense_blocks(rows.X), prepared), rows.y, n_folds)


def different_rows(X: np.ndarray | Source, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of rows that differ in values or class, and which of them each row is."""
    keys = _keys(dense_blocks(X), lambda X: X)
    _, places, which = np.unique(
        np.stack([y, keys], 1), axis=0, return_index=True, return_inverse=True
    )
    return places, which.ravel()  # NumPy 2.0 gave it a second axis


def _dealt(keys: np.ndarray, y: np.ndarray, n_folds: int) -> np.ndarray | None:
    """Deal rows of the same class out one after another; None where no row can be left out."""
    by_class = np.lexsort((keys, y))
    # Drawn by lot inside each class, and dealt out class after class.
    lot = np.random.default_rng(0).random(len(keys))
    dealt = by_class[np.lexsort((lot, y[by_class]))]
    index = np.empty(len(keys), np.int64)
    index[dealt] = np.arange(len(keys)) % n_folds
    index[np.bincount(y)[y] == 1] = NO_FOLD
    return index if (index != NO_FOLD).any() else None


def _keys(X: np.ndarray | Source, prepared: Prepared) -> np.ndarray:
    """Return a number for each row, a weighted sum of its values: equal rows have equal ones."""
    width = np.asarray(prepared(X[:1])).size
    weight = np.random.default_rng(0).uniform(0.5, 1, width) / width  # no sum overflows
    step = max(1, _BLOCK_NUMBERS // width)
    # Row by row, as a product with a matrix is not: there rounding hangs on the row's place.
    sums = [
        (np.asarray(prepared(X[i : i + step]), np.float64).reshape(-1, width) * weight).sum(1)
        for i in range(0, len(X), step)
    ]
    return np.concatenate(sums)


def mixed(values: np.ndarray) -> np.ndarray:
    """Spread the bits of 64-bit integers over one another."""
    for shift in (32, 29):
        values = (values ^ (values >> np.uint64(shift))) * np.uint64(0x9E3779B97F4A7C15)
    return values ^ (values >> np.uint64(32))


def left_out_weights(weight: np.ndarray, folds: np.ndarray, n_members: int) -> np.ndarray:
    """Return weights (n, n_members), 0 where the member leaves the row out."""
    weight = np.repeat(weight[:, None], n_members, axis=1)
    weight[folds[:, None] == np.arange(n_members)] = 0
    return weight


def stream_folds(rows: Rows, n_folds: int, prepared: Prepared) -> np.ndarray:
    """Deal rows out by their raw values: one that comes again in a later call has the same fold.

    Inside a call rows that are repeated are dealt out one by one. What prepares rows moves with
    them, and is not asked.
    """
    keys = _keys(dense_blocks(rows.X), np.nan_to_num) + 0.0
    order = np.argsort(keys, kind="stable")
    new = np.r_[True, keys[order][1:] != keys[order][:-1]]
    place = np.arange(len(keys))
    repeat = np.empty(len(keys), np.uint64)
    repeat[order] = place - np.maximum.accumulate(np.where(new, place, 0))
    bits = mixed(mixed(keys.view(np.uint64)) + repeat)
    return (bits % np.uint64(n_folds)).astype(np.int64)


def deal_shard(rows: Rows, n_folds: int, prepared: Prepared) -> np.ndarray:
    """Deal the rows of a shard out by their values, as :func:`stream_folds` does.

    The only row of a class among all shards has no fold.
    """
    folds = stream_folds(rows, n_folds, prepared)
    n_classes = max(rows.shards.gather(int(rows.y.max())))
    counts = rows.shards.total(np.bincount(rows.y, minlength=n_classes + 1))
    folds[counts[rows.y] == 1] = NO_FOLD
    return folds
