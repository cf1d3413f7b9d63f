"""Question: digits that nearly separate, with a row's own class in the repulsion or out of it.

Beside the losses that were ahead on MNIST, those that weigh a row's cosine to its class against
others. Everyone has one setting of its own and the rates to choose, in the same number of trials.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from common import log_loss

from evidence.contenders import CROSS_ENTROPY, NORMALISED, RATES, ours, values
from evidence.data import Split, Task
from evidence.harness import Contender, Lab, Setting, as_json, comparison, publish
from evidence.models import Budget, probabilities
from skhug import MHE, MLP, Learned


def measures(name: str, *several: Any, **fixed: Any) -> tuple[Setting, ...]:
    """Settings of one parameter of the measure."""
    return values("uniformity", *(MHE(**{name: value}, **fixed) for value in several))


REFERENCE = "NTCE"
OVER_ALL = measures("repulsion_scale", 5.0, 10.0, 2.5, repulsion=2.0, repulsion_over="all")
CONTENDERS = {
    **CROSS_ENTROPY,
    **{name: NORMALISED[name] for name in ("normalised softmax", "ArcFace", "NTCE")},
    "HUG mhe": ours(measures("s_within", -2.0, -4.0, -1.0)),
    "HUG mhe -2, repulsion": ours(measures("repulsion", 1.0, 2.0, 0.5)),
    "HUG mhe -2, own class in the sum": ours(OVER_ALL),
    "HUG mhe -2, own class in the sum, learned": ours(OVER_ALL, proxies=Learned()),
    "HUG mhe -2, own class in the sum, following": ours(OVER_ALL, proxies=Learned(momentum=0.9)),
}


class Form(NamedTuple):
    """How much is trained."""

    task: Task
    budget: Budget
    trials: int
    seeds: tuple[int, ...]


FULL = Form(Task("mnist", 10_000), Budget(MLP(members=1), epochs=10), 5, (0, 1, 2, 3, 4))
QUICK = Form(Task("mnist", 3000), Budget(MLP(members=1), epochs=3), 2, (0, 1))


def scored(model: Any, split: Split) -> dict[str, float]:
    """Accuracy and log-loss."""
    probability = probabilities(model, split.X_test)
    right = probability.argmax(1) == split.y_test
    return {"accuracy": float(np.mean(right)), "log-loss": log_loss(probability, split.y_test)}


def answer(
    lab: Lab,
    name: str,
    form: Form,
    contenders: dict[str, Contender],
    rates: list[Setting],
    reference: str,
    note: str = "",
) -> None:
    """Tune everyone on validation rows, score the chosen settings once, and publish a table."""
    tuned = lab.tune(contenders, form.task, form.budget, rates, form.trials, scored)
    chosen = {contender: setting for contender, (_, setting) in tuned.items()}
    final = lab.final(contenders, chosen, form.task, form.budget, form.seeds, scored)
    text = (
        f"{form.task.rows:,} training rows, the official test set, {form.budget.epochs} epochs, "
        f"{len(form.seeds)} seeds, mean ± standard error; settings chosen among {form.trials} on "
        f"validation rows.{note}"
    )
    title = f"{name.replace('_', ' ').capitalize()}: {form.task.data}"
    table = comparison(title, text, final, chosen, reference)
    results = as_json(final, chosen)
    results["validation"] = {contender: score for contender, (score, _) in tuned.items()}
    publish(lab, name, [table], results)


def ask(lab: Lab) -> None:
    """Ask it of MNIST."""
    note = (
        " Probabilities of the normalised losses are the softmax of cosines over their "
        "temperature, ours as fitted."
    )
    form = QUICK if lab.quick else FULL
    answer(lab, "own_class", form, CONTENDERS, RATES["mlp"], REFERENCE, note)
