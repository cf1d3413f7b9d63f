"""Which score tells rows of unknown classes? Outputs, members, galleries and pixels.

Some classes are held out of training. A score is larger for what looks known, and is measured by
the ROC AUC of test rows of known classes against rows of classes held out: ten draws of seven
digits of ten, the characters of three alphabets against those of five others with three seeds, and
three draws of seven digits of MNIST, which were looked at once, when the list of scores was
complete. All models at their defaults but for what their names say; the alphabets are learned by
the network of ``retrieval.py`` in as many epochs.

Scores of one row alone: the largest product with a proxy (``score_samples``), the largest
probability, the length of what the network gives before it is normalised, the agreement of the
members of an ensemble (minus the mean squared distance of their points to their mean), and the
Mahalanobis distance to the nearest class mean in the last hidden layer (``KnownClasses``; Lee et
al., 2018). Scores that keep the training rows: closeness to the nearest of them as embedded (Sun et
al., 2022), with the length of the row's point, by members apart, in the last hidden layer, in
pixels, and the product of the distances in pixels and in the hidden layer or the embedding.

    python benchmarks/evidence --data DIR --only open_set
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import load_mnist, mean_and_error, show
from joblib import Parallel, delayed
from scipy import stats
from sklearn.base import ClassifierMixin
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits
from torch.nn.functional import normalize

from evidence.harness import Lab, Table, publish
from skhug import HUGClassifier
from skhug.encoders import MLP, ConvNet
from skhug.novelty import KnownClasses

UNKNOWN_ALPHABETS = ("Greek", "Japanese_(katakana)", "Tagalog")
YARDSTICK = "nearest row, pixels"


class Split(NamedTuple):
    """Training rows of known classes, test rows of these, and rows of unknown ones."""

    X: np.ndarray
    y: np.ndarray
    X_known: np.ndarray
    y_known: np.ndarray
    X_unknown: np.ndarray


def digits(folder: Path | None, seed: int) -> Split:
    """Seven of the bundled digits; a quarter of their rows is for the test."""
    return _divided(*load_digits(return_X_y=True), _drawn(seed), seed)


def characters(folder: Path | None, seed: int) -> Split:
    """Omniglot's characters of five alphabets; 5 of 20 drawings are for the test."""
    with np.load(folder / "omniglot.npz") as file:
        alphabet = file["alphabet_names"][file["alphabet"]]
        X, y = file["X"], file["y"]
    return _divided(X, y, y[~np.isin(alphabet, UNKNOWN_ALPHABETS)], seed)


def mnist(folder: Path | None, seed: int) -> Split:
    """Seven digits among 10,000 rows; the official test rows."""
    X, y, X_test, y_test = load_mnist(folder)
    rows = np.random.default_rng(seed).permutation(len(X))[:10_000]
    rows = rows[np.isin(y[rows], _drawn(seed))]
    known = np.isin(y_test, _drawn(seed))
    return Split(X[rows], y[rows], X_test[known], y_test[known], X_test[~known])


def _drawn(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).permutation(10)[:7]


def _divided(X: np.ndarray, y: np.ndarray, classes: np.ndarray, seed: int) -> Split:
    known = np.isin(y, classes)
    X_train, X_test, y_train, y_test = train_test_split(
        X[known], y[known], test_size=0.25, stratify=y[known], random_state=seed
    )
    return Split(X_train, y_train, X_test, y_test, X[~known])


def by_perceptron(split: Split, seed: int, **encoder: Any) -> dict[str, np.ndarray]:
    """Scores of a perceptron of ours."""
    model = HUGClassifier(MLP(**encoder), random_state=seed).fit(split.X, split.y)
    return _of_ours(model, split)


def by_convnet(split: Split, seed: int) -> dict[str, np.ndarray]:
    """Scores of a convolutional network of ours."""
    network = ConvNet((32, 64, 128, 128), n_pools=2, readout="average")
    model = HUGClassifier(
        network, learning_rate=2e-3, weight_decay=0.1, batch_size=128, max_epochs=15,
        random_state=seed,
    )  # fmt: skip
    return _of_ours(model.fit(split.X, split.y), split)


