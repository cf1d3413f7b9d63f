"""Time and memory of a head on vectors: beside scikit-learn's, and on a file of a million.

Unit rows of 768 values about the directions of their classes, one thread. (a) 100,000 float32 rows
of 20 classes: CPU seconds of a fit of HUGClassifier, of LogisticRegressionCV as it is tuned in
``evidence/vectors.py`` (seven values of C, five folds, the best fitted anew: 36 fits), of
LogisticRegression with one value of C, lbfgs, and of SGDClassifier; accuracy and log-loss on 20,000
more rows. HUGClassifier is fitted first and last, so many times in all; the others once.

(b) 1,000,000 float16 rows of 1,000 classes in a file of 1.4 GiB: CPU and wall time of a fit as
multiples of one pass that reads the file and makes float32 of it, how often rows of the file are
read, and peak memory beyond the imports, sampled by a thread of a process of its own: anonymous
(RssAnon), and the proportional set with the file's own pages taken off. Linux alone; some ten
minutes:

    python benchmarks/speed/vectors.py [--dir FOLDER] [--rounds 2]
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy's BLAS asks

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier
from sklearn.metrics import log_loss

from skhug import HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import report

WIDTH = 768
ROWS, CLASSES, TEST_ROWS = 100_000, 20, 20_000
FILE_ROWS, FILE_CLASSES, BLOCK = 1_000_000, 1_000, 10_000
BAR, LIMIT_MIB = 0.1, 1024
# Of evidence/vectors.py.
CS, FOLDS = np.logspace(-2, 4, 7), 5

OURS, TUNED = "HUGClassifier()", "LogisticRegressionCV(), tuned"
CANDIDATES: dict[str, Callable[[], Any]] = {
    OURS: lambda: HUGClassifier(random_state=0),
    TUNED: lambda: LogisticRegressionCV(Cs=CS, cv=FOLDS, scoring="neg_log_loss", max_iter=2000),
    "LogisticRegression(C=10)": lambda: LogisticRegression(C=10.0, max_iter=2000),
    "SGDClassifier(loss='log_loss')": lambda: SGDClassifier("log_loss", random_state=0),
}


@cache
def noise(n_rows: int) -> np.ndarray:
    """Return normal noise of many deviations, the same at every call."""
    rng = np.random.default_rng(1)
    return rng.standard_normal((n_rows, WIDTH), dtype=np.float32) * np.float32(6)


def mixture(n_rows: int, n_classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit rows and classes; the classes' directions are the same for every seed."""
    centres = np.random.default_rng(0).standard_normal((n_classes, WIDTH), dtype=np.float32)
    y = np.random.default_rng(seed + 1).integers(n_classes, size=n_rows)
    X = centres[y]
    # The same noise, turned: drawing that of a million rows anew would take most of the time.
    X += np.roll(noise(n_rows), seed // BLOCK, axis=1)
    X *= np.linspace(2, 0.5, WIDTH, dtype=np.float32)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


def cpu_seconds(function: Callable[[], Any]) -> float:
    """Return the processor's time that a call took."""
    start = time.process_time()
    function()
    return time.process_time() - start


def fits(rounds: int) -> dict[str, dict[str, Any]]:
    """Return seconds of each fit, accuracy and log-loss, by candidate."""
    X, y = mixture(ROWS, CLASSES, 0)
    X_test, y_test = mixture(TEST_ROWS, CLASSES, BLOCK)
    found: dict[str, dict[str, Any]] = {name: {"seconds": []} for name in CANDIDATES}
    for name in [*CANDIDATES, *[OURS] * (rounds - 1)]:
        model = CANDIDATES[name]()
        found[name]["seconds"].append(cpu_seconds(lambda m=model: m.fit(X, y)))
        found[name]["accuracy"] = float(np.mean(model.predict(X_test) == y_test))
        found[name]["log-loss"] = log_loss(y_test, model.predict_proba(X_test))
        if name == TUNED:
            found[name]["C"] = float(np.ravel(model.C_)[0])
    return found


# --- the file -------------------------------------------------------------------------------


def write_file(folder: Path) -> None:
    """Write the rows, block by block, and their labels."""
    shape = (FILE_ROWS, WIDTH)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float16, shape)
    y = np.empty(FILE_ROWS, np.int64)
    for start in range(0, FILE_ROWS, BLOCK):
        block = slice(start, start + BLOCK)
        X[block], y[block] = mixture(BLOCK, FILE_CLASSES, start)
    X.flush()
    np.save(folder / "y.npy", y)


class Counted:
    """An array that loads when indexed, and counts its rows that were read."""

    def __init__(self, array: np.ndarray) -> None:
        self.array, self.rows_read = array, 0
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self.nbytes = array.nbytes

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, key: Any) -> np.ndarray:
        rows = np.array(self.array[key])
        self.rows_read += len(rows)
        return rows


