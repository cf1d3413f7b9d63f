"""What a graph of a pipeline takes: the columns and the dtypes that were passed, gaps included."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skhug._saving.onnx_check import import_optional

__all__ = ["Column", "columns_of", "converted_types", "put_in_front"]

# skl2onnx's types by the name of a NumPy dtype; of text, "str".
_TYPES = {
    "float32": "FloatTensorType",
    "float64": "DoubleTensorType",
    "int64": "Int64TensorType",
    "int32": "Int32TensorType",
    "int8": "Int8TensorType",
    "uint8": "UInt8TensorType",
    "bool": "BooleanTensorType",
    "str": "StringTensorType",
}
# Integers that skl2onnx has no type for come in as int64; float16 as float32.
_WIDENED = {"int16": "int64", "uint16": "int64", "uint32": "int64", "float16": "float32"}


class Column(NamedTuple):
    """One input of a graph.

    Parameters
    ----------
    name : str
        Of the input.
    kind : str
        The dtype that the graph takes; "str" for text.
    values : ndarray
        As the runtime takes them; gaps in text are "".
    gap : str or None
        What skl2onnx compares gaps in text with, where there are some.
    """

    name: str
    kind: str
    values: np.ndarray
    gap: str | None


def columns_of(X: Any) -> list[Column]:
    """Return the inputs of a graph: ``X`` of an array, or one for each column of a data frame.

    Raises
    ------
    TypeError
        If a column's values are of a kind that ONNX does not have.
    ValueError
        If a column of text has gaps and empty strings, which a graph could not tell apart.
    """
    if not hasattr(X, "columns"):
        return [_column("X", np.asarray(X))]
    return [_column(str(name), np.asarray(X[name])[:, None]) for name in X.columns]


def _column(name: str, values: np.ndarray) -> Column:
    if values.dtype.kind in "OUT":
        return _of_objects(name, values.astype(object))
    kind = _WIDENED.get(values.dtype.name, values.dtype.name)
    if kind not in _TYPES:
        raise TypeError(
            f"Column {name!r} is of dtype {values.dtype}, which a graph cannot take: turn it into "
            "numbers or text before the pipeline."
        )
    return Column(name, kind, values.astype(kind), None)


def _of_objects(name: str, values: np.ndarray) -> Column:
    gaps = np.array([_is_gap(v) for v in values.ravel()]).reshape(values.shape)
    if all(isinstance(v, str) for v in values[~gaps]):
        return _of_text(name, values, gaps)
    kinds = sorted({type(v).__name__ for v in values.ravel()})
    raise TypeError(
        f"Column {name!r} mixes {', '.join(kinds)}: make it text, or numbers with nan for gaps, "
        'as by frame[name].astype("float64"), before fit.'
    )


def _of_text(name: str, values: np.ndarray, gaps: np.ndarray) -> Column:
    if not gaps.any():
        return Column(name, "str", values, None)
    if (values[~gaps] == "").any():
        raise ValueError(
            f"Column {name!r} has gaps and empty strings, which a graph cannot tell apart: fill "
            "the one or the other before fit."
        )
    # skl2onnx writes a category that is a gap by its name.
    names = {"None" if v is None else "nan" for v in values[gaps]}
    if len(names) > 1:
        raise ValueError(f"Column {name!r} has gaps of None and of nan: use one before fit.")
    return Column(name, "str", np.where(gaps, "", values).astype(object), names.pop())


def _is_gap(value: Any) -> bool:
    return value is None or type(value).__name__ == "NAType" or value != value


def converted_types(columns: list[Column], numbers: str | None) -> list[tuple[str, Any]]:
    """Return the names and the types that skl2onnx converts for.

    Parameters
    ----------
    columns : list of Column
        The inputs.
    numbers : str or None
        The dtype that all but text gets in front of the pipeline; None leaves it as it is.
    """
    types = import_optional("skl2onnx.common.data_types")
    return [
        (c.name, getattr(types, _TYPES[_inner(c, numbers)])([None, *c.values.shape[1:]]))
        for c in columns
    ]


def _inner(column: Column, numbers: str | None) -> str:
    return column.kind if column.kind == "str" or numbers is None else numbers


def put_in_front(model: Any, columns: list[Column], numbers: str | None) -> None:
    """Make a graph take the columns as they were passed: their names, dtypes and gaps."""
    onnx = import_optional("onnx")
    graph, helper, front = model.graph, onnx.helper, []
    for column, put in zip(columns, graph.input, strict=True):
        name, converted = column.name, put.name  # skl2onnx puts _ for what is no letter
        inner, wanted = f"{converted}_as_converted", _inner(column, numbers)
        put.name = name
        if column.gap is not None:
            front += _gaps_named(helper, name, inner, column.gap)
        elif wanted != column.kind:
            to, of = (helper.np_dtype_to_tensor_dtype(np.dtype(k)) for k in (wanted, column.kind))
            put.type.tensor_type.elem_type = of
            front.append(helper.make_node("Cast", [name], [inner], to=to))
        else:
            inner = name
        for node in graph.node:
            node.input[:] = [inner if taken == converted else taken for taken in node.input]
    nodes = [*front, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)


def _gaps_named(helper: Any, name: str, inner: str, gap: str) -> list[Any]:
    """Return nodes that turn "" into the name of a gap."""
    empty, named, is_gap = (f"{inner}_{part}" for part in ("empty", "gap", "is_gap"))
    return [
        helper.make_node("Constant", [], [empty], value_strings=[""]),
        helper.make_node("Constant", [], [named], value_strings=[gap]),
        helper.make_node("Equal", [name, empty], [is_gap]),
        helper.make_node("Where", [is_gap, named, name], [inner]),
    ]
