"""Long soak: thousands of fits and a million transforms in one process, and what they leave.

Reads the process's memory, threads and open files from /proc, so it needs Linux. Runs in about
ten minutes on a core:

    OMP_NUM_THREADS=1 python benchmarks/faults/soak.py
"""

from __future__ import annotations

import argparse
import copy
import gc
import json
import os
import pickle
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn
from torch.utils.data import TensorDataset

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import RESULTS, case_table, write

from skhug import MHE, MLP, BalancedBatches, HUGClassifier, HUGEmbedder, Learned
from skhug.encoders import ConvNet, Pretrained
from skhug.optimizers import SGD

# Share of a run that only warms up: imports, thread pools and the allocator's arenas.
WARM_UP = 0.1
SAMPLES = 50
# Growth of the resident memory after the warm-up that counts as flat.
FLAT_PERCENT = 1.0


def rows(seed: int, *shape: int, classes: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Return a few random rows and their labels."""
    rng = np.random.default_rng(seed)
    return rng.standard_normal(shape), np.arange(shape[0]) % classes


def use(model: Any, X: Any) -> None:
    """Ask a fitted estimator for all that it gives."""
    model.transform(X)
    if isinstance(model, HUGClassifier):
        model.predict_proba(X)
        model.predict(X)


def plain(seed: int) -> None:
    """Fit a classifier with the built-in perceptron, and use it."""
    X, y = rows(seed, 40 + seed % 7, 5)
    use(HUGClassifier(MLP((16,)), max_epochs=3, random_state=seed).fit(X, y), X)


def embedder(seed: int) -> None:
    """Fit an embedder with learned proxies on strings, weights and batches by class."""
    X, y = rows(seed, 48, 5)
    model = HUGEmbedder(
        MLP((8,), batch_norm=True, dropout=0.1),
        uniformity=MHE(repulsion=0.5),
        proxies=Learned(attached=False),
        batch_sampler=BalancedBatches(3, 4),
        track=["nc"],
        max_epochs=2,
        random_state=seed,
    )
    use(model.fit(X, np.array(list("abc"))[y], sample_weight=np.arange(48.0)), X)


def early_stopped(seed: int) -> None:
    """Fit until the validation score stops to rise."""
    X, y = rows(seed, 60, 4)
    model = HUGClassifier(
        MLP((8,)), early_stopping=True, n_iter_no_change=2, max_epochs=6, random_state=seed
    )
    use(model.fit(X, y), X)


def module(seed: int) -> None:
    """Fit a user's module by torch's own optimizer, once more from there, and copy it."""
    X, y = rows(seed, 30, 4)
    net = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model = HUGClassifier(
        Pretrained(net), optimizer=torch.optim.RMSprop, warm_start=True, max_epochs=2
    )
    use(copy.deepcopy(model.fit(X, y).fit(X, y)), X)


def images(seed: int) -> None:
    """Fit a small convolutional network on uint8 images."""
    X, y = rows(seed, 12, 8, 8)
    X = np.clip(128 + 40 * X, 0, 255).astype(np.uint8)
    use(HUGClassifier(ConvNet((4, 4)), max_epochs=1, random_state=seed).fit(X, y), X)


def streamed(seed: int) -> None:
    """Fit on a torch data set, which is read by a thread of its own."""
    X, y = rows(seed, 40, 4)
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    use(HUGClassifier(MLP((8,)), max_epochs=2, random_state=seed).fit(data), data)


def in_parts(seed: int) -> None:
    """Fit call by call, with a round trip through a pickle in between."""
    X, y = rows(seed, 40, 4)
    model = HUGClassifier(MLP((8,)), optimizer=SGD(), uniformity="mgd", random_state=seed)
    for part in range(4):
        model.partial_fit(X[part::4], y[part::4], classes=range(3))
    use(pickle.loads(pickle.dumps(model)), X)


def refused(seed: int) -> None:
    """Try what cannot be fitted, and what diverges."""
    X, y = rows(seed, 30, 4)
    model = HUGClassifier(MLP((8,)), max_epochs=2, random_state=seed).fit(X, y)
    for wrong in (X[:, :0], X + np.inf, X[:, :3]):
        try:
            model.transform(wrong)
        except ValueError:
            continue
        raise AssertionError("a wrong input was taken")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        use(model.set_params(learning_rate=1e6, max_epochs=4).fit(X, y), X)


KINDS = (plain, embedder, early_stopped, module, images, streamed, in_parts, refused)


def left_behind() -> dict[str, float]:
    """Return the process's resident memory, threads and open files, after a collection."""
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss_mib": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": len(os.listdir("/proc/self/task")),
        "python_threads": threading.active_count(),
        "open_files": len(os.listdir("/proc/self/fd")),
    }


