"""Rows of which zeros are not stored: any library's, in memory, and on a device with products."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.sparse import coo_array, csr_array, issparse
from torch import Tensor, nn

__all__ = ["CompressedRows", "SparseRows", "as_scipy", "is_sparse", "lie_by_columns"]


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse matrix or array of SciPy's, or a sparse tensor."""
    return issparse(X) or (isinstance(X, Tensor) and X.layout != torch.strided)


def as_scipy(X: Any, name: str = "X") -> Any:
    """Return what is sparse as a matrix or an array of SciPy's.

    Raises
    ------
    ValueError
        If it has not two axes.
    """
    if X.ndim != 2:
        raise ValueError(
            f"{name} is sparse and of shape {tuple(X.shape)}: pass one row per sample, of shape "
            "(n_samples, n_features)."
        )
    if not isinstance(X, Tensor):
        return X
    X = X.detach().cpu()
    X = (X if X.layout == torch.sparse_coo else X.to_sparse_coo()).coalesce()
    values = X.values().float() if X.dtype in (torch.bfloat16, torch.float16) else X.values()
    return csr_array(coo_array((values.numpy(), X.indices().numpy()), shape=tuple(X.shape)))


class CompressedRows:
    """Rows in memory of which zeros are not stored.

    Parameters
    ----------
    csr : sparse array or matrix of shape (n, n_features)
        By rows, of real numbers; one that stores a place twice is copied.
    """

    ndim = 2

    def __init__(self, csr: Any) -> None:
        csr = csr_array(csr)
        if not csr.has_canonical_format:
            csr = csr.copy()  # what was passed stays as it is
            csr.sum_duplicates()
        self.csr = csr

    def __len__(self) -> int:
        return self.csr.shape[0]

    def __getitem__(self, key: slice | np.ndarray) -> CompressedRows:
        return CompressedRows(self.csr[key])

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return self.csr.shape

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""
        return self.csr.dtype

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values (n_stored,), their columns, and where each row's begin (n + 1,)."""
        return self.csr.data, self.csr.indices, self.csr.indptr

    @property
    def nbytes(self) -> int:
        """Bytes of what is stored."""
        return sum(part.nbytes for part in self.parts)

    def min(self) -> float:
        """Return the smallest value, zeros included."""
        return self.csr.min()

    def max(self) -> float:
        """Return the largest value, zeros included."""
        return self.csr.max()


class SparseRows:
    """Rows on a device of which zeros are not stored, as a linear layer takes them.

    Parameters
    ----------
    values : Tensor of shape (n_stored,)
        Row after row.
    columns : Tensor of shape (n_stored,)
        Of the values, int64.
    starts : Tensor of shape (n + 1,)
        Where the values of each row begin, and the last of them ends; int64.
    width : int
        Number of columns.
    """

    ndim = 2

    def __init__(self, values: Tensor, columns: Tensor, starts: Tensor, width: int) -> None:
        self.values = values
        self.columns = columns
        self.starts = starts
        self.width = width

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of columns."""
        return len(self), self.width

    @property
    def device(self) -> torch.device:
        """Where they are."""
        return self.values.device

    def with_values(self, values: Tensor) -> SparseRows:
        """Return rows with other values in the same places."""
        return SparseRows(values, self.columns, self.starts, self.width)

    def to(self, *args: Any, **options: Any) -> SparseRows:
        """Return them on another device; arguments as of ``Tensor.to``."""
        parts = (t.to(*args, **options) for t in (self.values, self.columns, self.starts))
        return SparseRows(*parts, self.width)

    def pin_memory(self) -> SparseRows:
        """Return them in memory that a GPU reads by itself."""
        parts = (t.pin_memory() for t in (self.values, self.columns, self.starts))
        return SparseRows(*parts, self.width)

    def __getitem__(self, rows: slice) -> SparseRows:
        start, stop, _ = rows.indices(len(self))
        starts = self.starts[start : max(start, stop) + 1]
        stored = slice(int(starts[0]), int(starts[-1]))
        return SparseRows(self.values[stored], self.columns[stored], starts - starts[0], self.width)

    def tensor_split(self, n_parts: int, dim: int = 0) -> tuple[SparseRows, ...]:
        """Return so many parts of the rows, as ``Tensor.tensor_split`` cuts them."""
        ends = np.cumsum([0, *map(len, np.array_split(np.arange(len(self)), n_parts))])
        return tuple(self[a:b] for a, b in itertools.pairwise(ends))

    def row_of_each(self) -> Tensor:
        """Return the row of every value."""
        rows = torch.arange(len(self), device=self.device)
        return rows.repeat_interleave(self.starts.diff(), output_size=len(self.values))

    def to_dense(self, step: int = 1) -> Tensor:
        """Return a tensor of every ``step``-th column."""
        rows, columns, values = self.row_of_each(), self.columns, self.values
        if step > 1:
            kept = columns % step == 0
            rows, columns, values = rows[kept], columns[kept] // step, values[kept]
        dense = values.new_zeros(len(self), -(-self.width // step))
        dense[rows, columns] = values
        return dense

    def expand(self, *shape: int) -> SparseRows:
        """Return what several layers side by side take: the same rows."""
        return self

    @classmethod
    def __torch_function__(
        cls, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Let a linear layer take them, and the products that write its gradients."""
        taken = _TAKEN.get(function)
        return NotImplemented if taken is None else taken(*args, **(kwargs or {}))


def _product(rows: SparseRows, transposed: Tensor) -> Tensor:
    """Return the product with a matrix (width, out), which should lie by its rows."""
    return F.embedding_bag(
        rows.columns,
        transposed.contiguous(),
        rows.starts,
        mode="sum",
        per_sample_weights=rows.values,
        include_last_offset=True,
    )


def _linear(rows: SparseRows, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    product = _product(rows, weight.t())
    return product if bias is None else product + bias


def _addmm(bias: Tensor, rows: SparseRows, transposed: Tensor) -> Tensor:
    return _product(rows, transposed).add_(bias)


def _baddbmm(bias: Tensor, rows: SparseRows, transposed: Tensor) -> Tensor:
    return torch.stack([_product(rows, matrix) for matrix in transposed]).add_(bias)


def _mm(g: Tensor, rows: SparseRows, *, out: Tensor) -> Tensor:
    """Write the product of g (out, n) with rows (n, width)."""
    order = rows.columns.argsort()
    columns, counts = rows.columns[order].unique_consecutive(return_counts=True)
    sums = F.embedding_bag(  # of what lies in a column, over the rows
        rows.row_of_each()[order],
        g.t().contiguous(),
        F.pad(counts.cumsum(0), (1, 0)).to(order.dtype),
        mode="sum",
        per_sample_weights=rows.values[order],
        include_last_offset=True,
    )
    out.zero_().t().index_copy_(0, columns, sums)
    return out


def _bmm(g: Tensor, rows: SparseRows, *, out: Tensor) -> Tensor:
    for one, written in zip(g, out, strict=True):
        _mm(one, rows, out=written)
    return out


# The functions of torch that take sparse rows, where a layer's input stands.
_TAKEN = {
    F.linear: _linear,
    torch.addmm: _addmm,
    torch.baddbmm: _baddbmm,
    torch.mm: _mm,
    torch.bmm: _bmm,
}


@torch.no_grad()
def lie_by_columns(weight: nn.Parameter) -> None:
    """Lay a weight (out, in) out in memory by its columns; its numbers stay as they are.

    A row with few values then reads a few runs of memory, where it would jump about in all of it.
    """
    weight.data = weight.data.t().contiguous().t()
