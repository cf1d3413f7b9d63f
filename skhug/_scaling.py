"""Centre and scale of features of any kind: measured, counted, mostly zero, with heavy tails."""

from __future__ import annotations

from functools import partial

import numpy as np

__all__ = ["centre_and_scale"]

# Rows that quantiles are taken from, evenly spaced over the data.
_ROWS = 2048
# Columns sorted at once.
_COLUMNS = 512
# A feature's spread is this many robust standard deviations, or half its range if that is less.
_SPREAD = 3.0
# Standard deviations between the quartiles of a normal distribution.
_NORMAL_IQR = 1.349


def centre_and_scale(X: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what each feature is centred at and divided by.

    The scale is half the range for features without heavy tails, which keeps a pixel that is
    rarely lit as it is, where a standard deviation would blow it up. With heavy tails it is 3
    robust standard deviations, from the quartiles of the values other than the median (which
    for a count or a pixel is mostly 0). The centre is the mean, kept within a scale of the
    median.

    Parameters
    ----------
    X : ndarray or Source of shape (n, n_features)
        Rows; they are read in blocks.
    weight : ndarray of shape (n,)
        Positive weights; an integer weight equals as many rows for up to 2,048 rows.

    Returns
    -------
    centre, scale : ndarray of shape (n_features,), float64
        A constant feature has scale 0, and so has one whose scale has no inverse; their centre
        is 0.
    """
    every = slice(None, None, max(1, len(X) // _ROWS))
    median, spread = _median_and_spread(X[every], weight[every])
    low, high, mean = _range_and_mean(X, weight)
    half_range = high / 2 - low / 2
    scale = np.where(spread > 0, np.minimum(_SPREAD * spread, half_range), half_range)
    # What differs by rounding only is constant.
    eps, tiny = (np.finfo(X.dtype).eps, np.finfo(X.dtype).tiny) if X.dtype.kind == "f" else (0, 0)
    constant = (half_range <= 10 * eps * np.abs(mean)) | (scale < tiny)
    centre = np.clip(mean, median - scale, median + scale)
    return np.where(constant, 0, centre), np.where(constant, 0, scale)


def _range_and_mean(X: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest, largest and mean value of each feature, in one pass of blocks."""
    share = weight / weight.sum()
    low, high, mean = np.inf, -np.inf, 0.0
    for start in range(0, len(X), _ROWS):
        block = X[start : start + _ROWS]
        low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
        # In C order, so that the order of the sums does not depend on X's.
        mean = mean + share[start : start + _ROWS] @ block.astype(np.float64, order="C")
    return low.astype(np.float64), high.astype(np.float64), mean


def _median_and_spread(X: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted median, and the robust standard deviation of the values that differ from it."""
    median, spread = np.empty(X.shape[1]), np.empty(X.shape[1])
    quartiles = _quartiles if np.ptp(weight) == 0 else partial(_weighted_quartiles, weight=weight)
    for start in range(0, X.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        # A feature a row: sorting is fastest where its values lie together.
        lower, median[columns], upper = quartiles(np.ascontiguousarray(X[:, columns].T))
        spread[columns] = (upper - lower) / _NORMAL_IQR
    return median, spread


def _quartiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median of each row, and the quartiles of its values other than the median."""
    values = np.sort(values, axis=1)
    n = values.shape[1]
    median = values[:, (n - 1) // 2, None]
    first, last = (values < median).sum(axis=1), (values <= median).sum(axis=1)
    others = n - (last - first)

    def quantile(q: float) -> np.ndarray:
        rank = np.maximum(np.ceil(q * others).astype(int) - 1, 0)
        rank += np.where(rank >= first, last - first, 0)  # step over the median's run
        rank = np.minimum(rank, n - 1)
        return np.take_along_axis(values, rank[:, None], axis=1)[:, 0].astype(np.float64)

    return quantile(0.25), median[:, 0], quantile(0.75)


def _weighted_quartiles(
    values: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same where a value counts as often as its weight says."""
    order = values.argsort(axis=1)
    values, weight = np.take_along_axis(values, order, axis=1), weight[order]

    def quantile(weight: np.ndarray, q: float) -> np.ndarray:
        cumulative = weight.cumsum(axis=1)
        index = (cumulative < q * cumulative[:, -1:]).sum(axis=1)
        return np.take_along_axis(values, index[:, None], axis=1)[:, 0].astype(np.float64)

    median = quantile(weight, 0.5)
    others = np.where(values == median[:, None], 0, weight)
    return quantile(others, 0.25), median, quantile(others, 0.75)
