"""What are heads on vectors worth that exist already? Few rows a class, and search of new classes.

Three kinds of vectors, all of unit length. Sentence vectors (all-MiniLM-L6-v2, 384 values) of the
docstrings of 17 Python packages, labelled by package: on 11 of them settings were chosen; heads of
search learn eight of those and search the six others. Drawings of Omniglot and photographs of
CIFAR-10 by small networks trained by cross-entropy (128 values, ``backbones.py``) on 80 of 242
characters and on four of ten classes: of the others heads learn half, 81 and three, and search the
rest. Draws 0 to 4, of the classes and of the networks, are measured; settings were chosen on other
draws from 100 on, four and three, of networks trained for longer on the same images.

Classification: so many rows of each class, tested on others of the classes, beside scikit-learn's
heads; the most rows are all but those that are tested on. SupCon and NCA train a residual from the
closed form, ``Vectors(strength=0)``; how far they go is chosen of five strengths by the MAP@R of
classes held out, a third at a time, where there are six. One thread:

    pip install pytorch-metric-learning
    python benchmarks/evidence --data DIR --only vectors
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from common import mean_and_error, show
from joblib import Parallel, delayed
from sklearn.base import ClassifierMixin
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from sklearn.metrics import log_loss, pairwise_distances, roc_auc_score
from sklearn.neighbors import NearestCentroid
from threadpoolctl import threadpool_limits

from evidence.harness import Lab, Table, publish, published
from evidence.vector_sets import SETS, VectorSet
from skhug import HUGClassifier, HUGEmbedder, Vectors
from skhug.metrics import mean_average_precision_at_r, recall_at_k

DRAWS = 5
CS = np.logspace(-2, 4, 7)
# What takes no single row of a class.
NEEDS_MORE = ("LinearDiscriminantAnalysis(shrinkage='auto')",)
# Networks in place of a head, measured on docstrings alone: they take minutes.
NETWORKS = ("HUGClassifier(MLP())", "HUGEmbedder(MLP())")
# Of the peers that train a residual; six classes or more choose a strength.
EPOCHS, BATCH, RATE = 6, 32, 1e-4
STRENGTHS, FOLDS, FEWEST = (1.0, 0.0, 0.5, 2.0, 4.0), 3, 6
RAW = "the vectors as they are"


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


def embedded(model: Any) -> Callable[..., np.ndarray]:
    """Return what fits a model on some rows and embeds others."""

    def embed(X: np.ndarray, y: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
        if isinstance(model, HUGEmbedder):
            model.set_params(random_state=seed)
        return model.fit(X, y).transform(others)

    return embed


def residual(make_loss: Callable[[Any], Any]) -> Callable[..., np.ndarray]:
    """Return what trains a residual from the closed form by another loss, as far as it helps."""

    def embed(X: np.ndarray, y: np.ndarray, others: np.ndarray, seed: int) -> np.ndarray:
        move = trained_residual(X, y, make_loss, seed)
        return move(others, _chosen_strength(X, y, make_loss, seed))

    return embed


def _chosen_strength(X: np.ndarray, y: np.ndarray, make_loss: Callable, seed: int) -> float:
    classes = np.random.default_rng(seed).permutation(np.unique(y))
    if len(classes) < FEWEST:
        return STRENGTHS[0]
    scores = np.zeros(len(STRENGTHS))
    for fold in range(FOLDS):
        out = np.isin(y, classes[fold::FOLDS])
        move = trained_residual(
            X[~out], np.unique(y[~out], return_inverse=True)[1], make_loss, seed
        )
        scores += [mean_average_precision_at_r(move(X[out], s), y[out]) for s in STRENGTHS]
    return STRENGTHS[int(scores.argmax())]


def trained_residual(
    X: np.ndarray, y: np.ndarray, make_loss: Callable[[Any], Any], seed: int
) -> Callable[[np.ndarray, float], np.ndarray]:
    """Return what embeds rows by the closed form and so much of the trained residual."""
    from pytorch_metric_learning import losses

    torch.manual_seed(seed)
    start = HUGEmbedder(Vectors(strength=0), random_state=0).fit(X, y)
    rows, labels, loss = (
        torch.from_numpy(start.transform(X)),
        torch.from_numpy(y),
        make_loss(losses),
    )
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

    @torch.no_grad()
    def move(others: np.ndarray, strength: float) -> np.ndarray:
        new = torch.from_numpy(start.transform(others))
        return torch.nn.functional.normalize(new + strength * layer(new)).numpy()

    return move


USUAL = {"shrinkage": 0.5, "power": 0.25, "novelty": 0.3, "strength": 0.0}
WHITENED = {"shrinkage": 0.1, "power": 0.5, "novelty": float("inf"), "strength": 0.0}
EMBEDDERS: dict[str, Callable[..., np.ndarray]] = {
    RAW: lambda X, y, others, seed: others,
    "HUGEmbedder()": embedded(HUGEmbedder()),
    "HUGEmbedder(Vectors(strength=0))": embedded(HUGEmbedder(Vectors(strength=0))),
    "HUGEmbedder(), its usual triple": embedded(HUGEmbedder(Vectors(**USUAL))),
    "HUGEmbedder(max_epochs=6)": embedded(HUGEmbedder(max_epochs=6)),
    "whitening within classes": embedded(HUGEmbedder(Vectors(**WHITENED))),
    "LinearDiscriminantAnalysis(shrinkage='auto')": embedded(
        LinearDiscriminantAnalysis(solver="eigen", shrinkage="auto")
    ),
    "SupCon from the closed form": residual(lambda losses: losses.SupConLoss(temperature=0.1)),
    "NCA from the closed form": residual(lambda losses: losses.NCALoss(softmax_scale=10)),
    "HUGEmbedder(MLP())": embedded(HUGEmbedder("mlp")),
}


def ask(lab: Lab) -> None:
    """Measure heads with few rows and search of unseen classes, and publish both."""
    files = sorted({file for vectors in SETS.values() for file in vectors.files})
    if lab.folder is None or not all((lab.folder / file).is_file() for file in files):
        raise SystemExit(f"vectors: pass --data DIR, with {', '.join(files)} in it.")
    draws = 2 if lab.quick else DRAWS
    before = published(lab, "vectors") if lab.contenders else {}
    tables, results = [], {}
    for name, vectors in SETS.items():
        for seed in range(draws):  # what the cache keeps is made once, not by several at a time
            vectors.search(lab, seed)
        left_out = () if "docstrings" in name else NETWORKS
        kept = before.get(name, {"heads": {}, "search": {}})
        heads, search = (
            {
                n: kept[part][n] if _is_kept(lab, kept[part], n) else measured(lab, name, n, draws)
                for n in names
                if n not in left_out
            }
            for part, names, measured in (
                ("heads", CLASSIFIERS, _heads),
                ("search", EMBEDDERS, _searches),
            )
        )
        results[name] = {"heads": heads, "search": search}
        tables += [_table_of_heads(name, vectors, heads), _table_of_search(name, search)]
    publish(lab, "vectors", tables, results)


def _is_kept(lab: Lab, kept: dict[str, Any], name: str) -> bool:
    """Whether figures of the run before stand for a contender."""
    return bool(lab.contenders) and name not in lab.contenders and name in kept


def _heads(lab: Lab, of: str, name: str, draws: int) -> dict[str, dict[str, list[float]]]:
    """Return a head's measures, draw by draw, for each number of rows a class."""
    counts = [k for k in SETS[of].counts if k > 1 or name not in NEEDS_MORE]
    run = partial(lab.cache(_head, ignore=["lab"]), lab)
    found = Parallel(n_jobs=lab.jobs)(
        delayed(run)(of, name, k, seed) for k in counts for seed in range(draws)
    )
    by_count = (found[i * draws : (i + 1) * draws] for i in range(len(counts)))
    return {
        str(k): {m: [one[m] for one in some] for m in some[0]}
        for k, some in zip(counts, by_count, strict=True)
    }


