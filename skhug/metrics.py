"""Retrieval metrics: queries searched among themselves or in a gallery, in blocks.

Each metric is a mean over queries that have something to find: a query whose class has no other
member in the gallery is left out. Neighbours at exactly equal distance rank in the order in
which the search returns them, which is deterministic and otherwise arbitrary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "mean_average_precision_at_r",
    "mean_reciprocal_rank",
    "precision_at_k",
    "r_precision",
    "recall_at_k",
]

# Similarities held at once: 32 MiB in float32.
_BLOCK_ELEMENTS = 1 << 23

_PARAMETERS = """\
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
        Weights of the queries in the mean, non-negative."""


def _documented(function: Callable[..., float]) -> Callable[..., float]:
    function.__doc__ = function.__doc__.replace("    {shared}", _PARAMETERS)
    return function


@_documented
def recall_at_k(
    embeddings: Any,
    labels: Any,
    *,
    k: int = 1,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Share of queries with one of their class among their k nearest neighbours.

    Parameters
    ----------
    {shared}
    k : int, default=1
        Neighbours, at most the size of the gallery.

    Returns
    -------
    recall : float
        Between 0 and 1.

    Examples
    --------
    >>> from skhug.metrics import recall_at_k
    >>> recall_at_k([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], ["a", "a", "b", "b"])
    1.0
    """
    search = _Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return search.mean(lambda hits, _: hits.any(1).double(), search.check_k(k))


@_documented
def precision_at_k(
    embeddings: Any,
    labels: Any,
    *,
    k: int = 1,
    gallery: Any = None,
    gallery_labels: Any = None,
    metric: str = "cosine",
    sample_weight: Any = None,
) -> float:
    """Mean share of a query's k nearest neighbours that are of its class.

    Parameters
    ----------
    {shared}
    k : int, default=1
        Neighbours, at most the size of the gallery.

    Returns
    -------
    precision : float
        Between 0 and 1.

    Examples
    --------
    >>> from skhug.metrics import precision_at_k
    >>> precision_at_k([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1], k=2)
    0.5
    """
    search = _Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return search.mean(lambda hits, _: hits.double().mean(1), search.check_k(k))


@_documented
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

    Parameters
    ----------
    {shared}

    Returns
    -------
    precision : float
        Between 0 and 1.

    Examples
    --------
    >>> from skhug.metrics import r_precision
    >>> r_precision([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]], [0, 0, 1, 1])
    1.0
    """
    search = _Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return search.mean(lambda hits, r: _within_r(hits, r).sum(1) / r, search.largest_r)


@_documented
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
    ``1/R sum_{i <= R} P(i) rel(i)``, with P(i) the precision at i.

    Parameters
    ----------
    {shared}

    Returns
    -------
    score : float
        Between 0 and 1.

    References
    ----------
    Musgrave, Belongie and Lim, "A Metric Learning Reality Check", ECCV 2020, section 3.2.

    Examples
    --------
    >>> from skhug.metrics import mean_average_precision_at_r
    >>> mean_average_precision_at_r([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0]], [0, 0, 1])
    1.0
    """

    def average_precision(hits: Tensor, r: Tensor) -> Tensor:
        rank = torch.arange(1, hits.shape[1] + 1, device=hits.device)
        precision = hits.cumsum(1) / rank
        return (precision * _within_r(hits, r)).sum(1) / r

    search = _Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return search.mean(average_precision, search.largest_r)


