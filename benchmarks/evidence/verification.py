"""Which rows may choose the threshold of verification? Characters of Omniglot never seen.

An embedder is trained on some characters, and two drawings of others count as one character from a
cosine on. That threshold is to accept a given share of the false pairs, and is chosen on all pairs
of: the rows trained on; other drawings of the same characters, four of twenty; characters that were
neither trained on nor tested (`verification_threshold`); the test rows themselves, which is as well
as one can do and needs their labels.

Split at random, 178 characters are trained on, 44 held out and 20 tested, others for every seed. By
alphabets, 108 characters of three are trained on, 46 of two held out and 88 of three others tested,
the same for every seed. Proxies are learned, in the setting that the retrieval benchmark chose for
them, or fixed, `HUGEmbedder(max_epochs=15)`. 15 epochs, three seeds, one thread:

    python benchmarks/evidence --data DIR --only verification
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import mean_and_error, show
from joblib import Parallel, delayed

from evidence.harness import Lab, Table, publish
from skhug import MHE, HUGEmbedder, Learned
from skhug.encoders import ConvNet
from skhug.model_selection import verification_threshold

TRAIN = ("Korean", "Latin", "Sanskrit")
HELD_OUT = ("Balinese", "Early_Aramaic")
N_TEST, N_HELD_OUT, NEW_ROWS = 20, 44, 4
EPOCHS, SEEDS = 15, (0, 1, 2)
RATES = (1e-2, 1e-3, 1e-4)
ORACLE = "the test rows"
SOURCES = ("the training rows", "new rows of the training classes", "classes held out", ORACLE)


def at_random(alphabets: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are held out and which are tested, by lot over the characters."""
    order = np.random.default_rng(seed).permutation(np.unique(y))
    return np.isin(y, order[N_TEST : N_TEST + N_HELD_OUT]), np.isin(y, order[:N_TEST])


def by_alphabets(alphabets: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return which rows are held out and which are tested, by whole alphabets."""
    return np.isin(alphabets, HELD_OUT), ~np.isin(alphabets, HELD_OUT + TRAIN)


def learned_proxies(epochs: int, seed: int) -> HUGEmbedder:
    """Return the setting for retrieval of unseen classes."""
    return HUGEmbedder(
        ConvNet((32, 64, 128, 128), n_pools=2, readout="average"),
        n_components=64,
        proxies=Learned(attached=True, learning_rate=0.02),
        uniformity=MHE(repulsion=1),
        alpha=0.2,
        learning_rate=2e-3,
        weight_decay=0.1,
        batch_size=128,
        max_epochs=epochs,
        random_state=seed,
    )


def fixed_proxies(epochs: int, seed: int) -> HUGEmbedder:
    """Return the defaults."""
    return HUGEmbedder(max_epochs=epochs, random_state=seed)


# Name to who is held out and tested, and what is trained.
CASES: dict[str, tuple[Callable[..., tuple[np.ndarray, np.ndarray]], Callable[..., Any]]] = {
    "characters at random, learned proxies": (at_random, learned_proxies),
    "characters at random, fixed proxies": (at_random, fixed_proxies),
    "whole alphabets, learned proxies": (by_alphabets, learned_proxies),
}


def measure(folder: Path, case: str, epochs: int, seed: int) -> dict[str, dict[str, list[float]]]:
    """Return threshold, FAR and TAR on the test rows, by rate and by who chose it."""
    torch.set_num_threads(1)
    with np.load(folder / "omniglot.npz") as file:
        X, y = file["X"], file["y"]
        alphabets = file["alphabet_names"][file["alphabet"]]
    split, embedder = CASES[case]
    held_out, test = split(alphabets, y, seed)
    known = ~(held_out | test)
    new = known & _drawn(y, seed)
    train = known & ~new
    model = embedder(epochs, seed).fit(X[train], y[train])
    rows = dict(zip(SOURCES, (train, new, held_out, test), strict=True))
    z = model.transform(X[test])
    above = np.triu_indices(len(z), 1)
    cosine, same = (z @ z.T)[above], (y[test][:, None] == y[test])[above]
    found: dict[str, dict[str, list[float]]] = {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of training classes: that is the question
        for far in RATES:
            found[f"{far:g}"] = by_source = {}
            for name, chosen in rows.items():
                threshold = verification_threshold(model, X[chosen], y[chosen], far=far)
                accepted = cosine >= threshold
                rates = accepted[~same].mean(), accepted[same].mean()
                by_source[name] = [threshold, *map(float, rates)]
    return found


def _drawn(y: np.ndarray, seed: int) -> np.ndarray:
    """Return which rows are set aside of every character."""
    rng, new = np.random.default_rng(seed), np.zeros(len(y), dtype=bool)
    for character in np.unique(y):
        new[rng.permutation(np.nonzero(y == character)[0])[:NEW_ROWS]] = True
    return new


def ask(lab: Lab) -> None:
    """Choose thresholds on every kind of rows, measure them on the test rows, and publish."""
    if lab.folder is None or not (lab.folder / "omniglot.npz").is_file():
        raise SystemExit("verification: pass --data DIR, with DIR/omniglot.npz.")
    seeds, epochs = (SEEDS[:1], 1) if lab.quick else (SEEDS, EPOCHS)
    jobs = [(case, epochs, seed) for case in CASES for seed in seeds]
    cached = lab.cache(measure, ignore=["folder"])
    found = Parallel(n_jobs=lab.jobs, batch_size=1)(
        delayed(cached)(lab.folder, *job) for job in jobs
    )
    results: dict[str, Any] = {}
    for i, case in enumerate(CASES):
        of_seeds = found[i * len(seeds) : (i + 1) * len(seeds)]
        results[case] = {
            rate: {source: _cells([f[rate][source] for f in of_seeds]) for source in SOURCES}
            for rate in of_seeds[0]
        }
    publish(lab, "verification", [_table(case, results[case]) for case in CASES], results)


def _cells(values: list[list[float]]) -> dict[str, dict[str, Any]]:
    columns = zip(("threshold", "FAR", "TAR"), zip(*values, strict=True), strict=True)
    return {name: {**mean_and_error(column), "seeds": list(column)} for name, column in columns}


def _table(case: str, of_case: dict[str, Any]) -> Table:
    rows = [
        [rate, source, show(cells["threshold"], 3), show(cells["FAR"], 5), show(cells["TAR"], 3)]
        for rate, by_source in of_case.items()
        for source, cells in by_source.items()
    ]
    text = "Mean ± standard error over the seeds; FAR and TAR are those of the test rows."
    header = ["FAR asked for", "threshold chosen on", "threshold", "FAR", "TAR"]
    return Table(f"Verification, {case}", text, header, rows)
