"""Two single-thread processes against one: rows a second of a training, and what bounds it.

The training of one fit (start, scores and calibration aside), by gloo on one machine. In every
round one process trains alone while the other waits, then both together; a ratio is the mean over
rounds of the paired ratios of wall time (in logarithms) with its 95 % interval. Beside it what
bounds it: the same of two processes that train apart, each the whole fit, twice the rows; the share
of the time in sums over processes, waiting for the other included; messages and bytes that a step
adds up; and what one message of a single number takes. It asks for two cores that do nothing else.
Runs in two minutes and without data:

    python benchmarks/speed/distributed.py
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from skhug import MLP, ConvNet, HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import timed_training
from common import arguments, interval, report

ROUNDS, PROCESSES = 5, 2
# Times as many rows a second as one process, at least.
BARS = {"ConvNet": 1.7, "MLP of MNIST": 1.5}


def cases() -> dict[str, tuple]:
    """Return (encoder, rows, epochs) by name: images of noise, as large as MNIST's."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4_000, 28, 28), dtype=np.uint8)
    flat = rng.integers(0, 256, (20_000, 784), dtype=np.uint8)
    return {
        "ConvNet": (ConvNet(), images[:1_000], 1),
        "MLP of MNIST": (MLP(members=1), flat, 2),
    }


def train(name: str) -> dict[str, float]:
    """Return what the training of one fit takes."""
    encoder, X, epochs = cases()[name]
    model = HUGClassifier(encoder, max_epochs=epochs, batch_size=256, device="cpu", random_state=0)
    with timed_training() as spent:
        model.fit(X, np.arange(len(X)) % 10)
    spent["steps"] = epochs * len(range(0, len(X), 256))
    return dict(spent)


def serve(rank: int, folder: str, results: mp.SimpleQueue) -> None:
    """Train in turns: the first process alone, then all together."""
    torch.set_num_threads(1)
    for name in BARS:
        for i in range(ROUNDS + 1):  # the first warms up
            alone = train(name) if rank == 0 else None
            dist.init_process_group(
                "gloo",
                init_method=f"file://{folder}/{name.replace(' ', '-')}-{i}",
                rank=rank,
                world_size=PROCESSES,
            )
            together = train(name)
            together["message"] = seconds_a_message()
            dist.destroy_process_group()
            apart = train(name)
            if rank == 0 and i:
                results.put((name, alone, together, apart))


def seconds_a_message(n: int = 50) -> float:
    """Return what the sum of a single number over processes takes."""
    number = torch.ones(1)
    dist.all_reduce(number)
    start = time.perf_counter()
    for _ in range(n):
        dist.all_reduce(number)
    return (time.perf_counter() - start) / n


def main() -> None:
    """Time both and print the table."""
    arguments(__doc__)
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(serve, (folder, results), PROCESSES)
    seen = [results.get() for _ in range(ROUNDS * len(BARS))]
    figures, rows = {}, []
    for name, bar in BARS.items():
        runs = [*zip(*(times for case, *times in seen if case == name), strict=True)]
        together = runs[1]
        one, two, each = (np.array([t["seconds"] for t in taken]) for taken in runs)
        ratio, most = interval(one, two), interval(2 * one, each)
        share = float(np.median([t["sums"] / t["seconds"] for t in together]))
        steps = together[0]["steps"]
        sent, messages = (together[0][what] / steps for what in ("bytes", "calls"))
        message = 1e3 * float(np.median([t["message"] for t in together]))
        figures[name] = {"ratios": {"one / two": [*ratio, bar]}, "two apart / one": most}
        figures[name] |= {"share in sums": share, "bytes a step": sent, "rounds": ROUNDS}
        figures[name] |= {"messages a step": messages, "milliseconds a message": message}
        holds = "holds" if ratio[1] >= bar else "fails"
        rows.append(
            [
                name,
                f"{np.median(one):.2f}",
                f"{np.median(two):.2f}",
                f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f}), {bar} {holds}",
                f"{most[0]:.2f} ({most[1]:.2f}-{most[2]:.2f})",
                f"{share:.0%}",
                f"{messages:.1f}",
                f"{sent:,.0f}",
                f"{message:.2f}",
            ]
        )
    header = ["", "one, s", "two, s", "rows a second, two / one (95 %), bar"]
    header += ["two apart / one", "of the time in sums", "messages a step", "bytes a step"]
    header += ["ms a message of one number"]
    report("distributed", header, rows, figures)


if __name__ == "__main__":
    main()
