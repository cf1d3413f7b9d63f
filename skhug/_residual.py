"""Residual blocks and the network made of them."""

from __future__ import annotations

from torch import Tensor, nn

__all__ = ["RESNETS", "residual_network"]


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
