"""What the estimators' parameters may be, and what their strings stand for."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any

import torch
from sklearn.base import BaseEstimator

from skhug._device import PRECISIONS
from skhug._guesses import did_you_mean
from skhug._sklearn import HasMethods, Interval, StrOptions
from skhug.checkpoint import Checkpoint
from skhug.encoders import MLP, ConvNet, ResNet, Vectors
from skhug.losses import MGD, MHE, MHS, Uniformity
from skhug.optimizers import SCHEDULES
from skhug.optimizers._specifications import NAMED
from skhug.proxies import Learned, Nested

if TYPE_CHECKING:
    from skhug.metrics._class_statistics import Classwise

# What a plain string stands for, parameter by parameter.
SHORTHANDS: dict[str, dict[str, type]] = {
    "encoder": {"mlp": MLP, "convnet": ConvNet, "resnet": ResNet, "vectors": Vectors},
    "uniformity": {"mhe": MHE, "mhs": MHS, "mgd": MGD},
    "proxies": {"learned": Learned},
    "optimizer": NAMED,
}


# What "auto" stands for: for rows of features, for images, for vectors that a network made.
_AUTOMATIC = (MLP, ConvNet, Vectors)


def expand(name: str, value: Any) -> Any:
    """Return the object that a parameter's string stands for; anything else as it is."""
    if isinstance(value, str) and value in SHORTHANDS.get(name, {}):
        return SHORTHANDS[name][value]()
    return value


def expand_encoder(value: Any, row_shape: tuple[int, ...], vectors: Callable[[], bool]) -> Any:
    """Return the object that an encoder's string stands for where rows have this shape.

    ``vectors`` says whether flat rows are what a network made of something, if it is asked.
    """
    if isinstance(value, str) and value == "auto":
        of_rows, of_images, of_vectors = _AUTOMATIC
        if len(row_shape) > 1:
            return of_images()
        return of_vectors() if vectors() else of_rows()
    return expand("encoder", value)


def takes_gaps(value: Any) -> bool:
    """Whether an encoder takes rows with gaps, as far as its name says."""
    return not (value == "vectors" if isinstance(value, str) else isinstance(value, Vectors))


def expand_to_set(name: str, value: Any, nested: set[str]) -> Any:
    """Return the object that a parameter's string stands for, for setting nested parameters.

    An "auto" encoder becomes the first of what it may stand for that has all of them.

    Raises
    ------
    ValueError
        If the string stands for nothing that has parameters, and another object has these.
    """
    if name == "encoder" and isinstance(value, str) and value == "auto":
        able = (kind for kind in _AUTOMATIC if nested <= kind().get_params().keys())
        return next(able, _AUTOMATIC[0])()
    left = isinstance(value, str) and value == "auto"
    expanded = expand(name, USUAL.get(name, value) if left else value)
    if isinstance(expanded, str):
        kinds = (kind for kind in SHORTHANDS[name].values() if nested <= kind().get_params().keys())
        for kind in kinds:
            given = ", ".join(f"{inner}=..." for inner in sorted(nested))
            raise ValueError(
                f"{name}={value!r} has no parameters: pass {name}={kind.__name__}({given})."
            )
    return expanded


# Names of measures that stand for several.
MEASURE_GROUPS = {
    "nc": (
        "within_class_variability",
        "cdnv",
        "equinorm",
        "equiangularity",
        "self_duality",
        "ncc_agreement",
    ),
}
# Columns of history_ that training fills.
_RESERVED = ("epoch", "loss", "between", "within", "validation_score", "left_out_score")


def expand_track(track: Any) -> dict[str, Callable[[Classwise], float]]:
    """Return the measures that a ``track`` parameter stands for, by the name of their column.

    Parameters
    ----------
    track : str, callable or sequence of these
        Names of measures or groups; callables take ``(embeddings, labels, proxies)``, tensors.

    Raises
    ------
    ValueError
        If a name is unknown, or two measures have the same.
    """
    functions: dict[str, Callable[[Classwise], float]] = {}
    for item in [track] if isinstance(track, str) or callable(track) else track:
        if callable(item):
            name = getattr(item, "__name__", type(item).__name__)
            if name in functions:
                raise ValueError(f"track has two measures called {name!r}: name them apart.")
            if name in _RESERVED:
                raise ValueError(
                    f"track has a function called {name!r}, as history_ calls a column of its "
                    "own: rename it."
                )
            functions[name] = _of_tensors(item)
        else:
            functions |= {name: _measure(name) for name in MEASURE_GROUPS.get(item, (item,))}
    return functions


