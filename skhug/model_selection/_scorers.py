"""Scorers for scikit-learn's model selection: retrieval and verification by a transformer."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from skhug._data.sources import labels_of
from skhug.metrics._neighbours import Search
from skhug.metrics._pairs import all_pairs
from skhug.metrics._retrieval_measures import RETRIEVAL, retrieval_values
from skhug.metrics._verification import VERIFICATION, Curve, check_rate


def retrieval_scorer(
    metric: str | Sequence[str] = "mean_average_precision_at_r",
    k: int = 1,
    *,
    distance: str = "cosine",
) -> RetrievalScorer:
    """Make a scorer that embeds rows and searches them among themselves.

    It takes whatever has ``transform``: :class:`~skhug.HUGEmbedder`, :class:`~skhug.HUGClassifier`
    or a Pipeline that ends in one. Since no class needs to be known in training, a splitter that
    keeps classes together, such as ``GroupKFold`` with ``groups=y``, scores on unseen classes.
    A test fold needs at least two classes, or there is nothing to find wrongly: ask
    ``GroupKFold`` for at most half as many folds as there are classes.

    Parameters
    ----------
    metric : str or sequence of str, default="mean_average_precision_at_r"
        ``"recall_at_k"``, ``"precision_at_k"``, ``"mean_average_precision_at_k"``,
        ``"ndcg_at_k"``, ``"r_precision"``, ``"mean_average_precision_at_r"`` or
        ``"mean_reciprocal_rank"``; several give several scores from one search, under these names.
    k : int, default=1
        Neighbours for the metrics whose names end in ``_at_k``.
    distance : {"cosine", "euclidean"}, default="cosine"
        Nearness.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``: a float, or a dict of them for several
        metrics. It can be pickled.

    Raises
    ------
    ValueError
        If a metric is unknown.

    See Also
    --------
    skhug.metrics : The metrics as functions.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from skhug import HUGEmbedder
    >>> from skhug.model_selection import retrieval_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> scorer = retrieval_scorer("recall_at_k", k=1)
    >>> embedder = HUGEmbedder(max_epochs=2, random_state=0)
    >>> cv = GroupKFold(2)  # each fold's digits do not occur in its training rows
    >>> scores = cross_val_score(embedder, X, y, groups=y, cv=cv, scoring=scorer)
    >>> bool(scores.min() > 0.5)
    True
    """
    return RetrievalScorer(_known(metric, RETRIEVAL), k, distance)


def verification_scorer(
    metric: str | Sequence[str] = "tar_at_far", far: float = 1e-3
) -> VerificationScorer:
    """Make a scorer that embeds rows and tells by the cosine of every two whether they match.

    As :func:`retrieval_scorer` it takes whatever has ``transform``, and with ``GroupKFold`` and
    ``groups=y`` it scores on unseen classes.

    Parameters
    ----------
    metric : str or sequence of str, default="tar_at_far"
        ``"tar_at_far"``, the true accept rate at a false accept rate, ``"roc_auc"`` or
        ``"neg_eer"``, the equal error rate with a minus, so that higher is better; several give
        several scores from one look at the pairs, under these names.
    far : float, default=1e-3
        The false accept rate, above 0 and at most 1. A test fold needs at least ``1 / far`` pairs
        of two classes.

    Returns
    -------
    scorer : callable
        ``scorer(estimator, X, y, sample_weight=None)``: a float, or a dict of them for several
        metrics. It can be pickled.

    Raises
    ------
    ValueError
        If a metric is unknown, or ``far`` is out of its range.

    See Also
    --------
    skhug.metrics.verification_report : The measures of given embeddings.
    verification_threshold : A threshold to use, from classes held out.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GroupKFold, cross_val_score
    >>> from skhug import HUGEmbedder
    >>> from skhug.model_selection import verification_scorer
    >>> X, y = load_digits(return_X_y=True)
    >>> embedder = HUGEmbedder(max_epochs=2, random_state=0)
    >>> cv = GroupKFold(2)  # each fold's digits do not occur in its training rows
    >>> scorer = verification_scorer("roc_auc")
    >>> scores = cross_val_score(embedder, X, y, groups=y, cv=cv, scoring=scorer)
    >>> bool(scores.min() > 0.6)
    True
    """
    return VerificationScorer(_known(metric, VERIFICATION), check_rate(far))


def _known(metric: str | Sequence[str], table: Collection[str]) -> str | tuple[str, ...]:
    """Return the name of a metric, or a tuple of several.

    Raises
    ------
    ValueError
        If one is not in the table.
    """
    names = (metric,) if isinstance(metric, str) or not np.iterable(metric) else tuple(metric)
    if not names or not set(names) <= set(table):
        raise ValueError(f"metric={metric!r}: pass one or more of {', '.join(table)}.")
    return metric if isinstance(metric, str) else names


class RetrievalScorer:
    """What :func:`retrieval_scorer` returns."""

    def __init__(self, metric: str | tuple[str, ...], k: int, distance: str) -> None:
        self.metric = metric
        self.k = k
        self.distance = distance

    def __call__(
        self, estimator: Any, X: Any, y: Any = None, sample_weight: Any = None
    ) -> float | dict[str, float]:
        """Score a fitted estimator; higher is better."""
        names = (self.metric,) if isinstance(self.metric, str) else self.metric
        y = labels_of(X, y)
        search = Search(
            estimator.transform(X), y, metric=self.distance, sample_weight=sample_weight
        )
        values = retrieval_values(search, names, self.k)
        return values[self.metric] if isinstance(self.metric, str) else values

    def __repr__(self) -> str:
        return f"retrieval_scorer({self.metric!r}, k={self.k}, distance={self.distance!r})"


class VerificationScorer:
    """What :func:`verification_scorer` returns."""

    def __init__(self, metric: str | tuple[str, ...], far: float) -> None:
        self.metric = metric
        self.far = far

    def __call__(
        self, estimator: Any, X: Any, y: Any = None, sample_weight: Any = None
    ) -> float | dict[str, float]:
        """Score a fitted estimator; higher is better."""
        y = labels_of(X, y)
        curve = Curve(all_pairs(estimator.transform(X), y, sample_weight=sample_weight))
        if isinstance(self.metric, str):
            return VERIFICATION[self.metric](curve, self.far)
        return {name: VERIFICATION[name](curve, self.far) for name in self.metric}

    def __repr__(self) -> str:
        return f"verification_scorer({self.metric!r}, far={self.far!r})"
