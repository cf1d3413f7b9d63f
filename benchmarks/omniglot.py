"""Retrieval of Omniglot characters never seen in training: Recall@1 and MAP@R.

A ConvNet trains for 15 epochs on the 154 characters of five alphabets. Settings are chosen on
two of these alphabets, held out of training by ``--tune``; without it the chosen settings train
on all five and the three test alphabets are scored, every drawing a query against all others.
One seed takes about two minutes on one core, the grid three:

    python benchmarks/omniglot.py --data DIR [--tune]

DIR holds omniglot.npz: ``X`` (n, 28, 28) uint8, ``y``, ``alphabet``, ``alphabet_names``.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from common import mean_and_error, report, show

from skhug import MHE, HUGEmbedder, Learned
from skhug.metrics import mean_average_precision_at_r, recall_at_k

TRAIN = ("Korean", "Latin", "Sanskrit", "Balinese", "Early_Aramaic")
HELD_OUT = ("Balinese", "Early_Aramaic")
TEST = ("Greek", "Japanese_(katakana)", "Tagalog")
# The authors' weight on the mean over pairs is this over the number of classes less one.
PAIR_WEIGHT = 30.0
# Weight of the samples' repulsion, weight decay.
GRID = [(1.0, 0.01), (2.0, 0.01), (1.0, 0.5)]
CHOSEN = (1.0, 0.01)  # the best MAP@R on the held-out alphabets


def characters(folder: Path, alphabets: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return the images (n, 28, 28) and the characters of some alphabets."""
    with np.load(folder / "omniglot.npz") as file:
        names = [str(name) for name in file["alphabet_names"]]
        rows = np.isin(file["alphabet"], [names.index(name) for name in alphabets])
        return file["X"][rows], file["y"][rows]


def embedder(repulsion: float, weight_decay: float, n_classes: int, seed: int) -> HUGEmbedder:
    """Return HUG with attached proxies, as the first trials had it."""
    return HUGEmbedder(
        "convnet",
        n_components=128,
        uniformity=MHE(repulsion=repulsion),
        alpha=PAIR_WEIGHT / (n_classes - 1),
        proxies=Learned(attached=True, learning_rate=0.02),
        learning_rate=5e-3,
        weight_decay=weight_decay,
        batch_size=128,
        max_epochs=15,
        random_state=seed,
    )


def trial(
    setting: tuple[float, float],
    train: tuple[np.ndarray, np.ndarray],
    test: tuple[np.ndarray, np.ndarray],
    seed: int,
) -> dict[str, float]:
    """Train on some characters and search others among themselves."""
    model = embedder(*setting, len(np.unique(train[1])), seed)
    start = time.perf_counter()
    model.fit(*train)
    seconds = time.perf_counter() - start
    z, y = model.transform(test[0]), test[1]
    return {
        "Recall@1": float(recall_at_k(z, y)),
        "MAP@R": float(mean_average_precision_at_r(z, y)),
        "fit, seconds": seconds,
    }


def main() -> None:
    """Score the settings of the grid on held-out alphabets, or the chosen one on the test's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with omniglot.npz")
    parser.add_argument("--tune", action="store_true", help="compare settings, test untouched")
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.tune:
        settings, seen = GRID, [name for name in TRAIN if name not in HELD_OUT]
        unseen: Sequence[str] = HELD_OUT
    else:
        settings, seen, unseen = [CHOSEN], list(TRAIN), TEST
    train, test = (characters(options.data, names) for names in (seen, unseen))
    results, rows = {}, []
    for setting in settings:
        trials = [trial(setting, train, test, seed) for seed in range(options.seeds)]
        name = "repulsion {}, weight decay {}".format(*setting)
        results[name] = {m: mean_and_error([t[m] for t in trials]) for m in trials[0]}
        rows.append([name, *(show(cell, 3) for cell in results[name].values())])
    target = "omniglot_tuning" if options.tune else "omniglot"
    report(target, ["HUG, ConvNet", *trials[0]], rows, results)


if __name__ == "__main__":
    main()
