"""Indexes of other libraries, and what the strings of ``index`` stand for."""

from __future__ import annotations

import importlib
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from skhug._configured import explained
from skhug.retrieval._indexes import ExactIndex, Index, QuantizedIndex

__all__ = ["SHORTHANDS", "FaissIndex", "UsearchIndex"]


class FaissIndex(Index):
    """An index of faiss (``pip install "skhug[faiss]"``), by the inner product.

    Parameters
    ----------
    factory : str, default="Flat"
        As faiss names indexes: ``"Flat"`` is exact, ``"HNSW32"`` a graph, ``"IVF1024,Flat"``
        lists of which some are searched, ``"SQ8"`` and ``"PQ16"`` are codes. What has to be
        trained is trained on the rows that the first fit brings, and anew whenever they have
        doubled since.
    search : str, default=""
        Parameters of the search, as ``"efSearch=64"`` or ``"nprobe=16"``.
    rescore : int, default=1
        For k neighbours so many times k rows are taken from the index and put in order by their
        vectors, at least 1; above 1 where the index holds codes.

    Notes
    -----
    faiss keeps the vectors, or its codes, beside those of the gallery. It takes as many threads
    as ``faiss.omp_set_num_threads`` says.

    Examples
    --------
    >>> from skhug.retrieval import FaissIndex, Gallery
    >>> gallery = Gallery(index=FaissIndex("HNSW32", search="efSearch=64"))
    """

    @explained
    def __init__(self, factory: str = "Flat", *, search: str = "", rescore: int = 1) -> None:
        self.factory = factory
        self.search = search
        self.rescore = rescore

    def follow(self, live: Any, vectors: np.ndarray) -> _Faiss:
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
            With ``search(queries, k)``; ``index`` is faiss' own.

        Raises
        ------
        ImportError
            If faiss is not installed.
        ValueError
            If faiss refuses the factory, the parameters or the rows.
        """
        faiss = _optional("faiss")
        with _told_as(self, "faiss"):
            if live is None or len(vectors) > 2 * live.n_learned > 0:
                index = faiss.index_factory(
                    vectors.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT
                )
                n_learned = 0 if index.is_trained else len(vectors)
                if n_learned:
                    index.train(vectors)
                live = _Faiss(index, n_learned)
            with live.lock:
                live.index.add(vectors[len(live) :])
                if self.search:
                    faiss.ParameterSpace().set_index_parameters(live.index, self.search)
        return live


class _Faiss:
    def __init__(self, index: Any, n_learned: int) -> None:
        self.index = index
        self.n_learned = n_learned
        self.lock = threading.Lock()  # faiss does not search while it adds

    def __len__(self) -> int:
        return self.index.ntotal

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Return the places of the k nearest of every query."""
        with self.lock:
            return self.index.search(queries, k)[1]


