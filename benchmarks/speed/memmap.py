"""Peak memory of fitting and embedding a 4 GiB memory map.

A child process fits one epoch of the default MLP on 4 GiB of float32 rows, and embeds them into
a second memory map, while a thread samples the operating system's accounting of its anonymous
memory (RssAnon of /proc/self/status; mapped pages are the system's to drop). What counts is the
peak above that after the imports. Linux alone; takes three to six minutes and 4 GiB of disk:

    python benchmarks/speed/memmap.py [--dir FOLDER]
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
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import report

ROWS, FEATURES, CLASSES = 1 << 20, 1 << 10, 10
BLOCK = 1 << 14
LIMIT_MIB = 1024


def write_rows(folder: Path) -> None:
    """Write the rows, class means plus noise, and their labels."""
    rng = np.random.default_rng(0)
    X = np.lib.format.open_memmap(folder / "X.npy", "w+", np.float32, (ROWS, FEATURES))
    y = rng.integers(CLASSES, size=ROWS)
    means = rng.normal(size=(CLASSES, FEATURES)).astype(np.float32)
    noise = rng.standard_normal((BLOCK, FEATURES), dtype=np.float32)
    for start in range(0, ROWS, BLOCK):
        # The same noise, turned: drawing 4 GiB anew would take most of the time.
        X[start : start + BLOCK] = np.roll(noise, start // BLOCK, axis=1) * 4
        X[start : start + BLOCK] += means[y[start : start + BLOCK]]
    X.flush()
    np.save(folder / "y.npy", y)


def anonymous_mib() -> float:
    """Anonymous resident memory of this process."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1024
    raise OSError("no RssAnon in /proc/self/status: this benchmark needs Linux")


class Peak:
    """Samples anonymous memory from a thread, every 5 ms."""

    def __enter__(self) -> Peak:
        self.mib, self._done = anonymous_mib(), threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._done.wait(0.005):
            self.mib = max(self.mib, anonymous_mib())

    def __exit__(self, *exception) -> None:
        self._done.set()
        self._thread.join()


def fit_and_embed(folder: Path) -> dict[str, float]:
    """Run in the child: seconds and peaks of memory above that after the imports."""
    import torch

    from skhug import HUGClassifier

    X = np.load(folder / "X.npy", mmap_mode="r")
    y = np.load(folder / "y.npy")
    model = HUGClassifier(max_epochs=1, batch_size=256, random_state=0, device="cpu")
    model.fit(np.eye(20, 8), np.arange(20) % 2)  # what torch allocates once
    base, results = anonymous_mib(), {}
    results["threads"] = torch.get_num_threads()
    start = time.perf_counter()
    with Peak() as peak:
        model.fit(X, y)
    results |= {"fit_s": time.perf_counter() - start, "fit_mib": peak.mib - base}
    start = time.perf_counter()
    with Peak() as peak:
        shape = (len(X), model.proxies_.shape[1])
        out = np.lib.format.open_memmap(folder / "z.npy", "w+", model.proxies_.dtype, shape)
        model.transform(X, out=out)
    results |= {"transform_s": time.perf_counter() - start, "transform_mib": peak.mib - base}
    nearest = (out[: 1 << 16] @ model.proxies_.T).argmax(1)
    results["accuracy"] = float(np.mean(nearest == y[: 1 << 16]))
    return results


def main() -> None:
    """Write the rows, measure in a child process, print and save the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dir", type=Path, help="where the 4 GiB are written for a while")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child is not None:
        print(json.dumps(fit_and_embed(options.child)))
        return
    with tempfile.TemporaryDirectory(dir=options.dir) as folder:
        write_rows(Path(folder))
        command = [sys.executable, __file__, "--child", folder]
        answer = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ)
        size = os.path.getsize(Path(folder) / "X.npy") / 2**30
    results = {"file_gib": size, "limit_mib": LIMIT_MIB, **json.loads(answer.stdout)}
    rows = [
        [name, f"{results[f'{name}_mib']:.0f}", f"{LIMIT_MIB}", f"{results[f'{name}_s']:.0f}"]
        for name in ("fit", "transform")
    ]
    report("memmap", ["4 GiB", "peak RssAnon, MiB", "bar", "seconds"], rows, results)
    if max(results["fit_mib"], results["transform_mib"]) > LIMIT_MIB:
        sys.exit("over the bar")


if __name__ == "__main__":
    main()
