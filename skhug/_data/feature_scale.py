"""Centre and scale of features of any kind: measured, counted, mostly zero, with heavy tails."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from skhug._distributed.group import ALONE, Alone

__all__ = ["FeatureSummary", "centre_and_scale"]

# Rows that quantiles are taken from, evenly spaced over the data.
_ROWS = 2048
# Values that a summary keeps: of a feature, and of all together.
_FEWEST_KEPT, _MOST_KEPT = 64, 512
_KEPT_VALUES = 1 << 20
# Columns sorted at once; rows of a power of two numbers would collide in a cache.
_COLUMNS = 500
# Numbers that stay in a core's cache while they are looked at several times.
_CACHED = 1 << 16
# A feature's spread is this many robust standard deviations, or half its range if that is less.
_SPREAD = 3.0
# Standard deviations between the quartiles of a normal distribution.
_NORMAL_IQR = 1.349


def centre_and_scale(
    X: np.ndarray, weight: np.ndarray, shards: Alone = ALONE
) -> tuple[np.ndarray, np.ndarray]:
    """Return what each feature is centred at and divided by.

    The scale is half the range for features without heavy tails, which keeps a pixel that is
    rarely lit as it is, where a standard deviation would blow it up. With heavy tails it is 3
    robust standard deviations, from the quartiles of the values other than the median (which
    for a count or a pixel is mostly 0). The centre is the mean, kept within a scale of the
    median. NaN is no value, and does not count.

    Parameters
    ----------
    X : ndarray or Source of shape (n, n_features)
        Rows; they are read in blocks.
    weight : ndarray of shape (n,)
        Positive weights; an integer weight equals as many rows for up to 2,048 rows.
    shards : Alone
        The processes that hold further rows: the statistics are of all, as if they lay one after
        another.

    Returns
    -------
    centre, scale : ndarray of shape (n_features,), float64
        A constant feature has scale 0, and so has one whose scale has no inverse; their centre
        is 0.
    """
    step = max(1, shards.count(len(X)) // _ROWS)
    every = slice(-shards.before(len(X)) % step, None, step)
    drawn, its_weight = shards.join(X[every]), shards.join(weight[every])
    median, spread = _median_and_spread(drawn, its_weight)
    return _combine(median, spread, *_range_and_mean(X, weight, shards), X.dtype)


def _combine(
    median: np.ndarray,
    spread: np.ndarray,
    low: np.ndarray,
    high: np.ndarray,
    mean: np.ndarray,
    dtype: np.dtype,
) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale of features of which this is known, values of this dtype."""
    mean = np.where(np.isnan(mean), 0, mean)  # of a feature without a value
    half_range = high / 2 - low / 2
    scale = np.where(spread > 0, np.minimum(_SPREAD * spread, half_range), half_range)
    # What differs by rounding only is constant.
    eps, tiny = (np.finfo(dtype).eps, np.finfo(dtype).tiny) if dtype.kind == "f" else (0, 0)
    constant = (half_range <= 10 * eps * np.abs(mean)) | (scale < tiny)
    centre = np.clip(mean, median - scale, median + scale)
    return np.where(constant, 0, centre), np.where(constant, 0, scale)


