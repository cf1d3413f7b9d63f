"""What searches the rows of a gallery: exactly, or by small codes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._device import to_numpy, to_tensor
from skhug.metrics._blocks import nearest_so_far
from skhug.retrieval._codes import CODINGS, Coding
from skhug.retrieval._growing import Growing

__all__ = ["ExactIndex", "Index", "QuantizedIndex"]

_CPU = torch.device("cpu")
# Rows of the gallery at a time, or twice the neighbours wanted where those are more.
_CHUNK_ROWS = 1 << 14
# Similarities held at once: 8 MiB, near the CPU's caches.
_BLOCK_ELEMENTS = 1 << 21
# Found beyond those asked for: products in float32 put near-equal rows in any order, and the
# vectors in float64 put them in theirs.
_BEYOND = 4


class Index(Configured):
    """Base of the indexes: a specification, of which :class:`Gallery` makes what searches.

    An index of your own has ``follow(live, vectors)``, which returns an object with
    ``len(live)`` and ``live.search(queries, k)``, places of rows as an array of shape
    (n_queries, k), in any order and -1 where it finds fewer. ``live`` is what an earlier call
    returned for the first ``len(live)`` of the vectors, or None. ``candidates(k)`` is how many
    rows to ask for where k are wanted: the gallery ranks them by their vectors.

    Examples
    --------
    >>> from skhug.retrieval import ExactIndex, FaissIndex, Index
    >>> isinstance(ExactIndex(), Index) and isinstance(FaissIndex(), Index)
    True
    """

    def follow(self, live: Any, vectors: np.ndarray) -> Any:
        """Return what searches all of the vectors.

        Parameters
        ----------
        live : object or None
            What the last call returned, for the first ``len(live)`` of the vectors.
        vectors : ndarray of shape (n, n_components)
            float32, of length 1.

        Returns
        -------
        live : object
            With ``search(queries, k)``.
        """
        raise NotImplementedError

    def candidates(self, k: int) -> int:
        """Return how many rows to ask for where k are wanted.

        Parameters
        ----------
        k : int
            Neighbours wanted.

        Returns
        -------
        m : int
            k or more.
        """
        return k * getattr(self, "rescore", 1)


class ExactIndex(Index):
    """Compare a query with every row, in blocks of bounded memory. It has no parameters.

    Examples
    --------
    >>> from skhug.retrieval import ExactIndex, Gallery
    >>> Gallery(index=ExactIndex())  # the same as Gallery()
    Gallery(index=ExactIndex())
    """

    def follow(self, live: Any, vectors: np.ndarray) -> _Scan:
        """Return what searches all of the vectors, which are not copied.

        Parameters
        ----------
        live : object or None
            Of no consequence.
        vectors : ndarray of shape (n, n_components)
            float32, of length 1.

        Returns
        -------
        live : object
            With ``search(queries, k)``.
        """
        return _Scan(vectors)

    def candidates(self, k: int) -> int:
        """Return some more than k, since products in float32 may swap near-equal rows.

        Parameters
        ----------
        k : int
            Neighbours wanted.

        Returns
        -------
        m : int
            Rows to ask for.
        """
        return k + _BEYOND


class _Scan:
    """A product with every row."""

    def __init__(self, vectors: np.ndarray) -> None:
        self._vectors = vectors

    def __len__(self) -> int:
        return len(self._vectors)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Return the places of the k nearest of every query."""
        return scan(queries, self._vectors, k, lambda chunk: to_tensor(chunk, _CPU))


class QuantizedIndex(Index):
    """Compare a query with small codes of every row, and the best of them with the vectors.

    With 8 bits a component a row takes a quarter of the bytes of its vector, with 1 bit a
    thirty-second. The query itself is not rounded. The vectors are needed for the last step
    alone: ``Gallery(storage="disk")`` leaves no more than the codes in memory.

    Parameters
    ----------
    bits : {8, 1}, default=8
        8 are whole numbers from -127 to 127, scaled by a row's largest component. 1 is on which
        side of the mean of all rows a component lies; the mean is taken anew whenever the rows
        have doubled.
    rescore : int, default=4
        For k neighbours so many times k rows are taken by their codes and put in order by their
        vectors, at least 1.

    Examples
    --------
    >>> from skhug.retrieval import Gallery, QuantizedIndex
    >>> gallery = Gallery(index=QuantizedIndex(1, rescore=10), storage="disk")
    """

    @explained
    def __init__(self, bits: int = 8, *, rescore: int = 4) -> None:
        self.bits = bits
        self.rescore = rescore

    def follow(self, live: Any, vectors: np.ndarray) -> _Codes:
        """Return what searches all of the vectors by their codes.

        Parameters
        ----------
        live : object or None
            What the last call returned, for the first ``len(live)`` of the vectors.
        vectors : ndarray of shape (n, n_components)
            float32, of length 1.

        Returns
        -------
        live : object
            With ``search(queries, k)``; ``nbytes`` are its codes' bytes.

        Raises
        ------
        ValueError
            If ``bits`` are others.
        """
        if self.bits not in tuple(CODINGS):
            raise ValueError(f"QuantizedIndex(bits={self.bits!r}): pass 8 or 1.")
        coding = CODINGS[self.bits]
        if live is None or len(vectors) > 2 * live.n_learned > 0:
            state = coding.learn(vectors)
            n_learned = 0 if state is None else len(vectors)
            return _Codes(coding, state, Growing(coding.encode(vectors, state)), n_learned)
        return live.extended(vectors)


class _Codes:
    """Codes of rows, made numbers again chunk by chunk."""

    def __init__(self, coding: Coding, state: Any, codes: Growing, n_learned: int) -> None:
        self._coding, self._state, self._codes = coding, state, codes
        self.n_learned = n_learned

    def __len__(self) -> int:
        return len(self._codes)

    @property
    def nbytes(self) -> int:
        """Bytes of the codes."""
        return self._codes.array.nbytes

    def extended(self, vectors: np.ndarray) -> _Codes:
        """Return the codes of all of the vectors, whose first have theirs."""
        new = self._coding.encode(vectors[len(self) :], self._state)
        codes = self._codes.extended(new)
        return _Codes(self._coding, self._state, codes, self.n_learned)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Return the places of the k nearest of every query, by the codes."""
        if self._state is not None:
            queries = queries - self._state
        width = queries.shape[1]
        return scan(queries, self._codes.array, k, lambda part: self._coding.decode(part, width))


def scan(
    queries: np.ndarray, rows: np.ndarray, k: int, as_points: Callable[[np.ndarray], Tensor]
) -> np.ndarray:
    """Return the places (n_queries, k) of the rows whose product with a query is largest.

    ``as_points`` turns a chunk of the rows into a tensor (n, d), once for all queries.
    """
    points = to_tensor(queries, _CPU)
    k, chunk = min(k, len(rows)), min(len(rows), max(_CHUNK_ROWS, 2 * k))
    size = max(1, _BLOCK_ELEMENTS // chunk)
    buffer = points.new_empty(min(size, len(points)) * chunk)
    blocks = points.split(size)
    best: list[Any] = [None] * len(blocks)
    for start in range(0, len(rows), chunk):
        part = as_points(rows[start : start + chunk]).T
        for i, block in enumerate(blocks):
            shape = len(block), part.shape[1]
            out = buffer[: shape[0] * shape[1]].view(shape)
            best[i] = nearest_so_far(best[i], torch.mm(block, part, out=out), start, k)
    return to_numpy(torch.cat([index for _, index in best]))
