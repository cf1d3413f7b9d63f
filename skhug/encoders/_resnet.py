"""Residual network for small images."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from skhug._configured import explained
from skhug.encoders._encoder import Encoder, _are_sizes, _check_images

__all__ = ["RESNETS", "ResNet", "residual_network"]


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


def _convolution(channels: int, out: int, size: int, stride: int = 1) -> list[nn.Module]:
    """Convolution that keeps the side up to its stride, and batch normalisation."""
    layer = nn.Conv2d(channels, out, size, stride, padding=size // 2, bias=False)
    return [layer, nn.BatchNorm2d(out)]


class _Block(nn.Module):
    """``relu(residual(x) + shortcut(x))``; the residual starts at zero."""

    # Output channels as a multiple of the block's width.
    expansion = 1

    def __init__(self, channels: int, width: int, stride: int) -> None:
        super().__init__()
        out = self.expansion * width
        self.residual = nn.Sequential(*self.layers(channels, width, stride))
        nn.init.zeros_(self.residual[-1].weight)
        same = channels == out and stride == 1
        self.shortcut = (
            nn.Identity() if same else nn.Sequential(*_convolution(channels, out, 1, stride))
        )
        self.activation = nn.ReLU()

    def layers(self, channels: int, width: int, stride: int) -> list[nn.Module]:
        """Return the residual's layers, a normalisation last."""
        raise NotImplementedError

    def forward(self, X: Tensor) -> Tensor:
        """Return the block's output."""
        return self.activation(self.residual(X) + self.shortcut(X))


class BasicBlock(_Block):
    """Two 3x3 convolutions."""

    def layers(self, channels: int, width: int, stride: int) -> list[nn.Module]:
        """Return the residual's layers."""
        first = _convolution(channels, width, 3, stride)
        return [*first, nn.ReLU(), *_convolution(width, width, 3)]


class Bottleneck(_Block):
    """A 3x3 convolution between two of 1x1, four times as many channels out."""

    expansion = 4

    def layers(self, channels: int, width: int, stride: int) -> list[nn.Module]:
        """Return the residual's layers."""
        narrow = [*_convolution(channels, width, 1), nn.ReLU()]
        middle = [*_convolution(width, width, 3, stride), nn.ReLU()]
        return [*narrow, *middle, *_convolution(width, self.expansion * width, 1)]


# Depth: block and how often it is repeated in each stage (He et al. 2016, table 1).
RESNETS: dict[int, tuple[type[_Block], tuple[int, ...]]] = {
    18: (BasicBlock, (2, 2, 2, 2)),
    34: (BasicBlock, (3, 4, 6, 3)),
    50: (Bottleneck, (3, 4, 6, 3)),
}


def residual_network(
    block: type[_Block], repeats: tuple[int, ...], channels: int, width: int, n_components: int
) -> nn.Sequential:
    """Return the network in its CIFAR form: a 3x3 stem, no pooling in front of the stages."""
    layers = [*_convolution(channels, width, 3), nn.ReLU()]
    channels = width
    for stage, count in enumerate(repeats):
        stage_width = width * 2**stage
        for i in range(count):
            layers.append(block(channels, stage_width, stride=2 if stage > 0 and i == 0 else 1))
            channels = block.expansion * stage_width
    pooled = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, n_components)]
    return nn.Sequential(*layers, *pooled)