def soak(calls: Iterator[Callable[[], object]], n: int) -> dict[str, Any]:
    """Make n calls; return how memory, threads and files went after a warm-up.

    Growth is from the first to the last fifth of the samples, by their medians; the slope is
    that of a straight line through all of them.
    """
    warm_up, every = max(1, round(WARM_UP * n)), max(1, round((1 - WARM_UP) * n / SAMPLES))
    for call in islice(calls, warm_up):
        call()
    before, done, samples, start = left_behind(), [0], [], time.perf_counter()
    samples.append(before["rss_mib"])
    for i, call in enumerate(islice(calls, n - warm_up), 1):
        call()
        if i % every == 0:
            done.append(i)
            samples.append(left_behind()["rss_mib"])
    seconds, after, fifth = time.perf_counter() - start, left_behind(), max(1, len(samples) // 5)
    first, last = np.median(samples[:fifth]), np.median(samples[-fifth:])
    return {
        "calls": n,
        "seconds": seconds,
        "rss_mib": [round(sample, 2) for sample in samples],
        "growth_percent": float(100 * (last / first - 1)),
        "slope_kib_per_1000": float(1024 * 1000 * np.polyfit(done, samples, 1)[0]),
        "before": before,
        "after": after,
    }


def flat(result: dict[str, Any]) -> bool:
    """Whether memory did not grow and no thread or file is left."""
    before, after = result["before"], result["after"]
    return result["growth_percent"] < FLAT_PERCENT and all(
        after[name] <= before[name] for name in ("threads", "python_threads", "open_files")
    )


def fits() -> Iterator[Callable[[], object]]:
    """Yield fits of every kind in turn, each with a seed of its own."""
    for seed, kind in enumerate(cycle(KINDS)):
        yield lambda seed=seed, kind=kind: kind(seed)


def transforms() -> Iterator[Callable[[], object]]:
    """Yield the transform of one row, of one fitted classifier."""
    X, y = rows(0, 60, 8)
    model = HUGClassifier(max_epochs=2, random_state=0).fit(X, y)
    while True:
        yield lambda: model.transform(X[:1])


JOBS = {"fits": (fits, 2_000), "transforms": (transforms, 1_000_000)}


def main() -> None:
    """Soak in what is asked for, print a line each and add it to the results."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("jobs", nargs="*", default=list(JOBS), help=" or ".join(JOBS))
    parser.add_argument("--calls", type=int, help="in place of 2,000 fits and 1,000,000 transforms")
    parser.add_argument("--name", default="soak", help="of the file of results; empty for none")
    wanted = parser.parse_args()
    held = True
    for name in wanted.jobs:
        calls, n = JOBS[name]
        result = soak(calls(), wanted.calls or n)
        result["flat"] = flat(result)
        held &= result["flat"]
        print(
            f"{result['calls']:,} {name}: {result['seconds']:.0f} s, memory "
            f"{result['growth_percent']:+.2f} % ({result['slope_kib_per_1000']:+.2f} KiB per "
            f"1,000), {'flat, nothing left' if result['flat'] else 'NOT flat'}; "
            f"before {result['before']}, after {result['after']}",
            flush=True,
        )
        if wanted.name:
            results = {**former(wanted.name), name: result}
            write(wanted.name, results, case_table("job", results))
    sys.exit(not held)


def former(name: str) -> dict[str, Any]:
    """Return the results of an earlier run, of other jobs."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


if __name__ == "__main__":
    main()
