"""Sums and minima over all pairs of points on the sphere, in blocks of rows."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

# Pairs nearer than this (squared distance) lose digits in 2 - 2 cos and are computed directly.
_NEAR = 0.05
# Elements of one block of the pairwise matrix: 16 MiB in float32.
_BLOCK_ELEMENTS = 1 << 22

Kernel = Callable[[Tensor], tuple[Tensor, Tensor]]


class PairSum(torch.autograd.Function):
    """Sum of ``kernel(||p_i - p_j||^2)`` over the ordered pairs i != j of unit vectors.

    The gradient is made in the forward pass, block by block, so that memory is O(block x n)
    and no block is computed twice. ``kernel`` maps squared distances to values and to the
    derivative in the squared distance.
    """

    @staticmethod
    def forward(ctx: Any, points: Tensor, kernel: Kernel) -> Tensor:
        total = points.new_zeros(())
        gradient = torch.empty_like(points)
        for start, stop in _blocks(len(points)):
            block = points[start:stop]
            squared = (2 - 2 * (block @ points.T)).clamp_min_(0)  # (block, n)
            rows = torch.arange(start, stop, device=points.device)
            squared[rows - start, rows] = math.inf  # a point is no pair with itself
            value, slope = kernel(squared)
            near = _near_pairs(squared)
            if near is not None:
                difference = block[near[0]] - points[near[1]]
                value[near], near_slope = kernel(difference.square().sum(1))
                slope[near] = 0
            total += value.sum()
            # Up to a multiple of the point itself, which the sphere's tangent ignores.
            gradient[start:stop] = -4 * (slope @ points)
            if near is not None:
                push = 4 * near_slope[:, None] * difference
                gradient[start:stop].index_add_(0, near[0], push)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor, None]:
        (gradient,) = ctx.saved_tensors
        return grad_output * gradient, None


def _blocks(n: int) -> Iterator[tuple[int, int]]:
    size = max(1, min(n, _BLOCK_ELEMENTS // max(n, 1)))
    return ((start, min(start + size, n)) for start in range(0, n, size))


def _near_pairs(squared: Tensor) -> tuple[Tensor, Tensor] | None:
    """Indices of the pairs to compute directly; None where there are none.

    On an accelerator the look-up would wait for the device: there the Gram form stands.
    """
    if squared.device.type != "cpu" or squared.min() >= _NEAR:
        return None
    return (squared < _NEAR).nonzero(as_tuple=True)


def softening(points: Tensor) -> float:
    """Squared distance below which a pair counts as this far apart: keeps everything finite."""
    return 4 * torch.finfo(points.dtype).eps


def riesz_kernel(s: float, floor: float) -> Kernel:
    def kernel(squared: Tensor) -> tuple[Tensor, Tensor]:
        squared = squared.clamp_min(floor)
        if s == 0:
            # The diagonal's inf must add nothing, and log(1 / inf) is not 0.
            value = torch.where(squared.isinf(), 0, -0.5 * squared.log())
            return value, -0.5 / squared
        value = squared.reciprocal() if s == 2 else squared.pow(-s / 2)
        return value, (-s / 2) * value / squared

    return kernel


def unit(points: Tensor) -> Tensor:
    """Unit rows, in at least float32: bfloat16 and float16 carry too few digits for distances."""
    if points.dtype in (torch.bfloat16, torch.float16):
        points = points.float()
    return F.normalize(points, dim=-1)


def smallest_distance(points: Tensor) -> Tensor:
    smallest = points.new_full((), math.inf)
    for start, stop in _blocks(len(points)):
        squared = 2 - 2 * (points[start:stop] @ points.T)
        rows = torch.arange(start, stop, device=points.device)
        squared[rows - start, rows] = math.inf
        partner = squared.argmin(1)
        direct = (points[start:stop] - points[partner]).square().sum(1)
        smallest = torch.minimum(smallest, direct.min())
    return smallest.clamp_min(softening(points)).sqrt()