def _measure(name: str) -> Callable[[Classwise], float]:
    from skhug.metrics._measures import GEOMETRY  # a fit that tracks nothing needs no metrics

    if name not in GEOMETRY:
        known = ", ".join([*MEASURE_GROUPS, *GEOMETRY])
        meant = did_you_mean(name, [*MEASURE_GROUPS, *GEOMETRY])
        raise ValueError(
            f"track has {name!r}: pass callables, or names among {known}. {meant}".rstrip()
        )
    return GEOMETRY[name].value


def _of_tensors(function: Callable[..., Any]) -> Callable[[Classwise], float]:
    return lambda x: float(function(x.embeddings, x.codes, x.proxies))


def check_instances(parameters: dict[str, Any]) -> None:
    """Refuse a class where its instance is meant; a class of torch.optim is a factory.

    Raises
    ------
    TypeError
        With what to pass.
    """
    for name, value in parameters.items():
        if isinstance(value, type) and issubclass(value, BaseEstimator):
            raise TypeError(f"{name} is the class {value.__name__}: pass {value.__name__}().")


# Lines of users' code that were told of an alpha without effect. Python's own filter forgets them
# whenever a library changes the filters: a search of 12 cells and 5 folds would say it 60 times.
_told: set[tuple[str, int]] = set()
# Packages between a user's code and a fit.
_BETWEEN = {"skhug", "sklearn", "joblib"}


def warn_of_idle_alpha(alpha: float | str, proxies: Any) -> None:
    """Warn, once for a line of the user's code, where ``alpha`` was set and acts on nothing.

    ``proxies`` are as the settings have them.

    Warns
    -----
    UserWarning
        If it is not the default and the proxies are fixed.
    """
    if alpha in ("auto", USUAL["alpha"]) or isinstance(proxies, Learned):
        return
    place = _place_in_users_code()
    if place in _told:
        return
    message = (
        "alpha has no effect: it weighs how far apart learned proxies are kept, and "
        "proxies='optimal' or an array are fixed. Leave alpha at its default, or set "
        "proxies='learned'."
    )
    warnings.warn_explicit(message, UserWarning, *place)
    _told.add(place)


def _place_in_users_code() -> tuple[str, int]:
    """File and line from which a fit or the search around it was called."""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in _BETWEEN:
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno


# What "auto" is for all encoders that have no values of their own.
USUAL: dict[str, Any] = {
    "uniformity": "mhe",
    "alpha": 1.0,
    "proxies": "optimal",
    "learning_rate": 3e-3,
}


def check_numbers(dtype: torch.dtype, **numbers: float | None) -> None:
    """Refuse parameters that are no numbers in the dtype of the computation.

    Raises
    ------
    ValueError
        If one is too large.
    """
    most = torch.finfo(dtype).max
    for name, value in numbers.items():
        if value is not None and value > most:
            raise ValueError(
                f"{name}={value!r} is infinite in {str(dtype).removeprefix('torch.')}: lower it, "
                f"far below {most:.2g}."
            )


def _at_least(low: int, kind: type = Integral) -> Interval:
    return Interval(kind, low, None, closed="left")


CONSTRAINTS: dict[str, list[Any]] = {
    "encoder": [StrOptions({"auto", *SHORTHANDS["encoder"]}), HasMethods("build"), callable],
    "n_components": [_at_least(1), None],
    "uniformity": [StrOptions({"auto", *SHORTHANDS["uniformity"]}), Uniformity],
    "alpha": [_at_least(0, Real), StrOptions({"auto"})],
    "beta": [Interval(Real, 0, None, closed="neither")],
    "proxies": [StrOptions({"auto", "optimal", "learned"}), Learned, Nested, "array-like"],
    "optimizer": [StrOptions(set(NAMED)), HasMethods(["init", "step"]), callable],
    "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    "schedule": [StrOptions({"auto", *SCHEDULES}), callable],
    "weight_decay": [_at_least(0, Real), None],
    "batch_size": [_at_least(1), StrOptions({"auto"})],
    "max_epochs": [_at_least(1), StrOptions({"auto"})],
    "early_stopping": ["boolean"],
    "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
    "n_iter_no_change": [_at_least(1)],
    "tol": [_at_least(0, Real)],
    "track": [str, list, tuple, callable],
    "class_weight": [StrOptions({"balanced"}), dict, None],
    "batch_sampler": [HasMethods("bind"), None],
    "augment": [callable, None],
    "warm_start": ["boolean"],
    "checkpoint": [str, os.PathLike, Checkpoint, None],
    "precision": [StrOptions({"auto", *PRECISIONS})],
    "compile": ["boolean"],
    "device": [str, torch.device],
    "random_state": ["random_state"],
    "verbose": ["verbose"],
}
