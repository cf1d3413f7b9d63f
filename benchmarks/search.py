"""Time of a grid search: stacked fits, fit by fit, and in two processes.

Seconds of 15 fits (5 candidates, 3 folds) on digits in float32 at batch 32, 20 epochs, with
scoring and without the last fit on all rows, one thread a process. Every round runs each search
once, in turn; a ratio is the mean over rounds of the paired ratios with its 95 % interval. Workers
are warm: they have fitted before; a row of its own starts them anew. Two processes take half of
one's time at best, a figure that does not depend on what else the second core has to do. Runs in
some three minutes:

    python benchmarks/search.py
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
import torch
from common import arguments, interval, measure, report, verdict
from joblib.externals.loky import get_reusable_executor
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV

from skhug import MLP, HUGClassifier
from skhug.model_selection import StackedSearchCV

STACKED, ONE, TWO = "StackedSearchCV", "GridSearchCV", "GridSearchCV(n_jobs=2)"
HALF = "half of GridSearchCV"
RATES = {"learning_rate": [3e-4, 1e-3, 3e-3, 1e-2, 3e-2]}
EXPONENTS = {"uniformity__s_within": [-1.0, -1.5, -2.0, -3.0, -4.0]}
TASKS = {
    "100 units, learning rates": ((100,), RATES, 9),
    "100 units, exponents": ((100,), EXPONENTS, 9),
    "256 and 128 units, learning rates": ((256, 128), RATES, 3),
}
# The most that ours may take of two warm workers' time, on the task it was set for.
BAR = 1 / 1.7


def searches(hidden, grid):
    """The searches over one grid, not fitted."""
    encoder = MLP(hidden, activation="relu")
    model = HUGClassifier(encoder, batch_size=32, max_epochs=20, random_state=0)
    options = {"cv": 3, "refit": False}
    return {
        STACKED: StackedSearchCV(model, grid, **options),
        ONE: GridSearchCV(model, grid, **options),
        TWO: GridSearchCV(model, grid, n_jobs=2, **options),
    }


def seconds_of(function):
    """Seconds of one call."""
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def imports():
    """Seconds in which a new process imports the estimator; median of three."""
    command = [sys.executable, "-c", "from skhug import HUGClassifier"]
    return float(np.median([seconds_of(lambda: subprocess.run(command, check=True))
                            for _ in range(3)]))  # fmt: skip


def cold(search, X, y):
    """Seconds of a search whose workers have to start; median of three."""
    values = []
    for _ in range(3):
        get_reusable_executor().shutdown(wait=True)
        values.append(seconds_of(lambda: search.fit(X, y)))
    return float(np.median(values))


def start_up(X, y):
    """What workers cost that have to start, beside one process and a process's imports."""
    models = searches(*TASKS["100 units, learning rates"][:2])
    one = float(np.median([seconds_of(lambda: models[ONE].fit(X, y)) for _ in range(3)]))
    return {
        "cold_workers": cold(models[TWO], X, y),
        "sequential": one,
        "imports_of_a_process": imports(),
    }


def main() -> None:
    """Time every search on every task."""
    quick = arguments(__doc__, quick="4 rounds, small networks only").quick
    tasks = {name: task for name, task in TASKS.items() if not quick or task[0] == (100,)}
    torch.set_num_threads(1)
    X, y = load_digits(return_X_y=True)
    X = X.astype(np.float32)
    results, cells = {}, {name: [] for name in (STACKED, ONE, TWO)}
    ratios = {ONE: [], HALF: [], TWO: []}
    for task, (hidden, grid, rounds) in tasks.items():
        rounds = 4 if quick else rounds
        models = searches(hidden, grid)
        jobs = {name: (lambda s=search: s.fit(X, y)) for name, search in models.items()}
        seconds = measure(jobs, rounds)
        results[task] = {"seconds": {}, "rounds": rounds, "ratios": {}}
        for name, values in seconds.items():
            low, median, high = np.percentile(values, [25, 50, 75])
            results[task]["seconds"][name] = {"quartiles": [low, high], "median": median}
            cells[name].append(f"{median:.2f} s ({low:.2f}-{high:.2f})")
        seconds[HALF] = seconds[ONE] / 2
        for peer, texts in ratios.items():
            ratio = interval(seconds[STACKED], seconds[peer])
            results[task]["ratios"][peer] = ratio
            mean, low, high = ratio
            barred = peer != ONE and hidden == (100,)
            texts.append(verdict(ratio, BAR) if barred else f"{mean:.3f} ({low:.3f}-{high:.3f})")
    results["start_up_seconds"] = start_up(X, y)
    results["load_average"] = os.getloadavg()
    rows = [[f"{name}, median (quartiles)", *values] for name, values in cells.items()]
    rows += [[f"{STACKED} / {peer} (95 %), bar", *texts] for peer, texts in ratios.items()]
    for name, value in results["start_up_seconds"].items():
        rows.append([name.replace("_", " "), f"{value:.2f} s", *[""] * (len(tasks) - 1)])
    report("search", ["", *tasks], rows, results)


if __name__ == "__main__":
    main()
