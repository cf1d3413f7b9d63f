"""Does it hold on text? Sparse rows of real words, everybody at the defaults.

The texts are the docstrings of the packages that are installed beside skhug, read when this runs,
and the class is the package: those with 400 docstrings or more, at most 300 of each, none twice.
The rows of a file are all in the training part or all in the test part. Words come as
``TfidfVectorizer()`` and ``CountVectorizer()`` make them, and the first eight words of each
docstring as eight categories, one-hot. Three splits, one thread, the same rows for all. What is
ours for sparse rows was chosen on one split of these packages' docstrings, with 600 of each, by
TF-IDF and counts: no other text was at hand.

"chosen C" is logistic regression with C of 0.1, 1, 10 or 100, by the log-loss of a fifth of the
training files. ``MLPClassifier`` stops early: its 200 passes take the better part of an hour.

    python benchmarks/evidence --only text
"""

from __future__ import annotations

import ast
import sysconfig
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from joblib import Parallel, delayed
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import GroupShuffleSplit
from sklearn.naive_bayes import ComplementNB, MultinomialNB
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import OneHotEncoder
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from evidence.harness import Lab, Table, publish
from skhug import HUGClassifier

SITE = Path(sysconfig.get_paths()["purelib"])
LEAST, MOST, FEWEST_WORDS = 400, 300, 8
OURS = "HUGClassifier"
CHOICES_OF_C = (0.1, 1.0, 10.0, 100.0)
MEASURES = ("accuracy", "log-loss", "AUC")


class ChosenC(ClassifierMixin, BaseEstimator):
    """Logistic regression with C by the log-loss of a fifth of the groups."""

    def fit(self, X: Any, y: np.ndarray, groups: np.ndarray) -> ChosenC:
        """Choose on rows set aside, and fit on all."""
        train, held_out = next(
            GroupShuffleSplit(1, test_size=0.2, random_state=0).split(X, y, groups)
        )
        losses = {}
        for C in CHOICES_OF_C:
            model = LogisticRegression(C=C, max_iter=300).fit(X[train], y[train])
            probability = model.predict_proba(X[held_out])
            losses[C] = log_loss(y[held_out], probability, labels=model.classes_)
        self.C_ = min(losses, key=losses.get)
        self.model_ = LogisticRegression(C=self.C_, max_iter=300).fit(X, y)
        self.classes_ = self.model_.classes_
        return self

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the chosen one."""
        return self.model_.predict_proba(X)


CONTENDERS: dict[str, Callable[[int], Any]] = {
    OURS: lambda seed: HUGClassifier(random_state=seed),
    "LogisticRegression": lambda seed: LogisticRegression(max_iter=300),
    "LogisticRegression, chosen C": lambda seed: ChosenC(),
    "MultinomialNB": lambda seed: MultinomialNB(),
    "ComplementNB": lambda seed: ComplementNB(),
    "LinearSVC": lambda seed: LinearSVC(random_state=seed),
    "MLPClassifier, early stopping": lambda seed: MLPClassifier(
        early_stopping=True, random_state=seed
    ),
}


def docstrings() -> Iterator[tuple[str, str, str]]:
    """Yield (text, package, file) of every function and class that is installed, skhug's aside."""
    seen = set()
    for path in sorted(SITE.rglob("*.py")):
        package, *inner = path.relative_to(SITE).parts
        if (
            not inner
            or package in ("skhug",)
            or package[0] in "._"
            or {"tests", "_vendor"} & set(inner)
        ):
            continue
        try:
            tree = ast.parse(path.read_text())
        except (SyntaxError, UnicodeDecodeError, ValueError):  # templates, and files made to fail
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                text = ast.get_docstring(node)
                if text and len(text.split()) >= FEWEST_WORDS and text not in seen:
                    seen.add(text)
                    yield text, package, str(path)


