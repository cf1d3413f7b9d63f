"""Nested Python objects as JSON and arrays, and back; nothing but what a table lists is made."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug import augment
from skhug._device import to_numpy
from skhug._parameters import SHORTHANDS
from skhug.proxies import CodedProxies, Nested
from skhug.sampling import BalancedBatches

__all__ = ["PLAIN_KINDS", "NotPlainError", "decode", "encode", "map_leaves"]

# Composed parameters, all that strings stand for among them: their constructors assign their
# arguments and do nothing else.
PLAIN_KINDS: dict[str, type] = {
    kind.__name__: kind
    for kind in (
        *(kind for named in SHORTHANDS.values() for kind in named.values()),
        Nested,
        CodedProxies,
        *(getattr(augment, name) for name in augment.__all__ if name != "Augmentation"),
        BalancedBatches,
    )
}
_NUMBERS = "biuf"
# Characters of an array of strings, its width included: a few bytes must not ask for all memory.
_MOST_TEXT = 1 << 26


class NotPlainError(TypeError):
    """A value that JSON and arrays cannot hold."""


def encode(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Return a tree as JSON holds it, its arrays put aside by name.

    Numbers, strings, lists, tuples, dicts, arrays, tensors, random states and skhug's parameter
    objects come back as they were, tensors on the CPU. What is no JSON of itself becomes
    ``{tag: simpler}``.

    Raises
    ------
    NotPlainError
        If it holds anything else.
    """
    kind = type(tree)
    if tree is None or kind in (bool, int, str) or (kind is float and math.isfinite(tree)):
        return tree
    if kind is list:
        return [encode(item, arrays) for item in tree]
    if kind is np.ndarray and tree.dtype.kind in _NUMBERS and tree.dtype.itemsize <= 8:
        name = str(len(arrays))
        arrays[name] = tree.astype(tree.dtype.newbyteorder("="), copy=False)
        return {"array": name}
    tag, simpler = _simplify(tree, kind)
    return {tag: encode(simpler, arrays)}


def decode(tree: Any, arrays: dict[str, np.ndarray]) -> Any:
    """Undo :func:`encode`.

    Raises
    ------
    KeyError, TypeError, ValueError
        If it is not what :func:`encode` returns.
    """
    if isinstance(tree, list):
        return [decode(item, arrays) for item in tree]
    if not isinstance(tree, dict):
        return tree
    ((tag, simpler),) = tree.items()
    if tag == "array":
        return arrays[simpler].copy()
    return _READERS[tag](decode(simpler, arrays))


def _simplify(value: Any, kind: type) -> tuple[str, Any]:
    """Return a tag and what encodes a value under it."""
    if kind is np.ndarray:
        return _simplify_array(value)
    if isinstance(value, np.generic):
        return "scalar", np.asarray(value)
    if PLAIN_KINDS.get(kind.__name__) is kind:
        return "object", [kind.__name__, value.get_params(deep=False)]
    if kind not in _WRITERS:
        raise NotPlainError(f"{value!r} is of type {kind.__name__}")
    tag, write = _WRITERS[kind]
    return tag, write(value)


def _simplify_array(array: np.ndarray) -> tuple[str, Any]:
    if array.dtype.kind == "U" and array.nbytes <= 4 * _MOST_TEXT:
        return "strings", [array.dtype.itemsize // 4, array.tolist()]
    if array.dtype.kind == "O" and array.ndim == 1:
        return "objects", array.tolist()
    raise NotPlainError(f"an array of dtype {array.dtype} and {array.ndim} axes")


# Type to a tag and what makes it simpler.
_WRITERS: dict[type, tuple[str, Callable[[Any], Any]]] = {
    float: ("float", repr),  # infinite or NaN
    tuple: ("tuple", list),
    torch.Size: ("tuple", list),
    dict: ("dict", lambda value: [list(item) for item in value.items()]),
    Tensor: ("tensor", to_numpy),
    torch.nn.Parameter: ("tensor", to_numpy),
    torch.device: ("device", str),
    np.random.RandomState: ("random_state", lambda value: value.get_state()),
}


def _read_strings(value: Any) -> np.ndarray:
    width, strings = value
    each = np.ravel(np.array(strings, dtype=object)).tolist()
    if not max(map(len, each), default=0) <= width <= _MOST_TEXT // max(len(each), 1):
        raise ValueError("strings of another width")
    return np.array(strings, dtype=f"U{width}")


def _read_objects(value: list[Any]) -> np.ndarray:
    array = np.empty(len(value), dtype=object)
    array[:] = value
    return array


def _read_random_state(value: Any) -> np.random.RandomState:
    state = np.random.RandomState(0)
    state.set_state(value)
    return state


def _read_object(value: Any) -> Any:
    name, parameters = value
    return PLAIN_KINDS[name](**{**PLAIN_KINDS[name]._before, **parameters})


# Tag to what undoes it.
_READERS: dict[str, Callable[[Any], Any]] = {
    "float": float,
    "tuple": tuple,
    "dict": dict,
    "tensor": torch.from_numpy,
    "device": torch.device,
    "random_state": _read_random_state,
    "scalar": lambda array: array[()],
    "strings": _read_strings,
    "objects": _read_objects,
    "object": _read_object,
}


def map_leaves(tree: Any, leaf: type, function: Callable[[Any], Any]) -> Any:
    """Return nested dicts, lists and tuples with a function applied to what is of a type."""
    if isinstance(tree, leaf):
        return function(tree)
    if isinstance(tree, dict):
        return {name: map_leaves(value, leaf, function) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(map_leaves(value, leaf, function) for value in tree)
    return tree
