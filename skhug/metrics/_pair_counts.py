"""Pairs of rows counted by their cosine: how many of one class lie at each, how many of two."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skhug._device import to_numpy

__all__ = ["Binned", "Counts", "Listed", "counter_of"]

# Pairs up to which all are kept and sorted in the end.
_FEW = 1 << 22
# Steps from a cosine of 0 to 1. Products of unit rows in float64 are exact to 1e-15, and what
# rounding parts stays one; in float32, and in bins, of which 2^23 are held, steps are coarser.
_FINE, _COARSE = 2.0**40, 2.0**22


class Counts(NamedTuple):
    """Weights of the pairs at each cosine that occurs.

    ``cosine`` (m,) falls; ``true`` (m,) is the weight of the pairs of one class there, ``false``
    (m,) of those of two; all are float64.
    """

    cosine: np.ndarray
    true: np.ndarray
    false: np.ndarray


class Listed:
    """Every pair, kept until the end: for few of them."""

    def __init__(self, like: Tensor) -> None:
        self.steps = _FINE if like.dtype == torch.float64 else _COARSE
        self._parts: list[tuple[Tensor, Tensor, Tensor | None]] = []

    def add(self, cosine: Tensor, true: Tensor, weight: Tensor | None) -> None:
        """Count pairs (n,), each once or by its weight."""
        self._parts.append((_step(cosine, self.steps), true, weight))

    def counts(self) -> Counts:
        """Return what was counted."""
        step, true, weight = zip(*self._parts, strict=True)
        found, index = torch.cat(step).unique(return_inverse=True)
        index += len(found) * torch.cat(true)
        weights = None if weight[0] is None else torch.cat(weight)
        sums = _sums(2 * len(found), index, weights)
        _add(sums, index, weights)
        return _counts(found, sums, self.steps)


class Binned:
    """Sums in bins as wide as a step: memory does not grow with the pairs."""

    def __init__(self, like: Tensor) -> None:
        self.steps = _COARSE
        self._n = 2 * int(self.steps) + 1
        self._like = like
        self._sums: Tensor | None = None

    def add(self, cosine: Tensor, true: Tensor, weight: Tensor | None) -> None:
        """Count pairs (n,), each once or by its weight."""
        index = _step(cosine, self.steps).add_(int(self.steps)).add_(true, alpha=self._n)
        if self._sums is None:
            self._sums = _sums(2 * self._n, index, weight)
        _add(self._sums, index, weight)

    def counts(self) -> Counts:
        """Return what was counted."""
        (found,) = torch.nonzero(self._sums.view(2, -1).any(0), as_tuple=True)
        sums = self._sums.view(2, -1)[:, found]
        return _counts(found - int(self.steps), sums, self.steps)


def counter_of(n_pairs: int, like: Tensor) -> Listed | Binned:
    """Return what counts so many pairs, on the device and in the dtype of ``like``."""
    return (Listed if n_pairs <= _FEW else Binned)(like)


def _step(cosine: Tensor, steps: float) -> Tensor:
    """Return the nearest step; overwrites the cosines."""
    return cosine.mul_(steps).round_().clamp_(-steps, steps).long()


def _sums(n: int, index: Tensor, weight: Tensor | None) -> Tensor:
    dtype = torch.int64 if weight is None else weight.dtype
    return torch.zeros(n, dtype=dtype, device=index.device)


def _add(sums: Tensor, index: Tensor, weight: Tensor | None) -> None:
    weight = sums.new_ones(1).expand(len(index)) if weight is None else weight
    sums.index_add_(0, index, weight)


def _counts(step: Tensor, sums: Tensor, steps: float) -> Counts:
    """Return counts from rising steps and the sums of false and of true pairs."""
    false, true = to_numpy(sums).reshape(2, -1)[:, ::-1].astype(np.float64)
    return Counts(to_numpy(step)[::-1] / steps, true, false)
