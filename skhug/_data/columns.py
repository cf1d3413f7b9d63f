"""Tensors, and the columns of data frames, as arrays; what can be none is refused by name."""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterator
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._data.tables import LEVEL_DTYPES, Levels, Table, as_levels, as_numbers, is_gap

__all__ = ["as_array", "numeric_rows"]

# What a data frame that has not read its rows yet is read by, of whichever library it is.
_READ_BY = ("toPandas", "compute", "collect")
# The libraries' names for dtypes: of numbers, of times (which must not count as numbers), records.
_NUMBERS = re.compile(r"u?int(?!erval)|float|double|half|bool|sparse\[(u?int|float|bool)", re.I)
_TIMES = re.compile(r"date|time|duration|period", re.I)
_RECORDS = re.compile("struct", re.I)
_HALF = (torch.bfloat16, torch.float16)

_COUNT = (
    "turn it into numbers, such as days since a date or the hour of the day, leave it out, or let "
    "skrub.tabular_pipeline(HUGClassifier()) do so"
)
_DECODE = "make text of it, for instance by .str.decode('utf-8'), or leave it out"
_STACK = "pad or cut all to one length, or leave it out"
_UNPACK = "take the numbers out of it into columns of their own, or leave it out"


def as_array(values: Any) -> Any:
    """Return a tensor as an array, wherever it is; anything else as it is.

    Half precision becomes float32: NumPy knows no bfloat16.

    Raises
    ------
    ValueError
        If the tensor holds no numbers.
    """
    if not isinstance(values, Tensor):
        return values
    if values.is_meta:
        raise ValueError("A tensor on the device 'meta' holds no numbers: pass one that does.")
    values = values.detach().cpu()
    if values.layout != torch.strided:
        values = values.to_dense()
    values = values.resolve_conj().resolve_neg()
    return (values.float() if values.dtype in _HALF else values).numpy()


def numeric_rows(X: Any) -> Any:
    """Return X with vectors laid out in columns; what needs no change, as it is.

    Tensors become arrays. A column whose values are vectors of one length becomes as many
    columns, ``name_0``, ``name_1``...; a Series, an array or a list of vectors becomes
    two-dimensional. A data frame with text, categories, or objects with gaps becomes a
    :class:`~skhug._data.tables.Table`.

    Raises
    ------
    TypeError
        If X is a data frame that has not read its rows, or can be read but once.
    ValueError
        If a column holds times, vectors of several lengths or other things, by name.
    """
    if isinstance(X, Tensor):
        return as_array(X)
    if isinstance(X, (list, tuple)):
        return _of_list(X)
    if isinstance(X, Iterator):
        raise TypeError(f"X is a {type(X).__name__}, read once: pass list(X).")
    if isinstance(X, dict) or (isinstance(X, np.ndarray) and X.dtype.names):
        raise TypeError(f"X is a {type(X).__name__} with names: pass pandas.DataFrame(X).")
    if isinstance(X, np.ma.MaskedArray):
        return X.astype(np.float64).filled(np.nan) if np.ma.is_masked(X) else X.data
    if isinstance(X, np.ndarray):
        _refuse_times(X.dtype, "X")
        return _of_objects(X) if X.dtype == object else X
    if type(X).__name__ == "RecordBatch":  # which tells scikit-learn no names
        return _of_frame(sys.modules["pyarrow"].Table.from_batches([X]))
    if not hasattr(X, "dtype"):  # no Series
        return _of_frame(X)
    if _NUMBERS.match(str(X.dtype)) or not hasattr(X, "to_numpy"):
        return X
    values = np.asarray(X.to_numpy())
    if LEVEL_DTYPES.match(str(X.dtype)) or any(isinstance(value, str) for value in values):
        raise ValueError(
            "X is a Series with text or categories: pass a data frame, such as X.to_frame() of a "
            "column, or frame.iloc[[0]] of a row."
        )
    return _values(getattr(X, "name", None), X)


def _refuse_times(dtype: np.dtype, label: str) -> None:
    if dtype.kind in "mM":
        raise ValueError(f"{label} holds times ({dtype}): {_COUNT}.")


