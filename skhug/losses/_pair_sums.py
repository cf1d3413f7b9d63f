"""Sums over all pairs of points on the sphere, value and gradient in one pass of tiles."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from skhug._sphere import project, tangent

# Pairs nearer than this (squared distance) lose digits in 2 - 2 cos and are computed directly.
_NEAR = 0.05
# Where sums stay in the points' dtype: the CPU looks for near pairs, MPS has no float64.
_NARROW = ("cpu", "mps")
# Side of a tile of the pairwise matrix: 0.6 MiB in float32, which stays in a core's cache.
_TILE = 384

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
    if points.device.type in _NARROW:
        return _pair_sum(points, kernel)
    return wide_pair_sum(points, kernel)


def wide_pair_sum(points: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Do the same in float64, by arithmetic of fixed shape.

    On a GPU a look-up of near pairs waits for the device, and no graph can be captured. Of
    float32 points ``2 - 2 cos`` is wrong by 1e-15 in float64, where the smallest distance that
    counts is 5e-7. Data-centre GPUs multiply float64 at float32's rate, others far slower.
    """
    value, gradient = _pair_sum(points.double(), kernel)
    return value.to(points.dtype), gradient.to(points.dtype)


def _pair_sum(points: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    u, inverse = project(points)
    if len(u) <= _TILE:
        total, gradient = _diagonal_tile(u, kernel)
    else:
        total, gradient = u.new_zeros(()), torch.zeros_like(u)
        for rows, columns in _tiles(len(u)):
            if rows == columns:
                value, push = _diagonal_tile(u[rows], kernel)
                gradient[rows] += push
            else:
                value = _tile(u[rows], u[columns], kernel, gradient[rows], gradient[columns])
            total += value
    return total, tangent(gradient, u, inverse)


def _diagonal_tile(u: Tensor, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Sum over the ordered pairs of some points, and its gradient in them.

    Gradients are those up to a multiple of the point itself, which the tangent projection takes
    away.
    """
    squared = _squared_distances(u, u)
    squared.fill_diagonal_(math.inf)  # a point is no pair with itself
    near = _near_pairs(squared)
    value, slope = kernel(squared)
    if near is None:
        return value.sum(), torch.mm(slope, u).mul_(-4)
    push = _correct_pairs(u, u, near, kernel, value, slope)
    gradient = torch.mm(slope, u).mul_(-4)
    return value.sum(), gradient.index_add_(0, near[0], push)


def _tile(a: Tensor, b: Tensor, kernel: Kernel, in_a: Tensor, in_b: Tensor) -> Tensor:
    """Sum over the ordered pairs between two sets of points; adds its gradients in place."""
    squared = _squared_distances(a, b)
    near = _near_pairs(squared)
    value, slope = kernel(squared)
    if near is not None:
        push = _correct_pairs(a, b, near, kernel, value, slope)
        in_a.index_add_(0, near[0], push)
        in_b.index_add_(0, near[1], push, alpha=-1)
    in_a.addmm_(slope, b, alpha=-4)
    in_b.addmm_(slope.T, a, alpha=-4)
    return 2 * value.sum()


def _correct_pairs(
    a: Tensor, b: Tensor, near: tuple[Tensor, Tensor], kernel: Kernel, value: Tensor, slope: Tensor
) -> Tensor:
    """Put right the values of near pairs by direct differences; return their pushes on a.

    Their slopes are set to 0.
    """
    difference = a[near[0]] - b[near[1]]
    value[near], near_slope = kernel(difference.square().sum(1))
    slope[near] = 0
    return 4 * near_slope[:, None] * difference


def _squared_distances(a: Tensor, b: Tensor) -> Tensor:
    two = a.new_full((), 2.0).expand(len(a), len(b))
    return torch.addmm(two, a, b.T, alpha=-2)  # rounding may leave it below 0: kernels clamp


def _near_pairs(squared: Tensor) -> tuple[Tensor, Tensor] | None:
    """Indices of the pairs to compute directly; None where there are none, and off the CPU."""
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


def _tiles(n: int) -> Iterator[tuple[slice, slice]]:
    cuts = [slice(start, min(start + _TILE, n)) for start in range(0, n, _TILE)]
    return ((rows, columns) for i, rows in enumerate(cuts) for columns in cuts[i:])


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
