"""Rows that are read in blocks: memory maps, HDF5 and Zarr arrays, torch data sets, views."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Dataset, IterableDataset

from skhug._data.columns import as_array, numeric_rows
from skhug._labels import check_one_kind
from skhug._sparse import CompressedRows, as_scipy, is_sparse

__all__ = ["RowView", "Source", "is_large", "labels_of", "open_rows", "take"]

# Rows of more bytes are not copied as a whole on the CPU; those of fewer are simply loaded.
RESIDENT_BYTES = 1 << 28
# Kept as they come; every other kind of number is read as float64.
_KEPT = tuple(map(np.dtype, (np.float64, np.float32, np.uint8)))


def is_large(n_bytes: int) -> bool:
    """Whether rows are too large to be copied without need."""
    return n_bytes > RESIDENT_BYTES


def open_rows(X: Any) -> Any:
    """Return a :class:`Source` for what is read in blocks, and numbers for anything else.

    Memory maps and other array-likes that load when indexed (HDF5, Zarr) become a source if they
    are large, and an array if they are not. A torch data set is always a source: its items may
    differ from epoch to epoch. Of what lies in memory see
    :func:`~skhug._data.columns.numeric_rows`.
    """
    if isinstance(X, Source):
        return X
    if is_sparse(X):
        return as_scipy(X)
    if isinstance(X, DataLoader):
        raise TypeError(
            "X is a DataLoader, and estimators draw their own batches: pass its data set, "
            "fit(loader.dataset), and its batch_size as a parameter of the estimator."
        )
    if isinstance(X, Dataset):
        return _DatasetRows(X)
    if isinstance(X, np.ndarray):
        is_source = isinstance(X, np.memmap) and is_large(X.nbytes)
        return _ArrayRows(X) if is_source else numeric_rows(X)
    if not _loads_when_indexed(X):
        return numeric_rows(X)
    source = _LazyRows(X)
    return source if is_large(source.nbytes) else np.asarray(X[:])


def labels_of(X: Any, y: Any) -> Any:
    """Return y, or where it is None the labels that a torch data set brings.

    Raises
    ------
    ValueError
        If there are none.
    """
    if y is not None:
        return y
    if isinstance(X, (Dataset, Source)):
        return open_rows(X).labels()
    raise ValueError(
        "requires y to be passed, but the target y is None, and only a torch data set of (x, y) "
        "brings labels: pass y."
    )


def take(X: Any, index: np.ndarray) -> Any:
    """Return the rows of an index: a copy of few, a view of many."""
    if isinstance(X, CompressedRows):  # which has no view of some of its rows
        return X[index]
    large = isinstance(X, Source) or is_large(X.nbytes)
    return RowView(X, index) if large else X[index]


def _loads_when_indexed(X: Any) -> bool:
    array_like = all(hasattr(X, name) for name in ("shape", "dtype", "__getitem__"))
    return (
        array_like
        and isinstance(X.dtype, np.dtype)
        and len(X.shape) > 1
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

    # Whether a row may be another one when it is read again.
    changes = False

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
            row = int(np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))[0])
            row = np.arange(len(self))[key][row]
            raise ValueError(
                f"Input X contains NaN or infinity, first seen in row {row}: clean or impute the "
                "rows first."
            )
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

    changes = True

    def __init__(self, dataset: Any) -> None:
        self._name = type(dataset).__name__
        _check_length(dataset, self._name)
        first = self._features(dataset[0])
        if first.dtype.kind not in "biufc" or first.ndim == 0:
            raise ValueError(
                "Items of a data set are x or (x, y), x an array or tensor of numbers, and "
                f"{_what_instead(dataset[0], self._name)}: pass a data set whose __getitem__ "
                "returns (x, y), in this order."
            )
        super().__init__((len(dataset), *first.shape), first.dtype)
        self._dataset = dataset

    @staticmethod
    def _features(item: Any) -> np.ndarray:
        return np.asarray(as_array(_first_part(item)))

    def _read(self, key: slice | np.ndarray) -> Any:
        index = range(*key.indices(len(self))) if isinstance(key, slice) else key.tolist()
        rows = [self._features(self._dataset[i]) for i in index]
        for i, row in zip(index, rows, strict=True):
            if not np.can_cast(row.dtype, self.dtype, "same_kind"):
                raise ValueError(
                    f"Item {i} of the data set is of dtype {row.dtype} and the first, as read, of "
                    f"{self.dtype}: bring all to one dtype in the data set."
                )
            if row.shape != self.shape[1:]:
                raise ValueError(
                    f"Item {i} of the data set has shape {row.shape} and the first "
                    f"{self.shape[1:]}: bring all to one shape in the data set."
                )
        return np.stack(rows) if rows else np.empty((0, *self.shape[1:]))

    def labels(self) -> np.ndarray:
        """Read every item once for its label."""
        first = self._dataset[0]
        if not isinstance(first, (tuple, list)) or len(first) < 2:
            raise ValueError(
                f"y is None, and {self._name} has no labels, its items are no (x, y): pass y, or "
                "a data set of (x, y)."
            )
        label = np.asarray(as_array(first[1]))
        if label.ndim or first[1] is None:
            what = f"of shape {label.shape}" if label.ndim else "None"
            raise ValueError(
                f"The labels of {self._name} are {what}: a label is one number or text. Pass y, "
                "one per row."
            )
        labels = [np.asarray(as_array(self._dataset[i][1]))[()] for i in range(len(self))]
        check_one_kind(labels, "y")  # NumPy would turn [1, "a"] into strings
        return np.array(labels)


def _first_part(item: Any) -> Any:
    return item[0] if isinstance(item, (tuple, list)) and len(item) else item


def _check_length(dataset: Any, name: str) -> None:
    if isinstance(dataset, IterableDataset) or not hasattr(dataset, "__len__"):
        raise ValueError(
            f"{name} has no length or no order, and fit draws rows in an order of its own: pass a "
            "data set with __len__ and __getitem__, or the parts one by one to partial_fit."
        )
    if len(dataset) == 0:
        raise ValueError(f"{name} has no items: pass a data set with some.")


def _what_instead(item: Any, name: str) -> str:
    """Say what a data set's item is where it should begin with numbers."""
    x = _first_part(item)
    if isinstance(x, dict):
        return f"those of {name} are dicts with the keys {', '.join(map(repr, list(x)[:6]))}"
    fields = f", the first of {', '.join(item._fields)}" if hasattr(item, "_fields") else ""
    return f"those of {name} begin with one of type {type(x).__name__}{fields}"


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
        self.changes = getattr(rows, "changes", False)

    def __getitem__(self, key: slice | np.ndarray) -> np.ndarray:
        """Return rows as an array in memory, checked where they come from."""
        return self._rows[self._index[key]]
