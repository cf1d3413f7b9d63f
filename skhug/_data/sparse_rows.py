"""Sparse rows as they are held, and for what takes dense ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.utils import check_array

from skhug._data.sources import Source
from skhug._sparse import CompressedRows

__all__ = ["SPARSE", "DenseBlocks", "check_fill", "dense_blocks", "held"]

# What scikit-learn's checks are told of sparse matrices; other formats become this one.
SPARSE = {"accept_sparse": "csr"}
# Rows of fewer features than this, and of no more bytes when dense, are made dense: that costs
# little, and they are then trained on as dense rows are.
_FEW_FEATURES = 512
_FEW_BYTES = 1 << 26


def held(X: Any) -> np.ndarray | CompressedRows:
    """Return checked rows as they are held: dense where that is small, and others as they are.

    Raises
    ------
    ValueError
        If there is a NaN among their values.
    """
    if not issparse(X):
        return X
    if X.dtype.kind == "b":
        X = X.astype(np.float64)
    if np.isnan(X.data).any():
        raise ValueError(
            "Input X contains NaN, and sparse rows have no gaps: fill them, for instance by 0."
        )
    if X.shape[1] >= _FEW_FEATURES or math.prod(X.shape) * X.dtype.itemsize > _FEW_BYTES:
        return CompressedRows(X)
    with np.errstate(over="ignore"):  # values of one place are added up
        return check_array(X.toarray(), input_name="X", dtype=None)


def check_fill(X: Any) -> None:
    """Refuse a data frame of sparse columns that leaves out another value than 0.

    Raises
    ------
    ValueError
        With the value.
    """
    if getattr(X, "ndim", 0) != 2 or not hasattr(X, "sparse"):  # which no other frame has
        return
    other = next((kind.fill_value for kind in X.dtypes if kind.fill_value != 0), 0)
    if other != 0:
        raise ValueError(
            f"X is a data frame of sparse columns with the fill_value {other}, and rows are taken "
            "sparse where zeros are left out: pass X.astype(pandas.SparseDtype(float, 0)), or "
            "X.sparse.to_dense()."
        )


class DenseBlocks(Source):
    """Sparse rows for what takes dense ones: each block is made dense when it is read."""

    def __init__(self, rows: CompressedRows) -> None:
        super().__init__(rows.shape, rows.dtype)
        self._rows = rows

    def _read(self, key: slice | np.ndarray) -> np.ndarray:
        return self._rows[key].csr.toarray()


def dense_blocks(X: Any) -> Any:
    """Return rows that read as arrays, block by block where they are sparse."""
    return DenseBlocks(X) if isinstance(X, CompressedRows) else X
