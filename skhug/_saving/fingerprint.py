"""Fingerprints of parameters and data: what makes two fits the same fit."""

from __future__ import annotations

import functools
import hashlib
import re
import types
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skhug._data.sources import RESIDENT_BYTES, Source
from skhug._device import to_numpy
from skhug._saving.modules import full_state
from skhug._sparse import CompressedRows

__all__ = ["fingerprint", "fingerprint_rows"]

# Rows read of those that are too many or too far away to be read as a whole.
_SAMPLE = 1024
# Addresses in memory differ from run to run.
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(value: Any) -> str:
    """Return 16 hexadecimal digits that tell an object by its content.

    Functions count with their code, defaults and what they close over; modules with their
    weights; other objects with their parameters or attributes. Classes count with their names:
    a change in their code is not seen.
    """
    return _Digest().add(value).hexdigest()


def fingerprint_rows(X: np.ndarray | Source | CompressedRows) -> str:
    """Return the fingerprint of rows, of a sample of them where all would take long.

    Rows of a source that come out differently when read again count with their shape alone.
    """
    if not isinstance(X, Source) and X.nbytes <= RESIDENT_BYTES:
        return fingerprint([X.shape, *X.parts] if isinstance(X, CompressedRows) else X)
    index = np.unique(np.linspace(0, len(X) - 1, min(len(X), _SAMPLE)).astype(np.int64))
    rows = X[index]
    if isinstance(X, CompressedRows):
        return fingerprint([X.shape, *rows.parts])
    steady = not isinstance(X, Source) or np.array_equal(rows, X[index])
    return fingerprint([X.shape, str(X.dtype), rows if steady else None])


class _Digest:
    """A hash of nested objects, each of which is entered once."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        # By identity; held, so that no identity is used twice.
        self._entered: dict[int, tuple[int, Any]] = {}

    def hexdigest(self) -> str:
        """Return the first 16 digits."""
        return self._hash.hexdigest()[:16]

    def add(self, value: Any) -> _Digest:
        """Take an object in."""
        self._write(f"{type(value).__module__}.{type(value).__qualname__}")
        if isinstance(value, np.ndarray) and value.dtype != object:
            self._add_array(value)
        elif isinstance(value, Tensor):
            self._add_array(to_numpy(value))
        elif id(value) in self._entered:
            self._write(f"number {self._entered[id(value)][0]}")
        elif isinstance(content := _content(value), str):
            self._write(content)
        else:
            self._entered[id(value)] = len(self._entered), value
            self._add_all(content)
        return self

    def _add_all(self, values: Iterable[Any]) -> None:
        values = list(values)
        self._write(str(len(values)))
        for value in values:
            self.add(value)

    def _add_array(self, array: np.ndarray) -> None:
        self._write(f"{array.shape} {array.dtype}")
        self._hash.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")

    def _write(self, text: str) -> None:
        data = text.encode(errors="surrogatepass")
        self._hash.update(len(data).to_bytes(8, "little") + data)


def _content(value: Any) -> str | list[Any]:
    """Return what tells an object from others of its type: a text, or parts."""
    for kind, content in _CONTENTS.items():
        if isinstance(value, kind):
            return content(value)
    if hasattr(value, "get_params") and not isinstance(value, type):
        return [value.get_params(deep=False)]
    if hasattr(value, "__qualname__"):  # a class, or a function written in C
        return f"{value.__module__}.{value.__qualname__}"
    return [vars(value)] if hasattr(value, "__dict__") else _ADDRESS.sub("", repr(value))


def _function_content(function: types.FunctionType) -> list[Any]:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return [function.__qualname__, function.__code__, function.__defaults__, cells]


# Types, the first that fits, to their content.
_CONTENTS: dict[Any, Any] = {
    (bool, int, float, complex, str, bytes, type(None), np.generic): repr,
    (list, tuple): list,
    (set, frozenset): lambda value: sorted(map(fingerprint, value)),
    dict: lambda value: [list(item) for item in value.items()],
    np.ndarray: lambda value: value.tolist(),  # of objects
    np.random.RandomState: lambda value: list(value.get_state()),
    (torch.device, torch.dtype): str,
    nn.Module: lambda value: [_ADDRESS.sub("", repr(value)), full_state(value)],
    functools.partial: lambda value: [value.func, value.args, value.keywords],
    types.MethodType: lambda value: [value.__func__, value.__self__],
    types.FunctionType: _function_content,
    types.CodeType: lambda value: [value.co_code, value.co_names, value.co_consts],
    types.ModuleType: lambda value: value.__name__,
}