def _head(lab: Lab, of: str, name: str, k: int, seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    part = SETS[of].few(lab, seed, k)
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a covariance of one row a class
        model, start = CLASSIFIERS[name](k), time.process_time()
        model.fit(part.X, part.y)
        seconds = time.process_time() - start
        measured = {"accuracy": float(np.mean(model.predict(part.X_new) == part.y_new))}
        if isinstance(model, NearestCentroid):
            scores = -pairwise_distances(part.X_new, model.centroids_)
        else:
            scores = np.nan_to_num(np.asarray(model.predict_proba(part.X_new), dtype=float)) + 1e-12
            scores /= scores.sum(1, keepdims=True)
            measured["log-loss"] = log_loss(part.y_new, scores, labels=model.classes_)
        areas = [
            roc_auc_score(part.y_new == c, s) for c, s in zip(model.classes_, scores.T, strict=True)
        ]
    return {**measured, "AUC": float(np.mean(areas)), "seconds": seconds}


def _searches(lab: Lab, of: str, name: str, draws: int) -> dict[str, list[float]]:
    run = partial(lab.cache(_search, ignore=["lab"]), lab)
    found = Parallel(n_jobs=lab.jobs)(delayed(run)(of, name, seed) for seed in range(draws))
    return {m: [one[m] for one in found] for m in found[0]}


def _search(lab: Lab, of: str, name: str, seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    part = SETS[of].search(lab, seed)
    labels = np.unique(part.y, return_inverse=True)[1]
    with threadpool_limits(1):
        start = time.process_time()
        z = EMBEDDERS[name](part.X, labels, part.X_new, seed)
        seconds = time.process_time() - start
    return {
        "Recall@1": recall_at_k(z, part.y_new, 1),
        "MAP@R": mean_average_precision_at_r(z, part.y_new),
        "seconds": seconds,
    }


def _table_of_heads(of: str, vectors: VectorSet, heads: dict) -> Table:
    rows = []
    for name, by_rows in heads.items():
        cells = []
        for k in vectors.counts:
            measured = by_rows.get(str(k), {})
            shown = (
                f"{np.mean(measured[m]):.3f}"
                for m in ("accuracy", "log-loss", "AUC")
                if m in measured
            )
            cells.append(" / ".join(shown))
        most = by_rows[max(by_rows, key=int)]
        error = mean_and_error(most["accuracy"])["standard_error"]
        rows.append([name, *cells, f"{error:.3f}", f"{np.mean(most['seconds']):.2f}"])
    text = (
        "Accuracy / log-loss / AUC, that of each class against the others in the mean, by rows a "
        "class, mean of the draws (nearest centroids have no log-loss); of the most rows also the "
        "accuracy's standard error and the CPU seconds of a fit."
    )
    header = ["", *(str(k) for k in vectors.counts), "±", "seconds"]
    return Table(f"Few rows a class: {of}", text, header, rows)


def _table_of_search(of: str, search: dict) -> Table:
    measures = ("Recall@1", "MAP@R")
    rows = []
    for name, measured in search.items():
        cells = [show(mean_and_error(measured[m])) for m in measures]
        gains = [show(mean_and_error(np.subtract(measured[m], search[RAW][m]))) for m in measures]
        rows.append([name, *cells, *gains, f"{np.mean(measured['seconds']):.1f}"])
    text = (
        "Search among classes not seen in training: mean and standard error over the draws, the "
        "same of the gain over the vectors as they are, CPU seconds of all."
    )
    header = ["", *measures, *(f"gain in {m}" for m in measures), "seconds"]
    return Table(f"Search of new classes: {of}", text, header, rows)
