"""From tables to arrays: codes of few levels, and of many the shares of the classes in each."""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from skhug._data.tables import Table

__all__ = ["Coding", "learn"]

# A column of more levels than this, and than classes, becomes the shares of the classes.
FEW_LEVELS = 10
# Levels that get a column each where no shares can be told.
_MOST_COLUMNS = 255
# Parts of the rows, each of which gets shares that were counted on the others.
_PARTS = 5


class Coding(NamedTuple):
    """How the columns of a table become columns of numbers.

    ``categories`` are the levels of each column, None for one of numbers. ``shares``, of a column
    of many levels, has shape (n_levels + 1, width): for each level the shares of the classes among
    its rows (of two classes that of the second), last for what is missing or unknown; None else.
    """

    categories: list[np.ndarray | None]
    shares: list[np.ndarray | None]

    @classmethod
    def of_numbers(cls, table: Table) -> Coding:
        """Return the coding of a table all of whose columns are to hold numbers."""
        nothing: list[np.ndarray | None] = [None] * len(table.columns)
        return cls(nothing, nothing)

    def attributes(self) -> tuple[list | None, list | None]:
        """Return categories and shares as an estimator keeps them, None where all is numbers."""
        numbers = all(levels is None for levels in self.categories)
        return (None, None) if numbers else (self.categories, self.shares)

    def rows(self, table: Table) -> np.ndarray:
        """Return the rows of a table as numbers and codes, NaN for what is missing."""
        codes = table.codes(self.categories)
        found = {
            i: shares[_places(codes[i], self.categories[i])]
            for i, shares in enumerate(self.shares)
            if shares is not None
        }
        return self._joined(codes, found)

    def n_levels(self) -> list[int | None]:
        """Return how many levels each column of the rows has codes of, None for numbers."""
        counts: list[int | None] = []
        for levels, shares in zip(self.categories, self.shares, strict=True):
            numbers = levels is None or shares is not None
            counts += [None if numbers else len(levels)] * _width(shares)
        return counts

    def _joined(self, codes: list[np.ndarray], found: dict[int, np.ndarray]) -> np.ndarray:
        """Return codes as an array, with the shares that were found in place of some."""
        numbers = {
            column.dtype
            for column, levels in zip(codes, self.categories, strict=True)
            if levels is None
        }
        # Numbers of float32 stay so, as those of an array do.
        dtype = np.float32 if numbers == {np.dtype(np.float32)} else np.float64
        joined = np.empty((len(codes[0]), sum(map(_width, self.shares))), dtype)
        start = 0
        for i, (column, shares) in enumerate(zip(codes, self.shares, strict=True)):
            stop = start + _width(shares)
            joined[:, start:stop] = found.get(i, column[:, None])
            start = stop
        return joined


def learn(
    table: Table, y: np.ndarray, counts: np.ndarray, categories: list[np.ndarray | None]
) -> tuple[Coding, np.ndarray]:
    """Return the coding of a table to train on, and its rows.

    The shares in these rows are those of other rows, as scikit-learn's ``TargetEncoder`` has it:
    with its own label in it a row would tell its class.

    Parameters
    ----------
    table : Table
        Columns.
    y : ndarray of shape (n,)
        Class indices.
    counts : ndarray of bool, shape (n,)
        The rows that shares are taken of.
    categories : list
        The levels of each column, None for one of numbers.
    """
    codes = table.codes(categories)
    coding = Coding(categories, [None] * len(categories))
    many = _with_many_levels(categories, y[counts])
    found = {}
    if many:
        places = np.stack([_places(codes[i], categories[i]) for i in many], axis=1)
        encoder, crossed = _crossed(places, [len(categories[i]) for i in many], y, counts)
        width = crossed.shape[1] // len(many)
        for k, i in enumerate(many):
            part = slice(k * width, (k + 1) * width)
            coding.shares[i] = np.stack(encoder.encodings_[part], axis=1)
            found[i] = crossed[:, part]
    return coding, coding._joined(codes, found)


def _with_many_levels(categories: list[np.ndarray | None], y: np.ndarray) -> list[int]:
    """Return the columns whose levels are too many for a column each.

    Raises
    ------
    ValueError
        If they are by far too many, and all rows of one class.
    """
    occurring = np.bincount(y)
    n_classes = np.count_nonzero(occurring)
    few = max(FEW_LEVELS, n_classes)
    if n_classes < 2 or occurring.max() < 2:  # no shares could be told
        most = max((len(levels) for levels in categories if levels is not None), default=0)
        if most > max(_MOST_COLUMNS, few):
            raise ValueError(
                f"A column has {most} levels, and all rows are of one class, so that nothing can "
                "be told of them: pass rows of several classes in the first call of partial_fit."
            )
        return []
    return [i for i, levels in enumerate(categories) if levels is not None and len(levels) > few]


def _crossed(
    places: np.ndarray, n_levels: list[int], y: np.ndarray, counts: np.ndarray
) -> tuple[Any, np.ndarray]:
    """Return the encoder of all rows that count, and shares for each counted on others."""
    from sklearn.model_selection import StratifiedKFold  # here: few fits need them
    from sklearn.preprocessing import TargetEncoder

    y = np.unique(y[counts], return_inverse=True)[1]
    encoder = TargetEncoder(
        categories=[np.arange(n + 1) for n in n_levels],
        target_type="multiclass" if y.max() > 1 else "binary",
    )
    n_parts = int(min(_PARTS, np.bincount(y).max()))
    if encoder.shuffle is True:  # scikit-learn < 1.9 draws the parts itself
        encoder.set_params(cv=n_parts, random_state=0)
    else:
        encoder.set_params(cv=StratifiedKFold(n_parts, shuffle=True, random_state=0))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class")  # it is in no part then
        crossed = encoder.fit_transform(places[counts], y)
    rows = np.empty((len(places), crossed.shape[1]))
    rows[counts] = crossed
    if not counts.all():
        rows[~counts] = encoder.transform(places[~counts])
    return encoder, rows


def _places(codes: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Return codes as integers, that after the last for what is missing or unknown."""
    return np.where(np.isnan(codes), len(levels), codes).astype(np.int64)


def _width(shares: np.ndarray | None) -> int:
    return 1 if shares is None else shares.shape[1]
