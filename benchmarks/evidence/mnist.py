"""HUG beside cross-entropy on 10,000 rows of MNIST: clean labels, calibration, wrong labels.

Same MLP, input scaling, batches, optimizer, schedule and epochs for both. Cross-entropy's
learning rate and weight decay are chosen among six settings on 2,000 held-out training rows, for
clean and for wrong labels apart; HUG runs with its defaults (and ``s_within=-1`` on wrong
labels). The official test set is scored once. Runs in about six minutes:

    python benchmarks/evidence/mnist.py --data DIR
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

import numpy as np
import torch

from skhug import MHE, HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import (
    CrossEntropyMLP,
    accuracy,
    arguments,
    expected_calibration_error,
    log_loss,
    mean_and_error,
    mnist_10k,
    report,
    show,
)

SEEDS = (0, 1, 2)
GRID = [
    {"learning_rate": rate, "weight_decay": decay}
    for rate, decay in itertools.product((1e-3, 3e-3), (0.01, 0.3, 2.0))
]


def wrong_labels(y: np.ndarray, share: float) -> np.ndarray:
    """Redraw a share of the labels uniformly from the ten classes, with seed 0."""
    rng = np.random.RandomState(0)
    redrawn = rng.uniform(size=len(y)) < share
    return np.where(redrawn, rng.randint(10, size=len(y)), y)


def tuned_cross_entropy(X: np.ndarray, y: np.ndarray) -> dict[str, float]:
    """Choose cross-entropy's settings on the last 2,000 of the training rows."""
    scores = [
        accuracy(CrossEntropyMLP(**g).fit(X[:-2000], y[:-2000]).predict_proba(X[-2000:]), y[-2000:])
        for g in GRID
    ]
    return GRID[int(np.argmax(scores))]


def main() -> None:
    """Fit every model with every seed."""
    torch.set_num_threads(1)
    X, y, X_test, y_test = mnist_10k(arguments(__doc__).data)
    noisy = wrong_labels(y, 0.4)
    robust = {"uniformity": MHE(s_within=-1.0), "max_epochs": 20}
    clean_peer, noisy_peer = tuned_cross_entropy(X, y), tuned_cross_entropy(X, noisy)
    jobs = {
        "clean: HUG, defaults": (y, lambda s: HUGClassifier(random_state=s)),
        "clean: HUG, early stopping": (
            y,
            lambda s: HUGClassifier(random_state=s, early_stopping=True),
        ),
        "clean: cross-entropy, tuned": (y, lambda s: CrossEntropyMLP(**clean_peer, seed=s)),
        "40 % wrong: HUG, s_within=-1": (noisy, lambda s: HUGClassifier(random_state=s, **robust)),
        "40 % wrong: HUG, defaults": (
            noisy,
            lambda s: HUGClassifier(random_state=s, max_epochs=20),
        ),
        "40 % wrong: cross-entropy, tuned": (
            noisy,
            lambda s: CrossEntropyMLP(**noisy_peer, seed=s),
        ),
        "40 % wrong: cross-entropy, AdamW defaults": (noisy, lambda s: CrossEntropyMLP(seed=s)),
    }
    measures = {
        "accuracy": accuracy,
        "ECE": expected_calibration_error,
        "log-loss": log_loss,
    }
    results, rows = {"cross-entropy's settings": [clean_peer, noisy_peer]}, []
    for name, (labels, make) in jobs.items():
        probabilities = [make(seed).fit(X, labels).predict_proba(X_test) for seed in SEEDS]
        results[name] = {
            m: mean_and_error([measure(p, y_test) for p in probabilities])
            for m, measure in measures.items()
        }
        rows.append([name, *(show(cell) for cell in results[name].values())])
    report("mnist", ["labels: model", *measures], rows, results)


if __name__ == "__main__":
    main()
