"""Question 2: wrong labels, symmetric and asymmetric, on 10,000 rows of MNIST.

Symmetric noise redraws a share of the labels from all ten classes (so that a tenth of these stay
right); asymmetric noise turns a share of each class into the next. Settings are chosen at 40 % of
either kind, by accuracy on validation rows whose labels are as wrong as the others.
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

TUNED_AT = 0.4
SHARES = {"symmetric": (0.0, 0.2, 0.6), "asymmetric": (0.2,)}  # and the one above
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


FULL = Form(10_000, Budget(MLP(), epochs=20), (0, 1, 2), 4, CONTENDERS)
_FEW = ("cross-entropy", "generalised cross-entropy", "HUG mhe -1", "HUG mhe -2")
QUICK = Form(3000, Budget(MLP(), epochs=8), (0, 1), 2, {name: CONTENDERS[name] for name in _FEW})


def ask(lab: Lab) -> None:
    """Measure all at the share that they are tuned at, and the best two a family at the others."""
    form = QUICK if lab.quick else FULL
    tables, results = [], {}
    for kind, shares in SHARES.items():
        chosen, columns = measure(lab, form, kind, shares)
        tables.append(table(form, kind, chosen, columns))
        results[kind] = {column: as_json(f, chosen) for column, f in columns.items()}
    publish(lab, "noise", tables, results)


def measure(
    lab: Lab, form: Form, kind: str, shares: tuple[float, ...]
) -> tuple[dict[str, Setting], dict[str, Final]]:
    """Return the settings chosen, and what every share of wrong labels gave."""
    task = Task("mnist", form.rows, (kind, TUNED_AT))
    tuned = lab.tune(form.contenders, task, form.budget, RATES["mlp"], form.trials)
    chosen = {name: setting for name, (_, setting) in tuned.items()}
    best = finalists(tuned, form.contenders, a_family=2)
    columns = {}
    for share in sorted({TUNED_AT, *shares}):
        changed = task._replace(change=(kind, share))
        settings = chosen if share == TUNED_AT else best
        columns[f"{share:.0%}"] = lab.final(
            form.contenders, settings, changed, form.budget, form.seeds
        )
    return chosen, columns


def table(form: Form, kind: str, chosen: dict[str, Setting], columns: dict[str, Final]) -> Table:
    """Return the table of one kind of noise."""
    return by_condition(
        f"MNIST, {kind} label noise: accuracy on the clean test set",
        f"{form.rows:,} training rows, {len(form.seeds)} seeds, mean ± standard error; settings "
        f"chosen among {form.trials} at {TUNED_AT:.0%}, on wrongly labelled validation rows.",
        columns,
        chosen,
        f"{TUNED_AT:.0%}",
        form.contenders,
    )