def by_peer(split: Split, seed: int) -> dict[str, np.ndarray]:
    """The largest probability of scikit-learn's perceptron."""
    model: ClassifierMixin = make_pipeline(StandardScaler(), MLPClassifier(random_state=seed))
    model.fit(_pixels(split.X), split.y)
    X = _pixels(_looked_at(split))
    return {"largest probability": model.predict_proba(X).max(1)} | _right(model, split, _pixels)


def by_search(split: Split, seed: int) -> dict[str, np.ndarray]:
    """Searches without a model."""
    train, X = _pixels(split.X), _pixels(_looked_at(split))
    return {
        YARDSTICK: -_nearest(train, X),
        "local outlier factor, pixels": LocalOutlierFactor(novelty=True)
        .fit(train)
        .score_samples(X),
    }


def _of_ours(model: HUGClassifier, split: Split) -> dict[str, np.ndarray]:
    X = _looked_at(split)
    known = KnownClasses(model).fit(split.X, split.y)
    own, row = Parts.of(model, split.X), Parts.of(model, X)
    pixels = _nearest(_pixels(split.X), _pixels(X))
    embedding, hidden = _nearest(own.unit, row.unit), _nearest(own.hidden, row.hidden)
    return {
        "largest product (score_samples)": model.score_samples(X),
        "largest probability": model.predict_proba(X).max(1),
        "length of the output": row.length,
        "agreement of members": row.agreement,
        "Mahalanobis, hidden layer": known.score_samples(X),
        "nearest row, embedding": -embedding,
        "nearest row, embedding and length": (row.ball @ own.unit.T).max(1),
        "nearest row, members apart": -_nearest(own.apart, row.apart),
        "nearest row, hidden layer": -hidden,
        "nearest row, embedding x pixels": -_product(embedding, pixels),
        "nearest row, hidden layer x pixels": -_product(hidden, pixels),
    } | _right(model, split)


