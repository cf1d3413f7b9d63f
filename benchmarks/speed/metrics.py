"""Retrieval metrics beside pytorch-metric-learning with faiss; the cost of tracking geometry.

Both libraries compute Recall@1, R-precision, MAP@R and the mean reciprocal rank of 10,000
clustered embeddings searched among themselves, as deep as the largest class asks
(``k="max_bin_count"``; ours finds the reciprocal rank exactly beyond that depth too). Runs
alternate, and a ratio is that of one pair of runs. Needs faiss-cpu and pytorch-metric-learning;
takes about two minutes on one core:

    OMP_NUM_THREADS=1 python benchmarks/speed/metrics.py
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

import faiss
import numpy as np
import torch
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from sklearn.datasets import load_digits
from torch import Tensor

from skhug import HUGClassifier
from skhug.metrics import retrieval_report

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import report

N, PAIRS = 10_000, 15
CASES = [(10, 64, 5), (100, 64, PAIRS), (100, 128, PAIRS), (1000, 64, PAIRS), (1000, 128, PAIRS)]
NAMES = ("precision_at_1", "r_precision", "mean_average_precision_at_r", "mean_reciprocal_rank")


def clustered(n_classes: int, n_components: int) -> tuple[Tensor, Tensor]:
    """Unit embeddings around class centres, float32."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(n_classes, (N,), generator=generator)
    centres = torch.randn(n_classes, n_components, generator=generator)
    noise = 1.5 * torch.randn(N, n_components, generator=generator)
    return torch.nn.functional.normalize(centres[labels] + noise, dim=1), labels


def seconds(function: Callable[[], object]) -> float:
    """Time one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def interval(values: list[float]) -> dict[str, float]:
    """Median with a 95 % bootstrap interval."""
    values = np.asarray(values)
    draws = np.random.default_rng(0).choice(values, (10_000, len(values)))
    low, high = np.quantile(np.median(draws, axis=1), [0.025, 0.975])
    return {"median": float(np.median(values)), "low": float(low), "high": float(high)}


def show(cell: dict[str, float]) -> str:
    """Median and interval."""
    return f"{cell['median']:.3f} ({cell['low']:.3f}-{cell['high']:.3f})"


def pairs_of_runs(
    ours: Callable[[], object], theirs: Callable[[], object], repeats: int
) -> dict[str, dict[str, float]]:
    """Alternate the two after a warm-up; return both times and the ratio of pairs."""
    ours(), theirs()
    times = [(seconds(ours), seconds(theirs)) for _ in range(repeats)]
    a, b = zip(*times, strict=True)
    return {
        "ours": interval(a),
        "theirs": interval(b),
        "ratio": interval([x / y for x, y in times]),
    }


def retrieval(n_classes: int, n_components: int, repeats: int) -> dict[str, dict[str, float]]:
    """Time the metrics of one set of embeddings, and note how far the values differ."""
    X, y = clustered(n_classes, n_components)
    calculator = AccuracyCalculator(include=NAMES, k="max_bin_count", device=torch.device("cpu"))
    cell = pairs_of_runs(
        lambda: retrieval_report(X, y, k=1), lambda: calculator.get_accuracy(X, y), repeats
    )
    ours, theirs = retrieval_report(X, y, k=1), calculator.get_accuracy(X, y)
    cell["largest_difference"] = max(abs(ours[name] - theirs[name]) for name in NAMES[:3])
    return cell


def tracking() -> dict[str, dict[str, float]]:
    """Time a fit on digits with and without the measures of neural collapse every epoch."""
    X, y = load_digits(return_X_y=True)
    plain, tracked = (
        HUGClassifier(max_epochs=20, track=track, random_state=0) for track in ((), ("nc",))
    )
    return pairs_of_runs(lambda: tracked.fit(X, y), lambda: plain.fit(X, y), PAIRS)


def main() -> None:
    """Print the table and write benchmarks/results/metrics.json."""
    torch.set_num_threads(1)
    faiss.omp_set_num_threads(1)
    results, rows = {}, []
    for n_classes, n_components, repeats in CASES:
        name = f"{n_classes} classes, d = {n_components}"
        results[name] = cell = retrieval(n_classes, n_components, repeats)
        timed = [show(cell[key]) for key in ("ours", "theirs", "ratio")]
        rows.append([name, *timed, f"{cell['largest_difference']:.1e}"])
    name = 'digits, fit with track=("nc",)'
    results[name] = cell = tracking()
    rows.append([name, *(show(cell[key]) for key in ("ours", "theirs", "ratio")), ""])
    header = ["n = 10,000", "ours, s", "peer, s", "ratio", "largest difference"]
    report("metrics", header, rows, results)


if __name__ == "__main__":
    main()
