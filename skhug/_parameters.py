"""The estimators' parameters: what is allowed, and their documentation."""

from __future__ import annotations

import math
import os
import sys
import warnings
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skhug._data.validation import HasMethods, Interval, StrOptions
from skhug._device import PRECISIONS
from skhug.checkpoint import Checkpoint
from skhug.encoders import MLP, ConvNet, ResNet
from skhug.losses import MGD, MHE, MHS, Uniformity
from skhug.optimizers import NAMED, SCHEDULES, default_weight_decay
from skhug.proxies import Learned

# What a plain string stands for, parameter by parameter.
SHORTHANDS: dict[str, dict[str, type]] = {
    "encoder": {"mlp": MLP, "convnet": ConvNet, "resnet": ResNet},
    "uniformity": {"mhe": MHE, "mhs": MHS, "mgd": MGD},
    "proxies": {"learned": Learned},
    "optimizer": NAMED,
}


# What "auto" stands for: for rows of features, for images.
_AUTOMATIC = (MLP, ConvNet)


def expand(name: str, value: Any) -> Any:
    """Return the object that a parameter's string stands for; anything else as it is."""
    if isinstance(value, str) and value in SHORTHANDS.get(name, {}):
        return SHORTHANDS[name][value]()
    return value


def expand_encoder(value: Any, row_shape: tuple[int, ...]) -> Any:
    """Return the object that an encoder's string stands for where rows have this shape."""
    if isinstance(value, str) and value == "auto":
        rows, images = _AUTOMATIC
        return rows() if len(row_shape) == 1 else images()
    return expand("encoder", value)


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
    expanded = expand(name, value)
    if isinstance(expanded, str):
        kinds = (kind for kind in SHORTHANDS[name].values() if nested <= kind().get_params().keys())
        for kind in kinds:
            given = ", ".join(f"{inner}=..." for inner in sorted(nested))
            raise ValueError(
                f"{name}={value!r} has no parameters: pass {name}={kind.__name__}({given})."
            )
    return expanded


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


def warn_of_idle_alpha(estimator: Any) -> None:
    """Warn, once for a line of the user's code, where ``alpha`` was set and acts on nothing.

    Warns
    -----
    UserWarning
        If it is not the default and the proxies are fixed.
    """
    if estimator.alpha == ALPHA or isinstance(expand("proxies", estimator.proxies), Learned):
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


# Where it is this, nobody has set it.
ALPHA = 1.0
# Steps of training that small data gets, whatever its number of epochs.
STEPS = 2000
EPOCHS = (20, 200)
# Features below which a flat row has few, and the share of a weight decay that it gets then.
FEW_FEATURES = 256
DECAY_OF_FEW = 0.25
BATCH = (32, 256)
# Numbers that proxies may have by default before the simplex is given up, and the components
# that they keep however many classes there are.
PROXY_NUMBERS = 2**22
FEWEST_OF_MANY = 128


def default_batch_size(n: int) -> int:
    """Rows a batch: about a 128th of the data, a power of two between 32 and 256."""
    return int(np.clip(2 ** round(math.log2(max(n / 128, 1))), *BATCH))


def default_max_epochs(steps_per_epoch: int) -> int:
    """Epochs for about 2,000 steps, between 20 and 200.

    It depends on the number of steps and not of rows: integer weights and repeated rows then
    train alike.
    """
    return int(np.clip(math.ceil(STEPS / steps_per_epoch), *EPOCHS))


def default_decay(optimizer: Any, input_shape: tuple[int, ...]) -> float | None:
    """Return an optimizer's own weight decay, or a share of it where there are few features.

    A strong decay keeps a network close to a linear map. That is a good prior for the hundreds
    of correlated values of an image, and a bad one for a few features, where the boundaries
    between classes are curved.
    """
    decay = default_weight_decay(optimizer)
    few = len(input_shape) == 1 and input_shape[0] < FEW_FEATURES
    return decay * DECAY_OF_FEW if decay is not None and few else decay


def default_components(n_classes: int) -> int:
    """Components in which the simplex just fits, or as many as the proxies' memory allows."""
    most = max(PROXY_NUMBERS // n_classes, FEWEST_OF_MANY)
    return min(max(n_classes - 1, 2), most)


def _at_least(low: int, kind: type = Integral) -> Interval:
    return Interval(kind, low, None, closed="left")


CONSTRAINTS: dict[str, list[Any]] = {
    "encoder": [StrOptions({"auto", *SHORTHANDS["encoder"]}), HasMethods("build"), callable],
    "n_components": [_at_least(1), None],
    "uniformity": [StrOptions(set(SHORTHANDS["uniformity"])), Uniformity],
    "alpha": [_at_least(0, Real)],
    "beta": [Interval(Real, 0, None, closed="neither")],
    "proxies": [StrOptions({"optimal", "learned"}), Learned, "array-like"],
    "optimizer": [StrOptions(set(NAMED)), HasMethods(["init", "step"]), callable],
    "learning_rate": [Interval(Real, 0, None, closed="neither")],
    "schedule": [StrOptions(set(SCHEDULES)), callable],
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
