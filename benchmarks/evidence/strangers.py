"""A gallery on alphabets never seen: new classes, strangers, and what small codes cost.

Omniglot. An embedder learns the 97 characters of three alphabets, with the settings of the
retrieval benchmark. Balinese and Early Aramaic set the threshold: half of their characters are in a
gallery with five drawings each, the others are strangers. Greek, Katakana and Tagalog, 88
characters, are looked at once: 40 of them with five drawings each make a gallery, five more come
by five drawings each without training, and the other 43 are strangers; ten splits of each of three
trainings, errors over the trainings. Small codes: Recall@1 of every drawing of the 88 among the
others, and of sentence vectors of docstrings, by their package, among the others. About ten minutes
on one core:

    OMP_NUM_THREADS=1 python benchmarks/evidence/strangers.py --data DIR
"""

from __future__ import annotations

import argparse
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.frozen import FrozenEstimator

from skhug import MHE, HUGEmbedder, Learned
from skhug.encoders import ConvNet
from skhug.retrieval import ExactIndex, Gallery, QuantizedIndex, UsearchIndex

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import as_table, mean_and_error, show, write

LEARNED = ("Korean", "Latin", "Sanskrit")
CALIBRATION = ("Balinese", "Early_Aramaic")
TEST = ("Greek", "Japanese_(katakana)", "Tagalog")
SHOTS, FIRST, ADDED, SPLITS, SEEDS = 5, 40, 5, 10, (0, 1, 2)
STRATEGIES = {
    "best F1": ("f1", {}),
    "false accepts at most 5 %": ("max_far", {"max_far": 0.05}),
    "false accepts at most 1 %": ("max_far", {"max_far": 0.01}),
}
INDEXES = {
    "exact": ExactIndex(),
    "int8, codes alone": QuantizedIndex(8, rescore=1),
    "int8": QuantizedIndex(8),
    "binary, codes alone": QuantizedIndex(1, rescore=1),
    "binary": QuantizedIndex(1),
    "binary, rescore=10": QuantizedIndex(1, rescore=10),
    "usearch i8": UsearchIndex("i8"),
    "usearch b1, rescore=4": UsearchIndex("b1", rescore=4),
}
BYTES = {"exact": "1", "int8": "1/4", "binary": "1/32", "usearch i8": "1/4", "usearch b1": "1/32"}


def drawings(folder: Path, alphabets: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Drawings (n, 28, 28) of some alphabets and their characters."""
    with np.load(folder / "omniglot.npz") as file:
        X, y, names = file["X"], file["y"], file["alphabet_names"][file["alphabet"]]
    rows = np.isin(names, alphabets)
    return X[rows], y[rows]


def trained(folder: Path, seed: int) -> HUGEmbedder:
    """An embedder of the three alphabets."""
    return HUGEmbedder(
        ConvNet((32, 64, 128, 128), n_pools=2, readout="average"),
        n_components=64,
        uniformity=MHE(repulsion=1.0),
        alpha=0.2,
        proxies=Learned(attached=True, learning_rate=0.02),
        learning_rate=2e-3,
        weight_decay=0.1,
        batch_size=128,
        max_epochs=15,
        random_state=seed,
    ).fit(*drawings(folder, LEARNED))


def shots(y: np.ndarray, classes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows of some classes, so many of each."""
    return np.concatenate([rng.permutation(np.flatnonzero(y == c))[:SHOTS] for c in classes])


def calibrated(Z: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """The thresholds that rows of classes held out of training set."""
    rng = np.random.default_rng(0)
    classes = rng.permutation(np.unique(y))
    own = shots(y, classes[: len(classes) // 2], rng)
    rest = np.setdiff1d(np.arange(len(y)), own)
    gallery = Gallery().fit(Z[own], y[own])
    thresholds = {}
    for name, (strategy, options) in STRATEGIES.items():
        gallery.calibrate_threshold(Z[rest], y[rest], strategy, **options)
        thresholds[name] = gallery.threshold_
    return thresholds


def split(Z: np.ndarray, y: np.ndarray, thresholds: dict[str, float], seed: int) -> dict:
    """One draw of the classes: before and after five more came, and strangers."""
    rng = np.random.default_rng(seed)
    classes = rng.permutation(np.unique(y))
    first, added = classes[:FIRST], classes[FIRST : FIRST + ADDED]
    own, more = shots(y, first, rng), shots(y, added, rng)
    test = np.setdiff1d(np.arange(len(y)), np.concatenate([own, more]))
    old, new = np.isin(y[test], first), np.isin(y[test], added)
    gallery = Gallery().fit(Z[own], y[own])
    figures = {"40 classes, accuracy": gallery.score(Z[test][old], y[test][old])}
    gallery.partial_fit(Z[more], y[more])
    figures["45 classes, accuracy"] = gallery.score(Z[test][old | new], y[test][old | new])
    figures["the five new, accuracy"] = gallery.score(Z[test][new], y[test][new])
    right, score = gallery.predict(Z[test]) == y[test], gallery.score_samples(Z[test])
    for name, threshold in thresholds.items():
        accepted = score >= threshold
        figures[f"{name}: known rows named right"] = (right & accepted)[old | new].mean()
        figures[f"{name}: strangers let in"] = accepted[~(old | new)].mean()
    return figures


def recall(Z: np.ndarray, y: np.ndarray, index: object) -> float:
    """Recall@1 of every row among the others."""
    found = Gallery(index=index).fit(Z, y).kneighbors(Z, 2, return_distance=False)
    itself = found[:, 0] == np.arange(len(y))
    return float((y[np.where(itself, found[:, 1], found[:, 0])] == y).mean())


def main() -> None:
    """Print the tables and write benchmarks/results/strangers.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with omniglot.npz")
    folder = parser.parse_args().data
    torch.set_num_threads(1)
    open_set: dict[str, list] = {}
    codes: dict[str, dict[str, list]] = {name: {} for name in INDEXES}
    for seed in SEEDS:
        embedder = FrozenEstimator(trained(folder, seed))
        (Z, y), (Zt, yt) = (
            (embedder.transform(X), y)
            for X, y in (drawings(folder, alphabets) for alphabets in (CALIBRATION, TEST))
        )
        thresholds = calibrated(Z, y)
        draws = [split(Zt, yt, thresholds, i) for i in range(SPLITS)]
        for name in draws[0]:
            open_set.setdefault(name, []).append(np.mean([draw[name] for draw in draws]))
        for name, index in INDEXES.items():
            codes[name].setdefault("Omniglot, 64", []).append(recall(Zt, yt, index))
    with np.load(folder / "docstring_vectors.npz") as file:
        Z, y = file["X"].astype(np.float32), file["y"]
    for name, index in INDEXES.items():
        codes[name]["docstrings, 384"] = [recall(Z, y, index)]
    results = {
        "open set": {name: mean_and_error(values) for name, values in open_set.items()},
        "codes": {
            name: {data: mean_and_error(values) for data, values in cells.items()}
            for name, cells in codes.items()
        },
    }
    rows = [[name, show(cell, 3)] for name, cell in results["open set"].items()]
    text = as_table(["88 characters never seen", "share"], rows) + "\n"
    rows = [
        [name, BYTES[name.partition(",")[0]], *(show(cell, 4) for cell in cells.values())]
        for name, cells in results["codes"].items()
    ]
    text += as_table(["Recall@1 by index", "bytes", *codes["exact"]], rows)
    print(text, end="")
    write("strangers", results, text)


if __name__ == "__main__":
    warnings.simplefilter("error", UserWarning)
    main()
