"""Can embeddings be cut? Nested proxies beside models trained in few dimensions, and beside PCA.

Omniglot as in ``retrieval.py``: 154 characters of five alphabets to train on, 88 of three others to
search, the same network, batches of 128, 15 epochs. The un-nested model of 64 dimensions has the
setting that six trials on held-out alphabets gave it there (alpha 0.2). The others have it too but
for their alpha, 0.02: on the same alphabets, one trial each, that did better than 0.2 in 16
dimensions and worse in 64 (MAP@R 0.434 un-nested, 0.439 nested; the un-nested model with alpha 0.2
has 0.455 and 0.465 by two seeds). Tried there too for nested components: proxies of their own for
every prefix and fixed ones did worse, a weight of 1 for prefixes made 16 dimensions better and 64
worse. Nested components with alpha 0.2 were tried on the test alphabets before, with one seed:
MAP@R 0.587 in 64 dimensions, 0.427 in 16. PCA is fitted on the training rows' embeddings. One
thread:

    pip install pytorch-metric-learning
    python benchmarks/evidence --data DIR --only nested
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch
from common import mean_and_error, show
from joblib import Parallel, delayed
from sklearn.decomposition import PCA
from sklearn.preprocessing import normalize

from evidence.harness import Lab, Table, beside, publish
from evidence.retrieval import HELD_OUT, NETWORK, PROXY_RATE, TEST, TRAIN, load
from skhug import MHE, HUGEmbedder, Learned, Nested
from skhug.metrics import mean_average_precision_at_r, recall_at_k

WIDTHS = (64, 32, 16, 8)
FULL, PREFIXES = WIDTHS[0], WIDTHS[:0:-1]
SEEDS = (0, 1, 2)
MEASURES = {"MAP@R": mean_average_precision_at_r, "Recall@1": recall_at_k}
TRAINED, CUT, PCA_CUT, NESTED = (
    "trained in so many",
    "trained in 64, cut",
    "trained in 64, PCA",
    "nested, cut",
)


def learned() -> Learned:
    """Return the proxies that everybody has."""
    return Learned(learning_rate=PROXY_RATE)


# Dimension, proxies and alpha of the models; all else is the same.
MODELS = {
    "nested, alpha 0.02": (FULL, lambda: Nested(PREFIXES, learned()), 0.02),
    "trained in 64": (FULL, learned, 0.2),
    "trained in 16": (16, learned, 0.02),
}


def cut(z: np.ndarray, d: int) -> np.ndarray:
    """Return the first components as an embedding of their own."""
    return normalize(z[:, :d])


def trial(folder: Path, name: str, train: tuple, search: tuple, seed: int, epochs: int) -> dict:
    """Train a model on some alphabets and search others by every prefix and principal space."""
    torch.set_num_threads(1)
    d, proxies, alpha = MODELS[name]
    X, y = load(folder, train)
    model = HUGEmbedder(
        NETWORK,
        n_components=d,
        proxies=proxies(),
        uniformity=MHE(repulsion=1.0),
        alpha=alpha,
        learning_rate=2e-3,
        weight_decay=0.1,
        batch_size=128,
        max_epochs=epochs,
        random_state=seed,
    )
    start = time.process_time()
    seen = model.fit(X, y).transform(X)
    found = {"seconds": time.process_time() - start}
    X, y = load(folder, search)
    z = model.transform(X)
    narrower = [w for w in WIDTHS if w <= d]
    axes = PCA(max(narrower)).fit(seen)
    for w in narrower:
        for kind, points in (("cut", z), ("PCA", axes.transform(z))):
            for measure, function in MEASURES.items():
                found[f"{kind} {w} {measure}"] = float(function(cut(points, w), y))
    return found


def ask(lab: Lab) -> None:
    """Train every model with every seed, and publish what they find in how many dimensions."""
    if lab.folder is None or not (lab.folder / "omniglot.npz").is_file():
        raise SystemExit("nested: pass --data DIR, with DIR/omniglot.npz.")
    train, search, seeds, epochs = TRAIN, TEST, SEEDS, 15
    if lab.quick:
        train = tuple(name for name in TRAIN if name not in HELD_OUT)
        search, seeds, epochs = HELD_OUT, SEEDS[:2], 3
    run = lab.cache(trial, ignore=["folder"])
    jobs = [(name, seed) for seed in seeds for name in MODELS]
    trials = Parallel(n_jobs=lab.jobs, batch_size=1)(
        delayed(run)(lab.folder, name, train, search, seed, epochs) for name, seed in jobs
    )
    found = {name: [] for name in MODELS}
    for (name, _), values in zip(jobs, trials, strict=True):
        found[name].append(values)
    results = {m: _of_measure(found, m) for m in MEASURES}
    tables = [_table(m, values) for m, values in results.items()]
    seconds = {name: mean_and_error([v["seconds"] for v in t]) for name, t in found.items()}
    results["CPU seconds of a fit"] = seconds
    rows = [[name, show(cell, 1)] for name, cell in seconds.items()]
    tables.append(Table("Time", "CPU seconds of a fit.", ["model", "seconds"], rows))
    publish(lab, "nested", tables, results)


def _of_measure(found: dict[str, list[dict]], measure: str) -> dict[str, dict[str, dict]]:
    """Return a measure of every way to so many dimensions, seed by seed and in the mean."""
    ways = {
        TRAINED: lambda d: (f"trained in {d}", "cut"),
        CUT: lambda d: (f"trained in {FULL}", "cut"),
        PCA_CUT: lambda d: (f"trained in {FULL}", "PCA"),
        NESTED: lambda d: ("nested, alpha 0.02", "cut"),
        "nested, PCA": lambda d: ("nested, alpha 0.02", "PCA"),
    }
    return {
        way: {str(d): _cell(found[model], f"{kind} {d} {measure}")
              for d in WIDTHS for model, kind in [source(d)] if model in found}
        for way, source in ways.items()
    }  # fmt: skip


def _cell(trials: list[dict], key: str) -> dict:
    seeds = [values[key] for values in trials]
    return {**mean_and_error(seeds), "seeds": seeds}


def _table(measure: str, values: dict[str, dict[str, dict]]) -> Table:
    """Return a row a way and a column a dimension, and how nested ones stand beside trained."""
    widths = [str(d) for d in WIDTHS]
    rows = [
        [way, *(show(cells[d], 3) if d in cells else "" for d in widths)]
        for way, cells in values.items()
    ]
    ratios, stands = dict.fromkeys(widths, ""), dict.fromkeys(widths, "")
    for d, cell in values[TRAINED].items():
        ours, peer = np.array(values[NESTED][d]["seeds"]), np.array(cell["seeds"])
        ratios[d] = show(mean_and_error(ours / peer), 3)
        stands[d] = beside(ours, peer)
    rows.append(["nested, cut, to trained in so many: ratio", *ratios.values()])
    rows.append(["nested, cut, less trained in so many", *stands.values()])
    text = (
        f"{measure} of a search in so many dimensions: mean and standard error over the seeds. "
        "Ratio and difference are paired by seed."
    )
    return Table(f"{measure} by dimension", text, ["", *widths], rows)
