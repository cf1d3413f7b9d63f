"""The retrieval metrics by the names of their functions, query by query, ties and all."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor

from skhug.metrics._neighbours import Found, Measure, Search
from skhug.metrics._ties import (
    Group,
    Ties,
    chance_of_a_hit,
    expected_average_precision,
    expected_gain,
    expected_hits,
    expected_reciprocal_rank,
)

__all__ = ["RETRIEVAL", "retrieval_values", "takes_k"]

# Neighbours among which the nearest of the class is looked for before counting.
_FIRST_HIT_DEPTH = 10


def retrieval_values(search: Search, names: Iterable[str], k: int = 1) -> dict[str, float]:
    """Return metrics by the names of their functions, from one search no deeper than needed."""
    return search.means({name: RETRIEVAL[name](search, *[k] * takes_k(name)) for name in names})


def takes_k(name: str) -> bool:
    """Whether a metric is of so many neighbours."""
    return name.endswith("_at_k")


def _recall(search: Search, k: int) -> Measure:
    search.check_k(k)
    return Measure(
        lambda r: k,
        lambda found: found.hits[:, :k].any(1),
        lambda ties: chance_of_a_hit(*_group_of(ties, torch.full_like(ties.r, k))),
    )


def _precision(search: Search, k: int) -> Measure:
    search.check_k(k)
    return Measure(
        lambda r: k,
        lambda found: found.hits[:, :k].sum(1) / k,
        lambda ties: expected_hits(*_group_of(ties, torch.full_like(ties.r, k))) / k,
    )


def _r_precision(_: Search) -> Measure:
    return Measure(
        lambda r: r,
        lambda found: _within(found, found.r).sum(1) / found.r,
        lambda ties: expected_hits(*_group_of(ties, ties.r)) / ties.r,
    )


def _average_precision_at_r(_: Search) -> Measure:
    return Measure(
        lambda r: r,
        lambda found: _average_precision(_within(found, found.r), found.r),
        lambda ties: expected_average_precision(ties.groups, ties.r, ties.r),
    )


def _average_precision_at_k(search: Search, k: int) -> Measure:
    search.check_k(k)
    return Measure(
        lambda r: k,
        lambda found: _average_precision(found.hits[:, :k], found.r.clamp_max(k)),
        lambda ties: expected_average_precision(
            ties.groups, torch.full_like(ties.r, k), ties.r.clamp_max(k)
        ),
    )


def _average_precision(hits: Tensor, best: Tensor) -> Tensor:
    """Sum of the precisions at hits, over how many hits there could be."""
    rank = torch.arange(1, hits.shape[1] + 1, device=hits.device)
    counts = hits.cumsum(1, dtype=torch.float32)  # whole numbers, exact to 2^24
    return (counts / rank).mul_(hits).sum(1) / best


def _normalised_gain(search: Search, k: int) -> Measure:
    search.check_k(k)
    place = torch.arange(k, dtype=search.weight.dtype, device=search.weight.device)
    discount = 1 / (place + 2).log2()  # of place i, counted from 1: 1 / log2(i + 1)
    ideal = discount.cumsum(0)

    def of_ideal(gain: Tensor, r: Tensor) -> Tensor:
        return (gain / ideal[r.clamp(1, k) - 1]).clamp_max(1)  # not above it by rounding

    return Measure(
        lambda r: k,
        lambda found: of_ideal(found.hits[:, :k].to(discount) @ discount, found.r),
        lambda ties: of_ideal(expected_gain(ties.groups, discount), ties.r),
    )


def _reciprocal_rank(search: Search) -> Measure:
    def value(found: Found) -> Tensor:
        group = found.first_hit
        rank = (1 / (1 + group.before)).to(search.weight)
        (tied,) = torch.nonzero(group.size > 1, as_tuple=True)
        if len(tied):
            rank[tied] = expected_reciprocal_rank(Group(*(count[tied] for count in group)))
        return rank

    return Measure(lambda r: min(_FIRST_HIT_DEPTH, search.largest_k), value, None)


def _group_of(ties: Ties, n: Tensor) -> tuple[Group, Tensor]:
    """Return the group of the n-th nearest, and n."""
    return ties.groups.at(n - 1), n


def _within(found: Found, n: Tensor) -> Tensor:
    """Hits among the first n neighbours, n by row."""
    return found.hits & (torch.arange(found.hits.shape[1], device=n.device) < n[:, None])


RETRIEVAL: dict[str, Callable[..., Measure]] = {
    "recall_at_k": _recall,
    "precision_at_k": _precision,
    "mean_average_precision_at_k": _average_precision_at_k,
    "ndcg_at_k": _normalised_gain,
    "r_precision": _r_precision,
    "mean_average_precision_at_r": _average_precision_at_r,
    "mean_reciprocal_rank": _reciprocal_rank,
}
