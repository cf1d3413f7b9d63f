"""Sums over all pairs of points on the sphere, value and gradient in one pass of tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Pairs nearer than this (squared distance) lose digits in 2 - 2 cos and are computed directly.
_NEAR = 0.05
# Side of a tile of the pairwise matrix: 1 MiB in float32, which stays in a core's cache.
_TILE = 512

# From squared distances, which it may overwrite, to values and their derivatives in the squared
# distance. A value at an infinite distance is 0, and so is its derivative.
Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]


class PairSum(torch.autograd.Function):
    """Sum of ``kernel(||u_i - u_j||^2)`` over the ordered pairs i != j, with u the unit points.

    Only the tiles on and above the diagonal are computed, each once, for value and gradient
    together: memory is O(n) beside the tile.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, kernel: Kernel) -> Tensor:
        value, gradient = pair_sum(points, kernel)
        ctx.save_for_backward(gradient)
        return value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_output * gradient, None


def pair_sum(points: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Return the sum over ordered pairs and its gradient in the points, which need not be unit."""
    norm = points.norm(dim=1, keepdim=True).clamp_min(torch.finfo(points.dtype).tiny)
    u = points / norm
    total = u.new_zeros(())
    gradient = torch.zeros_like(u)
    for rows, columns in _tiles(len(u)):
        squared = _squared_distances(u[rows], u[columns])
        if rows == columns:
            squared.fill_diagonal_(math.inf)  # a point is no pair with itself
        near = _near_pairs(squared)
        value, slope = kernel(squared)
        if near is not None:
            difference = u[rows][near[0]] - u[columns][near[1]]
            value[near], near_slope = kernel(difference.square().sum(1))
            slope[near] = 0
        total += value.sum() if rows == columns else 2 * value.sum()
        # Up to a multiple of the point itself, which the tangent projection below takes away.
        gradient[rows].addmm_(slope, u[columns], alpha=-4)
        if rows != columns:
            gradient[columns].addmm_(slope.T, u[rows], alpha=-4)
        if near is not None:
            push = 4 * near_slope[:, None] * difference
            gradient[rows].index_add_(0, near[0], push)
            if rows != columns:
                gradient[columns].index_add_(0, near[1], push, alpha=-1)
    radial = (gradient * u).sum(1, keepdim=True)
    return total, gradient.addcmul_(u, radial, value=-1).div_(norm)


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    two = a.new_full((), 2.0).expand(len(a), len(b))
    return torch.addmm(two, a, b.T, alpha=-2).clamp_min_(0)


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    cuts = [slice(start, min(start + _TILE, n)) for start in range(0, n, _TILE)]
    return ((rows, columns) for i, rows in enumerate(cuts) for columns in cuts[i:])


def _near_pairs(squared: Tensor) -> tuple[Tensor, Tensor] | None:
    """Indices of the pairs to compute directly; None where there are none.

    On an accelerator the look-up would wait for the device: there the Gram form stands.
    """
    if squared.device.type != "cpu" or squared.amin() >= _NEAR:
        return None
    return (squared < _NEAR).nonzero(as_tuple=True)


def softening(points: Tensor) -> float:
    """Squared distance below which a pair counts as this far apart: keeps everything finite."""
    return 4 * torch.finfo(points.dtype).eps


def riesz_kernel(s: float, floor: float) -> Kernel:
    """Kernel of the Riesz energy: ``r^-s``, or ``log(1 / r)`` for s = 0."""

    def logarithmic(squared: Tensor) -> tuple[Tensor, Tensor]:
        inverse = squared.clamp_min_(floor).reciprocal()
        # The diagonal's inf must add nothing, and log(1 / inf) is not 0.
        value = squared.log_().mul_(-0.5).masked_fill_(inverse == 0, 0)
        return value, inverse.mul_(-0.5)

    def inverse_square(squared: Tensor) -> tuple[Tensor, Tensor]:
        value = squared.clamp_min_(floor).reciprocal_()
        return value, value.square().neg_()

    def power(squared: Tensor) -> tuple[Tensor, Tensor]:
        inverse = squared.clamp_min_(floor).reciprocal()
        value = squared.pow_(-s / 2)
        return value, inverse.mul_(value).mul_(-s / 2)

    return {0: logarithmic, 2: inverse_square}.get(s, power)


def unit(points: Tensor) -> Tensor:
    """Unit rows, in at least float32."""
    return F.normalize(widened(points), dim=-1)


def widened(points: Tensor) -> Tensor:
    """Points in at least float32: bfloat16 and float16 carry too few digits for distances."""
    return points.float() if points.dtype in (torch.bfloat16, torch.float16) else points


def smallest_distance(points: Tensor) -> Tensor:
    """Distance of the nearest two of some unit points."""
    smallest = points.new_full((), math.inf)
    for rows, columns in _tiles(len(points)):
        squared = _squared_distances(points[rows], points[columns])
        if rows == columns:
            squared.fill_diagonal_(math.inf)
        partner = squared.argmin(1)
        direct = (points[rows] - points[columns][partner]).square().sum(1)
        smallest = torch.minimum(smallest, direct.min())
    return smallest.clamp_min(softening(points)).sqrt()
