"""Does it hold on real tables? Everybody at the defaults, judged by labels and by probabilities.

The tables are those of the KEEL repository (https://sci2s.ugr.es/keel), one CSV file each in
``DIR/tables``: a header, the class in the last column, text as categories. Everybody gets at most
3,000 rows, three stratified splits and one thread. RealMLP, TabM and CatBoost get the table as it
is and the names of its categorical columns, as their defaults are meant, HUGClassifier the table
alone; all others get the categories one-hot. RealMLP's defaults smooth the labels and, like TabM's,
choose the epoch by accuracy; its authors advise other settings where log-loss or AUC counts.

The three are optional; a contender whose package is missing is left out, and the tables say so:

    pip install pytabkit==1.7.3 catboost
    python benchmarks/evidence --data DIR --only real_tables

``--contenders NAME ...`` measures these alone and keeps the others' figures of the run before, if
that had the same rows and splits. Each line tells its day. Seconds of two machines do not compare:
on another machine measure everybody.
"""

from __future__ import annotations

import datetime
import gzip
import logging
import time
import zlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

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
from threadpoolctl import threadpool_limits

from evidence.harness import Lab, Table, publish, published
from skhug import HUGClassifier

# Defaults may be chosen on these; the others are for one last look. One choice went by a part of
# letter: that of MLP.stretch_for.
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


def of_pytabkit(name: str, seed: int) -> ClassifierMixin:
    """Return an estimator of pytabkit that is silent."""
    import pytabkit
    import pytorch_lightning  # noqa: F401  its import sets the level

    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    return getattr(pytabkit, name)(random_state=seed, device="cpu", n_threads=1, verbosity=0)


def catboost(seed: int) -> ClassifierMixin:
    """Return CatBoost's classifier, silent and without files."""
    from catboost import CatBoostClassifier

    return CatBoostClassifier(
        random_state=seed, thread_count=1, verbose=False, allow_writing_files=False
    )


class Contender(NamedTuple):
    """An estimator for a seed, and what is special about it.

    ``categories`` is the keyword of its ``fit`` for the names of categorical columns, empty if it
    finds them by their dtype; without one it gets these one-hot.
    """

    make: Callable[[int], ClassifierMixin]
    categories: str | None = None
    package: str = "scikit-learn"


CONTENDERS = {
    OURS: Contender(lambda seed: HUGClassifier(random_state=seed), "", "torch"),
    "MLPClassifier, scaled": Contender(lambda seed: scaled(MLPClassifier(random_state=seed))),
    "SVC, scaled": Contender(lambda seed: scaled(SVC(probability=True, random_state=seed))),
    "LogisticRegression, scaled": Contender(lambda seed: scaled(LogisticRegression(max_iter=1000))),
    "RandomForestClassifier": Contender(lambda seed: RandomForestClassifier(random_state=seed)),
    "HistGradientBoostingClassifier": Contender(
        lambda seed: HistGradientBoostingClassifier(random_state=seed)
    ),
    "RealMLP_TD_Classifier": Contender(
        lambda seed: of_pytabkit("RealMLP_TD_Classifier", seed), "cat_col_names", "pytabkit"
    ),
    "TabM_D_Classifier": Contender(
        lambda seed: of_pytabkit("TabM_D_Classifier", seed), "cat_col_names", "pytabkit"
    ),
    "CatBoostClassifier": Contender(catboost, "cat_features", "catboost"),
}
OPTIONAL = ("pytabkit", "catboost")
# Contender by contender and set by set, the measures of every split.
Measured = dict[str, dict[str, dict[str, list[float]]]]


def ask(lab: Lab) -> None:
    """Measure everybody on every table, and publish ranks and values."""
    if lab.folder is None or not (lab.folder / "tables").is_dir():
        raise SystemExit("real_tables: pass --data DIR, with the tables as DIR/tables/NAME.csv.gz.")
    groups = {"to choose on": TO_CHOOSE_ON[:3] if lab.quick else TO_CHOOSE_ON}
    if not lab.quick:
        groups["for one last look"] = TO_LOOK_AT_ONCE
    rows = {name: _fingerprint(lab.folder, name) for names in groups.values() for name in names}
    measuring, before = _shared_out(lab, rows)
    when = {**before.get("measured", {}), **{c: _today(c) for c in measuring}}
    names = [c for c in CONTENDERS if c in when]
    if OURS not in names:
        raise SystemExit(f"real_tables: measure {OURS} first; the others stand beside it.")
    tables, results = [], {"measured": when, "rows": rows}
    for group, sets in groups.items():
        everybody = {**before.get(group, {}), **measure(lab, sets, measuring)}
        results[group] = measured = {c: everybody[c] for c in names}
        tables += [_ranking(group, measured, m, when) for m in SIGN] + [by_set(group, measured)]
    publish(lab, "real_tables", tables, results)


def _shared_out(lab: Lab, rows: dict[str, int]) -> tuple[list[str], dict[str, Any]]:
    """Return who is to be measured, and the figures of the others."""
    if lab.contenders is None:
        return [c for c in CONTENDERS if _installed(CONTENDERS[c])], {}
    unknown = set(lab.contenders) - set(CONTENDERS)
    if unknown:
        raise SystemExit(f"real_tables: no contenders {unknown}; there are {list(CONTENDERS)}.")
    before = published(lab, "real_tables")
    if before and before.get("rows") != rows:
        raise SystemExit("real_tables: the run before had other rows or splits: measure everybody.")
    return list(lab.contenders), before


def _installed(contender: Contender) -> bool:
    return contender.package not in OPTIONAL or find_spec(contender.package) is not None


def _today(contender: str) -> dict[str, str]:
    """Return the day and the version of what a contender is built on."""
    package = CONTENDERS[contender].package
    return {"day": datetime.date.today().isoformat(), package: version(package)}


