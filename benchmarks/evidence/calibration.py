"""Question 8: log-loss and ECE of ours beside cross-entropy's, and of other maps from cosines.

The first table compares trained models: settings are chosen by log-loss on validation rows, and
the test rows scored once. The second asks what a better map from cosines to probabilities could
give: each map is fitted on half of the test rows and scored on the other, both ways, so that what
it lacks is the map's own fault. That is no way to choose a model, and nothing is chosen by it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from common import expected_calibration_error, log_loss, mean_and_error, show
from scipy.optimize import minimize
from torch import Tensor
from torch.nn import functional as F

from evidence.contenders import CROSS_ENTROPY, RATES
from evidence.data import Split, Task
from evidence.harness import (
    Contender,
    Final,
    Lab,
    Setting,
    Table,
    as_json,
    beside,
    in_words,
    publish,
)
from evidence.models import Budget, fit_hug, probabilities
from skhug import MLP, HUGClassifier

# Logits of squared distances d2 to the proxies, from parameters, and where their fit starts.
MAPS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], Callable[[int], list[float]]]] = {
    "softmax of cosines": (lambda p, d2: -p[0].exp() * d2, lambda n: [2.0]),
    "per-class concentration and bias": (
        lambda p, d2: -p[: d2.shape[1]].exp() * d2 + p[d2.shape[1] :],
        lambda n: [2.0] * n + [0.0] * n,
    ),
    "power of the distance": (
        lambda p, d2: -p[0].exp() * (d2 + p[1].exp()).log(),
        lambda n: [0.5, -4.0],
    ),
    "power and cut-off (HUGClassifier's)": (
        lambda p, d2: -p[0].exp() * (d2 + p[1].exp()).log() - p[2].exp() * d2.square() / 4,
        lambda n: [-0.8, -8.2, 0.5],
    ),
    "falling, piecewise linear in log d": (
        lambda p, d2: -(p.exp() * _pieces(d2)).sum(2),
        lambda n: [0.0] * len(KNOTS),
    ),
}
KNOTS = torch.linspace(-7, float(np.log(3.5)), 12, dtype=torch.float64)


def _pieces(d2: Tensor) -> Tensor:
    """How much of each piece between knots lies below log d2, the last one open."""
    above = ((d2 + 1e-3).log()[..., None] - KNOTS).clamp_min(0)
    return torch.cat([torch.minimum(above[..., :-1], KNOTS.diff()), above[..., -1:]], dim=2)


class Form(NamedTuple):
    """A data set, how much is trained, and how often it is drawn anew.

    A small set has few test rows, of which two decide: each draw has its own tuning, and one seed.
    """

    task: Task
    budget: Budget
    rates: str
    trials: int
    draws: tuple[int, ...]
    seeds: tuple[int, ...]


_SMALL = Form(Task("digits"), Budget(MLP(members=1)), "tables", 3, (0, 1, 2, 3, 4), ())
FULL = [
    Form(Task("mnist", 3000), Budget(MLP(members=1)), "mlp", 3, (0,), (0, 1, 2)),
    _SMALL,
    *(
        _SMALL._replace(task=Task(name), budget=Budget(MLP(members=1), epochs=100))
        for name in ("breast cancer", "wine", "iris")
    ),
]
QUICK = [_SMALL._replace(budget=Budget(MLP(members=1), epochs=10), trials=1, draws=(0, 1))]


def _hug(**fixed: Any) -> Contender:
    return Contender(partial(fit_hug, **fixed), "HUG")


DEFAULTS = "HUG, defaults"
CONTENDERS = {
    **CROSS_ENTROPY,
    "HUG mhe -2": _hug(),
}


def probabilistic(model: Any, split: Split) -> dict[str, float]:
    """Log-likelihood (minus the log-loss), accuracy and ECE."""
    probability = probabilities(model, split.X_test)
    return {
        "log-likelihood": -log_loss(probability, split.y_test),
        "ECE": expected_calibration_error(probability, split.y_test),
        "accuracy": float(np.mean(probability.argmax(1) == split.y_test)),
    }


def maps(model: HUGClassifier, split: Split) -> dict[str, float]:
    """Log-loss of each map on half of the rows, fitted on the other half, both ways."""
    d2 = torch.from_numpy(2 - 2 * (model.transform(split.X_test) @ model.proxies_.T)).double()
    d2, y = d2.clamp_min(0), torch.from_numpy(split.y_test)
    halves = torch.arange(len(y)) % 2 == 0
    found = {
        name: np.mean([_held_out(f, start(d2.shape[1]), d2, y, h) for h in (halves, ~halves)])
        for name, (f, start) in MAPS.items()
    }
    return {**found, "HUGClassifier as fitted": -probabilistic(model, split)["log-likelihood"]}


def _held_out(f: Callable, start: list[float], d2: Tensor, y: Tensor, fitted: Tensor) -> float:
    """Fit on some rows, with a weak pull to the start; return the log-loss on the others."""
    centre = torch.tensor(start, dtype=torch.float64)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        p = torch.tensor(parameters, requires_grad=True)
        value = F.cross_entropy(f(p, d2[fitted]), y[fitted]) + 1e-4 * (p - centre).square().sum()
        value.backward()
        return value.item(), p.grad.numpy()

    best = torch.from_numpy(minimize(loss, np.array(start), jac=True, method="L-BFGS-B").x)
    return F.cross_entropy(f(best, d2[~fitted]), y[~fitted]).item()


def ask(lab: Lab) -> None:
    """Compare the models on every data set, then the maps on the first."""
    forms = QUICK if lab.quick else FULL
    tables, results = [], {}
    for form in forms:
        by_draw = [compare(lab, form, draw) for draw in form.draws]
        final = {
            name: {m: np.concatenate([f[name][m] for f, _ in by_draw]) for m in measured}
            for name, measured in by_draw[0][0].items()
        }
        chosen = by_draw[0][1] if len(by_draw) == 1 else {name: {} for name in final}
        tables.append(model_table(form, final, chosen))
        results[form.task.data] = as_json(final, chosen)
    form = forms[0]
    final = lab.final({"HUG": _hug()}, {"HUG": {}}, form.task, form.budget, (0, 1, 2), maps)
    tables.append(map_table(form, final["HUG"]))
    results["maps"] = as_json(final, {"HUG": {}})
    publish(lab, "calibration", tables, results)


def compare(lab: Lab, form: Form, draw: int) -> tuple[Final, dict[str, Setting]]:
    """Tune on one draw of the rows; return what was measured on its test rows, and the settings."""
    task, seeds = form.task._replace(fold=draw), form.seeds or (draw,)
    tuned = lab.tune(CONTENDERS, task, form.budget, RATES[form.rates], form.trials, probabilistic)
    chosen = {DEFAULTS: {}, **{name: setting for name, (_, setting) in tuned.items()}}
    everyone = {DEFAULTS: CONTENDERS["HUG mhe -2"], **CONTENDERS}
    return lab.final(everyone, chosen, task, form.budget, seeds, probabilistic), chosen


def model_table(form: Form, final: Final, chosen: dict[str, Setting]) -> Table:
    """Return the table of a data set: log-loss, also over cross-entropy's, ECE, accuracy."""
    peer = -final["cross-entropy"]["log-likelihood"]
    once = len(form.draws) == 1
    rows = []
    for contender, measured in final.items():
        loss = -measured["log-likelihood"]
        cells = [
            show(mean_and_error(loss)),
            f"{loss.mean() / peer.mean():.2f}",
            "" if contender == "cross-entropy" else beside(-loss, -peer),
            show(mean_and_error(measured["ECE"])),
            show(mean_and_error(measured["accuracy"])),
        ]
        rows.append([contender, *cells, *([in_words(chosen[contender])] if once else [])])
    repeats = f"{len(form.seeds)} seeds" if once else f"{len(form.draws)} draws of the test rows"
    text = (
        f"{repeats}, mean ± standard error; settings chosen by log-loss among {form.trials} on "
        f"validation rows{'' if once else ' of each draw'}. The difference is one of "
        "log-likelihoods: more is better."
    )
    header = ["contender", "log-loss", "over cross-entropy's", "beside cross-entropy", "ECE"]
    header += ["accuracy", *(["setting"] if once else [])]
    return Table(f"Probabilities: {form.task.data}", text, header, rows)


def map_table(form: Form, measured: dict[str, np.ndarray]) -> Table:
    """Return the table of maps."""
    rows = [[name, show(mean_and_error(values))] for name, values in measured.items()]
    text = (
        f"{form.task.data}, HUGClassifier's defaults. Every map is fitted on half of the "
        "test rows and scored on the other half, so that all had what training rows don't tell; "
        "the last row is what HUGClassifier fitted on its training rows."
    )
    return Table("Maps from cosines to probabilities", text, ["map", "log-loss"], rows)
