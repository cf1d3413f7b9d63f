"""Sparse matrices of all formats and libraries, and which of them are held as sparse rows."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from scipy.sparse import coo_array, csr_array, issparse
from torch import Tensor

from skhug._sparse import CompressedRows

__all__ = ["SPARSE", "as_scipy", "held", "is_sparse"]

# What scikit-learn's checks are told of sparse matrices; other formats become this one.
SPARSE = {"accept_sparse": "csr"}
# Rows of fewer features than this, and of no more bytes when dense, are made dense: that costs
# little, and they are then trained on as dense rows are.
_FEW_FEATURES = 512
_FEW_BYTES = 1 << 26


def is_sparse(X: Any) -> bool:
    """Whether X is a sparse matrix or array of SciPy's, or a sparse tensor."""
    return issparse(X) or (isinstance(X, Tensor) and X.layout != torch.strided)


def as_scipy(X: Any) -> Any:
    """Return what is sparse as a matrix or an array of SciPy's.

    Raises
    ------
    ValueError
        If it has not two axes.
    """
    if X.ndim != 2:
        raise ValueError(
            f"X is sparse and of shape {tuple(X.shape)}: pass one row per sample, of shape "
            "(n_samples, n_features)."
        )
    if not isinstance(X, Tensor):
        return X
    X = X.detach().cpu()
    X = (X if X.layout == torch.sparse_coo else X.to_sparse_coo()).coalesce()
    values = X.values().float() if X.dtype in (torch.bfloat16, torch.float16) else X.values()
    return csr_array(coo_array((values.numpy(), X.indices().numpy()), shape=tuple(X.shape)))


def held(X: Any) -> np.ndarray | CompressedRows:
    """Return checked rows as they are held: dense where that is small, and others as they are."""
    if not issparse(X):
        return X
    small = X.shape[1] < _FEW_FEATURES and math.prod(X.shape) * X.dtype.itemsize <= _FEW_BYTES
    return X.toarray() if small else CompressedRows(X)
