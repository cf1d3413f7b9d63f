"""Images as arrays: which axis holds the channels, and statistics per channel."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from skhug._distributed.group import ALONE, Alone

__all__ = ["ChannelSummary", "Layout", "channel_statistics"]

# Sizes of an axis that mark it as that of the channels: grey, colour, colour with opacity.
_CHANNELS = (1, 3, 4)
# Values taken to float64 at once for the statistics.
_BLOCK_VALUES = 1 << 18


@dataclass(frozen=True)
class Layout:
    """How an image lies in its array.

    Parameters
    ----------
    shape : tuple of int
        Of one image: (height, width), (channels, height, width) or (height, width, channels).
        The channels are on the first of three axes if its size is 1, 3 or 4, else on the last if
        its size is, else on the first if it is shorter than the last.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        self.channel_axis  # noqa: B018  raises where there is none

    @property
    def channel_axis(self) -> int | None:
        """Axis of an image's channels: 0, 2, or None for grey images without one.

        Raises
        ------
        ValueError
            If the shape is not that of an image, or leaves the channels open.
        """
        if len(self.shape) == 2 and 0 not in self.shape:
            return None
        if len(self.shape) != 3 or 0 in self.shape:
            raise ValueError(
                f"Images of shape {self.shape}: pass (height, width), (channels, height, width) "
                "or (height, width, channels) a sample."
            )
        first, _, last = self.shape
        if first in _CHANNELS or (last not in _CHANNELS and first < last):
            return 0
        if last in _CHANNELS:
            return 2
        raise ValueError(
            f"Images of shape {self.shape} leave open which axis holds the channels: it must be "
            "the first or the last, of size 1, 3 or 4, or else the first and shorter than the "
            "last. Move it to the front: numpy.moveaxis(X, -1, 1)."
        )

    @property
    def channels_first(self) -> tuple[int, int, int]:
        """Shape of an image as (channels, height, width)."""
        height, width = (n for i, n in enumerate(self.shape) if i != self.channel_axis)
        channels = 1 if self.channel_axis is None else self.shape[self.channel_axis]
        return channels, height, width

    def to_channels_first(self, X: Any) -> Any:
        """Return images, an array or a tensor of any row shape, as a view of (n, C, H, W)."""
        X = X.reshape(X.shape[0], *self.shape)  # len() would fix the batch in an exported graph
        if self.channel_axis is None:
            return X[:, None]
        return X if self.channel_axis == 0 else X.swapaxes(1, 3).swapaxes(2, 3)

    @classmethod
    def of_rows(
        cls, row_shape: tuple[int, ...], image_shape: tuple[int, ...] | None
    ) -> Layout | None:
        """Return the layout of rows of some shape; None if they are no images.

        Parameters
        ----------
        row_shape : tuple of int
            ``X.shape[1:]``.
        image_shape : tuple of int or None
            What an encoder says of its input; needed for flat rows alone.

        Raises
        ------
        ValueError
            If the two do not fit each other.
        """
        declared = None if image_shape is None else cls(tuple(image_shape))
        if len(row_shape) == 1:
            if declared is not None and math.prod(declared.shape) != row_shape[0]:
                raise ValueError(
                    f"image_shape={declared.shape} has {math.prod(declared.shape)} values and "
                    f"each row has {row_shape[0]}: set it to the shape of one image."
                )
            return declared
        layout = cls(tuple(row_shape))
        if declared is not None and declared.channels_first != layout.channels_first:
            raise ValueError(
                f"image_shape={declared.shape} and X has images of shape {layout.shape}: leave "
                "image_shape=None, it is needed for flat rows alone."
            )
        return layout


def channel_statistics(
    X: Any, weight: np.ndarray, layout: Layout, shards: Alone = ALONE
) -> tuple[np.ndarray, np.ndarray]:
    """Return each channel's mean and standard deviation over all pixels, read in blocks.

    Parameters
    ----------
    X : array-like of shape (n, ...)
        Images of any dtype; only slices ``X[start:stop]`` are read, about 260,000 values each.
    weight : ndarray of shape (n,)
        Positive weights of the images.
    layout : Layout
        How an image lies in a row.
    shards : Alone
        The processes that hold further images, which count as well.

    Returns
    -------
    mean, std : ndarray of shape (n_channels,), float64
        In the units of X. What varies by rounding only has a deviation of 0.
    """
    channels, height, width = layout.channels_first
    rows = max(1, _BLOCK_VALUES // (channels * height * width))
    shift, first, second = 0.0, np.zeros(channels), np.zeros(channels)
    for start in range(0, len(X), rows):
        block = layout.to_channels_first(np.asarray(X[start : start + rows]))
        # In one order, so that the sums do not depend on the layout.
        block = np.array(block, dtype=np.float64, order="C")
        if start == 0:  # squares of differences from about the mean keep their digits
            shift = shards.first(partial(block.mean, axis=(0, 2, 3)))
        block -= shift[:, None, None]
        share = weight[start : start + rows]
        first += share @ block.sum(axis=(2, 3))
        second += share @ np.einsum("nchw,nchw->nc", block, block)
    first, second = shards.total(first), shards.total(second)
    pixels = sum(shards.gather(weight.sum())) * height * width
    offset = first / pixels
    mean, std = shift + offset, np.sqrt(np.maximum(second / pixels - offset**2, 0))
    return mean, _beyond_rounding(std, mean)


class ChannelSummary(NamedTuple):
    """Channel statistics of images, with what it takes to add those of later ones.

    ``n_rows`` is the number of images; ``mean`` and ``std`` have shape (n_channels,).
    """

    n_rows: int
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, X: Any, weight: np.ndarray, layout: Layout) -> ChannelSummary:
        """Return the summary of images, which count by their weights among one another."""
        return cls(len(X), *channel_statistics(X, weight, layout))

    def merged(self, newer: ChannelSummary, seed: int) -> ChannelSummary:
        """Return the summary of the images of both; nothing is drawn by the seed."""
        n_rows = self.n_rows + newer.n_rows
        old, new = self.n_rows / n_rows, newer.n_rows / n_rows
        between = math.sqrt(old * new) * (newer.mean - self.mean)
        within = np.hypot(math.sqrt(old) * self.std, math.sqrt(new) * newer.std)
        mean = old * self.mean + new * newer.mean
        return ChannelSummary(n_rows, mean, _beyond_rounding(np.hypot(within, between), mean))

    def centre_and_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and standard deviation of each channel."""
        return self.mean, self.std


def _beyond_rounding(std: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return deviations, 0 for what varies by rounding only."""
    return np.where(std <= 1e-12 * np.abs(mean), 0, std)
