"""Exact search on the sphere or in space, in blocks: what the retrieval metrics count on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skhug._sphere import unit
from skhug.metrics._arguments import (
    as_labels,
    as_points,
    as_weights,
    encode,
    encode_together,
    rescaled,
)

# Similarities held at once: 8 MiB in float32 on the CPU, near its caches; more feeds a GPU.
_BLOCK_ELEMENTS = {"cpu": 1 << 21}
_BLOCK_ELEMENTS_ELSEWHERE = 1 << 25
# Rows of the gallery at a time, or twice the neighbours wanted where those are more.
_CHUNK_ROWS = 1 << 15


class Found(NamedTuple):
    """Neighbours of a block of queries, nearest first.

    ``hits`` (block, k) tells which are of the query's class, ``similarity`` (block, k) orders
    them, ``r`` (block,) is how many of the class there are to find, ``rows`` (block,) are the
    queries' indices. ``buffer`` held their similarities to the gallery's last chunk.
    """

    rows: Tensor
    hits: Tensor
    similarity: Tensor
    r: Tensor
    buffer: Tensor


class Measure(NamedTuple):
    """Neighbours needed where R are to find, and the value of each query of a block, (block,)."""

    depth: Callable[[int], int]
    value: Callable[[Found], Tensor]


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
        self.queries = as_points(embeddings, "embeddings")
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
        if not self.weight.any():
            raise ValueError(
                "No query has another of its class to find: pass at least two rows of a class."
            )
        self.largest_r = int(self.r.max())
        self.largest_k = len(self.gallery) - int(self.among_themselves)

    def means(self, measures: Mapping[str, Measure]) -> dict[str, float]:
        """Return weighted means over the queries of several measures, all from one search."""
        totals = {name: self.weight.new_zeros(()) for name in measures}
        for found in self._find(lambda r: max(measure.depth(r) for measure in measures.values())):
            for name, measure in measures.items():
                totals[name] += self.weight[found.rows] @ measure.value(found).to(self.weight)
        return {name: float(total / self.weight.sum()) for name, total in totals.items()}

    def mean(self, values: Tensor) -> float:
        """Return the weighted mean of a value a query, over those that have something to find."""
        return float(self.weight @ values.to(self.weight) / self.weight.sum())

    def check_k(self, k: int) -> None:
        """Raise if the gallery does not hold k to find."""
        if not 1 <= k <= self.largest_k:
            raise ValueError(f"k={k!r}: pass 1 to {self.largest_k}, the rows there are to find.")

    def nearer_than_first_hit(self, found: Found, beyond: Tensor) -> Tensor:
        """Count the gallery rows nearer than the nearest of the class.

        ``beyond`` are the places in the block of queries whose class was not found.
        """
        own_class = self.query_class[found.rows[beyond], None]
        best = found.similarity.new_full((len(beyond), 1), -torch.inf)
        for columns, similarity in self._again(found, beyond):
            own = self.gallery_class[columns] == own_class
            best = torch.maximum(best, similarity.masked_fill(~own, -torch.inf).amax(1, True))
        nearer = torch.zeros_like(beyond)
        for _, similarity in self._again(found, beyond):
            nearer += (similarity > best).sum(1)
        return nearer

    def _again(self, found: Found, places: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the gallery's chunks and the similarities of some queries of a block to them."""
        n = len(self.gallery)
        if found.buffer.shape[1] == n:  # they are still there
            yield slice(0, n), _shaped(found.buffer, len(found.rows), n)[places]
            return
        for columns in self._chunks(found.buffer):
            yield columns, self._similarity(found.rows[places], columns, found.buffer)

    def _find(self, depth: Callable[[int], int]) -> Iterator[Found]:
        """Yield blocks of the queries that have a weight, by rising R: each as deep as it asks."""
        wanted = torch.nonzero(self.weight).ravel()
        r, order = self.r[wanted].sort()
        deepest, r = depth(self.largest_r), r.tolist()
        buffer, start = self._buffer(deepest), 0
        for rows in wanted[order].split(len(buffer)):
            start += len(rows)
            k = depth(r[start - 1])
            similarity, index = self._nearest(rows, k, buffer)
            hits = self.gallery_class[index] == self.query_class[rows, None]
            yield Found(rows, hits, similarity, self.r[rows], buffer)

    def _nearest(self, queries: Tensor, k: int, buffer: Tensor) -> tuple[Tensor, Tensor]:
        """Return similarities and gallery rows of the k nearest, chunk by chunk."""
        parts: list[tuple[Tensor, Tensor]] = []
        for columns in self._chunks(buffer):
            values, index = largest(self._similarity(queries, columns, buffer), k)
            parts.append((values, index + columns.start))
            if len(parts) > 1:
                values, index = (torch.cat(pair, 1) for pair in zip(*parts, strict=True))
                values, order = values.topk(min(k, values.shape[1]), 1)
                parts = [(values, index.gather(1, order))]
        return parts[0]

    def _similarity(self, queries: Tensor, columns: slice, buffer: Tensor) -> Tensor:
        """Return what falls as the distance grows, row by row; a query to itself is -inf."""
        similarity = _shaped(buffer, len(queries), columns.stop - columns.start)
        torch.mm(self.queries[queries], self.gallery[columns].T, out=similarity)
        if self._half_squared is not None:
            similarity -= self._half_squared[columns]
        if self.among_themselves:
            column = queries - columns.start
            inside = (column >= 0) & (column < similarity.shape[1])
            at = column.clamp(0, similarity.shape[1] - 1)[:, None]
            similarity.scatter_(
                1, at, similarity.gather(1, at).masked_fill_(inside[:, None], -torch.inf)
            )
        return similarity

    def _buffer(self, k: int) -> Tensor:
        """Memory for the similarities of a block to a chunk: fresh memory costs as the product."""
        chunk = min(len(self.gallery), max(_CHUNK_ROWS, 2 * k))
        elements = _BLOCK_ELEMENTS.get(self.queries.device.type, _BLOCK_ELEMENTS_ELSEWHERE)
        block = min(len(self.queries), max(1, elements // chunk))
        return self.queries.new_empty(block, chunk)

    def _chunks(self, buffer: Tensor) -> Iterator[slice]:
        n, size = len(self.gallery), buffer.shape[1]
        return (slice(start, min(start + size, n)) for start in range(0, n, size))

    def _as_gallery(self, gallery: Any) -> Tensor:
        points = as_points(gallery, "gallery").to(self.queries)
        if points.shape[1] != self.queries.shape[1]:
            raise ValueError(
                f"embeddings have {self.queries.shape[1]} components and the gallery "
                f"{points.shape[1]}: embed both with the same model."
            )
        return points

    def _prepare(self, metric: str) -> None:
        """Transform the points so that a product orders neighbours as the metric does."""
        if metric == "cosine":
            self.queries, self.gallery = (
                unit(*rescaled(points)) for points in (self.queries, self.gallery)
            )
            self._half_squared = None
            return
        # The order of distances does not change, and rounding costs fewer digits near the origin.
        self.queries, self.gallery = rescaled(self.queries, self.gallery)
        centre = self.gallery.mean(0)
        self.queries, self.gallery = self.queries - centre, self.gallery - centre
        self._half_squared = self.gallery.square().sum(1) / 2

    def _count_to_find(self) -> Tensor:
        n_codes = int(max(self.query_class.max(), self.gallery_class.max())) + 1
        counts = torch.bincount(self.gallery_class, minlength=n_codes)
        return counts[self.query_class] - int(self.among_themselves)


def _shaped(buffer: Tensor, *shape: int) -> Tensor:
    return buffer.ravel()[: shape[0] * shape[1]].view(shape)


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row and their columns, largest first, as ``topk`` does.

    The row is cut into groups of every m-th column. The k groups of the largest maxima hold the
    k largest values, and two selections among few cost less than one among all.
    """
    n = values.shape[1]
    k = min(k, n)
    size = int((n / k) ** 0.5)  # of a group: makes both selections equally long
    if size < 3 or n < 1024:
        return tuple(values.topk(k, 1))
    m = n // size
    groups = values[:, : m * size].unflatten(1, (size, m))  # column j * m + i is (j, i)
    chosen = groups.amax(1).topk(k, 1, sorted=False).indices
    candidates = groups.gather(2, chosen[:, None, :].expand(-1, size, -1)).flatten(1)
    if m * size < n:
        candidates = torch.cat([candidates, values[:, m * size :]], 1)
    found, place = candidates.topk(k, 1)
    column = place // k * m + chosen.gather(1, place % k)
    rest = place - k * size  # among the columns in no group
    return found, torch.where(rest < 0, column, rest + m * size)
