"""Question 3: a long tail, where the largest class has a hundred times the smallest's rows.

Class c keeps ``100^(-c / 9)`` of some 900 rows; the test sets are balanced. Head and tail are the
three largest and the three smallest classes. Settings are chosen by balanced accuracy on 2,000
rows of the training set that the tail leaves out, 200 of each class: of the smallest class there
are nine rows to train on and none to spare.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from common import log_loss

from evidence import losses
from evidence.contenders import CROSS_ENTROPY, RATES, ours, peer, values
from evidence.data import Split, Task
from evidence.harness import (
    OURS,
    Contender,
    Final,
    Lab,
    Table,
    as_json,
    best_peer,
    comparison,
    finalists,
    publish,
)
from evidence.models import Budget, probabilities
from skhug import MHE, MLP, ConvNet

IMBALANCE = 100
REPELLING = values("uniformity", *(MHE(repulsion=r) for r in (1.0, 0.5, 2.0)))
# Cross-entropy of adjusted logits in our terms: softness 100 and the factor 2 were settled on in
# trials of another loop.
WITH_PRIOR = values(
    "uniformity",
    *(
        MHE(repulsion=2.0, repulsion_over="all", repulsion_scale=scale, prior="train")
        for scale in (10.0, 5.0, 20.0)
    ),
)
TAIL = "HUG, own class in the sum, prior"


CONTENDERS = {
    "cross-entropy": CROSS_ENTROPY["cross-entropy"],
    "cross-entropy, class weights": peer(losses.ClassWeighted, "cross-entropy"),
    "cross-entropy, logits adjusted": peer(
        losses.LogitAdjusted, "cross-entropy", values("tau", 1.0, 1.5, 0.75)
    ),
    "HUG mhe -2": ours(),
    "HUG mhe -2, softness 10, class weights": ours(class_weight="balanced", softness=10.0),
    "HUG mhe -2, repulsion": ours(REPELLING),
    TAIL: ours(WITH_PRIOR, softness=100.0),
}
ALWAYS = "cross-entropy, logits adjusted"  # what the best of ours is compared with


class Form(NamedTuple):
    """How much is trained."""

    task: Task
    budget: Budget
    rates: str
    trials: int
    seeds: tuple[int, ...]
    a_family: int


FULL = [
    Form(
        Task("mnist", 10_000, ("long tail", IMBALANCE)),
        Budget(MLP(members=1)),
        *("mlp", 5, (0, 1, 2, 3, 4), 2),
    ),
    Form(
        Task("cifar10", 10_000, ("long tail", IMBALANCE)),
        Budget(ConvNet((16, 32, 64, 64)), batch_size=64, epochs=6),
        "convnet", 5, (0, 1, 2, 3, 4), 1,
    ),
]  # fmt: skip
QUICK = [
    FULL[0]._replace(budget=Budget(MLP(members=1), epochs=5), trials=2, seeds=(0, 1), a_family=2)
]


def by_class(model: Any, split: Split) -> dict[str, float]:
    """Balanced accuracy, mean recall of the three largest and the three smallest, log-loss."""
    probability = probabilities(model, split.X_test)
    right = probability.argmax(1) == split.y_test
    recall = np.array([right[split.y_test == c].mean() for c in range(split.n_classes)])
    names = ("balanced accuracy", "head", "tail")
    parts = (recall, recall[:3], recall[-3:])
    return {
        **{name: float(part.mean()) for name, part in zip(names, parts, strict=True)},
        "log-loss": log_loss(probability, split.y_test),
    }


def ask(lab: Lab) -> None:
    """Measure the best of each family on each data set."""
    tables, results = [], {}
    for form in QUICK if lab.quick else FULL:
        tuned = lab.tune(
            CONTENDERS, form.task, form.budget, RATES[form.rates], form.trials, by_class
        )
        chosen = finalists(tuned, CONTENDERS, form.a_family)
        for name in (ALWAYS, "cross-entropy, class weights", "HUG mhe -2"):
            chosen.setdefault(name, tuned[name][1])
        final = lab.final(CONTENDERS, chosen, form.task, form.budget, form.seeds, by_class)
        tables.append(table(form, final, chosen, tuned, CONTENDERS))
        results[form.task.data] = as_json(final, chosen)
        results[form.task.data]["validation"] = {n: s for n, (s, _) in tuned.items()}
        publish(lab, "longtail", tables, results)


def table(
    form: Form, final: Final, chosen: dict, tuned: dict, contenders: dict[str, Contender]
) -> Table:
    """Return the table of a data set, beside cross-entropy of adjusted logits."""
    preferred = max((n for n in tuned if contenders[n].family == OURS), key=lambda n: tuned[n][0])
    text = (
        f"Imbalance 1:{IMBALANCE}, balanced test set, {len(form.seeds)} seeds, mean ± standard "
        f"error. {len(contenders)} contenders were screened with {form.trials} trials each on "
        f"validation rows, the best {form.a_family} of each family run in full; among ours "
        f"validation preferred {preferred}. The best peer on the test rows is "
        f"{best_peer(final, contenders)}."
    )
    return comparison(f"{form.task.data}, long tail", text, final, chosen, ALWAYS)
