"""Augmentation of image batches, on their device: (X, generator) -> X.

Every image gets a draw of its own, without a loop over images. The few numbers that a batch
needs are drawn where the generator lives (the CPU, in a fit) and moved to the images, so that
one seed augments alike on every device.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import pi
from numbers import Integral, Real

import torch
import torch.nn.functional as F
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._docs import public

__all__ = ["Affine", "Augmentation", "Compose", "Cutout", "HorizontalFlip", "RandomCrop"]
__dir__ = public(globals())


class Augmentation(Configured):
    """Base of the augmentations: parameters that act on a batch of images when called.

    Parameters follow scikit-learn (``get_params``, ``set_params``), so that a grid search
    reaches them as ``augment__padding``. One of your own has ``_augment(X, generator)``; a plain
    function of the two does as well.

    Examples
    --------
    >>> import torch
    >>> from skhug.augment import Augmentation
    >>> class Invert(Augmentation):
    ...     def _augment(self, X, generator):
    ...         return 255 - X
    >>> Invert()(torch.zeros(2, 1, 8, 8), torch.Generator()).max()
    tensor(255.)
    """

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Return augmented images.

        Parameters
        ----------
        X : Tensor of shape (batch, channels, height, width)
            Images of any dtype; not changed.
        generator : torch.Generator
            Source of the random numbers.

        Returns
        -------
        X : Tensor
            Of the same shape, dtype and device.

        Raises
        ------
        ValueError
            If a parameter is out of its range, or X has no four axes.
        """
        if X.ndim != 4:
            raise ValueError(
                f"{type(self).__name__} takes images of shape (batch, channels, height, width), "
                f"and X has shape {tuple(X.shape)}: pass images, or augment=None."
            )
        return self._augment(X, generator)

    def _augment(self, X: Tensor, generator: torch.Generator) -> Tensor:
        raise NotImplementedError(
            f"{type(self).__name__} has no _augment(X, generator), which returns the changed "
            "images: define it, or pass augment= a plain function of the two."
        )


class RandomCrop(Augmentation):
    """Shift each image by up to ``padding`` pixels, as cropping it from a padded copy does.

    Parameters
    ----------
    padding : int, default=4
        Zeros added at every side before the crop, 0 or more; a crop has the image's size.

    Examples
    --------
    >>> import torch
    >>> from skhug.augment import RandomCrop
    >>> X = torch.ones(8, 1, 4, 4, dtype=torch.uint8)
    >>> out = RandomCrop(padding=1)(X, torch.Generator().manual_seed(0))
    >>> out.shape, out.dtype
    (torch.Size([8, 1, 4, 4]), torch.uint8)
    """

    @explained
    def __init__(self, padding: int = 4) -> None:
        self.padding = padding

    def _augment(self, X: Tensor, generator: torch.Generator) -> Tensor:
        _require(
            isinstance(self.padding, Integral) and self.padding >= 0,
            f"padding={self.padding!r}: pass a number of pixels, 0 or more.",
        )
        n, _, height, width = X.shape
        # (n, channels, 2 padding + 1, 2 padding + 1, height, width), a view
        windows = F.pad(X, [self.padding] * 4).unfold(2, height, 1).unfold(3, width, 1)
        top, left = _integers(2 * self.padding + 1, (2, n), generator, X.device)
        return windows[torch.arange(n, device=X.device), :, top, left]


class HorizontalFlip(Augmentation):
    """Mirror each image left to right with probability ``p``.

    Parameters
    ----------
    p : float, default=0.5
        In [0, 1].

    Examples
    --------
    >>> import torch
    >>> from skhug.augment import HorizontalFlip
    >>> X = torch.tensor([[[[1, 2, 3]]]])
    >>> HorizontalFlip(p=1.0)(X, torch.Generator())
    tensor([[[[3, 2, 1]]]])
    """

    @explained
    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def _augment(self, X: Tensor, generator: torch.Generator) -> Tensor:
        _require(
            isinstance(self.p, Real) and 0 <= self.p <= 1,
            f"p={self.p!r}: pass a probability in [0, 1].",
        )
        flipped = _uniform(0, 1, len(X), generator, X.device) < self.p
        return torch.where(_per_image(flipped), X.flip(3), X)


