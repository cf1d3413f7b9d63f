"""What HUGClassifier should do by default, by validation rows.

One thing at a time is changed. The tabular sets are those of the question of generalisation, with
its first draw, two seeds and no look at that draw's test rows; other draws' test rows are among
the rows here. MNIST has 10,000 rows and two seeds, with right labels and with 40 % of them redrawn
(``s_within=-1``), where the validation rows are as wrong as the training rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from scipy import stats
from torch import nn

from evidence.data import TABULAR, Task
from evidence.harness import Lab, Setting, Table, Trial, publish
from evidence.models import Budget, train_hug
from skhug import MHE, MLP


class AsTorchStarts(MLP):
    """The MLP with torch's own initial weights, of a sixth of He's variance."""

    def build(self, input_shape: tuple[int, ...], n_components: int) -> nn.Module:
        """Return the perceptron."""
        network = super().build(input_shape, n_components)
        for layer in network:
            if isinstance(layer, nn.Linear):
                layer.reset_parameters()
        return network


# What is changed, by name.
CHOICES: dict[str, tuple[Callable[[], MLP], Setting]] = {
    "the defaults": (MLP, {}),
    "learning_rate 1e-3": (MLP, {"learning_rate": 1e-3}),
    "learning_rate 1e-2": (MLP, {"learning_rate": 1e-2}),
    "weight_decay 2": (MLP, {"weight_decay": 2.0}),
    "weight_decay 0.5": (MLP, {"weight_decay": 0.5}),
    "weight_decay 0.1": (MLP, {"weight_decay": 0.1}),
    "softness 0": (partial(MLP, softness=0.0), {}),
    "softness 10": (partial(MLP, softness=10.0), {}),
    "softness 100": (partial(MLP, softness=100.0), {}),
    "softness 1000": (partial(MLP, softness=1000.0), {}),
    "torch's initial weights": (AsTorchStarts, {}),
    "s_within -1": (MLP, {"uniformity": MHE(s_within=-1.0)}),
    "s_within -4": (MLP, {"uniformity": MHE(s_within=-4.0)}),
}
ON_DIGITS: dict[str, tuple[Any, Setting]] = {
    "MNIST": (None, {}),
    "MNIST, 40 % wrong": (("symmetric", 0.4), {"uniformity": MHE(s_within=-1.0)}),
}
SEEDS = (0, 1)


def ask(lab: Lab) -> None:
    """Score every choice on every set; a quick run takes the bundled sets alone."""
    names = list(TABULAR)[:4] if lab.quick else list(TABULAR)
    scores = np.array([[tabular(lab, name, choice) for name in names] for choice in CHOICES])
    columns = {
        "mean of the tabular sets": scores.mean(1),
        "mean rank over them": stats.rankdata(-scores, axis=0).mean(1),
        "the bundled ones": scores[:, :4].mean(1),
    }
    for name in () if lab.quick else ON_DIGITS:
        columns[name] = np.array([on_digits(lab, name, choice) for choice in CHOICES])
    text = (
        "Accuracy on validation rows, mean over two seeds. Every line changes one thing; "
        "some change nothing on some sets, since defaults depend on the number of features."
    )
    rows = [
        [choice, *(f"{c[i]:.2f}" if "rank" in n else f"{c[i]:.4f}" for n, c in columns.items())]
        for i, choice in enumerate(CHOICES)
    ]
    results = {
        choice: {
            **{name: float(column[i]) for name, column in columns.items()},
            **dict(zip(names, scores[i].tolist(), strict=True)),
        }
        for i, choice in enumerate(CHOICES)
    }
    table = Table("What HUGClassifier does by default", text, ["changed", *columns], rows)
    publish(lab, "choices", [table], results)


def tabular(lab: Lab, name: str, choice: str) -> float:
    """Return the mean accuracy over the seeds on a tabular set."""
    tasks = [(Task(name), seed) for seed in SEEDS]
    return mean_score(lab, tasks, "auto", {}, choice)


def on_digits(lab: Lab, name: str, choice: str) -> float:
    """Return the mean accuracy over the seeds on MNIST."""
    change, setting = ON_DIGITS[name]
    tasks = [(Task("mnist", 10_000, change), seed) for seed in SEEDS]
    return mean_score(lab, tasks, 20, setting, choice)


def mean_score(
    lab: Lab, tasks: list[tuple[Task, int]], epochs: int | str, setting: Setting, choice: str
) -> float:
    """Return the mean validation accuracy of a single default network with a choice."""
    encoder, changed = CHOICES[choice]
    network, train = encoder().set_params(members=1), partial(train_hug, n_components=None)
    trials = [
        Trial(train, {**setting, **changed}, task, Budget(network, epochs=epochs), seed,
              lab.validation)
        for task, seed in tasks
    ]  # fmt: skip
    return float(np.mean([found["accuracy"] for found in lab.run(trials)]))
