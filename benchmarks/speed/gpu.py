"""Time of a step on a GPU: the digits MLP at batch 32, ours beside skorch's on the same GPU.

Microseconds a step of a whole ``fit``, less what a fit costs that has no step: the slope between
a short and a long fit. Rows of float32; skorch has them on the GPU beforehand as well, since its
loader would copy every batch otherwise. Ours is timed with the step captured as a graph, as it
is by default, and launched operation by operation. Without a CUDA device it says so and ends:

    pip install skorch
    python benchmarks/speed/gpu.py
"""

from __future__ import annotations

import itertools
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from skhug import MLP, HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import no_graph
from common import interval, report, verdict

HIDDEN, BATCH, RATE = (100,), 32, 1e-3
SHORT, LONG, ROUNDS = 5, 25, 7
BAR = 1 / 5  # of skorch's time, at most


def ours(X, y, epochs):
    """Fit the built-in perceptron, its step captured."""
    HUGClassifier(
        MLP(HIDDEN, activation="relu", members=1), batch_size=BATCH, max_epochs=epochs,
        learning_rate=RATE, random_state=0, device="cuda",
    ).fit(X, y)  # fmt: skip


def ours_eager(X, y, epochs):
    """Fit it without a graph."""
    with no_graph():
        ours(X, y, epochs)


def skorch(X, y, epochs):
    """Fit the same network with cross-entropy and Adam, skorch's defaults otherwise."""
    from skorch import NeuralNetClassifier

    sizes = [X.shape[1], *HIDDEN, 10]
    layers = [f for a, b in itertools.pairwise(sizes) for f in (nn.Linear(a, b), nn.ReLU())]
    NeuralNetClassifier(
        nn.Sequential(*layers[:-1]), criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam,
        lr=RATE, batch_size=BATCH, max_epochs=epochs, train_split=None, verbose=0,
        iterator_train__shuffle=True, device="cuda",
    ).fit(torch.from_numpy(X).cuda(), torch.from_numpy(y).cuda())  # fmt: skip


CANDIDATES = {"HUG, captured": ours, "HUG, eager": ours_eager, "skorch": skorch}


def seconds_of(fit, X, y, epochs):
    """Seconds of a fit and all that it left to the device."""
    torch.cuda.synchronize()
    start = time.perf_counter()
    fit(X, y, epochs)
    torch.cuda.synchronize()
    return time.perf_counter() - start


def main() -> None:
    """Time every candidate in turn, round by round."""
    if not torch.cuda.is_available():
        print("There is no CUDA device: nothing to time.")
        sys.exit(0)
    warnings.simplefilter("ignore")
    X, y = load_digits(return_X_y=True)
    X, y = X.astype(np.float32) / 16, y.astype(np.int64)
    steps = (LONG - SHORT) * int(np.ceil(len(X) / BATCH))
    slopes = {name: [] for name in CANDIDATES}
    for i in range(ROUNDS + 1):
        for name, fit in CANDIDATES.items():
            short, long = (seconds_of(fit, X, y, epochs) for epochs in (SHORT, LONG))
            if i:  # the first warms up
                slopes[name].append((long - short) / steps)
    slopes = {name: np.array(values) for name, values in slopes.items()}
    medians = {name: float(np.median(values)) * 1e6 for name, values in slopes.items()}
    ratio = interval(slopes["HUG, captured"], slopes["skorch"])
    rows = [[name, f"{value:.0f}"] for name, value in medians.items()]
    rows.append(["captured / skorch: ratio (95 %), bar", verdict(ratio, BAR)])
    results = {
        "device": torch.cuda.get_device_name(),
        "microseconds_a_step": medians,
        "captured_to_skorch": [*ratio, BAR],
        "rounds": ROUNDS,
    }
    report("gpu", [torch.cuda.get_device_name(), "µs a step"], rows, results)


if __name__ == "__main__":
    main()
