"""Encoders: specifications that build torch modules."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import torch
from torch import nn

from skhug._configured import Configured, explained
from skhug._docs import public
from skhug._guesses import did_you_mean
from skhug._heads import FineTuned, split_head
from skhug._residual import RESNETS, residual_network

__all__ = ["MLP", "ConvNet", "Encoder", "Pretrained", "ResNet"]
__dir__ = public(globals())

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
READOUTS = ("average", "flatten")
# Softness, by default, of rows with fewer features than this: there classes overlap.
SOFT_BELOW = 64
SOFTNESS = 100.0


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
        raise NotImplementedError

    def softness_for(self, input_shape: tuple[int, ...]) -> float:
        """Return the softness of training for such an input, as in :class:`MLP`; here 0."""
        return 0.0


class MLP(Encoder):
    """Multi-layer perceptron for rows of features.

    Hidden weights start with He's variance, so that the network bends from the start.

    Parameters
    ----------
    hidden_layer_sizes : int or sequence of int, default=(256, 128)
        Units of each hidden layer, an integer for one; empty for a linear encoder.
    activation : {"gelu", "relu", "silu", "tanh"}, default="gelu"
        Applied after every hidden layer.
    dropout : float, default=0.0
        Share of hidden units dropped while training, in [0, 1).
    batch_norm : bool, default=False
        Whether to normalise each hidden layer over the batch, in front of its activation.
    standardize : bool, default=True
        Whether the estimator centres and scales the features with the training data's
        statistics, stored with the model: by half the range, or by quartiles where a feature
        has heavy tails. Values far out are squeezed smoothly to within 3 units.
    softness : float, optional
        While training, an output x counts as ``x / sqrt(|x|^2 + softness)``, 0 or more. At 0
        rows between the classes, whose outputs are short, are turned hardest, and noise is
        learned; 10 to 100 lets them stay inside the ball. By default 100 for rows of fewer
        than 64 features, and 0 for more. Embeddings are unit vectors either way.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", ICCV 2015: the initial weights.

    Examples
    --------
    >>> from skhug.encoders import MLP
    >>> MLP(hidden_layer_sizes=(16,), activation="relu").build((4,), 2)
    Sequential(
      (0): Linear(in_features=4, out_features=16, bias=True)
      (1): ReLU()
      (2): Linear(in_features=16, out_features=2, bias=True)
    )
    """

    @explained
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        activation: str = "gelu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        standardize: bool = True,
        softness: float | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.standardize = standardize
        self.softness = softness

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return the perceptron; its weights are drawn from torch's global generator.

        Raises
        ------
        ValueError
            If a parameter is out of its range or the input is not made of flat rows.
        """
        self._check(input_shape)
        layers: list[nn.Module] = []
        (width,) = input_shape
        for size in _sizes(self.hidden_layer_sizes):
            linear = nn.Linear(width, size)
            # He's variance is for ReLU; the other activations get the same.
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            layers.append(linear)
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(size))
            layers.append(ACTIVATIONS[self.activation]())
            if self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
            width = size
        layers.append(nn.Linear(width, n_components))
        return nn.Sequential(*layers)

    def softness_for(self, input_shape: tuple[int, ...]) -> float:
        """Return ``softness``, or what stands for it by the number of features."""
        if self.softness is not None:
            return self.softness
        return SOFTNESS if math.prod(input_shape) < SOFT_BELOW else 0.0

    def _check(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 1:
            raise ValueError(
                f"MLP takes rows of features, and each sample has shape {input_shape}: pass flat "
                "rows, or an encoder for images such as ConvNet()."
            )
        if self.activation not in ACTIVATIONS:
            raise ValueError(_one_of("activation", self.activation, ACTIVATIONS))
        if not _are_sizes(_sizes(self.hidden_layer_sizes)):
            raise ValueError(
                f"hidden_layer_sizes={self.hidden_layer_sizes!r}: pass whole numbers above 0, one "
                "a layer, such as (256, 128); () for none."
            )
        if not (isinstance(self.dropout, Real) and 0 <= self.dropout < 1):
            raise ValueError(f"dropout={self.dropout!r}: pass a share in [0, 1), such as 0.1.")
        if self.batch_norm not in (False, True):
            raise ValueError(f"batch_norm={self.batch_norm!r}: pass True or False.")
        checked_softness(self, input_shape)


class ConvNet(Encoder):
    """Convolutional network for images: the four blocks of few-shot learning.

    Each block is a 3x3 convolution, batch normalisation, ReLU and 2x2 max-pooling; blocks pool
    only as long as two pixels a side are left. What remains enters a linear layer.

    Parameters
    ----------
    widths : sequence of int, default=(64, 64, 64, 64)
        Channels of each block.
    n_pools : int, optional
        How many blocks pool, from the first; 0 or more. All that can, if not given.
    readout : {"flatten", "average"}, default="flatten"
        What the linear layer takes: every pixel that remains, or each channel's average over
        them. Few pools and the average make embeddings that carry over to unseen classes better
        (``benchmarks/retrieval.py``), at the price of larger feature maps.
    standardize : bool or (mean, std), default=True
        Whether the estimator normalises each channel with the training data's mean and standard
        deviation, stored with the model; or what to normalise by, in the units of X.
    image_shape : tuple of int, optional
        Shape of an image where X has flat rows, such as (1, 28, 28).
    softness : float, default=0.0
        As in :class:`MLP`, a number.

    References
    ----------
    Vinyals et al., "Matching Networks for One Shot Learning", NeurIPS 2016; Snell, Swersky and
    Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.encoders import ConvNet
    >>> model = HUGClassifier(ConvNet(image_shape=(1, 28, 28)))  # rows of 784 pixels
    >>> sum(p.numel() for p in ConvNet().build((1, 28, 28), 10).parameters())
    112330
    >>> retrieval = ConvNet((32, 64, 128, 128), n_pools=2, readout="average")
    """

    @explained
    def __init__(
        self,
        widths: Sequence[int] = (64, 64, 64, 64),
        n_pools: int | None = None,
        readout: str = "flatten",
        standardize: bool | tuple[Sequence[float], Sequence[float]] = True,
        image_shape: tuple[int, ...] | None = None,
        softness: float = 0.0,
    ) -> None:
        self.widths = widths
        self.n_pools = n_pools
        self.readout = readout
        self.standardize = standardize
        self.image_shape = image_shape
        self.softness = softness

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return the network; its weights are drawn from torch's global generator.

        Raises
        ------
        ValueError
            If a parameter is out of its range or the input is not made of images.
        """
        self._check(input_shape)
        channels, height, width = input_shape
        n_pools = len(self.widths) if self.n_pools is None else self.n_pools
        layers: list[nn.Module] = []
        for i, out in enumerate(self.widths):
            layers += [nn.Conv2d(channels, out, 3, padding=1, bias=False), nn.BatchNorm2d(out)]
            if i < n_pools and min(height, width) >= 2:
                # In front of the ReLU it gives the same, and leaves the ReLU a quarter to do.
                layers.append(nn.MaxPool2d(2))
                height, width = height // 2, width // 2
            layers.append(nn.ReLU())
            channels = out
        if self.readout == "average":
            layers.append(nn.AdaptiveAvgPool2d(1))
            height = width = 1
        return nn.Sequential(
            *layers, nn.Flatten(), nn.Linear(channels * height * width, n_components)
        )

    def softness_for(self, input_shape: tuple[int, ...]) -> float:
        """Return ``softness``."""
        return self.softness

    def _check(self, input_shape: tuple[int, ...]) -> None:
        _check_images(self, input_shape)
        if not (_are_sizes(self.widths) and len(self.widths)):
            raise ValueError(
                f"widths={self.widths!r}: pass one or more whole numbers above 0, a block each: "
                "(64, 64, 64, 64)."
            )
        if not (self.n_pools is None or (isinstance(self.n_pools, Integral) and self.n_pools >= 0)):
            raise ValueError(f"n_pools={self.n_pools!r}: pass None, or a whole number, 0 or more.")
        if self.readout not in READOUTS:
            raise ValueError(_one_of("readout", self.readout, READOUTS))
        checked_softness(self, input_shape)


class ResNet(Encoder):
    """Residual network for small images, in the form used for CIFAR.

    The stem is a 3x3 convolution without pooling; four stages of residual blocks halve the
    side from the second on; their average over the pixels enters a linear layer. The last scale
    of each block starts at zero, so that training starts from the identity.

    Parameters
    ----------
    depth : {18, 34, 50}, default=18
        Layers with weights. 50 has bottleneck blocks.
    width : int, default=64
        Channels of the first stage; each later stage has twice those of the one before.
    standardize : bool or (mean, std), default=True
        As in :class:`ConvNet`.
    image_shape : tuple of int, optional
        As in :class:`ConvNet`.

    References
    ----------
    He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", CVPR 2016; the zero
    scale: Goyal et al., "Accurate, Large Minibatch SGD", arXiv 1706.02677.

    Examples
    --------
    >>> from skhug.encoders import ResNet
    >>> sum(p.numel() for p in ResNet(depth=18).build((3, 32, 32), 10).parameters())
    11173962
    """

    @explained
    def __init__(
        self,
        depth: int = 18,
        width: int = 64,
        standardize: bool | tuple[Sequence[float], Sequence[float]] = True,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.depth = depth
        self.width = width
        self.standardize = standardize
        self.image_shape = image_shape

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return the network; its weights are drawn from torch's global generator.

        Raises
        ------
        ValueError
            If a parameter is out of its range or the input is not made of images.
        """
        _check_images(self, input_shape)
        if self.depth not in RESNETS:
            raise ValueError(
                f"depth={self.depth!r}: pass one of the numbers {', '.join(map(str, RESNETS))}; "
                "other networks of yours go in as encoder=module."
            )
        if not _are_sizes((self.width,)):
            raise ValueError(f"width={self.width!r}: pass a whole number of channels above 0.")
        block, repeats = RESNETS[self.depth]
        return residual_network(block, repeats, input_shape[0], self.width, n_components)


class Pretrained(Encoder):
    """A user's module, its last layer fitted to the embedding, trained slowly or not at all.

    If the module's output is that of one of its linear layers, that layer is the head: it stays
    if it has ``n_components`` outputs already and is replaced by a new one otherwise. If not,
    as where a module ends in pooling, a new linear head is put behind it. The head trains at the
    estimator's learning rate.

    Parameters
    ----------
    module : torch.nn.Module
        From (batch, channels, height, width) or (batch, n_features) to one row for each sample;
        copied, not changed.
    learning_rate : float, optional
        Of the module's parameters without the head, above 0; the estimator's by default.
    frozen : bool, default=False
        Whether all but the head stays as it is, running statistics of batch normalisation
        included.
    standardize : bool or (mean, std), default=False
        How each channel is normalised in front of the module: not at all, by the training
        data's mean and standard deviation, or by those that the module was trained with, in
        the units of X. ImageNet's for ``uint8`` are (123.7, 116.3, 103.5) and
        (58.4, 57.1, 57.4). A pair is for images; rows are standardised as those of an MLP.
    image_shape : tuple of int, optional
        As in :class:`ConvNet`.

    Examples
    --------
    >>> from torch import nn
    >>> from sklearn.datasets import load_iris
    >>> from skhug import HUGClassifier
    >>> from skhug.encoders import Pretrained
    >>> backbone = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 10))
    >>> model = HUGClassifier(Pretrained(backbone, frozen=True), max_epochs=5, random_state=0)
    >>> model.fit(*load_iris(return_X_y=True)).module_.body.head
    Linear(in_features=16, out_features=2, bias=True)
    """

    @explained
    def __init__(
        self,
        module: nn.Module,
        learning_rate: float | None = None,
        frozen: bool = False,
        standardize: bool | tuple[Sequence[float], Sequence[float]] = False,
        image_shape: tuple[int, ...] | None = None,
    ) -> None:
        self.module = module
        self.learning_rate = learning_rate
        self.frozen = frozen
        self.standardize = standardize
        self.image_shape = image_shape

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return a copy of the module with a head of the right width.

        Raises
        ------
        TypeError
            If ``module`` is no torch module.
        ValueError
            If it cannot take such input or returns anything but a row for each sample.
        """
        if not isinstance(self.module, nn.Module):
            raise TypeError(f"Pretrained takes a torch.nn.Module, not {self.module!r}.")
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(
                f"learning_rate={self.learning_rate!r}: pass a number above 0, or frozen=True."
            )
        module = copy.deepcopy(self.module)
        like = next(module.parameters(), torch.zeros(()))
        rows = torch.zeros(2, *input_shape, device=like.device, dtype=like.dtype)
        backbone, head = split_head(module, rows, n_components)
        return FineTuned(backbone, head, self.learning_rate, self.frozen)


# Rebuilt from their parameters and weights: all that their modules compute with is in there.
BUILT_IN_ENCODERS = (MLP, ConvNet, ResNet)


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


def _sizes(hidden_layer_sizes: int | Sequence[int]) -> Sequence[int]:
    return (hidden_layer_sizes,) if isinstance(hidden_layer_sizes, Integral) else hidden_layer_sizes


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
