"""A threshold for verification, from classes held out of training."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from torch import Tensor

from skhug._data.sources import labels_of
from skhug._device import to_numpy
from skhug._sklearn import fitted_step
from skhug.metrics._pairs import all_pairs
from skhug.metrics._verification import Curve, check_rate

__all__ = ["verification_threshold"]


def verification_threshold(
    estimator: Any, X: Any, y: Any = None, *, far: float = 1e-3, sample_weight: Any = None
) -> float:
    """Choose the cosine from which on two rows count as of one class, at a false accept rate.

    The rows must be of classes that the estimator was not trained on. It has pulled those that it
    was trained on apart, and pairs of classes to come lie nearer to one another: a threshold of
    the training classes may accept several times as many false pairs as it promises.

    Parameters
    ----------
    estimator : estimator
        Fitted, with ``transform``: an HUGEmbedder, or a Pipeline that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows of classes held out of training. All pairs of them count.
    y : array-like of shape (n_samples,), optional
        Their classes; may be left out where X is a data set that has them.
    far : float, default=1e-3
        Share of the pairs of two classes that may be accepted, above 0 and at most 1.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the rows, non-negative; a pair counts by the product of its two rows'.

    Returns
    -------
    threshold : float
        The lowest cosine that accepts no larger share of the false pairs of X. Two rows are of
        one class where the product of their embeddings, unit vectors, is as large or larger.

    Raises
    ------
    ValueError
        If there are fewer than ``1 / far`` pairs of two classes: with how many rows it takes.

    Warns
    -----
    UserWarning
        If the estimator was trained on some of the classes.

    See Also
    --------
    skhug.metrics.verification_report : Rates and thresholds of given embeddings.

    Notes
    -----
    The rate is of the classes held out, and carries over to others as far as these are like
    them: draw those to hold out by lot, from the same sources. Rows held out of the training
    classes do not do. More classes tell more than more rows of few.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.model_selection import GroupShuffleSplit
    >>> from skhug import HUGEmbedder
    >>> from skhug.model_selection import verification_threshold
    >>> X, y = load_digits(return_X_y=True)
    >>> train, held_out = next(GroupShuffleSplit(1, test_size=0.4, random_state=0).split(X, y, y))
    >>> embedder = HUGEmbedder(max_epochs=5, random_state=0).fit(X[train], y[train])
    >>> threshold = verification_threshold(embedder, X[held_out], y[held_out], far=1e-2)
    >>> z = embedder.transform(X[held_out][:2])
    >>> is_the_same_digit = z[0] @ z[1] >= threshold
    """
    far = check_rate(far)
    y = labels_of(X, y)
    _warn_of_training_classes(estimator, y)
    curve = Curve(all_pairs(estimator.transform(X), y, sample_weight=sample_weight))
    curve.check_tells(far)
    return curve.at_far(far)[1]


def _warn_of_training_classes(estimator: Any, y: Any) -> None:
    """Warn where the estimator knows some of the classes."""
    trained_on = getattr(fitted_step(estimator), "classes_", ())
    labels = to_numpy(y) if isinstance(y, Tensor) else np.asarray(y)
    classes = set(labels.ravel().tolist())
    known = classes & set(np.asarray(trained_on).tolist())
    if known:
        warnings.warn(
            f"The estimator was trained on {len(known)} of the {len(classes)} classes in y, and a "
            "threshold of theirs may accept several times as many false pairs of other classes. "
            "Hold whole classes out: train, held_out = next(GroupShuffleSplit(1, test_size=0.2, "
            "random_state=0).split(X, y, groups=y)), fit on X[train], y[train], and pass "
            "X[held_out], y[held_out] here.",
            UserWarning,
            stacklevel=3,
        )
