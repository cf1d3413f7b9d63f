"""What skl2onnx has to be told, beside the estimator."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

__all__ = ["wishes_for_scores"]


def wishes_for_scores(model: Any, kind: type) -> dict[int, dict[str, bool]]:
    """Return options that ask the last steps of inner pipelines for scores.

    A calibration, and a stack of decisions, ask what they hold for raw scores; a pipeline accepts
    the wish, but skl2onnx does not hand it on.

    Parameters
    ----------
    model : estimator
        Fitted.
    kind : type
        Of the last steps that are asked.
    """
    options = {}
    for found in _estimators(model):
        for member in _asked(found):
            if not hasattr(member, "steps"):
                continue  # asked by skl2onnx itself
            while hasattr(member, "steps"):
                member = member.steps[-1][1]
            if isinstance(member, kind):
                options[id(member)] = {"raw_scores": True, "zipmap": False}
    return options


def _asked(model: Any) -> list[Any]:
    """Return the fitted estimators whose scores a meta-estimator computes with."""
    calibrated = [pair.estimator for pair in getattr(model, "calibrated_classifiers_", [])]
    members = zip(
        getattr(model, "estimators_", []), getattr(model, "stack_method_", []), strict=False
    )
    return calibrated + [member for member, method in members if method == "decision_function"]


def _estimators(value: Any) -> Iterator[Any]:
    """Yield an estimator and those that it holds: steps, members, calibrated classifiers."""
    if isinstance(value, (list, tuple)):
        for item in value:
            yield from _estimators(item)
    elif hasattr(value, "fit") or hasattr(value, "calibrators"):
        yield value
        for name, held in vars(value).items():
            if name in ("steps", "estimator") or name.endswith("_"):
                yield from _estimators(held)
