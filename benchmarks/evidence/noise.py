"""Question 2: wrong labels, symmetric and asymmetric, on 10,000 rows of MNIST.

Symmetric noise redraws a share of the labels from all ten classes (so that a tenth of these stay
right); asymmetric noise turns a share of each class into the next. Settings are chosen at 40 % of
symmetric noise, by accuracy on validation rows whose labels are as wrong as the others, and kept
for the rest.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from evidence import losses
from evidence.contenders import CROSS_ENTROPY, HUG, NORMALISED, RATES, ROBUST, hug, values
from evidence.data import Task
from evidence.harness import (
    Contender,
    Final,
    Lab,
    Setting,
    Table,
    as_json,
    by_condition,
    finalists,
    publish,
)
from evidence.models import Budget, train_peer
from skhug import MHE, MLP

TUNED_AT = ("symmetric", 0.4)
CHANGES = [TUNED_AT, ("symmetric", 0.0), ("symmetric", 0.2), ("symmetric", 0.6)]
CHANGES += [("asymmetric", 0.2), ("asymmetric", 0.4)]
CONTENDERS = {
    "cross-entropy": CROSS_ENTROPY["cross-entropy"],
    "cross-entropy, early stopping": Contender(
        partial(train_peer, losses.Softmax, early_stopping=True), "cross-entropy"
    ),
    "normalised softmax": NORMALISED["normalised softmax"],
    **ROBUST,
    "HUG mhe -1": HUG["HUG mhe -1"],
    "HUG mhe -2": HUG["HUG mhe -2"],
    "HUG mhe, exponent chosen": hug(
        values("uniformity", *(MHE(s_within=s) for s in (-1.0, -0.5, -1.5)))
    ),
}


class Form(NamedTuple):
    """How much is trained."""

    rows: int
    budget: Budget
    seeds: tuple[int, ...]
    trials: int
    contenders: dict[str, Contender]


FULL = Form(10_000, Budget(MLP(), epochs=10), (0, 1, 2), 4, CONTENDERS)
_FEW = ("cross-entropy", "generalised cross-entropy", "HUG mhe -1", "HUG mhe -2")
QUICK = Form(3000, Budget(MLP(), epochs=8), (0, 1), 2, {name: CONTENDERS[name] for name in _FEW})


def ask(lab: Lab) -> None:
    """Measure all where they are tuned, and the best two of each family elsewhere."""
    form = QUICK if lab.quick else FULL
    task = Task("mnist", form.rows, TUNED_AT)
    tuned = lab.tune(form.contenders, task, form.budget, RATES["mlp"], form.trials)
    chosen = {name: setting for name, (_, setting) in tuned.items()}
    best = finalists(tuned, form.contenders, a_family=2)
    columns = {}
    for change in CHANGES:
        settings = chosen if change == TUNED_AT else best
        changed = task._replace(change=change)
        kind, share = change
        columns[f"{share:.0%} {kind}"] = lab.final(
            form.contenders, settings, changed, form.budget, form.seeds
        )
    results = {column: as_json(f, chosen) for column, f in columns.items()}
    publish(lab, "noise", [table(form, chosen, columns)], results)


def table(form: Form, chosen: dict[str, Setting], columns: dict[str, Final]) -> Table:
    """Return the table of accuracies."""
    kind, share = TUNED_AT
    return by_condition(
        "MNIST with wrong labels: accuracy on the clean test set",
        f"{form.rows:,} training rows, {form.budget.epochs} epochs, {len(form.seeds)} seeds, "
        f"mean ± standard error. Settings chosen among {form.trials} at {share:.0%} {kind} noise, "
        "on wrongly labelled validation rows; the best two of each family there are measured at "
        "the other shares.",
        columns,
        chosen,
        f"{share:.0%} {kind}",
        form.contenders,
    )
