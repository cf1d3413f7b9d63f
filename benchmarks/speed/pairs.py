"""Verification of all pairs of rows, beside scikit-learn's ROC curve of their cosines.

Embeddings of 128 components around 100 centres, float32. The peer multiplies all rows, keeps the
cosines of the pairs and sorts them, as `roc_curve` and `auc` do; both report AUC, equal error rate
and true accept rates. Of 15,000 rows, 1.1e8 pairs, the peer would hold several GB, and ours is
timed alone. CPU seconds on one thread, the runs in turn; a ratio with its 95 % interval is of
paired runs. Memory is that of the report of 15,000 rows beyond what the process held before:

    OMP_NUM_THREADS=1 python benchmarks/speed/pairs.py
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

import numpy as np
import torch
from sklearn.metrics import auc, roc_curve

from skhug.metrics import verification_report

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import interval, mean_and_error, measure, report, show

ROUNDS, LARGE, WITH_PEER = 4, 15_000, (5_000,)
RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)


def clustered(n: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows around the centres of their classes."""
    rng = np.random.default_rng(0)
    y = rng.integers(100, size=n)
    X = rng.normal(size=(100, 128))[y] + 1.5 * rng.normal(size=(n, 128))
    return X.astype(np.float32), y


def peer(X: np.ndarray, y: np.ndarray) -> list[float]:
    """AUC and true accept rates of all pairs, sorted."""
    z = X / np.linalg.norm(X, axis=1, keepdims=True)
    above = np.triu(np.ones((len(X), len(X)), dtype=bool), 1)
    false_rate, true_rate, _ = roc_curve((y[:, None] == y)[above], (z @ z.T)[above])
    nearest = np.argmin(np.abs(false_rate + true_rate - 1))
    at_rates = [true_rate[false_rate <= far].max() for far in RATES]
    return [auc(false_rate, true_rate), false_rate[nearest], *at_rates]


def ours(X: np.ndarray, y: np.ndarray) -> list[float]:
    """The same of our report."""
    found = verification_report(X, y, far=RATES)
    tars = [value for name, value in found.items() if name.startswith("tar_")]
    return [found["roc_auc"], found["eer"], *tars]


def main() -> None:
    """Print the table and write benchmarks/results/pairs.json."""
    torch.set_num_threads(1)
    X, y = clustered(LARGE)
    ours(X[:500], y[:500])
    before = _peak()
    ours(X, y)
    memory = _peak() - before
    seconds = measure({"ours": lambda: ours(X, y)}, ROUNDS, time.process_time)["ours"]
    results = {f"{LARGE:,} rows": {"ours": mean_and_error(seconds), "MiB": memory}}
    rows = [[f"{LARGE:,}", show(mean_and_error(seconds), 2), "-", "-", "-", f"{memory:.0f}"]]
    for n in WITH_PEER:
        X, y = clustered(n)
        jobs = {"ours": lambda X=X, y=y: ours(X, y), "peer": lambda X=X, y=y: peer(X, y)}
        times = measure(jobs, ROUNDS, time.process_time)
        a, b = times["ours"], times["peer"]
        ratio = interval(a, b)
        apart = float(np.max(np.abs(np.subtract(ours(X, y), peer(X, y)))))
        cells = {"ours": mean_and_error(a), "peer": mean_and_error(b)}
        results[f"{n:,} rows"] = {**cells, "ratio": ratio, "largest difference": apart}
        shown = f"{ratio[0]:.3f} ({ratio[1]:.3f}-{ratio[2]:.3f})"
        row = [f"{n:,}", *(show(cell, 2) for cell in cells.values()), shown, f"{apart:.1e}", ""]
        rows.append(row)
    header = ["rows", "ours, CPU s", "scikit-learn, CPU s", "ratio", "largest difference", "MiB"]
    report("pairs", header, rows, results)


def _peak() -> float:
    """MiB that the process held at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
