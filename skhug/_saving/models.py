"""Fitted estimators as files that hold no code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import nn

from skhug._data.prepare import Prepare
from skhug._model.sphere_encoder import SphereEncoder
from skhug._saving.archive import pack, replace_file
from skhug._saving.json_codec import NotPlainError, decode, encode
from skhug._saving.modules import (
    full_state,
    load_full_state,
    pack_frame,
    rebuild,
    rebuild_encoder,
    unpack_prepare,
)
from skhug.encoders import Encoder
from skhug.encoders._encoder import build_body
from skhug.encoders._probing import evaluate

__all__ = ["KIND", "estimator_of", "save_model", "tree_of", "written"]

KIND = "model"
# Saved beside what ends in an underscore: the state of partial_fit, and what set_output set.
_MORE_ATTRIBUTES = ("_progress", "_sklearn_output_config")
# Of one machine, and what a stranger's file should not choose.
_NOT_SAVED = ("checkpoint",)
# How far a module's output may be from that of the saved one, of its largest: other machines and
# versions of torch round differently.
_PROBE_TOLERANCE = 1e-2


def save_model(estimator: Any, path: str | os.PathLike) -> None:
    """Write a fitted estimator to a file; see the estimators' ``save``."""
    check_is_fitted(estimator)
    if not type(estimator).__module__.startswith("skhug."):
        raise TypeError(
            f"save is for skhug's own classes: load could not make a {type(estimator).__name__}. "
            "Use pickle."
        )
    arrays: dict[str, np.ndarray] = {}
    tree = tree_of(estimator, arrays)
    replace_file(Path(path), pack(KIND, tree, arrays))


def tree_of(estimator: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return a fitted estimator as JSON holds it, its arrays put aside by name."""
    return {
        "class": type(estimator).__name__,
        "parameters": _written_parameters(estimator, arrays),
        "attributes": {
            name: written(f"the attribute {name}", value, arrays)
            for name, value in vars(estimator).items()
            if _is_saved(name)
        },
        "module": written("module_", _module_tree(estimator.module_), arrays),
    }


def _is_saved(name: str) -> bool:
    fitted = name.endswith("_") and not name.startswith("_") and name != "module_"
    return fitted or name in _MORE_ATTRIBUTES


def _written_parameters(estimator: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    parameters = estimator.get_params(deep=False)
    for name in _NOT_SAVED:
        del parameters[name]
    if estimator.module_.spec is None:  # the caller of load brings it
        del parameters["encoder"]
    tree = {}
    for name, value in parameters.items():
        instead = f" Or set_params({name}=...) to a default and pass {name}= to load."
        tree[name] = written(f"the parameter {name}", value, arrays, instead)
    return tree


def written(what: str, value: Any, arrays: dict[str, np.ndarray], instead: str = "") -> Any:
    """Return a value as JSON holds it, its arrays put aside by name.

    Raises
    ------
    ValueError
        If no file without code can hold it, with its name and what to do.
    """
    try:
        return encode(value, arrays)
    except NotPlainError as error:
        raise ValueError(
            f"{what} cannot be saved: {error}, which no file without code can hold. Use "
            f"pickle.{instead}"
        ) from None


def _module_tree(encoder: SphereEncoder) -> dict[str, Any]:
    return {
        **pack_frame(encoder),
        "spec": encoder.spec,
        "body": type(encoder.body).__name__,
        "state": full_state(encoder.body),
        "probe": _probe(encoder.prepare, encoder.body, encoder.input_shape),
    }


def _probe(prepare: Prepare, body: nn.Module, input_shape: tuple[int, ...]) -> torch.Tensor | None:
    """Return what a body makes of fixed rows of zeros and ones, None if that says nothing.

    Two modules with weights of the same names and shapes may compute different things.
    """
    generator = torch.Generator().manual_seed(0)
    shape = (4, *prepare.output_shape(input_shape))
    like = next(iter(full_state(body).values()), torch.zeros(()))
    rows = torch.randint(2, shape, generator=generator).to(like.device, prepare.dtype)
    try:
        probe, again = evaluate(body, rows), evaluate(body, rows)
    except Exception:  # a user's module may take no such rows
        return None
    return probe if torch.equal(probe, again) else None


def estimator_of(
    path: str | os.PathLike,
    header: Any,
    arrays: dict[str, np.ndarray],
    kinds: Mapping[str, type],
    given: dict[str, Any],
) -> Any:
    """Return the estimator of :func:`tree_of`; see :func:`skhug.load`.

    Raises
    ------
    ValueError
        If it is none, with the file's path.
    """
    try:
        packed = decode(header["module"], arrays)
        prepare, spec, state = unpack_prepare(packed), packed["spec"], packed["state"]
        body = None if spec is None else rebuild(spec, prepare, packed, state)
        estimator = _estimator(header, arrays, kinds, packed["n_components"])
    except Exception as error:  # a stranger's content may be anything
        raise ValueError(
            f"{os.fspath(path)!r} cannot be loaded: it holds no model that this version of skhug "
            f"knows ({type(error).__name__}: {error}). Save the model again."
        ) from None
    if body is None:
        body = _supplied_body(given.get("encoder"), packed, prepare)
    _check_probe(prepare, body, packed)
    estimator.set_params(**given)
    estimator.module_ = rebuild_encoder(prepare, body, packed, spec)
    return estimator


def _estimator(
    header: Any, arrays: dict[str, np.ndarray], kinds: Mapping[str, type], n_components: int
) -> Any:
    """Return the estimator of a header, all but its module."""
    parameters, attributes = (
        {name: decode(value, arrays) for name, value in header[part].items()}
        for part in ("parameters", "attributes")
    )
    foreign = [name for name in attributes if not _is_saved(name)]
    shape, expected = attributes["proxies_"].shape, (len(attributes["classes_"]), n_components)
    if foreign or shape != expected:
        raise ValueError(f"attributes {foreign}, proxies of shape {shape}, not {expected}")
    estimator = kinds[header["class"]](**parameters)
    vars(estimator).update(attributes)
    return estimator


def _supplied_body(encoder: Any, packed: dict[str, Any], prepare: Prepare) -> nn.Module:
    """Return the body that the caller's encoder makes, with the weights of the file."""
    name, width = packed["body"], packed["n_components"]
    if not (isinstance(encoder, Encoder) or callable(encoder)):
        raise ValueError(
            f"The model's encoder is a module of its own, {name}, and the file holds its weights "
            "alone: pass load(path, encoder=...) what was passed to the estimator, such as the "
            "module with any weights."
        )
    with torch.random.fork_rng([]):  # its first weights are of no consequence
        body = build_body(encoder, prepare.output_shape(packed["input_shape"]), width)
    body = body.to(device="cpu", dtype=prepare.dtype)
    try:
        load_full_state(body, packed["state"])
    except RuntimeError as error:
        raise ValueError(
            f"encoder={type(encoder).__name__} does not take the weights in the file, those of "
            f"{name}: pass what was passed to the estimator that was saved. {error}"
        ) from None
    return body


def _check_probe(prepare: Prepare, body: nn.Module, packed: dict[str, Any]) -> None:
    expected = packed["probe"]
    if expected is None:
        return
    probe = _probe(prepare, body, packed["input_shape"])
    alike = probe is not None and probe.shape == expected.shape
    if not alike or (probe - expected).abs().max() > _PROBE_TOLERANCE * expected.abs().max():
        raise ValueError(
            f"The encoder takes the weights in the file and computes something else with them "
            f"than {packed['body']} did when the model was saved: pass what was passed to the "
            "estimator that was saved."
        )
