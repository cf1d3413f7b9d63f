"""Where training rows live: on the device, prepared or raw, or streamed to it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._data import sources as _sources
from skhug._data.batches import untouched
from skhug._data.prepare import Prepare
from skhug._data.streaming import Stream
from skhug._device import to_tensor
from skhug._sparse import CompressedRows, SparseRows

__all__ = ["Augment", "place_rows", "prepare_batch"]

Augment = Callable[[Tensor, torch.Generator], Tensor]
# Of the free memory of a GPU, for the rows; the rest is for the training.
_GPU_SHARE = 0.5


def place_rows(
    prepare: Prepare, X: Any, augment: Augment | None, device: torch.device
) -> tuple[Tensor | Stream, Callable[[Tensor, torch.Generator], Tensor]]:
    """Return rows for :class:`~skhug._data.batches.Batches`, and what prepares a batch of them.

    The first that can be done of: prepared once and for all; raw on the device and prepared
    batch by batch; streamed. On a CPU rows are copied up to 256 MiB and a larger array is used
    where it lies; on a GPU they may take half of the free memory. Sparse rows are streamed.

    Parameters
    ----------
    prepare : Prepare
        What takes them to an encoder's body.
    X : ndarray, Source or CompressedRows of shape (n, ...)
        Raw rows.
    augment : callable or None
        Changes raw images of a batch, (batch, C, H, W), or raw rows.
    device : torch.device
        Where the encoder is.
    """
    per_batch = partial(prepare_batch, prepare, augment)
    if isinstance(X, CompressedRows):
        return Stream(X, device), per_batch
    limit = _limit(device)
    shape = prepare.output_shape(tuple(X.shape[1:]))
    prepared_bytes = len(X) * math.prod(shape) * prepare.dtype.itemsize
    if augment is None and not prepare.per_batch and prepared_bytes <= limit:
        return _resident(X, prepare, device, prepare.block_rows), untouched
    if _usable_in_place(X, device):
        return to_tensor(X, device), per_batch
    if X.nbytes <= limit:
        return _resident(X, lambda rows: rows, device, prepare.block_rows), per_batch
    return Stream(X, device), per_batch


def _limit(device: torch.device) -> float:
    if device.type == "cuda":
        return _GPU_SHARE * torch.cuda.mem_get_info(device)[0]
    return _sources.RESIDENT_BYTES


def _usable_in_place(X: Any, device: torch.device) -> bool:
    in_memory = isinstance(X, np.ndarray) and device.type == "cpu"
    return in_memory and X.flags.c_contiguous and X.flags.writeable


@torch.no_grad()
def _resident(
    X: Any, function: Callable[[Tensor], Tensor], device: torch.device, block_rows: int
) -> Tensor:
    """Return what a function makes of the rows, block by block, on the device."""
    resident = None
    for start in range(0, len(X), block_rows):
        block = function(to_tensor(X[start : start + block_rows], device))
        if resident is None:
            resident = block.new_empty(len(X), *block.shape[1:])
        resident[start : start + len(block)] = block
    return resident


@torch.no_grad()
def prepare_batch(
    prepare: Prepare, augment: Augment | None, X: Tensor, generator: torch.Generator
) -> Tensor:
    """Return raw rows, changed by a user's function, as an encoder's body takes them."""
    X = prepare.arrange(X)
    if augment is not None:
        X = X.to_dense() if isinstance(X, SparseRows) else X
        X = _augmented(augment, X, generator)
    return prepare.normalize(X)


def _augmented(augment: Augment, X: Tensor, generator: torch.Generator) -> Tensor:
    """Return what a user's function makes of a batch; a batch may be the user's own array."""
    changed = augment(X.clone(), generator)
    if not isinstance(changed, Tensor) or changed.shape != X.shape:
        shape = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise ValueError(
            f"augment returned {shape} for a batch of shape {tuple(X.shape)}: return a tensor of "
            "the same shape."
        )
    return changed
