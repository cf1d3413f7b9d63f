"""Means of the classes and the covariance within them, of sums that can be added and taken away."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skhug._data.sources import take

__all__ = ["ClassMoments", "FoldMoments", "Sums"]

# Numbers of a block of rows that are copied at once: 8 or 16 MiB.
_BLOCK_NUMBERS = 1 << 21
# Rows of so many numbers or more have their products in float32, which takes half the time, if
# their mean square leaves room for it and so much of the squares, by share, lies within classes.
_MANY_NUMBERS = 1 << 22
_MODEST = (1e-12, 1e12)
_TELLING = 1e-4
_SOME_ROWS = 256
# Share of the squares below which what lies within classes is rounding.
_ROUNDING = 1e-12
_ADDED = ("weight", "count", "sums", "squares")


class ClassMoments(NamedTuple):
    """What linear discriminants and whitening need of rows with classes.

    ``weight`` (n_classes,), the rows' sum; ``count`` (n_classes,), how many rows they stand for;
    ``means`` (n_classes, n_features), of a class without
    rows the mean of all; ``within`` (n_features, n_features), the covariance about the classes'
    own means; ``centre`` (n_features,), the mean of all rows.
    """

    weight: np.ndarray
    count: np.ndarray
    means: np.ndarray
    within: np.ndarray
    centre: np.ndarray

    @property
    def shares(self) -> np.ndarray:
        """Shares of the classes; one without rows has half that of the smallest."""
        known = self.weight > 0
        weight = np.where(known, self.weight, self.weight[known].min() / 2)
        return weight / weight.sum()

    @property
    def total(self) -> np.ndarray:
        """Covariance of all rows about their mean, (n_features, n_features)."""
        share = self.weight / self.weight.sum()
        away = (self.means - self.centre) * np.sqrt(share)[:, None]
        return self.within + away.T @ away


class Sums(NamedTuple):
    """Sums of rows, of their squares and of their weights, that can be added and taken away.

    ``sums`` (n_classes, n_features) and ``squares`` (n_features, n_features) are of rows minus
    ``shift`` (n_features,), times their weights, of which ``weight`` (n_classes,) is the sum.
    ``count`` (n_classes,) are sums of the weights that say how often a row counts, and ``least``
    the smallest of these: it is one row.
    """

    shift: np.ndarray
    weight: np.ndarray
    count: np.ndarray
    sums: np.ndarray
    squares: np.ndarray
    least: float

    @classmethod
    def of(
        cls,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray,
        n_classes: int,
        count: np.ndarray | None = None,
        shift: np.ndarray | None = None,
    ) -> Sums:
        """Return the sums of rows, read block by block, as a rule once.

        Parameters
        ----------
        X : ndarray or Source of shape (n, n_features)
            Rows. Of many in float32 or half precision products of a block are float32, as long as
            that tells enough; sums of blocks are float64.
        y, weight : ndarray of shape (n,)
            Their classes and positive weights.
        n_classes : int
            Of them.
        count : ndarray of shape (n,), optional
            How often each counts, up to a factor; alike without it.
        shift : ndarray of shape (n_features,), optional
            What is taken away from rows; the mean of the first block without it.

        Raises
        ------
        ValueError
            If numbers are too large or too small for their squares.
        """
        count = np.ones(len(y)) if count is None else count
        for dtype in _dtypes(X):
            found = cls._in_dtype(X, y, weight, n_classes, count, shift, dtype)
            if not np.isfinite(found.squares).all():
                raise ValueError(
                    "The rows hold numbers too large for their squares: scale them, for instance "
                    "to unit length by sklearn.preprocessing.normalize."
                )
            if found.sums.any() and not found.squares.any():
                raise ValueError(
                    "The rows hold numbers too small for their squares: scale them, for instance "
                    "multiply them by 1e200."
                )
            if dtype == np.float64 or found._share_within() > _TELLING:
                break
        return found

    @classmethod
    def _in_dtype(
        cls,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray,
        n_classes: int,
        count: np.ndarray,
        shift: np.ndarray | None,
        dtype: type,
    ) -> Sums:
        n_features = X.shape[1]
        step = max(1, _BLOCK_NUMBERS // n_features)
        if shift is None:
            shift = np.asarray(X[:step], np.float64).mean(0)  # differences keep their digits
        taken = shift.astype(dtype)
        totals, counts = np.zeros((2, n_classes))
        np.add.at(totals, y, weight)
        np.add.at(counts, y, count)
        sums, squares = np.zeros((n_classes, n_features)), np.zeros((n_features, n_features))
        for start in range(0, len(y), step):
            block = slice(start, start + step)
            with np.errstate(over="ignore", invalid="ignore"):
                rows = np.asarray(X[block], dtype) - taken
                sums += _indicator(y[block], weight[block].astype(dtype), n_classes) @ rows
                rows *= np.sqrt(weight[block]).astype(dtype)[:, None]
                squares += rows.T @ rows
        return cls(taken.astype(np.float64), totals, counts, sums, squares, float(count.min()))

    def plus(self, other: Sums) -> Sums:
        """Return the sums of the rows of both."""
        other = other._about(self.shift)
        added = (getattr(self, name) + getattr(other, name) for name in _ADDED)
        return Sums(self.shift, *added, min(self.least, other.least))

    def minus(self, other: Sums) -> Sums:
        """Return the sums without those of some of the rows."""
        other = other._about(self.shift)
        left = (getattr(self, name) - getattr(other, name) for name in _ADDED)
        weight, *more = left
        # What all weights of a class leave is rounding.
        weight = np.where(weight < 1e-9 * self.weight, 0.0, weight)
        return Sums(self.shift, weight, *more, self.least)

    def _about(self, shift: np.ndarray) -> Sums:
        """Return the sums of the same rows minus another shift."""
        away = self.shift - shift
        if not away.any():
            return self
        sums = self.sums + self.weight[:, None] * away
        crossed = np.outer(self.sums.sum(0), away)
        squares = self.squares + crossed + crossed.T + self.weight.sum() * np.outer(away, away)
        return self._replace(shift=shift, sums=sums, squares=squares)

    def _share_within(self) -> float:
        """Share of the squares that lies within classes."""
        scaled = self.sums / np.sqrt(np.where(self.weight > 0, self.weight, 1))[:, None]
        squares = np.trace(self.squares)
        return 1 - float(np.sum(scaled**2)) / squares if squares > 0 else 0.0

    def moments(self) -> ClassMoments:
        """Return means and covariances."""
        weight, n_rows, known = self.weight, self.weight.sum(), self.weight > 0
        away = self.sums / np.where(known, weight, 1)[:, None]
        centre = self.sums.sum(0) / n_rows
        scaled = away * np.sqrt(weight)[:, None]
        within = (self.squares - scaled.T @ scaled) / n_rows
        # What differs by rounding alone is nothing: of one row a class.
        if np.trace(within) < _ROUNDING * np.trace(self.squares) / n_rows:
            within = np.zeros_like(within)
        away[~known] = centre
        count = np.where(known, self.count / self.least, 0)
        return ClassMoments(weight, count, away + self.shift, within, centre + self.shift)


class FoldMoments(NamedTuple):
    """Sums of all rows, and of the rows of each fold; a fold may be missing."""

    total: Sums
    parts: dict[int, Sums]

    @classmethod
    def of(
        cls,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray,
        n_classes: int,
        folds: np.ndarray,
        count: np.ndarray | None = None,
        total: Sums | None = None,
    ) -> FoldMoments:
        """Return the sums of rows by their folds; arguments as in :meth:`Sums.of`.

        Parameters
        ----------
        X, y, weight, n_classes, count
            Rows.
        folds : ndarray of shape (n,)
            Their folds.
        total : Sums, optional
            Of all rows, where these are some of them; of these without it.
        """
        count = np.ones(len(y)) if count is None else count
        total = Sums.of(X, y, weight, n_classes, count) if total is None else total
        parts = {}
        for fold in np.unique(folds):
            at = np.flatnonzero(folds == fold)
            parts[int(fold)] = Sums.of(
                take(X, at), y[at], weight[at], n_classes, count[at], total.shift
            )
        return cls(total, parts)

    def without(self, fold: int | None = None) -> ClassMoments:
        """Return the moments of all rows but those of a fold, or of all rows."""
        left = self.total if fold is None else self.total.minus(self.parts[fold])
        return left.moments()


def _dtypes(X: Any) -> tuple[type, ...]:
    """Return what squares are computed in, in turn, until they tell what lies within classes."""
    if X.dtype not in (np.float16, np.float32) or X.shape[0] * X.shape[1] < _MANY_NUMBERS:
        return (np.float64,)
    some = np.asarray(X[:_SOME_ROWS], np.float64)
    with np.errstate(over="ignore"):
        modest = _MODEST[0] < np.mean(some**2) < _MODEST[1]
    return (np.float32, np.float64) if modest else (np.float64,)


def _indicator(group: np.ndarray, weight: np.ndarray, n_groups: int) -> sparse.csr_matrix:
    """Return the matrix (n_groups, n) that sums weighted rows of each group."""
    n = len(group)
    return sparse.csr_matrix((weight, (group, np.arange(n))), shape=(n_groups, n))
