"""The estimators' parameters: what is allowed, and their documentation."""

from __future__ import annotations

import math
import os
import sys
import warnings
from numbers import Integral, Real
from textwrap import indent
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator

from skhug._data.validation import HasMethods, Interval, StrOptions
from skhug._device import FLOAT64_ELEMENTS, LAUNCH_BOUND_FLOPS, PRECISIONS
from skhug._docs import documented
from skhug.checkpoint import Checkpoint
from skhug.encoders import MLP, ConvNet, ResNet
from skhug.losses import MGD, MHE, MHS, Uniformity
from skhug.optimizers import NAMED, SCHEDULES, SGD, AdamW, default_weight_decay
from skhug.proxies import Learned
from skhug.proxies._assignment import MOST_CLASSES

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

_PARAMETERS = f"""\
encoder : {{"auto", "mlp", "convnet", "resnet"}}, Encoder, torch.nn.Module or callable, \
default="auto"
    What embeds the samples; ``"auto"`` is :class:`~skhug.encoders.MLP` for rows and
    :class:`~skhug.encoders.ConvNet` for images. A module is copied, not changed; a callable
    takes ``(input_shape, n_components)`` and returns a module. Modules of the user's own get
    values as they are, images in the order (batch, channels, height, width), grey ones of shape
    (n, height, width) with one channel; built-in encoders standardise them.
    :class:`~skhug.encoders.Pretrained` gives a module a last layer of the right width, and
    fine-tunes or freezes the rest.
n_components : int, optional
    Dimension of the embedding, at least 1. By default the module's own width or, for a built-in
    encoder, as many as the simplex of the classes needs, ``n_classes - 1`` and at least 2, for
    up to 2,048 classes; for more, four million divided by their number, and at least
    {FEWEST_OF_MANY}.
uniformity : {{"mhe", "mhs", "mgd"}} or Uniformity, default="mhe"
    Measure of hyperspherical uniformity, with its exponents: :class:`~skhug.losses.MHE`,
    :class:`~skhug.losses.MHS`, :class:`~skhug.losses.MGD`.
alpha : float, default={ALPHA}
    Weight of the between-class term, 0 or more. It acts on learned proxies only; set beside fixed
    ones it is warned of.
beta : float, default=1.0
    Weight of the within-class term, above 0.
proxies : {{"optimal", "learned"}}, Learned or array of shape (n_classes, n_components), \
default="optimal"
    ``"optimal"`` are computed before training and stay: the simplex where it fits, else the
    best arrangement found, in which up to {MOST_CLASSES} classes get points near one another
    where their rows are alike. ``"learned"`` are trained along, :class:`~skhug.proxies.Learned`
    says how. An array is fixed, in the order of ``classes_``.
optimizer : {{"adamw", "sgd"}}, AdamW, SGD or callable, default="adamw"
    A callable makes a ``torch.optim`` optimizer of parameter groups, for instance
    ``functools.partial(torch.optim.RMSprop, alpha=0.9)``; what the partial fixes stands above
    ``learning_rate`` and ``weight_decay``.
learning_rate : float, default=3e-3
    At the start of the schedule, above 0.
schedule : {{"cosine", "linear", "constant"}} or callable, default="cosine"
    Factor on the learning rate; a callable takes the share of the training done, in [0, 1).
weight_decay : float, optional
    Decay of the weight matrices, 0 or more: with AdamW a share of ``learning_rate *
    weight_decay`` a step, with SGD added to the gradient. By default the optimizer's own,
    {AdamW.default_weight_decay} and {SGD.default_weight_decay}, or for flat rows of fewer than
    {FEW_FEATURES} features {DECAY_OF_FEW} of these, since few features ask for curved boundaries;
    with a callable, that of what it makes.
batch_size : int or "auto", default="auto"
    Rows a step, at least 1. ``"auto"`` takes about a 128th of the data, between {BATCH[0]} and
    {BATCH[1]}.
max_epochs : int or "auto", default="auto"
    Passes over the data, at least 1. ``"auto"`` is about {STEPS:,} steps, between {EPOCHS[0]}
    and {EPOCHS[1]} passes.
early_stopping : bool, default=False
    Whether to stop when the validation score no longer rises, and to keep the weights of the
    best epoch. The rows to validate on are ``X_val``, else a stratified part of ``X``.
validation_fraction : float, default=0.1
    Share of ``X`` set aside for that, in (0, 1).
n_iter_no_change : int, default=10
    Epochs without a better validation score after which to stop, at least 1.
tol : float, default=1e-4
    How much better a score must be to count, 0 or more.
track : str, callable or sequence of these, default=()
    Measures of geometry for ``history_``, taken at the end of every epoch on a fixed quarter of
    the training rows, 512 to 2,048 of them, of at most 256 classes. Names of those in
    :func:`~skhug.metrics.geometry_report`, or ``"nc"`` for neural collapse: NC1 as
    ``within_class_variability`` and ``cdnv``, NC2 as ``equinorm`` and ``equiangularity``, NC3 as
    ``self_duality``, NC4 as ``ncc_agreement``. A callable takes ``(embeddings, labels,
    proxies)``, tensors, and returns a number; its ``__name__`` is the key.
class_weight : dict, "balanced" or None, default=None
    Weights of the classes' means in the within-class term, which are equal without it however
    many rows each class has. A class counts in the batches in which it occurs; ``"balanced"``
    makes up for those in which it does not.
batch_sampler : BalancedBatches or None, default=None
    :class:`~skhug.sampling.BalancedBatches` fills every batch with the same number of rows of
    each of several classes, in place of ``batch_size``. By default an epoch is a permutation of
    the rows.
augment : callable or None, default=None
    Changes the raw rows of a training batch, ``(X, generator) -> X`` with tensors on the device:
    images of shape (batch, channels, height, width) in their own dtype, before they are
    normalised. See :mod:`skhug.augment`. Off at transform and in validation.
warm_start : bool, default=False
    Whether ``fit`` goes on from the weights of the last fit, with its encoder, precision and
    device. Inputs are standardised by the new rows; what does not vary there, as before.
checkpoint : str, path or Checkpoint, optional
    Folder in which an interrupted ``fit`` leaves its state: the same fit started again goes on
    where it stopped. :class:`~skhug.checkpoint.Checkpoint` says how often it is written and what
    it costs. ``partial_fit`` needs none: ``save`` between its calls.
precision : {{"auto", "float32", "bfloat16", "float64"}}, default="auto"
    What to compute in. ``"auto"`` is the input's own, but float32 for ``uint8`` and for float64
    input of more than {FLOAT64_ELEMENTS:,} numbers; on a CUDA GPU it may round products in
    training to TF32 and, from {LAUNCH_BOUND_FLOPS:,.0f} floating-point operations a step on,
    runs the encoder's training steps in bfloat16 where the GPU has it. ``"bfloat16"`` does so
    anywhere; parameters, losses, inference and outputs are float32 then. ``"float32"`` never
    rounds to less in training. torch's settings are as before after fit.
compile : bool, default=False
    Whether training runs the encoder through ``torch.compile``: worth its tens of seconds where a
    fit takes minutes. It needs a C++ compiler on the CPU. The fitted ``module_`` is an ordinary
    one.
device : str or torch.device, default="auto"
    ``"auto"`` is cuda, then mps, then cpu, whichever there is; ``"cuda:1"`` is the second GPU.
    On CUDA a batch or a block that memory does not hold is taken in parts, and small steps of
    built-in encoders are captured once and replayed as a graph.
random_state : int, RandomState or None, default=None
    Seed of the weights, the batches and the starting proxies. On the CPU an integer makes two
    fits identical. On a GPU this holds after ``torch.use_deterministic_algorithms(True)``, with
    ``CUBLAS_WORKSPACE_CONFIG=:4096:8`` in the environment, as far as torch has such algorithms
    for the encoder's layers. Without it, sums over the rows of a class (``index_add``) are added
    in any order, and fits differ by rounding. Global random states are left as they were.
verbose : int, default=0
    1 prints a line an epoch: which of how many, its losses, scores and the seconds so far."""

_ATTRIBUTES = """\
classes_ : ndarray of shape (n_classes,)
    Sorted labels of ``y``. One whose rows all have weight zero has a proxy and a probability, and
    is not trained.
proxies_ : ndarray of shape (n_classes, n_components)
    Unit vectors, one a class.
module_ : torch.nn.Module
    From raw rows to unit embeddings.
history_ : list of dict
    One row an epoch: ``epoch``, the means over its batches of ``loss``, ``between`` and
    ``within``, the measures of ``track``, and ``validation_score`` where there are validation
    rows.
n_iter_ : int
    Epochs trained.
loss_ : float
    Mean loss of the last epoch.
input_shape_ : tuple of int
    Shape of a sample in fit, ``X.shape[1:]``.
input_dtype_ : str
    What they were computed from, "float64", "float32" or "uint8"; ``to_onnx`` takes it.
n_features_in_ : int
    Features seen in fit; for images the length of ``X``'s second axis, as scikit-learn counts.
feature_names_in_ : ndarray of shape (``n_features_in_``,)
    Their names, where all are strings."""


# Puts the shared documentation into an estimator's docstring.
shares_parameters = documented(
    parameters=indent(_PARAMETERS, "    "), attributes=indent(_ATTRIBUTES, "    ")
)
