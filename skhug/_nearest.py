"""The nearest proxies of embeddings, by blocks: never all cosines at once."""

from __future__ import annotations

from torch import Tensor

__all__ = ["nearest", "row_blocks"]

# Proxies compared at once with a large block of rows, and cosines held where rows are few:
# 4 MiB in float32, which stays in a core's cache.
_BLOCK_PROXIES = 512
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
    size = max(_BLOCK_PROXIES, _BLOCK_COSINES // max(len(embeddings), 1))
    if embeddings.device.type != "cpu":
        size *= _LAUNCH_FACTOR
    best, index = (embeddings @ proxies[:size].T).max(1)
    for start in range(size, len(proxies), size):
        cosines = embeddings @ proxies[start : start + size].T
        top = cosines.amax(1)
        # Finding the index is the dear part: only of rows that found a nearer one.
        rows = (top > best).nonzero()[:, 0]
        best[rows] = top[rows]
        index[rows] = start + cosines[rows].argmax(1)
    return best, index


def row_blocks(embeddings: Tensor, n_classes: int) -> tuple[Tensor, ...]:
    """Cut rows into blocks whose cosines to all the classes take little memory."""
    return embeddings.split(max(1, _WIDE_COSINES // n_classes))
