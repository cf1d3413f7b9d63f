"""Images: HUG beside cross-entropy and normalised softmax, and an epoch beside a bare loop.

The network, augmentation (crop and flip; none on digits), batches, AdamW with weight decay,
cosine schedule and epochs are the same for every loss. Each loss has its learning rate chosen
among the same three by ``--quick``, on a fifth of the training rows held out; the official test
images are scored with it, all training rows seen. The bare loop is what a careful user writes for
one loss: ``uint8`` images resident on the device, one permutation an epoch, torch's fused AdamW,
no wait for the device. It trains the peers; with HUG's loss it takes its epochs in turn with those
of one fit, and the paired ratios are what an epoch of ours costs.

    python benchmarks/evidence/images.py --data DIR --quick                   # small ConvNet, a CPU
    python benchmarks/evidence/images.py --data DIR --only cifar10 hug-mhe 0  # ResNet-18, a GPU

``--quick`` runs in some ten minutes on one core; ``--only`` takes one of its jobs too. Each command
adds its runs to ``results/images_quick.json`` or ``results/images.json`` and prints the table of
all so far. A run of the full form is one fit of 30 epochs (``--epochs``), and ``--only cifar10
epoch 0`` times a few epochs beside the loop. DIR holds ``cifar10.npz`` and ``mnist.npz``; without
it both come from OpenML.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from skhug import MHE, ConvNet, HUGClassifier, Learned, ResNet
from skhug.augment import Compose, HorizontalFlip, RandomCrop
from skhug.encoders import Encoder
from skhug.optimizers import SCHEDULES

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from bareloop import BareLoop, NormalisedSoftmax, Softmax, ToProxies, wait_for_device
from common import RESULTS, as_table, interval, mean_and_error, report, show, verdict, write

RATES = (1e-3, 3e-3, 1e-2)
DECAY = 0.5
COMPONENTS = 64
BAR = 1.05  # of the bare loop's time an epoch
AUGMENT = {"cifar10": Compose([RandomCrop(4), HorizontalFlip()]), "mnist": None}
HEADER = ["data", "loss", "accuracy; ratio (95 %), bar", "runs", "rate", "seconds an epoch"]
OPENML = {"cifar10": ("CIFAR_10", (3, 32, 32)), "mnist": ("mnist_784", (28, 28))}


class Form(NamedTuple):
    """Size of the benchmark: what is trained on how many images, and how long."""

    file: str
    encoder: Encoder
    rows: int
    test_rows: int
    batch_size: int
    epochs: int
    timed_rows: int  # of an epoch that is timed beside the bare loop's
    rounds: int  # such epochs


QUICK = Form("images_quick", ConvNet((16, 32, 64, 64)), 5000, 5000, 64, 3, 1280, 12)
FULL = Form("images", ResNet(18), 60_000, 10_000, 128, 30, 60_000, 4)


class Images(NamedTuple):
    """Training and test images (n, height, width[, 3]) as they come, uint8, and their labels."""

    X: np.ndarray
    y: np.ndarray
    X_test: np.ndarray
    y_test: np.ndarray


def load(folder: Path | None, name: str, form: Form) -> Images:
    """Return a data set, its rows drawn once with seed 0."""
    if folder is None:
        from sklearn.datasets import fetch_openml

        data, shape = OPENML[name]
        X, y = fetch_openml(data, version=1, as_frame=False, return_X_y=True)
        X = X.astype(np.uint8).reshape(-1, *shape)
        X = np.moveaxis(X, 1, -1) if X.ndim == 4 else X
        parts = [X[:-10_000], y[:-10_000], X[-10_000:], y[-10_000:]]
    else:
        with np.load(folder / f"{name}.npz") as file:
            parts = [file[part] for part in ("X_train", "y_train", "X_test", "y_test")]
    X, y, X_test, y_test = parts
    rng = np.random.RandomState(0)
    rows = rng.permutation(len(X))[: form.rows]
    test = rng.permutation(len(X_test))[: form.test_rows]
    return Images(X[rows], y[rows].astype(np.int64), X_test[test], y_test[test].astype(np.int64))


def hug(**params):
    """Return what makes a HUG classifier and trains it."""

    def fit(form, augment, X, y, rate, seed):
        return classifier(form, augment, rate, seed, **params).fit(X, y).predict

    return fit


def classifier(form, augment, rate, seed, **params) -> HUGClassifier:
    """Return an untrained HUG classifier."""
    settings = {
        "n_components": COMPONENTS,
        "weight_decay": DECAY,
        "batch_size": form.batch_size,
        "max_epochs": form.epochs,
    }
    return HUGClassifier(
        form.encoder, augment=augment, learning_rate=rate, random_state=seed, **settings | params
    )


def by_hand(criterion):
    """Return what trains the same network with a peer's loss, in the bare loop."""

    def fit(form, augment, X, y, rate, seed):
        loop = bare_loop(form, augment, X, y, rate, seed, criterion)
        for _ in range(form.epochs):
            loop.epoch()
        return loop.predict

    return fit


