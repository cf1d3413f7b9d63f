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

from collections.abc import Sequence
from numbers import Integral
from typing import Any

from skhug.metrics._neighbours import Search
from skhug.metrics._reports import Report
from skhug.metrics._retrieval_measures import RETRIEVAL, retrieval_values, takes_k

__all__ = [
    "mean_average_precision_at_k",
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "ndcg_at_k",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
    "retrieval_report",
]


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


def mean_average_precision_at_k(
    embeddings: Any,
    labels: Any,
    k: int = 10,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean average precision over a query's k nearest neighbours (MAP@k).

    The average is ``1/min(R, k) sum_{i <= k} P(i) rel(i)``, with P(i) the precision at i and R how
    many of the query's class there are to find, so that 1 can be reached at any k.

    Neighbours at equal distance count by their mean over all orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    k : int, default=10
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
    score : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    See Also
    --------
    mean_average_precision_at_r : Of as many neighbours as there are to find.

    Examples
    --------
    >>> from skhug.metrics import mean_average_precision_at_k
    >>> mean_average_precision_at_k([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], [0, 0, 1], k=2)
    1.0
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["mean_average_precision_at_k"], k)[
        "mean_average_precision_at_k"
    ]


def ndcg_at_k(
    embeddings: Any,
    labels: Any,
    k: int = 10,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean normalised discounted cumulative gain over a query's k nearest neighbours (NDCG@k).

    The gain is ``sum_{i <= k} rel(i) / log2(i + 1)``, where rel(i) is 1 for a neighbour of the
    query's class and else 0, over the most that it could be.

    Neighbours at equal distance count by their mean over all orders.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_queries, n_components)
        Queries; a Tensor is searched on its device.
    labels : array-like of shape (n_queries,)
        Their classes, of any type.
    k : int, default=10
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
    score : float
        Between 0 and 1.

    Raises
    ------
    ValueError
        If no query has anything to find, or all rows to find are of one class.

    References
    ----------
    Jarvelin and Kekalainen, "Cumulated gain-based evaluation of IR techniques", ACM Transactions
    on Information Systems 20(4), 2002. Ties: McSherry and Najork, "Computing Information
    Retrieval Performance Measures Efficiently in the Presence of Tied Scores", ECIR 2008.

    Examples
    --------
    >>> from skhug.metrics import ndcg_at_k
    >>> ndcg_at_k([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], [0, 0, 1], k=2)
    1.0
    """
    search = Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return retrieval_values(search, ["ndcg_at_k"], k)["ndcg_at_k"]


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
        Neighbours for the metrics that take them; those above the size of the gallery are left
        out.
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
        ``recall_at_1``, ``precision_at_1``, ``mean_average_precision_at_1``, ``ndcg_at_1`` and so
        on for every k, ``r_precision``, ``mean_average_precision_at_r`` and
        ``mean_reciprocal_rank``; ``n_queries``, how many queries counted: those of a positive
        weight that have something to find.

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
    mean_average_precision_at_1    1.0000    1.0000
    ndcg_at_1                      1.0000    1.0000
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
        if takes_k(name)
    }
    for name in RETRIEVAL:
        if not takes_k(name):
            measures[name] = RETRIEVAL[name](search)
    optimum = dict.fromkeys(measures, 1.0)
    for depth in depths:  # a class may have fewer members than there are places
        optimum[f"precision_at_{depth}"] = search.mean((search.r / depth).clamp_max(1))
    return Report({**search.means(measures), "n_queries": search.n_queries}, optimum)
