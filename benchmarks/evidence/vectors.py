"""What are heads on vectors worth that exist already? Few rows a class, and search of new classes.

Sentence vectors (all-MiniLM-L6-v2, unit rows of 384 values) of the docstrings of 17 Python
packages, labelled by package. On 11 of them settings were chosen; the other six were looked at
four times while the code changed.

Classification: 1 to 75 rows of each class, five draws, tested on all other rows, beside
scikit-learn's heads. Search: heads learned on eight packages (seven, where they were chosen), five
draws of them, then all rows of the packages not seen are searched among themselves. SupCon and NCA
train the same residual from the same start for as many steps. One thread:

    pip install pytorch-metric-learning
    python benchmarks/evidence --data DIR --only vectors
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import mean_and_error, show
from joblib import Parallel, delayed
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss
from sklearn.neighbors import NearestCentroid
from threadpoolctl import threadpool_limits

from evidence.harness import Lab, Table, publish, published
from skhug import HUGClassifier, HUGEmbedder, Vectors
from skhug.metrics import mean_average_precision_at_r, recall_at_k

FILE = "docstring_vectors.npz"
CHOSEN_ON, SEEN = 11, {"to choose on": 7, "for one last look": 8}
DRAWS = 5
ROWS_A_CLASS = (1, 2, 4, 8, 16, 75)
CS = np.logspace(-2, 4, 7)
# What takes no single row of a class.
NEEDS_MORE = ("LinearDiscriminantAnalysis(shrinkage='auto')",)
# Of the peers that train the same residual.
EPOCHS, BATCH, RATE = 6, 32, 1e-4


def logistic(rows_a_class: int) -> ClassifierMixin:
    """Return logistic regression with its C by cross-validation, where rows suffice for it."""
    if rows_a_class == 1:
        return LogisticRegression(max_iter=2000)
    folds = min(rows_a_class, 5)
    return LogisticRegressionCV(Cs=CS, cv=folds, scoring="neg_log_loss", max_iter=2000)


CLASSIFIERS: dict[str, Callable[[int], ClassifierMixin]] = {
    "HUGClassifier()": lambda k: HUGClassifier(random_state=0),
    "HUGClassifier(MLP())": lambda k: HUGClassifier("mlp", random_state=0),
    "LogisticRegressionCV()": logistic,
    "LinearDiscriminantAnalysis(shrinkage='auto')": lambda k: LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage="auto"
    ),
    "NearestCentroid()": lambda k: NearestCentroid(),
}


def embedded(model: HUGEmbedder) -> Callable[..., np.ndarray]:
    """Return what fits a model on some rows and embeds others."""
    return lambda X, y, others, seed: (
        model.set_params(random_state=seed).fit(X, y).transform(others)
    )


def residual(make_loss: Callable[[Any], Any]) -> Callable[..., np.ndarray]:
    """Return what trains a residual from the closed form by another loss."""

    def train(X: np.ndarray, y: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
        from pytorch_metric_learning import losses

        torch.manual_seed(seed)
        start = HUGEmbedder(Vectors(strength=0.0), max_epochs=1, random_state=0).fit(X, y)
        rows, new = (torch.from_numpy(start.transform(a)) for a in (X, others))
        labels, loss = torch.from_numpy(y), make_loss(losses)
        layer = torch.nn.Linear(rows.shape[1], rows.shape[1], bias=False)
        torch.nn.init.zeros_(layer.weight)
        optimizer = torch.optim.AdamW(layer.parameters(), RATE, weight_decay=0.0)
        batches = [b for _ in range(EPOCHS) for b in torch.randperm(len(y)).split(BATCH)]
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
        for batch in batches:
            optimizer.zero_grad()
            loss(rows[batch] + layer(rows[batch]), labels[batch]).backward()
            optimizer.step()
            schedule.step()
        with torch.no_grad():
            return torch.nn.functional.normalize(new + layer(new)).numpy()

    return train


EMBEDDERS: dict[str, Callable[..., np.ndarray]] = {
    "the vectors as they are": lambda X, y, others, seed: others,
    "HUGEmbedder()": embedded(HUGEmbedder()),
    "its closed form alone": embedded(HUGEmbedder(Vectors(strength=0.0), max_epochs=1)),
    "HUGEmbedder(MLP())": embedded(HUGEmbedder("mlp")),
    "SupCon from the closed form": residual(lambda losses: losses.SupConLoss(temperature=0.1)),
    "NCA from the closed form": residual(lambda losses: losses.NCALoss(softmax_scale=10)),
}


def ask(lab: Lab) -> None:
    """Measure heads with few rows and search of unseen classes, and publish both."""
    if lab.folder is None or not (lab.folder / FILE).is_file():
        raise SystemExit(f"vectors: pass --data DIR, with DIR/{FILE}.")
    draws = 2 if lab.quick else DRAWS
    before = published(lab, "vectors") if lab.contenders else {}
    tables, results = [], {}
    for group in SEEN:
        kept = before.get(group, {"heads": {}, "search": {}})
        heads, search = (
            {
                n: kept[part][n] if _is_kept(lab, kept[part], n) else measured(lab, group, n, draws)
                for n in names
            }
            for part, names, measured in (
                ("heads", CLASSIFIERS, _heads),
                ("search", EMBEDDERS, _searches),
            )
        )
        results[group] = {"heads": heads, "search": search}
        tables += [_table_of_heads(group, heads), _table_of_search(group, search)]
    publish(lab, "vectors", tables, results)


def _is_kept(lab: Lab, kept: dict[str, Any], name: str) -> bool:
    """Whether figures of the run before stand for a contender."""
    return bool(lab.contenders) and name not in lab.contenders and name in kept


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, classes, and which rows are of packages to choose on, in an order by lot."""
    with np.load(folder / FILE) as file:
        X, y = file["X"].astype(np.float32), np.unique(file["y"], return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    return X, y, y < CHOSEN_ON


def _heads(lab: Lab, group: str, name: str, draws: int) -> dict[str, dict[str, list[float]]]:
    """Return a head's measures, draw by draw, for each number of rows a class."""
    counts = [k for k in ROWS_A_CLASS if k > 1 or name not in NEEDS_MORE]
    found = Parallel(n_jobs=lab.jobs)(
        delayed(_head)(lab.folder, group, name, k, seed) for k in counts for seed in range(draws)
    )
    by_count = (found[i * draws : (i + 1) * draws] for i in range(len(counts)))
    return {
        str(k): {m: [one[m] for one in some] for m in some[0]}
        for k, some in zip(counts, by_count, strict=True)
    }


def _head(folder: Path, group: str, name: str, k: int, seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    X, y, chosen = load(folder)
    kept = chosen if group == "to choose on" else ~chosen
    X, y = X[kept], np.unique(y[kept], return_inverse=True)[1]
    lot = np.random.default_rng(seed).permutation(len(y))
    train = np.concatenate([lot[y[lot] == c][:k] for c in np.unique(y)])
    test = np.setdiff1d(np.arange(len(y)), train)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a covariance of one row a class
        model, start = CLASSIFIERS[name](k), time.process_time()
        model.fit(X[train], y[train])
        seconds = time.process_time() - start
        measured = {"accuracy": float(np.mean(model.predict(X[test]) == y[test]))}
        if not isinstance(model, NearestCentroid):
            p = np.nan_to_num(np.asarray(model.predict_proba(X[test]), dtype=float)) + 1e-12
            measured["log-loss"] = log_loss(y[test], p / p.sum(1, keepdims=True))
    return {**measured, "seconds": seconds}


def _searches(lab: Lab, group: str, name: str, draws: int) -> dict[str, list[float]]:
    found = Parallel(n_jobs=lab.jobs)(
        delayed(_search)(lab.folder, group, name, seed) for seed in range(draws)
    )
    return {m: [one[m] for one in found] for m in found[0]}


def _search(folder: Path, group: str, name: str, seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    X, y, chosen = load(folder)
    seen = np.isin(y, np.random.default_rng(seed).permutation(CHOSEN_ON)[: SEEN[group]])
    new = chosen & ~seen if group == "to choose on" else ~chosen
    labels = np.unique(y[seen], return_inverse=True)[1]
    with threadpool_limits(1):
        start = time.process_time()
        z = EMBEDDERS[name](X[seen], labels, X[new], seed)
        seconds = time.process_time() - start
    return {
        "Recall@1": recall_at_k(z, y[new], 1),
        "MAP@R": mean_average_precision_at_r(z, y[new]),
        "seconds": seconds,
    }


def _table_of_heads(group: str, heads: dict) -> Table:
    rows = []
    for name, by_rows in heads.items():
        cells = []
        for k in ROWS_A_CLASS:
            measured = by_rows.get(str(k), {})
            shown = (
                f"{np.mean(measured[m]):.3f}" for m in ("accuracy", "log-loss") if m in measured
            )
            cells.append(" / ".join(shown))
        rows.append([name, *cells, f"{np.mean(by_rows['75']['seconds']):.2f}"])
    text = "Accuracy / log-loss by rows a class, mean of the draws; CPU seconds of a fit on 75."
    header = ["", *(str(k) for k in ROWS_A_CLASS), "seconds"]
    return Table(f"Few rows a class, packages {group}", text, header, rows)


def _table_of_search(group: str, search: dict) -> Table:
    measures = ("Recall@1", "MAP@R")
    raw = search["the vectors as they are"]
    rows = []
    for name, measured in search.items():
        cells = [show(mean_and_error(measured[m])) for m in measures]
        gains = [show(mean_and_error(np.subtract(measured[m], raw[m]))) for m in measures]
        rows.append([name, *cells, *gains, f"{np.mean(measured['seconds']):.1f}"])
    text = (
        "Search among packages not seen in training: mean and standard error over the draws, the "
        "same of the gain over the vectors as they are, CPU seconds of all."
    )
    header = ["", *measures, *(f"gain in {m}" for m in measures), "seconds"]
    return Table(f"Search of new classes, packages {group}", text, header, rows)
