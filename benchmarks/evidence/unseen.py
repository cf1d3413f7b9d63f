"""Which settings make better embeddings of classes never seen? Ours, changed one by one.

Omniglot as in ``retrieval.py``: network, batches, epochs and held-out alphabets are the same, and
what won there is the start here. A trial changes one thing, or joins changes, and is searched on
two of the five training alphabets, held out; the best by MAP@R there, and the start, then search
the test alphabets with five seeds:

    pip install pytorch-metric-learning
    python benchmarks/evidence --data DIR --only unseen
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import mean_and_error, show
from joblib import Parallel, delayed
from scipy import stats

from evidence.harness import Lab, Table, publish
from evidence.retrieval import (
    BATCH,
    COMPONENTS,
    EPOCHS,
    HELD_OUT,
    PROXY_RATE,
    TEST,
    TRAIN,
    load,
)
from skhug import MHE, BalancedBatches, ConvNet, HUGEmbedder, Learned
from skhug.metrics import mean_average_precision_at_r, recall_at_k

START = "the settings of retrieval.py"
SEEDS = range(5)
MEASURES = ("Recall@1", "MAP@R")
# Changed from the start: parameters of the estimator, with nested names.
TRIALS: dict[str, dict[str, Any]] = {
    START: {},
    "softness 1": {"encoder__softness": 1.0},
    "softness 10": {"encoder__softness": 10.0},
    "s_within -1": {"uniformity__s_within": -1.0},
    "two rows of each of 64 classes a batch": {"batch_sampler": BalancedBatches(64, 2)},
    "s_within -1, softness 1": {"uniformity__s_within": -1.0, "encoder__softness": 1.0},
    "s_within -1, softness 1, two rows a class": {
        "uniformity__s_within": -1.0,
        "encoder__softness": 1.0,
        "batch_sampler": BalancedBatches(64, 2),
    },
}


def start(seed: int) -> HUGEmbedder:
    """Return the embedder that ``retrieval.py`` settled on."""
    return HUGEmbedder(
        ConvNet((32, 64, 128, 128), n_pools=2, readout="average"),
        n_components=COMPONENTS,
        uniformity=MHE(repulsion=1.0),
        alpha=0.2,
        proxies=Learned(attached=True, learning_rate=PROXY_RATE),
        learning_rate=2e-3,
        weight_decay=0.1,
        batch_size=BATCH,
        max_epochs=EPOCHS,
        random_state=seed,
    )


def trial(
    folder: Path, change: dict[str, Any], train: tuple[str, ...], search: tuple[str, ...], seed: int
) -> list[float]:
    """Train on some alphabets and search others; Recall@1 and MAP@R."""
    torch.set_num_threads(1)
    model = start(seed).set_params(**change).fit(*load(folder, train))
    X, y = load(folder, search)
    z = model.transform(X)
    return [float(recall_at_k(z, y)), float(mean_average_precision_at_r(z, y))]


def ask(lab: Lab) -> None:
    """Choose on the held-out alphabets, and search those of the test."""
    if lab.folder is None or not (lab.folder / "omniglot.npz").exists():
        raise SystemExit("unseen: pass --data DIR, with omniglot.npz.")
    run = lab.cache(trial, ignore=["folder"])

    def run_all(jobs: list[tuple]) -> list[list[float]]:
        return Parallel(n_jobs=lab.jobs, batch_size=1)(
            delayed(run)(lab.folder, *job) for job in jobs
        )

    tuned_on = tuple(name for name in TRAIN if name not in HELD_OUT)
    found = run_all([(change, tuned_on, HELD_OUT, 0) for change in TRIALS.values()])
    chosen = dict(zip(TRIALS, found, strict=True))
    best = max(chosen, key=lambda name: chosen[name][1])
    names, seeds = dict.fromkeys((START, best)), SEEDS[:2] if lab.quick else SEEDS
    final = run_all([(TRIALS[name], TRAIN, TEST, seed) for name in names for seed in seeds])
    measured = dict(zip(names, np.array(final).reshape(len(names), len(seeds), 2), strict=True))
    results = {
        "held out": {name: dict(zip(MEASURES, v, strict=True)) for name, v in chosen.items()},
        "test": {
            name: dict(zip(MEASURES, v.T.tolist(), strict=True)) for name, v in measured.items()
        },
    }
    publish(lab, "unseen", [_trials(chosen), _test(measured)], results)


def _trials(chosen: dict[str, list[float]]) -> Table:
    rows = [[name, *(f"{value:.4f}" for value in values)] for name, values in chosen.items()]
    text = "Trained on three alphabets and searched on two others, 46 characters; one seed each."
    return Table("Unseen classes: trials", text, ["changed", *MEASURES], rows)


def _test(measured: dict[str, np.ndarray]) -> Table:
    rows = []
    for name, values in measured.items():
        cells = [show(mean_and_error(column)) for column in values.T]
        better = values - measured[START]
        for i, column in enumerate(better.T if np.ptp(better) else ()):
            p = stats.ttest_1samp(column, 0).pvalue
            cells[i] += f" ({show(mean_and_error(column))}, p {p:.2g})"
        rows.append([name, *cells])
    text = (
        "The best trial beside the start on the 88 characters of the test alphabets: mean and "
        f"standard error over {len(values)} seeds, and the paired difference."
    )
    return Table("Unseen classes: test", text, ["settings", *MEASURES], rows)