class FeatureSummary(NamedTuple):
    """What is kept of rows so that those of later calls can be added to them.

    ``n_rows``; ``low``, ``high``, ``mean`` (n_features,); ``values`` (n_kept, n_features), a draw
    of each feature's values, in an order of its own: no row can be read off it.
    """

    n_rows: int
    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    values: np.ndarray

    @classmethod
    def of(cls, X: Any, weight: np.ndarray, seed: int) -> FeatureSummary:
        """Return the summary of rows, which count by their weights beside one another."""
        n_kept = min(len(X), _most_kept(X.shape[1]))
        # The rows at evenly spaced shares of the weight: all, where they are few and weigh alike.
        share = (weight / weight.sum()).cumsum()
        drawn = np.searchsorted(share, (np.arange(n_kept) + 0.5) / n_kept)
        values = X[np.minimum(drawn, len(X) - 1)]
        values = np.random.default_rng(seed).permuted(values, axis=0)
        return cls(len(X), *_range_and_mean(X, weight), values)

    @classmethod
    def assumed(
        cls, centre: np.ndarray, scale: np.ndarray, newer: FeatureSummary
    ) -> FeatureSummary:
        """Return a summary that a centre and a scale may have come from.

        What was constant is assumed to have been what it mostly is in newer rows.
        """
        usual = np.median(newer.values, axis=0)
        centre = np.where(scale > 0, centre, usual)
        place = np.linspace(-1, 1, _most_kept(len(centre)))[:, None]
        values = centre + scale * place * np.abs(place)  # close together in the middle
        return cls(_ROWS, centre - scale, centre + scale, centre, values)

    def merged(self, newer: FeatureSummary, seed: int) -> FeatureSummary:
        """Return the summary of the rows of both; where not all values fit, a draw is kept."""
        n_rows = self.n_rows + newer.n_rows
        return FeatureSummary(
            n_rows,
            np.minimum(self.low, newer.low),
            np.maximum(self.high, newer.high),
            self._joined_mean(newer, n_rows),
            self._joined(newer, np.random.default_rng(seed)),
        )

    def _joined_mean(self, newer: FeatureSummary, n_rows: int) -> np.ndarray:
        mean = self.mean * (self.n_rows / n_rows) + newer.mean * (newer.n_rows / n_rows)
        known = np.where(np.isnan(self.mean), newer.mean, self.mean)  # where one has no value
        return np.where(np.isnan(mean), known, mean)

    def _joined(self, newer: FeatureSummary, rng: np.random.Generator) -> np.ndarray:
        kept, arrived = self.values, newer.values
        most = _most_kept(kept.shape[1])
        if len(kept) + len(arrived) > most:
            # In proportion to the rows; by chance, so that a share below one value counts too.
            share = newer.n_rows / (self.n_rows + newer.n_rows)
            arrived = arrived[: int(most * share + rng.random())]
            kept = kept[rng.permutation(len(kept))[: most - len(arrived)]]
        return np.concatenate([kept, arrived])

    def centre_and_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return what :func:`centre_and_scale` returns, of all rows so far."""
        median, spread = _median_and_spread(self.values, np.ones(len(self.values)))
        return _combine(median, spread, self.low, self.high, self.mean, self.values.dtype)


def _most_kept(n_features: int) -> int:
    return max(_FEWEST_KEPT, min(_MOST_KEPT, _KEPT_VALUES // max(n_features, 1)))


def _range_and_mean(
    X: np.ndarray, weight: np.ndarray, shards: Alone = ALONE
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smallest, largest and mean value of each feature, in one pass of blocks."""
    share = weight / sum(shards.gather(weight.sum()))
    low, high, mean, missing = np.inf, -np.inf, 0.0, 0.0
    for block, part in _cached_parts(X, share):
        lowest, highest = block.min(axis=0), block.max(axis=0)
        if np.isnan(lowest).any():
            gaps = np.isnan(block)
            lowest, highest = np.fmin.reduce(block), np.fmax.reduce(block)
            block, missing = np.where(gaps, 0, block), missing + part @ gaps
        low, high = np.fmin(low, lowest), np.fmax(high, highest)
        # In C order, so that the order of the sums does not depend on X's.
        mean = mean + part @ block.astype(np.float64, order="C")
    low = np.fmin.reduce(shards.gather(low))
    high = np.fmax.reduce(shards.gather(high))
    mean, missing = sum(shards.gather(mean)), sum(shards.gather(missing))
    if np.any(missing):
        nothing = np.full(len(mean), np.nan)
        mean = np.divide(mean, 1 - missing, out=nothing, where=np.isfinite(low))
    return low.astype(np.float64), high.astype(np.float64), mean


def _cached_parts(X: Any, share: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield consecutive rows and their shares; what is read in blocks is read in large ones."""
    step = max(1, _CACHED // max(X.shape[1], 1))
    for start in range(0, len(X), _ROWS):
        block, part = X[start : start + _ROWS], share[start : start + _ROWS]
        for i in range(0, len(block), step):
            yield block[i : i + step], part[i : i + step]


def _median_and_spread(X: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted median, and the robust standard deviation of the values that differ from it."""
    median, spread = np.empty(X.shape[1]), np.empty(X.shape[1])
    quartiles = _quartiles if np.ptp(weight) == 0 else partial(_weighted_quartiles, weight=weight)
    for start in range(0, X.shape[1], _COLUMNS):
        columns = slice(start, start + _COLUMNS)
        # A feature a row: sorting is fastest where its values lie together. By way of a copy, since
        # rows that lie far apart are slow to read by columns.
        block = np.ascontiguousarray(X[:, columns])
        lower, median[columns], upper = quartiles(np.ascontiguousarray(block.T))
        spread[columns] = (upper - lower) / _NORMAL_IQR
    return median, spread


def _quartiles(values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Median of each row, and the quartiles of its values other than the median."""
    values = np.sort(values, axis=1)  # NaN last
    n = np.full(len(values), values.shape[1])
    if np.isnan(values[:, -1:]).any():
        n -= np.isnan(values).sum(axis=1)
    median = np.take_along_axis(values, np.maximum(n - 1, 0)[:, None] // 2, axis=1)
    first, last = (values < median).sum(axis=1), (values <= median).sum(axis=1)
    others = n - (last - first)

    def quantile(q: float) -> np.ndarray:
        rank = np.maximum(np.ceil(q * others).astype(int) - 1, 0)
        rank += np.where(rank >= first, last - first, 0)  # step over the median's run
        rank = np.minimum(rank, np.maximum(n - 1, 0))
        return np.take_along_axis(values, rank[:, None], axis=1)[:, 0].astype(np.float64)

    return quantile(0.25), median[:, 0], quantile(0.75)


def _weighted_quartiles(
    values: np.ndarray, weight: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same where a value counts as often as its weight says."""
    order = values.argsort(axis=1)
    values, weight = np.take_along_axis(values, order, axis=1), weight[order]
    weight = np.where(np.isnan(values), 0, weight)

    def quantile(weight: np.ndarray, q: float) -> np.ndarray:
        cumulative = weight.cumsum(axis=1)
        index = (cumulative < q * cumulative[:, -1:]).sum(axis=1)
        return np.take_along_axis(values, index[:, None], axis=1)[:, 0].astype(np.float64)

    median = quantile(weight, 0.5)
    others = np.where(values == median[:, None], 0, weight)
    return quantile(others, 0.25), median, quantile(others, 0.75)
