"""Pairs of rows and their cosines, a tile at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor

from skhug._device import to_tensor
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
from skhug.metrics._pair_counts import Counts, counter_of
from skhug.metrics._sparse_points import SparsePoints

__all__ = ["Pairs", "all_pairs", "given_pairs"]

# Rows and columns of a tile: 2 MiB of cosines on the CPU, near its caches; more feeds a GPU.
_TILE = {"cpu": 1 << 9}
_TILE_ELSEWHERE = 1 << 12


class Pairs(NamedTuple):
    """Pairs that were counted.

    ``n_true`` pairs of one class and ``n_false`` of two have a positive weight; ``n_rows`` are
    the rows that were paired with one another, None where pairs came in another way.
    """

    counts: Counts
    n_true: int
    n_false: int
    n_rows: int | None


class _Side(NamedTuple):
    """Rows on one side of the pairs: points, numbers of their classes, and weights or None."""

    points: Tensor | SparsePoints
    classes: Tensor
    weight: Tensor | None

    def at(self, rows: slice) -> tuple[Tensor | SparsePoints, Tensor, Tensor | None]:
        weight = None if self.weight is None else self.weight[rows]
        return _unit_rows(self.points, rows), self.classes[rows], weight


def all_pairs(
    embeddings: Any,
    labels: Any,
    gallery: Any = None,
    gallery_labels: Any = None,
    sample_weight: Any = None,
) -> Pairs:
    """Count all pairs of rows, or of a row and one of the gallery.

    Raises
    ------
    ValueError
        If no pair is of one class, or none of two.
    """
    if (gallery is None) != (gallery_labels is None):
        raise ValueError("Pass both gallery and gallery_labels, or neither.")
    points = _points(embeddings, "embeddings")
    labels = as_labels(labels, len(points), "labels")
    others = None
    if gallery is None:
        classes = encode(labels).to(points.device)
    else:
        gallery = _alike(_points(gallery, "gallery"), points, "gallery")
        gallery_labels = as_labels(gallery_labels, len(gallery), "gallery_labels")
        codes = encode_together(labels, gallery_labels)
        classes, gallery_classes = (code.to(points.device) for code in codes)
        others = _Side(gallery, gallery_classes, None)
    rows = _weighted(points, classes, sample_weight)
    n_true, n_pairs = _sizes(rows.classes, None if others is None else others.classes)
    _check_both_kinds(n_true, n_pairs - n_true)
    counter = counter_of(n_pairs, _in_widest(points, 1))
    for pairs in _tiles(rows, others):
        counter.add(*pairs)
    n_rows = len(rows.classes) if others is None else None
    return Pairs(counter.counts(), n_true, n_pairs - n_true, n_rows)


def given_pairs(embeddings: Any, others: Any, same: Any, sample_weight: Any = None) -> Pairs:
    """Count pairs of one row each of two sets.

    Raises
    ------
    ValueError
        If the sets differ in shape, no pair is of one class, or none of two.
    """
    left, right = (
        rescaled(as_points(points, name))[0]
        for points, name in ((embeddings, "embeddings"), (others, "others"))
    )
    right = _alike(right, left, "others")
    if len(left) != len(right):
        raise ValueError(
            f"embeddings have {len(left)} rows and others {len(right)}: pass one row of each for "
            "every pair, as z[pairs[:, 0]] and z[pairs[:, 1]]."
        )
    same = as_labels(same, len(left), "same")
    if not set(same.tolist()) <= {0, 1}:
        raise ValueError("same holds more than truth values: pass True or False for each pair.")
    same = same if isinstance(same, Tensor) else to_tensor(same, left.device)
    same = same.to(left.device).bool()
    weight = None if sample_weight is None else as_weights(sample_weight, len(left), left.device)
    if weight is not None:
        kept = weight > 0
        left, right, same, weight = left[kept], right[kept], same[kept], weight[kept]
    n_true = int(same.sum())
    _check_both_kinds(n_true, len(same) - n_true)
    counter = counter_of(len(same), _in_widest(left, 1))
    for rows in _slices(len(left), _tile(left) ** 2 // left.shape[1] + 1):
        cosine = (_unit_rows(left, rows) * _unit_rows(right, rows)).sum(1)
        counter.add(cosine, same[rows], None if weight is None else weight[rows])
    return Pairs(counter.counts(), n_true, len(same) - n_true, None)


def _tiles(rows: _Side, others: _Side | None) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
    """Yield cosines, whether they are of one class, and weights; each pair once."""
    size = _tile(rows.points)
    columns = rows if others is None else others
    out = _in_widest(rows.points, size * size)
    for block in _slices(len(rows.classes), size):
        left = rows.at(block)
        start = block.start if others is None else 0
        for part in _slices(len(columns.classes), size, start):
            right = columns.at(part)
            cosine, same, weight = _tile_of(left, right, out)
            if others is None and part.start == block.start:  # a row is no pair with itself
                upper = torch.ones_like(same).triu_(1)
                cosine, same = cosine[upper], same[upper]
                weight = None if weight is None else weight[upper]
            yield cosine.ravel(), same.ravel(), None if weight is None else weight.ravel()


def _tile_of(left: tuple, right: tuple, out: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
    points, classes, weight = left
    other_points, other_classes, other_weight = right
    shape = len(classes), len(other_classes)
    cosine = out[: shape[0] * shape[1]].view(shape)
    if isinstance(points, SparsePoints):
        points.products(other_points, cosine)
    else:
        torch.mm(points, other_points.T, out=cosine)
    same = classes[:, None] == other_classes
    if weight is not None:
        weight = weight[:, None] * (1 if other_weight is None else other_weight)
        weight = weight.expand(shape)
    return cosine, same, weight


def _weighted(points: Tensor | SparsePoints, classes: Tensor, sample_weight: Any) -> _Side:
    """Return rows of a positive weight."""
    if sample_weight is None:
        return _Side(points, classes, None)
    weight = as_weights(sample_weight, len(classes), points.device)
    (kept,) = torch.nonzero(weight, as_tuple=True)
    return _Side(points[kept], classes[kept], weight[kept])


def _sizes(classes: Tensor, others: Tensor | None) -> tuple[int, int]:
    """Return how many pairs are of one class, and how many there are."""
    n = len(classes)
    if others is None:
        counts = torch.bincount(classes)
        return int((counts * (counts - 1) // 2).sum()), n * (n - 1) // 2
    n_codes = int(torch.cat([classes, others]).max()) + 1
    counts = (torch.bincount(c, minlength=n_codes) for c in (classes, others))
    return int(torch.mul(*counts).sum()), n * len(others)


def _check_both_kinds(n_true: int, n_false: int) -> None:
    if not n_true:
        raise ValueError(
            "No pair is of one class, so that none could be accepted rightly: pass at least two "
            "rows of some class, and weights above zero."
        )
    if not n_false:
        raise ValueError(
            "All pairs are of one class, so that none could be accepted wrongly: pass rows of at "
            "least 2 classes. In cross-validation each test fold needs as many: use "
            "StratifiedKFold, KFold(shuffle=True) or, for unseen classes, GroupKFold with at most "
            "half as many folds as classes."
        )


def _points(points: Any, name: str) -> Tensor | SparsePoints:
    """Return checked points, sparse ones of unit length."""
    if is_sparse(points):
        return SparsePoints.of(points, name).unit()
    return rescaled(as_points(points, name))[0]


def _alike(
    points: Tensor | SparsePoints, first: Tensor | SparsePoints, name: str
) -> Tensor | SparsePoints:
    """Return points on the device of the first, of the same kind and number of components."""
    if isinstance(points, SparsePoints) != isinstance(first, SparsePoints):
        raise ValueError(
            f"One of embeddings and {name} is sparse and the other is dense: pass both sparse, "
            "as by scipy.sparse.csr_array, or both dense."
        )
    if points.shape[1] != first.shape[1]:
        raise ValueError(
            f"embeddings have {first.shape[1]} components and {name} {points.shape[1]}: embed "
            "both with the same model."
        )
    return points if isinstance(points, SparsePoints) else points.to(first.device)


def _unit_rows(points: Tensor | SparsePoints, rows: slice) -> Tensor | SparsePoints:
    if isinstance(points, SparsePoints):
        return points[rows]
    return unit(points[rows].to(_widest(points)))


def _in_widest(points: Tensor | SparsePoints, n: int) -> Tensor:
    """Return memory for n cosines."""
    return torch.empty(n, dtype=_widest(points), device=points.device)


def _widest(points: Tensor | SparsePoints) -> torch.dtype:
    return torch.float32 if points.device.type == "mps" else torch.float64


def _tile(points: Tensor | SparsePoints) -> int:
    return _TILE.get(points.device.type, _TILE_ELSEWHERE)


def _slices(n: int, size: int, start: int = 0) -> Iterator[slice]:
    return (slice(i, min(i + size, n)) for i in range(start, n, size))
