"""A block of queries and its similarities to the gallery, in chunks of bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skhug.metrics._ties import Group, Ties, grouped, starts

# Values beyond twice those wanted that may be as large as the bound they are sifted by.
_EQUAL = 64


class Points(NamedTuple):
    """What is compared, and how.

    ``similarity(queries, columns, out)`` fills out with what falls as the distance grows;
    ``tolerance(queries, similarity)`` is what rounding may do to it.
    """

    query_class: Tensor
    gallery_class: Tensor
    similarity: Callable[[Tensor, slice, Tensor], Tensor]
    tolerance: Callable[[Tensor, Tensor], Tensor]


class Block:
    """Some queries; ``buffer`` is the memory for their similarities to a chunk of the gallery.

    A gallery of one chunk is compared once, and its similarities are kept in the buffer until
    the next block takes it; those of a larger one are computed whenever they are read.
    """

    def __init__(self, points: Points, rows: Tensor, buffer: Tensor) -> None:
        self.points = points
        self.rows = rows
        self.buffer = buffer
        self.n_gallery = len(points.gallery_class)
        self.n_counted = 0  # queries whose ties go on beyond what was found
        self._kept: Tensor | None = None

    def similarities(self, places: Tensor) -> Iterator[tuple[slice, Tensor]]:
        """Yield the gallery's columns and the similarities to them, for queries of the block."""
        n, size = self.n_gallery, self.buffer.shape[1]
        if self._kept is not None:
            every = len(places) == len(self.rows)
            yield slice(0, n), self._kept if every else self._kept[places]
            return
        for start in range(0, n, size):
            columns = slice(start, min(start + size, n))
            out = _shaped(self.buffer, len(places), columns.stop - start)
            yield columns, self.points.similarity(self.rows[places], columns, out)

    def nearest(self, k: int) -> tuple[Tensor, Tensor]:
        """Return similarities and gallery rows of the k nearest of every query."""
        best = None
        every = torch.arange(len(self.rows), device=self.rows.device)
        for columns, similarity in self.similarities(every):
            if similarity.shape[1] == self.n_gallery:
                self._kept = similarity
            best = nearest_so_far(best, similarity, columns.start, k)
        return best

    def count_above(self, places: Tensor, bound: Tensor) -> tuple[Tensor, Tensor]:
        """Count the rows nearer than a bound for each of some queries, and the hits among them."""
        own_class = self.points.query_class[self.rows[places], None]
        rows, hits = torch.zeros_like(places), torch.zeros_like(places)
        for columns, similarity in self.similarities(places):
            above = similarity > bound[:, None]
            rows += _count(above)
            hits += _count(above.logical_and_(self.points.gallery_class[columns] == own_class))
        return rows, hits

    def nearest_hit(self, places: Tensor) -> Group:
        """Return the group of the nearest of their class for some queries, by a full count."""
        own_class = self.points.query_class[self.rows[places], None]
        best = self.buffer.new_full((len(places), 1), -torch.inf)
        for columns, similarity in self.similarities(places):
            own = self.points.gallery_class[columns] == own_class
            best = torch.maximum(best, similarity.masked_fill(~own, -torch.inf).amax(1, True))
        # Above zero, as in starts(): of points at the origin nothing is below the bound.
        margin = self.points.tolerance(self.rows[places], best)
        margin = margin.clamp_min_(torch.finfo(best.dtype).tiny)
        nearer, _ = self.count_above(places, (best + margin)[:, 0])
        rows, hits = self.count_above(places, (best - margin)[:, 0])
        return Group(nearer, torch.zeros_like(hits), rows - nearer, hits)

    def ties(self, similarity: Tensor, hits: Tensor, k: int, r: Tensor) -> Ties:
        """Return the groups among the k nearest, for queries whose score they may change.

        ``similarity`` and ``hits`` are of neighbours found, as many as k or more.
        """
        found = similarity.shape[1]
        tolerance = self.points.tolerance(self.rows, similarity)
        near = similarity[:, :-1] - similarity[:, 1:] <= tolerance[:, :-1]
        mixed = (near & (hits[:, 1:] != hits[:, :-1])).any(1)
        if found < self.n_gallery:  # the last group may go on beyond what was found
            mixed |= near[:, k - 1 :].all(1)
        (queries,) = torch.nonzero(mixed, as_tuple=True)
        if not len(queries):
            return Ties(queries, r[queries], None)
        start, low = starts(similarity[queries], tolerance[queries])
        groups = grouped(start, hits[queries])
        if found < self.n_gallery:
            (open_,) = torch.nonzero(start[:, -1] < k, as_tuple=True)
            self.n_counted = len(open_)
            self._complete(groups, open_, queries[open_], low[open_, -1])
        return Ties(queries, r[queries], groups)

    def _complete(self, groups: Group, open_: Tensor, places: Tensor, low: Tensor) -> None:
        """Count the last group of some queries in the whole gallery, down to a similarity."""
        if not len(open_):
            return
        rows, hits = self.count_above(places, low)
        last = Group(*(count[open_, -1:] for count in groups))
        size = torch.maximum(rows[:, None] - last.before, last.size)
        hits = torch.maximum(hits[:, None] - last.hits_before, last.hits)
        hits = torch.minimum(hits, size - last.size + last.hits)  # where rounding miscounts
        within = groups.before[open_] == last.before
        groups.size[open_] = torch.where(within, size, groups.size[open_])
        groups.hits[open_] = torch.where(within, hits, groups.hits[open_])


