"""The rows of a gallery: how they come in, go out, are searched and pickled."""

from __future__ import annotations

from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone
from sklearn.utils import check_consistent_length, get_tags
from sklearn.utils.validation import check_is_fitted, validate_data

from skhug._configured import Configured, explained
from skhug._data.validation import check_parameters, input_attributes_kept_on_error
from skhug._sklearn import HasMethods, Interval, StrOptions, fit_context
from skhug.retrieval._embedder import INPUT_ATTRIBUTES, embedded, fitted_embedder, input_attributes
from skhug.retrieval._growing import ALLOCATE, Growing, Rows
from skhug.retrieval._indexes import ExactIndex, Index
from skhug.retrieval._labels import (
    Classes,
    as_labels,
    check_same_kind,
    new_ids,
    places_of,
    unknown_label_for,
)
from skhug.retrieval._libraries import SHORTHANDS
from skhug.retrieval._ranking import SAME, as_array, ranked, ranked_with_ties, unit_rows

__all__ = ["SAME", "GalleryRows"]

_ROWS = {"dtype": (np.float32, np.float64)}


class GalleryRows(Configured):
    """What :class:`Gallery` is but for its decisions."""

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "embedder": [HasMethods(["fit", "transform"]), None],
        "index": [StrOptions(set(SHORTHANDS)), HasMethods(["follow", "candidates"])],
        "n_neighbors": [Interval(Integral, 1, None, closed="left")],
        "threshold": [Interval(Real, -1, 1, closed="both"), None],
        "unknown_label": [Integral, Real, str, None],
        "temperature": [Interval(Real, 0, None, closed="neither")],
        "storage": [StrOptions(set(ALLOCATE))],
    }

    @explained
    def __init__(
        self,
        embedder: Any = None,
        *,
        index: Any = "exact",
        n_neighbors: int = 1,
        threshold: float | None = None,
        unknown_label: Any = None,
        temperature: float = 0.07,
        storage: str = "memory",
    ) -> None:
        self.embedder = embedder
        self.index = index
        self.n_neighbors = n_neighbors
        self.threshold = threshold
        self.unknown_label = unknown_label
        self.temperature = temperature
        self.storage = storage

    def set_params(self, **params: Any) -> GalleryRows:
        """Set parameters, nested ones too.

        A nested name such as ``index__rescore`` works on a plain string as well: the string
        becomes the object that it stands for.

        Parameters
        ----------
        **params : dict
            Names and values, as in any scikit-learn estimator.

        Returns
        -------
        self : estimator
        """
        index = params.get("index", self.index)
        if any(name.startswith("index__") for name in params) and isinstance(index, str):
            params["index"] = SHORTHANDS[index]() if index in SHORTHANDS else index
        return super().set_params(**params)

    # --- rows in, rows out ------------------------------------------------------------------

    @explained
    @fit_context(prefer_skip_nested_validation=False)
    def fit(self, X: Any, y: Any, *, ids: Any = None) -> GalleryRows:
        """Fill the gallery, in place of what it held; train the embedder if it is not trained.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or whatever the embedder takes.
        y : array-like of shape (n_samples,)
            Their labels: integers, strings, booleans.
        ids : array-like of shape (n_samples,), optional
            An integer or a string for each row, each once; by default 0, 1, 2 and so on.

        Returns
        -------
        self : estimator

        Raises
        ------
        ImportError
            If the index needs a library that is not installed.
        ValueError
            If rows, labels or ids are not usable; the gallery stays as it was then.
        """
        embedder, found = self.embedder, {}
        with input_attributes_kept_on_error(self):
            if embedder is None:
                X, y = self._checked(X, y, reset=True)
                rows = X
            else:
                y = as_labels(y, self)
                embedder = fitted_embedder(embedder, X, y)
                rows, found = embedded(embedder, X), input_attributes(embedder)
            allocate = ALLOCATE[self.storage]
            vectors = unit_rows(rows, allocate(rows.shape, np.dtype(np.float32)))
            check_consistent_length(vectors, y)
            ids, next_id = new_ids(ids, len(y), np.empty(0, np.int64), 0)
            classes, codes = Classes(np.empty(0), np.empty(0, np.int32)).extended(y)
            _check_unknown(self, self.threshold, classes.labels)
            spec = _specification(self.index)
            live = spec.follow(None, vectors)
            self.__dict__.update(
                found,
                classes_=classes.labels,
                embedder_=embedder,
                index_=spec,
                threshold_=self.threshold,
                calibration_=None,
                _codes=classes.codes,
                _next_id=next_id,
                _n_learned=getattr(live, "n_learned", 0),
                _rows=Rows(Growing(vectors, None, allocate), Growing(codes), Growing(ids)),
                _live=live,
            )
        for name in INPUT_ATTRIBUTES if embedder is not None else ():
            if name not in found:
                self.__dict__.pop(name, None)
        return self

    @explained
    @fit_context(prefer_skip_nested_validation=False)
    def partial_fit(self, X: Any, y: Any, classes: Any = None, *, ids: Any = None) -> GalleryRows:
        """Add rows, of classes that are there or new ones; the first call is ``fit``.

        The embedder and the threshold stay. Rows are added in amortised constant time, whatever
        the gallery holds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or whatever the embedder takes.
        y : array-like of shape (n_samples,)
            Their labels, of the kind of those that are there.
        classes : array-like, optional
            Of no consequence: classes come with their rows. scikit-learn's callers pass it.
        ids : array-like of shape (n_samples,), optional
            Ids that no row has yet; by default the integers that go on from the largest so far,
            of rows that were removed too.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If rows, labels or ids are not usable; the gallery stays as it was then.
        """
        if not hasattr(self, "_rows"):
            return self.fit(X, y, ids=ids)
        vectors, y = self._embedded(X, y)
        check_same_kind(y, self.classes_)
        classes, codes = Classes(self.classes_, self._codes).extended(y)
        _check_unknown(self, self.threshold_, classes.labels)
        ids, next_id = new_ids(ids, len(y), self._rows.ids.array, self._next_id)
        rows = self._rows.extended(vectors, codes, ids)
        if self._live is not None and len(self._live) > self._rows.n:
            self._live = None  # it holds rows of a call that was cut off
        self._change(rows, classes, next_id, self._searcher())
        return self

    def remove(self, ids: Any) -> GalleryRows:
        """Take rows out; a class without rows is none of the gallery's any more.

        The rows that stay are copied, and every index but the exact one is built anew: take many
        out in one call. Nothing of a removed row is kept.

        Parameters
        ----------
        ids : int, str or array-like of these
            Ids of rows, as in ``ids_``.

        Returns
        -------
        self : estimator

        Raises
        ------
        ValueError
            If there is no such row; the gallery stays as it was then.
        """
        check_is_fitted(self)
        keep = ~places_of(ids, self._rows.ids.array)
        rows = self._rows.kept(keep)
        classes, codes = Classes(self.classes_, self._codes).kept(rows.codes.array)
        rows = rows._replace(codes=Growing(codes))
        self._change(rows, classes, self._next_id, None)
        return self

    def _change(self, rows: Rows, classes: Classes, next_id: int, live: Any) -> None:
        """Take other rows for the gallery's, once the index has followed."""
        try:
            live = self.index_.follow(live, rows.vectors.array) if rows.n else None
        except BaseException:
            self._live = None  # it may hold some of the new rows: built anew when it is needed
            raise
        before = self.__dict__.copy()
        self.__dict__.update(
            classes_=classes.labels,
            _codes=classes.codes,
            _next_id=next_id,
            _n_learned=getattr(live, "n_learned", 0),
            _rows=rows,
            _live=live,
        )
        del before  # what was there ends after the change: a thread may go on where it does

    # --- search -----------------------------------------------------------------------------

    def kneighbors(
        self, X: Any, n_neighbors: int | None = None, return_distance: bool = True
    ) -> Any:
        """Return the nearest rows of the gallery.

        Parameters
        ----------
        X : array-like of shape (n_queries, n_features)
            Rows, or whatever the embedder takes.
        n_neighbors : int, optional
            How many, from 1 to the number of rows; by default the parameter.
        return_distance : bool, default=True
            Whether to return distances too.

        Returns
        -------
        distance : ndarray of shape (n_queries, n_neighbors)
            1 - cosine, in [0, 2], smallest first. Only with ``return_distance``.
        index : ndarray of shape (n_queries, n_neighbors)
            Places of the rows: ``ids_[index]`` are their ids, ``labels_[index]`` their labels.
            Of equal rows the one that came first is first, if the index finds all of them, as
            the exact one does.

        Raises
        ------
        ValueError
            If the gallery has fewer rows.
        """
        now = self._now()
        k = self.n_neighbors if n_neighbors is None else n_neighbors
        now._check_neighbors("n_neighbors", k)
        similarity, index = now._nearest(X, int(k))
        return (1 - similarity, index) if return_distance else index

    @property
    def vectors_(self) -> np.ndarray:
        """Vectors of the rows, to read."""
        return _to_read(self._rows.vectors.array)

    @property
    def ids_(self) -> np.ndarray:
        """Ids of the rows, to read."""
        return _to_read(self._rows.ids.array)

    @property
    def labels_(self) -> np.ndarray:
        """Labels of the rows."""
        now = self.__dict__.copy()
        classes = Classes(now["classes_"], now["_codes"])
        return classes.labels[classes.rank()[now["_rows"].codes.array]]

    # --- inside ---------------------------------------------------------------------------

    def _checked(self, X: Any, y: Any, *, reset: bool) -> tuple[np.ndarray, np.ndarray]:
        """Check vectors and labels as they come, without an embedder."""
        if y is None:
            validate_data(self, X, y, reset=reset, **_ROWS)  # says that it needs them
        X = validate_data(self, as_array(X), reset=reset, **_ROWS)
        return X, as_labels(y, self)

    def _embedded(self, X: Any, *y: Any) -> Any:
        """Return rows of length 1, and the labels where they are passed."""
        if self.embedder_ is None:
            rows = validate_data(self, as_array(X), reset=False, **_ROWS)
        else:
            rows = embedded(self.embedder_, X)
        width = self._rows.vectors.array.shape[1]
        if rows.shape[1] != width:
            raise ValueError(
                f"The embedder gives {rows.shape[1]} components and the gallery's vectors have "
                f"{width}: embed all rows by the same one."
            )
        vectors = unit_rows(rows, np.empty(rows.shape, np.float32))
        if not y:
            return vectors
        y = as_labels(*y, self)
        check_consistent_length(vectors, y)
        return vectors, y

    def _check_neighbors(self, name: str, k: Any) -> None:
        """Refuse a number of neighbours that the gallery does not have."""
        self._check_holds_rows()
        if not isinstance(k, Integral) or not 1 <= k <= self._rows.n:
            raise ValueError(
                f"{name}={k!r}: pass a whole number from 1 to {self._rows.n}, the rows of the "
                "gallery."
            )

    def _check_holds_rows(self) -> None:
        if not self._rows.n:
            raise ValueError("The gallery is empty: add rows by partial_fit.")

    def _now(self) -> GalleryRows:
        """Return the gallery as it is now, to be asked while other threads change this one."""
        check_is_fitted(self)
        if self._rows.n:
            self._searcher()  # built in this one, to be there the next time too
        now = object.__new__(type(self))
        now.__dict__.update(self.__dict__)
        return now

    def _searcher(self) -> Any:
        """Return what searches the rows, built anew if it is missing or lacks some of them.

        It may hold more, of a change under way.
        """
        if self._live is None or len(self._live) < self._rows.n:
            rows = self._rows.vectors.array
            # Codes and lists are those of the rows that they were learned from before.
            live = self.index_.follow(None, rows[: self._n_learned]) if self._n_learned else None
            self._live = self.index_.follow(live, rows) if len(rows) else None
        return self._live

    def _nearest(self, X: Any, k: int) -> tuple[np.ndarray, np.ndarray]:
        """Return cosines and places of the k nearest rows, nearest first."""
        queries = self._embedded(X)
        self._check_holds_rows()
        return self._search(queries, k, self.index_, self._searcher())

    def _search(
        self, queries: np.ndarray, k: int, spec: Index, live: Any
    ) -> tuple[np.ndarray, np.ndarray]:
        vectors = self._rows.vectors.array
        live = spec.follow(None, vectors) if live is None else live
        m = min(len(vectors), spec.candidates(k))
        found = live.search(queries, m)
        found = np.where(found < len(vectors), found, -1)  # rows that another thread is adding
        if isinstance(spec, ExactIndex):
            return ranked_with_ties(queries, vectors, found, k)
        similarity, index = ranked(queries, vectors, found, k)
        fewer = index[:, -1] < 0  # a graph or a list may come to an end
        if fewer.any():
            exact = self._search(queries[fewer], k, ExactIndex(), None)
            similarity[fewer], index[fewer] = exact
        return similarity, index

    def _ranks(self) -> np.ndarray:
        return Classes(self.classes_, self._codes).rank()

    def _validate_params(self) -> None:
        """Check the parameters as scikit-learn does; its message is followed by what is meant."""
        check_parameters(self, self._parameter_constraints)

    def __getstate__(self) -> dict[str, Any]:
        state = dict(super().__getstate__())
        state.pop("_live", None)  # built from the rows when it is needed
        if "_rows" in state:
            state["_rows"] = [np.array(column.array) for column in state["_rows"]]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        if "_rows" in self.__dict__:
            self.__dict__.update(restored(self._rows, self.storage))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        if self.embedder is not None:
            tags.input_tags = get_tags(self.embedder).input_tags
        return tags


