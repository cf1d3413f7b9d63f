"""Proxies that follow the means of their classes' embeddings."""

from __future__ import annotations

import torch
from torch import Tensor

from skhug._sphere import unit

__all__ = ["ClassFollower"]


class ClassFollower:
    """Moves proxies towards the means of their classes' rows in a batch.

    ``w <- unit(momentum w + (1 - momentum) mean)`` for classes with rows that count; others stay.
    Nothing is carried from one step to the next, and nothing waits for the device.

    Parameters
    ----------
    proxies : Tensor of shape (n_classes, n_components)
        Moved in place.
    momentum : float
        In (0, 1).
    """

    def __init__(self, proxies: Tensor, momentum: float) -> None:
        self._proxies = proxies
        self._momentum = momentum
        self._sums = torch.zeros_like(proxies.detach())
        self._weights = self._sums.new_zeros(len(proxies), 1)

    @property
    def seen(self) -> list[Tensor]:
        """What a batch adds up to, of all processes that have a part of it."""
        return [self._sums, self._weights]

    def forget(self) -> None:
        """Start a batch."""
        self._sums.zero_()
        self._weights.zero_()

    @torch.no_grad()
    def see(self, features: Tensor, labels: Tensor, coef: Tensor) -> None:
        """Take some rows of the batch: raw outputs, classes, and what each row counts."""
        weight = coef.to(self._sums.dtype)[:, None]
        self._sums.index_add_(0, labels, unit(features.detach()).to(self._sums.dtype) * weight)
        self._weights.index_add_(0, labels, weight)

    @torch.no_grad()
    def step(self) -> None:
        """Move the proxies, once the optimizer has."""
        proxies, dtype = self._proxies.data, self._sums.dtype
        mean = self._sums / self._weights.clamp_min(torch.finfo(dtype).tiny)
        moved = unit(self._momentum * unit(proxies) + (1 - self._momentum) * mean)
        proxies.copy_(torch.where(self._weights > 0, moved, proxies))
