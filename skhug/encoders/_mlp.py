"""Multi-layer perceptron for rows of features."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

from torch import nn

from skhug._configured import explained
from skhug.encoders._encoder import (
    Encoder,
    _are_sizes,
    _one_of,
    checked_members,
    checked_softness,
)
from skhug.encoders._members import Members

__all__ = ["MLP"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}
# Softness, by default, of rows with fewer features than this: there classes overlap.
SOFT_BELOW = 64
SOFTNESS = 100.0
# Networks of rows with fewer features than this, by default: beyond, one learns as much alone.
MEMBERS_BELOW = 512
MEMBERS = 4
# Classes from which on several networks get their inputs twice as large: the more classes, the
# more boundaries, and the more sharply these have to bend.
MANY_CLASSES = 6
STRETCH_OF_MANY = 2.0


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
        has heavy tails. Values far out are squeezed smoothly to within 3 units. Where there are
        several members and 6 classes or more, all is then doubled, so that the networks bend
        more sharply. Sparse rows are
        not centred, so that zeros stay zeros: a feature is divided by a third of the mean
        magnitude of its other values, and then squeezed in the same way.
    softness : float, optional
        While training, an output x counts as ``x / sqrt(|x|^2 + softness)``, 0 or more. At 0
        rows between the classes, whose outputs are short, are turned hardest, and noise is
        learned; 10 to 100 lets them stay inside the ball. By default 100 for rows of fewer
        than 64 features and for sparse rows, else 0; an estimator makes 1 of the 100 of dense
        rows where classes crowd, more than 4 d and than 2^(d / 2) of them in d components: near
        proxies are told apart by directions. Embeddings are unit vectors either way.
    members : int, optional
        Networks to train side by side and to average, 1 or more. Each has first weights of its own
        and leaves one part of the rows out, by which the best epoch is chosen and probabilities
        are calibrated; they share the proxies, so that what they give can be averaged. With 1
        there is one network, trained on all rows. By default 4 for rows of fewer than 512
        features, and 1 for more and in a :class:`~skhug.HUGEmbedder`.

    References
    ----------
    He, Zhang, Ren and Sun, "Delving Deep into Rectifiers", ICCV 2015: the initial weights.

    Examples
    --------
    >>> from skhug.encoders import MLP
    >>> MLP(hidden_layer_sizes=(16,), activation="relu", members=1).build((4,), 2)
    Sequential(
      (0): Linear(in_features=4, out_features=16, bias=True)
      (1): ReLU()
      (2): Linear(in_features=16, out_features=2, bias=True)
    )
    """

    _before: ClassVar[dict[str, Any]] = {"members": 1}

    @explained
    def __init__(
        self,
        hidden_layer_sizes: int | Sequence[int] = (256, 128),
        activation: str = "gelu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        standardize: bool = True,
        softness: float | None = None,
        members: int | None = None,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.standardize = standardize
        self.softness = softness
        self.members = members

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return the perceptron or perceptrons; weights come from torch's global generator.

        Several return (members, batch, n_components).

        Raises
        ------
        ValueError
            If a parameter is out of its range or the input is not made of flat rows.
        """
        self._check(input_shape)
        members = self.members_for(input_shape)
        networks = [self._network(input_shape, n_components) for _ in range(members)]
        return Members(networks) if members > 1 else networks[0]

    def _network(self, input_shape: tuple[int, ...], n_components: int) -> nn.Sequential:
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

    def members_for(self, input_shape: tuple[int, ...]) -> int:
        """Return ``members``, or what stands for it by the number of features."""
        if self.members is not None:
            return self.members
        return MEMBERS if math.prod(input_shape) < MEMBERS_BELOW else 1

    def stretch_for(self, input_shape: tuple[int, ...], n_classes: int) -> float:
        """Return what standardised rows are multiplied by: 2 for several networks, many classes."""
        several = self.members_for(input_shape) > 1
        return STRETCH_OF_MANY if several and n_classes >= MANY_CLASSES else 1.0

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
        checked_members(self, input_shape)
        checked_softness(self, input_shape)


def _sizes(hidden_layer_sizes: int | Sequence[int]) -> Sequence[int]:
    return (hidden_layer_sizes,) if isinstance(hidden_layer_sizes, Integral) else hidden_layer_sizes
