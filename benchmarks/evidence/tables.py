"""Contenders on many tabular sets: settings chosen anew on each draw of each, then ranked."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy import stats

from evidence.contenders import RATES
from evidence.data import Task
from evidence.harness import Contender, Lab, Table
from evidence.models import Budget


class TabularForm(NamedTuple):
    """Data sets, what is done to their training labels, draws of their test rows, and trials."""

    names: tuple[str, ...]
    budget: Budget
    contenders: dict[str, Contender]
    trials: int
    folds: tuple[int, ...]
    change: tuple[str, float] | None = None


def accuracies(lab: Lab, form: TabularForm) -> np.ndarray:
    """Return the accuracy of every contender on every set, the mean over the draws."""
    return np.array([_on_one_set(lab, form, name) for name in form.names])


def _on_one_set(lab: Lab, form: TabularForm, name: str) -> list[float]:
    found = []
    for fold in form.folds:
        task = Task(name, change=form.change, fold=fold)
        tuned = lab.tune(form.contenders, task, form.budget, RATES["tables"], form.trials)
        chosen = {n: setting for n, (_, setting) in tuned.items()}
        final = lab.final(form.contenders, chosen, task, form.budget, (fold,))
        found.append([final[n]["accuracy"][0] for n in form.contenders])
    return np.mean(found, axis=0).tolist()


def mean_ranks(scores: np.ndarray) -> np.ndarray:
    """Return every contender's mean rank over the sets; 1 is best."""
    return stats.rankdata(-scores, axis=1).mean(0)


def ranking(title: str, form: TabularForm, scores: np.ndarray, reference: str) -> Table:
    """Return the contenders by mean rank, each beside one of them."""
    names, ranks = list(form.contenders), mean_ranks(scores)
    beside = scores[:, names.index(reference)]
    rows = []
    for i in np.argsort(ranks):
        p = stats.wilcoxon(scores[:, i], beside, zero_method="zsplit").pvalue
        cells = (
            ["", ""]
            if names[i] == reference
            else [f"{np.mean(scores[:, i] - beside):+.4f}", f"{p:.2g}"]
        )
        rows.append([names[i], f"{ranks[i]:.2f}", f"{scores[:, i].mean():.4f}", *cells])
    text = (
        f"{len(form.names)} sets, {len(form.folds)} draws of a third as test rows, "
        f"{form.trials} trials on validation rows for each contender and draw. Mean rank "
        f"(1 is best), mean accuracy, mean difference to {reference} and the p of Wilcoxon's "
        "signed-rank test over the sets."
    )
    return Table(
        title, text, ["contender", "mean rank", "mean accuracy", f"beside {reference}", "p"], rows
    )


def by_set(title: str, form: TabularForm, scores: np.ndarray) -> Table:
    """Return the accuracies set by set."""
    rows = [
        [data, *(f"{value:.4f}" for value in row)]
        for data, row in zip(form.names, scores, strict=True)
    ]
    return Table(title, "Accuracy.", ["data", *form.contenders], rows)


def as_json(form: TabularForm, scores: np.ndarray) -> dict[str, Any]:
    """Return mean ranks, and accuracies set by set."""
    names = list(form.contenders)
    return {
        "ranks": dict(zip(names, mean_ranks(scores).tolist(), strict=True)),
        "accuracy": {
            data: dict(zip(names, row.tolist(), strict=True))
            for data, row in zip(form.names, scores, strict=True)
        },
    }
