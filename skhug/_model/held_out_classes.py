"""Which closed form searches best among classes that it was not made from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from skhug._data.class_moments import FoldMoments
from skhug._data.rows import Rows
from skhug._model.whitening import Recipe, Whitening, unit_rows

__all__ = [
    "RECIPES",
    "USUAL",
    "HeldOut",
    "choose_recipe",
    "class_average_precisions",
    "class_draws",
    "deal_classes",
    "hold_out",
    "surely_best",
]

# What is taken unless rows say otherwise, and what is tried beside it. The last leaves rows as
# they are.
USUAL = Recipe(0.5, 0.25, 0.3)
_WHITENINGS = ((0.1, 0.25), (0.5, 0.25), (0.1, 0.5), (0.3, 0.5), (0.5, 0.5), (0.7, 0.5), (0.9, 0.5))
_NOVELTIES = (0.1, 0.3, 1.0, np.inf)
RECIPES = (
    *(Recipe(*pair, v) for pair in _WHITENINGS for v in _NOVELTIES),
    Recipe(1.0, 0.0, np.inf),
)
# Folds of the classes, and of fewer than so many classes there are none.
_FOLDS, _FEWEST = 3, 6
# Standard errors by which a recipe must be better than the usual one.
_SURE = 2.0
# Rows that a fold is searched among, and the classes they are of.
_ROWS, _CLASSES = 1024, 64


def deal_classes(count: np.ndarray) -> np.ndarray | None:
    """Deal classes that have two rows or more out to folds, by lot.

    Parameters
    ----------
    count : ndarray of shape (n_classes,)
        Their rows.

    Returns
    -------
    folds : ndarray of shape (n_classes,) or None
        From 1; 0 is of classes of fewer rows, which are always trained on. None where there are
        too few classes.
    """
    able = np.flatnonzero(count >= 2)
    if len(able) < _FEWEST:
        return None
    folds = np.zeros(len(count), np.int64)
    folds[np.random.default_rng(0).permutation(able)] = 1 + np.arange(len(able)) % _FOLDS
    return folds


class HeldOut(NamedTuple):
    """A fold of the classes, and what is made of the others.

    ``whitening`` is of all rows of the other classes, ``classes`` are those of them that have two
    rows or more, ``rows`` are a bounded draw of the fold's own.
    """

    whitening: Whitening
    classes: np.ndarray
    rows: Rows


def hold_out(moments: FoldMoments, rows: Rows, folds: np.ndarray) -> list[HeldOut]:
    """Return each fold of the classes with what is made of the others.

    Parameters
    ----------
    moments : FoldMoments
        Of all rows, a fold a group of classes.
    rows : Rows
        The same rows.
    folds : ndarray of shape (n_classes,)
        Of :func:`deal_classes`.
    """
    return [
        HeldOut(
            Whitening(moments.without(fold)),
            np.flatnonzero((folds != fold) & (folds > 0)),
            _drawn(rows, folds == fold),
        )
        for fold in range(1, folds.max() + 1)
    ]


def choose_recipe(held_out: list[HeldOut], usual: Recipe, others: list[Recipe]) -> Recipe:
    """Return the recipe of the best search of classes held out, or the usual one.

    Parameters
    ----------
    held_out : list of HeldOut
        Folds of the classes: each is searched by closed forms of the other classes.
    usual : Recipe
        What to take unless another is surely better.
    others : list of Recipe
        To choose from.
    """
    recipes = [usual, *(other for other in others if other != usual)]
    scores = [_scores(fold.whitening, fold.rows, recipes) for fold in held_out]
    return recipes[surely_best(np.concatenate(scores, axis=1))]


def surely_best(scores: np.ndarray) -> int:
    """Return which of several has the best mean over the classes, or 0.

    It is taken if it is better than the first by more than two standard errors: of few classes
    little can be told.

    Parameters
    ----------
    scores : ndarray of shape (n_choices, n_classes)
        Of each on each class.
    """
    gains = scores[1:] - scores[0]
    if not len(gains):
        return 0
    best = int(gains.mean(1).argmax())
    error = gains[best].std(ddof=1) / np.sqrt(gains.shape[1])
    return 1 + best if gains[best].mean() > _SURE * error else 0


def class_draws(y: np.ndarray, classes: np.ndarray, n_draws: int) -> Iterator[np.ndarray]:
    """Yield draws of rows, each of a draw of classes, both bounded.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Classes of the rows.
    classes : ndarray of shape (n_able,)
        Those to draw from, of two rows or more.
    n_draws : int
        How many.
    """
    rng, order = np.random.default_rng(0), np.argsort(y, kind="stable")
    first, end = (np.searchsorted(y[order], classes, side) for side in ("left", "right"))
    for _ in range(n_draws):
        some = rng.permutation(len(classes))[:_CLASSES]
        most = max(2, _ROWS // len(some))
        kept = [first[c] + rng.permutation(end[c] - first[c])[:most] for c in some]
        yield np.sort(order[np.concatenate(kept)])


def _drawn(rows: Rows, held_out: np.ndarray) -> Rows:
    """Return rows of the classes held out, a bounded draw of both."""
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.flatnonzero(held_out))[:_CLASSES]
    lot = rng.permutation(len(rows.y))
    most = max(2, _ROWS // len(classes))
    kept = [lot[rows.y[lot] == c][:most] for c in classes]
    return rows.take(np.sort(np.concatenate(kept)))


def _scores(whitening: Whitening, rows: Rows, recipes: list[Recipe]) -> np.ndarray:
    """Return what each recipe scores on each class, shape (n_recipes, n_classes)."""
    X, y = np.asarray(rows.X[:], np.float64), np.unique(rows.y, return_inverse=True)[1]
    turned = whitening.turned(X)
    return np.array(
        [
            class_average_precisions(
                whitening.rows(turned, recipe) if recipe.power > 0 else unit_rows(X), y
            )
            for recipe in recipes
        ]
    )


def class_average_precisions(points: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the mean average precision at R of the queries of each class.

    Parameters
    ----------
    points : ndarray of shape (n, n_features)
        Unit rows, searched among themselves.
    y : ndarray of shape (n,)
        Classes from 0, two rows or more of each.
    """
    count = np.bincount(y)
    points = points.astype(np.float32)
    similarity = points @ points.T
    np.fill_diagonal(similarity, -np.inf)
    most = count.max() - 1
    nearest = np.argpartition(-similarity, most - 1, axis=1)[:, :most]
    order = np.argsort(-np.take_along_axis(similarity, nearest, axis=1), axis=1, kind="stable")
    nearest = np.take_along_axis(nearest, order, axis=1)
    rank, sought = np.arange(1, most + 1), (count - 1)[y]
    hits = (y[nearest] == y[:, None]) & (rank <= sought[:, None])
    precision = np.cumsum(hits, axis=1) / rank
    average = (precision * hits).sum(1) / sought
    return np.bincount(y, average) / count
