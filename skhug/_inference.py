"""Embedding rows with a trained module, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from skhug._device import to_numpy, to_tensor
from skhug.encoders import SphereEncoder

_BLOCK_ROWS = 2048


def device_of(encoder: SphereEncoder) -> torch.device:
    """Device that a module's parameters are on."""
    return next(encoder.parameters()).device


def embed_blocks(encoder: SphereEncoder, X: np.ndarray) -> Iterator[Tensor]:
    """Yield unit embeddings of consecutive rows, in evaluation mode and without gradients."""
    device = device_of(encoder)
    training = encoder.training
    if training:
        encoder.eval()
    try:
        for start in range(0, len(X), _BLOCK_ROWS):
            with torch.inference_mode():
                block = encoder(to_tensor(X[start : start + _BLOCK_ROWS], device))
            yield block
    finally:
        if training:
            encoder.train()


def embed(encoder: SphereEncoder, X: np.ndarray) -> Tensor:
    """Return the unit embeddings of all rows, shape (n, n_components), on the device."""
    return torch.cat(list(embed_blocks(encoder, X)))


def join(blocks: Iterable[Tensor], n_rows: int) -> np.ndarray:
    """Bring blocks of rows together in one array; no second copy of it is ever held."""
    joined, start = None, 0
    for block in map(to_numpy, blocks):
        if joined is None:
            joined = np.empty((n_rows, *block.shape[1:]), block.dtype)
        joined[start : start + len(block)] = block
        start += len(block)
    return joined


@torch.no_grad()
def prepare(encoder: SphereEncoder, X: np.ndarray) -> Tensor:
    """Return all rows as they enter the module's body, on the device."""
    device = device_of(encoder)
    starts = range(0, len(X), _BLOCK_ROWS)
    return torch.cat([encoder.prepare(to_tensor(X[i : i + _BLOCK_ROWS], device)) for i in starts])