def largest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row and their columns, largest first, as ``topk`` does.

    The row is cut into groups of every m-th column. The k-th largest of the groups' maxima is at
    most the k-th largest value: what is above is little more than k, and to sort it costs less
    than to select among all.
    """
    n = values.shape[1]
    k = min(k, n)
    size = int((n / k) ** 0.5)  # of a group: few maxima, and few groups with two of the k largest
    if size < 2 or n < 1024 or values.device.type != "cpu":
        return tuple(values.topk(k, 1))
    m = n // size
    maxima = values[:, : m * size].unflatten(1, (size, m)).amax(1)
    # NumPy selects and compares by vector instructions, where torch does not.
    bound = np.partition(maxima.numpy(), m - k, axis=1)[:, m - k : m - k + 1]
    rows = values.numpy()
    places = np.flatnonzero(rows >= bound)  # one row after another
    count = np.diff(np.searchsorted(places, np.arange(len(values) + 1) * n))
    if count.max() > 2 * k + _EQUAL:  # many are as large as the bound
        return tuple(values.topk(k, 1))
    taken = np.arange(count.max()) < count[:, None]
    found = np.full(taken.shape, -np.inf, rows.dtype)
    column = np.zeros(taken.shape, np.int64)
    found[taken], column[taken] = rows.take(places), places % n
    best, order = torch.from_numpy(found).topk(k, 1)
    return best, torch.from_numpy(column).gather(1, order)


def nearest_so_far(
    best: tuple[Tensor, Tensor] | None, similarity: Tensor, start: int, k: int
) -> tuple[Tensor, Tensor]:
    """Return the k largest of each row, and their columns, of chunks up to this one.

    ``best`` is what the chunks before it gave, ``start`` is the column that this one begins at.
    """
    values, index = largest(similarity, k)
    index = index + start
    if best is None:
        return values, index
    values, index = (torch.cat(pair, 1) for pair in zip(best, (values, index), strict=True))
    values, order = values.topk(min(k, values.shape[1]), 1)
    return values, index.gather(1, order)


def _count(mask: Tensor) -> Tensor:
    """Sum each row of a mask; bytes are added faster than truth values."""
    return mask.view(torch.uint8).sum(1, dtype=torch.int32)


def _shaped(buffer: Tensor, *shape: int) -> Tensor:
    return buffer.ravel()[: shape[0] * shape[1]].view(shape)
