"""Question 4: adversarial and corrupted inputs, on 4,000 rows of MNIST.

Attacks change each of 784 pixels by at most 12.75 of 255, on 200 test rows drawn once; a row
counts as right under "worst" only if no attack turns it. One attack alone tells little: a loss
that flattens the gradient withstands it and falls to the next.
Settings are chosen by accuracy on clean validation rows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from evidence import attacks
from evidence.contenders import CROSS_ENTROPY, HUG, NORMALISED, RATES
from evidence.data import Split, Task, drawn
from evidence.harness import Contender, Lab, as_json, best_peer, comparison, publish
from evidence.models import Budget
from skhug import MLP

CONTENDERS = {
    **CROSS_ENTROPY,
    "normalised softmax": NORMALISED["normalised softmax"],
    **{name: HUG[name] for name in ("HUG mhe -1", "HUG mhe -2", "HUG mhe -4")},
}
RADIUS = 12.75
ROWS = 200
RESTARTS = 2
STEPS = 15
QUERIES = 100


class Form(NamedTuple):
    """How much is trained and how hard it is attacked."""

    task: Task
    budget: Budget
    trials: int
    seeds: tuple[int, ...]
    contenders: dict[str, Contender]


FULL = Form(Task("mnist", 4000), Budget(MLP(members=1), epochs=10), 3, (0, 1, 2), CONTENDERS)
_FEW = ("cross-entropy", "HUG mhe -1", "HUG mhe -2")
QUICK = Form(
    Task("mnist", 2000),
    Budget(MLP(members=1), epochs=5),
    1,
    (0, 1),
    {n: CONTENDERS[n] for n in _FEW},
)


def withstands(model: Any, split: Split) -> dict[str, float]:
    """Accuracy on attacked rows, attack by attack, and on corrupted ones."""
    X, y = torch.from_numpy(split.X_test), torch.from_numpy(split.y_test)
    side = round(X.shape[1] ** 0.5)

    def scores(X: Tensor) -> Tensor:
        return model.scores(model.outputs(X))

    def right(X: Tensor, y: Tensor) -> Tensor:
        return torch.from_numpy(model.predict(X.numpy())) == y

    few, labels = map(torch.from_numpy, drawn(split, ROWS))
    stands = {name: right(a, labels) for name, a in attacked(scores, few, labels, side).items()}
    generator = torch.Generator().manual_seed(0)
    corrupted = {
        name: right(corrupt(X, side, generator), y) for name, corrupt in attacks.CORRUPTIONS.items()
    }
    return {
        "clean": float(right(X, y).float().mean()),
        **{attack: float(rows.float().mean()) for attack, rows in by_attack(stands).items()},
        "worst": float(torch.stack(list(stands.values())).all(0).float().mean()),
        **{name: float(rows.float().mean()) for name, rows in corrupted.items()},
    }


def attacked(scores: Any, X: Tensor, y: Tensor, side: int) -> dict[str, Tensor]:
    """Return the rows after each attack, each restart apart."""
    generator = torch.Generator().manual_seed(0)
    rows = {"FGSM": attacks.fgsm(scores, X, y, RADIUS, attacks.cross_entropy)}
    for objective, name in ((attacks.cross_entropy, "loss"), (attacks.margin, "margin")):
        for i in range(RESTARTS):
            rows[f"PGD, {name}/{i}"] = attacks.pgd(
                scores, X, y, RADIUS, objective, STEPS, generator
            )
    rows["squares"] = attacks.random_squares(scores, X, y, RADIUS, QUERIES, side, generator)
    return rows


def by_attack(stands: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join an attack's restarts: a row stands if it stands all of them."""
    joined: dict[str, Tensor] = {}
    for name, rows in stands.items():
        attack = name.split("/")[0]
        joined[attack] = joined.get(attack, rows) & rows
    return joined


def ask(lab: Lab) -> None:
    """Choose settings on clean rows, then attack."""
    form = QUICK if lab.quick else FULL
    tuned = lab.tune(form.contenders, form.task, form.budget, RATES["mlp"], form.trials)
    chosen = {name: setting for name, (_, setting) in tuned.items()}
    final = lab.final(form.contenders, chosen, form.task, form.budget, form.seeds, withstands)
    worst = {n: {"worst": m["worst"], **m} for n, m in final.items()}  # the first is what counts
    text = (
        f"MNIST, {form.task.rows:,} training rows, {len(form.seeds)} seeds, mean ± standard "
        f"error; nobody trained on attacked rows. Attacks: {ROWS} test rows, radius {RADIUS} of "
        f"255, PGD with {STEPS} steps and {RESTARTS} restarts, random squares with {QUERIES} "
        f"queries. In the order of what withstands all of them. The best peer there is "
        f"{best_peer(worst, form.contenders)}."
    )
    table = comparison("Attacked and corrupted inputs", text, worst, chosen, "cross-entropy")
    results = as_json(final, chosen)
    results["masked"] = {n: _masked(m) for n, m in final.items()}
    publish(lab, "robustness", [table], results)


def _masked(measured: dict[str, np.ndarray]) -> float:
    """How much of what FGSM leaves standing the worst case takes."""
    return float((measured["FGSM"] - measured["worst"]).mean())
