"""Sparse rows to search among: products of sparse matrices, dense for a block of queries alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from torch import Tensor

from skhug._sparse import CompressedRows, as_scipy

__all__ = ["SparsePoints"]


class SparsePoints:
    """Points of which zeros are not stored, in float64, on the CPU.

    Parameters
    ----------
    csr : sparse array of shape (n, n_components)
        Finite numbers.
    """

    device = torch.device("cpu")

    def __init__(self, csr: csr_array) -> None:
        self.csr = csr

    @classmethod
    def of(cls, points: Any, name: str) -> SparsePoints:
        """Return checked points.

        Raises
        ------
        ValueError
            If they are not two-dimensional, empty or not finite.
        """
        csr = CompressedRows(as_scipy(points, name)).csr.astype(np.float64)
        if not csr.shape[0]:
            raise ValueError(f"{name} has shape {csr.shape}: pass (n_samples, n_components).")
        if not np.isfinite(csr.data).all():
            raise ValueError(f"{name} has NaN or infinite values: remove those rows.")
        return cls(csr)

    def __len__(self) -> int:
        return self.csr.shape[0]

    @property
    def shape(self) -> tuple[int, int]:
        """Number of points and of components."""
        return self.csr.shape

    def __getitem__(self, rows: Tensor | slice) -> SparsePoints:
        return SparsePoints(self.csr[rows if isinstance(rows, slice) else rows.numpy()])

    def new_empty(self, *shape: int) -> Tensor:
        """Return memory for numbers of the same dtype."""
        return torch.empty(shape, dtype=torch.float64)

    @staticmethod
    def rescaled(*points: SparsePoints) -> list[SparsePoints]:
        """Return points whose squares do not overflow, all divided by one power of two."""
        largest = max(np.abs(p.csr.data).max(initial=0.0) for p in points)
        return [SparsePoints(p.csr * np.ldexp(1.0, -np.frexp(largest)[1])) for p in points]

    def unit(self) -> SparsePoints:
        """Return points of length 1; one at the origin stays there."""
        (points,) = self.rescaled(self)
        length = np.sqrt(points.squared().numpy())
        inverse = np.divide(1.0, length, out=np.zeros_like(length), where=length > 0)
        return SparsePoints((diags_array(inverse) @ points.csr).tocsr())

    def squared(self) -> Tensor:
        """Return the squared lengths (n,)."""
        return torch.from_numpy(np.asarray(self.csr.multiply(self.csr).sum(1)))

    def products(self, others: SparsePoints, out: Tensor) -> None:
        """Write the products with other points, (n, n_others)."""
        out.copy_(torch.from_numpy((self.csr @ others.csr.T).toarray()))
