"""Question 9: class-incremental learning, all classes declared, two new ones a step.

Rows of MNIST arrive in five steps of two classes; each step trains for some epochs on its rows
and, for every class seen before, a few rows that were kept (the replay), the same for all. Ours
goes by ``partial_fit(classes=...)``; the peers by the same network, batches and optimizer with a
constant learning rate, moments kept. Rates are chosen by the last accuracy on validation rows at
the larger replay.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from _internals import build_encoder, default_batch_size
from common import mean_and_error, show

from evidence import losses
from evidence.data import Split, Task
from evidence.harness import Contender, Final, Lab, Setting, Table, as_json, in_words, publish
from evidence.models import Budget, Model
from skhug import MHE, MLP, HUGClassifier, Learned
from skhug.optimizers import AdamW, flatten, make_stepper

CLASSES_A_STEP = 2


class Form(NamedTuple):
    """How much is trained, with how many kept rows a class."""

    task: Task
    budget: Budget
    replays: tuple[int, ...]
    trials: int
    seeds: tuple[int, ...]


FULL = Form(Task("mnist", 2000), Budget(MLP(members=1), epochs=5), (20, 0), 3, (0, 1, 2))
QUICK = Form(Task("digits"), Budget(MLP(members=1), epochs=3), (10, 0), 1, (0, 1))
RATES: list[Setting] = [{"learning_rate": rate} for rate in (1e-3, 3e-4, 1e-4)]


def steps(y: np.ndarray, n_classes: int, replay: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the rows of each step: all of the new classes, and what is kept of the old ones."""
    rng = np.random.RandomState(seed)
    order = rng.permutation(len(y))
    kept: list[np.ndarray] = []
    for first in range(0, n_classes, CLASSES_A_STEP):
        of_class = [order[y[order] == c] for c in range(first, first + CLASSES_A_STEP)]
        yield np.concatenate([*of_class, *kept])
        kept += [rows[:replay] for rows in of_class]


def train_hug(
    budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, *, replay: int,
    **params: Any,
) -> HUGClassifier:  # fmt: skip
    """Train ours step by step."""
    model = HUGClassifier(
        budget.encoder, n_components=budget.n_components, random_state=seed, **params
    )
    for rows in steps(y, n_classes, replay, seed):
        for _ in range(budget.epochs):
            model.partial_fit(X[rows], y[rows], classes=np.arange(n_classes))
    return model


def train_peer(
    loss: Any, budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, *,
    replay: int, learning_rate: float, **own: Any,
) -> Model:  # fmt: skip
    """Train a peer step by step; inputs are scaled by the first step's rows, as ours."""
    torch.manual_seed(seed)
    criterion = loss(n_classes, budget.n_components, torch.ones(n_classes), **own)
    first = next(steps(y, n_classes, replay, seed))
    weight = np.ones(len(first), np.float32)
    network = build_encoder(budget.encoder, criterion.width, X[first], weight)
    decay = AdamW.default_weight_decay
    segments = flatten(
        [(p, learning_rate, decay if p.ndim > 1 else 0.0) for p in network.body.parameters()]
        + [(p, learning_rate, 0.0) for p in criterion.parameters()]
    )
    stepper = make_stepper(AdamW(), segments)
    for rows in steps(y, n_classes, replay, seed):
        prepared, labels = network.prepare(torch.from_numpy(X[rows])), torch.from_numpy(y[rows])
        for _ in range(budget.epochs):
            for batch in torch.randperm(len(rows)).split(default_batch_size(len(rows))):
                for segment in segments:
                    segment.gradients.zero_()
                criterion(network.body(prepared[batch]), labels[batch]).backward()
                stepper.step(1.0)
    network.body.eval()
    return Model(network.prepare, network.body, criterion.scores)


class ClassMeans(losses.Softmax):
    """Cross-entropy averaged in each class of the batch, then over these, as HUG's terms are.

    Kept rows are few beside new ones: without this, ours would have weights that peers lack.
    """

    def forward(self, outputs: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Return the mean over the classes in the batch of their means."""
        present, of_class, count = y.unique(return_inverse=True, return_counts=True)
        each = torch.nn.functional.cross_entropy(outputs, y, reduction="none")
        return (each / count[of_class]).sum() / len(present)


def _peer(loss: type) -> Contender:
    return Contender(partial(train_peer, loss), "peer")


def _hug(**fixed: Any) -> Contender:
    return Contender(partial(train_hug, **fixed), "HUG")


CONTENDERS = {
    "cross-entropy": _peer(losses.Softmax),
    "cross-entropy, class means": _peer(ClassMeans),
    "normalised softmax": _peer(losses.NormalisedSoftmax),
    "HUG mhe -2": _hug(),
    "HUG mhe -2, repulsion": _hug(uniformity=MHE(s_within=-2.0, repulsion=1.0)),
    "HUG mhe -2, learned, attached": _hug(proxies=Learned()),
}


def remembers(model: Any, split: Split) -> dict[str, float]:
    """Accuracy after the last step: of all classes, the first step's, the last step's."""
    right = model.predict(split.X_test) == split.y_test
    recent = split.y_test >= split.n_classes - CLASSES_A_STEP
    return {
        "all": float(right.mean()),
        "first two": float(right[split.y_test < CLASSES_A_STEP].mean()),
        "last two": float(right[recent].mean()),
    }


def _with(replay: int, settings: dict[str, Setting]) -> dict[str, Setting]:
    return {name: {**setting, "replay": replay} for name, setting in settings.items()}


def ask(lab: Lab) -> None:
    """Choose the rates at the first replay; measure at all."""
    form = QUICK if lab.quick else FULL
    rates = [{**rate, "replay": form.replays[0]} for rate in RATES]
    tuned = lab.tune(CONTENDERS, form.task, form.budget, rates, form.trials, remembers)
    chosen = {name: setting for name, (_, setting) in tuned.items()}
    finals = {
        replay: lab.final(
            CONTENDERS, _with(replay, chosen), form.task, form.budget, form.seeds, remembers
        )
        for replay in form.replays
    }
    results = {r: as_json(f, _with(r, chosen)) for r, f in finals.items()}
    tables = [table(form, r, final, chosen) for r, final in sorted(finals.items())]
    publish(lab, "incremental", tables, results)


def table(form: Form, replay: int, final: Final, chosen: dict[str, Setting]) -> Table:
    """Return the table of a replay, best first."""
    names = sorted(final, key=lambda name: -final[name]["all"].mean())
    rows = [
        [
            name,
            *(show(mean_and_error(v)) for v in final[name].values()),
            in_words({"learning_rate": chosen[name]["learning_rate"]}),
        ]
        for name in names
    ]
    text = (
        f"{form.task.data}, two new classes a step, {form.budget.epochs} epochs a step, "
        f"{len(form.seeds)} seeds, mean ± standard error; rates chosen among {form.trials} at a "
        f"replay of {form.replays[0]} rows a class. Accuracy after the last step."
    )
    header = ["contender", *next(iter(final.values())), "setting"]
    return Table(f"Class-incremental, replay of {replay} rows a class", text, header, rows)