def corpus(most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return texts, packages and files, at most so many of a package."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other packages' string escapes
        found = list(docstrings())
    counts = Counter(package for _, package, _ in found)
    by_package = {name: [row for row in found if row[1] == name] for name in counts}
    rng = np.random.default_rng(0)
    kept = [
        rows[i]
        for name, rows in sorted(by_package.items())
        if counts[name] >= LEAST
        for i in rng.permutation(len(rows))[:most]
    ]
    texts, packages, files = (np.array(column, dtype=object) for column in zip(*kept, strict=True))
    return texts, packages, files


def first_words(texts: np.ndarray) -> np.ndarray:
    """Return the first words of each text as columns."""
    words = [text.lower().split()[:FEWEST_WORDS] for text in texts]
    return np.array(words, dtype=object)


VECTORS = {
    "TF-IDF": TfidfVectorizer,
    "counts": CountVectorizer,
    "one-hot": lambda: OneHotEncoder(handle_unknown="ignore"),
}


def score(
    name: str,
    vectors: str,
    seed: int,
    n_texts: int,
    texts: np.ndarray,
    y: np.ndarray,
    files: np.ndarray,
) -> dict[str, float]:
    """Return what a contender reaches on a split, and its seconds.

    The cache knows the corpus by its number of texts.
    """
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    splits = GroupShuffleSplit(1, test_size=0.3, random_state=seed)
    train, test = next(splits.split(texts, y, files))
    inputs = first_words(texts) if vectors == "one-hot" else texts
    vectorizer = VECTORS[vectors]()
    X, X_test = vectorizer.fit_transform(inputs[train]), vectorizer.transform(inputs[test])
    model = CONTENDERS[name](seed)
    groups = (files[train],) if isinstance(model, ChosenC) else ()
    with threadpool_limits(1):
        start = time.process_time()
        model.fit(X, y[train], *groups)
        seconds = time.process_time() - start
        has_probabilities = hasattr(model, "predict_proba")
        of_classes = (model.predict_proba if has_probabilities else model.decision_function)(X_test)
    truth = y[test, None] == model.classes_
    found = {
        "accuracy": float(np.mean(truth[np.arange(len(test)), of_classes.argmax(1)])),
        "AUC": float(roc_auc_score(truth, of_classes, average="macro")),
        "seconds": seconds,
        "rows": len(train),
        "columns": X.shape[1],
    }
    if has_probabilities:
        found["log-loss"] = log_loss(y[test], of_classes, labels=model.classes_)
    return found


def ask(lab: Lab) -> None:
    """Measure everybody and publish."""
    texts, y, files = corpus(100 if lab.quick else MOST)
    seeds = range(1 if lab.quick else 3)
    jobs = [(name, v, seed) for seed in seeds for v in VECTORS for name in CONTENDERS]
    cached = lab.cache(score, ignore=["texts", "y", "files"])
    scores = Parallel(n_jobs=lab.jobs, batch_size=1)(
        delayed(cached)(*job, len(texts), texts, y, files) for job in jobs
    )
    results: dict[str, Any] = {"classes": len(np.unique(y)), "texts": len(texts)}
    for v in VECTORS:
        results[v] = {
            name: [s for (n, w, _), s in zip(jobs, scores, strict=True) if (n, w) == (name, v)]
            for name in CONTENDERS
        }
    publish(lab, "text", [_table(v, results) for v in VECTORS], results)


def _table(vectors: str, results: dict[str, Any]) -> Table:
    of_vectors = results[vectors]
    ours = of_vectors[OURS]
    rows = []
    for name in sorted(of_vectors, key=lambda n: -_mean(of_vectors[n], "accuracy")):
        found = of_vectors[name]
        cells = [f"{_mean(found, m):.4f}" if m in found[0] else "-" for m in MEASURES]
        better = [_better(ours, found, m) for m in MEASURES if m in found[0]]
        verdict = "" if name == OURS else " ".join(better)
        rows.append([name, *cells, verdict, f"{_mean(found, 'seconds'):.1f}"])
    text = (
        f"{results['texts']:,} docstrings of {results['classes']} packages, "
        f"{_mean(ours, 'rows'):,.0f} to train on, {_mean(ours, 'columns'):,.0f} columns: means of "
        f"{len(ours)} splits, in how many of them ours is better by each measure, and CPU seconds "
        "of a fit on one thread."
    )
    header = ["contender", *MEASURES, "ours better", "seconds"]
    return Table(f"{vectors} of docstrings", text, header, rows)


def _mean(found: list[dict[str, float]], measure: str) -> float:
    return float(np.mean([f[measure] for f in found]))


def _better(ours: list[dict[str, float]], found: list[dict[str, float]], measure: str) -> str:
    sign = -1 if measure == "log-loss" else 1
    wins = sum(sign * a[measure] > sign * b[measure] for a, b in zip(ours, found, strict=True))
    return f"{wins}/{len(ours)}"
