"""Gallery: a classifier by the nearest of named vectors, which grows without training."""

from __future__ import annotations

import os
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils import check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skhug.retrieval._embedder import trained_classes
from skhug.retrieval._indexes import ExactIndex
from skhug.retrieval._labels import as_labels, check_same_kind, unknown_label_for, with_unknown
from skhug.retrieval._ranking import SAME, votes
from skhug.retrieval._rows import GalleryRows
from skhug.retrieval._threshold import STRATEGIES, choose_threshold

__all__ = ["Gallery"]


class Gallery(ClassifierMixin, GalleryRows):
    """Classifier by the nearest of named vectors, to which classes are added without training.

    Rows are embedded, scaled to length 1 and kept. A row is given the label of the nearest one
    that is kept, by the cosine of the angle between them, or the label of strangers where even
    that is not near enough.

    Parameters
    ----------
    embedder : estimator with ``transform``, optional
        What makes vectors of rows: :class:`~skhug.HUGEmbedder`, :class:`~skhug.HUGClassifier`, a
        Pipeline, any transformer. A fitted one is used as it is. One that is not fitted is copied
        and trained by ``fit`` on its rows, and by ``fit`` alone. None takes the rows themselves
        for vectors.
    index : {"exact", "int8", "binary", "faiss", "usearch"} or Index, default="exact"
        What searches. ``"exact"`` compares a query with every row. ``"int8"`` and ``"binary"``
        are :class:`~skhug.retrieval.QuantizedIndex` with 8 bits and with 1, ``"faiss"`` is
        :class:`~skhug.retrieval.FaissIndex`, ``"usearch"`` is
        :class:`~skhug.retrieval.UsearchIndex`. :meth:`index_recall` tells how much of the exact
        search another one finds.
    n_neighbors : int, default=1
        Rows that vote for a label, at least 1; all where the gallery has fewer. One is the custom
        where a class has a few rows.
    threshold : float, optional
        Cosine in [-1, 1] that the nearest row must reach; below it a row is a stranger. None
        takes nobody for one. :meth:`calibrate_threshold` finds one.
    unknown_label : int, str or float, optional
        What ``predict`` calls a stranger, of the labels' kind and none of them: by default -1, or
        "unknown" among strings. ``predict`` gives it in a dtype that holds it.
    temperature : float, default=0.07
        Of the votes of several neighbours, above 0: a vote is ``exp(cosine / temperature)``.
    storage : {"memory", "disk"}, default="memory"
        Where the vectors lie. ``"disk"`` maps them from a file without a name in the folder of
        temporary files, which vanishes with the gallery: for an index of small codes, which reads
        few of them.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of the rows.
    vectors_ : ndarray of shape (n_rows, n_components)
        float32, of length 1, in the order in which rows came; to read.
    labels_ : ndarray of shape (n_rows,)
        Their labels.
    ids_ : ndarray of shape (n_rows,)
        Their ids, integers or strings.
    embedder_ : estimator or None
        What embeds, fitted.
    index_ : Index
        What searches.
    threshold_ : float or None
        Cosine below which a row is a stranger.
    calibration_ : dict or None
        What :meth:`calibrate_threshold` found for the rows that it was given.
    n_features_in_ : int
        Features seen in fit, where the embedder counts them.
    feature_names_in_ : ndarray of shape (``n_features_in_``,)
        Their names, where all are strings and the embedder keeps them.

    See Also
    --------
    skhug.HUGEmbedder : An embedder for classes not known in training.
    sklearn.neighbors.KNeighborsClassifier : Without strangers, new rows and an embedder.

    Notes
    -----
    ``clone``, and with it cross-validation and searches, takes what was fitted off an embedder: it
    is trained anew on each fold, and ``embedder__...`` parameters can be searched. Wrap a trained
    one in :class:`sklearn.frozen.FrozenEstimator` to keep it.

    Cosines are computed from the vectors in float64, whatever index proposed the rows; since the
    vectors are kept in float32, they are good to about 1e-7. A row of zeros has no direction and
    a cosine of 0 to every other.

    A call that fails or is interrupted leaves the gallery as it was. Threads may ask it while one
    other thread adds or takes out rows, and are answered by what it held when they asked; threads
    that change it have to take turns.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhug import HUGEmbedder
    >>> from skhug.retrieval import Gallery
    >>> X, y = load_digits(return_X_y=True)
    >>> known = y < 7
    >>> embedder = HUGEmbedder("vectors", random_state=0).fit(X[known], y[known])
    >>> gallery = Gallery(embedder).fit(X[known][:100], y[known][:100])
    >>> sevens = X[y == 7]
    >>> _ = gallery.partial_fit(sevens[:5], [7] * 5)  # five rows of a new class, no training
    >>> gallery.classes_.tolist()
    [0, 1, 2, 3, 4, 5, 6, 7]
    >>> bool((gallery.predict(sevens[5:]) == 7).mean() > 0.5)
    True
    """

    def predict(self, X: Any) -> np.ndarray:
        """Return the label of the nearest row, or what most of several vote for.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or whatever the embedder takes.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Labels; the label of strangers where the nearest row's cosine is below
            ``threshold_``. Of classes with equal votes the first in ``classes_``.
        """
        now = self._now()
        similarity, ranks, shares = now._votes(X)
        classes = now.classes_
        best = np.where(shares == shares.max(1, keepdims=True), ranks, len(classes)).min(1)
        if now.threshold_ is None:
            return classes[best]
        unknown = unknown_label_for(self.unknown_label, classes)
        best[similarity[:, 0] < now.threshold_] = len(classes)
        return with_unknown(classes, unknown)[best]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the shares of the votes: of each neighbour ``exp(cosine / temperature)``.

        They say how the neighbours are divided if the row is of one of the classes, whatever the
        threshold; that it may be a stranger is in :meth:`score_samples`. A class of none of the
        neighbours has exactly 0, so that with ``n_neighbors=1`` all is on one class. They are no
        calibrated probabilities: ``CalibratedClassifierCV(FrozenEstimator(gallery))`` makes such
        on rows held out.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or whatever the embedder takes.

        Returns
        -------
        shares : ndarray of shape (n_samples, n_classes)
            Rows that sum to 1, columns in the order of ``classes_``.
        """
        now = self._now()
        _, ranks, shares = now._votes(X)
        table = np.zeros((len(ranks), len(now.classes_)))
        np.put_along_axis(table, ranks, shares, 1)
        return table

    def score_samples(self, X: Any) -> np.ndarray:
        """Return the cosine to the nearest row: high for what the gallery knows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows, or whatever the embedder takes.

        Returns
        -------
        similarity : ndarray of shape (n_samples,)
            In [-1, 1]; ``predict`` takes those below ``threshold_`` for strangers.
        """
        return self._now()._nearest(X, 1)[0][:, 0]

    def calibrate_threshold(
        self, X: Any, y: Any, strategy: str = "f1", *, max_far: float = 0.01
    ) -> Gallery:
        """Set ``threshold_`` by rows of the gallery's classes and of strangers.

        Strangers are the rows whose label no row of the gallery has. They, and best the others
        too, are of classes that the embedder was not trained on, since it keeps those further
        apart than it will keep strangers to come; and no row is one of the gallery's own, which
        would find itself. Rows are accepted from the threshold on:

        - ``"max_far"`` takes the lowest threshold at which the false accept rate, accepted
          strangers over all strangers, is at most ``max_far``. An accepted stranger counts,
          whoever it is taken for.
        - ``"f1"`` takes the largest F1 of precision, the known rows accepted with their own label
          over all accepted, and recall, the same over all known rows.
        - ``"accuracy"`` takes the largest share of rows told right: known rows accepted with
          their own label, strangers not accepted. It depends on how many of each there are.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows held out.
        y : array-like of shape (n_samples,)
            Their labels; strangers' are any others, the unknown label for instance.
        strategy : {"f1", "accuracy", "max_far"}, default="f1"
            What the threshold is best for; of equally good ones the highest.
        max_far : float, default=0.01
            False accept rate allowed, in [0, 1); for ``"max_far"``.

        Returns
        -------
        self : estimator
            With ``threshold_``, and what it does to these rows in ``calibration_``:
            ``false_accept_rate``, ``identified`` (known rows accepted with their own label over
            all known rows), ``f1``, ``accuracy``, ``n_known``, ``n_strangers``.

        Raises
        ------
        ValueError
            If no row is of a stranger or none is known, or the known rows are the gallery's own.

        Warns
        -----
        UserWarning
            If the embedder was trained on classes of strangers, some of the rows are the
            gallery's own, or there are too few strangers to tell ``max_far``.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from skhug.retrieval import Gallery
        >>> X, y = load_digits(return_X_y=True)
        >>> gallery = Gallery().fit(X[:500][y[:500] < 7], y[:500][y[:500] < 7])
        >>> gallery = gallery.calibrate_threshold(X[500:], y[500:], "max_far", max_far=0.05)
        >>> gallery.calibration_["false_accept_rate"] <= 0.05
        True
        """
        check_is_fitted(self)
        rate = isinstance(max_far, Real) and 0 <= max_far < 1
        if not isinstance(strategy, str) or strategy not in STRATEGIES or not rate:
            raise ValueError(
                f"strategy={strategy!r}, max_far={max_far!r}: pass one of "
                f"{', '.join(map(repr, STRATEGIES))}, and a rate in [0, 1)."
            )
        now, y = self._now(), as_labels(y, self)
        classes = now.classes_
        check_same_kind(y, classes)
        unknown_label_for(self.unknown_label, classes)
        similarity, ranks, shares = now._votes(X)
        check_consistent_length(similarity, y)
        known = np.isin(y, classes)
        _check_calibration_rows(self, y, similarity[:, 0], known)
        if strategy == "max_far" and 0 < max_far * (~known).sum() < 1:
            warnings.warn(
                f"{(~known).sum()} strangers cannot tell a false accept rate of {max_far}: at "
                "this threshold none of them is accepted. Pass more.",
                stacklevel=2,
            )
        best = np.where(shares == shares.max(1, keepdims=True), ranks, len(classes)).min(1)
        right = known & (classes[best] == y)
        self.threshold_, self.calibration_ = choose_threshold(
            similarity[:, 0], known, right, strategy, max_far
        )
        return self

    def index_recall(self, X: Any, k: int = 10, *, max_queries: int = 1000) -> float:
        """Return how much of what an exact search finds the index finds.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Queries, such as will come.
        k : int, default=10
            Neighbours, from 1 to the number of rows.
        max_queries : int, default=1000
            Of more rows so many are taken, evenly spaced; at least 1.

        Returns
        -------
        recall : float
            Mean share of the k nearest rows found, in [0, 1]. A row as near as the k-th counts.

        Raises
        ------
        ValueError
            If the gallery has fewer rows, or a number is out of its range.
        """
        now = self._now()
        now._check_neighbors("k", k)
        if not isinstance(max_queries, Integral) or max_queries < 1:
            raise ValueError(f"max_queries={max_queries!r}: pass a whole number, 1 or more.")
        queries = now._embedded(X)
        n = len(queries)
        queries = queries[np.unique(np.linspace(0, n - 1, min(n, max_queries)).astype(int))]
        exact, _ = now._search(queries, k, ExactIndex(), None)
        found, _ = now._search(queries, k, now.index_, now._searcher())
        return float((found >= exact[:, -1:] - (1 - SAME)).mean())

    def save(self, path: str | os.PathLike) -> None:
        """Write the gallery to a file that :func:`skhug.load` reads.

        The file is a safetensors file: arrays, and JSON for all else, no code. An embedder of
        this library is inside, unless its encoder is a module of the user's own; any other is
        left out, and passed to ``load(path, embedder=...)``. An index of faiss or usearch is
        built anew from the vectors after loading.

        Parameters
        ----------
        path : str or path
            The file; one that is there is replaced once the new one is written as a whole.

        Raises
        ------
        ValueError
            If a label or the index is what no file without code can hold.
        OSError
            If the file cannot be written; one that was there stays.
        """
        from skhug.retrieval._files import save_gallery

        save_gallery(self, path)

    def _votes(self, X: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the neighbours' cosines, their classes' places, and those classes' shares."""
        self._validate_params()  # they may have been set since fit
        similarity, index = self._nearest(X, min(self.n_neighbors, max(1, self._rows.n)))
        ranks = self._ranks()[self._rows.codes.array[index]]
        return similarity, ranks, votes(similarity, ranks, self.temperature)


