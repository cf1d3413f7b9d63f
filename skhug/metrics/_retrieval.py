"""Retrieval metrics: queries searched among themselves or in a gallery.

Each metric is a mean over queries that have something to find: a query whose class has no other
member in the gallery is left out. A gallery of one class is refused, since nothing could be
found wrongly in it. Neighbours at equal distance are counted by their mean: a metric is its
expected value over a random order of them, as if they had been shuffled. Distances are equal
where no more than rounding parts them, a few units in the last place. With the cosine, a row of
zeros is as near to all.

Memory beside the inputs is bounded, whatever the number of queries and the gallery's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from skhug.metrics._neighbours import Found, Measure, Search
from skhug.metrics._reports import Report
from skhug.metrics._ties import (
    Group,
    Ties,
    chance_of_a_hit,
    expected_average_precision,
    expected_hits,
    expected_reciprocal_rank,
)

__all__ = [
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "retrieval_report",
]

# Neighbours among which the nearest of the class is looked for before counting.
_FIRST_HIT_DEPTH = 10


def recall_at_k(
    embeddings: Any,
    labels: Any,
    k: int = 1,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Share of queries with one of their class among their k nearest neighbours.

    Neighbours at equal distance count by their mean over all orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    k : int, default=1
        Neighbours, at most the size of the gallery.
    gallery : array or Tensor of shape (n_gallery, n_components), optional
        What is searched; by default the queries, each without itself.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    metric : {"cosine", "euclidean"}, default="cosine"
        Nearness; for cosine, rows are normalised here.
    sample_weight : array-like of shape (n_queries,), optional
        Weights of the queries in the mean, non-negative.

    Returns
    -------
    recall : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    Examples
    --------
    >>> from skhug.metrics import recall_at_k
    >>> recall_at_k([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], ["a", "a", "b", "b"])
    1.0
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["recall_at_k"], k)["recall_at_k"]


def precision_at_k(
    embeddings: Any,
    labels: Any,
    k: int = 1,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean share of a query's k nearest neighbours that are of its class.

    Neighbours at equal distance count by their mean over all orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    k : int, default=1
        Neighbours, at most the size of the gallery.
    gallery : array or Tensor of shape (n_gallery, n_components), optional
        What is searched; by default the queries, each without itself.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    metric : {"cosine", "euclidean"}, default="cosine"
        Nearness; for cosine, rows are normalised here.
    sample_weight : array-like of shape (n_queries,), optional
        Weights of the queries in the mean, non-negative.

    Returns
    -------
    precision : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    Examples
    --------
    >>> from skhug.metrics import precision_at_k
    >>> precision_at_k([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1], k=2)
    0.5
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["precision_at_k"], k)["precision_at_k"]


def r_precision(
    embeddings: Any,
    labels: Any,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean precision at R, where R is how many of a query's class there are to find.

    Neighbours at equal distance count by their mean over all orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    gallery : array or Tensor of shape (n_gallery, n_components), optional
        What is searched; by default the queries, each without itself.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    metric : {"cosine", "euclidean"}, default="cosine"
        Nearness; for cosine, rows are normalised here.
    sample_weight : array-like of shape (n_queries,), optional
        Weights of the queries in the mean, non-negative.

    Returns
    -------
    precision : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    Examples
    --------
    >>> from skhug.metrics import r_precision
    >>> r_precision([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1])
    1.0
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["r_precision"])["r_precision"]


def mean_average_precision_at_r(
    embeddings: Any,
    labels: Any,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean average precision over a query's R nearest neighbours (MAP@R).

    R is how many of the query's class there are to find. The average is
    ``1/R sum_{i <= R} P(i) rel(i)``, with P(i) the precision at i. Neighbours at equal distance
    count by their mean over all orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    gallery : array or Tensor of shape (n_gallery, n_components), optional
        What is searched; by default the queries, each without itself.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    metric : {"cosine", "euclidean"}, default="cosine"
        Nearness; for cosine, rows are normalised here.
    sample_weight : array-like of shape (n_queries,), optional
        Weights of the queries in the mean, non-negative.

    Returns
    -------
    score : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    References
    ----------
    Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2.

    Examples
    --------
    >>> from skhug.metrics import mean_average_precision_at_r
    >>> mean_average_precision_at_r([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], [0, 0, 1])
    1.0
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["mean_average_precision_at_r"])["mean_average_precision_at_r"]


def mean_reciprocal_rank(
    embeddings: Any,
    labels: Any,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean of 1 / rank of the nearest neighbour of a query's class.

    Neighbours at equal distance count by the mean of 1 / rank over all their orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    gallery : array or Tensor of shape (n_gallery, n_components), optional
        What is searched; by default the queries, each without itself.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    metric : {"cosine", "euclidean"}, default="cosine"
        Nearness; for cosine, rows are normalised here.
    sample_weight : array-like of shape (n_queries,), optional
        Weights of the queries in the mean, non-negative.

    Returns
    -------
    score : float
        Above 0, at most 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    Examples
    --------
    >>> from skhug.metrics import mean_reciprocal_rank
    >>> mean_reciprocal_rank([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]], ["a", "a", "b"])
    0.5
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["mean_reciprocal_rank"])["mean_reciprocal_rank"]


def retrieval_report(
    embeddings: Any,
    labels: Any,
    k: int | Sequence[int] = (1, 10),
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> Report:
    """Every retrieval metric from one search, as a dict that prints as a table.

    Neighbours at equal distance count by their mean over all orders, in every metric.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    k : int or sequence of int, default=(1, 10)
        Neighbours for recall and precision; those above the size of the gallery are left out.
    gallery : array or Tensor of shape (n_gallery, n_components), optional
        What is searched; by default the queries, each without itself.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    metric : {"cosine", "euclidean"}, default="cosine"
        Nearness; for cosine, rows are normalised here.
    sample_weight : array-like of shape (n_queries,), optional
        Weights of the queries in the mean, non-negative.

    Returns
    -------
    report : Report
        ``recall_at_1``, ``precision_at_1`` and so on for every k, ``r_precision``,
        ``mean_average_precision_at_r`` and ``mean_reciprocal_rank``; ``n_queries``, how many
        queries counted: those of a positive weight that have something to find.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    Examples
    --------
    >>> from skhug.metrics import retrieval_report
    >>> retrieval_report([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], [0, 0, 1], k=1)
                                    value   optimum
    recall_at_1                    1.0000    1.0000
    precision_at_1                 1.0000    1.0000
    r_precision                    1.0000    1.0000
    mean_average_precision_at_r    1.0000    1.0000
    mean_reciprocal_rank           1.0000    1.0000
    n_queries                           2         -
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    depths = [k] if isinstance(k, Integral) else [d for d in k if d <= search.largest_k]
    measures = {
        f"{name.removesuffix('k')}{depth}": RETRIEVAL[name](search, depth)
        for depth in depths
        for name in RETRIEVAL
        if _takes_k(name)
    }
    for name in RETRIEVAL:
        if not _takes_k(name):
            measures[name] = RETRIEVAL[name](search)
    optimum = dict.fromkeys(measures, 1.0)
    for depth in depths:  # a class may have fewer members than there are places
        optimum[f"precision_at_{depth}"] = search.mean((search.r / depth).clamp_max(1))
    return Report({**search.means(measures), "n_queries": search.n_queries}, optimum)