@_documented
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

    The rank is 1 plus the number of gallery rows strictly nearer.

    Parameters
    ----------
    {shared}

    Returns
    -------
    score : float
        Above 0, at most 1.

    Examples
    --------
    >>> from skhug.metrics import mean_reciprocal_rank
    >>> mean_reciprocal_rank([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]], ["a", "a", "b"])
    0.5
    """
    search = _Search(embeddings, labels, gallery, gallery_labels, metric, sample_weight)
    return search.mean_reciprocal_rank()


def _within_r(hits: Tensor, r: Tensor) -> Tensor:
    """Hits among the first R columns, R by row, as numbers."""
    return (hits & (torch.arange(hits.shape[1], device=hits.device) < r[:, None])).double()


class _Search:
    """Checked queries and gallery, and the blocks of their search."""

    def __init__(
        self,
        embeddings: Any,
        labels: Any,
        gallery: Any,
        gallery_labels: Any,
        metric: str,
        sample_weight: Any,
    ) -> None:
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric={metric!r}: pass 'cosine' or 'euclidean'.")
        if (gallery is None) != (gallery_labels is None):
            raise ValueError("Pass both gallery and gallery_labels, or neither.")
        self.metric = metric
        self.among_themselves = gallery is None
        self.queries = _as_points(embeddings, "embeddings", metric)
        labels = _as_labels(labels, len(self.queries), "labels")
        if self.among_themselves:
            self.gallery, self.query_class = self.queries, torch.from_numpy(_encode(labels))
            self.gallery_class = self.query_class
        else:
            self.gallery = _as_points(gallery, "gallery", metric).to(self.queries)
            if self.gallery.shape[1] != self.queries.shape[1]:
                raise ValueError(
                    f"embeddings have {self.queries.shape[1]} components and the gallery "
                    f"{self.gallery.shape[1]}: embed both with the same model."
                )
            others = _as_labels(gallery_labels, len(self.gallery), "gallery_labels")
            codes = torch.from_numpy(_encode(np.concatenate([labels, others])))
            self.query_class, self.gallery_class = codes[: len(labels)], codes[len(labels) :]
        device = self.queries.device
        self.query_class = self.query_class.to(device)
        self.gallery_class = self.gallery_class.to(device)
        n_codes = int(max(self.query_class.max(), self.gallery_class.max())) + 1
        counts = torch.bincount(self.gallery_class, minlength=n_codes)
        self.r = counts[self.query_class] - int(self.among_themselves)
        self.weight = _as_weights(sample_weight, self.queries) * (self.r > 0)
        if not self.weight.any():
            raise ValueError(
                "No query has another of its class to find: pass at least two rows of a class."
            )
        self.largest_r = int(self.r.max())

    def check_k(self, k: int) -> int:
        """Return k if the gallery holds as many."""
        largest = len(self.gallery) - int(self.among_themselves)
        if not 1 <= k <= largest:
            raise ValueError(f"k={k!r}: pass 1 to {largest}, the rows there are to find.")
        return k

    def mean(self, value: Callable[[Tensor, Tensor], Tensor], k: int) -> float:
        """Mean over queries of ``value(hits, r)``, hits of shape (block, k) nearest first."""
        total = 0.0
        for rows, similarity in self._similarities():
            nearest = similarity.topk(k, dim=1).indices
            hits = self.gallery_class[nearest] == self.query_class[rows, None]
            found = value(hits, self.r[rows].clamp_min(1))
            total += float(self.weight[rows] @ found)
        return total / float(self.weight.sum())

    def mean_reciprocal_rank(self) -> float:
        """Mean of 1 / (1 + rows strictly nearer than the nearest of the class)."""
        total = 0.0
        for rows, similarity in self._similarities():
            own = self.gallery_class[None, :] == self.query_class[rows, None]
            best = similarity.masked_fill(~own, -torch.inf).amax(1, keepdim=True)
            reciprocal = 1 / (1 + (similarity > best).sum(1).double())
            total += float(self.weight[rows] @ reciprocal)
        return total / float(self.weight.sum())

    def _similarities(self) -> Iterator[tuple[slice, Tensor]]:
        """Yield (query rows, similarities to the gallery), a query to itself being -inf."""
        block = max(1, _BLOCK_ELEMENTS // len(self.gallery))
        squared = self.gallery.square().sum(1) if self.metric == "euclidean" else None
        for start in range(0, len(self.queries), block):
            rows = slice(start, min(start + block, len(self.queries)))
            similarity = self.queries[rows] @ self.gallery.T
            if squared is not None:  # monotone in minus the distance, row by row
                similarity = similarity.mul_(2).sub_(squared)
            if self.among_themselves:
                own = torch.arange(rows.start, rows.stop, device=similarity.device)
                similarity[own - start, own] = -torch.inf
            yield rows, similarity


def _as_points(points: Any, name: str, metric: str) -> Tensor:
    if not isinstance(points, Tensor):
        points = torch.from_numpy(np.require(points, requirements=["C", "W"]))
    points = points.detach()
    if not points.is_floating_point() or points.dtype in (torch.float16, torch.bfloat16):
        points = points.float()
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"{name} has shape {tuple(points.shape)}: pass (n_samples, n_components).")
    if not points.isfinite().all():
        raise ValueError(f"{name} has NaN or infinite values: remove those rows.")
    return F.normalize(points, dim=1) if metric == "cosine" else points


def _as_labels(labels: Any, n: int, name: str) -> np.ndarray:
    labels = labels.cpu().numpy() if isinstance(labels, Tensor) else np.asarray(labels)
    if labels.shape != (n,):
        raise ValueError(f"{name} has shape {labels.shape}: pass one label for each of {n} rows.")
    return labels


def _as_weights(sample_weight: Any, queries: Tensor) -> Tensor:
    if sample_weight is None:
        return torch.ones(len(queries), dtype=torch.float64, device=queries.device)
    weight = torch.as_tensor(np.array(sample_weight, dtype=np.float64), device=queries.device)
    if weight.shape != (len(queries),) or not (weight >= 0).all():
        raise ValueError(
            f"sample_weight must be {len(queries)} non-negative numbers, one for each query."
        )
    return weight


def _encode(labels: np.ndarray) -> np.ndarray:
    return np.unique(labels, return_inverse=True)[1]
