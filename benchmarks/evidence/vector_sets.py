"""Vectors to put heads on: what is drawn, what a head sees of it, and what it is measured on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from evidence.backbones import cifar, omniglot
from evidence.harness import Lab

FILE = "docstring_vectors.npz"
CHOSEN_ON = 11


class Part(NamedTuple):
    """Rows and classes that a head sees, and others that it is measured on."""

    X: np.ndarray
    y: np.ndarray
    X_new: np.ndarray
    y_new: np.ndarray


class VectorSet(NamedTuple):
    """Vectors by the name of their files.

    ``search(lab, seed)`` returns rows whose classes are others than the new rows'; ``few(lab, seed,
    k)`` returns k rows a class and others of the same classes, for each k of ``counts``.
    """

    files: tuple[str, ...]
    search: Callable[[Lab, int], Part]
    few: Callable[[Lab, int, int], Part]
    counts: tuple[int, ...]


def load(folder: Path) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return rows, classes, and which rows are of packages to choose on, in an order by lot."""
    with np.load(folder / FILE) as file:
        X, y = file["X"].astype(np.float32), np.unique(file["y"], return_inverse=True)[1]
    order = np.random.default_rng(0).permutation(len(y))
    X, y = X[order], y[order]
    return X, y, y < CHOSEN_ON


def packages_chosen_on(lab: Lab, seed: int) -> Part:
    """Seven of the packages that settings were chosen on, and the four others."""
    X, y, chosen = load(lab.folder)
    seen = np.isin(y, np.random.default_rng(seed).permutation(CHOSEN_ON)[:7])
    return Part(X[seen], y[seen], X[chosen & ~seen], y[chosen & ~seen])


def other_packages(lab: Lab, seed: int) -> Part:
    """Eight of the packages that settings were chosen on, and those that they were not."""
    X, y, chosen = load(lab.folder)
    seen = np.isin(y, np.random.default_rng(seed).permutation(CHOSEN_ON)[:8])
    return Part(X[seen], y[seen], X[~chosen], y[~chosen])


def few_of_packages(chosen_on: bool) -> Callable[[Lab, int, int], Part]:
    """Return what draws k rows of each of the packages of one kind."""

    def few(lab: Lab, seed: int, k: int) -> Part:
        X, y, chosen = load(lab.folder)
        kept = chosen == chosen_on
        lot = np.random.default_rng(seed).permutation(np.count_nonzero(kept))
        return first_of_each(X[kept][lot], y[kept][lot], k)

    return few


def first_of_each(X: np.ndarray, y: np.ndarray, k: int) -> Part:
    """Return the first k rows of each class, and all others."""
    first = np.concatenate([np.flatnonzero(y == c)[:k] for c in np.unique(y)])
    others = np.setdiff1d(np.arange(len(y)), first)
    return Part(X[first], y[first], X[others], y[others])


def characters(lab: Lab, seed: int) -> Part:
    """Return drawings of half of the characters new to the network, and of the other half."""
    X, y = lab.cache(omniglot, ignore=["folder"])(lab.folder, seed)
    classes = np.random.default_rng(seed).permutation(np.unique(y))
    seen = np.isin(y, classes[: len(classes) // 2])
    return Part(X[seen], y[seen], X[~seen], y[~seen])


def few_drawings(lab: Lab, seed: int, k: int) -> Part:
    """Return k drawings of each of thirty characters that search is measured on."""
    part = characters(lab, seed)
    some = np.isin(part.y_new, np.unique(part.y_new)[:30])
    return first_of_each(part.X_new[some], part.y_new[some], k)


def photographs(lab: Lab, seed: int) -> Part:
    """Return training images of three classes new to the network, test images of the others."""
    parts = lab.cache(cifar, ignore=["folder"])(lab.folder, seed)
    (X, y), (X_new, y_new) = parts["train"], parts["test"]
    classes = np.random.default_rng(seed).permutation(np.unique(y))[:3]
    seen, new = np.isin(y, classes), ~np.isin(y_new, classes)
    return Part(X[seen], y[seen], X_new[new], y_new[new])


def few_photographs(lab: Lab, seed: int, k: int) -> Part:
    """Return k training images of each of the six classes, and the test images."""
    parts = lab.cache(cifar, ignore=["folder"])(lab.folder, seed)
    some = first_of_each(*parts["train"], k)
    return Part(some.X, some.y, *parts["test"])


_OF_PACKAGES = (1, 2, 4, 8, 16, 75, 120)  # the last is four fifths of all rows
SETS = {
    "docstrings, packages chosen on": VectorSet(
        (FILE,), packages_chosen_on, few_of_packages(True), _OF_PACKAGES
    ),
    "docstrings, the other packages": VectorSet(
        (FILE,), other_packages, few_of_packages(False), _OF_PACKAGES
    ),
    "Omniglot": VectorSet(("omniglot.npz",), characters, few_drawings, (1, 2, 4, 8, 16)),
    "CIFAR-10": VectorSet(("cifar10.npz",), photographs, few_photographs, (1, 2, 4, 8, 16, 500)),
}
