"""The last layer of a user's module: how wide it is, and another in its place."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

__all__ = ["FineTuned", "output_width", "split_head"]


class FineTuned(nn.Module):
    """A trained module whose last layer is a linear head of the right width.

    Parameters
    ----------
    backbone : Module
        From the input to features (batch, n_features).
    head : Linear
        From the features to the embedding.
    learning_rate : float or None
        The backbone's; None is that of all else.
    frozen : bool
        Whether the backbone stays as it is, its batch statistics too.
    """

    def __init__(
        self, backbone: nn.Module, head: nn.Linear, learning_rate: float | None, frozen: bool
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head
        self.learning_rate = learning_rate
        self.frozen = frozen
        if frozen:
            backbone.requires_grad_(False)
        self.train()

    def forward(self, X: Tensor) -> Tensor:
        """Return the embedding, not projected."""
        return self.head(self.backbone(X))

    def train(self, mode: bool = True) -> FineTuned:
        """Set the mode; a frozen backbone stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def learning_rates(self, default: float) -> Iterator[tuple[nn.Parameter, float]]:
        """Yield every parameter with its learning rate."""
        rate = default if self.learning_rate is None else self.learning_rate
        yield from ((parameter, rate) for parameter in self.backbone.parameters())
        yield from ((parameter, default) for parameter in self.head.parameters())


def split_head(module: nn.Module, rows: Tensor, n_components: int) -> tuple[nn.Module, nn.Linear]:
    """Take a module apart into what makes features and a linear head of the right width.

    Parameters
    ----------
    module : Module
        Changed in place: its head, if its output is that of a linear layer, becomes the identity.
    rows : Tensor of shape (2, ...)
        Some input, to find out which layer that is.
    n_components : int
        Outputs of the head. The module's own is kept if it has as many.

    Returns
    -------
    backbone : Module
    head : Linear
    """
    width = output_width(module, rows)
    name = _output_layer(module, rows)
    if name is None:
        return module, nn.Linear(width, n_components)
    head = module.get_submodule(name)
    if head.out_features != n_components:
        head = nn.Linear(head.in_features, n_components)
    if not name:  # the module is that layer
        return nn.Identity(), head
    parent, _, leaf = name.rpartition(".")
    setattr(module.get_submodule(parent), leaf, nn.Identity())
    return module, head


def _output_layer(module: nn.Module, rows: Tensor) -> str | None:
    """Return the name of the linear layer whose output is the module's, or None."""
    outputs: dict[str, Tensor] = {}
    handles = [
        layer.register_forward_hook(lambda _, __, out, name=name: outputs.update({name: out}))
        for name, layer in module.named_modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        result = evaluate(module, rows)
    finally:
        for handle in handles:
            handle.remove()
    return next((name for name, out in outputs.items() if out is result), None)


def output_width(body: nn.Module, rows: Tensor) -> int:
    """Return the number of columns that a module gives for these rows, its state unchanged."""
    try:
        output = evaluate(body, rows)
    except Exception as error:
        raise ValueError(
            f"the encoder failed on rows of shape {tuple(rows.shape)} and dtype {rows.dtype}: "
            f"{error}"
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(rows):
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(
            f"the encoder returned {shape} for {len(rows)} rows: it must return one row of "
            "n_components numbers for each."
        )
    return output.shape[1]


@torch.no_grad()
def evaluate(module: nn.Module, rows: Tensor) -> Tensor:
    """Return a module's output in evaluation mode, its own mode unchanged."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        return module(rows)
    finally:
        for part, training in modes:  # a part may have a mode of its own
            part.training = training