def measure(lab: Lab, names: tuple[str, ...], contenders: list[str]) -> Measured:
    """Return the measures of these contenders on these sets."""
    jobs = [(c, n) for c in contenders for n in names]
    found = Parallel(n_jobs=lab.jobs, batch_size=1)(
        delayed(_on_one_set)(lab.folder, name, contender) for contender, name in jobs
    )
    results: Measured = {c: {} for c in contenders}
    for (contender, name), values in zip(jobs, found, strict=True):
        results[contender][name] = values
    return results


def _on_one_set(folder: Path, name: str, contender: str) -> dict[str, list[float]]:
    torch.set_num_threads(1)
    X, y = load(folder, name)
    with threadpool_limits(1):
        scores = [
            _score(CONTENDERS[contender], seed, X, y, train, test)
            for seed, (train, test) in enumerate(splits(X, y))
        ]
    return {key: [round(float(score[key]), 6) for score in scores] for key in scores[0]}


def splits(X: pd.DataFrame, y: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the rows to train on and to test on, three times."""
    return StratifiedShuffleSplit(3, test_size=0.3, random_state=0).split(X, y)


def _fingerprint(folder: Path, name: str) -> int:
    """Return a checksum of a table and its splits."""
    found = zlib.crc32(gzip.decompress((folder / "tables" / f"{name}.csv.gz").read_bytes()))
    X, y = load(folder, name)
    for train, test in splits(X, y):
        for rows in (train, test):
            found = zlib.crc32(X.index.to_numpy()[rows].astype(np.int64).tobytes(), found)
    return found


def load(folder: Path, name: str) -> tuple[pd.DataFrame, np.ndarray]:
    """Return a table and its classes, at most 3,000 rows of it."""
    table = pd.read_csv(folder / "tables" / f"{name}.csv.gz")
    rows = np.random.default_rng(0).permutation(len(table))[:MOST_ROWS]
    if len(table) > MOST_ROWS:
        table = table.iloc[rows]
    return table.drop(columns="class"), table["class"].to_numpy()


def _score(
    contender: Contender,
    seed: int,
    X: pd.DataFrame,
    y: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> dict[str, float]:
    rows, others, extra = X.iloc[train], X.iloc[test], {}
    categories = make_column_selector(dtype_exclude="number")
    if contender.categories:
        extra = {contender.categories: categories(X)}
    elif contender.categories is None:
        one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        encode = make_column_transformer((one_hot, categories), remainder="passthrough")
        rows, others = encode.fit_transform(rows), encode.transform(others)
    model = contender.make(seed)
    start = time.process_time()
    model.fit(rows, y[train], **extra)
    seconds = time.process_time() - start
    # In float64 for all: the logarithm of a zero is cut off where the dtype ends.
    probability = np.asarray(model.predict_proba(others), dtype=float)
    probability /= probability.sum(1, keepdims=True)
    scores = {
        "accuracy": accuracy_score(y[test], np.ravel(model.predict(others))),
        "log-loss": log_loss(y[test], probability, labels=model.classes_),
        "AUC": area(y[test], probability, model.classes_),
    }
    return {**scores, "seconds": seconds}


def area(y: np.ndarray, probability: np.ndarray, classes: np.ndarray) -> float:
    """Return the area under the ROC curve, of more than two classes one against the rest."""
    if len(classes) == 2:
        return roc_auc_score(y, probability[:, 1])
    return roc_auc_score(y, probability, multi_class="ovr", labels=classes)


def _values(measured: Measured, name: str) -> np.ndarray:
    """Return the means of a measure over the splits, of shape (sets, contenders)."""
    return np.array([[np.mean(v[name]) for v in sets.values()] for sets in measured.values()]).T


def _ranking(group: str, measured: Measured, name: str, when: dict[str, Any]) -> Table:
    """Return the contenders by one measure, best mean first."""
    values, names = _values(measured, name), list(measured)
    ranks = stats.rankdata(-SIGN[name] * values, axis=1).mean(0)
    seconds, our = _values(measured, "seconds"), names.index(OURS)
    times = np.median(seconds / seconds[:, [our]], axis=0)
    rows = []
    for i in np.argsort(-SIGN[name] * values.mean(0)):
        p = "" if i == our else _p(values[:, i], values[:, our])
        cells = [f"{values[:, i].mean():.4f}", f"{ranks[i]:.2f}", p]
        cells += [f"{seconds[:, i].mean():.2f}", f"{times[i]:.2g}", when[names[i]]["day"]]
        rows.append([names[i], *cells])
    text = (
        f"{len(values)} real tables {group}, three splits each, everybody's defaults: mean, mean "
        f"rank (1 is best), the p of Wilcoxon's signed-rank test beside {OURS} over the sets, CPU "
        "seconds per fit on one thread, how many times ours that is in the median of the sets, and "
        "the day of the measurement."
    )
    missing = [c for c in CONTENDERS if c not in measured]
    if missing:
        text += f" Not measured: {', '.join(missing)}."
    header = ["contender", name, "mean rank", "p", "seconds", "times ours", "measured"]
    return Table(f"{name}, tables {group}", text, header, rows)


def _p(values: np.ndarray, ours: np.ndarray) -> str:
    return f"{stats.wilcoxon(values, ours, zero_method='zsplit').pvalue:.2g}"


def by_set(group: str, measured: Measured) -> Table:
    """Return the measures of everybody on each table."""
    names = next(iter(measured.values()))
    rows = [
        [s, *(" / ".join(f"{np.mean(measured[c][s][m]):.3f}" for m in SIGN) for c in measured)]
        for s in names
    ]
    return Table(f"Set by set, tables {group}", " / ".join(SIGN) + ".", ["table", *measured], rows)
