"""Convolutional network for images."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral

from torch import nn

from skhug._configured import explained
from skhug.encoders._encoder import Encoder, _are_sizes, _check_images, _one_of, checked_softness

__all__ = ["ConvNet"]

READOUTS = ("average", "flatten")


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
        (``benchmarks/evidence/retrieval.py``), at the price of larger feature maps.
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
