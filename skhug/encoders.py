"""Encoders: specifications that build torch modules, and the module an estimator trains."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from sklearn.base import BaseEstimator
from torch import Tensor, nn

__all__ = ["MLP", "Encoder"]

ACTIVATIONS: dict[str, type[nn.Module]] = {
    "gelu": nn.GELU,
    "relu": nn.ReLU,
    "silu": nn.SiLU,
    "tanh": nn.Tanh,
}


class Encoder(BaseEstimator):
    """Base of the encoder specifications: parameters that build a torch module.

    A specification holds no weights. Its parameters follow scikit-learn (``get_params``,
    ``set_params``), so that a grid search reaches them as ``encoder__hidden_layer_sizes``.
    """

    # Whether the estimator standardises the input in front of the module.
    standardize = False

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return a new module from ``(batch, *input_shape)`` to ``(batch, n_components)``."""
        raise NotImplementedError


class MLP(Encoder):
    """Multi-layer perceptron for rows of features.

    Parameters
    ----------
    hidden_layer_sizes : sequence of int, default=(256, 128)
        Units of each hidden layer; empty for a linear encoder.
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

    def __init__(
        self,
        hidden_layer_sizes: Sequence[int] = (256, 128),
        activation: str = "gelu",
        dropout: float = 0.0,
        batch_norm: bool = False,
        standardize: bool = True,
    ) -> None:
        self.hidden_layer_sizes = hidden_layer_sizes
        self.activation = activation
        self.dropout = dropout
        self.batch_norm = batch_norm
        self.standardize = standardize

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
        for size in self.hidden_layer_sizes:
            layers.append(nn.Linear(width, size))
            if self.batch_norm:
                layers.append(nn.BatchNorm1d(size))
            layers.append(ACTIVATIONS[self.activation]())
            if self.dropout > 0:
                layers.append(nn.Dropout(self.dropout))
            width = size
        layers.append(nn.Linear(width, n_components))
        return nn.Sequential(*layers)

    def _check(self, input_shape: tuple[int, ...]) -> None:
        if len(input_shape) != 1:
            raise ValueError(f"MLP takes rows of features, and each row has shape {input_shape}.")
        if self.activation not in ACTIVATIONS:
            raise ValueError(
                f"activation={self.activation!r}: pass one of {', '.join(ACTIVATIONS)}."
            )
        if any(size < 1 for size in self.hidden_layer_sizes):
            raise ValueError(f"hidden_layer_sizes={self.hidden_layer_sizes!r}: pass sizes above 0.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout={self.dropout!r}: pass a share in [0, 1).")


class Standardize(nn.Module):
    """Centres and scales features, then squeezes what is far out.

    ``z = (x - centre) * inverse_scale``, then ``z / sqrt(1 + (z / limit)^2)``, which leaves small
    z alone and keeps every value within ``limit`` (the smooth clipping of RealMLP, Holzmueller
    et al. 2024). The statistics are float64 buffers, so that differences are taken before
    precision is lost.
    """

    limit = 3.0

    def __init__(self, centre: Tensor, inverse_scale: Tensor, dtype: torch.dtype) -> None:
        super().__init__()
        self.register_buffer("centre", centre)
        self.register_buffer("inverse_scale", inverse_scale)
        self.dtype = dtype

    def forward(self, X: Tensor) -> Tensor:
        """Return standardised features in the dtype of the computation."""
        centre, inverse_scale = self.centre, self.inverse_scale
        if X.dtype == torch.float32:  # its differences are exact enough in float32
            centre, inverse_scale = centre.float(), inverse_scale.float()
        z = ((X - centre) * inverse_scale).to(self.dtype)
        return z * torch.rsqrt(1 + (z / self.limit) ** 2)


class Cast(nn.Module):
    """Input of a module that normalises for itself: only the dtype changes."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, X: Tensor) -> Tensor:
        """Return X in the dtype of the computation."""
        return X.to(self.dtype)


class SphereEncoder(nn.Module):
    """What an estimator trains: input normalisation, body, and the projection to the sphere.

    ``forward`` maps raw rows to unit embeddings of shape (batch, n_components). Training calls
    ``body`` on rows that went through ``prepare`` already, and leaves the projection to the loss.

    Parameters
    ----------
    prepare : Standardize or Cast
        From raw rows to what the body takes.
    body : Module
        From (batch, *input_shape) to (batch, n_components).
    input_shape : tuple of int
        Shape of a row.
    n_components : int
        Dimension of the embedding.
    spec : Encoder or None
        What built the body; None for a user's module.
    """

    def __init__(
        self,
        prepare: nn.Module,
        body: nn.Module,
        input_shape: tuple[int, ...],
        n_components: int,
        spec: Encoder | None = None,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.body = body
        self.input_shape = tuple(input_shape)
        self.n_components = n_components
        self.spec = spec

    def forward(self, X: Tensor) -> Tensor:
        """Return unit embeddings of raw rows."""
        return F.normalize(self.body(self.prepare(X)), dim=1)

    @property
    def softness(self) -> float:
        """What training adds to the squared norm that features are divided by.

        The 0-sphere is {-1, 1} and has no tangent: with one component, training sees
        ``x / sqrt(x^2 + 1)`` in place of the sign.
        """
        return 1.0 if self.n_components == 1 else 0.0


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


def output_width(body: nn.Module, rows: Tensor) -> int:
    """Return the number of columns that a module gives for these rows, its state unchanged."""
    training = body.training
    body.eval()
    try:
        with torch.no_grad():
            output = body(rows)
    except Exception as error:
        raise ValueError(
            f"the encoder failed on rows of shape {tuple(rows.shape)} and dtype {rows.dtype}: "
            f"{error}"
        ) from error
    finally:
        body.train(training)
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(rows):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the encoder returned {shape} for {len(rows)} rows: it must return one row of "
            "n_components numbers for each."
        )
    return output.shape[1]
