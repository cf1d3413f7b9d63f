"""The base of the encoder specifications, and what an ``encoder`` parameter builds."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
from torch import nn

from skhug._configured import Configured
from skhug._guesses import did_you_mean

__all__ = ["Encoder"]


class Encoder(Configured):
    """Base of the encoder specifications: parameters that build a torch module.

    A specification holds no weights. Its parameters follow scikit-learn (``get_params``,
    ``set_params``), so that a grid search reaches them as ``encoder__hidden_layer_sizes``. One of
    your own has ``build`` and, where its input is to be standardised, ``standardize = True``.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from torch import nn
    >>> from skhug import HUGClassifier
    >>> from skhug.encoders import Encoder
    >>> class Normed(Encoder):
    ...     standardize = True
    ...     def __init__(self, width=16):
    ...         self.width = width
    ...     def build(self, input_shape, n_components):
    ...         return nn.Sequential(
    ...             nn.Linear(*input_shape, self.width),
    ...             nn.LayerNorm(self.width),
    ...             nn.GELU(),
    ...             nn.Linear(self.width, n_components),
    ...         )
    >>> model = HUGClassifier(Normed(), max_epochs=3, random_state=0)
    >>> model.set_params(encoder__width=8).fit(*load_iris(return_X_y=True)).module_.body[0]
    Linear(in_features=4, out_features=8, bias=True)
    """

    # How the estimator normalises the input in front of the module: by the training data's
    # statistics (True), not at all (False) or, for images, by a given (mean, std) per channel.
    standardize: bool | tuple[Sequence[float], Sequence[float]] = False
    # Shape of an image where it comes as a flat row.
    image_shape: tuple[int, ...] | None = None

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return a new module from ``(batch, *input_shape)`` to ``(batch, n_components)``.

        Images come as (channels, height, width), however they lie in X.
        """
        raise NotImplementedError(
            f"{type(self).__name__} has no build(input_shape, n_components), which returns a "
            "torch.nn.Module: define it."
        )

    def softness_for(self, input_shape: tuple[int, ...]) -> float:
        """Return the softness for such an input, as in :class:`MLP`; here 0."""
        return 0.0

    def members_for(self, input_shape: tuple[int, ...]) -> int:
        """Return how many networks ``build`` puts side by side, as in :class:`MLP`; here 1."""
        return 1

    def stretch_for(self, input_shape: tuple[int, ...], n_classes: int) -> float:
        """Return what standardised rows are multiplied by, as in :class:`MLP`; here 1."""
        return 1.0


def checked_softness(encoder: Encoder, input_shape: tuple[int, ...]) -> float:
    """Return an encoder's softness for such an input.

    Raises
    ------
    ValueError
        If it is not a number of 0 or more.
    """
    softness = encoder.softness_for(input_shape)
    if not (isinstance(softness, Real) and 0 <= softness < math.inf):
        raise ValueError(
            f"The softness of {type(encoder).__name__} is {softness!r}: it must be a number of 0 "
            "or more."
        )
    return float(softness)


def checked_members(encoder: Encoder, input_shape: tuple[int, ...]) -> int:
    """Return how many networks an encoder has side by side for such an input.

    Raises
    ------
    ValueError
        If it is not a whole number above 0.
    """
    members = encoder.members_for(input_shape)
    if not _are_sizes([members]):
        raise ValueError(
            f"{type(encoder).__name__}(members={members!r}): pass a whole number above 0, 1 for a "
            "single network."
        )
    return int(members)


def _are_sizes(sizes: Any) -> bool:
    """Whether these are whole numbers above 0, in a row."""
    if not isinstance(sizes, (Sequence, np.ndarray)) or isinstance(sizes, str):
        return False
    return all(isinstance(size, Integral) and size >= 1 for size in sizes)


def _one_of(name: str, value: Any, options: Iterable[str]) -> str:
    text = f"{name}={value!r}: pass one of {', '.join(options)}."
    return f"{text} {did_you_mean(value, options)}".rstrip()


def _check_images(encoder: Encoder, input_shape: tuple[int, ...]) -> None:
    if len(input_shape) != 3:
        name = type(encoder).__name__
        raise ValueError(
            f"{name} takes images, and each row has {input_shape[0]} values: pass X of shape "
            f"(n, height, width) or say how to read a row, {name}(image_shape=(1, 28, 28))."
        )


def build_body(encoder: Any, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
    """Return the module of an encoder parameter: a spec, a module (copied) or a callable.

    Raises
    ------
    TypeError
        If it is none of them.
    """
    if isinstance(encoder, nn.Module):
        return copy.deepcopy(encoder)
    if isinstance(encoder, type) and issubclass(encoder, Encoder):
        raise TypeError(f"encoder is the class {encoder.__name__}: pass {encoder.__name__}().")
    build: Callable[..., Any] = encoder.build if isinstance(encoder, Encoder) else encoder
    body = build(input_shape, n_components)
    if not isinstance(body, nn.Module):
        raise TypeError(
            f"encoder returned {type(body).__name__}: a callable encoder takes "
            "(input_shape, n_components) and returns a torch.nn.Module."
        )
    return body