def bare_loop(form, augment, X, y, rate, seed, criterion) -> BareLoop:
    """Return the bare loop at its start."""
    torch.manual_seed(seed)
    return BareLoop(
        form.encoder, criterion(int(y.max()) + 1, COMPONENTS), X, y, augment,
        learning_rate=rate, weight_decay=DECAY, batch_size=form.batch_size, epochs=form.epochs,
        seed=seed,
    )  # fmt: skip


LOSSES = {
    "cross-entropy": by_hand(Softmax),
    "normalised-softmax": by_hand(NormalisedSoftmax),
    "hug-mhe": hug(),
    "hug-mhs": hug(uniformity="mhs"),
    "hug-mgd": hug(uniformity="mgd"),
    "hug-learned": hug(uniformity=MHE(repulsion=1.0), proxies=Learned(attached=True)),
}


def accuracy(form: Form, name: str, loss: str, data: Images, rate: float, seed: int):
    """Train once; the accuracy on the test images, and seconds per fit by its epochs."""
    start = time.perf_counter()
    predict = LOSSES[loss](form, AUGMENT[name], data.X, data.y, rate, seed)
    wait_for_device()
    seconds = (time.perf_counter() - start) / form.epochs
    return float(np.mean(predict(data.X_test) == data.y_test)), seconds


def held_out(form: Form, name: str, loss: str, data: Images) -> dict[str, float]:
    """Accuracy with every learning rate on the last fifth of the training rows, one seed."""
    cut = len(data.y) * 4 // 5
    part = Images(data.X[:cut], data.y[:cut], data.X[cut:], data.y[cut:])
    return {str(rate): accuracy(form, name, loss, part, rate, 0)[0] for rate in RATES}


class InTurn:
    """A schedule that lets a bare loop take an epoch before each of the fit's, and times both.

    The fit's epoch is all between two first steps: whatever happens at an epoch's end counts.
    """

    def __init__(self, loop: BareLoop, epochs: int) -> None:
        self.loop, self.steps, self.horizon = loop, loop.steps, loop.steps * epochs
        self.seconds: dict[str, list[float]] = {"fit": [], "loop": []}
        self.resumed: float | None = None

    def __call__(self, done: float) -> float:
        """Return the factor on the learning rate, at the first step of an epoch after a turn."""
        if round(done * self.horizon) % self.steps == 0:
            self.take_turn()
        return SCHEDULES["cosine"](done)

    def take_turn(self) -> None:
        """Run an epoch of the loop."""
        wait_for_device()
        start = time.perf_counter()
        if self.resumed is not None:
            self.seconds["fit"].append(start - self.resumed)
        self.loop.epoch()
        wait_for_device()
        self.resumed = time.perf_counter()
        self.seconds["loop"].append(self.resumed - start)


def epoch_beside_loop(form: Form, name: str, data: Images, seed: int) -> dict:
    """Return the paired ratio of an epoch's time to the bare loop's with the same loss."""
    epochs = form.rounds + 2  # the first of each warms up, and the fit's last has no end
    timed, X, y = form._replace(epochs=epochs), data.X[: form.timed_rows], data.y[: form.timed_rows]
    loop = bare_loop(timed, AUGMENT[name], X, y, RATES[0], seed, ToProxies)
    schedule = InTurn(loop, epochs)
    classifier(timed, AUGMENT[name], RATES[0], seed, schedule=schedule).fit(X, y)
    ours, peer = np.array(schedule.seconds["fit"][1:]), np.array(schedule.seconds["loop"][2:])
    return {
        "ratio": interval(ours, peer),
        "seconds an epoch": float(np.median(ours)),
        "bare loop, seconds an epoch": float(np.median(peer)),
        "images": len(X),
        "rounds": len(ours),
        "device": device_name(),
    }


