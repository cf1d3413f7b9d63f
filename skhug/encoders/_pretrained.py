"""A user's module, its last layer fitted to the embedding."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from skhug._configured import explained
from skhug.encoders._encoder import Encoder, _are_sizes
from skhug.encoders._probing import evaluate, output_width

__all__ = ["FineTuned", "Pretrained", "split_head"]


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
    views : int, optional
        With ``frozen``, where rows change from epoch to epoch: how many passes over them the
        module makes before training, of which the epochs then take one in turn. By default it
        runs in every epoch, and every epoch sees something new.

    Notes
    -----
    A frozen module runs once over the rows of a fit, those of validation too, and the head trains
    on its features: in memory, or from 256 MiB on in a nameless file in the system's folder
    for these (``TMPDIR``), which is gone with the fit. Rows change with the estimator's ``augment``
    and in a torch data set, whose items may be drawn anew: there ``views`` decides. In
    ``partial_fit`` it does not, since its epochs are calls of their own.

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

    _before: ClassVar[dict[str, Any]] = {"views": None}

    @explained
    def __init__(
        self,
        module: nn.Module,
        learning_rate: float | None = None,
        frozen: bool = False,
        standardize: bool | tuple[Sequence[float], Sequence[float]] = False,
        image_shape: tuple[int, ...] | None = None,
        views: int | None = None,
    ) -> None:
        self.module = module
        self.learning_rate = learning_rate
        self.frozen = frozen
        self.standardize = standardize
        self.image_shape = image_shape
        self.views = views

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
            raise TypeError(
                f"Pretrained takes a torch.nn.Module, not {self.module!r}: pass a module with "
                "its weights, such as Pretrained(resnet18(weights='DEFAULT')) of torchvision."
            )
        if self.learning_rate is not None and not self.learning_rate > 0:
            raise ValueError(
                f"learning_rate={self.learning_rate!r}: pass a number above 0, or frozen=True."
            )
        if self.views is not None and not _are_sizes([self.views]):
            raise ValueError(
                f"views={self.views!r}: pass a whole number above 0, or None for a new one in "
                "every epoch."
            )
        module = copy.deepcopy(self.module)
        like = next(module.parameters(), torch.zeros(()))
        rows = torch.zeros(2, *input_shape, device=like.device, dtype=like.dtype)
        backbone, head = split_head(module, rows, n_components)
        return FineTuned(backbone, head, self.learning_rate, self.frozen)


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
