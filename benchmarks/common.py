"""What the benchmarks share: real data, the cross-entropy peer, tables, JSON and Markdown."""

from __future__ import annotations

import argparse
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import sklearn
import torch
from _internals import Standardize, centre_and_scale
from scipy import stats
from torch import nn

from skhug import MLP
from skhug.optimizers import AdamW, flatten, make_stepper

RESULTS = Path(__file__).parent / "results"


def arguments(description: str, **flags: str) -> argparse.Namespace:
    """Parse ``--data DIR`` and further switches."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--data", type=Path, help="folder with mnist.npz; else from OpenML")
    for name, text in flags.items():
        parser.add_argument(f"--{name}", action="store_true", help=text)
    return parser.parse_args()


def load_mnist(folder: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return X_train, y_train, X_test, y_test of MNIST as rows of float32 pixels, 0 to 255."""
    if folder is not None:
        with np.load(folder / "mnist.npz") as file:
            X, y = file["X_train"], file["y_train"]
            X_test, y_test = file["X_test"], file["y_test"]
    else:
        from sklearn.datasets import fetch_openml

        data, target = fetch_openml("mnist_784", version=1, as_frame=False, return_X_y=True)
        y = target.astype(np.int64)
        X, X_test, y, y_test = data[:60_000], data[60_000:], y[:60_000], y[60_000:]
    rows = (a.reshape(len(a), -1).astype(np.float32) for a in (X, X_test))
    X, X_test = rows
    return X, y, X_test, y_test


def mnist_10k(folder: Path | None) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return 10,000 training rows, drawn once with seed 0, and the official test set."""
    X, y, X_test, y_test = load_mnist(folder)
    rows = np.random.RandomState(0).permutation(len(X))[:10_000]
    return X[rows], y[rows], X_test, y_test


class CrossEntropyMLP:
    """The same encoder trained with softmax cross-entropy, the same way otherwise.

    Same layers, input scaling, batches, optimizer and cosine schedule as HUGClassifier.
    """

    def __init__(self, learning_rate=1e-3, weight_decay=0.01, epochs=20, batch_size=64, seed=0):
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.epochs = epochs
        self.batch_size = batch_size
        self.seed = seed

    def fit(self, X, y):
        """Train on all rows for all epochs."""
        torch.manual_seed(self.seed)
        centre, scale = map(torch.from_numpy, centre_and_scale(X, np.ones(len(X))))
        inverse = torch.where(scale > 0, 1 / scale, 0)
        self.prepare = Standardize(centre, inverse, torch.float32)
        self.net = MLP(members=1).build(X.shape[1:], int(y.max()) + 1)
        segments = flatten(
            (p, self.learning_rate, self.weight_decay if p.ndim > 1 else 0.0)
            for p in self.net.parameters()
        )
        stepper = make_stepper(AdamW(), segments)
        rows, labels = self.prepare(torch.from_numpy(X)), torch.from_numpy(y.astype(np.int64))
        order = [torch.randperm(len(rows)).split(self.batch_size) for _ in range(self.epochs)]
        steps = [batch for epoch in order for batch in epoch]
        for i, batch in enumerate(steps):
            for segment in segments:
                segment.gradients.zero_()
            nn.functional.cross_entropy(self.net(rows[batch]), labels[batch]).backward()
            stepper.step(0.5 * (1 + np.cos(np.pi * i / len(steps))))
        self.net.eval()
        return self

    @torch.no_grad()
    def predict_proba(self, X):
        """Return the softmax of the logits."""
        return self.net(self.prepare(torch.from_numpy(X))).softmax(1).numpy()


def accuracy(probability: np.ndarray, y: np.ndarray) -> float:
    """Share of rows whose most probable class is the true one."""
    return float(np.mean(probability.argmax(1) == y))


def log_loss(probability: np.ndarray, y: np.ndarray) -> float:
    """Mean negative log-probability of the true class."""
    return float(-np.mean(np.log(np.maximum(probability[np.arange(len(y)), y], 1e-15))))


def expected_calibration_error(probability: np.ndarray, y: np.ndarray, bins: int = 15) -> float:
    """Top-label ECE with bins of equal width."""
    confidence, right = probability.max(1), probability.argmax(1) == y
    bin_of = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [abs(np.sum((confidence - right)[bin_of == b])) for b in range(bins)]
    return float(np.sum(gaps) / len(y))


def mean_and_error(values) -> dict[str, float]:
    """Mean and its standard error."""
    values = np.asarray(values, dtype=float)
    error = float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else None
    return {"mean": float(values.mean()), "standard_error": error, "n": len(values)}


def show(cell: dict[str, float], digits: int = 4) -> str:
    """Mean +- standard error, or the mean of a single value."""
    if cell["standard_error"] is None:
        return f"{cell['mean']:.{digits}f}"
    return f"{cell['mean']:.{digits}f} ± {cell['standard_error']:.{digits}f}"


def measure(
    jobs: dict[str, Callable[[], object]],
    rounds: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, np.ndarray]:
    """Seconds of each job in each round, the order turning from round to round."""
    names = list(jobs)
    seconds = {name: [] for name in names}
    for i in range(rounds + 1):
        for name in names[i % len(names) :] + names[: i % len(names)]:
            start = clock()
            jobs[name]()
            seconds[name].append(clock() - start)
    return {name: np.array(values[1:]) for name, values in seconds.items()}  # the first warms up


def interval(ours: np.ndarray, peer: np.ndarray) -> list[float]:
    """Mean paired ratio, in logarithms, with its 95 % interval."""
    logs = np.log(ours / peer)
    half = stats.t.ppf(0.975, len(logs) - 1) * logs.std(ddof=1) / np.sqrt(len(logs))
    return [float(np.exp(logs.mean() + side * half)) for side in (0, -1, 1)]


def verdict(ratio: list[float], bar: float) -> str:
    """A ratio, its interval, the most it may be, and whether the whole interval keeps to it."""
    mean, low, high = ratio
    return f"{mean:.3f} ({low:.3f}-{high:.3f}), {bar:.3f} {'holds' if high <= bar else 'fails'}"


def as_table(header: list[str], rows: list[list[str]]) -> str:
    """Return a Markdown table."""
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(line) + " |\n" for line in lines)


def case_table(what: str, results: dict[str, dict[str, Any]]) -> str:
    """Return a Markdown table with a row a case and a column a figure; lists are left to JSON."""
    cases = {name: case for name, case in results.items() if isinstance(case, dict)}
    single = {
        k: None for c in cases.values() for k, v in c.items() if not isinstance(v, list | dict)
    }
    rows = [[name, *(_figure(case.get(k, "")) for k in single)] for name, case in cases.items()]
    return as_table([what, *(name.replace("_", " ") for name in single)], rows)


def _figure(value: float | str) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, str):
        return " ".join(value.split())
    return f"{value:,}" if isinstance(value, int) else f"{round(value, 2) or 0.0:,.2f}"


def report(name: str, header: list[str], rows: list[list[str]], results: dict) -> None:
    """Print one table and write it beside the figures."""
    table = as_table(header, rows)
    print(table, end="")
    write(name, results, table)


def write(name: str, results: dict, text: str) -> None:
    """Write the figures beside their set-up as JSON, and what they say as Markdown."""
    setup = {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "scikit-learn": sklearn.__version__,
        "numpy": np.__version__,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
    }
    RESULTS.mkdir(exist_ok=True)
    figures = json.dumps({"setup": setup, "results": results}, indent=1)
    (RESULTS / f"{name}.json").write_text(figures + "\n")
    (RESULTS / f"{name}.md").write_text(text)
