"""Checkpoints on a disk that is full, nearly full or read-only: real file systems, Linux alone.

Each file system is a small tmpfs, mounted where no other process sees it; this needs unprivileged
user namespaces or root.

    python benchmarks/faults/disk.py [--write]
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from skhug import MLP, Checkpoint, HUGClassifier

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from _internals import fingerprint, full_state
from common import case_table, write

# A checkpoint of the model below has 330 kB.
MOUNTS = {
    "full from the start": "size=64k",
    "room for one file and not for its successor": "size=500k",
    "read-only": "size=1m,ro",
    "large enough": "size=8m",
}


class Cut(Exception):
    """Ends a fit from inside."""


def fit(folder: str | None) -> tuple[str, list[str]]:
    """Fit with a file after every epoch; return a digest of what was fitted, and the warnings."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((2000, 20)), np.arange(2000) % 4
    checkpoint = None if folder is None else Checkpoint(folder, every_seconds=0)
    model = HUGClassifier(MLP((100, 100)), max_epochs=20, random_state=0, checkpoint=checkpoint)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    digest = fingerprint([full_state(model.module_), model.history_, model.predict_proba(X)])
    return digest, [str(warning.message) for warning in caught]


def cut_fit(folder: str, seconds: float) -> bool:
    """Whether a fit was cut off after so many seconds."""

    def cut(*_: Any) -> None:
        raise Cut

    signal.signal(signal.SIGALRM, cut)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        fit(folder)
    except Cut:
        return True
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
    return False


def inside(folder: str) -> dict[str, Any]:
    """What happens on the file system mounted there."""
    expected, _ = fit(None)
    cuts = sum(cut_fit(folder, seconds) for seconds in (0.3, 0.5, 0.7))
    left = [name for name in os.listdir(folder) if name.startswith("skhug-")]
    digest, caught = fit(folder)
    return {
        "fits_cut_off": cuts,
        "a_checkpoint_was_left": bool(left),
        "last_fit_identical": digest == expected,
        "warnings": [message.replace(folder, "FOLDER") for message in caught],
        "files_left": len(os.listdir(folder)),
    }


def on_mount(options: str) -> dict[str, Any]:
    """Run this script on a file system of its own."""
    with tempfile.TemporaryDirectory() as folder:
        mount = f"mount -t tmpfs -o {options} tmpfs {folder}"
        run = f"exec {sys.executable} {__file__} --inside {folder}"
        done = subprocess.run(
            ["unshare", "--map-root-user", "--mount", "sh", "-c", f"{mount} && {run}"],
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        return {"failed": done.stderr[-500:]}
    return json.loads(done.stdout)


def main() -> None:
    """Print what happened on each file system as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inside", help="folder of the file system to fit on")
    parser.add_argument("--write", action="store_true", help="to benchmarks/results as well")
    arguments = parser.parse_args()
    if arguments.inside:
        print(json.dumps(inside(arguments.inside)))
        return
    results = {name: on_mount(options) for name, options in MOUNTS.items()}
    print(json.dumps(results, indent=1))
    if arguments.write:
        write("disk", results, case_table("file system", results))


if __name__ == "__main__":
    main()
