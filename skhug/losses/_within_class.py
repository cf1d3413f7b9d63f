"""The within-class sum over a batch, from raw features and proxies to both gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.linalg import vecdot

from skhug._sphere import project, tangent
from skhug.losses._uniformity import as_shares


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
    z, inverse = project(features, softness)
    if measure.contrasts:
        w, inverse_w = project(proxies)
        cost, push = contrast_rows(z, w, labels, coef, measure)
        in_proxies = tangent(push.T @ z, w, inverse_w) if attached else None
        return WithinGradients(coef @ cost, tangent(push @ w, z, inverse), in_proxies)
    own, gradient_in_proxies = _own_proxies(proxies, labels)
    cost, push, radial = pull_rows(z, own, coef, measure)
    in_proxies = gradient_in_proxies(-push) if attached else None
    if softness:  # z is shorter than 1
        radial = None
    if measure.repulsion > 0:
        nearest, away, of_proxies = _repel(z, proxies, labels, coef, measure, attached)
        cost, push, radial = cost + measure.repulsion * nearest, push + away, None
        if attached:
            in_proxies += of_proxies
    return WithinGradients(coef @ cost, tangent(push, z, inverse, radial), in_proxies)


def _own_proxies(proxies: Tensor, labels: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
    """Each row's unit proxy, and the function from gradients in these to that in the proxies.

    What is normalised is the fewer, the proxies or the rows, and no proxies that are not stored.
    """
    if len(proxies) <= len(labels) and isinstance(proxies, Tensor):
        w, inverse = project(proxies)
        return w.index_select(0, labels), lambda push: tangent(
            torch.zeros_like(w).index_add_(0, labels, push), w, inverse
        )
    own, inverse = project(proxies.index_select(0, labels))
    return own, lambda push: torch.zeros_like(proxies).index_add_(
        0, labels, tangent(push, own, inverse)
    )


def pull_features(
    features: Tensor, own: Tensor, coef: Tensor, measure: Any, softness: float
) -> tuple[Tensor, Tensor]:
    """Return the rows' costs and the features' gradient for a measure that only pulls.

    ``own`` of shape (batch, n_components) are the rows' unit proxies, which stay where they are.
    """
    z, inverse = project(features, softness)
    difference = z - own
    cost, slope = measure.pull(vecdot(difference, difference))
    push = difference.mul_((2 * slope * coef).unsqueeze(-1))
    return cost, tangent(push, z, inverse)


def pull_rows(z: Tensor, own: Tensor, coef: Tensor, measure: Any) -> tuple[Tensor, Tensor, Tensor]:
    """Cost of each row, the gradient of their sum in z, and its product with z on the sphere."""
    difference = z - own
    squared = vecdot(difference, difference)
    cost, slope = measure.pull(squared)
    pull = slope * coef
    # Unit vectors: (z - w) . z = |z - w|^2 / 2.
    return cost, (2 * pull).unsqueeze(-1) * difference, pull * squared


def _repel(
    z: Tensor, proxies: Tensor, labels: Tensor, coef: Tensor, measure: Any, attached: bool
) -> tuple[Tensor, Tensor, Tensor | None]:
    """Smooth maximum of each row's cosines to the other proxies, by log-sum-exp; gradients."""
    w, inverse = project(proxies)
    scale = measure.repulsion_scale
    scaled = (scale * z) @ w.T  # (batch, n_classes)
    scaled.scatter_(1, labels[:, None], -math.inf)
    total = scaled.logsumexp(1)
    nearest = (total - math.log(len(w) - 1)) / scale
    share = scaled.sub_(total[:, None]).exp_().mul_((measure.repulsion * coef)[:, None])
    in_proxies = tangent(share.T @ z, w, inverse) if attached else None
    return nearest, share @ w, in_proxies


def contrast_features(
    features: Tensor, w: Tensor, labels: Tensor, coef: Tensor, measure: Any, softness: float
) -> tuple[Tensor, Tensor]:
    """Return the rows' costs and the features' gradient for a measure that weighs all proxies.

    ``w`` of shape (n_classes, n_components) are unit proxies, which stay where they are.
    """
    z, inverse = project(features, softness)
    cost, push = contrast_rows(z, w, labels, coef, measure)
    return cost, tangent(push @ w, z, inverse)


def contrast_rows(
    z: Tensor, w: Tensor, labels: Tensor, coef: Tensor, measure: Any
) -> tuple[Tensor, Tensor]:
    """Cost of each row, pulled to its proxy and repelled from all; gradient in its cosines.

    The gradient, of the rows' sum, has shape (batch, n_classes). Everything is a function of the
    products ``<z, w_c>``: the squared distance is ``2 - 2 <z, w_y>``, which in the ball is that
    of the point of the hemisphere above z.
    """
    cosines = z @ w.T
    # Not below what rounding leaves: the root's slope is infinite at 0.
    squared = (2 - 2 * cosines.gather(1, labels[:, None])).clamp_min(torch.finfo(z.dtype).eps)
    cost, slope = measure.pull(squared)
    scale = measure.repulsion_scale
    scaled = torch.add(log_shares(measure.prior, w), cosines, alpha=scale)
    total = scaled.logsumexp(1, keepdim=True)
    push = scaled.sub_(total).exp_().mul_((measure.repulsion * coef)[:, None])
    push.scatter_add_(1, labels[:, None], -2 * slope * coef[:, None])
    return torch.add(cost, total, alpha=measure.repulsion / scale)[:, 0], push


def log_shares(prior: Any, w: Tensor) -> Tensor:
    """Logarithms of the classes' shares, by which they count in a sum: all alike without a prior.

    Raises
    ------
    ValueError
        If there is not one for each of the proxies ``w``.
    """
    if prior is None:
        return w.new_full((), -math.log(len(w)))
    shares = as_shares(prior).to(w.device, w.dtype)
    if len(shares) != len(w):
        raise ValueError(
            f"prior has {len(shares)} shares and there are {len(w)} classes: pass one for each."
        )
    return (shares / shares.sum()).log_()