class Affine(Augmentation):
    """Rotate, shift and scale each image about its centre, bilinearly; zeros come in from outside.

    Parameters
    ----------
    degrees : float or (float, float), default=10.0
        Range of the angle, counter-clockwise; a number d stands for (-d, d).
    translate : float, default=0.0
        Largest shift, as a share of width and height, 0 or more.
    scale : (float, float), default=(1.0, 1.0)
        Range of the magnification, above 0.

    Notes
    -----
    Computed in float32, in float64 for float64 images; integers are rounded.

    Examples
    --------
    >>> import torch
    >>> from skhug.augment import Affine
    >>> X = torch.rand(8, 3, 32, 32)
    >>> out = Affine(degrees=15, translate=0.1, scale=(0.9, 1.1))(X, torch.Generator())
    >>> out.shape
    torch.Size([8, 3, 32, 32])
    """

    @explained
    def __init__(
        self,
        degrees: float | tuple[float, float] = 10.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
    ) -> None:
        self.degrees = degrees
        self.translate = translate
        self.scale = scale

    def _augment(self, X: Tensor, generator: torch.Generator) -> Tensor:
        degrees = (-self.degrees, self.degrees) if isinstance(self.degrees, Real) else self.degrees
        _require(_is_range(degrees), f"degrees={self.degrees!r}: pass a number or (low, high).")
        _require(
            isinstance(self.translate, Real) and self.translate >= 0,
            f"translate={self.translate!r}: pass a share of the image's size, 0 or more.",
        )
        _require(
            _is_range(self.scale) and self.scale[0] > 0,
            f"scale={self.scale!r}: pass (low, high) with 0 < low <= high.",
        )
        n = len(X)
        angle = _uniform(*degrees, n, generator, X.device) * (pi / 180)
        zoom = _uniform(*self.scale, n, generator, X.device)
        shift = _uniform(-self.translate, self.translate, (2, n), generator, X.device)
        if (*degrees, self.translate, *self.scale) == (0, 0, 0, 1, 1):
            return X  # exactly, where interpolation would round
        exact = X if X.dtype == torch.float64 else X.float()
        theta = _inverse_affine(angle, zoom, shift, X.shape[3] / X.shape[2]).to(exact)
        grid = F.affine_grid(theta, list(X.shape), align_corners=False)
        moved = F.grid_sample(exact, grid, align_corners=False)
        return (moved if X.is_floating_point() else moved.round()).to(X.dtype)


class Cutout(Augmentation):
    """Set a square at a random place of each image to zero (DeVries and Taylor 2017).

    Parameters
    ----------
    size : int, default=8
        Side of the square in pixels, 0 or more. Its centre is any pixel, so that at the border
        a part of it may lie outside.

    References
    ----------
    DeVries and Taylor, "Improved Regularization of Convolutional Neural Networks with Cutout",
    2017, arXiv 1708.04552.

    Examples
    --------
    >>> import torch
    >>> from skhug.augment import Cutout
    >>> X = torch.ones(1, 1, 8, 8)
    >>> int(Cutout(size=1)(X, torch.Generator()).sum())
    63
    """

    @explained
    def __init__(self, size: int = 8) -> None:
        self.size = size

    def _augment(self, X: Tensor, generator: torch.Generator) -> Tensor:
        _require(
            isinstance(self.size, Integral) and self.size >= 0,
            f"size={self.size!r}: pass a number of pixels, 0 or more.",
        )
        n, _, height, width = X.shape
        rows = self._covered(height, n, generator, X.device)[:, None, :, None]
        columns = self._covered(width, n, generator, X.device)[:, None, None, :]
        return X.masked_fill(rows & columns, 0)

    def _covered(
        self, length: int, n: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """Return which of an axis's pixels the squares cover, shape (n, length)."""
        first = _integers(length, (n, 1), generator, device) - self.size // 2
        pixel = torch.arange(length, device=device)
        return (pixel >= first) & (pixel < first + self.size)


class Compose(Augmentation):
    """Apply augmentations one after the other.

    Parameters
    ----------
    steps : sequence of callable
        Each takes (X, generator) and returns X.

    Examples
    --------
    >>> from skhug.augment import Compose, Cutout, HorizontalFlip, RandomCrop
    >>> Compose([RandomCrop(4), HorizontalFlip(), Cutout(8)])
    Compose(steps=[RandomCrop(), HorizontalFlip(), Cutout()])
    """

    @explained
    def __init__(self, steps: Sequence[Callable[[Tensor, torch.Generator], Tensor]]) -> None:
        self.steps = steps

    def __call__(self, X: Tensor, generator: torch.Generator) -> Tensor:
        """Return X after all steps; see :class:`Augmentation`."""
        for step in self.steps:
            X = step(X, generator)
        return X


def _require(holds: bool, message: str) -> None:
    if not holds:
        raise ValueError(message)


def _is_range(value: object) -> bool:
    return isinstance(value, Sequence) and len(value) == 2 and value[0] <= value[1]


def _uniform(
    low: float,
    high: float,
    size: int | tuple[int, ...],
    generator: torch.Generator,
    device: torch.device,
) -> Tensor:
    drawn = torch.rand(size, generator=generator, device=generator.device)
    return (low + (high - low) * drawn).to(device, non_blocking=True)


def _integers(
    n: int, size: tuple[int, ...], generator: torch.Generator, device: torch.device
) -> Tensor:
    drawn = torch.randint(n, size, generator=generator, device=generator.device)
    return drawn.to(device, non_blocking=True)


def _per_image(values: Tensor) -> Tensor:
    return values[:, None, None, None]


def _inverse_affine(angle: Tensor, zoom: Tensor, shift: Tensor, aspect: float) -> Tensor:
    """Return what takes a pixel of the result to its origin, both in [-1, 1]; shape (n, 2, 3).

    ``aspect`` is width over height: a rotation mixes axes of different units.
    """
    cos, sin = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    x, y = 2 * shift
    rows = [
        torch.stack([cos, -sin / aspect, sin / aspect * y - cos * x], dim=1),
        torch.stack([sin * aspect, cos, -sin * aspect * x - cos * y], dim=1),
    ]
    return torch.stack(rows, dim=1)