def _of_list(X: list | tuple) -> Any:
    """Stack tensors, and vectors whose lengths NumPy would stumble on."""
    if len(X) and isinstance(X[0], dict):
        raise TypeError("X is a list of dicts: pass pandas.DataFrame(X).")
    if not (len(X) and isinstance(X[0], (Tensor, np.ndarray, list, tuple))):
        return X
    _refuse_times(np.asarray(as_array(X[0])).dtype, "X")
    # NumPy makes no array of rows of several lengths, and none of bfloat16.
    uneven = any(isinstance(row, Tensor) for row in X) or len(set(map(_length, X))) > 1
    return _stacked(X, "X") if uneven else X


def _length(row: Any) -> int | None:
    try:
        return len(row)
    except TypeError:
        return None


def _of_objects(X: np.ndarray) -> np.ndarray:
    """Stack an array of vectors, one per row; else make NaN of what is missing."""
    flat = X.ravel()
    lone = X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)
    if lone and len(flat) and _is_vector(flat[0]):
        return _stacked(flat, "X")
    gaps = np.array([is_gap(value) for value in flat], bool).reshape(X.shape)
    return np.where(gaps, np.nan, X) if gaps.any() else X


def _of_frame(X: Any) -> Any:
    if not hasattr(X, "__array__") and hasattr(type(X), "columns"):
        for method in _READ_BY:
            if callable(getattr(X, method, None)):
                raise TypeError(
                    f"X is a {type(X).__name__}, which has not read its rows yet: pass "
                    f"X.{method}()."
                )
    parts = {i: _values(*column) for i, *column in _columns(X)}
    if not parts:
        return X
    names = _names(X)
    repeated = [name for name, times in Counter(names).items() if times > 1]
    if repeated:
        raise ValueError(
            f"X has several columns called {repeated[0]!r}: give each a name of its own."
        )
    if len(names) == 1 and not isinstance(parts[0], Levels) and parts[0].ndim > 2:
        return parts[0]  # images, one per row
    columns = _all_columns(X)
    blocks = [parts[i] if i in parts else as_numbers(column) for i, column in enumerate(columns)]
    wide, blocks = _laid_out(names, blocks)
    return Table(_header(X, wide), wide, blocks)


def _columns(X: Any) -> Iterator[tuple[int, Any, Any]]:
    """Yield position, name and values of a data frame's columns that are no plain numbers."""
    if hasattr(X, "get_columns") or (hasattr(X, "iloc") and hasattr(X, "dtypes")):
        kinds = list(X.dtypes)
    elif hasattr(X, "column_names") and hasattr(X, "schema"):  # pyarrow
        kinds = list(X.schema.types)
    else:
        return
    found = [i for i, kind in enumerate(kinds) if not _NUMBERS.match(str(kind))]
    if not found:
        return
    names, columns = _names(X), _all_columns(X)
    for i in found:
        yield i, names[i], columns[i]


def _all_columns(X: Any) -> list:
    """Return the columns, each of them looked up once: polars makes all for one."""
    if hasattr(X, "iloc"):
        return [column for _, column in X.items()]
    return X.get_columns() if hasattr(X, "get_columns") else X.columns


def _names(X: Any) -> list:
    return list(X.column_names if hasattr(X, "column_names") else X.columns)


def _values(name: Any, column: Any) -> np.ndarray | Levels:
    """Return a column's numbers, its levels, or its vectors as (n, length); refuse all else."""
    kind = str(getattr(column, "dtype", getattr(column, "type", "")))
    label = "X" if name is None else f"Column {name!r} of X"
    for pattern, what, cure in ((_TIMES, "times", _COUNT), (_RECORDS, "records", _UNPACK)):
        if pattern.match(kind):
            raise ValueError(f"{label} holds {what} ({kind}): {cure}.")
    if LEVEL_DTYPES.match(kind):
        return as_levels(column)
    values = np.asarray(column.to_numpy())
    first = next((value for value in values if not is_gap(value)), None)
    if values.ndim > 1 or _is_vector(first):
        return _stacked(values, label)
    if isinstance(first, str):
        return _text(label, values)
    return _objects(label, values)


