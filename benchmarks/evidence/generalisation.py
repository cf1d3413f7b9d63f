"""Question 1: clean labels. Digits and photographs, then a dozen tabular sets.

Images: every contender is screened with the same number of trials on validation rows and one
seed, the best few of each family run in full. Tabular sets: settings are chosen anew on each set's
validation rows; ranks are over all contenders of a set.
"""

from __future__ import annotations

from typing import NamedTuple

from evidence import losses
from evidence.contenders import CROSS_ENTROPY, HUG, NORMALISED, RATES, SCIKIT_LEARN, hug, peer
from evidence.data import TABULAR, Task
from evidence.harness import (
    Contender,
    Lab,
    Table,
    as_json,
    comparison,
    finalists,
    publish,
)
from evidence.models import Budget
from evidence.tables import TabularForm, accuracies, by_set, mean_ranks, ranking
from evidence.tables import as_json as tabular_json
from skhug import MHE, MLP, ConvNet, Learned

ON_IMAGES = {**CROSS_ENTROPY, **NORMALISED, **HUG}
QUICKLY = ("cross-entropy", "label smoothing", "normalised softmax", "NONL", "HUG mhe -2")
# A fit takes ten times as long: fewer contenders, no settings of their own but the rates.
ON_PHOTOGRAPHS = {
    "cross-entropy": peer(losses.Softmax, "cross-entropy"),
    "label smoothing 0.1": peer(losses.LabelSmoothing, "cross-entropy"),
    "normalised softmax": peer(losses.NormalisedSoftmax, "normalised"),
    "ArcFace": peer(losses.ArcFace, "normalised"),
    "NTCE": peer(losses.NTCE, "normalised"),
    "NONL": peer(losses.NONL, "normalised"),
    "SupCon, nearest mean": peer(losses.SupCon, "others"),
    "MSE to the simplex": peer(losses.SimplexMSE, "others"),
    "HUG mhe -2": HUG["HUG mhe -2"],
    "HUG mhe -4": HUG["HUG mhe -4"],
    "HUG mhe -2, 9 components": hug(n_components=None),
    "HUG mhe -2, 9 components, softness 10": hug(n_components=None, softness=10.0),
    "HUG mhe -2, repulsion 1": hug(uniformity=MHE(repulsion=1.0)),
    "HUG mhe -2, learned, attached, alpha 5, repulsion 2": hug(
        uniformity=MHE(repulsion=2.0), proxies=Learned(), alpha=5.0
    ),
}
DEFAULTS = "HUGClassifier()"
ON_TABLES = {
    **CROSS_ENTROPY,
    "normalised softmax": NORMALISED["normalised softmax"],
    DEFAULTS: hug(n_components=None)._replace(tunes_rates=False),
    **{name: HUG[name] for name in ("HUG mhe -1", "HUG mhe -2", "HUG mhe -4")},
    "HUG mhe -2, softness 0": hug(softness=0.0),
    **SCIKIT_LEARN,
}


class ImageForm(NamedTuple):
    """A data set of images and how much is trained."""

    task: Task
    budget: Budget
    rates: str
    contenders: dict[str, Contender]
    trials: int
    seeds: tuple[int, ...]
    a_family: int
    always: tuple[str, ...] = ()  # run in full whatever validation says


MNIST = ImageForm(
    Task("mnist", 10_000), Budget(MLP(members=1), epochs=10), "mlp", ON_IMAGES, 2, (0, 1, 2), 2
)
CIFAR = ImageForm(
    Task("cifar10", 10_000), Budget(ConvNet((16, 32, 64, 64)), batch_size=64, epochs=8), "convnet",
    ON_PHOTOGRAPHS, 2, (0, 1, 2), 2,
    ("HUG mhe -2, 9 components", "HUG mhe -2, 9 components, softness 10"),
)  # fmt: skip
TABLES = TabularForm(tuple(TABULAR), Budget(MLP(members=1)), ON_TABLES, 4, (0, 1))
_QUICK = {name: ON_IMAGES[name] for name in QUICKLY}
QUICK_MNIST = MNIST._replace(
    task=Task("mnist", 3000), budget=Budget(MLP(members=1), epochs=5), contenders=_QUICK, trials=2,
    seeds=(0, 1),
)  # fmt: skip
QUICK_TABLES = TABLES._replace(names=("iris", "wine", "moons, noise 0.3"), trials=1, folds=(0, 1))


def ask(lab: Lab) -> None:
    """Publish digits, tables and photographs."""
    tables, results = [], {}
    add_images(lab, QUICK_MNIST if lab.quick else MNIST, tables, results)
    add_tables(lab, QUICK_TABLES if lab.quick else TABLES, tables, results)
    if not lab.quick:
        add_images(lab, CIFAR, tables, results)


def add_images(lab: Lab, form: ImageForm, tables: list[Table], results: dict) -> None:
    """Screen, run the finalists and publish what is known so far."""
    tuned = lab.tune(form.contenders, form.task, form.budget, RATES[form.rates], form.trials)
    chosen = finalists(tuned, form.contenders, form.a_family)
    chosen |= {name: tuned[name][1] for name in form.always}
    final = lab.final(form.contenders, chosen, form.task, form.budget, form.seeds)
    variants = [name for name in final if form.contenders[name].family == "cross-entropy"]
    reference = max(variants, key=lambda name: final[name]["accuracy"].mean())
    text = (
        f"{form.task.rows:,} training rows, the official test set, {form.budget.epochs} epochs, "
        f"{len(form.seeds)} seeds, mean ± standard error. {len(tuned)} contenders were screened "
        f"with {form.trials} trials each on validation rows; the best {form.a_family} of each "
        f"family{' and ' * bool(form.always)}{', '.join(form.always)} run in full."
    )
    tables.append(comparison(form.task.data, text, final, chosen, reference))
    results[form.task.data] = as_json(final, chosen)
    results[form.task.data]["validation"] = {n: score for n, (score, _) in tuned.items()}
    publish(lab, "generalisation", tables, results)


def add_tables(lab: Lab, form: TabularForm, tables: list[Table], results: dict) -> None:
    """Rank on the tabular sets, and publish what is known so far."""
    scores = accuracies(lab, form)
    ranks = dict(zip(form.contenders, mean_ranks(scores), strict=True))
    best_variant = min(CROSS_ENTROPY, key=ranks.get)
    tables.append(ranking("Tabular sets", form, scores, best_variant))
    tables.append(by_set("Tabular sets, one by one", form, scores))
    results["tabular"] = tabular_json(form, scores)
    publish(lab, "generalisation", tables, results)
