"""Ask one question of the evidence, or all, and write its tables and figures.

Results go to ``benchmarks/results/evidence_*.md`` and ``.json``; finished trials are kept in a
cache, so that a run that was interrupted goes on:

    python benchmarks/evidence --data DIR                 # all, about an hour on two cores
    python benchmarks/evidence --data DIR --only noise
    python benchmarks/evidence --data DIR --quick         # all, in minutes

DIR holds ``mnist.npz`` and ``cifar10.npz``; without it they come from OpenML. Some questions need
files of their own.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from evidence.harness import Lab

# Modules of this package; each has ``ask(lab)``.
QUESTIONS = (
    "generalisation", "noise", "longtail", "robustness", "dimensions", "geometry", "decoupling",
    "calibration", "incremental", "choices", "real_tables", "frames", "text", "vectors",
    "verification", "nested", "unseen", "open_set", "own_class", "photographs",
    "autoattack",  # needs torchattacks
)  # fmt: skip


def main() -> None:
    """Parse the command line and ask."""
    parser = argparse.ArgumentParser(
        prog="benchmarks/evidence", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--data", type=Path, help="folder with mnist.npz and cifar10.npz")
    parser.add_argument("--only", choices=QUESTIONS, nargs="+", help="these questions alone")
    parser.add_argument("--quick", action="store_true", help="smaller, in files of its own")
    parser.add_argument("--jobs", type=int, default=2, help="trials at once, a core each")
    parser.add_argument(
        "--cache", type=Path, default=Path(".evidence-cache"), help="folder of finished trials"
    )
    parser.add_argument("--figures", type=Path, help="folder for pictures; none without it")
    parser.add_argument(
        "--contenders", nargs="+", metavar="NAME",
        help="real_tables, vectors: these alone; the others keep the figures of the run before",
    )  # fmt: skip
    options = parser.parse_args()
    lab = Lab(
        options.data, options.cache, options.jobs, options.quick, options.figures,
        options.contenders,
    )  # fmt: skip
    for question in options.only or QUESTIONS:
        try:
            importlib.import_module(f"evidence.{question}").ask(lab)
        except ImportError as error:
            if options.only:
                raise
            print(f"{question}: left out. {error}")


if __name__ == "__main__":
    main()
