"""Embedding rows with a trained module, block by block."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from skhug._device import to_tensor
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


@torch.no_grad()
def prepare(encoder: SphereEncoder, X: np.ndarray) -> Tensor:
    """Return all rows as they enter the module's body, on the device."""
    device = device_of(encoder)
    rows = encoder.prepare.block_rows
    starts = range(0, len(X), rows)
    return torch.cat([encoder.prepare(to_tensor(X[i : i + rows], device)) for i in starts])
