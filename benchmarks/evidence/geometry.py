"""Question 6: how near each loss comes to generalised neural collapse, and in how many epochs.

Training rows' unit embeddings, epoch by epoch: the variance within classes over the squared
distance between them (CDNV, for NC1: 0 at the optimum), and the energy (s = 2) of the class
means' directions relative to the least found for ten points (generalised NC2: 1 at the
optimum, the simplex in 9 dimensions and minimal energy in 4). Settings are chosen by accuracy on
validation rows.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import torch
from common import mean_and_error, show

from evidence import losses
from evidence.contenders import RATES, values
from evidence.data import Split, Task
from evidence.harness import Contender, Final, Lab, Setting, Table, as_json, in_words, publish
from evidence.harness import accuracy as _accuracy
from evidence.models import Budget, Model, train_hug, train_peer
from skhug import MHE, MLP, Learned
from skhug.metrics import geometry_report, hyperspherical_energy
from skhug.proxies import optimal_proxies

MEASURED = 1000  # training rows
COLLAPSED = 0.02  # variance within classes over squared distance between them
UNIFORM = 1.05  # of the least energy


class Form(NamedTuple):
    """How much is trained, in which dimensions."""

    task: Task
    budget: Budget
    dimensions: tuple[int, ...]
    trials: int
    seeds: tuple[int, ...]


FULL = Form(Task("digits"), Budget(MLP(members=1), epochs=40), (9, 4), 2, (0, 1, 2))
QUICK = Form(Task("digits"), Budget(MLP(members=1), epochs=8), (9,), 1, (0, 1))


def near_collapse(embeddings: Any, labels: Any) -> dict[str, float]:
    """Return the within-class variance and the energy of the means, both relative."""
    report = geometry_report(embeddings, labels)
    best = least_energy(len(np.unique(labels)), embeddings.shape[1])
    return {"within": report["cdnv"], "energy": report["energy"] / best}


@cache
def least_energy(n_classes: int, d: int) -> float:
    """Energy of the best arrangement known, or found where none is."""
    return hyperspherical_energy(optimal_proxies(n_classes, d))


def watch_peer(
    loss: Callable[..., Any], budget: Budget, X: np.ndarray, y: np.ndarray, seed: int,
    n_classes: int, **setting: Any,
) -> Model:  # fmt: skip
    """Train a peer; keep its geometry of every epoch on the model, as ``path``."""
    path = []

    def after_epoch(epoch: int, model: Model) -> None:
        path.append(near_collapse(model.embed(X[:MEASURED]), y[:MEASURED]))

    model = train_peer(loss, budget, X, y, seed, n_classes, after_epoch=after_epoch, **setting)
    model.path = path
    return model


def watch_hug(
    budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, **params: Any
) -> Model:
    """Train ours; keep the same."""
    path = []

    def geometry(embeddings: torch.Tensor, labels: torch.Tensor, _: torch.Tensor) -> float:
        path.append(near_collapse(embeddings.numpy(), labels.numpy()))
        return path[-1]["within"]

    model = train_hug(budget, X, y, seed, n_classes, track=(geometry,), **params)
    model.path = path
    return model


def _peer(loss: type, own: tuple[Setting, ...] = ({},)) -> Contender:
    return Contender(partial(watch_peer, loss), "peer", own)


def _hug(**fixed: Any) -> Contender:
    return Contender(partial(watch_hug, **fixed), "HUG")


_TEMPERATURES = values("temperature", 0.1, 0.05)
CONTENDERS = {
    "cross-entropy": _peer(losses.Softmax),
    "normalised softmax": _peer(losses.NormalisedSoftmax, _TEMPERATURES),
    "HUG mhe -1": _hug(uniformity=MHE(s_within=-1.0)),
    "HUG mhe -2": _hug(),
    "HUG mhe -4": _hug(uniformity=MHE(s_within=-4.0)),
    "HUG mhe -2, learned, attached": _hug(proxies=Learned()),
}


def geometry(model: Any, split: Split) -> dict[str, float]:
    """Accuracy, the last epoch's geometry, and the first epochs that were near the optimum."""
    within, energy = (np.array([p[k] for p in model.path]) for k in ("within", "energy"))
    return {
        **_accuracy(model, split),
        "within": float(within[-1]),
        "energy": float(energy[-1]),
        "epochs to within": _first(within <= COLLAPSED),
        "epochs to energy": _first(energy <= UNIFORM),
    }


def _first(reached: np.ndarray) -> float:
    """Number of the first epoch, NaN if there is none."""
    return float(np.argmax(reached) + 1) if reached.any() else float("nan")


def ask(lab: Lab) -> None:
    """Measure in every dimension apart."""
    form = QUICK if lab.quick else FULL
    tables, results = [], {}
    for d in form.dimensions:
        budget = form.budget._replace(n_components=d)
        tuned = lab.tune(CONTENDERS, form.task, budget, RATES["mlp"], form.trials, geometry)
        chosen = {name: setting for name, (_, setting) in tuned.items()}
        final = lab.final(CONTENDERS, chosen, form.task, budget, form.seeds, geometry)
        tables.append(table(form, d, final, chosen))
        results[d] = _without_nan(as_json(final, chosen))
    publish(lab, "geometry", tables, results)


def table(form: Form, d: int, final: Final, chosen: dict[str, Setting]) -> Table:
    """Return the table of a dimension, the nearest to collapse first."""
    names = sorted(final, key=lambda name: final[name]["within"].mean())
    rows = [
        [name, *(_cell(values) for values in final[name].values()), in_words(chosen[name])]
        for name in names
    ]
    text = (
        f"{form.task.data}, {form.budget.epochs} epochs, {len(form.seeds)} seeds, mean ± standard "
        f"error, settings chosen among {form.trials}. Within: variance of training embeddings "
        "within classes over the squared distance between them (CDNV). Energy: of the class "
        f"means, over the least found. Epochs to: the first with within at most {COLLAPSED}, "
        f"energy at most {UNIFORM}; a dash where a seed never was. Cross-entropy's "
        "embeddings are its ten logits, whatever d is."
    )
    header = ["contender", *next(iter(final.values())), "setting"]
    return Table(f"Neural collapse, d = {d}", text, header, rows)


def _cell(values: np.ndarray) -> str:
    if np.isnan(values).any():
        return "-"
    whole = (values == values.round()).all() and values.max() > 1
    return show(mean_and_error(values), 1 if whole else 4)


def _without_nan(value: Any) -> Any:
    """JSON has no NaN: null says that a seed never was there."""
    if isinstance(value, dict):
        return {k: _without_nan(v) for k, v in value.items()}
    if isinstance(value, list):
        return [_without_nan(v) for v in value]
    return None if isinstance(value, float) and np.isnan(value) else value
