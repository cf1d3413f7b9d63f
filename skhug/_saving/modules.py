"""Trained modules as plain NumPy arrays: for pickle, joblib and skops, for files, checkpoints."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from torch import nn

from skhug._data.prepare import Cast, Fill, NormalizeImages, Prepare, Standardize, Whiten
from skhug._data.sparse_prepare import SparseCast, SparseScale
from skhug._device import PRECISIONS, to_numpy
from skhug._model.sphere_encoder import SphereEncoder
from skhug._saving.json_codec import map_leaves

_PREPARES = {
    kind.__name__: kind
    for kind in (Cast, Fill, NormalizeImages, SparseCast, SparseScale, Standardize, Whiten)
}


def pack_module(encoder: SphereEncoder) -> dict[str, Any]:
    """Return a module as its specification and NumPy weights, or as itself where it has none.

    What was trained on an accelerator opens on a machine without one.
    """
    packed = pack_frame(encoder)
    if encoder.spec is None:  # the user's own module: only pickle knows how to make it
        return {**packed, "module": copy.deepcopy(encoder.body).cpu()}
    weights = pack_tensors(dict(encoder.body.state_dict()))
    return {**packed, "spec": clone(encoder.spec), "weights": weights}


def unpack_module(packed: dict[str, Any]) -> SphereEncoder:
    """Return the module of :func:`pack_module`, on the CPU and in evaluation mode."""
    prepare, spec = unpack_prepare(packed), packed.get("spec")
    if spec is None:
        body = packed["module"]
    else:
        weights = unpack_tensors(packed["weights"])
        body = rebuild(spec, prepare, packed, weights)
    return rebuild_encoder(prepare, body, packed, spec)


def pack_frame(encoder: SphereEncoder) -> dict[str, Any]:
    """Return all of a module that is not its body."""
    return {
        "input_shape": encoder.input_shape,
        "n_components": encoder.n_components,
        "ball_softness": encoder.softness,
        "precision": str(encoder.prepare.dtype).removeprefix("torch."),
        "prepare": type(encoder.prepare).__name__,
        "prepare_arguments": pack_tensors(encoder.prepare.arguments()),
    }


def unpack_prepare(packed: dict[str, Any]) -> Prepare:
    """Return the input preparation of :func:`pack_frame`."""
    arguments = unpack_tensors(packed["prepare_arguments"])
    return _PREPARES[packed["prepare"]](**arguments, dtype=PRECISIONS[packed["precision"]])


def rebuild(
    spec: Any, prepare: Prepare, packed: dict[str, Any], weights: dict[str, Any]
) -> nn.Module:
    """Return a built-in encoder's body with these weights; all of its state is among them."""
    with torch.device("meta"):  # draws no random numbers and allocates nothing
        body = spec.build(prepare.output_shape(packed["input_shape"]), packed["n_components"])
    body.load_state_dict(weights, assign=True)
    return body


def rebuild_encoder(
    prepare: Prepare, body: nn.Module, packed: dict[str, Any], spec: Any
) -> SphereEncoder:
    """Return a body in the frame of :func:`pack_frame`, in evaluation mode."""
    # Models of older files know the sphere alone, whatever they were trained on.
    shape, softness = packed["input_shape"], packed.get("ball_softness", 0.0)
    return SphereEncoder(prepare, body, shape, packed["n_components"], spec, softness).eval()


def pack_tensors(tree: Any) -> Any:
    """Return nested dicts, lists and tuples with every tensor turned into an array."""
    return map_leaves(tree, torch.Tensor, to_numpy)


def unpack_tensors(tree: Any) -> Any:
    """Undo :func:`pack_tensors`."""
    return map_leaves(tree, np.ndarray, lambda array: torch.from_numpy(array.copy()))


def full_state(module: nn.Module) -> dict[str, Any]:
    """Return parameters and all buffers by name, also those that ``state_dict`` leaves out."""
    state = dict(module.state_dict())
    return {**state, **{name: b for name, b in module.named_buffers() if name not in state}}


def load_full_state(module: nn.Module, state: dict[str, Any]) -> None:
    """Put :func:`full_state` back; parameters stay where they are in memory.

    Raises
    ------
    RuntimeError
        If names or shapes are not those of the module.
    """
    kept = module.state_dict().keys()
    left_out = [name for name, _ in module.named_buffers() if name not in kept]
    missing = [name for name in left_out if name not in state]
    if missing:
        raise RuntimeError(f"Missing buffers: {', '.join(missing)}")
    for name in left_out:
        parent, _, leaf = name.rpartition(".")
        buffer = module.get_buffer(name)
        setattr(module.get_submodule(parent), leaf, state[name].to(buffer.device))
    module.load_state_dict({n: value for n, value in state.items() if n not in left_out})
