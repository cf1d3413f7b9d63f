"""Time of a fit behind a frozen backbone: run once over the rows, and in every epoch as before.

2,000 noisy images of 32x32x3 in 10 classes through a frozen ResNet of depth 18 and width 8, all
parameters but the epochs at their defaults, one thread, in seconds of the processor, so that what
else it does counts less. Both take turns in every round; a ratio is the mean over rounds of the
paired ratios (in logarithms) with its 95 % interval. The classifier, which calibrates, made one
pass more than there are epochs; the embedder made none. The largest difference of embeddings of new
rows says that both fit the same. Runs in some ten minutes and without data:

    python benchmarks/speed/frozen.py
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from skhug import HUGClassifier, HUGEmbedder, Pretrained, ResNet

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import backbone_in_every_epoch
from common import arguments, interval, measure, report, verdict

ROWS, CLASSES, ROUNDS = 2_000, 10, 4
# The most that a fit may take of the time that it took before.
BAR = 1 / 10
CASES = {
    "classifier, 10 epochs": (HUGClassifier, {"max_epochs": 10}),
    "classifier, 30 epochs": (HUGClassifier, {"max_epochs": 30}),
    "embedder, 10 epochs": (HUGEmbedder, {"max_epochs": 10}),
    "with X_val, 10 epochs": (HUGClassifier, {"max_epochs": 10, "validate": True}),
}


def images(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return images of noise around a colour for each class, and their classes."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % CLASSES
    colours = np.random.default_rng(0).integers(90, 166, (CLASSES, 1, 1, 3))
    X = colours[y] + rng.normal(0, 60, (n, 32, 32, 3))
    return X.clip(0, 255).astype(np.uint8), y


def fits(kind, max_epochs, validate=False):
    """Return what fits with the backbone run once, and what fits as before; both return models."""
    torch.manual_seed(0)
    module = ResNet(18, width=8).build((3, 32, 32), CLASSES)
    encoder = Pretrained(module, frozen=True, standardize=True)
    (X, y), (X_val, y_val) = images(ROWS, 1), images(500, 2)
    validation = {"X_val": X_val, "y_val": y_val} if validate else {}

    def once():
        model = kind(encoder, max_epochs=max_epochs, device="cpu", random_state=0)
        return model.fit(X, y, **validation)

    def before():
        with backbone_in_every_epoch():
            return once()

    return {"once": once, "before": before}


def main() -> None:
    """Time every case and print the table."""
    arguments(__doc__)
    torch.set_num_threads(1)
    X = images(500, 3)[0]
    results, rows = {}, []
    for name, (kind, parameters) in CASES.items():
        fitted = {}

        def job(way, fit, fitted=fitted):
            fitted[way] = fit()

        jobs = {way: partial(job, way, fit) for way, fit in fits(kind, **parameters).items()}
        seconds = measure(jobs, ROUNDS, time.process_time)
        once, before = (fitted[way].transform(X) for way in ("once", "before"))
        difference = float(np.abs(once - before).max())
        medians = {job: float(np.median(values)) for job, values in seconds.items()}
        ratio = interval(seconds["once"], seconds["before"])
        results[name] = {"seconds": medians, "ratios": {"once / before": [*ratio, BAR]}}
        results[name] |= {"largest_difference": difference, "rounds": ROUNDS}
        figures = [f"{medians[job]:.2f}" for job in ("before", "once")]
        rows.append([name, *figures, verdict(ratio, BAR), f"{difference:.1e}"])
    header = ["", "before, CPU s", "once, CPU s", "ratio (95 %), bar", "largest difference"]
    report("frozen", header, rows, results)


if __name__ == "__main__":
    main()
