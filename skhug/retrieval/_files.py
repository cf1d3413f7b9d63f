"""Galleries as files that hold no code."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from skhug._saving.archive import pack, replace_file
from skhug._saving.json_codec import decode
from skhug._saving.models import KIND, estimator_of, tree_of, written
from skhug.retrieval._indexes import ExactIndex, QuantizedIndex
from skhug.retrieval._libraries import FaissIndex, UsearchIndex
from skhug.retrieval._rows import restored

__all__ = ["gallery_of", "save_gallery"]

_INDEXES = {kind.__name__: kind for kind in (ExactIndex, FaissIndex, QuantizedIndex, UsearchIndex)}
_ATTRIBUTES = ("classes_", "threshold_", "calibration_", "_codes", "_next_id", "_n_learned")
_IF_THERE = ("n_features_in_", "feature_names_in_")


def save_gallery(gallery: Any, path: str | os.PathLike) -> None:
    """Write a fitted gallery to a file; see its ``save``."""
    check_is_fitted(gallery)
    gallery._validate_params()  # set amiss since fit, they would make a file that load refuses
    if not type(gallery).__module__.startswith("skhug."):
        raise TypeError(
            f"save is for skhug's own classes: load could not make a {type(gallery).__name__}. "
            "Use pickle."
        )
    arrays: dict[str, np.ndarray] = {}
    parameters = gallery.get_params(deep=False)
    index = parameters.pop("index")
    del parameters["embedder"]
    names = [*_ATTRIBUTES, *(name for name in _IF_THERE if hasattr(gallery, name))]
    tree = {
        "class": "Gallery",
        "parameters": _all_written("the parameter", parameters, arrays),
        "attributes": _all_written(
            "the attribute", {name: getattr(gallery, name) for name in names}, arrays
        ),
        "index": index if isinstance(index, str) else _index_tree(index, arrays),
        "fitted_index": _index_tree(gallery.index_, arrays),
        "embedder": _embedder_tree(gallery.embedder_, arrays),
        "rows": [written("the rows", column.array, arrays) for column in gallery._rows],
    }
    replace_file(Path(path), pack(KIND, tree, arrays))


def _all_written(
    what: str, values: dict[str, Any], arrays: dict[str, np.ndarray]
) -> dict[str, Any]:
    return {name: written(f"{what} {name}", value, arrays) for name, value in values.items()}


def _index_tree(index: Any, arrays: dict[str, np.ndarray]) -> list[Any]:
    name = type(index).__name__
    if _INDEXES.get(name) is not type(index):
        raise ValueError(
            f"The index {index!r} is none of skhug's own, and no file without code can hold it: "
            "use pickle or joblib."
        )
    return [name, _all_written("the index's", index.get_params(deep=False), arrays)]


def _embedder_tree(embedder: Any, arrays: dict[str, np.ndarray]) -> dict[str, Any] | None:
    """Return an embedder of this library whole, of any other its name alone."""
    if embedder is None:
        return None
    frozen = isinstance(embedder, FrozenEstimator)
    inner = embedder.estimator if frozen else embedder
    ours = type(inner).__module__.startswith("skhug.") and hasattr(inner, "module_")
    if not ours or inner.module_.spec is None:
        return {"name": type(inner).__name__}
    return {"frozen": frozen, "tree": tree_of(inner, arrays)}


def gallery_of(
    path: str | os.PathLike,
    header: Any,
    arrays: dict[str, np.ndarray],
    kinds: Mapping[str, type],
    given: dict[str, Any],
) -> Any:
    """Return the gallery of a file; see :func:`skhug.load`.

    Raises
    ------
    ValueError
        If it holds none, or its embedder has to be passed.
    """
    embedder = _embedder_of(path, header, arrays, kinds, given)
    try:
        gallery, rows = _gallery_of(header, arrays, kinds["Gallery"])
    except Exception as error:  # a stranger's content may be anything
        raise ValueError(
            f"{os.fspath(path)!r} cannot be loaded: it holds no gallery that this version of skhug "
            f"knows ({type(error).__name__}: {error}). Save the gallery again."
        ) from None
    gallery.set_params(**{**given, "embedder": embedder})
    vars(gallery).update(embedder_=embedder, **restored(rows, gallery.storage))
    return gallery


def _embedder_of(
    path: str | os.PathLike,
    header: Any,
    arrays: dict[str, np.ndarray],
    kinds: Mapping[str, type],
    given: dict[str, Any],
) -> Any:
    """Return the fitted embedder: the caller's, or that of the file."""
    if given.get("embedder") is not None:
        check_is_fitted(given["embedder"])
        return given["embedder"]
    packed = header.get("embedder")
    if packed is None:
        return None
    if not (isinstance(packed, dict) and "tree" in packed):
        name = packed.get("name") if isinstance(packed, dict) else packed
        raise ValueError(
            f"The gallery's embedder, a {name}, is not in the file, which holds no code: pass the "
            "fitted one, load(path, embedder=...). pickle and joblib keep both."
        )
    inner = estimator_of(path, packed["tree"], arrays, kinds, {})
    return FrozenEstimator(inner) if packed.get("frozen") is True else inner


def _gallery_of(
    header: Any, arrays: dict[str, np.ndarray], kind: type
) -> tuple[Any, list[np.ndarray]]:
    """Return the gallery of a header without embedder and rows, and its rows."""
    parameters, attributes = (
        {name: decode(value, arrays) for name, value in header[part].items()}
        for part in ("parameters", "attributes")
    )
    index = header["index"]
    index = index if isinstance(index, str) else _index_of(index, arrays)
    gallery = kind(index=index, **parameters)
    gallery._validate_params()
    foreign = set(attributes) - {*_ATTRIBUTES, *_IF_THERE}
    rows = [decode(column, arrays) for column in header["rows"]]
    if foreign or not set(attributes) >= set(_ATTRIBUTES):
        raise ValueError(f"attributes {sorted(attributes)}")
    _check_rows(rows, attributes)
    vars(gallery).update(attributes, index_=_index_of(header["fitted_index"], arrays))
    return gallery, rows


def _index_of(packed: Any, arrays: dict[str, np.ndarray]) -> Any:
    name, parameters = packed
    return _INDEXES[name](**{key: decode(value, arrays) for key, value in parameters.items()})


def _check_rows(rows: list[np.ndarray], attributes: dict[str, Any]) -> None:
    """Refuse rows that do not belong together, which searches would trip over."""
    vectors, codes, ids = rows
    known, classes = attributes["_codes"], attributes["classes_"]
    sound = (
        vectors.ndim == 2
        and vectors.dtype == np.float32
        and bool(np.isfinite(vectors).all())
        and codes.shape == ids.shape == (len(vectors),)
        and codes.dtype == known.dtype == np.int32
        and known.shape == classes.shape
        and np.array_equal(np.sort(known), np.arange(len(known)))
        and bool(np.isin(codes, known).all())
        and ids.dtype.kind in "iU"
        and 0 <= attributes["_n_learned"] <= len(vectors)
    )
    if not sound:
        raise ValueError("rows and classes do not fit one another")
