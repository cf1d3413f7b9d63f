"""Whether rows are vectors that a network made, and not a table."""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["are_vectors"]

# A network's vectors have so many columns, their lengths differ by no more than this share, and
# their columns take so many values.
_COLUMNS = (32, 4096)
_SPREAD = 0.01
_DISTINCT = 16
# Rows that are looked at.
_ROWS = 1024


def are_vectors(X: Any) -> bool:
    """Return whether flat rows look like normalised embeddings.

    They have from 32 to 4,096 columns, all the same length (a standard deviation below a hundredth
    of the mean), and of a draw of rows half of the columns or more have 16 different values, or
    half as many as rows. 102 tables have not; embeddings that are not normalised have to be named.

    Parameters
    ----------
    X : ndarray or Source of shape (n, n_features)
        Rows without gaps.
    """
    if not _COLUMNS[0] <= X.shape[1] <= _COLUMNS[1] or X.dtype.kind != "f":
        return False
    drawn = np.arange(len(X))
    if len(X) > _ROWS:
        drawn = np.sort(np.random.default_rng(0).choice(len(X), _ROWS, replace=False))
    rows = np.asarray(X[drawn], np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(rows, axis=1)
        alike = lengths.std() < _SPREAD * lengths.mean()
    if not alike:
        return False
    values = np.sort(rows, axis=0)
    distinct = 1 + np.count_nonzero(values[1:] != values[:-1], axis=0)
    return bool(np.median(distinct) >= min(_DISTINCT, len(rows) / 2))
