"""Tensors, and the columns of data frames, as arrays of numbers; what is no number is named."""

from __future__ import annotations

import re
from collections.abc import Iterator
from numbers import Number
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["as_array", "numeric_rows"]

# What a data frame that has not read its rows yet is read by, of whichever library it is.
_READ_BY = ("toPandas", "compute", "collect")
# The libraries' names for dtypes: of numbers, of times (which must not count as numbers), records.
_NUMBERS = re.compile(r"u?int|float|double|half|bool|decimal|sparse\[(u?int|float|bool)", re.I)
_TIMES = re.compile(r"date|time|duration|period", re.I)
_RECORDS = re.compile("struct", re.I)
_HALF = (torch.bfloat16, torch.float16)

_ENCODE = (
    "encode it in front, for instance with make_column_transformer((OneHotEncoder("
    "handle_unknown='ignore'), [{name!r}]), remainder='passthrough') in a Pipeline, or leave it out"
)
_COUNT = "turn it into numbers, such as days since a date or the hour of the day, or leave it out"
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
    two-dimensional.

    Raises
    ------
    TypeError
        If X is a data frame that has not read its rows, or can be read but once.
    ValueError
        If a column holds text, times, vectors of several lengths or other things, by name.
    """
    if isinstance(X, Tensor):
        return as_array(X)
    if isinstance(X, (list, tuple)):
        return _of_list(X)
    if isinstance(X, Iterator):
        raise TypeError(f"X is a {type(X).__name__}, read once: pass list(X).")
    if isinstance(X, np.ndarray):
        _refuse_times(X.dtype, "X")
        return _of_objects(X) if X.dtype == object else X
    if not hasattr(X, "dtype"):  # no Series
        return _of_frame(X)
    if _NUMBERS.match(str(X.dtype)) or not hasattr(X, "to_numpy"):
        return X
    return _numbers(getattr(X, "name", None), X)


def _refuse_times(dtype: np.dtype, label: str) -> None:
    if dtype.kind in "mM":
        raise ValueError(f"{label} holds times ({dtype}): {_COUNT}.")


def _of_list(X: list | tuple) -> Any:
    """Stack tensors, and vectors whose lengths NumPy would stumble on."""
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
    """Stack an array of vectors, one per row; anything else is left to scikit-learn."""
    flat = X.ravel()
    lone = X.ndim == 1 or (X.ndim == 2 and X.shape[1] == 1)
    return _stacked(flat, "X") if lone and len(flat) and _is_vector(flat[0]) else X


def _of_frame(X: Any) -> Any:
    if not hasattr(X, "__array__") and hasattr(type(X), "columns"):
        for method in _READ_BY:
            if callable(getattr(X, method, None)):
                raise TypeError(
                    f"X is a {type(X).__name__}, which has not read its rows yet: pass "
                    f"X.{method}()."
                )
    parts = {i: _numbers(*column) for i, *column in _columns(X)}
    if not any(part.ndim > 1 for part in parts.values()):
        return X
    return _laid_out(X, parts)


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


def _numbers(name: Any, column: Any) -> np.ndarray:
    """Return a column's numbers, or its vectors as (n, length); refuse anything else."""
    kind = str(getattr(column, "dtype", getattr(column, "type", "")))
    label = "X" if name is None else f"Column {name!r} of X"
    for pattern, what, cure in ((_TIMES, "times", _COUNT), (_RECORDS, "records", _UNPACK)):
        if pattern.match(kind):
            raise ValueError(f"{label} holds {what} ({kind}): {cure}.")
    values = np.asarray(column.to_numpy())
    if values.ndim > 1 or _is_vector(next((v for v in values if v is not None), None)):
        return _stacked(values, label)
    try:
        values.astype(np.float64)
    except (TypeError, ValueError):
        raise ValueError(f"{label} {_what_else(name, values)}.") from None
    return values


def _what_else(name: Any, values: np.ndarray) -> str:
    """Say what values hold that are not all numbers, and the cure."""
    found = next(value for value in values if not _is_number(value))
    if isinstance(found, (str, bytes)):
        cure = "encode it in front" if name is None else _ENCODE.format(name=name)
        return f"holds text, such as {found[:40]!r}: {cure}"
    cure = _COUNT if _TIMES.match(type(found).__name__) else _UNPACK
    return f"holds values of type {type(found).__name__}, which are no numbers: {cure}"


def _is_vector(value: Any) -> bool:
    return isinstance(value, (list, tuple, np.ndarray, Tensor)) and np.ndim(value) > 0


def _is_number(value: Any) -> bool:
    """Whether scikit-learn would take it for one; it takes None and text of digits, too."""
    if isinstance(value, Number) or value is None:
        return True
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _stacked(rows: Any, label: str) -> np.ndarray:
    """Return vectors of one shape as an array, by rows."""
    rows = [np.asarray(as_array(row)) for row in rows]
    shape = rows[0].shape
    _refuse_times(rows[0].dtype, label)
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
            columns = range(block.shape[1]) if block.ndim > 1 else ()
            wide += [f"{name}{between}{j}" for j in columns] or [name]
        if len(set(wide)) == len(wide):
            return wide
        between += "_"


def _laid_out(X: Any, parts: dict[int, np.ndarray]) -> Any:
    """Return a data frame's numbers with these columns in place of its own, with names if it can.

    The names let scikit-learn see later that columns come in another order.
    """
    names = _names(X)
    if len(names) == 1 and parts[0].ndim > 2:
        return parts[0]  # images, one per row
    blocks = []
    columns = _all_columns(X)
    for i, name in enumerate(names):
        block = parts[i] if i in parts else np.asarray(columns[i])
        if block.ndim > 2:
            raise ValueError(
                f"Column {name!r} of X holds arrays of shape {block.shape[1:]} beside other "
                "columns: pass images alone, or flatten them."
            )
        blocks.append(block)
    values = np.column_stack(blocks)
    if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
        return values
    wide = _wide_names(names, blocks)
    if hasattr(X, "iloc"):
        return type(X)(values, columns=wide)
    return type(X)(values, schema=wide) if hasattr(X, "get_columns") else values
