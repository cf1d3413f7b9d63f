"""Linear discriminants with a shrunk covariance, chosen by rows left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve, eigvalsh
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from torch import Tensor
from torch.linalg import vecdot

from skhug._data.class_moments import ClassMoments, FoldMoments

__all__ = [
    "FORMS",
    "Directions",
    "Discriminant",
    "choose",
    "directions",
    "discriminant",
    "fit_sharpness",
    "logistic_log_probabilities",
    "typical",
    "within_classes",
]

# What is tried where no shrinkage is given, strongest first.
SHRINKAGES = (0.95, 0.9, 0.7, 0.5, 0.3, 0.1, 0.02)
# How far the logarithm of the sharpness may be from what is typical, and how strongly it is pulled
# there, in rows: folds of few rows tell little.
_WAY = 6.0
_PULL = 1.5
# By how much, in rows, another form than the usual has to be better.
_PULL_FORM = 1.0
# The same for a weaker shrinkage than the strongest, times log(1 - l) beyond that one's and over
# the degrees of freedom of the covariance within classes: of few it tells little.
_PULL_SHRINKAGE = 16.0
# Features that a vector's noise amounts to, independent ones of equal variance: so many, and for
# each direction that the rows vary in so many at most.
_FEATURES, _OF_A_DIRECTION = 12.0, 2.0
# Share of the mean square that the square of a class's mean is taken for at least.
_SHORTEST = 0.1
# Of points whose square is 1 but for rounding.
_LEAST = 1e-6


class Directions(NamedTuple):
    """The classes' means as a covariance within classes weighs them, about the centre of all.

    ``weights`` (n_classes, n_features) are ``S_l^-1 m_c``; ``squares`` (n_classes,) are ``m_c^T
    S_l^-1 m_c``, and ``chance`` (n_classes,) the part of them that a mean of few rows has by
    chance, ``tr(S_l^-1 S) / n_c``.
    """

    weights: np.ndarray
    squares: np.ndarray
    chance: np.ndarray


def _normal(found: Directions) -> tuple[np.ndarray, np.ndarray]:
    """Return the logarithms of normal densities with means m_c and covariance S_l.

    That is up to what is common, and but for chance: without that a class of fewer rows than
    others would be taken for farther away.
    """
    return found.weights, -0.5 * (found.squares - found.chance)


def _even(found: Directions) -> tuple[np.ndarray, np.ndarray]:
    """Return scores in which the classes' directions have one length, and squares count half.

    Rows of unit length vary less in a class whose mean is longer: normal densities of a common
    covariance know nothing of it, are too sure of such classes and miss the others.
    """
    mean = found.squares.mean() or 1.0
    length = np.sqrt(np.maximum(found.squares, _SHORTEST * mean) / mean)
    squares = np.maximum(found.squares - found.chance, _SHORTEST * found.squares)
    return found.weights / length[:, None], -0.25 * squares / length


# What makes scores of directions.
FORMS: dict[str, Callable[[Directions], tuple[np.ndarray, np.ndarray]]] = {
    "even": _even,
    "normal": _normal,
}


class Discriminant(NamedTuple):
    """A shrinkage of the covariance within classes, a factor on the scores, and their form."""

    shrinkage: float
    sharpness: float
    form: str = "even"


def typical(moments: ClassMoments) -> Discriminant:
    """Return what suits where no row can be left out: with a row of a class.

    Few of many features vary as much within classes as their mean variance says, and together.
    How many it may be at most the rows tell without their classes: the participation ratio of
    their covariance, ``(tr T)^2 / tr T^2``, is how many directions of equal variance it is worth.
    """
    total = moments.total
    ratio = np.trace(total) ** 2 / (np.sum(total**2) or 1.0)
    features = min(_FEATURES, _OF_A_DIRECTION * max(ratio, 1.0))
    return Discriminant(1.0, min(1.0, features / len(total)))


def shrunk(within: np.ndarray, shrinkage: float) -> np.ndarray:
    """Return ``(1 - l) S + l (tr S / d) I``, Ledoit and Wolf's form."""
    d = len(within)
    return (1 - shrinkage) * within + shrinkage * np.trace(within) / d * np.eye(d)


def directions(
    moments: ClassMoments, shrinkage: float, spectrum: np.ndarray | None = None
) -> Directions:
    """Return what linear scores of the classes are made of, for rows minus the centre.

    Parameters
    ----------
    moments : ClassMoments
        Of the training rows.
    shrinkage : float
        l in [0, 1].
    spectrum : ndarray of shape (n_features,), optional
        Eigenvalues of the covariance within classes where nearly these are known.
    """
    means, within = moments.means - moments.centre, within_classes(moments)
    factor = cho_factor(shrunk(within, shrinkage), lower=True)
    weights = cho_solve(factor, means.T).T
    spectrum = eigvalsh(within) if spectrum is None else spectrum
    trace = np.sum(spectrum / ((1 - shrinkage) * spectrum + shrinkage * spectrum.mean()))
    squares = np.einsum("cd,cd->c", weights, means)
    return Directions(weights, squares, trace / np.maximum(moments.count, 1))


def discriminant(moments: ClassMoments, chosen: Discriminant) -> tuple[np.ndarray, np.ndarray]:
    """Return the log-odds of the classes, for rows minus the centre.

    Parameters
    ----------
    moments : ClassMoments
        Of the training rows.
    chosen : Discriminant
        What the log-odds are like.

    Returns
    -------
    weights : ndarray of shape (n_classes, n_features)
        What rows are multiplied with.
    bias : ndarray of shape (n_classes,)
        What is added; the classes' shares are part of it.
    """
    weights, bias = FORMS[chosen.form](directions(moments, chosen.shrinkage))
    return chosen.sharpness * weights, chosen.sharpness * bias + np.log(moments.shares)


