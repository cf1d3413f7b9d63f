"""Exact search on the sphere or in space, in blocks: what the retrieval metrics count on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from numbers import Integral
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skhug._sparse import is_sparse
from skhug._sphere import unit
from skhug.metrics._arguments import (
    as_labels,
    as_points,
    as_weights,
    encode,
    encode_together,
    rescaled,
)
from skhug.metrics._blocks import Block, Points
from skhug.metrics._sparse_points import SparsePoints
from skhug.metrics._ties import Group, Ties

# Similarities held at once: 8 MiB in float32 on the CPU, near its caches; more feeds a GPU.
_BLOCK_ELEMENTS = {"cpu": 1 << 21}
_BLOCK_ELEMENTS_ELSEWHERE = 1 << 25
# Rows of the gallery at a time, or twice the neighbours wanted where those are more.
_CHUNK_ROWS = 1 << 15
# Neighbours found beyond those asked for where many ties go on there: finding costs less than
# counting them in the whole gallery.
_BEYOND = 16


class Found(NamedTuple):
    """Neighbours of a block of queries, nearest first.

    ``hits`` (block, k or more) tells which are of the query's class, ``r`` (block,) is how many
    of the class there are to find, ``rows`` (block,) are the queries' indices. ``ties`` are
    those that may change a score, ``first_hit`` is the group of the nearest of the class where
    a measure asked for it.
    """

    rows: Tensor
    hits: Tensor
    r: Tensor
    ties: Ties
    first_hit: Group | None


class Measure(NamedTuple):
    """A metric, query by query.

    ``depth`` are the neighbours needed where R are to find, ``value`` is the value of each query
    of a block, (block,), as if nothing were tied, ``expected`` that of the queries of its ties
    over all their orders. Where it is None, value reads ``first_hit``, ties and all.
    """

    depth: Callable[[int], int]
    value: Callable[[Found], Tensor]
    expected: Callable[[Ties], Tensor] | None


class Search:
    """Checked queries and gallery; see :mod:`skhug.metrics` for the arguments."""

    def __init__(
        self,
        embeddings: Any,
        labels: Any,
        gallery: Any = None,
        gallery_labels: Any = None,
        metric: str = "cosine",
        sample_weight: Any = None,
    ) -> None:
        if metric not in ("cosine", "euclidean"):
            raise ValueError(f"metric={metric!r}: pass 'cosine' or 'euclidean'.")
        if (gallery is None) != (gallery_labels is None):
            raise ValueError("Pass both gallery and gallery_labels, or neither.")
        self.among_themselves = gallery is None
        self.queries = _points(embeddings, "embeddings")
        device = self.queries.device
        labels = as_labels(labels, len(self.queries), "labels")
        if self.among_themselves:
            self.gallery = self.queries
            self.query_class = self.gallery_class = encode(labels).to(device)
        else:
            self.gallery = self._as_gallery(gallery)
            others = as_labels(gallery_labels, len(self.gallery), "gallery_labels")
            codes = encode_together(labels, others)
            self.query_class, self.gallery_class = (code.to(device) for code in codes)
        self._prepare(metric)
        self.r = self._count_to_find()
        weight = as_weights(sample_weight, len(self.queries), device)
        self.weight = weight * (self.r > 0)
        self.n_queries = int((self.weight > 0).sum())
        self._check_something_to_find()
        self.largest_r = int(self.r.max())
        self.largest_k = len(self.gallery) - int(self.among_themselves)

    def means(self, measures: Mapping[str, Measure]) -> dict[str, float]:
        """Return weighted means over the queries of several measures, all from one search."""
        totals = {name: self.weight.new_zeros(()) for name in measures}
        for found in self._find(measures.values()):
            for name, measure in measures.items():
                value = measure.value(found).to(self.weight)
                if measure.expected is not None and found.ties.groups is not None:
                    value[found.ties.queries] = measure.expected(found.ties)
                totals[name] += self.weight[found.rows] @ value
        return {name: float(total / self.weight.sum()) for name, total in totals.items()}

    def mean(self, values: Tensor) -> float:
        """Return the weighted mean of a value per query, over those with something to find."""
        return float(self.weight @ values.to(self.weight) / self.weight.sum())

    def check_k(self, k: int) -> None:
        """Raise if the gallery does not hold k to find."""
        if not isinstance(k, Integral) or not 1 <= k <= self.largest_k:
            raise ValueError(
                f"k={k!r}: pass a whole number from 1 to {self.largest_k}, the rows there are to "
                "find."
            )

    def _check_something_to_find(self) -> None:
        """Raise if no query that counts has hits to find, or none could miss."""
        if not self.r.any():
            raise ValueError(
                "No query has another of its class to find: pass at least two rows of a class."
                if self.among_themselves
                else "No class of the queries is in gallery_labels, so that nothing can be found: "
                "pass a gallery with rows of the queries' classes, or, to search the queries "
                "among themselves, neither gallery nor gallery_labels."
            )
        if not self.n_queries:
            raise ValueError(
                "sample_weight is zero for every query that has something to find: give one of "
                "them a positive weight."
            )
        if (self.gallery_class == self.gallery_class[0]).all():
            raise ValueError(
                "All rows there are to find are of one class, so that any embedding would score "
                "1: pass rows of at least 2 classes. In cross-validation each test fold needs as "
                "many: use StratifiedKFold, KFold(shuffle=True) or, for unseen classes, "
                "GroupKFold with at most half as many folds as classes."
            )

    def _find(self, measures: Collection[Measure]) -> Iterator[Found]:
        """Yield blocks of the queries that have a weight, by rising R: each as deep as it asks."""
        first_hit = any(measure.expected is None for measure in measures)
        wanted = torch.nonzero(self.weight).ravel()
        r, order = self.r[wanted].sort()
        deepest = max(measure.depth(self.largest_r) for measure in measures)
        r, buffer, start = r.tolist(), self._buffer(deepest), 0
        points = Points(self.query_class, self.gallery_class, self._similarity, self._tolerance)
        beyond = 1  # the next neighbour tells whether the last is tied
        for rows in wanted[order].split(len(buffer)):
            start += len(rows)
            k = max(measure.depth(r[start - 1]) for measure in measures)
            block = Block(points, rows, buffer)
            yield self._found(block, k, beyond, first_hit)
            if 4 * block.n_counted > len(rows):
                beyond = _BEYOND

    def _found(self, block: Block, k: int, beyond: int, first_hit: bool) -> Found:
        """Return the k nearest of a block's queries, and all that is counted of its ties."""
        rows = block.rows
        similarity, index = block.nearest(min(k + beyond, len(self.gallery)))
        hits = self.gallery_class[index] == self.query_class[rows, None]
        ties = block.ties(similarity, hits, k, self.r[rows])
        first = _first_hit(block, hits[:, :k], ties) if first_hit else None
        return Found(rows, hits, self.r[rows], ties, first)

    def _similarity(self, queries: Tensor, columns: slice, out: Tensor) -> Tensor:
        """Fill out with what falls as the distance grows; a query to itself is -inf."""
        if isinstance(self.gallery, SparsePoints):
            self.queries[queries].products(self.gallery[columns], out)
        else:
            torch.mm(self.queries[queries], self.gallery[columns].T, out=out)
        if self._half_squared is not None:
            out -= self._half_squared[columns]
        if self.among_themselves:
            column = queries - columns.start
            inside = (column >= 0) & (column < out.shape[1])
            at = column.clamp(0, out.shape[1] - 1)[:, None]
            out.scatter_(1, at, out.gather(1, at).masked_fill_(inside[:, None], -torch.inf))
        return out

    def _tolerance(self, queries: Tensor, similarity: Tensor) -> Tensor:
        """Return how far rounding may part equal similarities, with whatever instructions.

        A product of unit rows is off by some half units in the last place, which grow as the
        root of the number of terms. Other rows are as long as the query and its distance allow.
        """
        unit = torch.finfo(similarity.dtype).eps * (2 + self.queries.shape[1] ** 0.5 / 2)
        if self._half_squared is None:
            return torch.full_like(similarity, unit)
        squared = _squared(self.queries[queries])[:, None]
        return (2 * squared - similarity).mul_(unit)

    def _buffer(self, k: int) -> Tensor:
        """Memory for the similarities of a block to a chunk: fresh memory costs as the product."""
        chunk = min(len(self.gallery), max(_CHUNK_ROWS, 2 * k))
        elements = _BLOCK_ELEMENTS.get(self.queries.device.type, _BLOCK_ELEMENTS_ELSEWHERE)
        block = min(len(self.queries), max(1, elements // chunk))
        return self.queries.new_empty(block, chunk)

    def _as_gallery(self, gallery: Any) -> Tensor:
        if is_sparse(gallery) != isinstance(self.queries, SparsePoints):
            raise ValueError(
                "One of embeddings and gallery is sparse and the other is dense: pass both sparse, "
                "as by scipy.sparse.csr_array, or both dense."
            )
        points = _points(gallery, "gallery")
        if isinstance(points, Tensor):
            points = points.to(self.queries)
        if points.shape[1] != self.queries.shape[1]:
            raise ValueError(
                f"embeddings have {self.queries.shape[1]} components and the gallery "
                f"{points.shape[1]}: embed both with the same model."
            )
        return points

    def _prepare(self, metric: str) -> None:
        """Transform the points so that a product orders neighbours as the metric does."""
        if metric == "cosine":
            self.queries, self.gallery = map(_unit, (self.queries, self.gallery))
            self._half_squared = None
            return
        if isinstance(self.queries, SparsePoints):
            self.queries, self.gallery = SparsePoints.rescaled(self.queries, self.gallery)
        else:
            # The order of distances does not change, and rounding costs fewer digits near the
            # origin.
            self.queries, self.gallery = rescaled(self.queries, self.gallery)
            centre = self.gallery.mean(0)
            self.queries, self.gallery = self.queries - centre, self.gallery - centre
        self._half_squared = _squared(self.gallery) / 2

    def _count_to_find(self) -> Tensor:
        n_codes = int(max(self.query_class.max(), self.gallery_class.max())) + 1
        counts = torch.bincount(self.gallery_class, minlength=n_codes)
        return counts[self.query_class] - int(self.among_themselves)


def _points(points: Any, name: str) -> Tensor | SparsePoints:
    return SparsePoints.of(points, name) if is_sparse(points) else as_points(points, name)


def _unit(points: Tensor | SparsePoints) -> Tensor | SparsePoints:
    return points.unit() if isinstance(points, SparsePoints) else unit(*rescaled(points))


def _squared(points: Tensor | SparsePoints) -> Tensor:
    """Return squared lengths (n,)."""
    return points.squared() if isinstance(points, SparsePoints) else points.square().sum(1)


def _first_hit(block: Block, hits: Tensor, ties: Ties) -> Group:
    """Return the group of the nearest of each query's class, hits being of the k nearest."""
    place = hits.int().argmax(1)
    alone, none = torch.ones_like(place), torch.zeros_like(place)
    group = Group(place, none, alone, alone.clone())
    if ties.groups is not None:
        _put(group, ties.queries, ties.groups.at(place[ties.queries]))
    (beyond,) = torch.nonzero(~hits.any(1), as_tuple=True)
    if len(beyond):
        _put(group, beyond, block.nearest_hit(beyond))
    return group


def _put(group: Group, queries: Tensor, values: Group) -> None:
    for count, value in zip(group, values, strict=True):
        count[queries] = value