def retrieval_values(search: Search, names: Iterable[str], k: int = 1) -> dict[str, float]:
    """Return metrics by the names of their functions, from one search no deeper than needed."""
    return search.means({name: RETRIEVAL[name](search, *[k] * _takes_k(name)) for name in names})


def _takes_k(name: str) -> bool:
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
        lambda found: _within_r(found).sum(1) / found.r,
        lambda ties: expected_hits(*_group_of(ties, ties.r)) / ties.r,
    )


def _average_precision(_: Search) -> Measure:
    def value(found: Found) -> Tensor:
        hits = _within_r(found)
        rank = torch.arange(1, hits.shape[1] + 1, device=hits.device)
        counts = hits.cumsum(1, dtype=torch.float32)  # whole numbers, exact to 2^24
        return (counts / rank).mul_(hits).sum(1) / found.r

    return Measure(lambda r: r, value, expected_average_precision)


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


def _within_r(found: Found) -> Tensor:
    """Hits among the first R neighbours, R by row."""
    return found.hits & (
        torch.arange(found.hits.shape[1], device=found.r.device) < found.r[:, None]
    )


RETRIEVAL: dict[str, Callable[..., Measure]] = {
    "recall_at_k": _recall,
    "precision_at_k": _precision,
    "r_precision": _r_precision,
    "mean_average_precision_at_r": _average_precision,
    "mean_reciprocal_rank": _reciprocal_rank,
}
