"""Projection to the unit sphere and back: points, their norms, gradients along the sphere."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.linalg import vecdot

# Squared norm below which a point counts as this long: a zero row gets finite gradients.
_LEAST = 1e-24


def project(points: Tensor, softness: float = 0.0) -> tuple[Tensor, Tensor]:
    """Return ``x / sqrt(|x|^2 + softness)`` of the last axis, and the inverse of those norms."""
    squared = vecdot(points, points).unsqueeze(-1)
    if softness:
        squared += softness
    inverse = squared.clamp_min_(_LEAST).rsqrt_()
    return points * inverse, inverse


def tangent(
    gradient: Tensor, unit: Tensor, inverse: Tensor, radial: Tensor | None = None
) -> Tensor:
    """Gradient in x of :func:`project` from the gradient in its result, soft norm or not.

    ``radial`` is the product of the two where it is known already.
    """
    if radial is None:
        radial = vecdot(gradient, unit)
    return torch.addcmul(gradient, unit, radial.unsqueeze(-1), value=-1).mul_(inverse)


def widened(points: Tensor) -> Tensor:
    """Points in at least float32: bfloat16 and float16 carry too few digits for distances."""
    return points.float() if points.dtype in (torch.bfloat16, torch.float16) else points


def unit(points: Tensor) -> Tensor:
    """Unit rows, in at least float32.

    A row of zeros stays one, and one too long to measure (1e154 in float64) is left short.
    """
    points = widened(points)
    # Squares of float32's largest and smallest numbers count in float64, which MPS has not.
    exact = None if points.device.type == "mps" else torch.float64
    norm = torch.linalg.vector_norm(points, dim=-1, keepdim=True, dtype=exact)
    info = torch.finfo(points.dtype)
    return points / norm.clamp(info.tiny, info.max).to(points.dtype)
