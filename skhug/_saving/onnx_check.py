"""Whether a graph decides as its estimator does: run before it is written."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["TOLERANCE", "disagreement", "import_optional", "runtime_outputs", "write_graph"]

# What float32 may make of a probability, a cosine or an embedding; wrong graphs are far off.
TOLERANCE = 1e-3
# What rounding may decide between two labels, of scores of 1.
_TIE = 1e-5
# Names of a graph's outputs, and the method that each stands for.
_METHODS = {
    "probabilities": "predict_proba",
    "decision": "decision_function",
    "embedding": "transform",
}


def import_optional(name: str) -> Any:
    """Import a package of the extra ``onnx``; where it is missing, say how to get it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImportError(
            f"Exporting to ONNX needs {name}: pip install 'skhug[onnx]'. Importing it said: {error}"
        ) from error


def write_graph(model: Any, path: Any) -> None:
    """Write a graph to one file, which replaces what was there only when it is complete."""
    path = Path(path)
    partial = path.with_name(f"{path.name}.partial")
    import_optional("onnx").save(model, partial)
    partial.replace(path)


def runtime_outputs(model: Any, inputs: dict[str, np.ndarray]) -> dict[str, Any]:
    """Return a graph's outputs by name, as onnxruntime computes them.

    Raises
    ------
    ValueError
        If onnxruntime cannot load or run the graph.
    """
    runtime = import_optional("onnxruntime")
    options = runtime.SessionOptions()
    options.log_severity_level = 4  # it prints what it raises
    options.intra_op_num_threads = 1
    try:
        session = runtime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        taken = {put.name: inputs[put.name] for put in session.get_inputs()}
        outputs = session.run(None, taken)
    except Exception as error:  # the runtime has an exception for every kind of failure
        raise ValueError(f"onnxruntime cannot run the graph: {error}") from error
    return dict(zip([put.name for put in session.get_outputs()], outputs, strict=True))


def disagreement(estimator: Any, X: Any, outputs: dict[str, Any]) -> str | None:
    """Return what is different between a graph's outputs and the estimator's, None if nothing.

    A label counts as right where its score is the largest but for rounding.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    X : array-like of shape (n_samples, n_features)
        The rows that the outputs are of.
    outputs : dict of str to array
        By name, in the graph's order: the label first, of what predicts.
    """
    if not hasattr(estimator, "predict"):
        return _numbers_differ("transform", estimator.transform, X, next(iter(outputs.values())))
    (_, label), *others = outputs.items()
    for name, found in others:
        method = _METHODS.get(name, name)
        if name == "probabilities" and not hasattr(estimator, method):
            method = "decision_function"
        if hasattr(estimator, method):
            differs = _numbers_differ(method, getattr(estimator, method), X, found)
            if differs:
                return differs
    return _labels_differ(estimator, X, label)


def _numbers_differ(name: str, method: Callable, X: Any, found: Any) -> str | None:
    expected, found = method(X), found
    if isinstance(expected, list):  # an array for each output
        expected, found = np.concatenate(expected, axis=1), np.concatenate([*found], axis=1)
    expected = np.asarray(expected, dtype=np.float64)
    found = np.asarray(found, dtype=np.float64)
    if expected.ndim == 1 and found.shape == (len(expected), 2):
        found = found[:, 1]  # two classes: minus the score, and the score
    if expected.ndim == 1 and found.shape == (len(expected), 1):
        found = found[:, 0]
    if expected.shape != found.shape:
        return f"{name} has shape {found.shape} instead of {expected.shape}"
    off = np.abs(found - expected) / np.maximum(np.abs(expected), 1)
    off[np.isnan(found) & np.isnan(expected)] = 0
    worst = np.unravel_index(np.argmax(np.nan_to_num(off, nan=np.inf)), off.shape)
    if off[worst] <= TOLERANCE:
        return None
    return f"{name} gives {found[worst]:.6g} instead of {expected[worst]:.6g} for row {worst[0]}"


def _labels_differ(estimator: Any, X: Any, found: Any) -> str | None:
    expected = np.asarray(estimator.predict(X))
    found = np.asarray(found).reshape(expected.shape)
    if expected.dtype.kind == "f" and not hasattr(estimator, "classes_"):
        return _numbers_differ("predict", estimator.predict, X, found)
    kinds = [(array.dtype.kind in "OSU") for array in (expected, found)]
    wrong = found.astype(str) != expected.astype(str) if all(kinds) else found != expected
    wrong = np.asarray(wrong) & ~_tied(estimator, X, found)
    if not wrong.any():
        return None
    row = int(np.argmax(wrong.reshape(len(wrong), -1).any(axis=1)))
    return (
        f"predict differs in {wrong.mean():.1%} of the labels, {found[row]!r} instead of "
        f"{expected[row]!r} for row {row}"
    )


def _tied(estimator: Any, X: Any, found: np.ndarray) -> np.ndarray:
    """Return where a label's score is the largest but for rounding."""
    classes, score = getattr(estimator, "classes_", None), _scores(estimator)
    none = np.zeros(found.shape, bool)
    if not isinstance(classes, np.ndarray) or found.ndim > 1 or score is None:
        return none
    scores = np.asarray(score(X))
    if scores.ndim == 1:
        scores = np.stack([-scores, scores], axis=1)
    if scores.shape != (len(found), len(classes)):
        return none
    own = scores[found[:, None] == classes[None, :]] if np.isin(found, classes).all() else None
    return none if own is None else own >= scores.max(axis=1) - _TIE * np.maximum(np.abs(own), 1)


def _scores(estimator: Any) -> Callable | None:
    """Return what a classifier decides by; a threshold of its own is no argmax."""
    if hasattr(estimator, "threshold") or hasattr(estimator, "best_threshold_"):
        return None
    names = ("decision_function", "predict_proba")
    return next((getattr(estimator, name) for name in names if hasattr(estimator, name)), None)
