"""Several networks of one form as one module."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

__all__ = ["Members"]


class Members(nn.Module):
    """Networks of one form, side by side.

    Parameters
    ----------
    networks : iterable of Module
        Each takes (batch, ...) to (batch, n_components).
    """

    def __init__(self, networks: Iterable[nn.Module]) -> None:
        super().__init__()
        self.networks = nn.ModuleList(networks)

    def __len__(self) -> int:
        return len(self.networks)

    def forward(self, X: Tensor) -> Tensor:
        """Return what each gives for the same rows, shape (members, batch, n_components)."""
        return torch.stack([network(X) for network in self.networks])
