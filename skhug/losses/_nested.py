"""The loss of nested embeddings: its two terms, summed over prefixes of the components.

Source: Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, arXiv 2205.13147.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skhug.losses._within_class import WithinGradients, within_sum


class Prefix(NamedTuple):
    """So many first components, and what their loss counts in the sum."""

    width: int
    weight: float


def nested_within_sum(
    features: Tensor,
    proxies: Tensor,
    labels: Tensor,
    coef: Tensor,
    measure: Any,
    softness: float = 0.0,
    *,
    attached: bool,
    prefixes: Sequence[Prefix],
) -> WithinGradients:
    """Sum :func:`within_sum` over prefixes of features and proxies, with gradients.

    Each prefix is projected by itself, as it will be where embeddings are cut. The other
    parameters are those of :func:`within_sum`.
    """
    value = torch.zeros_like(coef[:1]).sum()
    in_features = torch.zeros_like(features)
    in_proxies = torch.zeros_like(proxies) if attached else None
    for d, weight in prefixes:
        part = within_sum(
            features[:, :d], proxies[:, :d], labels, coef, measure, softness, attached=attached
        )
        value.add_(part.value, alpha=weight)
        in_features[:, :d].add_(part.features, alpha=weight)
        if in_proxies is not None:
            in_proxies[:, :d].add_(part.proxies, alpha=weight)
    return WithinGradients(value, in_features, in_proxies)


def nested_between_gradient(
    proxies: Tensor, measure: Any, prefixes: Sequence[Prefix]
) -> tuple[Tensor, Tensor]:
    """Sum a measure's between-class term over prefixes of the proxies, with its gradient."""
    value, gradient = proxies.new_zeros(()), torch.zeros_like(proxies)
    for d, weight in prefixes:
        of_prefix, push = measure.between_gradient(proxies[:, :d])
        value.add_(of_prefix, alpha=weight)
        gradient[:, :d].add_(push, alpha=weight)
    return value, gradient


def nested_between_fixed(proxies: Tensor, measure: Any, prefixes: Sequence[Prefix]) -> Tensor:
    """Sum a measure's between-class term over prefixes of proxies that stay where they are."""
    return sum(weight * measure.between_fixed(proxies[:, :d]) for d, weight in prefixes)
