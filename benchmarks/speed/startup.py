"""Start-up: what an import and the first fit of a process cost.

Every figure is of fresh processes, the candidates in turn; medians, and for a ratio the mean of
the paired ratios with its 95 % interval. Rounds import at different depths of the call stack. Runs
in about three minutes:

    python benchmarks/speed/startup.py
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import arguments, interval, report, verdict

ROUNDS = 20
# Calls around an import, more by so many every round. Python keeps frames in chunks of 16 KB, and
# maps and unmaps memory at every call across the end of one. That is up to a tenth of an import,
# and depends on nothing but the depth; all rounds together go through a chunk.
DEPTH = 9
# As pip installs a package: compiled once, not at every import.
ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}

# Statements, timed inside a fresh process, and what comes before them.
OURS, THEIRS = "from skhug import HUGClassifier", "import torch, sklearn.base"
STATEMENTS = {
    "import skhug": ("import skhug", ""),
    THEIRS: (THEIRS, ""),
    OURS: (OURS, ""),
    f"{OURS}, after torch and sklearn.base": (OURS, THEIRS),
}
FIRST_FITS = {
    "first fit, HUGClassifier": (
        "from skhug import HUGClassifier\nmodel = HUGClassifier(max_epochs=1)"
    ),
    "first fit, scikit-learn's MLPClassifier": (
        "from sklearn.neural_network import MLPClassifier\nmodel = MLPClassifier(max_iter=1)"
    ),
    "first fit, skorch": (
        "from skorch import NeuralNetClassifier\n"
        "model = NeuralNetClassifier(torch.nn.Linear, module__in_features=8,"
        " module__out_features=4, criterion=torch.nn.CrossEntropyLoss,"
        " optimizer=torch.optim.Adam, max_epochs=1, train_split=None, verbose=0)"
    ),
}
ROWS = "X = np.random.rand(64, 8).astype('float32'); y = np.arange(64) % 4"


TIMED = """
import time
{before}
def measure(depth):
    if depth:
        return measure(depth - 1)
    start = time.perf_counter()
    exec({statement!r}, globals())
    return time.perf_counter() - start
print(measure({depth}))
"""


def timed(statement: str, before: str = "", depth: int = 0) -> float:
    """Seconds that a statement takes in a fresh process, inside so many calls."""
    code = TIMED.format(statement=statement, before=before, depth=depth)
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        env=ENVIRONMENT,
        check=True,
        capture_output=True,
        text=True,
    )
    return float(run.stdout.split()[-1])


def main() -> None:
    """Time imports and first fits in turn."""
    arguments(__doc__)
    seconds = {name: [] for name in (*STATEMENTS, *FIRST_FITS)}
    for round_ in range(ROUNDS + 1):
        for name, (statement, before) in STATEMENTS.items():
            seconds[name].append(timed(statement, before, DEPTH * round_))
        if round_ < 4:  # the first warms the disk's cache
            for name, code in FIRST_FITS.items():
                before = f"import numpy as np, torch\ntorch.set_num_threads(1)\n{ROWS}\n{code}"
                seconds[name].append(timed("model.fit(X, y)", before))
    seconds = {name: np.array(values[1:]) for name, values in seconds.items()}
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    ratio = interval(seconds[OURS], seconds[THEIRS])
    bars = {
        "import skhug, seconds": verdict([medians["import skhug"]] * 3, 0.05),
        "import of HUGClassifier / torch and sklearn.base": verdict(ratio, 1.05),
    }
    rows = [[name, f"{1e3 * value:.1f} ms"] for name, value in medians.items()]
    rows += [[f"{name}: value (95 %), bar", text] for name, text in bars.items()]
    report("startup", ["", "median"], rows, {"seconds": medians, "ratio": ratio, "bars": bars})


if __name__ == "__main__":
    main()
