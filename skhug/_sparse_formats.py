"""Sparse matrices of all formats and libraries."""

from __future__ import annotations

from typing import Any

import torch
from scipy.sparse import coo_array, csr_array, issparse
from torch import Tensor

__all__ = ["as_scipy", "is_sparse"]


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
