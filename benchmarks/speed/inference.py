"""Time of predict and transform, beside scikit-learn's MLP and skorch.

Microseconds a call, one thread, float32, the same layer sizes, the candidates in turn; a ratio is
the mean over rounds of the paired ratios with its 95 % interval. Runs in about two minutes:

    pip install skorch
    python benchmarks/speed/inference.py --data DIR
"""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from fit import scikit_learn_model, skorch_model
from sklearn.datasets import load_digits
from sklearn.neighbors import NearestNeighbors
from threadpoolctl import threadpool_limits

from skhug import MLP, HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import arguments, interval, measure, mnist_10k, report, verdict

BARS = [
    ("HUG predict", "scikit-learn MLP predict", 1.05),
    ("HUG transform", "scikit-learn MLP predict", 1.05),
    ("HUG predict", "skorch predict", 1 / 4),
]


def fitted(X, y, hidden):
    """Every model after one epoch, from the name of a call to its function."""
    hug = HUGClassifier(
        MLP(hidden, activation="relu", members=1), max_epochs=1, random_state=0
    ).fit(X, y)
    mlp, peer = scikit_learn_model(hidden, 200, 1), skorch_model(X, hidden, 200, 1)
    mlp.fit(X, y)
    peer.fit(X, y)
    return {
        "HUG predict": hug.predict,
        "HUG transform": hug.transform,
        "scikit-learn MLP predict": mlp.predict,
        "skorch predict": peer.predict,
    }


def repeated(function, X, times):
    """Job that calls a function several times."""

    def run():
        for _ in range(times):
            function(X)

    return run


def searches(X, y):
    """Exact search of 2,000 embeddings among all, by scikit-learn's two metrics."""
    z = HUGClassifier(max_epochs=1, random_state=0).fit(X, y).transform(X)
    indexes = {
        m: NearestNeighbors(n_neighbors=10, metric=m).fit(z) for m in ("euclidean", "cosine")
    }
    return {name: repeated(index.kneighbors, z[:2000], 1) for name, index in indexes.items()}


def main() -> None:
    """Time every call on two data sets, on many rows and on one."""
    torch.set_num_threads(1)
    threadpool_limits(1)
    warnings.simplefilter("ignore")
    digits_X, digits_y = load_digits(return_X_y=True)
    digits_X = (digits_X / 16).astype(np.float32)
    X, y, _, _ = mnist_10k(arguments(__doc__).data)
    X = X / 255
    tasks = {
        "digits, 1,797 rows": (digits_X, digits_y, (100,), digits_X, 20),
        "MNIST, 10,000 rows": (X, y, (256, 128), X, 2),
        "digits, one row": (digits_X, digits_y, (100,), digits_X[:1], 500),
        "MNIST, one row": (X, y, (256, 128), X[:1], 500),
    }
    results, cells, ratios = {}, {}, {}
    for task, (data, labels, hidden, rows, times) in tasks.items():
        calls = fitted(data, labels, hidden)
        seconds = measure({n: repeated(f, rows, times) for n, f in calls.items()}, 15)
        medians = {n: float(np.median(s)) / times * 1e6 for n, s in seconds.items()}
        results[task] = {"microseconds": medians, "ratios": {}}
        for name, value in medians.items():
            cells.setdefault(name, []).append(f"{value:.0f}")
        for ours, peer, bar in BARS:
            name, ratio = f"{ours} / {peer}", interval(seconds[ours], seconds[peer])
            results[task]["ratios"][name] = [*ratio, bar]
            ratios.setdefault(name, []).append(verdict(ratio, bar))
    seconds = measure(searches(X, y), 5)
    search = interval(seconds["euclidean"], seconds["cosine"])
    results["10 neighbours of 2,000 among 10,000: euclidean / cosine"] = search
    table = [[f"{name}, µs", *values] for name, values in cells.items()]
    table += [[f"{name}: ratio (95 %), bar", *values] for name, values in ratios.items()]
    table.append(["neighbours, euclidean / cosine", "{:.3f} ({:.3f}-{:.3f})".format(*search)])
    table[-1] += [""] * (len(tasks) - 1)
    report("inference", ["", *tasks], table, results)


if __name__ == "__main__":
    main()
