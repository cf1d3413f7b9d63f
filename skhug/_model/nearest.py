"""The nearest proxies of embeddings, by blocks: never all cosines at once."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["decision", "nearest", "row_blocks"]

# Rows compared at once, and the cosines that they make with a block of proxies: 4 MiB in float32,
# which stays in a core's cache.
_BLOCK_ROWS = 2048
_BLOCK_COSINES = 1 << 20
# On an accelerator large blocks pay.
_LAUNCH_FACTOR = 64
# Cosines of rows that need them all: 16 MiB in float32.
_WIDE_COSINES = 1 << 22


def nearest(embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
    """Find each row's nearest proxy.

    Parameters
    ----------
    embeddings : Tensor of shape (n, n_components)
        Unit rows.
    proxies : Tensor of shape (n_classes, n_components)
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


def _nearest(embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
    size = _BLOCK_COSINES // len(embeddings)
    if embeddings.device.type != "cpu":
        size *= _LAUNCH_FACTOR
    # A row of cosines a proxy: products and maxima over few proxies are several times faster so.
    best, index = (proxies[:size] @ embeddings.T).max(0)
    for start in range(size, len(proxies), size):
        cosines = proxies[start : start + size] @ embeddings.T
        top = cosines.amax(0)
        # Finding the index is the dear part: only of rows that found a nearer one.
        rows = (top > best).nonzero()[:, 0]
        best[rows] = top[rows]
        index[rows] = start + cosines.T[rows].argmax(1)
    return best, index


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


def row_blocks(rows: Tensor, n_classes: int) -> tuple[Tensor, ...]:
    """Cut rows into blocks whose cosines to all the classes take little memory."""
    return rows.split(max(1, _WIDE_COSINES // n_classes))
