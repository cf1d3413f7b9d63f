"""Time and memory of sparse rows, beside scikit-learn's MLP, which has a sparse path too.

11,314 rows of 100,000 columns with 150 values each, as TF-IDF of the 20 newsgroups has them: the
columns drawn by a law like that of words, rows of length 1, float32. The same network, batch and
epochs for both, one thread. Fits and predictions are timed in turn; a ratio is the mean over rounds
of the paired ratios (in logarithms) with its 95 % interval. Memory is the peak of a process of its
own (``ru_maxrss``), all of it, and beyond what imports and rows took. Some fifteen minutes:

    python benchmarks/speed/sparse.py
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import torch
from scipy.sparse import csr_array, diags_array
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from skhug import MLP, HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import interval, measure, report, verdict

ROWS, COLUMNS, VALUES, CLASSES = 11_314, 100_000, 150, 20
HIDDEN, BATCH, EPOCHS, ROUNDS = (256, 128), 200, 1, 5
LIMIT_MIB = 1024


def text_like() -> tuple[csr_array, np.ndarray]:
    """Return rows and classes; a few columns are frequent, and most are rare."""
    rng = np.random.default_rng(0)
    columns = (COLUMNS * rng.random((ROWS, VALUES)) ** 3).astype(np.int32)
    starts = np.arange(0, ROWS * VALUES + 1, VALUES, dtype=np.int32)
    values = rng.random(ROWS * VALUES, dtype=np.float32)
    X = csr_array((values, columns.ravel(), starts), shape=(ROWS, COLUMNS))
    X.sum_duplicates()
    length = np.sqrt(X.multiply(X).sum(1))
    return (diags_array(1 / length) @ X).tocsr(), rng.integers(0, CLASSES, ROWS)


def hug() -> HUGClassifier:
    """Return ours with the layers, the batch and the epochs of the other."""
    encoder = MLP(HIDDEN, activation="relu", members=1)
    return HUGClassifier(
        encoder, batch_size=BATCH, max_epochs=EPOCHS, learning_rate=1e-3, random_state=0
    )


def scikit_learn() -> MLPClassifier:
    """Return scikit-learn's MLP with Adam, which trains for all its epochs."""
    return MLPClassifier(
        HIDDEN, batch_size=BATCH, max_iter=EPOCHS, tol=0, n_iter_no_change=10_000, random_state=0
    )


CANDIDATES = {"HUGClassifier": hug, "MLPClassifier": scikit_learn}


def peak_mib() -> float:
    """Return the largest resident memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def memory_of(name: str) -> dict[str, float]:
    """Run in the child: peaks before the fit, in the fit, and in all."""
    X, y = text_like()
    peaks = {"before": peak_mib()}
    model = CANDIDATES[name]().fit(X, y)
    peaks["fit"] = peak_mib()
    model.predict(X)
    return {**peaks, "predict": peak_mib()}


def in_a_process(name: str) -> dict[str, float]:
    """Return what :func:`memory_of` returns in a process of its own."""
    command = [sys.executable, __file__, "--child", name]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Time fits and predictions in turn, measure memory, print and save the table."""
    torch.set_num_threads(1)
    threadpool_limits(1)  # NumPy's BLAS, for scikit-learn's MLP
    warnings.simplefilter("ignore")
    if sys.argv[1:2] == ["--child"]:
        print(json.dumps(memory_of(sys.argv[2])))
        return
    memory = {name: in_a_process(name) for name in CANDIDATES}
    X, y = text_like()
    models = {name: make() for name, make in CANDIDATES.items()}
    fits = measure({n: lambda m=m: m.fit(X, y) for n, m in models.items()}, ROUNDS)
    predictions = measure({n: lambda m=m: m.predict(X) for n, m in models.items()}, ROUNDS)
    ours, peer = CANDIDATES
    results = {"rounds": ROUNDS, "epochs": EPOCHS, "limit_mib": LIMIT_MIB, "memory": memory}
    rows = []
    for what, seconds in (("fit", fits), ("predict", predictions)):
        ratio = interval(seconds[ours], seconds[peer])
        medians = {name: float(np.median(values)) for name, values in seconds.items()}
        results[what] = {"seconds": medians, "ratio": ratio}
        cells = [f"{medians[name]:.2f}" for name in CANDIDATES]
        rows.append([f"{what}, s", *cells, verdict(ratio, 1.0)])
    for what in ("fit", "predict"):
        cells = [f"{memory[n][what]:.0f} ({memory[n]['before']:.0f})" for n in CANDIDATES]
        holds = "holds" if memory[ours][what] <= LIMIT_MIB else "fails"
        rows.append([f"peak in {what} (before), MiB", *cells, f"{LIMIT_MIB} {holds}"])
    report("sparse", ["", *CANDIDATES, "ratio (95 %), bar"], rows, results)


if __name__ == "__main__":
    main()
