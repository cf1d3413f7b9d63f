"""Few shots: new classes told by the means of a few of their rows."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

from skhug._device import to_numpy, to_tensor
from skhug._sphere import unit
from skhug.metrics._arguments import as_labels, as_points, encode, rescaled
from skhug.metrics._reports import Report

__all__ = ["few_shot_report"]

# Numbers drawn or gathered at once. The same everywhere, so that a seed draws the same episodes.
_ELEMENTS = 1 << 21


def few_shot_report(
    embeddings: Any,
    labels: Any,
    *,
    n_way: int = 5,
    n_shot: int = 1,
    n_queries: int = 15,
    n_episodes: int = 600,
    random_state: Any = None,
) -> Report:
    """Accuracy on classes of which only a few rows are known, over random episodes.

    An episode draws ``n_way`` classes, ``n_shot`` rows of each to know it by and ``n_queries``
    others of each to tell. A class is known by the mean of its rows on the sphere, and a query is
    of the class whose mean is nearest by the cosine; where several are, chance decides.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Normalised here; a Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type: for few-shot learning those that were not trained on.
    n_way : int, default=5
        Classes of an episode, at least 2.
    n_shot : int, default=1
        Rows that a class is known by, at least 1.
    n_queries : int, default=15
        Rows of each class to tell, at least 1.
    n_episodes : int, default=600
        Episodes, at least 1.
    random_state : int, RandomState or None, default=None
        Of the draws. A seed draws the same episodes whatever the embeddings.

    Returns
    -------
    report : Report
        ``accuracy``, the mean over the episodes; ``half_interval``, 1.96 standard errors of it,
        half of its 95 % interval (NaN of one episode); ``n_episodes``.

    Raises
    ------
    ValueError
        If there are too few classes with enough rows, or a number is out of its range.

    Notes
    -----
    Classes with fewer than ``n_shot + n_queries`` rows are refused and not left out, since the
    task would be another one. The interval is over episodes, which share rows: over other classes
    the accuracy varies more.

    References
    ----------
    Snell, Swersky and Zemel, "Prototypical Networks for Few-shot Learning", NeurIPS 2017; here
    means and distances are on the sphere.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhug.metrics import few_shot_report
    >>> X, y = load_digits(return_X_y=True)
    >>> one, five = (few_shot_report(X, y, n_shot=k, random_state=0) for k in (1, 5))
    >>> 0.5 < one["accuracy"] < five["accuracy"] < 1
    True
    """
    sizes = {"n_way": n_way, "n_shot": n_shot, "n_queries": n_queries, "n_episodes": n_episodes}
    for name, value in sizes.items():
        least = 2 if name == "n_way" else 1
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name}={value!r}: pass a whole number, {least} or more.")
    points = unit(*rescaled(as_points(embeddings, "embeddings")))
    codes = to_numpy(encode(as_labels(labels, len(points), "labels")))
    rows_of = _rows_of_classes(codes, n_way, n_shot, n_queries)
    draws = _episodes(rows_of, n_way, n_shot + n_queries, n_episodes, points.shape[1], random_state)
    scores = torch.cat([_scores(points[to_tensor(rows, points.device)], n_shot) for rows in draws])
    error = float(scores.std()) / math.sqrt(n_episodes) if n_episodes > 1 else math.nan
    values = {"accuracy": float(scores.mean()), "half_interval": 1.96 * error}
    return Report(values | {"n_episodes": n_episodes}, {"accuracy": 1.0})


def _rows_of_classes(codes: np.ndarray, n_way: int, n_shot: int, n_queries: int) -> list:
    """Return the rows of each class.

    Raises
    ------
    ValueError
        If there are too few classes, or one has too few rows.
    """
    counts = np.bincount(codes)
    wanted = n_shot + n_queries
    few = int((counts < wanted).sum())
    if len(counts) < n_way:
        raise ValueError(
            f"labels have {len(counts)} classes, and an episode has n_way={n_way}: pass rows of "
            f"at least {n_way} classes, or n_way={len(counts)}."
        )
    if few:
        raise ValueError(
            f"{few} of {len(counts)} classes have fewer than n_shot + n_queries = {n_shot} + "
            f"{n_queries} = {wanted} rows, the smallest {counts.min()}: leave these classes out, "
            "or pass a smaller n_shot or n_queries."
        )
    return np.split(np.argsort(codes, kind="stable"), counts.cumsum()[:-1])


def _episodes(
    rows_of: list, n_way: int, n_rows: int, n_episodes: int, n_components: int, random_state: Any
) -> Iterator[np.ndarray]:
    """Yield the rows of blocks of episodes, (block, n_way, n_rows)."""
    random = check_random_state(random_state)
    counts = np.array([len(rows) for rows in rows_of])
    table = np.zeros((len(counts), counts.max()), dtype=np.int64)
    for row, rows in zip(table, rows_of, strict=True):
        row[: len(rows)] = rows
    of_one = max(len(counts), n_way * table.shape[1])
    size = max(1, _ELEMENTS // of_one)
    at_once = max(1, _ELEMENTS // (n_way * n_rows * n_components))
    for start in range(0, n_episodes, size):
        n = min(size, n_episodes - start)
        classes = random.random_sample((n, len(counts))).argsort(1)[:, :n_way]
        keys = random.random_sample((n, n_way, table.shape[1]))
        keys[np.arange(table.shape[1]) >= counts[classes][..., None]] = 2.0
        places = keys.argsort(2)[..., :n_rows]
        rows = table[classes[..., None], places]
        yield from np.split(rows, range(at_once, n, at_once))


def _scores(points: Tensor, n_shot: int) -> Tensor:
    """Return the accuracy of each episode, (n,), of unit rows (n, n_way, n_shot + n_queries, d)."""
    known, queries = points[:, :, :n_shot], points[:, :, n_shot:]
    means = unit(known.mean(2))
    cosine = torch.einsum("nwqd,nvd->nwqv", queries, means)
    own = cosine.diagonal(dim1=1, dim2=3)  # (n, n_queries, n_way)
    margin = torch.finfo(cosine.dtype).eps * (2 + points.shape[-1] ** 0.5 / 2)
    best = cosine.amax(3)  # (n, n_way, n_queries)
    as_near = (cosine >= best[..., None] - margin).sum(3)
    right = own.transpose(1, 2) >= best - margin
    exact = torch.float32 if points.device.type == "mps" else torch.float64
    return (right / as_near).to(exact).mean((1, 2))
