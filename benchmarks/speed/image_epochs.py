"""An epoch of images on the CPU: ours beside the same torch module in a loop by hand.

Both train the same network on the same number of images of 32 x 32 pixels in three colours, with
the channels last in memory, batches of 64, AdamW by torch's fused kernel, random crops and flips,
and the same loss: squared distances to fixed proxies. The loop is that of
``benchmarks/evidence/bareloop.py``. Timed is CPU time of the training alone, in turn, one thread.
Then the loop's own network, compiled by ``torch.compile`` and under bfloat16 autocast, beside
itself as it is. Takes about four minutes:

    OMP_NUM_THREADS=1 python benchmarks/speed/image_epochs.py
"""

from __future__ import annotations

import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import torch

from skhug import ConvNet, HUGClassifier, ResNet
from skhug.augment import Compose, HorizontalFlip, RandomCrop

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import timed_training
from common import interval, measure, report, verdict
from evidence.bareloop import BareLoop, ToProxies

CLASSES, BATCH, BAR = 10, 64, 1.0
AUGMENT = Compose([RandomCrop(4), HorizontalFlip()])
# Network: encoder, images, rounds.
NETWORKS = {
    "ConvNet()": (ConvNet(), 512, 9),
    "ResNet(18)": (ResNet(18), 64, 7),
}
WAYS = {
    "as it is": {},
    "torch.compile": {"compiled": True},
    "bfloat16": {"bfloat16": True},
}


def images(n):
    """Random pixels and classes: time does not depend on them."""
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8), np.arange(n) % CLASSES


def ours(encoder, X, y):
    """CPU seconds of two epochs."""
    model = HUGClassifier(
        encoder, n_components=CLASSES - 1, batch_size=BATCH, max_epochs=2, learning_rate=1e-3,
        weight_decay=0.05, augment=AUGMENT, device="cpu", random_state=0,
    )  # fmt: skip
    with timed_training() as spent:
        model.fit(X, y)
    return spent["cpu"]


def loop(encoder, X, y, compiled=False, bfloat16=False):
    """Return what trains two epochs by hand and tells its CPU seconds."""
    criterion = ToProxies(CLASSES, CLASSES - 1)
    bare = BareLoop(
        encoder, criterion, X, y, AUGMENT, learning_rate=1e-3, weight_decay=0.05,
        batch_size=BATCH, epochs=10_000, seed=0,
    )  # fmt: skip
    bare.net = bare.net.to(memory_format=torch.channels_last)
    if compiled:
        bare.net = torch.compile(bare.net)

    def train():
        start = time.process_time()
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            bare.epoch()
            bare.epoch()
        return time.process_time() - start

    return train


def told(jobs, rounds):
    """Return what each job says in each round, in turn."""
    seconds = {name: [] for name in jobs}
    measure({n: lambda n=n, job=job: seconds[n].append(job()) for n, job in jobs.items()}, rounds)
    return {name: np.array(values[1:]) for name, values in seconds.items()}


def against_the_loop(encoder, n, rounds):
    """Compare an epoch of ours with one by hand."""
    X, y = images(n)
    seconds = told({"ours": partial(ours, encoder, X, y), "by hand": loop(encoder, X, y)}, rounds)
    ratio = interval(seconds["ours"], seconds["by hand"])
    medians = {name: float(np.median(values)) / 2 for name, values in seconds.items()}
    return {"images": n, "seconds an epoch": medians, "ratio": ratio}


def ways_of_the_loop(encoder, n, rounds):
    """Compare compiled and bfloat16 loops with the plain one."""
    X, y = images(n)
    seconds = told({name: loop(encoder, X, y, **way) for name, way in WAYS.items()}, rounds)
    plain = seconds.pop("as it is")
    return {name: interval(values, plain) for name, values in seconds.items()}


def main() -> None:
    """Print the table and write benchmarks/results/image_epochs.json."""
    torch.set_num_threads(1)
    results, rows = {"processor": torch.backends.cpu.get_cpu_capability()}, []
    for name, (encoder, n, rounds) in NETWORKS.items():
        results[name] = case = against_the_loop(encoder, n, rounds)
        case["ways"] = ways_of_the_loop(encoder, n, 3)
        times = ", ".join(f"{who} {s:.2f}" for who, s in case["seconds an epoch"].items())
        rows.append([f"{name}, {n} images", times, verdict(case["ratio"], BAR)])
        for way, (mean, low, high) in case["ways"].items():
            rows.append([f"{name}, the loop with {way}", "", f"{mean:.2f} ({low:.2f}-{high:.2f})"])
    header = [f"epoch on the CPU ({results['processor']})", "CPU s", "ratio (95 %), bar"]
    report("image_epochs", header, rows, results)


if __name__ == "__main__":
    main()
