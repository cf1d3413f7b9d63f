"""Two single-thread processes against one: rows a second of a training, and what bounds it.

The training of one fit (start, scores and calibration aside), by gloo on one machine. In every
round one process trains alone while the other waits, then both together; a ratio is the mean over
rounds of the paired ratios of wall time (in logarithms) with its 95 % interval. Beside it the ratio
of the processor's time, which says what two idle cores could give at best, the share of the time in
sums over processes, waiting for the other included, and the bytes that a step adds up. It asks for
two cores that do nothing else. Runs in a minute or two and without data:

    python benchmarks/speed/distributed.py
"""

from __future__ import annotations

import sys
import tempfile
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
            dist.destroy_process_group()
            if rank == 0 and i:
                results.put((name, alone, together))


def main() -> None:
    """Time both and print the table."""
    arguments(__doc__)
    results = mp.get_context("spawn").SimpleQueue()
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(serve, (folder, results), PROCESSES)
    seen = [results.get() for _ in range(ROUNDS * len(BARS))]
    figures, rows = {}, []
    for name, bar in BARS.items():
        alone, together = zip(*(pair for case, *pair in seen if case == name), strict=True)
        one, two = (np.array([t["seconds"] for t in taken]) for taken in (alone, together))
        ratio = interval(one, two)
        cpu = interval(*(np.array([t["cpu"] for t in taken]) for taken in (alone, together)))
        share = float(np.median([t["sums"] / t["seconds"] for t in together]))
        sent = together[0]["bytes"] / together[0]["steps"]
        figures[name] = {"ratios": {"one / two": [*ratio, bar]}, "cpu one / two": cpu}
        figures[name] |= {"share in sums": share, "bytes a step": sent, "rounds": ROUNDS}
        holds = "holds" if ratio[1] >= bar else "fails"
        rows.append(
            [
                name,
                f"{np.median(one):.2f}",
                f"{np.median(two):.2f}",
                f"{ratio[0]:.2f} ({ratio[1]:.2f}-{ratio[2]:.2f}), {bar} {holds}",
                f"{cpu[0]:.2f} ({cpu[1]:.2f}-{cpu[2]:.2f})",
                f"{share:.0%}",
                f"{sent:,.0f}",
            ]
        )
    header = ["", "one, s", "two, s", "rows a second, two / one (95 %), bar"]
    header += ["CPU of one / of each of two", "of the time in sums", "bytes a step"]
    report("distributed", header, rows, figures)


if __name__ == "__main__":
    main()
