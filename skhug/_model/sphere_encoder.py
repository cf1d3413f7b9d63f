"""The module that an estimator trains: input preparation, body, projection to the sphere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from skhug._data.prepare import Cast, Prepare
from skhug._sphere import project, unit, widened
from skhug.encoders._members import Members
from skhug.encoders._pretrained import FineTuned
from skhug.encoders._probing import into_last_layer, repeated_weights

__all__ = ["HeadEncoder", "SphereEncoder"]


class SphereEncoder(nn.Module):
    """What an estimator trains: input preparation, body, and the projection to the sphere.

    ``forward`` maps raw rows to unit embeddings of shape (batch, n_components), and ``ball`` to
    points inside the ball, whose length says how sure they are. Training calls ``body`` on rows
    that went through ``prepare`` already, and leaves the projection to the loss.

    Parameters
    ----------
    prepare : Prepare
        From raw rows to what the body takes.
    body : Module
        From prepared rows to (batch, n_components), or of several networks to (members, batch,
        n_components).
    input_shape : tuple of int
        Shape of a raw row.
    n_components : int
        Dimension of the embedding.
    spec : Encoder or None
        The built-in encoder that built the body and builds it again from weights, else None.
    softness : float
        What is added to the squared norm that features are divided by. The 0-sphere is {-1, 1}
        and has no tangent: with one component it is at least 1.
    """

    def __init__(
        self,
        prepare: Prepare,
        body: nn.Module,
        input_shape: tuple[int, ...],
        n_components: int,
        spec: Any = None,
        softness: float = 0.0,
    ) -> None:
        super().__init__()
        self.prepare = prepare
        self.prepare.suit(body)
        self.body = body
        self.input_shape = tuple(input_shape)
        self.n_components = n_components
        self.spec = spec
        self.softness = max(softness, 1.0 if n_components == 1 else 0.0)

    def forward(self, X: Tensor) -> Tensor:
        """Return unit embeddings of raw rows."""
        features = self.body(self.prepare(X))
        return unit(features if features.ndim == 2 else self.on_ball(features).mean(0))

    def ball(self, X: Tensor) -> Tensor:
        """Return points inside the ball of raw rows, the mean over the members."""
        z = self.on_ball(self.body(self.prepare(X)))
        return z if z.ndim == 2 else z.mean(0)

    def hidden(self, X: Tensor) -> Tensor:
        """Return what the last linear layer takes of raw rows, scaled to unit length.

        Of several members side by side, shape (batch, members * width). A body that ends in no
        linear layer gives its output.
        """
        rows = self.prepare(X)
        networks = self.body.networks if isinstance(self.body, Members) else [self.body]
        return torch.cat([unit(into_last_layer(network, rows)) for network in networks], 1)

    def on_ball(self, features: Tensor) -> Tensor:
        """Return what the body gives as the loss takes it: ``x / sqrt(|x|^2 + softness)``."""
        if self.softness:
            return project(widened(features), self.softness)[0]
        return unit(features)

    @property
    def whole(self) -> SphereEncoder:
        """What is fitted: from raw rows on."""
        return self

    @property
    def frozen(self) -> bool:
        """Whether training leaves all of the body but its head as it is."""
        return isinstance(self.body, FineTuned) and self.body.frozen

    @property
    def n_members(self) -> int:
        """Number of networks."""
        return len(self.body) if isinstance(self.body, Members) else 1

    @property
    def on_sphere(self) -> bool:
        """Whether ``ball`` returns unit vectors."""
        return self.n_members == 1 and not self.softness

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """Shape of a row as the body takes it."""
        return self.prepare.output_shape(self.input_shape)

    @property
    def weights_a_row(self) -> int:
        """Multiplications for a row: each weight once, those of a convolution once per position."""
        weights = sum(p.numel() for p in self.parameters())
        return weights + repeated_weights(self.body, self.prepared_shape)

    def learning_rates(self, default: float) -> Iterator[tuple[nn.Parameter, float]]:
        """Yield every parameter with its learning rate."""
        if isinstance(self.body, FineTuned):
            return self.body.learning_rates(default)
        return ((parameter, default) for parameter in self.parameters())


class HeadEncoder(SphereEncoder):
    """What is left to train of an encoder whose backbone is frozen: its head, on features.

    Parameters
    ----------
    whole : SphereEncoder
        Encoder of raw rows, in evaluation mode; its head is this one's body.
    """

    def __init__(self, whole: SphereEncoder) -> None:
        head = whole.body.head
        super().__init__(
            Cast(whole.prepare.dtype),
            head,
            (head.in_features,),
            whole.n_components,
            softness=whole.softness,
        )
        self._whole = (whole,)  # held so that it is no module of this one

    @property
    def whole(self) -> SphereEncoder:
        """What is fitted: from raw rows on."""
        return self._whole[0]
