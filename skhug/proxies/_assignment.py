"""Which class gets which point: similar classes are to be neighbours."""

from __future__ import annotations

import numpy as np
from scipy.optimize import quadratic_assignment

__all__ = ["MOST_CLASSES", "similar_to_near"]

# Beyond, a search takes longer than it is worth: many points are all about as far apart.
MOST_CLASSES = 256
# Up to so many classes a search is a matter of milliseconds: it starts more often and ends finer.
_FEW_CLASSES = 64


def similar_to_near(points: np.ndarray, centres: np.ndarray, seed: int) -> np.ndarray:
    """Return the order of the points that makes points near where centres are similar.

    Of all orders it looks for the largest sum of products ``(p_c p_c') (m_c m_c')`` over pairs of
    classes, p the points and m the directions of the centres from their mean: a quadratic
    assignment, solved approximately (Vogelstein et al. 2015, improved by exchanges of two).

    Parameters
    ----------
    points : ndarray of shape (n_classes, n_components)
        Unit rows.
    centres : ndarray of shape (n_classes, n_features)
        One per class, finite; one that is not known is the mean of the others.
    seed : int
        Of the search's starts.

    Returns
    -------
    order : ndarray of shape (n_classes,)
        Class c gets ``points[order[c]]``.
    """
    directions = centres / max(np.abs(centres).max(), np.finfo(np.float64).tiny)
    directions -= directions.mean(0)
    length = np.linalg.norm(directions, axis=1, keepdims=True)
    told = length > 1e-9 * max(length.max(), 1e-9)  # what is shorter is rounding
    directions = np.divide(directions, length, out=np.zeros_like(directions), where=told)
    similar, near = directions @ directions.T, points @ points.T
    np.fill_diagonal(similar, 0)
    np.fill_diagonal(near, 0)
    few, rng = len(points) <= _FEW_CLASSES, np.random.default_rng(seed)
    options = {"maximize": True, "rng": rng}
    starts = ["barycenter", *["randomized"] * (10 if few else 1)]
    found = [
        quadratic_assignment(similar, near, method="faq", options={**options, "P0": start})
        for start in starts
    ]
    best = max(found, key=lambda result: result.fun)
    if few:
        options["partial_guess"] = np.stack([np.arange(len(points)), best.col_ind], axis=1)
        best = quadratic_assignment(similar, near, method="2opt", options=options)
    return best.col_ind
