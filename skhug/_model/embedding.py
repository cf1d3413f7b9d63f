"""Embedding rows with a trained module, block by block."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._data.sources import Source
from skhug._data.streaming import Stream
from skhug._device import free_memory, to_numpy, to_tensor
from skhug._model.sphere_encoder import SphereEncoder


def device_of(encoder: SphereEncoder) -> torch.device:
    """Device that a module's numbers are on; one that has none computes on the CPU."""
    numbers = chain(encoder.parameters(), encoder.buffers())
    return next(numbers, torch.empty(0)).device


# From an encoder and raw rows on its device to their embeddings.
Output = Callable[[SphereEncoder, Tensor], Tensor]


def embed_blocks(
    encoder: SphereEncoder, X: np.ndarray | Source, output: Output = SphereEncoder.forward
) -> Iterator[Tensor]:
    """Yield embeddings of consecutive rows, in evaluation mode and without gradients.

    By default unit vectors. Where the device's memory does not hold a block, this one and the next
    are taken in halves.
    """
    device, rows = device_of(encoder), encoder.prepare.block_rows
    training = encoder.training
    if training:
        encoder.eval()
    try:
        for raw in raw_blocks(X, rows, device):
            start = 0
            while start < len(raw):
                block = _embed_rows(encoder, raw[start : start + rows], output)
                if block is None:
                    rows = (min(rows, len(raw) - start) + 1) // 2
                    free_memory(device)
                    continue
                yield block
                start += len(block)
    finally:
        if training:
            encoder.train()


def _embed_rows(encoder: SphereEncoder, raw: Tensor, output: Output) -> Tensor | None:
    """Return embeddings, None where memory does not hold them; one row must fit."""
    try:
        with torch.inference_mode():
            return output(encoder, raw)
    except torch.OutOfMemoryError:
        if len(raw) == 1:
            raise
    return None


def raw_blocks(X: np.ndarray | Source, n_rows: int, device: torch.device) -> Iterator[Tensor]:
    """Yield consecutive rows on the device; those of a source are read ahead."""
    if isinstance(X, Source):
        starts = range(0, len(X), n_rows)
        sizes = [min(n_rows, len(X) - start) for start in starts]
        yield from Stream(X, device).batches(None, sizes)
        return
    for start in range(0, len(X), n_rows):
        yield to_tensor(X[start : start + n_rows], device)


def embed(
    encoder: SphereEncoder, X: np.ndarray | Source, output: Output = SphereEncoder.forward
) -> Tensor:
    """Return the embeddings of all rows, shape (n, n_components), on the device."""
    blocks = list(embed_blocks(encoder, X, output))
    if not blocks:  # of a shard from which no row was drawn
        return torch.zeros(
            0, encoder.n_components, device=device_of(encoder), dtype=encoder.prepare.dtype
        )
    return torch.cat(blocks)


def join(blocks: Iterable[Tensor], n_rows: int) -> np.ndarray:
    """Bring blocks of rows together in one array; no second copy of it is ever held."""
    blocks = iter(blocks)
    first = to_numpy(next(blocks))
    if len(first) == n_rows:
        next(blocks, None)  # lets who yields them end
        return first
    joined = np.empty((n_rows, *first.shape[1:]), first.dtype)
    joined[: len(first)] = first
    fill(joined[len(first) :], blocks)
    return joined


def fill(out: Any, blocks: Iterable[Tensor]) -> Any:
    """Write blocks of rows into an array, one after another; return it."""
    start = 0
    for block in blocks:
        out[start : start + len(block)] = to_numpy(block)
        start += len(block)
    return out
