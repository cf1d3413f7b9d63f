"""A linear map that draws rows of one class nearer to one another than to rows of others."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from skhug._data.rows import Rows
from skhug._model.held_out_classes import (
    HeldOut,
    class_average_precisions,
    class_draws,
    surely_best,
)
from skhug._model.whitening import Recipe, Whitening, unit_rows

__all__ = ["choose_strength", "contrast", "contrastive_gradient"]

# Steps of Adam, the first rate, which falls along a cosine, and what its two means forget. All
# entries move alike, so that of wider maps each moves less: the rate is one over the width, times.
_STEPS, _RATE, _FORGETS, _TINY = 10, 0.256, (0.1, 0.001), 1e-8
# What cosines are multiplied by: one over the temperature.
_SCALE = np.float32(10.0)
# What the map is multiplied by, to choose from; 0 leaves it out.
_STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0)


def choose_strength(held_out: list[HeldOut], rows: Rows, recipe: Recipe, width: int) -> float:
    """Return how far the map goes that finds most among classes held out; 0 unless it is sure.

    Parameters
    ----------
    held_out : list of HeldOut
        Folds of the classes: each is searched by what the other classes make.
    rows : Rows
        All rows.
    recipe : Recipe
        Of the closed form that maps start from.
    width : int
        Of the embedding.
    """
    scores = []
    for fold in held_out:
        A = contrast(fold.whitening, rows, fold.classes, recipe, width)
        q = _closed_form(fold.whitening, recipe, width)(fold.rows)
        y = np.unique(fold.rows.y, return_inverse=True)[1]
        moves = q @ A.T
        scores.append([class_average_precisions(unit_rows(q + t * moves), y) for t in _STRENGTHS])
    return _STRENGTHS[surely_best(np.concatenate(scores, axis=1))]


def contrast(
    whitening: Whitening, rows: Rows, classes: np.ndarray, recipe: Recipe, width: int
) -> np.ndarray:
    """Return A of ``q + q A^T``, of the supervised contrastive loss of rows q of the closed form.

    Khosla et al., "Supervised contrastive learning", NeurIPS 2020: of each row the mean over the
    others of its class of the log-softmax of cosines, among all others of a draw. A starts at zero
    and takes a few steps, each on a large draw: so it hardly learns single rows by heart.

    Parameters
    ----------
    whitening : Whitening
        Of the closed form.
    rows : Rows
        To draw from.
    classes : ndarray of shape (n_able,)
        Of those to draw, of two rows or more each.
    recipe : Recipe
        Of the closed form.
    width : int
        Of the embedding.

    Returns
    -------
    A : ndarray of shape (width, width)
        float32.
    """
    A, mean, square = (np.zeros((width, width), np.float32) for _ in range(3))
    embed = _closed_form(whitening, recipe, width)
    kept, kept_squares = (1 - share for share in _FORGETS)
    for step, drawn in enumerate(class_draws(rows.y, classes, _STEPS)):
        some = rows.take(drawn)
        q = embed(some)
        gradient = contrastive_gradient(q + q @ A.T, some.y).T @ q
        mean += _FORGETS[0] * (gradient - mean)
        square += _FORGETS[1] * (gradient**2 - square)
        rate = _RATE / width * (1 + np.cos(np.pi * step / _STEPS)) / 2
        scale = np.sqrt(square / (1 - kept_squares ** (step + 1))) + _TINY
        A -= rate * (mean / (1 - kept ** (step + 1))) / scale
    return A


def _closed_form(whitening: Whitening, recipe: Recipe, width: int) -> Callable[[Rows], np.ndarray]:
    """Return what makes unit rows (n, width) of rows, float32."""
    matrix, centre = whitening.matrix(recipe, width), whitening.centre(recipe)

    def embed(rows: Rows) -> np.ndarray:
        X = np.asarray(rows.X[:], np.float64)
        return unit_rows((X - centre) @ matrix).astype(np.float32)

    return embed


def contrastive_gradient(u: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return the gradient of the loss by rows that are brought to unit length, (n, width).

    Parameters
    ----------
    u : ndarray of shape (n, width)
        Rows, of any length.
    y : ndarray of shape (n,)
        Classes, two rows or more of each.
    """
    length = np.linalg.norm(u, axis=1, keepdims=True)
    z = unit_rows(u)
    share = _SCALE * (z @ z.T)  # of each row's softmax, in the end
    np.fill_diagonal(share, -np.inf)
    share -= share.max(1, keepdims=True)
    np.exp(share, out=share)
    share /= share.sum(1, keepdims=True)
    same = (y[:, None] == y).astype(u.dtype)
    np.fill_diagonal(same, 0)
    share -= same / same.sum(1, keepdims=True)
    by_z = (_SCALE / len(y)) * ((share + share.T) @ z)
    along = np.sum(by_z * z, axis=1, keepdims=True)
    # A row of zeros has no direction.
    return np.divide(by_z - along * z, length, out=np.zeros_like(z), where=length > 0)
