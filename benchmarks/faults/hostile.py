"""Hostile and odd input by the thousand: what works, is stopped, is refused, and what fails.

Draws the cases of ``tests/hostile/test_hostile.py`` with another seed and a larger budget, and
goes on where one fails. Runs in about ten minutes on a core:

    OMP_NUM_THREADS=1 python benchmarks/faults/hostile.py
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from hypothesis import HealthCheck, given, seed, settings

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share
sys.path.insert(0, str(Path(__file__).parents[2] / "tests" / "_helpers"))  # what the tests draw

import hostile_cases as cases
import hostile_checks as checks
from common import report

# What is tried: how cases are drawn, how each is run, and how many there are for one of the first.
KINDS = {
    "fits": (cases.fits, checks.run_fit, 1.0),
    "fits with a flaw": (cases.flawed, checks.run_fit, 0.5),
    "partial fits": (cases.calls, checks.run_calls, 0.5),
    "images": (cases.images, checks.run_fit, 0.5),
    "metrics": (cases.measures, checks.run_measure, 1.0),
    "arrangements": (cases.arrangements, checks.run_arrangement, 0.5),
}
OUTCOMES = ("worked", "stopped", "refused", "failed")


def try_many(
    strategy: Any, run: Callable[[Any], Any], n: int, number: int
) -> tuple[Counter[str], list[str]]:
    """Run n cases; return how often each outcome came, and the failures with their cases."""
    counts, failures = Counter(dict.fromkeys(OUTCOMES, 0)), []

    @seed(number)
    @settings(max_examples=n, deadline=None, database=None, suppress_health_check=list(HealthCheck))
    @given(strategy)
    def once(case: Any) -> None:
        try:
            counts[run(case).outcome] += 1
        except Exception as error:
            counts["failed"] += 1
            failures.append(f"{error!r} by {case!r}")

    once()
    return counts, failures


def main() -> None:
    """Try every kind; print the counts and the failures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=2_000, help="fits; the others in step")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    torch.set_num_threads(1)
    results, rows, failed = {}, [], []
    for name, (strategy, run, share) in KINDS.items():
        counts, failures = try_many(strategy(), run, round(share * wanted.examples), wanted.seed)
        failed += [f"{name}: {failure}" for failure in failures]
        results[name] = {"tried": counts.total(), **counts}
        rows.append([name, *(str(value) for value in results[name].values())])
    for failure in failed[:20]:
        print(failure)
    report("hostile", ["input", "tried", *OUTCOMES], rows, {"seed": wanted.seed, **results})
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
