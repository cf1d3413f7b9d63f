"""Many classes: time of a step, of prediction and of building the proxies, from 10 to 100,000.

One thread, float32. Steps are those of a perceptron 64-256-128 on batches of 256; ours with
``proxies="optimal"``, whole epochs over 100,000 rows divided by their steps, cross-entropy's with a
linear layer of C outputs on the same perceptron and the same fused optimizer. Rounds take the
candidates in turn; ratios are means over rounds with 95 % intervals. Every arrangement is built
in a process of its own, whose peak resident memory is reported, libraries included. Runs in some
eight minutes and without data:

    python benchmarks/speed/classes.py
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skhug import MHE, MLP, AdamW, HUGLoss
from skhug.optimizers import flatten, make_stepper
from skhug.proxies import optimal_proxies, random_proxies

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import Batches, Cast, Objective, SphereEncoder, TrainingState, nearest, train
from common import interval, report

CLASSES = (10, 1_000, 100_000)
FEATURES, HIDDEN, COMPONENTS, BATCH, ROWS = 64, (256,), 128, 256, 100_000
ROUNDS = 12
# Steps of cross-entropy timed a round.
PEER_STEPS = {10: 100, 1_000: 100, 100_000: 2}
BUILT = [(1_000, 128), (2_000, 128), (5_000, 128), (20_000, 128), (100_000, 128),
         (5_000, 32), (20_000, 32), (100_000, 32), (20_000, 64), (20_000, 512)]  # fmt: skip
FLAT, BUILD_SECONDS, BUILD_MIB, SPREAD = 1.2, 600, 2048, 0.8


def rows_and_labels(n_classes):
    """Random rows; every class occurs as often as any other."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(ROWS, FEATURES, generator=generator)
    return X, torch.randperm(ROWS, generator=generator) % n_classes


def hug_epoch(n_classes):
    """An epoch of the training loop that fit runs."""
    X, y = rows_and_labels(n_classes)
    spec = MLP(HIDDEN, members=1)
    body = spec.build((FEATURES,), COMPONENTS)
    encoder = SphereEncoder(Cast(torch.float32), body, (FEATURES,), COMPONENTS, spec)
    proxies = optimal_proxies(n_classes, COMPONENTS, random_state=0).float()
    objective = Objective(encoder, proxies, HUGLoss(MHE(), attached=False), learned=False)
    batches = Batches(X, y, torch.ones(ROWS), torch.ones(n_classes), BATCH)
    state = TrainingState.start(
        objective, AdamW(), 0, learning_rate=1e-3, proxy_learning_rate=1e-3, weight_decay=0.01
    )

    def run():
        train(
            state,
            batches,
            max_epochs=state.epoch + 1,
            schedule=lambda share: 1.0,
            begin_epoch=lambda: None,
            end_epoch=lambda state: False,
        )
        return len(batches)

    return run


def cross_entropy_steps(n_classes):
    """Steps of a loop by hand."""
    X, y = rows_and_labels(n_classes)
    net = nn.Sequential(
        MLP(HIDDEN, members=1).build((FEATURES,), COMPONENTS), nn.Linear(COMPONENTS, n_classes)
    )
    segments = flatten((p, 1e-3, 0.01 if p.ndim > 1 else 0.0) for p in net.parameters())
    stepper = make_stepper(AdamW(), segments)

    def run():
        for rows in torch.randperm(ROWS).split(BATCH)[: PEER_STEPS[n_classes]]:
            for segment in segments:
                segment.gradients.zero_()
            logits = net(X.index_select(0, rows))
            F.cross_entropy(logits, y.index_select(0, rows)).backward()
            stepper.step(1.0)
        return PEER_STEPS[n_classes]

    return run


def time_steps():
    """Seconds a step of each (candidate, classes), round by round."""
    makers = {"HUG": hug_epoch, "cross-entropy": cross_entropy_steps}
    jobs = {(name, c): make(c) for name, make in makers.items() for c in CLASSES}
    for job in jobs.values():
        job()
    seconds = {key: [] for key in jobs}
    for _ in range(ROUNDS):
        for key, job in jobs.items():
            start = time.perf_counter()
            steps = job()
            seconds[key].append((time.perf_counter() - start) / steps)
    return {key: np.array(values) for key, values in seconds.items()}


