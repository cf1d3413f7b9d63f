"""Hundreds of classes: the default dimension against 128 components and others, and a fit's time.

``HUGClassifier`` with no other argument; ``proxies="optimal"`` in every dimension. Omniglot's 242
characters as rows of 784 pixels, five of each one's 20 drawings held out; normal blobs around
random centres in 64 features, 20 rows of each class for training and 20 for testing. Classes never
seen: ``HUGEmbedder`` on the pixels of five alphabets, queries from three others. The default was
chosen on seed 0 (pixels: 0 and 1) of the same data; these tables are from seeds 10 to 12. Times:
one thread; candidates run in turn, every arrangement searched anew; a ratio is the mean over
rounds in logarithms with its 95 % interval. Runs in some six minutes:

    python benchmarks/evidence/many_classes.py --data DIR
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV

from skhug import HUGClassifier, HUGEmbedder
from skhug.metrics import retrieval_report
from skhug.proxies import optimal_proxies

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import forget_arrangements
from common import (
    accuracy,
    arguments,
    interval,
    log_loss,
    mean_and_error,
    measure,
    report,
    show,
    verdict,
)

SEEDS = (10, 11, 12)
DIMENSIONS = {"128": lambda c: 128, "C / 2": lambda c: c // 2, "C - 1": lambda c: c - 1}
SEEN = ("Korean", "Latin", "Sanskrit", "Balinese", "Early_Aramaic")
ROUNDS, BAR = 3, 1.5
TIMED = [(150, None), (200, None), (400, None), (1000, None), (400, 128), (1000, 128)]


def blobs(n_classes, seed, n_rows=20, spread=2.2):
    """Rows and labels for training, then for testing."""
    rng = np.random.default_rng(seed)
    y = np.arange(2 * n_rows * n_classes) % n_classes
    X = rng.normal(size=(n_classes, 64))[y] + spread * rng.normal(size=(len(y), 64))
    X, half = X.astype(np.float32), len(y) // 2
    return X[:half], y[:half], X[half:], y[half:]


def omniglot(folder):
    """Rows of pixels from 0 to 1, characters, and whether their alphabet is trained on."""
    with np.load(folder / "omniglot.npz") as file:
        X, y, alphabet = file["X"], file["y"], file["alphabet"]
        names = np.asarray(file["alphabet_names"]).astype(str)
    seen = [i for i, name in enumerate(names) if name.startswith(SEEN)]
    return X.reshape(len(X), -1).astype(np.float32) / 255, y, np.isin(alphabet, seen)


def held_out(X, y, seed, n_rows=5):
    """Set so many rows of each class aside."""
    rng = np.random.default_rng(seed)
    test = np.concatenate([rng.permutation(np.flatnonzero(y == c))[:n_rows] for c in np.unique(y)])
    train = np.setdiff1d(np.arange(len(y)), test)
    return X[train], y[train], X[test], y[test]


def classify(splits):
    """Accuracy and log-loss over the splits in every dimension."""
    found = {name: [] for name in DIMENSIONS}
    for seed, (X, y, X_test, y_test) in zip(SEEDS, splits, strict=True):
        for name, dimension in DIMENSIONS.items():
            d = dimension(len(np.unique(y)))
            model = HUGClassifier(n_components=d, random_state=seed).fit(X, y)
            p = model.predict_proba(X_test)
            found[name].append((accuracy(p, y_test), log_loss(p, y_test)))
    pairs = {name: np.array(values).T for name, values in found.items()}
    return [{name: mean_and_error(pair[i]) for name, pair in pairs.items()} for i in (0, 1)]


def retrieve(X, y, seen):
    """MAP@R of characters never seen in every dimension."""
    found = {}
    for name, dimension in DIMENSIONS.items():
        d = dimension(len(np.unique(y[seen])))
        values = []
        for seed in SEEDS:
            model = HUGEmbedder(n_components=d, random_state=seed).fit(X[seen], y[seen])
            figures = retrieval_report(model.transform(X[~seen]), y[~seen])
            values.append(figures["mean_average_precision_at_r"])
        found[name] = mean_and_error(values)
    return found


def anew(job):
    """Run a job with no arrangement kept from before."""

    def run():
        forget_arrangements()
        job()

    return run


def time_fit(n_classes, n_components=None):
    """Ratio of a fit's time to that of one with the same points given, and both medians."""
    X, y, *_ = blobs(n_classes, 0)
    d = n_components or n_classes - 1
    given = optimal_proxies(n_classes, d, random_state=0).numpy()
    model = {"n_components": n_components, "random_state": 0}
    seconds = measure(
        {
            "ours": anew(lambda: HUGClassifier(**model).fit(X, y)),
            "given": lambda: HUGClassifier(**model, proxies=given).fit(X, y),
        },
        ROUNDS,
    )
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    return {"ratio": interval(seconds["ours"], seconds["given"]), "seconds": medians}


def time_search():
    """Seconds of a grid search of six on 200 classes, arrangements searched anew."""
    X, y, *_ = blobs(200, 0)
    grid = {"learning_rate": [1e-3, 3e-3, 1e-2], "beta": [0.5, 1.0]}
    jobs = {
        name: anew(
            lambda d=d: GridSearchCV(
                HUGClassifier(n_components=d, max_epochs=5, random_state=0), grid, cv=2
            ).fit(X, y)
        )
        for name, d in (("C - 1", None), ("128", 128))
    }
    return {name: float(np.median(values)) for name, values in measure(jobs, 1).items()}


def main():
    """Compare dimensions, then times."""
    folder = arguments(__doc__).data
    torch.set_num_threads(1)
    sets = {f"blobs, {c:,} classes": [blobs(c, s) for s in SEEDS] for c in (400, 1000)}
    results, rows = {"accuracy": {}, "log_loss": {}, "map_at_r": {}, "fit": {}}, []
    if folder is not None:
        X, y, seen = omniglot(folder)
        sets["omniglot, 242 classes"] = [held_out(X, y, s) for s in SEEDS]
    for name, splits in sets.items():
        pair = classify(splits)
        for key, title, cells in zip(
            ("accuracy", "log_loss"), ("accuracy", "log-loss"), pair, strict=True
        ):
            results[key][name] = cells
            rows.append([f"{name}: {title}", *(show(cells[d], 3) for d in DIMENSIONS)])
    if folder is not None:
        cells = results["map_at_r"]["omniglot, 88 classes never seen"] = retrieve(X, y, seen)
        row = [show(cells[d], 3) for d in DIMENSIONS]
        rows.append(["omniglot, trained on 154 classes: MAP@R of 88 others", *row])
    for c, d in TIMED:
        cell = results["fit"][f"{c} classes, {d or 'C - 1'} components"] = time_fit(c, d)
        text = f"{cell['seconds']['ours']:.1f} s, {verdict(cell['ratio'], BAR)}"
        rows.append(
            [f"fit of {c:,} classes, ratio to one with proxies given",
             *(text if name == (str(d) if d else "C - 1") else "" for name in DIMENSIONS)]
        )  # fmt: skip
    search = results["grid_search_of_6_seconds"] = time_search()
    cells = [f"{search[d]:.1f} s" if d in search else "" for d in DIMENSIONS]
    rows.append(["grid search of 6 on 200 classes, 5 epochs, 2 folds", *cells])
    report("many_classes", ["", *(f"d = {name}" for name in DIMENSIONS)], rows, results)


if __name__ == "__main__":
    main()
