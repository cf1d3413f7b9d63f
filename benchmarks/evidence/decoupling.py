"""Question 7: what alpha and beta do with learned, attached proxies, as a table and a picture.

Digits in three dimensions, where ten classes crowd and the two terms disagree. With fixed
proxies alpha acts on nothing, and Adam hides the scale of a loss: what counts is how much alpha
weighs beside beta. Nothing is chosen here, so test rows are looked at for every setting.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from common import mean_and_error, show

from evidence.data import Split, Task
from evidence.harness import Contender, Final, Lab, Setting, Table, as_json, publish
from evidence.harness import accuracy as _accuracy
from evidence.models import Budget, train_hug
from skhug import MLP, Learned
from skhug.metrics import separation


class Form(NamedTuple):
    """How much is trained, and the grid."""

    task: Task
    budget: Budget
    alphas: tuple[float, ...]
    betas: tuple[float, ...]
    seeds: tuple[int, ...]


FULL = Form(
    Task("digits"), Budget(MLP(members=1), n_components=3, epochs=30),
    (0.0, 0.01, 0.1, 1.0, 10.0), (0.1, 1.0, 10.0), (0, 1, 2),
)  # fmt: skip
QUICK = FULL._replace(
    budget=Budget(MLP(members=1), n_components=3, epochs=8),
    alphas=(0.01, 1.0),
    betas=(1.0,),
    seeds=(0, 1),
)
# At the encoder's rate they would not have reached their places by the end.
PROXIES = Learned(learning_rate=0.02)
MEASURES = {
    "accuracy": "test accuracy",
    "within": "variance within classes",
    "between": "least distance between proxies",
}


def compact_and_apart(model: Any, split: Split) -> dict[str, float]:
    """Accuracy, the variance of test embeddings within classes, and the proxies' separation."""
    z, y = model.embed(split.X_test), split.y_test
    spread = [z[y == c].var(0).sum() for c in range(split.n_classes)]
    points = model.scores.points.numpy()
    return {
        **_accuracy(model, split),
        "within": float(np.mean(spread)),
        "between": separation(points),
    }


def ask(lab: Lab) -> None:
    """Train the whole grid."""
    form = QUICK if lab.quick else FULL
    contenders = {"HUG": Contender(partial(train_hug, proxies=PROXIES), "HUG")}
    finals: dict[tuple[float, float], Final] = {}
    for alpha in form.alphas:
        for beta in form.betas:
            setting: dict[str, Setting] = {"HUG": {"alpha": alpha, "beta": beta}}
            finals[alpha, beta] = lab.final(
                contenders, setting, form.task, form.budget, form.seeds, compact_and_apart
            )
    results = {
        f"alpha {alpha:g}, beta {beta:g}": as_json(final, {"HUG": {"alpha": alpha, "beta": beta}})
        for (alpha, beta), final in finals.items()
    }
    publish(lab, "decoupling", [table(form, finals)], results)
    if lab.figures is not None:
        draw(form, finals, lab.figures)


def table(form: Form, finals: dict[tuple[float, float], Final]) -> Table:
    """Return the table of the grid."""
    rows = [
        [f"{a:g}", f"{b:g}", *(show(mean_and_error(v)) for v in final["HUG"].values())]
        for (a, b), final in finals.items()
    ]
    text = (
        f"{form.task.data}, d = {form.budget.n_components}, {form.budget.epochs} epochs, learned, "
        f"attached proxies at a rate of {PROXIES.learning_rate}, {len(form.seeds)} seeds, mean ± "
        "standard error. Within: variance of test embeddings within classes. Between: least "
        "distance of two proxies; ten points on a sphere in three dimensions can have 1.091."
    )
    header = ["alpha", "beta", *MEASURES]
    return Table("What alpha and beta do", text, header, rows)


def draw(form: Form, finals: dict[tuple[float, float], Final], folder: Path) -> None:
    """Save a picture: a panel a measure, a line a beta, over alpha."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.4), layout="constrained")
    positions = np.arange(len(form.alphas))
    for axes, (measure, label) in zip(figure.subplots(1, 3), MEASURES.items(), strict=True):
        for beta in form.betas:
            cells = [mean_and_error(finals[a, beta]["HUG"][measure]) for a in form.alphas]
            mean, error = ([c[k] or 0 for c in cells] for k in ("mean", "standard_error"))
            axes.errorbar(positions, mean, error, marker="o", label=f"beta = {beta:g}")
        axes.set_xticks(positions, [f"{a:g}" for a in form.alphas])
        axes.set(xlabel="alpha", title=label)
    axes.legend()
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / "evidence_decoupling.png", dpi=150)
