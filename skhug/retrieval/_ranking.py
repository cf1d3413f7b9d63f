"""Vectors of length 1, the order of those found for a query, and what their classes count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from skhug._device import to_numpy, to_tensor
from skhug._sphere import unit, widened

__all__ = ["SAME", "as_array", "blocks", "ranked", "ranked_with_ties", "unit_rows", "votes"]

# Numbers of a block: 16 MiB in float64, beside vectors of any number.
_BLOCK_ELEMENTS = 1 << 21
# A row with this cosine to one of the gallery is the same row: rounding is a tenth of it.
SAME = 1 - 1e-6
# Largest components between which lengths are exact, of float32 as well.
_SHORT, _LONG = 1e-30, 1e30


def blocks(n: int, width: int) -> Iterator[slice]:
    """Yield slices of n rows of a width each, as many numbers at a time as a block holds."""
    size = max(1, _BLOCK_ELEMENTS // max(1, width))
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def as_array(rows: Any) -> Any:
    """Return a tensor as an array, with a gradient or in bfloat16 too, and all else as it is."""
    return to_numpy(widened(rows)) if isinstance(rows, torch.Tensor) else rows


def unit_rows(rows: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Write rows scaled to length 1 to an array of float32; a row of zeros stays one."""
    for block in blocks(*rows.shape):
        measurable = _measurable(rows[block])
        out[block] = to_numpy(unit(to_tensor(measurable, torch.device("cpu"))))
    return out


def _measurable(rows: np.ndarray) -> np.ndarray:
    """Return rows of the same directions, none too long or too short for its squares to count."""
    largest = np.abs(rows).max(1, initial=0)
    if not ((largest < _SHORT) & (largest > 0) | (largest > _LONG)).any():
        return rows
    return np.ldexp(rows, -np.frexp(largest)[1][:, None])  # subnormal numbers too


def ranked(
    queries: np.ndarray, vectors: np.ndarray, found: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Put what an index found in order, by the vectors themselves.

    Parameters
    ----------
    queries : ndarray of shape (n, d)
        Of length 1.
    vectors : ndarray of shape (n_rows, d)
        All rows of the gallery.
    found : ndarray of shape (n, m)
        Their places, in any order; -1 where the index found fewer.
    k : int
        How many to keep, at most m.

    Returns
    -------
    similarity : ndarray of shape (n, k)
        Cosines in float64, largest first; -inf where there is none.
    index : ndarray of shape (n, k)
        Places; of equal vectors the one that came first is first.
    """
    similarity, index = np.empty((len(queries), k)), np.empty((len(queries), k), np.int64)
    for rows in blocks(len(queries), found.shape[1] * queries.shape[1]):
        places = np.sort(found[rows], 1)
        product = vectors[places] * queries[rows, None].astype(np.float64)
        cosine = product.sum(-1).clip(-1, 1)
        cosine[places < 0] = -np.inf
        order = np.argsort(-cosine, 1, kind="stable")[:, :k]
        similarity[rows] = np.take_along_axis(cosine, order, 1)
        index[rows] = np.take_along_axis(places, order, 1)
    return similarity, index


def ranked_with_ties(
    queries: np.ndarray, vectors: np.ndarray, found: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Put what an exact search found in order as :func:`ranked` does, whatever rows tie.

    Where the last that was found is as near as the k-th, others may be too that were left out.
    """
    similarity, index = ranked(queries, vectors, found, found.shape[1])
    if found.shape[1] < len(vectors):
        margin = 1 - SAME
        for i in np.flatnonzero(similarity[:, -1] >= similarity[:, k - 1] - margin):
            near = vectors @ queries[i] >= similarity[i, k - 1] - 2 * margin
            near[index[i]] = True
            similarity[i, :k], index[i, :k] = _first_of(queries[i], vectors, near, k)
    return similarity[:, :k], index[:, :k]


def _first_of(
    query: np.ndarray, vectors: np.ndarray, mask: np.ndarray, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and places of the k nearest rows of a mask, of which there may be many."""
    places = np.flatnonzero(mask)
    parts = (places[rows] for rows in blocks(len(places), len(query)))
    cosine = np.concatenate([(vectors[p] * query.astype(np.float64)).sum(-1) for p in parts])
    order = np.argsort(-cosine.clip(-1, 1), kind="stable")[:k]
    return cosine[order].clip(-1, 1), places[order]


def votes(similarity: np.ndarray, codes: np.ndarray, temperature: float) -> np.ndarray:
    """Return, beside each neighbour, the share of its class in the votes of all of them.

    A neighbour's vote is ``exp(similarity / temperature)`` [1]_, equation 8 without the constant.

    Parameters
    ----------
    similarity : ndarray of shape (n, k)
        Largest first.
    codes : ndarray of shape (n, k)
        Classes of the neighbours.
    temperature : float
        Above 0.

    Returns
    -------
    shares : ndarray of shape (n, k)
        In [0, 1].

    References
    ----------
    .. [1] Wu, Xiong, Yu and Lin, "Unsupervised Feature Learning via Non-Parametric Instance
       Discrimination", CVPR 2018, arXiv 1805.01978.
    """
    shares = np.empty(similarity.shape)
    for rows in blocks(len(codes), codes.shape[1] ** 2):
        weight = np.exp((similarity[rows] - similarity[rows, :1]) / temperature)
        weight /= weight.sum(1, keepdims=True)
        same = codes[rows, :, None] == codes[rows, None, :]
        shares[rows] = (same * weight[:, None]).sum(-1)
    return shares