def _text(label: str, values: np.ndarray) -> Levels:
    other = next((value for value in values if not (isinstance(value, str) or is_gap(value))), None)
    if other is None:
        return as_levels(values)
    text = next(value for value in values if isinstance(value, str))
    raise ValueError(_two_kinds(label, text, other))


def _two_kinds(label: str, text: str, other: Any) -> str:
    return (
        f"{label} holds text, such as {text[:40]!r}, and values of type {type(other).__name__}, "
        f"such as {other!r}: make all of it text by astype(str), or numbers by "
        'pandas.to_numeric(..., errors="coerce").'
    )


def _objects(label: str, values: np.ndarray) -> np.ndarray:
    """Return objects as numbers; refuse those that are none."""
    if values.dtype.kind == "c" or any(isinstance(value, complex) for value in values):
        raise ValueError(
            f"{label} holds complex numbers: pass their parts as columns of their own."
        )
    for value in values:
        if is_gap(value) or isinstance(value, Number):
            continue
        if isinstance(value, str):
            number = next(v for v in values if isinstance(v, Number))
            raise ValueError(_two_kinds(label, value, number))
        kind = type(value).__name__
        cure = _DECODE if kind == "bytes" else _COUNT if _TIMES.match(kind) else _UNPACK
        raise ValueError(f"{label} holds values of type {kind}, which are no numbers: {cure}.")
    try:
        return as_numbers(values)
    except (ArithmeticError, ValueError) as error:  # 10**400, a signalling NaN
        raise ValueError(f"{label} holds a number that no float holds: {error}.") from None


def _is_vector(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, Tensor)) and np.ndim(value) > 0


def _stacked(rows: Any, label: str) -> np.ndarray:
    """Return vectors of one shape as an array, by rows."""
    rows = [np.asarray(as_array(row)) for row in rows]
    shape = rows[0].shape
    _refuse_times(rows[0].dtype, label)
    if rows[0].dtype.kind not in "biuf" or not rows[0].size:
        what = f"vectors of {rows[0].dtype}" if rows[0].size else "empty vectors"
        raise ValueError(f"{label} holds {what}, and not of numbers: {_UNPACK}.")
    for i, row in enumerate(rows):
        if row.shape != shape:
            raise ValueError(
                f"{label} holds vectors of several lengths, of shape {shape} in row 0 and "
                f"{row.shape} in row {i}: {_STACK}."
            )
    return np.stack(rows)


def _wide_names(names: list[str], blocks: list[np.ndarray]) -> list[str]:
    """Return a name for every number: v_0, v_1, ... of a vector v, v__0 where v_0 is taken."""
    between = "_"
    while True:
        wide = []
        for name, block in zip(names, blocks, strict=True):
            wide_block = not isinstance(block, Levels) and block.ndim > 1
            columns = range(block.shape[1]) if wide_block else ()
            wide += [f"{name}{between}{j}" for j in columns] or [name]
        if len(set(wide)) == len(wide):
            return wide
        between += "_"


def _laid_out(names: list, blocks: list) -> tuple[list, list]:
    """Return names and columns with every vector in columns of its own."""
    for name, block in zip(names, blocks, strict=True):
        if not isinstance(block, Levels) and block.ndim > 2:
            raise ValueError(
                f"Column {name!r} of X holds arrays of shape {block.shape[1:]} beside other "
                "columns: pass images alone, or flatten them."
            )
    columns = []
    for block in blocks:
        columns += [block] if isinstance(block, Levels) or block.ndim == 1 else list(block.T)
    return _wide_names(names, blocks), columns


def _header(X: Any, names: list) -> Any:
    """Return what scikit-learn reads the names of the columns from, and how many they are.

    The names let it see later that columns come in another order.
    """
    if names == _names(X):
        return X
    values = np.zeros((1, len(names)))
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return values
    if hasattr(X, "iloc"):
        return type(X)(values, columns=names)
    return type(X)(values, schema=names) if hasattr(X, "get_columns") else values