def restored(columns: list[np.ndarray], storage: str) -> dict[str, Any]:
    """Return the rows of vectors, codes and ids where ``storage`` says, without what searches."""
    vectors, codes, ids = columns
    allocate = ALLOCATE.get(storage, np.empty)  # one set amiss after fit must not lose the rows
    if storage != "memory":
        there = allocate(vectors.shape, vectors.dtype)
        there[...] = vectors
        vectors = there
    rows = Rows(Growing(vectors, None, allocate), Growing(codes), Growing(ids))
    return {"_rows": rows, "_live": None}


def _to_read(array: np.ndarray) -> np.ndarray:
    view = array.view()
    view.flags.writeable = False
    return view


def _specification(index: Any) -> Index:
    if isinstance(index, type):
        raise TypeError(f"index={index.__name__} is a class: pass an object, {index.__name__}().")
    spec = SHORTHANDS[index]() if isinstance(index, str) else clone(index, safe=False)
    rescore = getattr(spec, "rescore", 1)
    if not isinstance(rescore, Integral) or rescore < 1:
        raise ValueError(f"{spec!r} has rescore={rescore!r}: pass a whole number, 1 or more.")
    return spec


def _check_unknown(gallery: GalleryRows, threshold: float | None, classes: np.ndarray) -> None:
    """Refuse a label of strangers that is a class, where there are strangers."""
    if threshold is not None or gallery.unknown_label is not None:
        unknown_label_for(gallery.unknown_label, classes)
