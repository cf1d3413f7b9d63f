"""Question 5: few dimensions, C > d + 1: ten classes in 9 down to 2, and fifty in 49 down to 3.

In C - 1 dimensions the simplex fits; below, the class vectors must crowd, and it matters which
class gets which: ours are matched to the classes by how alike their rows are, and a contender
whose proxies are not shows what that gives. Settings are chosen for
every dimension apart, by accuracy on validation rows; retrieval is the mean average precision at
R of the test embeddings searched among themselves.

Where classes crowd, C > 4d and C > 2^(d / 2), the defaults are others than elsewhere; "HUG as
elsewhere" has those of more dimensions there too. They were chosen on the blobs, the docstrings,
other characters of Omniglot and tables; MNIST in three dimensions moved the threshold from 3d to
4d.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from common import mean_and_error, show

from evidence.contenders import HUG, NORMALISED, RATES, hug
from evidence.data import Split, Task, drawn
from evidence.harness import OURS, Contender, Final, Lab, Table, as_json, beside, publish
from evidence.harness import accuracy as _accuracy
from evidence.models import Budget, Model, train_hug
from skhug import MHE, MLP
from skhug.metrics import mean_average_precision_at_r
from skhug.proxies import optimal_proxies


def train_unmatched(
    budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, **params: Any
) -> Model:
    """Train ours with the same arrangement of proxies, in the order in which it was found."""
    points = optimal_proxies(n_classes, budget.n_components, random_state=seed).numpy()
    return train_hug(budget, X, y, seed, n_classes, proxies=points, **params)


def train_as_elsewhere(
    budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, **params: Any
) -> Model:
    """Train ours with the softness and the exponent that it has in more dimensions."""
    softness = budget.encoder.softness_for(X.shape[1:])
    return train_hug(budget, X, y, seed, n_classes, softness=softness, uniformity=MHE(), **params)


PEER, DEFAULTS = "normalised softmax", "HUG"
FEW_CONTENDERS = {
    PEER: NORMALISED[PEER],
    DEFAULTS: hug(),
    "HUG as elsewhere": Contender(train_as_elsewhere, OURS),
}
CONTENDERS = {
    **FEW_CONTENDERS,
    "HUG, not matched": Contender(train_unmatched, OURS),
    "HUG, learned, attached": HUG["HUG mhe -2, learned, attached"],
}
SEARCHED = 2000  # test rows
CLASSES = {"50 blobs": 50, "50 characters": 50, "letter": 26, "docstrings": 17}  # else 10


class Form(NamedTuple):
    """How much is trained, in which dimensions."""

    task: Task
    budget: Budget
    rates: str
    dimensions: tuple[int, ...]
    trials: int
    seeds: tuple[int, ...]
    contenders: dict[str, Contender]


FULL = [
    Form(
        Task("digits"),
        Budget(MLP(members=1), epochs=20),
        "tables",
        (9, 4, 2),
        2,
        (0, 1, 2),
        CONTENDERS,
    ),
    Form(
        Task("mnist", 2000),
        Budget(MLP(members=1), epochs=10),
        "mlp",
        (9, 4, 2),
        2,
        (0, 1, 2),
        CONTENDERS,
    ),
    Form(Task("50 blobs"), Budget(MLP(members=1)), "tables", (49, 6, 3), 2, (0, 1, 2), CONTENDERS),
]
# Real data of more than ten classes: where the folder has them.
REAL = [
    Form(Task(name), Budget(MLP(members=1)), rates, dimensions, 2, (0, 1, 2), FEW_CONTENDERS)
    for name, rates, dimensions in (
        ("letter", "tables", (6, 3)),
        ("50 characters", "tables", (6, 3)),
        ("docstrings", "mlp", (4, 3)),
    )
]
_FEW = {name: CONTENDERS[name] for name in (PEER, DEFAULTS)}
QUICK = [Form(Task("digits"), Budget(MLP(members=1), epochs=10), "tables", (9, 2), 2, (0, 1), _FEW)]


def accuracy_and_retrieval(model: Any, split: Split) -> dict[str, float]:
    """Accuracy, and the mean average precision at R of some test rows."""
    X, y = drawn(split, SEARCHED)
    return {
        **_accuracy(model, split),
        "MAP@R": mean_average_precision_at_r(model.embed(X), y),
    }


def ask(lab: Lab) -> None:
    """Choose and measure in every dimension apart."""
    tables, results = [], {}
    forms = QUICK if lab.quick else FULL + REAL * (lab.folder is not None)
    for form in forms:
        finals, settings = {}, {}
        for d in form.dimensions:
            budget = form.budget._replace(n_components=d)
            tuned = lab.tune(
                form.contenders, form.task, budget, RATES[form.rates], form.trials,
                accuracy_and_retrieval,
            )  # fmt: skip
            settings[d] = {name: setting for name, (_, setting) in tuned.items()}
            finals[d] = lab.final(
                form.contenders, settings[d], form.task, budget, form.seeds, accuracy_and_retrieval
            )
        tables += [table(form, finals, measure) for measure in ("accuracy", "MAP@R")]
        results[form.task.data] = {d: as_json(finals[d], settings[d]) for d in finals}
    publish(lab, "dimensions", tables, results)


def table(form: Form, finals: dict[int, Final], measure: str) -> Table:
    """Return a table of one measure, a column a dimension, and our defaults beside the peer."""
    rows = [
        [name, *(show(mean_and_error(final[name][measure])) for final in finals.values())]
        for name in form.contenders
    ]
    stands = [beside(final[DEFAULTS][measure], final[PEER][measure]) for final in finals.values()]
    rows.append([f"{DEFAULTS} beside {PEER}", *stands])
    text = (
        f"{CLASSES.get(form.task.data, 10)} classes, epochs: {form.budget.epochs}, "
        f"{len(form.seeds)} seeds, mean ± standard error; settings chosen among {form.trials} in "
        "every dimension, by accuracy."
    )
    title = f"{form.task.data}: {measure} in few dimensions"
    return Table(title, text, ["contender", *(f"d = {d}" for d in finals)], rows)
