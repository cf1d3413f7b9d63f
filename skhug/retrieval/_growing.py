"""Arrays that grow at their end, and the rows of a gallery as three of them."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

__all__ = ["ALLOCATE", "Growing", "Rows"]


def _on_disk(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Return an array in a file without a name, which the system removes with the array."""
    if 0 in shape:  # nothing can be mapped of an empty file
        return np.empty(shape, dtype)
    return np.memmap(tempfile.TemporaryFile(), dtype, "w+", shape=shape)


# Value of ``storage`` to what makes an array of a shape and a dtype.
ALLOCATE: dict[str, Callable[[tuple[int, ...], np.dtype], np.ndarray]] = {
    "memory": np.empty,
    "disk": _on_disk,
}


class Growing:
    """An array to which rows are added at the end, in amortised constant time a row.

    Its rows never change: :meth:`extended` returns another one, which shares the memory where there
    is room behind them. Of two that extend the same one the later has that room.

    Parameters
    ----------
    buffer : ndarray
        Whose first ``n`` rows it holds.
    n : int, optional
        Number of rows, all by default.
    allocate : callable
        Makes room, of a shape and a dtype.
    """

    def __init__(
        self, buffer: np.ndarray, n: int | None = None, allocate: Callable = np.empty
    ) -> None:
        self._buffer = buffer
        self._n = len(buffer) if n is None else n
        self._allocate = allocate

    def __len__(self) -> int:
        return self._n

    @property
    def array(self) -> np.ndarray:
        """The rows, to read; whoever shows them to users makes that certain."""
        return self._buffer[: self._n].view(np.ndarray)  # a memory map's rows are an array too

    def extended(self, rows: np.ndarray) -> Growing:
        """Return the array with rows behind its own; this one stays as it is."""
        n = self._n + len(rows)
        dtype = np.result_type(self._buffer, rows)
        if n <= len(self._buffer) and dtype == self._buffer.dtype:
            self._buffer[self._n : n] = rows
            return Growing(self._buffer, n, self._allocate)
        room = max(n, 2 * self._n)
        buffer = self._allocate((room, *self._buffer.shape[1:]), dtype)
        buffer[: self._n] = self._buffer[: self._n]
        buffer[self._n : n] = rows
        return Growing(buffer, n, self._allocate)

    def kept(self, mask: np.ndarray) -> Growing:
        """Return the rows of a mask alone, in memory of their own."""
        places = np.flatnonzero(mask)
        buffer = self._allocate((len(places), *self._buffer.shape[1:]), self._buffer.dtype)
        np.take(self._buffer, places, axis=0, out=buffer, mode="clip")  # others need a copy
        return Growing(buffer, None, self._allocate)


class Rows(NamedTuple):
    """The rows of a gallery, in the order in which they came.

    ``vectors`` (n, n_components) float32, of length 1 or 0; ``codes`` (n,) number the classes in
    the order in which these appeared, so that a new class changes none; ``ids`` (n,).
    """

    vectors: Growing
    codes: Growing
    ids: Growing

    @property
    def n(self) -> int:
        """Number of rows."""
        return len(self.ids)

    def extended(self, vectors: np.ndarray, codes: np.ndarray, ids: np.ndarray) -> Rows:
        """Return the rows with others behind them; these stay as they are."""
        new = (vectors, codes, ids)
        return Rows(*(old.extended(rows) for old, rows in zip(self, new, strict=True)))

    def kept(self, mask: np.ndarray) -> Rows:
        """Return the rows of a mask alone."""
        return Rows(*(column.kept(mask) for column in self))
