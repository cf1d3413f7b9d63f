"""A short soak: the long one is ``benchmarks/faults/soak.py``."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).parents[2] / "benchmarks" / "faults" / "soak.py"


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
@pytest.mark.parametrize(("job", "calls"), [("fits", 80), ("transforms", 5_000)])
def test_memory_threads_and_files_are_as_before(job, calls):
    run = subprocess.run(
        [sys.executable, str(SOAK), job, "--calls", str(calls), "--name", ""],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(rf"{calls:,} {job}: .*flat, nothing left", run.stdout)
