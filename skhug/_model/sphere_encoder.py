"""The module that an estimator trains: input preparation, body, projection to the sphere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from skhug._data.prepare import Prepare
from skhug._sphere import unit
from skhug.encoders._pretrained import FineTuned

__all__ = ["SphereEncoder"]


class SphereEncoder(nn.Module):
    """What an estimator trains: input preparation, body, and the projection to the sphere.

    ``forward`` maps raw rows to unit embeddings of shape (batch, n_components). Training calls
    ``body`` on rows that went through ``prepare`` already, and leaves the projection to the loss.

    Parameters
    ----------
    prepare : Prepare
        From raw rows to what the body takes.
    body : Module
        From prepared rows to (batch, n_components).
    input_shape : tuple of int
        Shape of a raw row.
    n_components : int
        Dimension of the embedding.
    spec : Encoder or None
        The built-in encoder that built the body and builds it again from weights, else None.
    softness : float
        What training adds to the squared norm that features are divided by. The 0-sphere is
        {-1, 1} and has no tangent: with one component it is at least 1.
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
        return unit(self.body(self.prepare(X)))

    @property
    def prepared_shape(self) -> tuple[int, ...]:
        """Shape of a row as the body takes it."""
        return self.prepare.output_shape(self.input_shape)

    def learning_rates(self, default: float) -> Iterator[tuple[nn.Parameter, float]]:
        """Yield every parameter with its learning rate."""
        if isinstance(self.body, FineTuned):
            return self.body.learning_rates(default)
        return ((parameter, default) for parameter in self.parameters())
