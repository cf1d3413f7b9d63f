"""Neighbours at equal distance: which they are, and what a metric is worth on average over them.

Nothing says which of several equally near rows is found first. Every metric is therefore its mean
over all orders of such rows, in closed form from four counts (:class:`Group`): a search that
tells nothing apart scores as chance does, whatever the order of the rows.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

# Places of a group that are weighed at once.
_PLACES = 1024
# Chance below which further places change no digit of a reciprocal rank.
_NEGLIGIBLE = 1e-18


class Group(NamedTuple):
    """Rows as near as one another, for each query or place of one; integer Tensors of one shape.

    ``before`` are the rows nearer than they, of which ``hits_before`` are of the query's class;
    ``size`` of them there are, of which ``hits`` are.
    """

    before: Tensor
    hits_before: Tensor
    size: Tensor
    hits: Tensor

    def at(self, places: Tensor) -> Group:
        """Return each query's group at a place, counted from 0; (n,) from (n, k)."""
        return Group(*(count.gather(1, places[:, None])[:, 0] for count in self))


class Ties(NamedTuple):
    """The groups of those queries of a block to whose score an order of ties matters.

    ``queries`` (n,) are their places in the block, ``r`` (n,) is how many each has to find,
    ``groups`` (n, k) are those of every place, None where there are no such queries.
    """

    queries: Tensor
    r: Tensor
    groups: Group | None


def starts(similarity: Tensor, tolerance: Tensor) -> tuple[Tensor, Tensor]:
    """Return where groups of sorted neighbours start, and below what similarity each has ended.

    Rows are equally near where no two neighbours are further apart than ``tolerance``, what
    rounding may do to a similarity. A long chain of such neighbours is a continuum rather than
    a tie: it is cut into pieces twice as wide. Both are of the shape of ``similarity``.
    """
    place = torch.arange(similarity.shape[1], device=similarity.device)
    apart = torch.ones_like(similarity, dtype=torch.bool)
    apart[:, 1:] = similarity[:, :-1] - similarity[:, 1:] > tolerance[:, :-1]
    chain = torch.where(apart, place, 0).cummax(1).values
    top = similarity.gather(1, chain)
    width = 2 * tolerance.gather(1, chain).clamp_min(torch.finfo(top.dtype).tiny)
    piece = ((top - similarity) / width).floor_()
    apart[:, 1:] |= piece[:, 1:] != piece[:, :-1]
    return torch.where(apart, place, 0).cummax(1).values, top - (piece + 1) * width


def grouped(start: Tensor, hits: Tensor) -> Group:
    """Count what lies before and in each place's group, as far as neighbours were found."""
    n = start.shape[1]
    place = torch.arange(n, device=start.device)
    stop = torch.full_like(start, n)
    first = torch.where(start[:, 1:] == place[1:], place[1:], n)
    stop[:, :-1] = first.flip(1).cummin(1).values.flip(1)
    so_far = torch.zeros(len(hits), n + 1, dtype=torch.int64, device=hits.device)
    torch.cumsum(hits, 1, out=so_far[:, 1:])
    hits_before = so_far.gather(1, start)
    return Group(start, hits_before, stop - start, so_far.gather(1, stop) - hits_before)


def expected_hits(group: Group, n: Tensor) -> Tensor:
    """Expected hits among the first n rows, where the n-th is in the group."""
    return group.hits_before + group.hits * _exact(n - group.before) / group.size


def chance_of_a_hit(group: Group, n: Tensor) -> Tensor:
    """Probability that one of the first n rows is a hit, where the n-th is in the group."""
    drawn = n - group.before
    place = torch.arange(int(drawn.max()), device=n.device)
    others = (group.size - group.hits)[:, None] - place
    miss = _exact(others.clamp_min(0)) / (group.size[:, None] - place).clamp_min(1)
    miss = miss.masked_fill_(place >= drawn[:, None], 1).prod(1)
    return (1 - miss).masked_fill_(group.hits_before > 0, 1)


def expected_average_precision(groups: Group, places: Tensor, best: Tensor) -> Tensor:
    """Expected sum over a query's first places of the precision at each that is a hit, / best."""
    rank = torch.arange(1, groups.size.shape[1] + 1, device=places.device)
    share = _exact(groups.hits) / groups.size
    share.masked_fill_(rank > places[:, None], 0)
    # A hit at some place of a group: of the group's places before it, so many are hits as well.
    density = _exact(groups.hits - 1) / (groups.size - 1).clamp_min(1)
    hits = density.mul_(rank - 1 - groups.before).add_(groups.hits_before + 1)
    return hits.div_(rank).mul_(share).sum(1) / best


def expected_gain(groups: Group, discount: Tensor) -> Tensor:
    """Expected sum over a query's first places of the discounts of those that are hits."""
    share = _exact(groups.hits) / groups.size
    return share[:, : len(discount)] @ discount


def expected_reciprocal_rank(group: Group) -> Tensor:
    """Expected value of 1 / rank of the first hit, which is in the group."""
    counts = torch.stack([group.before, group.size, group.hits])
    counts, query = counts.unique(dim=1, return_inverse=True)
    before, size, hits = _exact(counts)[..., None]
    value = torch.zeros_like(before[:, 0])
    missed = torch.ones_like(before)  # chance that no place so far is a hit
    for start in range(0, int((size - hits).max()) + 1, _PLACES):
        place = torch.arange(start, start + _PLACES, device=value.device)
        miss = ((size - hits - place) / (size - place).clamp_min(1)).clamp_min_(0)
        still = missed * miss.cumprod(1)
        reached = torch.cat([missed, still[:, :-1]], 1)
        value += ((reached - still) / (before + place + 1)).sum(1)
        missed = still[:, -1:]
        if missed.max() < _NEGLIGIBLE:
            break
    return value[query]


def _exact(counts: Tensor) -> Tensor:
    """Counts in the widest float of their device."""
    return counts.to(torch.float32 if counts.device.type == "mps" else torch.float64)
