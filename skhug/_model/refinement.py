"""Softmax regression from a discriminant on, as far as rows left out gain by it."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.optimize import minimize
from scipy.special import log_softmax

from skhug._data.class_moments import ClassMoments, FoldMoments
from skhug._model.discriminant import (
    Discriminant,
    discriminant,
    shrunk,
    within_classes,
)

__all__ = ["refined"]

# How strongly weights are pulled to the discriminant's, in rows, strongest first, and the steps of
# L-BFGS with each. A path of few steps finds as much as one that goes to the end of each.
_STRENGTHS, _STEPS = (300.0, 100.0, 30.0, 10.0, 3.0, 1.0, 0.3, 0.1), 6
# Change counts by the covariance within classes, shrunk by so much: in directions in which classes
# vary little, weights may change more.
_SHRINKAGE = 0.5
# So many rows left out tell enough, and so much the sum of their log-losses has to fall.
_ENOUGH, _LEAST_GAIN = 1000, 1.0


class _Course(NamedTuple):
    """What weights are changed by: rows, their scores by a discriminant, the rows that count.

    ``share`` (n,) is 0 of rows left out; ``root`` (n_features, n_features) is the lower triangle
    of the covariance that change counts by.
    """

    X: np.ndarray
    y: np.ndarray
    scores: np.ndarray
    share: np.ndarray
    root: np.ndarray

    @classmethod
    def of(
        cls,
        X: np.ndarray,
        y: np.ndarray,
        weight: np.ndarray,
        moments: ClassMoments,
        chosen: Discriminant,
        centre: np.ndarray,
    ) -> _Course:
        """Return the course of rows minus ``centre`` from the discriminant of some moments."""
        weights, bias = discriminant(moments, chosen)
        bias = bias + weights @ (centre - moments.centre)
        covariance = shrunk(within_classes(moments), _SHRINKAGE)
        covariance *= (np.trace(moments.total) or 1.0) / np.trace(covariance)
        root = cholesky(covariance, lower=True)
        scores = X @ weights.T.astype(X.dtype) + bias
        return cls(X, y, scores, weight / weight.sum(), root)

    def weights(self, change: np.ndarray) -> np.ndarray:
        """Return what rows are multiplied with, (n_features, n_classes), of a change."""
        return solve_triangular(self.root, change[:, :-1].T, trans="T", lower=True)

    def log_probabilities(self, change: np.ndarray) -> np.ndarray:
        """Return the logarithms of the classes' probabilities, (n, n_classes), after a change."""
        added = self.X @ self.weights(change).astype(self.X.dtype) + change[:, -1]
        return log_softmax(self.scores + added, axis=1)

    def step(self, change: np.ndarray, strength: float) -> np.ndarray:
        """Return a change after a few more steps, pulled to zero as strongly as is said."""
        rows, pull = np.arange(len(self.y)), strength / np.count_nonzero(self.share)

        def loss(flat: np.ndarray) -> tuple[float, np.ndarray]:
            now = flat.reshape(change.shape)
            log_p = self.log_probabilities(now)
            found = -float(self.share @ log_p[rows, self.y]) + pull / 2 * float(flat @ flat)
            away = np.exp(log_p) * self.share[:, None]
            away[rows, self.y] -= self.share
            products = self.X.T @ away.astype(self.X.dtype)  # (n_features, n_classes)
            slope = solve_triangular(self.root, products.astype(np.float64), lower=True).T
            slope = np.column_stack([slope, away.sum(0)])
            return found, (slope + pull * now).ravel()

        options = {"maxiter": _STEPS}
        found = minimize(loss, change.ravel(), jac=True, method="L-BFGS-B", options=options)
        return found.x.reshape(change.shape)


def refined(
    moments: FoldMoments,
    chosen: Discriminant,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    folds: np.ndarray,
) -> np.ndarray | None:
    """Return what is added to a discriminant's weights, or None where rows left out do not gain.

    The mean log-loss plus ``s / n |D|^2 / 2`` is lowered by a few steps for each strength s,
    strongest first, until rows left out are worse. n is the number of rows, and D the change of
    weights of rows that a covariance within classes has made alike in all directions.

    Parameters
    ----------
    moments : FoldMoments
        Of all training rows.
    chosen : Discriminant
        Where weights start.
    X : ndarray of shape (n, n_features)
        Some of the rows, in the dtype that products are computed in.
    y, weight : ndarray of shape (n,)
        Their classes and weights.
    folds : ndarray of shape (n,)
        Their folds; rows of none of the moments' folds are never left out.

    Returns
    -------
    change : ndarray of shape (n_classes, n_features + 1) or None
        Of the weights of rows and, in the last column, of the bias.
    """
    whole = moments.without()
    X = X - whole.centre.astype(X.dtype)
    shape = (len(whole.weight), X.shape[1] + 1)

    def course(fold: int | None) -> _Course:
        counted = weight * (folds != fold)
        return _Course.of(X, y, counted, moments.without(fold), chosen, whole.centre)

    strengths = _strengths(moments, weight, folds, course, shape)
    if not strengths:
        return None
    last, change = course(None), np.zeros(shape)
    for strength in strengths:
        change = last.step(change, strength)
    weights = last.weights(change).T
    return np.column_stack([weights, change[:, -1] - weights @ whole.centre])


def _strengths(
    moments: FoldMoments,
    weight: np.ndarray,
    folds: np.ndarray,
    course: Callable[[int], _Course],
    shape: tuple[int, int],
) -> tuple[float, ...]:
    """Return the strengths, strongest first, that rows left out gain by."""
    taken, out = [], np.zeros(len(folds), bool)
    for fold in moments.parts:
        if np.count_nonzero(out) < _ENOUGH:
            taken.append(fold)
            out |= folds == fold
    courses = [course(fold) for fold in taken]
    changes = [np.zeros(shape) for _ in taken]

    def loss() -> float:
        """Log-loss of the rows left out, a row of mean weight counting as one."""
        total = 0.0
        for fold, one, change in zip(taken, courses, changes, strict=True):
            at = np.flatnonzero(folds == fold)
            total -= float(weight[at] @ one.log_probabilities(change)[at, one.y[at]])
        return total / weight[out].mean()

    start = least = loss()
    best = 0
    for i, strength in enumerate(_STRENGTHS):
        changes[:] = (one.step(c, strength) for one, c in zip(courses, changes, strict=True))
        now = loss()
        if now >= least:
            break
        least, best = now, i + 1
    return _STRENGTHS[:best] if start - least > _LEAST_GAIN else ()
