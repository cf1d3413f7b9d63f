"""Does it hold on real tables? Everybody at the defaults, judged by labels and by probabilities.

The tables are those of the KEEL repository (https://sci2s.ugr.es/keel), one CSV file each in
``DIR/tables``: a header, the class in the last column, text as categories. Everybody gets the
categories one-hot, at most 3,000 rows, and three stratified splits.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from sklearn.base import ClassifierMixin
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, log_loss, roc_auc_score
from sklearn.model_selection import StratifiedShuffleSplit
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import SVC

from evidence.harness import Lab, Table, publish
from skhug import HUGClassifier

# Defaults may be chosen on these; the others are for one last look.
TO_CHOOSE_ON = (
    *("australian", "bands", "bupa", "contraceptive", "german", "heart", "magic", "marketing"),
    *("movement_libras", "ring", "satimage", "titanic", "vehicle"),
)
TO_LOOK_AT_ONCE = ("banana", "led7digit", "letter", "splice", "texture", "wisconsin")
MOST_ROWS = 3000
OURS = "HUGClassifier"
# How much better is higher, measure by measure.
SIGN = {"accuracy": 1, "log-loss": -1, "AUC": 1}


def scaled(estimator: ClassifierMixin) -> ClassifierMixin:
    """Return the estimator behind a scaler."""
    return make_pipeline(StandardScaler(), estimator)


CONTENDERS: dict[str, Callable[[int], ClassifierMixin]] = {
    OURS: lambda seed: HUGClassifier(random_state=seed),
    "MLPClassifier, scaled": lambda seed: scaled(MLPClassifier(random_state=seed)),
    "SVC, scaled": lambda seed: scaled(SVC(probability=True, random_state=seed)),
    "LogisticRegression, scaled": lambda seed: scaled(LogisticRegression(max_iter=1000)),
    "RandomForestClassifier": lambda seed: RandomForestClassifier(random_state=seed),
    "HistGradientBoostingClassifier": lambda seed: HistGradientBoostingClassifier(
        random_state=seed
    ),
}


def ask(lab: Lab) -> None:
    """Measure everybody on every table, and publish ranks and values."""
    if lab.folder is None or not (lab.folder / "tables").is_dir():
        raise SystemExit("real_tables: pass --data DIR, with the tables as DIR/tables/NAME.csv.gz.")
    groups = {"to choose on": TO_CHOOSE_ON[:3] if lab.quick else TO_CHOOSE_ON}
    if not lab.quick:
        groups["for one last look"] = TO_LOOK_AT_ONCE
    tables, results = [], {}
    for group, names in groups.items():
        measured = measure(lab, names)
        tables += [_ranking(group, measured, m) for m in SIGN] + [_by_set(group, measured)]
        results[group] = measured
    publish(lab, "real_tables", tables, results)


def measure(lab: Lab, names: tuple[str, ...]) -> dict[str, dict[str, dict[str, float]]]:
    """Return contender by contender and set by set the means over the splits."""
    jobs = [(c, n) for c in CONTENDERS for n in names]
    found = Parallel(n_jobs=lab.jobs, batch_size=1)(
        delayed(_on_one_set)(lab.folder, name, contender) for contender, name in jobs
    )
    results: dict[str, dict[str, dict[str, float]]] = {c: {} for c in CONTENDERS}
    for (contender, name), values in zip(jobs, found, strict=True):
        results[contender][name] = values
    return results


def _on_one_set(folder: Path, name: str, contender: str) -> dict[str, float]:
    torch.set_num_threads(1)
    X, y = load(folder, name)
    splits = StratifiedShuffleSplit(3, test_size=0.3, random_state=0).split(X, y)
    scores = [
        _score(CONTENDERS[contender](seed), X, y, train, test)
        for seed, (train, test) in enumerate(splits)
    ]
    return {key: float(np.mean([score[key] for score in scores])) for key in scores[0]}


def load(folder: Path, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table and its classes, at most 3,000 rows of it."""
    table = pd.read_csv(folder / "tables" / f"{name}.csv.gz")
    rows = np.random.default_rng(0).permutation(len(table))[:MOST_ROWS]
    if len(table) > MOST_ROWS:
        table = table.iloc[rows]
    return table.drop(columns="class"), table["class"].to_numpy()


def _score(
    model: ClassifierMixin, X: pd.DataFrame, y: np.ndarray, train: np.ndarray, test: np.ndarray
) -> dict[str, float]:
    encode = make_column_transformer(
        (
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
            make_column_selector(dtype_exclude="number"),
        ),
        remainder="passthrough",
    )
    rows, others = encode.fit_transform(X.iloc[train]), encode.transform(X.iloc[test])
    start = time.process_time()
    model.fit(rows, y[train])
    seconds = time.process_time() - start
    probability = model.predict_proba(others)
    scores = {
        "accuracy": accuracy_score(y[test], model.predict(others)),
        "log-loss": log_loss(y[test], probability, labels=model.classes_),
        "AUC": _auc(y[test], probability, model.classes_),
    }
    return {**scores, "seconds": seconds}


def _auc(y: np.ndarray, probability: np.ndarray, classes: np.ndarray) -> float:
    if len(classes) == 2:
        return roc_auc_score(y, probability[:, 1])
    return roc_auc_score(y, probability, multi_class="ovr", labels=classes)


def _values(measured: dict[str, Any], name: str) -> np.ndarray:
    """Return a measure of shape (sets, contenders)."""
    return np.array([[v[name] for v in sets.values()] for sets in measured.values()]).T


def _ranking(group: str, measured: dict[str, Any], name: str) -> Table:
    """Return the contenders by one measure, best mean first."""
    values, names = _values(measured, name), list(measured)
    ranks = stats.rankdata(-SIGN[name] * values, axis=1).mean(0)
    seconds = _values(measured, "seconds").mean(0)
    ours = values[:, names.index(OURS)]
    rows = []
    for i in np.argsort(-SIGN[name] * values.mean(0)):
        p = "" if names[i] == OURS else _p(values[:, i], ours)
        mean = f"{values[:, i].mean():.4f}"
        rows.append([names[i], mean, f"{ranks[i]:.2f}", p, f"{seconds[i]:.2f}"])
    text = (
        f"{len(values)} real tables {group}, three splits each, everybody's defaults: mean, mean "
        f"rank (1 is best), the p of Wilcoxon's signed-rank test beside {OURS} over the sets, and "
        "CPU seconds per fit."
    )
    header = ["contender", name, "mean rank", "p", "seconds"]
    return Table(f"{name}, tables {group}", text, header, rows)


def _p(values: np.ndarray, ours: np.ndarray) -> str:
    return f"{stats.wilcoxon(values, ours, zero_method='zsplit').pvalue:.2g}"


def _by_set(group: str, measured: dict[str, Any]) -> Table:
    names = next(iter(measured.values()))
    rows = [
        [s, *(" / ".join(f"{measured[c][s][m]:.3f}" for m in SIGN) for c in measured)]
        for s in names
    ]
    return Table(f"Set by set, tables {group}", " / ".join(SIGN) + ".", ["table", *measured], rows)
