"""Which weight decay HUGClassifier should have by default: validation rows alone, no test rows.

Everything else is the default. The tabular sets are those of the question of generalisation, with
two draws; MNIST has 10,000 rows and two seeds, with right labels and with 40 % of them redrawn
(``s_within=-1``), where the validation rows are as wrong as the training rows.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from scipy import stats

from evidence.data import TABULAR, Task
from evidence.harness import Lab, Table, Trial, publish
from evidence.models import Budget, train_hug
from skhug import MHE, MLP

DECAYS = (2.0, 1.0, 0.5, 0.2, 0.05, 0.01)
ON_DIGITS: dict[str, tuple[Any, dict]] = {
    "MNIST": (None, {}),
    "MNIST, 40% wrong": (("symmetric", 0.4), {"uniformity": MHE(s_within=-1.0)}),
}
DRAWS = (0, 1)


def ask(lab: Lab) -> None:
    """Score every decay on every set; a quick run takes the bundled sets alone."""
    names = list(TABULAR)[:4] if lab.quick else list(TABULAR)
    scores = np.array([[tabular(lab, name, decay) for decay in DECAYS] for name in names])
    digits = {} if lab.quick else {n: [on_digits(lab, n, d) for d in DECAYS] for n in ON_DIGITS}
    ranks = stats.rankdata(-scores, axis=1).mean(0)
    lines = {**dict(zip(names, scores, strict=True)), "mean of the tabular sets": scores.mean(0)}
    rows = [[name, *(f"{v:.4f}" for v in line)] for name, line in {**lines, **digits}.items()]
    rows.insert(len(names) + 1, ["mean rank over them", *(f"{rank:.2f}" for rank in ranks)])
    text = "Accuracy on validation rows, mean over two draws or seeds; all else by default."
    header = ["data", *(f"{decay:g}" for decay in DECAYS)]
    results = {
        name: dict(zip(header[1:], map(float, line), strict=True))
        for name, line in {**lines, "mean rank": ranks, **digits}.items()
    }
    publish(lab, "decay", [Table("HUGClassifier's weight decay", text, header, rows)], results)


def tabular(lab: Lab, name: str, decay: float) -> float:
    """Return the mean accuracy over the draws of a tabular set."""
    tasks = [(Task(name, fold=fold), 0) for fold in DRAWS]
    return mean_score(lab, tasks, Budget(MLP()), {}, decay)


def on_digits(lab: Lab, name: str, decay: float) -> float:
    """Return the mean accuracy over the seeds on MNIST."""
    change, setting = ON_DIGITS[name]
    tasks = [(Task("mnist", 10_000, change), seed) for seed in DRAWS]
    return mean_score(lab, tasks, Budget(MLP(), epochs=20), setting, decay)


def mean_score(
    lab: Lab, tasks: list[tuple[Task, int]], budget: Budget, setting: dict, decay: float
) -> float:
    """Return the mean validation accuracy of the default model with a weight decay."""
    train = partial(train_hug, n_components=None)
    rates = {"learning_rate": 1e-3, "weight_decay": decay}
    trials = [
        Trial(train, {**rates, **setting}, task, budget, seed, lab.validation)
        for task, seed in tasks
    ]
    return float(np.mean([found["accuracy"] for found in lab.run(trials)]))