def time_prediction(n_classes):
    """Seconds a row of the search for the nearest proxy, and of all cosines with argmax."""
    z = random_proxies(2048, COMPONENTS, random_state=1).float()
    proxies = random_proxies(n_classes, COMPONENTS, random_state=0).float()
    jobs = [lambda: nearest(z, proxies), lambda: (z @ proxies.T).argmax(1)]
    seconds = [[], []]
    for _ in range(5):
        for job, times in zip(jobs, seconds, strict=True):
            start = time.perf_counter()
            job()
            times.append((time.perf_counter() - start) / len(z))
    return [float(np.median(times)) for times in seconds]


def largest_cosine(points, block=2048):
    """Largest cosine between two points, by blocks."""
    largest = -1.0
    for i, rows in enumerate(points.split(block)):
        for j, columns in enumerate(points.split(block)[i:]):
            cosines = rows @ columns.T
            if j == 0:
                cosines.fill_diagonal_(-1)
            largest = max(largest, float(cosines.max()))
    return largest


def peak_mib():
    """Peak resident memory of this process; getrusage's would count the parent's (Linux)."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status)[1]) / 1024


def build(n_points, n_components):
    """Build in this process; print seconds, peak MiB and both largest cosines."""
    torch.set_num_threads(1)
    start = time.perf_counter()
    points = optimal_proxies(n_points, n_components, random_state=0)
    seconds = time.perf_counter() - start
    peak = peak_mib()
    random = random_proxies(n_points, n_components, random_state=0)
    cosines = [largest_cosine(p.float()) for p in (points, random)]
    print(json.dumps([seconds, peak, *cosines]))


def measure_building():
    """Figures of every arrangement, each from a process of its own."""
    names = ("seconds", "peak_mib", "largest_cosine", "random_largest_cosine")
    figures = {}
    for n, d in BUILT:
        command = [sys.executable, __file__, str(n), str(d)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        figures[f"{n:,} points, d={d}"] = dict(zip(names, json.loads(output), strict=True))
    return figures


def verdict(value, bar):
    """Whether a figure is at most the bar."""
    return f"bar {bar:g} {'holds' if value <= bar else 'fails'}"


def step_rows(seconds, results):
    """Rows of the table on steps."""
    rows = []
    for name in ("HUG", "cross-entropy"):
        medians = [float(np.median(seconds[name, c])) * 1e6 for c in CLASSES]
        results["microseconds_a_step"][name] = dict(zip(map(str, CLASSES), medians, strict=True))
        rows.append([f"{name}, µs a step", *(f"{m:.0f}" for m in medians)])
        ratios = [interval(seconds[name, c], seconds[name, 10]) for c in CLASSES[1:]]
        results["ratio_to_10_classes"][name] = dict(zip(map(str, CLASSES[1:]), ratios, strict=True))
        cells = [f"{mean:.2f} ({low:.2f}-{high:.2f})" for mean, low, high in ratios]
        if name == "HUG":
            cells[-1] += f", {verdict(ratios[-1][2], FLAT)}"
        rows.append([f"{name}, ratio to 10 classes (95 %)", "1", *cells])
    return rows


def build_rows(figures):
    """Rows of the table on building, the bars beside 100,000 points in 128 components."""
    rows = []
    for name, f in figures.items():
        share = f["largest_cosine"] / f["random_largest_cosine"]
        cells = [f"{f['seconds']:.1f} s", f"{f['peak_mib']:.0f} MiB"]
        cells.append(f"{f['largest_cosine']:.3f}, {share:.2f} of random")
        if name == "100,000 points, d=128":
            bars = zip(
                (f["seconds"], f["peak_mib"], share),
                (BUILD_SECONDS, BUILD_MIB, SPREAD),
                strict=True,
            )
            cells = [f"{c}, {verdict(*b)}" for c, b in zip(cells, bars, strict=True)]
        rows.append([f"building {name}: time, peak memory, largest cosine", *cells])
    return rows


def main():
    """Measure steps, prediction and building."""
    torch.set_num_threads(1)
    seconds = time_steps()
    results = {"rounds": ROUNDS, "microseconds_a_step": {}, "ratio_to_10_classes": {}}
    rows = step_rows(seconds, results)
    prediction = {c: [1e6 * s for s in time_prediction(c)] for c in CLASSES}
    results["microseconds_a_row_nearest_and_argmax"] = prediction
    for i, name in enumerate(("ours, by blocks", "all cosines, then argmax")):
        cells = [f"{prediction[c][i]:.2f}" for c in CLASSES]
        rows.append([f"nearest proxy, µs a row, {name}", *cells])
    results["building"] = measure_building()
    rows += build_rows(results["building"])
    report("classes", ["", *(f"C={c:,}" for c in CLASSES)], rows, results)


if __name__ == "__main__":
    build(*map(int, sys.argv[1:])) if len(sys.argv) > 1 else main()