def device_name() -> str:
    """Return what the networks train on."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"


def stored(form: Form) -> dict:
    """Return the results of earlier commands."""
    path = RESULTS / f"{form.file}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


def held_out_scores(form: Form, name: str, loss: str, data: Images) -> dict[str, float]:
    """Return what the quick form found for each learning rate, or find it."""
    known = stored(QUICK).get(name, {}).get(loss, {}).get("held out")
    if known is None and form.file != QUICK.file:
        raise SystemExit(f"{name} {loss} has no learning rate: run with --quick first.")
    return known or held_out(form, name, loss, data)


def run(form: Form, name: str, loss: str, seed: int, data: Images) -> dict:
    """Return what one job adds to the results: an accuracy or, for ``epoch``, the time."""
    if loss == "epoch":
        return epoch_beside_loop(form, name, data, seed)
    scores = held_out_scores(form, name, loss, data)
    rate = float(max(scores, key=scores.get))
    score, seconds = accuracy(form, name, loss, data, rate, seed)
    one = {"accuracy": score, "fit, seconds an epoch": seconds, "device": device_name()}
    return {"held out": scores, "learning rate": rate, "epochs": form.epochs, "runs": {seed: one}}


def add(form: Form, name: str, loss: str, new: dict) -> dict:
    """Return all results so far with a job's; runs of other settings or epochs give way."""
    results = stored(form)
    cells = results.setdefault(name, {})
    old = cells.get(loss, {})
    if all(old.get(k) == new.get(k) for k in ("learning rate", "epochs")) and "runs" in old:
        new["runs"] = old["runs"] | {str(seed): r for seed, r in new["runs"].items()}
    cells[loss] = new
    return results


def table(results: dict) -> list[list[str]]:
    """Return a row for every loss and data set: accuracy, learning rate, seconds an epoch."""
    rows = []
    for name, cells in results.items():
        for loss in (loss for loss in LOSSES if loss in cells):
            runs = list(cells[loss]["runs"].values())
            scores = mean_and_error([r["accuracy"] for r in runs])
            cells[loss]["accuracy"] = scores
            seconds = np.median([r["fit, seconds an epoch"] for r in runs])
            rate = f"{cells[loss]['learning rate']:g}"
            rows.append([name, loss, show(scores), str(len(runs)), rate, f"{seconds:.2f}"])
        if "epoch" in cells:
            times = cells["epoch"]
            both = f"{times['seconds an epoch']:.3f}, {times['bare loop, seconds an epoch']:.3f}"
            ratio = verdict(times["ratio"], BAR)
            rows.append([name, "epoch / bare loop", ratio, str(times["rounds"]), "", both])
    return rows


def main() -> None:
    """Run one job, or all of the quick form's, and print what is known so far."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with cifar10.npz and mnist.npz")
    parser.add_argument("--quick", action="store_true", help="5,000 images and a small ConvNet")
    parser.add_argument(
        "--only", nargs=3, metavar=("DATA", "LOSS", "SEED"),
        help=f"one job: {', '.join(AUGMENT)}; {', '.join(LOSSES)} or epoch; a seed",
    )  # fmt: skip
    parser.add_argument("--epochs", type=int, help="of a run, in place of the form's own")
    options = parser.parse_args()
    form = QUICK if options.quick else FULL
    jobs = [("epoch", 0), *((loss, seed) for loss in LOSSES for seed in (0, 1))]
    names = list(AUGMENT)
    if options.only:
        names, jobs = [options.only[0]], [(options.only[1], int(options.only[2]))]
    elif not options.quick:
        parser.error("pass --quick, or --only DATA LOSS SEED")
    if not set(names) <= set(AUGMENT) or jobs[0][0] not in {*LOSSES, "epoch"}:
        parser.error(f"--only takes {', '.join(AUGMENT)}, and {', '.join(LOSSES)} or epoch")
    if options.epochs:
        form = form._replace(epochs=options.epochs)
    for name in names:
        data = load(options.data, name, form)
        for loss, seed in jobs:
            results = add(form, name, loss, run(form, name, loss, seed, data))
            write(form.file, results, as_table(HEADER, table(results)))
    report(form.file, HEADER, table(results), results)


if __name__ == "__main__":
    main()
