"""Novelty: whether a row is of a class that the model was trained on."""

from __future__ import annotations

from numbers import Real
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, clone
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted, column_or_1d

from skhug._configured import explained
from skhug._data.class_moments import ClassMoments, FoldMoments
from skhug._data.sources import labels_of
from skhug._data.validation import check_rows
from skhug._device import to_numpy
from skhug._docs import public
from skhug._labels import check_no_gaps, check_one_kind
from skhug._model.embedding import embed_blocks, join
from skhug._model.nearest import row_blocks
from skhug._model.sphere_encoder import SphereEncoder

__all__ = ["KnownClasses"]
__dir__ = public(globals())

# Added to the covariance, as a share of its mean variance: units that hardly move within a class
# would count without bound.
_RIDGE = 1e-3


class KnownClasses(BaseEstimator):
    """Tell rows of classes that a network was trained on from rows of other classes.

    What the last layer of a trained network gives has been drawn onto the proxies, rows of unknown
    classes too. The layer in front of it keeps more: a row is known as far as it is near the mean
    of one of the classes there, by the Mahalanobis distance with the covariance within classes.
    No training row is kept.

    Parameters
    ----------
    estimator : HUGClassifier or HUGEmbedder
        Taken as it is if it is fitted, else a copy is fitted. A clone of this object has one that
        is not: wrap it in :class:`sklearn.frozen.FrozenEstimator` to keep it through a search.
    contamination : float, default=0.05
        Share of the rows that set the threshold to be turned away, in (0, 0.5].

    Attributes
    ----------
    estimator_ : HUGClassifier or HUGEmbedder
        The fitted one.
    classes_ : ndarray of shape (n_classes,)
        Sorted labels of ``y``.
    means_ : ndarray of shape (n_classes, n_hidden)
        Of the classes, multiplied by ``whitening_``.
    whitening_ : ndarray of shape (n_hidden, n_hidden)
        Makes the covariance within classes the identity.
    offset_ : float
        The score below which a row is turned away.
    n_features_in_ : int
        As ``estimator_`` has it.

    See Also
    --------
    skhug.HUGClassifier.score_samples : The largest product with a proxy, for which nothing is kept.

    Notes
    -----
    The layer is the last linear one, where its output is the network's; it then has what this takes
    in, of several members side by side, each scaled to unit length. Where a network of the user's
    own ends in another layer, its output is taken.

    ``benchmarks/evidence/open_set.py`` has what it gains: much on digits and characters, nothing on
    MNIST with a single network; and where the nearest training row in pixels does better.

    References
    ----------
    Lee, Lee, Lee and Shin, "A Simple Unified Framework for Detecting Out-of-Distribution Samples
    and Adversarial Attacks", NeurIPS 2018, section 2.1.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.metrics import roc_auc_score
    >>> from skhug import HUGClassifier
    >>> from skhug.novelty import KnownClasses
    >>> X, y = load_digits(return_X_y=True)
    >>> known = y < 6
    >>> model = HUGClassifier(max_epochs=10, random_state=0).fit(X[known], y[known])
    >>> novelty = KnownClasses(model).fit(X[known], y[known])
    >>> bool(roc_auc_score(known, novelty.score_samples(X)) > 0.95)
    True
    """

    @explained
    def __init__(self, estimator: Any, contamination: float = 0.05) -> None:
        self.estimator = estimator
        self.contamination = contamination

    def fit(self, X: Any, y: Any = None, *, X_val: Any = None) -> KnownClasses:
        """Take the classes' means and the covariance within them, and set the threshold.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows of known classes, those that the estimator was trained on.
        y : array-like of shape (n_samples,), optional
            Their labels; a torch data set of (x, y) brings its own.
        X_val : array-like of shape (n_val, n_features), optional
            Rows of known classes on which the estimator was not trained, to set the threshold by.
            Without them ``X`` does, which lies nearer to its means than other rows do: more of
            these are turned away than ``contamination`` says.

        Returns
        -------
        self : KnownClasses

        Raises
        ------
        TypeError
            If the estimator is none of this library.
        ValueError
            If ``contamination`` is out of its range, labels have gaps or several kinds, or the
            rows do not fit the estimator; a fitted object stays as it was then.
        """
        _check_share(self.contamination)
        y = _checked_labels(labels_of(X, y))
        estimator = _fitted(self.estimator, X, y)
        if (n_rows := len(check_rows(estimator, X))) != len(y):
            raise ValueError(f"X has {n_rows} rows and y {len(y)} labels: pass one for each row.")
        hidden = join(_hidden_blocks(estimator, X), n_rows)
        classes, codes = np.unique(y, return_inverse=True)
        moments = _moments(hidden, codes, len(classes))
        whitening = _whitening(moments)
        means = moments.means @ whitening
        scores = _scores(estimator, X if X_val is None else X_val, whitening, means)
        self.estimator_, self.classes_ = estimator, classes
        self.n_features_in_ = estimator.n_features_in_
        self.whitening_, self.means_ = whitening, means
        self.offset_ = float(np.quantile(scores, self.contamination))
        return self

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how well known each row looks: minus its distance to the nearest class's mean.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows as the estimator takes them.

        Returns
        -------
        score : ndarray of shape (n_samples,)
            At most 0, float64.
        """
        check_is_fitted(self)
        return _scores(self.estimator_, X, self.whitening_, self.means_)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the scores beside the threshold: below 0 for rows of no known class.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows as the estimator takes them.

        Returns
        -------
        decision : ndarray of shape (n_samples,)
            ``score_samples(X) - offset_``.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Return 1 for rows of a known class and -1 for others, as scikit-learn's detectors do.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features), or images
            Rows as the estimator takes them.

        Returns
        -------
        known : ndarray of shape (n_samples,)
            1 or -1.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        tags.input_tags.three_d_array = True
        tags.input_tags.allow_nan = True
        tags.input_tags.sparse = True
        return tags


def _check_share(contamination: Any) -> None:
    if not (isinstance(contamination, Real) and 0 < contamination <= 0.5):
        raise ValueError(
            f"contamination={contamination!r}: pass a share above 0 and of at most 0.5, such as "
            "0.05."
        )


def _fitted(estimator: Any, X: Any, y: np.ndarray) -> Any:
    """Return an estimator of this library as it is if it is fitted, else a fitted copy."""
    inner = estimator.estimator if isinstance(estimator, FrozenEstimator) else estimator
    if not hasattr(inner, "_goal"):
        raise TypeError(
            f"estimator={inner!r} has no hidden layer to look at: pass a HUGClassifier or a "
            "HUGEmbedder. What comes before it goes into a pipeline around this one."
        )
    try:
        check_is_fitted(inner)
    except NotFittedError:
        return clone(inner).fit(X, y)
    return inner


def _checked_labels(y: Any) -> np.ndarray:
    """Return labels of one kind without gaps."""
    if isinstance(y, (list, tuple)):  # NumPy would turn [1, "a"] into strings
        check_one_kind(y, "y")
    check_no_gaps(y, "y")
    y = column_or_1d(y)
    check_one_kind(y, "y")
    return y


def _scores(estimator: Any, X: Any, whitening: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Return minus the distance of each row to the nearest mean, both whitened."""
    distances = [
        _distance(to_numpy(part) @ whitening, means)
        for block in _hidden_blocks(estimator, X)
        for part in row_blocks(block, len(means))
    ]
    return -np.concatenate(distances)


def _hidden_blocks(estimator: Any, X: Any) -> Any:
    return embed_blocks(estimator.module_, check_rows(estimator, X), SphereEncoder.hidden)


def _moments(hidden: np.ndarray, codes: np.ndarray, n_classes: int) -> ClassMoments:
    one, all_rows = np.ones(len(codes)), np.zeros(len(codes), dtype=np.int64)
    return FoldMoments.of(hidden, codes, one, n_classes, all_rows).without()


def _whitening(moments: ClassMoments) -> np.ndarray:
    """Return what makes the covariance within classes, and a little more, the identity."""
    within = moments.within
    variance = np.trace(within) or np.trace(moments.total) or 1.0  # of one row a class
    ridge = _RIDGE * variance / len(within)
    values, directions = np.linalg.eigh(within)
    return directions / np.sqrt(values.clip(0) + ridge)


def _distance(rows: np.ndarray, means: np.ndarray) -> np.ndarray:
    """Distance of each row to the nearest mean."""
    squared = (rows**2).sum(1) - (2 * rows @ means.T - (means**2).sum(1)).max(1)
    return np.sqrt(squared.clip(0))
