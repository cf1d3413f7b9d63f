"""Attacks within a box around each row, and corruptions: raw pixels in, raw pixels out.

Every attack changes each pixel by at most ``radius`` and keeps it within [0, 255]. ``scores(X)``
are a model's, (n, n_classes), differentiable where gradients are asked for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Scores = Callable[[Tensor], Tensor]
Objective = Callable[[Tensor, Tensor], Tensor]

PIXELS = (0.0, 255.0)


def cross_entropy(scores: Tensor, y: Tensor) -> Tensor:
    """Loss of each row, to be raised: flat where a model is sure, which hides its gradient."""
    return F.cross_entropy(scores, y, reduction="none")


def margin(scores: Tensor, y: Tensor) -> Tensor:
    """Best other class's score less the true one's: above 0 the row is lost."""
    own = scores.gather(1, y[:, None])
    return (scores.scatter(1, y[:, None], -torch.inf).amax(1, keepdim=True) - own)[:, 0]


def gradient_sign(scores: Scores, X: Tensor, y: Tensor, objective: Objective) -> Tensor:
    """Return the sign of the objective's gradient in the rows."""
    X = X.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(objective(scores(X), y).sum(), X)
    return gradient.sign()


def into_box(changed: Tensor, X: Tensor, radius: float) -> Tensor:
    """Return the nearest rows within the radius of X and the range of pixels."""
    return torch.clamp(changed, X - radius, X + radius).clamp(*PIXELS)


def fgsm(scores: Scores, X: Tensor, y: Tensor, radius: float, objective: Objective) -> Tensor:
    """One step of the full radius along the sign (Goodfellow et al. 2015)."""
    return into_box(X + radius * gradient_sign(scores, X, y, objective), X, radius)


def pgd(
    scores: Scores,
    X: Tensor,
    y: Tensor,
    radius: float,
    objective: Objective,
    steps: int,
    generator: torch.Generator,
) -> Tensor:
    """Projected steps from a random start, the best met (Madry et al. 2018).

    Steps fall from half the radius to a tenth of that. Best is the largest margin, whatever the
    objective.
    """
    now = into_box(X + radius * (2 * torch.rand(X.shape, generator=generator) - 1), X, radius)
    best = _Best(scores, X, y)
    for i in range(steps):
        best.update(now)
        size = 0.5 * radius * 0.1 ** (i / steps)
        now = into_box(now + size * gradient_sign(scores, now, y, objective), X, radius)
    best.update(now)
    return best.X


def random_squares(
    scores: Scores,
    X: Tensor,
    y: Tensor,
    radius: float,
    queries: int,
    side: int,
    generator: torch.Generator,
) -> Tensor:
    """Random search that needs no gradient: after the Square attack (Andriushchenko et al. 2020).

    From random columns of plus and minus the radius on, one square an image is redrawn a query,
    and kept where it raises the margin. Its side shrinks from half the image to two pixels.
    """
    n = len(X)
    images = X.reshape(n, side, side)

    def changed(delta: Tensor) -> Tensor:
        return (images + delta).clamp(*PIXELS).reshape(n, -1)

    delta = _signs((n, 1, side), radius, generator).expand(n, side, side).clone()
    best = _Best(scores, X, y)
    best.update(changed(delta))
    positions = torch.arange(side)
    for i in range(queries):
        length = max(2, round(side * 0.5 ** (1 + 4 * i / queries)))
        corner = torch.randint(side - length + 1, (2, n, 1), generator=generator)
        down, across = (positions >= corner) & (positions < corner + length)  # (n, side) each
        square = down[:, :, None] & across[:, None, :]
        trial = torch.where(square, _signs((n, 1, 1), radius, generator), delta)
        kept = best.update(changed(trial))
        delta[kept] = trial[kept]
    return best.X


def _signs(shape: tuple[int, ...], radius: float, generator: torch.Generator) -> Tensor:
    return radius * (2.0 * torch.randint(2, shape, generator=generator) - 1)


class _Best:
    """The rows of the largest margin among those seen."""

    def __init__(self, scores: Scores, X: Tensor, y: Tensor) -> None:
        self.scores, self.y, self.X = scores, y, X.clone()
        self.margin = self._margin(X)

    @torch.no_grad()
    def _margin(self, X: Tensor) -> Tensor:
        return margin(self.scores(X), self.y)

    def update(self, X: Tensor) -> Tensor:
        """Keep what is better; return which rows are."""
        found = self._margin(X)
        better = found > self.margin
        self.X[better], self.margin[better] = X[better], found[better]
        return better


def gaussian_noise(X: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Noise of standard deviation 64 on every pixel."""
    return (X + 64 * torch.randn(X.shape, generator=generator)).clamp(*PIXELS)


def blur(X: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """Gaussian blur of standard deviation 2 pixels."""
    window = torch.exp(-torch.arange(-6.0, 7.0).square() / 8)
    window /= window.sum()
    images = X.reshape(-1, 1, side, side)
    for kernel in (window[:, None], window[None, :]):
        images = F.conv2d(images, kernel[None, None], padding="same")
    return images.reshape(X.shape)


def low_contrast(X: Tensor, side: int, generator: torch.Generator) -> Tensor:
    """A third of the contrast around the image's mean."""
    mean = X.mean(1, keepdim=True)
    return mean + (X - mean) / 3


CORRUPTIONS = {"noise": gaussian_noise, "blur": blur, "contrast": low_contrast}
