"""Embedding rows with a trained module, block by block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from skhug._device import to_numpy, to_tensor
from skhug._modules import SphereEncoder


def device_of(encoder: SphereEncoder) -> torch.device:
    """Device that a module's parameters are on."""
    return next(encoder.parameters()).device


def embed_blocks(encoder: SphereEncoder, X: np.ndarray) -> Iterator[Tensor]:
    """Yield unit embeddings of consecutive rows, in evaluation mode and without gradients."""
    device, rows = device_of(encoder), encoder.prepare.block_rows
    training = encoder.training
    if training:
        encoder.eval()
    try:
        for start in range(0, len(X), rows):
            with torch.inference_mode():
                block = encoder(to_tensor(X[start : start + rows], device))
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
    device, size = device_of(encoder), encoder.prepare.block_rows
    shape = encoder.prepare.output_shape(X.shape[1:])
    prepared = torch.empty((len(X), *shape), dtype=encoder.prepare.dtype, device=device)
    for block, rows in zip(prepared.split(size), range(0, len(X), size), strict=True):
        block.copy_(encoder.prepare(to_tensor(X[rows : rows + size], device)))
    return prepared
