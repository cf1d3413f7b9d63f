"""Tables whose columns hold numbers or levels, and levels as codes, looked up by name."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

__all__ = ["LEVEL_DTYPES", "Levels", "Table", "as_levels", "as_numbers", "is_gap", "table_of"]

# The libraries' names for dtypes whose values are levels, whatever those are.
LEVEL_DTYPES = re.compile("category|categorical|enum|dictionary", re.I)


class Levels(NamedTuple):
    """A column of categories.

    ``values`` (n,) are text, numbers and booleans, None for a gap; ``declared`` are the levels
    that its dtype names, whether they occur or not.
    """

    values: np.ndarray
    declared: tuple = ()


class Table(NamedTuple):
    """Columns of a data frame, some of which hold levels.

    ``header`` is what scikit-learn reads their names and number from; every one of ``columns`` has
    shape (n,).
    """

    header: Any
    names: list
    columns: list[np.ndarray | Levels]

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and of columns."""
        first = self.columns[0]
        return len(first.values if isinstance(first, Levels) else first), len(self.columns)

    def categories(self, counts: np.ndarray, *, declared: bool) -> list[np.ndarray | None]:
        """Return the levels of each column, None for one of numbers.

        They are those of the rows that count, a mask, and with ``declared`` also those that the
        dtype names.
        """
        return [
            _distinct(column, counts, declared=declared) if isinstance(column, Levels) else None
            for column in self.columns
        ]

    def codes(self, categories: Sequence[np.ndarray | None] | None) -> list[np.ndarray]:
        """Return numbers and the levels' codes, NaN for gaps and for levels that are unknown.

        Raises
        ------
        ValueError
            If a column holds levels where there were numbers in fit, or numbers where there were
            texts.
        """
        known = [None] * len(self.columns) if categories is None else categories
        if len(known) != len(self.columns):
            raise ValueError(
                f"X has {len(self.columns)} columns, and the fitted model {len(known)}: pass the "
                "same ones, or set warm_start=False to fit a new model."
            )
        columns = zip(self.names, self.columns, known, strict=True)
        return [_coded(name, column, levels) for name, column, levels in columns]


def table_of(X: Any) -> Table:
    """Return a data frame of numbers as a table."""
    if hasattr(X, "columns") or hasattr(X, "column_names"):
        names = list(X.column_names if hasattr(X, "column_names") else X.columns)
        columns = X.columns if hasattr(X, "column_names") else [X[name] for name in names]
        return Table(X, names, [as_numbers(column) for column in columns])
    raise ValueError(
        f"X is a {type(X).__name__}, and fit had a data frame with categories: pass one with the "
        "same columns."
    )


def is_gap(value: Any) -> bool:
    """Whether a value stands for a missing one: None, NaN, NaT, pandas.NA."""
    if value is None or type(value).__name__ == "NAType":  # which says nothing of itself
        return True
    try:
        return not hasattr(value, "__len__") and bool(value != value)
    except ArithmeticError:  # a Decimal's NaN that signals
        return True


def as_numbers(column: Any) -> np.ndarray:
    """Return a column of numbers as an array, NaN for what is missing."""
    values = np.asarray(column.to_numpy() if hasattr(column, "to_numpy") else column)
    if values.dtype != object:
        return values
    return np.array([np.nan if is_gap(v) else float(v) for v in values], dtype=np.float64)


def as_levels(column: Any) -> Levels:
    """Return a column's levels, those that are neither text nor numbers by their text."""
    values = column.to_pylist() if hasattr(column, "to_pylist") else np.asarray(column)
    declared = getattr(getattr(column, "dtype", None), "categories", ())
    held = np.empty(len(values), dtype=object)
    held[:] = [_level(value) for value in values]
    return Levels(held, tuple(_level(value) for value in declared))


def _level(value: Any) -> Any:
    """Return a level as a file without code can hold it."""
    if isinstance(value, str):
        return str(value)
    if is_gap(value):
        return None
    if isinstance(value, np.floating):
        return float(str(value))  # 0.1 in float32 is 0.1
    if isinstance(value, np.generic) and value.dtype.kind not in "mM":
        value = value.item()
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    return value if isinstance(value, (bool, int, float)) else str(value)


def _distinct(column: Levels, counts: np.ndarray, *, declared: bool) -> np.ndarray:
    """Return the levels in order, numbers first."""
    found = {value for value in column.values[counts] if value is not None}
    found.update(column.declared if declared else ())
    levels = np.empty(len(found), dtype=object)
    levels[:] = sorted(found, key=lambda level: (isinstance(level, str), level))
    return levels


def _coded(name: Any, column: np.ndarray | Levels, levels: np.ndarray | None) -> np.ndarray:
    held = column.values if isinstance(column, Levels) else column
    if levels is None:
        if not isinstance(column, Levels):
            return column
        found = next((value for value in held if value is not None), None)
        if found is None:  # of missing values nobody can tell the kind
            return np.full(len(held), np.nan)
        raise ValueError(
            f"Column {name!r} of X holds {_kind(found)}, such as {found!r}, as categories, and "
            "held numbers in fit, or nothing: make numbers of it, such as by astype(float), or fit "
            "again."
        )
    codes = {level: float(code) for code, level in enumerate(levels)}
    coded = np.array([codes.get(value, np.nan) for value in held.tolist()], dtype=np.float64)
    if np.isnan(coded).all():
        _check_kind(name, held, levels)
    return coded


def _check_kind(name: Any, held: np.ndarray, levels: np.ndarray) -> None:
    """Refuse a column none of whose values is known, if they are of another kind than in fit."""
    found = next((value for value in held.tolist() if not is_gap(value)), None)
    if found is None or not len(levels) or _kind(found) in set(map(_kind, levels)):
        return
    raise ValueError(
        f"Column {name!r} of X holds {_kind(found)}, such as {found!r}, and in fit it held "
        f"{_kind(levels[0])}, such as {levels[0]!r}: pass levels as they were in fit."
    )


def _kind(level: Any) -> str:
    return "text" if isinstance(level, str) else "numbers"
