"""Run the suite as smaller processors would run it, with one thread and with two.

    python benchmarks/faults/processors.py                          # all of it, six runs
    python benchmarks/faults/processors.py --only AVX2 --threads 2  # one run
    python benchmarks/faults/processors.py -- tests/losses/test_losses.py  # a part of it

torch, oneDNN and MKL choose their kernels by the processor, and each has a variable that keeps it
from the larger ones. What only such a processor does is found here: sums in another order, kernels
with faults of their own. Pass on to pytest what comes after ``--``; then no results are written.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import as_table, write

ROOT = Path(__file__).resolve().parents[2]
SETTINGS = {
    "as it is": {},
    "torch without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2": {
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ONEDNN_MAX_CPU_ISA": "AVX2",
    },
}
HEADER = ["processor", "threads", "passed", "failed", "skipped", "seconds", "end"]


def run_suite(variables: dict[str, str], threads: int, options: list[str]) -> dict:
    """Run the suite in a process of its own; return how many tests came out how."""
    kept = {k: v for k, v in os.environ.items() if not any(k in s for s in SETTINGS.values())}
    environment = {
        **kept,
        **variables,
        "SKHUG_TEST_THREADS": str(threads),
        "OMP_NUM_THREADS": str(threads),
    }
    with tempfile.TemporaryDirectory() as folder:
        xml = Path(folder) / "outcomes.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
        start = time.perf_counter()
        run = subprocess.run(
            [*command, f"--junitxml={xml}", *options],
            cwd=ROOT, env=environment, capture_output=True, text=True,
        )  # fmt: skip
        seconds = round(time.perf_counter() - start)
        if run.returncode:
            print(f"{variables}, {threads} threads:\n{run.stdout}{run.stderr}", file=sys.stderr)
        return {**outcomes(xml), "seconds": seconds, "end": ending(run.returncode)}


def outcomes(xml: Path) -> dict:
    """Return the counts of pytest's report, and the names of what failed; none of an abort."""
    if not xml.exists():
        return {"passed": 0, "failed": 0, "skipped": 0, "names": []}
    counts = dict.fromkeys(("passed", "failed", "skipped"), 0)
    names = []
    for case in ElementTree.parse(xml).iter("testcase"):
        kinds = {element.tag for element in case}
        failed = bool(kinds & {"failure", "error"})
        counts["failed" if failed else "skipped" if "skipped" in kinds else "passed"] += 1
        if failed:
            names.append(f"{case.get('classname')}::{case.get('name')}")
    return {**counts, "names": sorted(set(names))}


def ending(code: int) -> str:
    """Return how a process ended, in a word."""
    return f"signal {-code}" if code < 0 else {0: "passed", 1: "failed"}.get(code, f"code {code}")


def main() -> None:
    """Run what is asked for, print the table, and write it where all of the suite ran."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", choices=SETTINGS, default=list(SETTINGS))
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--processes", type=int, default=1, help="that share the tests of a run")
    parser.add_argument("--name", default="processors", help="of the results; '' for none")
    own, options = sys.argv[1:], []
    if "--" in own:
        cut = own.index("--")
        own, options = own[:cut], own[cut + 1 :]
    wanted = parser.parse_args(own)
    shared = [f"-n{wanted.processes}"] if wanted.processes > 1 else []
    results, rows = {}, []
    for setting in wanted.only:
        for threads in wanted.threads:
            found = run_suite(SETTINGS[setting], threads, [*shared, *options])
            rows.append([setting, str(threads), *(str(found[key]) for key in HEADER[2:])])
            print("| " + " | ".join(rows[-1]) + " |", file=sys.stderr, flush=True)
            variables = SETTINGS[setting]
            results.setdefault(setting, {"variables": variables})[f"{threads} threads"] = found
    table = as_table(HEADER, rows)
    print(table, end="")
    if wanted.name and not options:
        write(wanted.name, results, table)
    sys.exit(any(row[-1] != "passed" for row in rows))


if __name__ == "__main__":
    main()
