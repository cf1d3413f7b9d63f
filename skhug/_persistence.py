"""Trained modules as plain NumPy arrays, for pickle, joblib and skops."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from sklearn.base import clone

from skhug._device import PRECISIONS, to_numpy
from skhug._modules import Cast, NormalizeImages, SphereEncoder, Standardize

_PREPARES = {kind.__name__: kind for kind in (Cast, NormalizeImages, Standardize)}


def pack_module(encoder: SphereEncoder) -> dict[str, Any]:
    """Return a module as its specification and NumPy weights, or as itself where it has none.

    What was trained on an accelerator opens on a machine without one.
    """
    packed = {
        "input_shape": encoder.input_shape,
        "n_components": encoder.n_components,
        "precision": str(encoder.prepare.dtype).removeprefix("torch."),
        "prepare": type(encoder.prepare).__name__,
        "prepare_arguments": pack_tensors(encoder.prepare.arguments()),
    }
    if encoder.spec is None:  # the user's own module: only pickle knows how to make it
        return {**packed, "module": copy.deepcopy(encoder.body).cpu()}
    weights = {name: to_numpy(value) for name, value in encoder.body.state_dict().items()}
    return {**packed, "spec": clone(encoder.spec), "weights": weights}


def pack_tensors(tree: Any) -> Any:
    """Return nested dicts, lists and tuples with every tensor turned into an array."""
    return _map(tree, torch.Tensor, to_numpy)


def unpack_tensors(tree: Any) -> Any:
    """Undo :func:`pack_tensors`."""
    return _map(tree, np.ndarray, lambda array: torch.from_numpy(array.copy()))


def _map(tree: Any, leaf: type, function: Callable[[Any], Any]) -> Any:
    if isinstance(tree, leaf):
        return function(tree)
    if isinstance(tree, dict):
        return {name: _map(value, leaf, function) for name, value in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_map(value, leaf, function) for value in tree)
    return tree


def unpack_module(packed: dict[str, Any]) -> SphereEncoder:
    """Return the module of :func:`pack_module`, on the CPU and in evaluation mode."""
    arguments = unpack_tensors(packed["prepare_arguments"])
    prepare = _PREPARES[packed["prepare"]](**arguments, dtype=PRECISIONS[packed["precision"]])
    spec = packed.get("spec")
    if spec is None:
        body = packed["module"]
    else:
        with torch.device("meta"):  # draws no random numbers and allocates nothing
            body = spec.build(prepare.output_shape(packed["input_shape"]), packed["n_components"])
        weights = {name: torch.from_numpy(v.copy()) for name, v in packed["weights"].items()}
        body.load_state_dict(weights, assign=True)
    encoder = SphereEncoder(prepare, body, packed["input_shape"], packed["n_components"], spec)
    return encoder.eval()
