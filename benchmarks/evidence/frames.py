"""Are tables taken as they come? Text, categories and gaps, in one line and behind skrub.

Seven real tables with categories (KEEL repository, as in ``real_tables``; columns that are known to
be nominal are given the dtype "category") lose a tenth of their cells by chance. Everybody gets the
data frame as it is: ours alone, ours and the peers behind ``skrub.tabular_pipeline``, which encodes
and imputes, and scikit-learn's boosting, which takes both by itself. Defaults, three splits, one
thread:

    pip install skrub
    python benchmarks/evidence --data DIR --only frames
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import stats
from sklearn.base import ClassifierMixin
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from evidence.harness import Lab, Table, publish
from evidence.real_tables import SIGN, area, by_set, load, splits
from skhug import HUGClassifier

# The columns that hold names in the guise of numbers, beside those of text.
NOMINAL = {
    "australian": ("c3", "c4", "c5", "c11"),
    "contraceptive": ("c6",),
    "german": (),
    "heart": ("c2", "c6", "c12"),
    "marketing": ("c0", "c1", "c4", "c6", "c9", "c10", "c11", "c12"),
    "titanic": ("c0", "c1", "c2"),
}
TO_LOOK_AT_ONCE = {"splice": ()}
MISSING = 0.1
OURS = "HUGClassifier()"


def behind_skrub(estimator: ClassifierMixin) -> ClassifierMixin:
    """Return the estimator behind skrub's encoders, imputer and scaler as it needs them."""
    from skrub import tabular_pipeline

    return tabular_pipeline(estimator)


CONTENDERS: dict[str, Callable[[int], ClassifierMixin]] = {
    OURS: lambda seed: HUGClassifier(random_state=seed),
    "skrub.tabular_pipeline(HUGClassifier())": lambda seed: behind_skrub(
        HUGClassifier(random_state=seed)
    ),
    "skrub.tabular_pipeline(MLPClassifier())": lambda seed: behind_skrub(
        MLPClassifier(random_state=seed)
    ),
    "skrub.tabular_pipeline(LogisticRegression())": lambda seed: behind_skrub(
        LogisticRegression(max_iter=1000)
    ),
    "HistGradientBoostingClassifier()": lambda seed: HistGradientBoostingClassifier(
        categorical_features="from_dtype", random_state=seed
    ),
}


def ask(lab: Lab) -> None:
    """Measure everybody on every table, and publish means, ranks and values."""
    if lab.folder is None or not (lab.folder / "tables").is_dir():
        raise SystemExit("frames: pass --data DIR, with the tables as DIR/tables/NAME.csv.gz.")
    sets = NOMINAL if not lab.quick else {"heart": NOMINAL["heart"]}
    groups = {"to choose on": sets} | ({} if lab.quick else {"for one last look": TO_LOOK_AT_ONCE})
    tables, results = [], {"versions": {p: version(p) for p in ("skrub", "scikit-learn", "torch")}}
    for group, names in groups.items():
        jobs = [(contender, name) for contender in CONTENDERS for name in names]
        found = Parallel(n_jobs=lab.jobs, batch_size=1)(
            delayed(_on_one_set)(lab.folder, name, contender) for contender, name in jobs
        )
        measured = {contender: {} for contender in CONTENDERS}
        for (contender, name), values in zip(jobs, found, strict=True):
            measured[contender][name] = values
        results[group] = measured
        tables += [_means(group, measured), by_set(group, measured)]
    publish(lab, "frames", tables, results)


def frame(folder: Path, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table with its dtypes, without a tenth of its cells, and its classes."""
    X, y = load(folder, name)
    nominal = [*(NOMINAL | TO_LOOK_AT_ONCE)[name], *X.columns[X.dtypes.map(_is_text)]]
    X = X.astype(dict.fromkeys(nominal, "category"))
    gone = np.random.default_rng(0).random(X.shape) < MISSING
    return X.mask(gone), y


def _is_text(dtype: object) -> bool:
    return not pd.api.types.is_numeric_dtype(dtype)


def _on_one_set(folder: Path, name: str, contender: str) -> dict[str, list[float]]:
    torch.set_num_threads(1)
    X, y = frame(folder, name)
    scores = []
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLPClassifier's 200 epochs
        for seed, (train, test) in enumerate(splits(X, y)):
            model, start = CONTENDERS[contender](seed), time.process_time()
            model.fit(X.iloc[train], y[train])
            seconds = time.process_time() - start
            scores.append({**_score(model, X.iloc[test], y[test]), "seconds": seconds})
    return {key: [round(float(score[key]), 6) for score in scores] for key in scores[0]}


def _score(model: ClassifierMixin, X: pd.DataFrame, y: np.ndarray) -> dict[str, float]:
    probability = np.asarray(model.predict_proba(X), dtype=float)
    probability /= probability.sum(1, keepdims=True)
    return {
        "accuracy": float(np.mean(model.predict(X) == y)),
        "log-loss": log_loss(y, probability, labels=model.classes_),
        "AUC": area(y, probability, model.classes_),
    }


def _means(group: str, measured: dict) -> Table:
    """Return means and mean ranks of all measures, best log-loss first."""
    values = {
        m: np.array([[np.mean(v[m]) for v in sets.values()] for sets in measured.values()])
        for m in (*SIGN, "seconds")
    }
    ranks = {m: stats.rankdata(-SIGN[m] * values[m], axis=0).mean(1) for m in SIGN}
    names = list(measured)
    rows = []
    for i in np.argsort(values["log-loss"].mean(1)):
        cells = [f"{values[m][i].mean():.4f} ({ranks[m][i]:.1f})" for m in SIGN]
        rows.append([names[i], *cells, f"{values['seconds'][i].mean():.2f}"])
    text = (
        f"{values['AUC'].shape[1]} real tables with categories {group}, a tenth of all cells "
        "removed, three splits each, defaults: mean and mean rank; CPU seconds of a fit."
    )
    return Table(f"Tables with gaps, {group}", text, ["", *SIGN, "seconds"], rows)