class UsearchIndex(Index):
    """A graph of usearch (``pip install "skhug[usearch]"``), by the cosine.

    Parameters
    ----------
    dtype : {"f32", "f16", "i8", "b1"}, default="f32"
        How it keeps the vectors: in 4, 2 or 1 bytes a component, or in 1 bit, on which side of
        zero it lies.
    connectivity : int, default=16
        Neighbours of a node in the graph, at least 2.
    expansion_add, expansion_search : int, default=128, 64
        How widely the graph is searched for the neighbours of a new row, and of a query, at
        least 1.
    rescore : int, default=1
        For k neighbours so many times k rows are taken from the index and put in order by their
        vectors, at least 1; above 1 where it keeps less than the vectors.
    n_threads : int, default=1
        Threads for adding and for searching, 0 for all. With one, two graphs of the same rows
        are the same.

    Examples
    --------
    >>> from skhug.retrieval import Gallery, UsearchIndex
    >>> gallery = Gallery(index=UsearchIndex("i8", rescore=4), storage="disk")
    """

    @explained
    def __init__(
        self,
        dtype: str = "f32",
        *,
        connectivity: int = 16,
        expansion_add: int = 128,
        expansion_search: int = 64,
        rescore: int = 1,
        n_threads: int = 1,
    ) -> None:
        self.dtype = dtype
        self.connectivity = connectivity
        self.expansion_add = expansion_add
        self.expansion_search = expansion_search
        self.rescore = rescore
        self.n_threads = n_threads

    def follow(self, live: Any, vectors: np.ndarray) -> _Usearch:
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
            With ``search(queries, k)``; ``index`` is usearch's own.

        Raises
        ------
        ImportError
            If usearch is not installed.
        ValueError
            If usearch refuses a parameter.
        """
        usearch = _optional("usearch.index")
        if self.dtype not in ("f32", "f16", "i8", "b1"):
            raise ValueError(
                f"UsearchIndex(dtype={self.dtype!r}): pass 'f32', 'f16', 'i8' or 'b1'."
            )
        with _told_as(self, "usearch"):
            if live is None:
                binary = self.dtype == "b1"
                index = usearch.Index(
                    ndim=-(-vectors.shape[1] // 8) * 8 if binary else vectors.shape[1],
                    metric="hamming" if binary else "cos",
                    dtype=self.dtype,
                    connectivity=self.connectivity,
                    expansion_add=self.expansion_add,
                    expansion_search=self.expansion_search,
                )
                live = _Usearch(index, binary, self.n_threads)
            live.add(vectors)
        return live


class _Usearch:
    def __init__(self, index: Any, binary: bool, n_threads: int) -> None:
        self.index = index
        self._packed = _packed if binary else np.asarray
        self._n_threads = n_threads
        self._lock = threading.Lock()  # a search amid an add may miss rows, and their memory

    def __len__(self) -> int:
        return len(self.index)

    def add(self, vectors: np.ndarray) -> None:
        """Add the rows beyond those that it has; a row's key is its place."""
        keys = np.arange(len(self), len(vectors), dtype=np.uint64)
        if len(keys):
            new = self._packed(vectors[len(self) :])
            with self._lock:
                self.index.add(keys, new, threads=self._n_threads)

    def search(self, queries: np.ndarray, k: int) -> np.ndarray:
        """Return the places of the k nearest of every query."""
        with self._lock:
            return self._found(queries, k)

    def _found(self, queries: np.ndarray, k: int) -> np.ndarray:
        found = np.full((len(queries), k), -1, np.int64)
        if len(queries) == 1:  # of a single query usearch returns no batch
            keys = self.index.search(self._packed(queries)[0], k, threads=self._n_threads).keys
            found[0, : len(keys)] = keys
            return found
        matches = self.index.search(self._packed(queries), k, threads=self._n_threads)
        keys, counts = np.asarray(matches.keys), np.asarray(matches.counts)
        there = np.arange(keys.shape[1]) < counts[:, None]
        found[:, : keys.shape[1]] = np.where(there, keys.astype(np.int64), -1)
        return found


def _packed(vectors: np.ndarray) -> np.ndarray:
    """Return the signs of components, eight to a byte."""
    return np.packbits(vectors > 0, axis=1)


def _optional(name: str) -> Any:
    """Import a library that the package does without.

    Raises
    ------
    ImportError
        With how to get it.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise ImportError(
            f"This index needs {package}: pip install 'skhug[{package}]', or take index='exact'. "
            f"Importing it said: {error}"
        ) from error


@contextmanager
def _told_as(spec: Index, library: str) -> Iterator[None]:
    """Turn what a library says of its arguments into an error that names them."""
    try:
        yield
    except (AssertionError, RuntimeError, TypeError, ValueError) as error:
        said = " ".join(str(error).split())[-300:] or type(error).__name__
        raise ValueError(
            f"{library} cannot make {spec!r} of these rows: {said}. What it trains needs more "
            "rows than it has lists or codes: take fewer of these, or another index."
        ) from error


# What the strings of ``index`` stand for.
SHORTHANDS: dict[str, Callable[[], Index]] = {
    "exact": ExactIndex,
    "int8": lambda: QuantizedIndex(8),
    "binary": lambda: QuantizedIndex(1),
    "faiss": FaissIndex,
    "usearch": UsearchIndex,
}
