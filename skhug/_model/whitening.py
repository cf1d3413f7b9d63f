"""What search starts from: variance within classes evened out, variance between them weighted."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.linalg import eigh

from skhug._data.class_moments import ClassMoments
from skhug._model.discriminant import within_classes

__all__ = ["Recipe", "Whitening", "unit_rows"]

# Share of the largest variance that the smallest counts for at least.
_LEAST = 1e-12


class Recipe(NamedTuple):
    """A closed form for search; with ``power`` 0 rows are left as they are.

    ``shrinkage`` l in (0, 1] and ``power`` p in [0, 1] of ``S_l^-p``; ``novelty`` v above 0,
    the variance between classes that is added to that of the means in every direction, in units of
    that within. With infinity directions weigh alike.
    """

    shrinkage: float
    power: float
    novelty: float


class Whitening:
    """Turns rows with classes into what search compares, for any recipe.

    Of normal classes with means of covariance B and rows of covariance S about them, the logarithm
    of how much likelier it is that two rows share their class has their product weighted by
    ``b / (1 + 2 b)`` in directions in which S is 1 and B is b. The weight here is its root, on each
    row (Ioffe 2006).

    Parameters
    ----------
    moments : ClassMoments
        Of the training rows.
    """

    def __init__(self, moments: ClassMoments) -> None:
        self.moments = moments
        values, self.vectors = eigh(within_classes(moments))
        self.values = np.maximum(values, _LEAST * values[-1])
        means = moments.means[moments.weight > 0] - moments.centre
        self._means = means @ self.vectors / np.sqrt(max(len(means) - 1, 1))
        self._last: tuple = (None, None)

    def turned(self, X: np.ndarray) -> np.ndarray:
        """Return centred rows by the axes of the covariance within classes, for any recipe."""
        return (X - self.moments.centre) @ self.vectors

    def rows(self, turned: np.ndarray, recipe: Recipe) -> np.ndarray:
        """Return turned rows by a recipe, of unit length; up to a rotation.

        Parameters
        ----------
        turned : ndarray of shape (n, n_features)
            Of :meth:`turned`.
        recipe : Recipe
            With a power above 0.
        """
        scale, directions, weight = self._parts(recipe)
        scaled = turned * scale
        return unit_rows(scaled + (scaled @ directions.T * weight) @ directions)

    def centre(self, recipe: Recipe) -> np.ndarray:
        """Return what is taken away from rows before they are multiplied, (n_features,)."""
        centre = self.moments.centre
        return centre if recipe.power > 0 else np.zeros_like(centre)

    def matrix(self, recipe: Recipe, n_components: int) -> np.ndarray:
        """Return the matrix that centred rows are multiplied by.

        Parameters
        ----------
        recipe : Recipe
            What to do.
        n_components : int
            Where less than the features: the directions in which the result varies most.

        Returns
        -------
        matrix : ndarray of shape (n_features, n_components)
            Of mean squared singular value 1 before directions are left out.
        """
        matrix = np.eye(len(self.values))
        if recipe.power > 0:
            scale, directions, weight = self._parts(recipe)
            matrix = np.diag(scale) + (scale[:, None] * directions.T * weight) @ directions
            matrix = self.vectors @ matrix @ self.vectors.T
            matrix /= np.sqrt(np.sum(matrix**2) / len(matrix))
        if n_components == len(matrix):
            return matrix
        varies = matrix.T @ self.moments.total @ matrix
        return matrix @ eigh(varies)[1][:, ::-1][:, :n_components]

    def _parts(self, recipe: Recipe) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the factor of each axis, directions of classes, and what these weigh beyond 1."""
        scale, directions, between = self._axes(recipe.shrinkage, recipe.power)
        # (b + v) / (1 + 2 (b + v)) over v / (1 + 2 v), written so that an infinite v gives 1.
        ratio = (1 + between / recipe.novelty) / (1 + between / (recipe.novelty + 0.5))
        return scale, directions, np.sqrt(ratio) - 1

    def _axes(self, shrinkage: float, power: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the factor of each axis, directions of classes and the variance between in these.

        Those of the last call are kept: recipes that differ in novelty alone follow one another.
        """
        if self._last[0] != (shrinkage, power):
            shrunk = (1 - shrinkage) * self.values + shrinkage * self.values.mean()
            scale = shrunk**-power
            spread, directions = principal_axes(self._means * scale)
            within = directions**2 @ (shrunk * scale**2)
            self._last = (shrinkage, power), (scale, directions, spread / within)
        return self._last[1]


def principal_axes(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return squared singular values of points, and the axes as rows; what is nothing is left out.

    By the smaller of the two products, whose eigenvectors cost a tenth of singular ones.
    """
    few = len(points) < points.shape[1]
    squares, vectors = eigh(points @ points.T if few else points.T @ points)
    kept = squares > _LEAST * squares[-1]
    squares, vectors = squares[kept], vectors[:, kept]
    return squares, (vectors.T @ points / np.sqrt(squares)[:, None] if few else vectors.T)


def unit_rows(X: np.ndarray) -> np.ndarray:
    """Return rows of unit length; zeros stay."""
    length = np.linalg.norm(X, axis=1, keepdims=True)
    return X / np.maximum(length, np.finfo(X.dtype).tiny)
