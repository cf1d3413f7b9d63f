"""The within-class sum over a batch, from raw features and proxies to both gradients."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor


class WithinGradients(NamedTuple):
    """The sum, its gradient in the features and, if asked for, in the proxies."""

    value: Tensor
    features: Tensor
    proxies: Tensor | None


class WithinSum(torch.autograd.Function):
    """:func:`within_sum` for autograd; the proxies' gradient is made only where it is needed."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        proxies: Tensor,
        labels: Tensor,
        coef: Tensor,
        measure: Any,
        softness: float,
    ) -> Tensor:
        result = within_sum(
            features, proxies, labels, coef, measure, softness, attached=ctx.needs_input_grad[1]
        )
        ctx.save_for_backward(result.features, result.proxies)
        return result.value

    @staticmethod
    def backward(ctx: Any, grad_output: Tensor) -> tuple[Tensor | None, ...]:
        scaled = (None if g is None else grad_output * g for g in ctx.saved_tensors)
        return *scaled, None, None, None, None


def within_sum(
    features: Tensor,
    proxies: Tensor,
    labels: Tensor,
    coef: Tensor,
    measure: Any,
    softness: float = 0.0,
    *,
    attached: bool,
) -> WithinGradients:
    """Sum over rows of ``coef_i`` times the measure's cost of row i, with gradients.

    Parameters
    ----------
    features : Tensor of shape (batch, n_components)
        Projected here: ``z = x / sqrt(|x|^2 + softness)``.
    proxies : Tensor of shape (n_classes, n_components)
        Normalised here, and only the rows that ``labels`` name unless the measure repels
        samples from the other classes' proxies.
    labels : Tensor of shape (batch,)
        Rows of ``proxies``.
    coef : Tensor of shape (batch,)
        Row coefficients.
    measure : Uniformity
        Its ``pull`` gives a row's cost and slope at a squared distance.
    softness : float
        0 projects to the sphere.
    attached : bool
        Whether to return the proxies' gradient.
    """
    z, norm = _project(features, softness)
    own, own_norm = _project(proxies.index_select(0, labels), 0.0)
    cost, push = pull_rows(z, own, coef, measure)
    in_z, in_proxies = push, None
    if measure.repulsion > 0:
        nearest, in_z, in_proxies = _repel(z, proxies, labels, coef, measure, attached)
        cost = cost + measure.repulsion * nearest
        in_z = in_z + push
    if attached:
        if in_proxies is None:
            in_proxies = torch.zeros_like(proxies)
        in_proxies.index_add_(0, labels, _tangent(push, own, own_norm), alpha=-1)
    return WithinGradients(coef @ cost, _tangent(in_z, z, norm), in_proxies)


def pull_features(
    features: Tensor, own: Tensor, coef: Tensor, measure: Any, softness: float
) -> tuple[Tensor, Tensor]:
    """Return the rows' costs and the features' gradient for a measure that only pulls.

    ``own`` of shape (batch, n_components) are the rows' unit proxies, which stay where they are.
    """
    z, norm = _project(features, softness)
    cost, push = pull_rows(z, own, coef, measure)
    return cost, _tangent(push, z, norm)


def pull_rows(z: Tensor, own: Tensor, coef: Tensor, measure: Any) -> tuple[Tensor, Tensor]:
    """Cost of each row, and the gradient of their sum in z."""
    difference = z - own
    cost, slope = measure.pull((difference * difference).sum(1))
    return cost, (2 * slope * coef)[:, None] * difference


def _project(points: Tensor, softness: float) -> tuple[Tensor, Tensor]:
    norm = torch.linalg.vector_norm(points, dim=1, keepdim=True)
    if softness:
        norm = (norm * norm + softness).sqrt_()
    norm = norm.clamp_min_(torch.finfo(points.dtype).tiny)
    return points / norm, norm


def _tangent(gradient: Tensor, z: Tensor, norm: Tensor) -> Tensor:
    """Gradient in x of ``z = x / norm(x)`` from the gradient in z, soft norm or not."""
    return torch.addcmul(gradient, z, (gradient * z).sum(1, keepdim=True), value=-1).div_(norm)


def _repel(
    z: Tensor, proxies: Tensor, labels: Tensor, coef: Tensor, measure: Any, attached: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Smooth maximum of each row's cosines to the other proxies, by log-sum-exp; gradients."""
    w, norm = _project(proxies, 0.0)
    scale = measure.repulsion_scale
    scaled = (scale * z) @ w.T  # (batch, n_classes)
    scaled.scatter_(1, labels[:, None], -math.inf)
    total = scaled.logsumexp(1)
    nearest = (total - math.log(len(w) - 1)) / scale
    share = scaled.sub_(total[:, None]).exp_().mul_((measure.repulsion * coef)[:, None])
    in_proxies = _tangent(share.T @ z, w, norm) if attached else None
    return nearest, share @ w, in_proxies