def _product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Product of distances, of which a few may be 0 by rounding."""
    return (a + 1e-4 * np.median(a)) * b


class Parts(NamedTuple):
    """What the members of a network make of rows, side by side."""

    unit: np.ndarray
    ball: np.ndarray
    apart: np.ndarray
    hidden: np.ndarray
    length: np.ndarray
    agreement: np.ndarray

    @classmethod
    @torch.inference_mode()
    def of(cls, model: HUGClassifier, X: np.ndarray) -> Parts:
        """Run the members, block by block."""
        encoder = model.module_.eval()
        networks = getattr(encoder.body, "networks", [encoder.body])
        blocks = []
        for block in torch.from_numpy(X).split(1000):
            rows = encoder.prepare(block)
            hidden = torch.stack([network[:-1](rows) for network in networks])
            raw = torch.stack([n[-1](h) for n, h in zip(networks, hidden, strict=True)])
            z = encoder.on_ball(raw.flatten(0, 1)).view_as(raw)
            ball = z.mean(0)
            spread = (z - ball).square().sum(2).mean(0)
            apart, features = (t.transpose(0, 1).flatten(1) for t in (z, normalize(hidden, dim=2)))
            length = raw.norm(dim=2).mean(0)
            blocks.append((normalize(ball), ball, apart, features, length, -spread))
        return cls(*(torch.cat(part).float().numpy() for part in zip(*blocks, strict=True)))


def _nearest(rows: np.ndarray, X: np.ndarray) -> np.ndarray:
    """Distance to the nearest row."""
    search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(rows)
    return search.kneighbors(X)[0][:, 0]


def _pixels(X: np.ndarray) -> np.ndarray:
    return X.reshape(len(X), -1).astype(np.float32)


def _looked_at(split: Split) -> np.ndarray:
    return np.concatenate([split.X_known, split.X_unknown])


def _right(model: Any, split: Split, prepare: Callable = np.asarray) -> dict[str, np.ndarray]:
    return {"accuracy": np.mean(model.predict(prepare(split.X_known)) == split.y_known)}


Scorer = Callable[[Split, int], dict[str, np.ndarray]]
PERCEPTRONS: dict[str, Scorer] = {
    "four members": partial(by_perceptron, members=4),
    "four soft members": partial(by_perceptron, members=4, softness=100.0),
}
OTHERS: dict[str, Scorer] = {"MLPClassifier": by_peer, "no model": by_search}
# What is looked at: the data, the models, the seeds.
CASES: dict[str, tuple[Callable, dict[str, Scorer], range]] = {
    "digits": (digits, {**PERCEPTRONS, **OTHERS}, range(10)),
    "characters": (
        characters,
        {"a ConvNet": by_convnet, **OTHERS},
        range(3),
    ),
    "MNIST": (mnist, {"one network": by_perceptron, **OTHERS}, range(3)),
}


def trial(folder: Path | None, case: str, model: str, seed: int) -> dict[str, float]:
    """Return the area under the ROC curve of each score of a model, and its accuracy."""
    torch.set_num_threads(1)
    draw, models, _ = CASES[case]
    split = draw(folder, seed)
    is_known = np.repeat([True, False], [len(split.X_known), len(split.X_unknown)])
    with threadpool_limits(1), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLPClassifier's 200 epochs
        scores = models[model](split, seed)
    accuracy = scores.pop("accuracy", None)
    areas = {
        name: float(roc_auc_score(is_known, score))
        for name, score in scores.items()
        if np.ptp(score) > 1e-6  # one network has no spread
    }
    return areas if accuracy is None else {"accuracy": float(accuracy), **areas}


def ask(lab: Lab) -> None:
    """Measure every score on all data, and publish a table for each."""
    tables, results = [], {}
    run = lab.cache(trial, ignore=["folder"])
    for case in ("digits",) if lab.quick else CASES:
        _, models, seeds = CASES[case]
        seeds = seeds[:2] if lab.quick else seeds
        jobs = [(model, seed) for model in models for seed in seeds]
        found = Parallel(n_jobs=lab.jobs, batch_size=1)(
            delayed(run)(lab.folder, case, *job) for job in jobs
        )
        areas: dict[str, dict[str, list[float]]] = {}
        for (model, _), measured in zip(jobs, found, strict=True):
            for name, value in measured.items():
                areas.setdefault(model, {}).setdefault(name, []).append(round(value, 5))
        results[case] = areas
        tables.append(_table(case, areas))
    publish(lab, "open_set", tables, results)


def _table(case: str, areas: dict[str, dict[str, list[float]]]) -> Table:
    """Scores of all models, best first, each beside the nearest row in pixels."""
    plain = np.array(areas["no model"][YARDSTICK])
    rows = []
    for model, scores in areas.items():
        for name, values in scores.items():
            if name != "accuracy":
                difference = np.array(values) - plain
                rows.append((model, name, mean_and_error(values), _verdict(difference)))
    rows.sort(key=lambda row: -row[2]["mean"])
    accuracy = ", ".join(
        f"{model} {show(mean_and_error(scores['accuracy']), 3)}"
        for model, scores in areas.items()
        if "accuracy" in scores
    )
    text = (
        f"Known against unknown classes, {len(plain)} draws: area under the ROC curve, mean and "
        f"standard error, best first. Accuracy on the known classes: {accuracy}."
    )
    header = ["model", "score", "ROC AUC", "beside the nearest row in pixels"]
    return Table(
        f"Open set: {case}", text, header, [[m, n, show(c), v] for m, n, c, v in rows]
    )  # fmt: skip


def _verdict(difference: np.ndarray) -> str:
    """Mean difference, and what a paired t-test says at 5 %."""
    mean, shown = difference.mean(), show(mean_and_error(difference))
    if not np.ptp(difference):
        return "" if not mean else shown
    if stats.ttest_1samp(difference, 0).pvalue > 0.05:
        return f"{shown}, level"
    return f"{shown}, {'better' if mean > 0 else 'worse'}"
