"""Means of the classes and the covariance within them, of all rows or of all folds but one."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from skhug._group import ALONE, Alone

__all__ = ["ClassMoments", "FoldMoments"]

# Numbers of a block of rows that are float64 at once: 16 MiB.
_BLOCK_NUMBERS = 1 << 21


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


class FoldMoments(NamedTuple):
    """Sums of rows, of their squares and of their weights, fold by fold: one pass over the rows.

    ``weight`` and ``count`` (n_folds, n_classes), ``sums`` (n_folds, n_classes, n_features) and
    ``squares`` (n_folds, n_features, n_features) are of rows minus ``shift`` (n_features,).
    """

    shift: np.ndarray
    weight: np.ndarray
    count: np.ndarray
    sums: np.ndarray
    squares: np.ndarray

    @classmethod
    def of(
        cls,
        X: Any,
        y: np.ndarray,
        weight: np.ndarray,
        n_classes: int,
        folds: np.ndarray,
        count: np.ndarray | None = None,
        shards: Alone = ALONE,
    ) -> FoldMoments:
        """Return the sums of rows, read block by block.

        Parameters
        ----------
        X : ndarray or Source of shape (n, n_features)
            Rows.
        y, weight, folds : ndarray of shape (n,)
            Their classes, positive weights, and folds from 0.
        n_classes : int
            Of them.
        count : ndarray of shape (n,), optional
            How many rows each stands for; one without it.
        shards : Alone
            The processes that hold further rows, which count as well.

        Raises
        ------
        ValueError
            If numbers are too large for their squares.
        """
        n_features, n_folds = X.shape[1], max(shards.gather(int(folds.max()))) + 1
        step = max(1, _BLOCK_NUMBERS // n_features)
        # Differences keep their digits.
        shift = shards.first(lambda: np.asarray(X[:step], np.float64).mean(0))
        totals, counts = np.zeros((2, n_folds, n_classes))
        np.add.at(totals, (folds, y), weight)
        np.add.at(counts, (folds, y), 1.0 if count is None else count)
        sums = np.zeros((n_folds * n_classes, n_features))
        squares = np.zeros((n_folds, n_features, n_features))
        for start in range(0, len(y), step):
            block = slice(start, start + step)
            with np.errstate(over="ignore", invalid="ignore"):
                rows = np.asarray(X[block], np.float64) - shift
                group = folds[block] * n_classes + y[block]
                sums += _indicator(group, weight[block], len(sums)) @ rows
                rows *= np.sqrt(weight[block])[:, None]
                for fold in np.unique(folds[block]):
                    part = rows[folds[block] == fold]
                    squares[fold] += part.T @ part
        totals, counts, sums, squares = map(shards.total, (totals, counts, sums, squares))
        if not np.isfinite(squares).all():
            raise ValueError(
                "The rows hold numbers too large for their squares: scale them, for instance to "
                "unit length by sklearn.preprocessing.normalize."
            )
        return cls(shift, totals, counts, sums.reshape(n_folds, n_classes, n_features), squares)

    def without(self, fold: int | None = None) -> ClassMoments:
        """Return the moments of all rows but those of a fold, or of all rows."""
        kept = np.arange(len(self.weight)) != (-1 if fold is None else fold)
        weight, sums = self.weight[kept].sum(0), self.sums[kept].sum(0)
        n_rows, known = weight.sum(), weight > 0
        away = sums / np.where(known, weight, 1)[:, None]
        centre = sums.sum(0) / n_rows
        scaled = away * np.sqrt(weight)[:, None]
        within = (self.squares[kept].sum(0) - scaled.T @ scaled) / n_rows
        # What differs by rounding alone is nothing: of one row a class.
        mean_square = np.trace(self.squares[kept].sum(0)) / n_rows
        if np.trace(within) < 1e-12 * mean_square:
            within = np.zeros_like(within)
        away[~known] = centre
        count = self.count[kept].sum(0)
        return ClassMoments(weight, count, away + self.shift, within, centre + self.shift)


def _indicator(group: np.ndarray, weight: np.ndarray, n_groups: int) -> sparse.csr_matrix:
    """Return the matrix (n_groups, n) that sums weighted rows of each group."""
    n = len(group)
    return sparse.csr_matrix((weight, (group, np.arange(n))), shape=(n_groups, n))
