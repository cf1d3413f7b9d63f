"""Training processes killed by the system: nothing is lost and nothing is different."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "faults" / "kills.py"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
@pytest.mark.parametrize("case", ["kernel", "module, early stopping"])
def test_fits_killed_at_twenty_random_moments_end_as_those_that_were_not(case):
    run = subprocess.run(
        [sys.executable, str(SCRIPT), "--kills", "20", "--case", case],
        capture_output=True,
        text=True,
        check=True,
    )
    counts = json.loads(run.stdout)[case]
    assert counts["kills"] == 20
    assert counts["kills_inside_a_write"] > 0
    assert counts["identical"] == counts["fits"] > 0