def memory_mib() -> dict[str, float]:
    """Return anonymous memory, and the proportional set without pages of files, of this process."""
    status = Path("/proc/self/status").read_text().splitlines()
    rolled = Path("/proc/self/smaps_rollup").read_text().splitlines()
    numbers = {
        line.split()[0]: line.split()[1] for line in status + rolled[1:] if len(line.split()) > 1
    }
    pss = int(numbers["Pss:"]) - int(numbers.get("Pss_File:", 0))
    return {"anonymous": int(numbers["RssAnon:"]) / 1024, "pss": pss / 1024}


class Peak:
    """Samples memory from a thread, every 20 ms."""

    def __enter__(self) -> Peak:
        self.mib, self._done = memory_mib(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self.mib = {k: max(self.mib[k], v) for k, v in memory_mib().items()}

    def __exit__(self, *exception) -> None:
        self._done.set()
        self._thread.join()


def timed(function: Callable[[], Any]) -> dict[str, float]:
    """Return wall and CPU seconds of a call."""
    wall, cpu = time.perf_counter(), time.process_time()
    function()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}


def one_pass(X: np.ndarray) -> None:
    """Read all rows and make float32 of them."""
    for start in range(0, len(X), BLOCK):
        np.asarray(X[start : start + BLOCK], np.float32)


def fit_file(folder: Path) -> dict[str, Any]:
    """Run in the child: the fit of the file."""
    torch.set_num_threads(1)
    X, y = np.load(folder / "X.npy", mmap_mode="r"), np.load(folder / "y.npy")
    model = HUGClassifier(random_state=0, device="cpu")
    model.fit(*mixture(400, 4, 0))  # what torch allocates once
    one_pass(X)  # from the disk to the system's cache
    passes, base = timed(lambda: one_pass(X)), memory_mib()
    counted = Counted(X)
    with Peak() as peak:
        fit = timed(lambda: model.fit(counted, y))
    X_test, y_test = mixture(BLOCK, FILE_CLASSES, FILE_ROWS)
    return {
        "pass": passes,
        "fit": fit,
        "passes": counted.rows_read / len(X),
        "mib": {name: peak.mib[name] - base[name] for name in base},
        "accuracy": float(np.mean(model.predict(X_test) == y_test)),
    }


def in_a_process(folder: Path) -> dict[str, Any]:
    """Return what :func:`fit_file` returns in a process of its own."""
    command = [sys.executable, __file__, "--child", str(folder)]
    answer = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)


def main() -> None:
    """Time the fits in turn, then the file's; print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where 1.4 GiB are written for a while")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # of iterations that end, and of defaults that will change
    torch.set_num_threads(1)
    if options.child is not None:
        print(json.dumps(fit_file(options.child)))
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        write_file(Path(folder))
        file = in_a_process(Path(folder))
    found = fits(options.rounds)
    (tuned,) = found[TUNED]["seconds"]
    ratios = [mine / tuned for mine in found[OURS]["seconds"]]
    results = {"rounds": options.rounds, "bar": BAR, "limit_mib": LIMIT_MIB}
    results |= {"fits": found, "beside_tuned": ratios, "file": file}
    report(
        "vectors",
        ["", "CPU seconds", "accuracy / log-loss, or beside one pass"],
        rows_of(results),
        results,
    )


def _verdict(ratios: list[float]) -> str:
    """Return the ratios of the rounds, and whether all keep to the bar."""
    holds = "holds" if max(ratios) <= BAR else "fails"
    return f"{min(ratios):.3f} to {max(ratios):.3f}, {BAR} {holds}"


def rows_of(results: dict[str, Any]) -> list[list[str]]:
    """Return the table's cells."""
    rows = [
        [
            f"100,000 rows: {name}",
            f"{np.median(f['seconds']):.1f}",
            f"{f['accuracy']:.3f} / {f['log-loss']:.3f}",
        ]
        for name, f in results["fits"].items()
    ]
    file, beside = results["file"], results["beside_tuned"]
    rows.append(["HUGClassifier() beside LogisticRegressionCV()", "", _verdict(beside)])
    times = file["fit"]["cpu_s"] / file["pass"]["cpu_s"]
    walls = file["fit"]["wall_s"] / file["pass"]["wall_s"]
    rows += [
        ["one pass over the file", f"{file['pass']['cpu_s']:.1f}", "1"],
        ["1,000,000 rows: HUGClassifier()", f"{file['fit']['cpu_s']:.1f}", f"{times:.1f} x"],
        ["the same, wall clock", f"{file['fit']['wall_s']:.1f}", f"{walls:.1f} x"],
        ["times that the file's rows are read", "", f"{file['passes']:.2f}"],
        ["peak RssAnon beyond imports, MiB", "", f"{file['mib']['anonymous']:.0f}"],
        ["peak PSS beyond imports, MiB", "", f"{file['mib']['pss']:.0f}"],
    ]
    return rows


if __name__ == "__main__":
    main()
