"""A million classes: time and memory of a step, of a whole fit and of prediction.

One thread, float32, 256 components. Steps are those of two perceptrons on batches of 256, one
small (64-256-256) and one of MNIST's size (784-256-256-256): whole epochs over 12,800 rows divided
by their steps, in CPU time. Rounds take 10, 100,000 and 1,400,000 classes in turn; ratios are means
over rounds with 95 % intervals. Memory is that of processes of their own: what the objective adds,
and a whole fit of ``HUGClassifier`` on two rows of 32 numbers a class. Runs in some three minutes,
without data:

    python benchmarks/speed/million_classes.py
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

from skhug import MHE, MLP, AdamW, HUGClassifier, HUGLoss

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import (
    Batches,
    Cast,
    Objective,
    SphereEncoder,
    TrainingState,
    fixed_points,
    train,
)
from common import arguments, interval, report, verdict

CLASSES = (10, 100_000, 1_400_000)
COMPONENTS, BATCH, ROWS, ROUNDS = 256, 256, 12_800, 12
# Features and hidden layers of the perceptrons.
ENCODERS = {"64-256-256": (64, (256,)), "784-256-256-256": (784, (256, 256))}
BAR = 1.1
# Of the whole fit.
FEATURES, ROWS_A_CLASS, FIT_BATCH, QUERIES = 32, 2, 4096, 256


def state_of(n_classes: int, features: int, hidden: tuple[int, ...]) -> TrainingState:
    """Return a training about to start."""
    spec = MLP(hidden, members=1)
    body = spec.build((features,), COMPONENTS)
    encoder = SphereEncoder(Cast(torch.float32), body, (features,), COMPONENTS, spec)
    proxies = fixed_points(n_classes, COMPONENTS).to("cpu", torch.float32)
    objective = Objective(encoder, proxies, HUGLoss(MHE(), attached=False), learned=False)
    return TrainingState.start(
        objective, AdamW(), 0, learning_rate=1e-3, proxy_learning_rate=1e-3, weight_decay=0.01
    )


def epoch(n_classes: int, features: int, hidden: tuple[int, ...]):
    """Return an epoch of the training loop that fit runs, which returns its steps."""
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(ROWS, features, generator=generator)
    y = torch.randint(n_classes, (ROWS,), generator=generator)
    batches = Batches(X, y, torch.ones(ROWS), torch.ones(n_classes), BATCH)
    state = state_of(n_classes, features, hidden)

    def run() -> int:
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


def time_steps(features: int, hidden: tuple[int, ...]) -> dict[int, np.ndarray]:
    """CPU seconds a step by classes, round by round."""
    jobs = {n: epoch(n, features, hidden) for n in CLASSES}
    seconds = {n: [] for n in jobs}
    for i in range(ROUNDS + 1):
        for n in CLASSES[i % 3 :] + CLASSES[: i % 3]:
            start = time.process_time()
            steps = jobs[n]()
            seconds[n].append((time.process_time() - start) / steps)
    return {n: np.array(values[1:]) for n, values in seconds.items()}  # the first warms up


def memory(name: str) -> float:
    """MiB of this process by Linux's name for them: VmRSS now, VmHWM at most."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(rf"{name}:\s+(\d+) kB", status)[1]) / 1024


def objective_memory(n_classes: int) -> None:
    """Print MiB that the objective and a step add."""
    torch.set_num_threads(1)
    state_of(10, 64, (256,)).objective.gradients(
        torch.randn(BATCH, 64), torch.arange(BATCH) % 10, torch.ones(BATCH)
    )
    before = memory("VmRSS")
    state = state_of(n_classes, 64, (256,))
    y = torch.randint(n_classes, (BATCH,))
    state.objective.gradients(torch.randn(BATCH, 64), y, torch.ones(BATCH))
    print(json.dumps(memory("VmHWM") - before))


def whole_fit(n_classes: int) -> None:
    """Print CPU seconds of a fit and MiB beyond the data, and what prediction takes and finds."""
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    y = np.tile(np.arange(n_classes), ROWS_A_CLASS)
    X = np.empty((len(y), FEATURES), np.float32)
    for block in np.array_split(np.arange(len(y)), 50):
        X[block] = np.random.default_rng(1).standard_normal(FEATURES, dtype=np.float32)
        X[block] += rng.standard_normal((len(block), FEATURES), dtype=np.float32)
    model = HUGClassifier(
        MLP((256,), members=1),
        n_components=COMPONENTS,
        max_epochs=1,
        batch_size=FIT_BATCH,
        random_state=0,
    )
    before, start = memory("VmRSS"), time.process_time()
    model.fit(X, y)
    seconds, beyond = time.process_time() - start, memory("VmHWM") - before
    start = time.process_time()
    model.predict(X[:QUERIES])
    each = (time.process_time() - start) / QUERIES
    print(json.dumps([seconds, beyond, X.nbytes / 2**20, 1e3 * each, memory("VmHWM") - before]))


def in_a_process(job: str, n_classes: int):
    """Return what a process of its own prints."""
    command = [sys.executable, __file__, job, str(n_classes)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Measure steps, memory and a whole fit."""
    torch.set_num_threads(1)
    header = ["", *(f"C={n:,}" for n in CLASSES)]
    results, rows = {"rounds": ROUNDS}, []
    for name, encoder in ENCODERS.items():
        seconds = time_steps(*encoder)
        ratios = {n: interval(seconds[n], seconds[10]) for n in CLASSES[1:]}
        medians = {n: 1e6 * float(np.median(seconds[n])) for n in CLASSES}
        results[name] = {"microseconds a step": medians, "ratio to 10 classes": ratios}
        rows.append([f"{name}, CPU µs a step", *(f"{m:.0f}" for m in medians.values())])
        cells = [verdict(ratio, BAR) for ratio in ratios.values()]
        rows.append([f"{name}, ratio to 10 classes (95 %), bar", "1", *cells])
    added = {n: in_a_process("objective", n) for n in CLASSES}
    results["MiB that objective and step add"] = added
    rows.append(["objective and a step, MiB", *(f"{m:.0f}" for m in added.values())])
    stored = [4 * n * COMPONENTS / 2**20 for n in CLASSES]
    rows.append(["the stored array, MiB", *(f"{m:,.2f}" for m in stored)])
    fits = {n: in_a_process("fit", n) for n in CLASSES[1:]}
    names = (
        "CPU seconds",
        "MiB beyond the data",
        "MiB of the data",
        "CPU ms a row of predict",
        "with it",
    )
    for i, name in enumerate(names[:4]):
        rows.append([f"fit, one epoch: {name}", "", *(f"{fits[n][i]:.1f}" for n in fits)])
    results["fit"] = {n: dict(zip(names, values, strict=True)) for n, values in fits.items()}
    report("million_classes", header, rows, results)


if __name__ == "__main__":
    jobs = {"objective": objective_memory, "fit": whole_fit}
    if len(sys.argv) == 3 and sys.argv[1] in jobs:
        jobs[sys.argv[1]](int(sys.argv[2]))
    else:
        arguments(__doc__)
        main()
