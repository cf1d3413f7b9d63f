"""Batch normalisation by the statistics of whole batches, of which processes have parts."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from skhug._data.batches import Batches
from skhug._distributed.group import Alone
from skhug._torch import BatchNorm

__all__ = ["refuse_empty_parts", "synchronise"]


def synchronise(body: nn.Module, group: Alone, device: torch.device) -> Callable[[], None]:
    """Let a body's batch normalisation see whole batches in training, where torch can: on CUDA.

    Parameters
    ----------
    body : Module
        Changed in place; parameters and buffers stay the same objects.
    group : Alone
        The processes.
    device : torch.device
        Of the body.

    Returns
    -------
    undo : callable
        Puts the layers back that were there.
    """
    plain = _batch_norms(body) if group.size > 1 and device.type == "cuda" else []
    for parent, name, layer in plain:
        setattr(parent, name, nn.SyncBatchNorm.convert_sync_batchnorm(layer))

    def undo() -> None:
        for parent, name, layer in plain:
            layer.train(getattr(parent, name).training)
            setattr(parent, name, layer)

    return undo


def _batch_norms(body: nn.Module) -> list[tuple[nn.Module, str, nn.Module]]:
    """Return batch normalisations as (parent, name, layer)."""
    return [
        (parent, name, layer)
        for parent in body.modules()
        for name, layer in parent.named_children()
        if isinstance(layer, BatchNorm) and not isinstance(layer, nn.SyncBatchNorm)
    ]


def refuse_empty_parts(body: nn.Module, batches: Batches, group: Alone) -> None:
    """Refuse batches of which a process has no row, where normalisation waits for all.

    Raises
    ------
    ValueError
        In every process.
    """
    waits = any(isinstance(layer, nn.SyncBatchNorm) for layer in body.modules())
    if waits and group.any(0 in batches.part_sizes()):
        raise ValueError(
            f"The encoder normalises over the batch, and a batch is too small for {group.size} "
            "processes to have rows of it: raise batch_size, or change it so that the last batch "
            "of an epoch is larger."
        )
