"""Data sets, what is done to their labels and classes, and how validation rows are set aside."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn import datasets
from sklearn.model_selection import train_test_split


class Task(NamedTuple):
    """What to learn, as a few values that a cache can be keyed by.

    ``rows`` training rows of ``data``, or all of them (0), after ``change``: one of
    :data:`CHANGES` and its amount. ``fold`` numbers the draw: of the test rows where there is no
    official test set, and of the rows and the change.
    """

    data: str
    rows: int = 0
    change: tuple[str, float] | None = None
    fold: int = 0


class Split(NamedTuple):
    """Rows to train on and rows to score, labels as class indices below ``n_classes``."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray
    n_classes: int


def drawn(split: Split, n_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a fixed draw of the test rows, which may lie sorted by class, and their labels."""
    rows = np.random.RandomState(0).permutation(len(split.y_test))[:n_rows]
    return split.X_test[rows], split.y_test[rows]


def load(folder: Path | None, task: Task, validation: float = 0.0) -> Split:
    """Return a task's rows.

    Parameters
    ----------
    folder : Path or None
        With ``mnist.npz`` and ``cifar10.npz``; without it these come from OpenML.
    task : Task
        What to load.
    validation : float
        Share of the training rows that takes the test rows' place, changed labels and all; 0 is
        the test. Of a long tail, whose smallest classes have no row to spare, it is rows of the
        training set that the task does not use, as many of each class.
    """
    split = IMAGES[task.data](folder) if task.data in IMAGES else _tabular(folder, task)
    rng = np.random.RandomState(1000 * task.fold)
    X, y, used = split.X, split.y, np.arange(len(split.y))
    if task.rows:
        rows = rng.permutation(len(y))[: task.rows]
        X, y, used = X[rows], y[rows], rows
    if task.change:
        name, amount = task.change
        rows, y = CHANGES[name](y, amount, rng)
        X, used = X[rows], used[rows]
    X_test, y_test = split.X_test, split.y_test
    if validation and task.change and task.change[0] == "long tail":
        rows = _alike(split.y, used)
        X_test, y_test = split.X[rows], split.y[rows]
    elif validation:
        X, X_test, y, y_test = train_test_split(
            X, y, test_size=validation, stratify=y, random_state=task.fold
        )
    return Split(X, y, X_test, y_test, split.n_classes)


def _alike(y: np.ndarray, used: np.ndarray, most: int = 200) -> np.ndarray:
    """Return rows that are not used, as many of each class, and at most so many."""
    left = np.setdiff1d(np.arange(len(y)), used)
    left = np.random.RandomState(0).permutation(left)
    count = min(most, np.bincount(y[left], minlength=y.max() + 1).min())
    if count == 0:
        raise ValueError("The task uses all rows of a class: pass it fewer.")
    return np.concatenate([left[y[left] == c][:count] for c in range(y.max() + 1)])


@cache  # a worker loads it once: unpacking it takes as long as a short training
def _mnist(folder: Path | None) -> Split:
    from common import load_mnist

    X, y, X_test, y_test = load_mnist(folder)
    return Split(X, y.astype(np.int64), X_test, y_test.astype(np.int64), 10)


@cache
def _cifar10(folder: Path | None) -> Split:
    """CIFAR-10 as uint8 images (n, 32, 32, 3)."""
    if folder is None:
        X, y = datasets.fetch_openml("CIFAR_10", version=1, as_frame=False, return_X_y=True)
        X = np.moveaxis(X.astype(np.uint8).reshape(-1, 3, 32, 32), 1, -1)
        X, y = np.ascontiguousarray(X), y.astype(np.int64)
        return Split(X[:50_000], y[:50_000], X[50_000:], y[50_000:], 10)
    with np.load(folder / "cifar10.npz") as file:
        X, y, X_test, y_test = (file[k] for k in ("X_train", "y_train", "X_test", "y_test"))
    return Split(X, y.astype(np.int64), X_test, y_test.astype(np.int64), 10)


IMAGES: dict[str, Callable[[Path | None], Split]] = {"mnist": _mnist, "cifar10": _cifar10}


def _characters(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Fifty characters of Omniglot, 14 by 14 pixels as flat rows."""
    with np.load(folder / "omniglot.npz") as file:
        X, y = file["X"], file["y"]
    some = (y >= FIRST_CHARACTER) & (y < FIRST_CHARACTER + 50)
    return X[some].reshape(-1, 14, 2, 14, 2).mean((2, 4)).reshape(-1, 196), y[some]


def _letters(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Twenty-six letters in 16 measures, 3,000 rows."""
    with gzip.open(folder / "tables" / "letter.csv.gz", "rt") as file:
        values = np.loadtxt(file, delimiter=",", skiprows=1)
    values = values[np.random.default_rng(0).permutation(len(values))[:3000]]
    return values[:, :-1], values[:, -1]


def _docstrings(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Sentence vectors of the docstrings of seventeen packages."""
    with np.load(folder / "docstring_vectors.npz") as file:
        return file["X"], file["y"]


FIRST_CHARACTER = 120
# Name to (X, y) of files of a folder; without a folder there are none.
FILES: dict[str, Callable[[Path], tuple[np.ndarray, np.ndarray]]] = {
    "50 characters": _characters,
    "letter": _letters,
    "docstrings": _docstrings,
}


def _bundled(loader: Callable, **params) -> tuple[np.ndarray, np.ndarray]:
    return loader(return_X_y=True, **params)


def _openml(name: str, version: int) -> tuple[np.ndarray, np.ndarray]:
    return datasets.fetch_openml(name, version=version, as_frame=False, return_X_y=True)


_classes = partial(datasets.make_classification, random_state=0)
# Name to (X, y), at most a few thousand rows each.
TABULAR: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    "iris": partial(_bundled, datasets.load_iris),
    "wine": partial(_bundled, datasets.load_wine),
    "breast cancer": partial(_bundled, datasets.load_breast_cancer),
    "digits": partial(_bundled, datasets.load_digits),
    "moons, noise 0.3": partial(datasets.make_moons, 1000, noise=0.3, random_state=0),
    "circles, noise 0.15": partial(
        datasets.make_circles, 1000, noise=0.15, factor=0.6, random_state=0
    ),
    "hastie": partial(datasets.make_hastie_10_2, 2000, random_state=0),
    "gaussian quantiles": partial(
        datasets.make_gaussian_quantiles, n_samples=1500, n_features=6, n_classes=5, random_state=0
    ),
    "50 blobs": partial(
        datasets.make_blobs, 2500, 10, centers=50, cluster_std=3.0, random_state=0
    ),
    "easy": partial(_classes, 1000, 20, n_informative=10, class_sep=1.5),
    "clusters": partial(
        _classes, 2000, 20, n_informative=8, n_classes=4, n_clusters_per_class=4
    ),
    "noise features": partial(_classes, 1000, 100, n_informative=10, n_redundant=0, n_classes=3),
    "flipped labels": partial(_classes, 1500, 20, n_informative=10, n_classes=5, flip_y=0.2),
}  # fmt: skip
# With a network only, name to (X, y).
OPENML: dict[str, Callable[[], tuple[np.ndarray, np.ndarray]]] = {
    name: partial(_openml, name, version)
    for name, version in {"vehicle": 1, "segment": 1, "satimage": 1, "vowel": 2}.items()
}


def _tabular(folder: Path | None, task: Task) -> Split:
    """A third of the rows is the test set, drawn anew in every fold."""
    if task.data in FILES:
        X, labels = FILES[task.data](folder)
    else:
        X, labels = {**TABULAR, **OPENML}[task.data]()
    classes, y = np.unique(labels, return_inverse=True)
    X, X_test, y, y_test = train_test_split(
        X.astype(np.float32), y, test_size=1 / 3, stratify=y, random_state=task.fold
    )
    return Split(X, y, X_test, y_test, len(classes))


def _symmetric(y: np.ndarray, share: float, rng: np.random.RandomState):
    """Redraw a share of the labels uniformly from all classes."""
    redrawn = rng.uniform(size=len(y)) < share
    return np.arange(len(y)), np.where(redrawn, rng.randint(y.max() + 1, size=len(y)), y)


def _asymmetric(y: np.ndarray, share: float, rng: np.random.RandomState):
    """Turn a share of each class's labels into the next class's."""
    wrong = rng.uniform(size=len(y)) < share
    return np.arange(len(y)), np.where(wrong, (y + 1) % (y.max() + 1), y)


def _long_tail(y: np.ndarray, imbalance: float, rng: np.random.RandomState):
    """Keep ``imbalance^(-c / (C - 1))`` of class c's rows, from all of class 0's on."""
    n_classes = y.max() + 1
    order = rng.permutation(len(y))
    most = np.bincount(y).min()
    keep = np.maximum(np.rint(most * imbalance ** (-np.arange(n_classes) / (n_classes - 1))), 2)
    rows = np.concatenate([order[y[order] == c][: int(keep[c])] for c in range(n_classes)])
    return rows, y[rows]


# From labels, an amount and a random state to the rows kept and their labels.
CHANGES: dict[str, Callable] = {
    "symmetric": _symmetric,
    "asymmetric": _asymmetric,
    "long tail": _long_tail,
}
