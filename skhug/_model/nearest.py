"""The nearest proxies of embeddings, by blocks: never all cosines at once."""

from __future__ import annotations

import os
from collections.abc import Iterator

import torch
from torch import Tensor

from skhug.proxies._phase_code import PhaseCode

__all__ = ["decision", "nearest", "products", "refuse_beyond_memory", "row_blocks"]

# Rows compared at once, and the cosines that they make with a block of proxies: 4 MiB in float32,
# which stays in a core's cache.
_BLOCK_ROWS = 2048
_BLOCK_COSINES = 1 << 20
# On an accelerator large blocks pay.
_LAUNCH_FACTOR = 64
# Cosines of rows that need them all: 16 MiB in float32.
_WIDE_COSINES = 1 << 22


def nearest(embeddings: Tensor, proxies: Tensor | PhaseCode) -> tuple[Tensor, Tensor]:
    """Find each row's nearest proxy.

    Parameters
    ----------
    embeddings : Tensor of shape (n, n_components)
        Unit rows.
    proxies : Tensor or PhaseCode of shape (n_classes, n_components)
        Unit rows.

    Returns
    -------
    cosine : Tensor of shape (n,)
        The largest to a proxy.
    index : Tensor of shape (n,)
        Of that proxy, the first of those at equal distance, int64.
    """
    blocks = [_nearest(rows, proxies) for rows in embeddings.split(_BLOCK_ROWS)]
    cosine, index = zip(*blocks, strict=True)
    return torch.cat(cosine), torch.cat(index)


def _nearest(embeddings: Tensor, proxies: Tensor | PhaseCode) -> tuple[Tensor, Tensor]:
    blocks = _cosine_blocks(embeddings, proxies)
    best, index = next(blocks)[1].max(0)
    for start, cosines in blocks:
        top = cosines.amax(0)
        # Finding the index is the dear part: only of rows that found a nearer one.
        rows = (top > best).nonzero()[:, 0]
        best[rows] = top[rows]
        index[rows] = start + cosines.T[rows].argmax(1)
    return best, index


def _cosine_blocks(embeddings: Tensor, proxies: Tensor | PhaseCode) -> Iterator[tuple[int, Tensor]]:
    """Yield the first of some proxies and their cosines, a row a proxy."""
    if isinstance(proxies, PhaseCode):
        for start, cosines in proxies.product_blocks(embeddings):
            yield start, cosines.T
        return
    size = _BLOCK_COSINES // len(embeddings)
    if embeddings.device.type != "cpu":
        size *= _LAUNCH_FACTOR
    # A row of cosines a proxy: products and maxima over few proxies are several times faster so.
    for start in range(0, len(proxies), size):
        yield start, proxies[start : start + size] @ embeddings.T


def products(points: Tensor, proxies: Tensor | PhaseCode) -> Tensor:
    """Return the products of points with all proxies, shape (n, n_classes)."""
    if isinstance(proxies, PhaseCode):
        return torch.cat([block for _, block in proxies.product_blocks(points)], 1)
    return points @ proxies.T


def decision(cosines: Tensor) -> Tensor:
    """Return cosines as scikit-learn's decisions: of two classes one number, above 0 the second.

    Parameters
    ----------
    cosines : Tensor of shape (n, n_classes)
        To the proxies.

    Returns
    -------
    decision : Tensor of shape (n, n_classes), or (n,) for two classes
        For two classes, half of the second's cosine minus the first's.
    """
    return cosines if cosines.shape[1] > 2 else (cosines[:, 1] - cosines[:, 0]) / 2


def refuse_beyond_memory(n_rows: int, n_classes: int, dtype: torch.dtype) -> None:
    """Refuse to return a number for each row and class where this machine cannot hold them.

    Raises
    ------
    ValueError
        With what to do. Where the machine does not say how much memory it has, nothing is refused.
    """
    names = getattr(os, "sysconf_names", {})
    if not {"SC_PHYS_PAGES", "SC_PAGE_SIZE"} <= names.keys():  # Windows
        return
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    asked = n_rows * n_classes * dtype.itemsize
    if asked > memory:
        raise ValueError(
            f"{n_rows} rows of {n_classes} classes are {asked / 2**30:,.1f} GiB of numbers, and "
            f"this machine has {memory / 2**30:,.1f} GiB of memory: call predict or score_samples, "
            f"which need none of it, or pass {max(memory // (4 * n_classes * dtype.itemsize), 1)} "
            "rows at a time."
        )


def row_blocks(rows: Tensor, n_classes: int) -> tuple[Tensor, ...]:
    """Cut rows into blocks whose cosines to all the classes take little memory."""
    return rows.split(max(1, _WIDE_COSINES // n_classes))
