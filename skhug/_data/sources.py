"""Rows that are read in blocks: memory maps, HDF5 and Zarr arrays, torch data sets, views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse import issparse
from torch.utils.data import DataLoader, Dataset

__all__ = ["RowView", "Source", "is_large", "open_rows", "take"]

# Rows of more bytes are not copied as a whole on the CPU; those of fewer are simply loaded.
RESIDENT_BYTES = 1 << 28
# Kept as they come; every other kind of number is read as float64.
_KEPT = tuple(map(np.dtype, (np.float64, np.float32, np.uint8)))


def is_large(n_bytes: int) -> bool:
    """Whether rows are too large to be copied without need."""
    return n_bytes > RESIDENT_BYTES


def open_rows(X: Any) -> Any:
    """Return a :class:`Source` for what is read in blocks, and anything else as it is.

    Memory maps and other array-likes that load when indexed (HDF5, Zarr) become a source if they
    are large, and an array if they are not. A torch data set is always a source: its items may
    differ from epoch to epoch.
    """
    if isinstance(X, Source):
        return X
    if isinstance(X, DataLoader):
        raise TypeError(
            "X is a DataLoader, and estimators draw their own batches: pass its data set, "
            "fit(loader.dataset), and its batch_size as a parameter of the estimator."
        )
    if isinstance(X, Dataset):
        return _DatasetRows(X)
    if isinstance(X, np.ndarray):
        return _ArrayRows(X) if isinstance(X, np.memmap) and is_large(X.nbytes) else X
    if not _loads_when_indexed(X):
        return X
    source = _LazyRows(X)
    return source if is_large(source.nbytes) else np.asarray(X[:])


def take(X: Any, index: np.ndarray) -> Any:
    """Return the rows of an index: a copy of few, a view of many."""
    large = isinstance(X, Source) or is_large(X.nbytes)
    return RowView(X, index) if large else X[index]


def _loads_when_indexed(X: Any) -> bool:
    array_like = all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__"))
    return (
        array_like
        and isinstance(X.dtype, np.dtype)
        and len(X.shape) > 1
        and not issparse(X)
        and not hasattr(X, "__array_namespace__")  # an array in memory, of another library
        and not hasattr(X, "iloc")  # a data frame's relative
    )


def _all_finite(rows: np.ndarray) -> bool:
    if rows.dtype.kind != "f":
        return True
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(rows.sum()) or np.isfinite(rows).all())


class Source:
    """Rows of numbers that are read by slices or by index, and checked as they are read.

    Parameters
    ----------
    shape : tuple of int
        (n_rows, ...).
    dtype : dtype
        Of what is stored; float64, float32 and uint8 are kept, all else is read as float64.
    """

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype) -> None:
        if dtype.kind not in "biuf":
            raise ValueError(f"X holds values of dtype {dtype}: pass real numbers.")
        self.shape = tuple(map(int, shape))
        self.dtype = dtype if dtype in _KEPT else np.dtype(np.float64)

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def ndim(self) -> int:
        """Number of axes, that of the rows included."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all rows as they are read."""
        return math.prod(self.shape) * self.dtype.itemsize

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Return rows as an array in memory.

        Raises
        ------
        ValueError
            If a value is not finite.
        """
        rows = np.asarray(self._read(key), dtype=self.dtype)
        if not _all_finite(rows):
            raise ValueError("Input X contains NaN or infinity: clean or impute the rows first.")
        return rows

    def labels(self) -> np.ndarray:
        """Return the labels that come with the rows."""
        raise ValueError("y is None, and only a torch data set of (x, y) brings labels: pass y.")

    def _read(self, key: slice | np.ndarray) -> Any:
        raise NotImplementedError


class _ArrayRows(Source):
    """Rows of a memory-mapped array."""

    def __init__(self, array: np.ndarray) -> None:
        super().__init__(array.shape, array.dtype)
        self._array = array.view(np.ndarray)

    def _read(self, key: slice | np.ndarray) -> Any:
        return np.array(self._array[key])  # read now, by who asks, and never written to


class _LazyRows(Source):
    """Rows of an array-like that loads when indexed, by slices or by sorted unique indices."""

    def __init__(self, array: Any) -> None:
        super().__init__(array.shape, array.dtype)
        self._array = array
        self._by_index = getattr(array, "oindex", array)
        try:
            self._by_index[np.zeros(1, dtype=np.int64)]
            self._takes_index = True
        except Exception:  # libraries differ in what they raise for an index they do not take
            self._takes_index = False

    def _read(self, key: slice | np.ndarray) -> Any:
        if isinstance(key, slice):
            if key.step in (None, 1):
                return self._array[key]
            key = np.arange(*key.indices(len(self)))
        unique, inverse = np.unique(key, return_inverse=True)  # HDF5 takes no other order
        return self._read_sorted(unique)[inverse]

    def _read_sorted(self, index: np.ndarray) -> np.ndarray:
        if len(index) == 0:
            return np.asarray(self._array[0:0])
        if self._takes_index:
            return np.asarray(self._by_index[index])
        runs = np.split(index, np.flatnonzero(np.diff(index) > 1) + 1)
        return np.concatenate([self._array[int(r[0]) : int(r[-1]) + 1] for r in runs])


class _DatasetRows(Source):
    """Rows of a torch data set whose items are x or (x, y)."""

    def __init__(self, dataset: Any) -> None:
        if not hasattr(dataset, "__len__") or len(dataset) == 0:
            raise ValueError(
                f"{type(dataset).__name__} has no length, or no items: pass a data set with "
                "__len__ and __getitem__."
            )
        first = self._features(dataset[0])
        super().__init__((len(dataset), *first.shape), first.dtype)
        self._dataset = dataset

    @staticmethod
    def _features(item: Any) -> np.ndarray:
        return np.asarray(item[0] if isinstance(item, (tuple, list)) else item)

    def _read(self, key: slice | np.ndarray) -> Any:
        index = range(*key.indices(len(self))) if isinstance(key, slice) else key.tolist()
        rows = [self._features(self._dataset[i]) for i in index]
        for i, row in zip(index, rows, strict=True):
            if row.shape != self.shape[1:]:
                raise ValueError(
                    f"Item {i} of the data set has shape {row.shape} and the first "
                    f"{self.shape[1:]}: bring all to one shape in the data set."
                )
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]))

    def labels(self) -> np.ndarray:
        """Read every item once for its label."""
        if not isinstance(self._dataset[0], (tuple, list)):
            raise ValueError("y is None, and the data set's items are no (x, y): pass y.")
        return np.array([np.asarray(self._dataset[i][1]) for i in range(len(self))])


class RowView(Source):
    """Some rows of an array or a source, by index, without a copy.

    Parameters
    ----------
    rows : ndarray or Source
        What is looked at.
    index : ndarray of shape (n,)
        Of its rows, in any order.
    """

    def __init__(self, rows: Any, index: np.ndarray) -> None:
        super().__init__((len(index), *rows.shape[1:]), rows.dtype)
        self._rows = rows
        self._index = index

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Return rows as an array in memory, checked where they come from."""
        return self._rows[self._index[key]]