def _check_calibration_rows(
    gallery: Gallery, y: np.ndarray, similarity: np.ndarray, known: np.ndarray
) -> None:
    """Refuse rows that say nothing about strangers to come, and warn of those that say little."""
    if known.all() or not known.any():
        what = "a stranger" if known.all() else "a class of the gallery"
        raise ValueError(
            f"No row is of {what}: pass rows of the gallery's classes and of others, the labels "
            "of which no row of the gallery has."
        )
    own = similarity[known] >= SAME
    if own.all():
        raise ValueError(
            "The rows of the gallery's classes are the gallery's own, and find themselves: pass "
            "rows that were held out."
        )
    if own.any():
        warnings.warn(
            f"{own.sum()} of {known.sum()} known rows are equal to rows of the gallery and find "
            "themselves, which makes the threshold too high: leave them out.",
            stacklevel=3,
        )
    trained = trained_classes(gallery.embedder_)
    if trained is None or (trained.dtype.kind in "biuf") != (y.dtype.kind in "biuf"):
        return
    seen = np.intersect1d(y[~known], trained)
    if len(seen):
        warnings.warn(
            f"The embedder was trained on {len(seen)} of the strangers' classes, such as "
            f"{seen[0].item()!r}, and tells them apart better than strangers to come: take "
            "classes that were held out of its training.",
            stacklevel=3,
        )
