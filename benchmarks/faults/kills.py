"""Kill real training processes with SIGKILL at random moments, some inside a write of a checkpoint.

The same fit is started again after every kill. Once it comes to its end its weights, history and
outputs are compared, bit by bit, with those of a fit that nobody killed; then the next one starts.

    python benchmarks/faults/kills.py [--kills N] [--case NAME] [--seed S]
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.datasets import load_digits
from torch import nn

from skhug import (
    MLP,
    BalancedBatches,
    Checkpoint,
    ConvNet,
    HUGClassifier,
    HUGEmbedder,
    Learned,
    augment,
)

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import archive, fingerprint, full_state
from common import case_table, write

# A disk that takes its time: what is killed is often inside a write.
SYNC_SECONDS = 0.02


class Items(torch.utils.data.Dataset):
    """Rows that are read one by one."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


def rows() -> tuple[Any, Any]:
    """The first 600 digits."""
    X, y = load_digits(return_X_y=True)
    return X[:600], y[:600]


def images() -> tuple[Any, Any]:
    """The same as images of whole numbers."""
    X, y = rows()
    return X.reshape(-1, 8, 8).astype(np.uint8), y


def streamed() -> tuple[Any, Any]:
    """The same as a torch data set."""
    return Items(*rows()), None


def module(input_shape: tuple[int, ...], n_components: int) -> nn.Module:
    """A module of the user's own, with random numbers while it trains."""
    return nn.Sequential(
        nn.Linear(64, 32), nn.BatchNorm1d(32), nn.ReLU(), nn.Dropout(0.2), nn.Linear(32, 9)
    )


CASES: dict[str, tuple[type, dict[str, Any], Callable[[], tuple[Any, Any]]]] = {
    "kernel": (HUGClassifier, {"encoder": MLP((32,))}, rows),
    "module, early stopping": (
        HUGEmbedder,
        {"encoder": module, "early_stopping": True, "n_iter_no_change": 99},
        rows,
    ),
    "images, augmented, learned proxies": (
        HUGClassifier,
        {
            "encoder": ConvNet([4, 4]),
            "proxies": Learned(),
            "augment": augment.Compose([augment.RandomCrop(1), augment.HorizontalFlip()]),
        },
        images,
    ),
    "streamed, balanced batches": (
        HUGClassifier,
        {"encoder": MLP((16,), dropout=0.1), "batch_sampler": BalancedBatches(5, 8)},
        streamed,
    ),
}
EPOCHS = 30


def digest(model: Any) -> str:
    """All that was fitted, in 16 digits."""
    X, _ = rows()
    X = X.reshape(-1, *model.input_shape_)
    fitted = {n: v for n, v in vars(model).items() if n.endswith("_") and n != "module_"}
    return fingerprint([fitted, full_state(model.module_), model.transform(X)])


def fit(case: str, folder: str | None, out: str) -> None:
    """Fit, in a process of its own, and leave the digest of what was fitted."""
    torch.set_num_threads(1)
    sync = archive._sync

    def slow_sync(descriptor: int) -> None:
        time.sleep(SYNC_SECONDS)
        sync(descriptor)

    archive._sync = slow_sync
    Estimator, parameters, data = CASES[case]
    checkpoint = None if folder is None else Checkpoint(folder, every_seconds=0)
    model = Estimator(max_epochs=EPOCHS, random_state=0, checkpoint=checkpoint, **parameters)
    archive.replace_file(Path(out), digest(model.fit(*data())).encode())


def temporary_files(folder: Path) -> int:
    """Files that writes have left unfinished."""
    return sum(name.endswith(".tmp") for name in os.listdir(folder))


class Trial:
    """One case's fits, killed and started again in a folder of their own."""

    def __init__(self, case: str, rng: np.random.Generator) -> None:
        self.case, self.rng = case, rng
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload(["skhug.classifier", "skhug.embedder", __name__])
        self.base = Path(tempfile.mkdtemp())
        self.folder, self.out = self.base / "kept", self.base / "digest"
        self.left = 0  # unfinished files of earlier kills
        self.counts = {"kills": 0, "kills_inside_a_write": 0, "fits": 0, "identical": 0}

    def start(self, folder: Path | None) -> Any:
        """Start a fit."""
        process = self.context.Process(target=fit, args=(self.case, folder, str(self.out)))
        process.start()
        return process

    def whole(self, folder: Path | None) -> tuple[str, float]:
        """Digest and seconds of a fit that nobody kills."""
        start = time.perf_counter()
        process = self.start(folder)
        process.join()
        seconds = time.perf_counter() - start
        return self.taken_digest(), seconds

    def taken_digest(self) -> str:
        """What the last fit left."""
        text = self.out.read_text()
        self.out.unlink()
        return text

    def run(self, kills: int) -> dict[str, int]:
        """Kill so many fits and let the last one end; return the counts."""
        expected, _ = self.whole(None)
        kept, seconds = self.whole(self.folder)
        assert kept == expected, "checkpoints changed a fit that nobody killed"
        while self.counts["kills"] < kills or self.counts["fits"] == 0:
            process = self.start(self.folder)
            last = self.counts["kills"] >= kills
            process.join(None if last else self.rng.uniform(0, seconds))
            if process.is_alive():
                self.kill(process)
            else:
                process.join()
                self.counts["fits"] += 1
                self.counts["identical"] += self.taken_digest() == expected
                assert os.listdir(self.folder) == [], "a fit left files behind"
                self.left = 0
        shutil.rmtree(self.base)
        return self.counts

    def kill(self, process: Any) -> None:
        """Kill, and see whether it was inside a write."""
        process.kill()
        process.join()
        self.out.unlink(missing_ok=True)  # it may have come to its end just then
        left = temporary_files(self.folder)
        self.counts["kills"] += 1
        self.counts["kills_inside_a_write"] += left > self.left
        self.left = left


def main() -> None:
    """Kill and count, and print the counts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each case")
    parser.add_argument("--case", choices=CASES, help="one alone")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", action="store_true", help="to benchmarks/results as well")
    arguments = parser.parse_args()
    rng = np.random.default_rng(arguments.seed)
    cases = CASES if arguments.case is None else [arguments.case]
    results = {case: Trial(case, rng).run(arguments.kills) for case in cases}
    print(json.dumps(results, indent=1))
    if arguments.write:
        write("kills", results, case_table("case", results))


if __name__ == "__main__":
    main()