def within_classes(moments: ClassMoments) -> np.ndarray:
    """Return the covariance within classes; as far as rows say little, of directions all alike.

    It is about means of the same rows, which makes it too small: rows less classes are the degrees
    of freedom. Up to a quarter of the rows they are filled up by a guess of its scale: of vectors
    of sentences and images a third of the variance lies between the classes. Where the rows of a
    class are all alike there is the guess alone.
    """
    n_rows, n_classes = moments.count.sum(), np.count_nonzero(moments.count)
    free, d = n_rows - n_classes, len(moments.within)
    guessed = max(n_rows / 4 - free, 0.0)
    guess = (2 * np.trace(moments.total) or 1.0) / d
    if not moments.within.any():
        return guess * np.eye(d)
    within = moments.within * (n_rows / (free + guessed))
    within.flat[:: d + 1] += guess * guessed / (free + guessed)
    return within


def choose(
    moments: FoldMoments,
    X: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    folds: np.ndarray,
    shrinkages: tuple[float, ...] = SHRINKAGES,
) -> Discriminant:
    """Return the shrinkage, the sharpness and the form of least log-loss on rows left out.

    The sharpness is that of the scores of all rows: where these are few, those of a fold less are
    worth less, by how much longer its means are by chance.

    Parameters
    ----------
    moments : FoldMoments
        Of all training rows.
    X : ndarray of shape (n, n_features)
        Some of them, each of a fold.
    y, weight, folds : ndarray of shape (n,)
        Their classes, weights and folds.
    shrinkages : tuple of float
        To choose from.
    """
    everything = moments.without()
    log_shares, spectrum = np.log(everything.shares), eigvalsh(within_classes(everything))
    parts = [np.flatnonzero(folds == fold) for fold in np.unique(folds)]
    others = [moments.without(folds[part[0]]) for part in parts]
    best, least, best_found = typical(everything), np.inf, []
    guess, usual = best.sharpness, best.form
    free = max(everything.count.sum() - np.count_nonzero(everything.count), 1.0)
    for shrinkage in shrinkages:
        far = np.log1p(-shrinkage) - np.log1p(-max(shrinkages)) if shrinkage < 1 else 0.0
        found = [directions(rest, shrinkage, spectrum) for rest in others]
        for form, scores_of in FORMS.items():
            scores = np.empty((len(X), len(log_shares)))
            for part, rest, one in zip(parts, others, found, strict=True):
                weights, bias = scores_of(one)
                scores[part] = (X[part] - rest.centre) @ weights.T + bias
            sharpness, loss = fit_sharpness(scores, y, weight, log_shares, guess)
            loss += ((form != usual) * _PULL_FORM + far * _PULL_SHRINKAGE / free) / len(y)
            if loss < least:
                best, least, best_found = Discriminant(shrinkage, sharpness, form), loss, found
    whole = weight @ _variances(directions(everything, best.shrinkage, spectrum))[y]
    less = sum(
        weight[part] @ _variances(one)[y[part]] for part, one in zip(parts, best_found, strict=True)
    )
    return best._replace(sharpness=best.sharpness * (less / whole if less and whole else 1.0))


def _variances(found: Directions) -> np.ndarray:
    """Return how much a row's score for its class, less that for another, varies, (n_classes,).

    Differences of scores are ``S_l^-1 (m_c - m_c')`` times the row: their variance is the sum of
    the squares of both means, and log-odds are their mean over it. Up to a factor.
    """
    return found.squares + found.squares.mean()


def fit_sharpness(
    scores: np.ndarray,
    y: np.ndarray,
    weight: np.ndarray,
    offset: np.ndarray | float = 0.0,
    guess: float = 1.0,
) -> tuple[float, float]:
    """Return the factor on scores that makes the best log-odds, and its penalised log-loss.

    Parameters
    ----------
    scores : ndarray of shape (n, n_classes)
        Of rows that they were not made from.
    y, weight : ndarray of shape (n,)
        Classes and weights.
    offset : ndarray of shape (n_classes,)
        What is added to the log-odds.
    guess : float
        What it is without rows.
    """
    share, rows = weight / weight.sum(), np.arange(len(y))

    def loss(log_factor: float) -> float:
        log_p = log_softmax(np.exp(log_factor) * scores + offset, axis=1)
        return -float(share @ log_p[rows, y]) + _PULL / len(y) * (log_factor - centre) ** 2

    centre = np.log(guess)
    found = minimize_scalar(
        loss, bounds=(centre - _WAY, centre + _WAY), method="bounded", options={"xatol": 1e-2}
    )
    return float(np.exp(found.x)), float(found.fun)


def logistic_log_probabilities(points: Tensor, proxies: Tensor, sharpness: float) -> Tensor:
    """Return ``log p_c``, ``p`` the softmax of products of a row's features with the proxies.

    Parameters
    ----------
    points : Tensor of shape (n, n_components)
        In the ball, ``z = x / sqrt(|x|^2 + s)`` of features x.
    proxies : Tensor of shape (n_classes, n_components)
        Unit rows.
    sharpness : float
        The factor on ``z / sqrt(1 - |z|^2)``, which is ``x / sqrt(s)``.
    """
    length = (1 - vecdot(points, points)).clamp_min(_LEAST).rsqrt()
    return torch.log_softmax(sharpness * length[:, None] * (points @ proxies.T), dim=1)
