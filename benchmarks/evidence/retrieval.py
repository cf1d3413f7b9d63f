"""Retrieval of characters never seen in training: HUG beside the losses of metric learning.

Omniglot: 154 characters of five alphabets to train on, 88 of three others to search. Same
network, batches of 128, optimizer, cosine schedule and 15 epochs for every loss; its own settings
are chosen on two of the five alphabets, held out of training: first the loss's four, then the
learning rate and the weight decay beside them, six trials for each loss. The test alphabets are
searched once, with three seeds. Two processes take about an hour; ``--cache`` makes a run that
was interrupted go on:

    pip install pytorch-metric-learning
    python benchmarks/evidence/retrieval.py --data DIR --cache DIR
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from joblib import Memory, Parallel, delayed
from pytorch_metric_learning import losses
from pytorch_metric_learning.samplers import MPerClassSampler

from skhug import MHE, HUGEmbedder, Learned
from skhug.encoders import ConvNet
from skhug.metrics import mean_average_precision_at_r, recall_at_k
from skhug.optimizers import AdamW, flatten, make_stepper

sys.path.insert(0, str(Path(__file__).parents[1]))  # what the benchmarks share

from common import mean_and_error, report, show

TRAIN = ("Korean", "Latin", "Sanskrit", "Balinese", "Early_Aramaic")
HELD_OUT = ("Balinese", "Early_Aramaic")
TEST = ("Greek", "Japanese_(katakana)", "Tagalog")
COMPONENTS, BATCH, EPOCHS, SEEDS = 64, 128, 15, (0, 1, 2)
PROXY_RATE = 0.02
NETWORK = ConvNet((32, 64, 128, 128), n_pools=2, readout="average")
# (learning rate, weight decay); the first is that of the losses' own trials.
RATES = [(5e-3, 0.1), (2e-3, 0.1), (5e-3, 1.0)]


def load(folder: Path, alphabets: tuple[str, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Drawings (n, 28, 28) of some alphabets and their characters."""
    with np.load(folder / "omniglot.npz") as file:
        X, y, alphabet = file["X"], file["y"], file["alphabet"]
        names = [str(name) for name in file["alphabet_names"]]
    rows = np.isin(alphabet, [names.index(name) for name in alphabets])
    return X[rows], y[rows]


def hug(
    X: np.ndarray, y: np.ndarray, seed: int, rate: float, decay: float, setting: dict
) -> Callable[[np.ndarray], np.ndarray]:
    """Ours: proxies learned, or fixed where the setting says so."""
    setting = {"proxies": Learned(attached=True, learning_rate=PROXY_RATE), **setting}
    repulsion = setting.pop("repulsion")
    model = HUGEmbedder(
        NETWORK,
        n_components=COMPONENTS,
        uniformity=MHE(repulsion=repulsion),
        learning_rate=rate,
        weight_decay=decay,
        batch_size=BATCH,
        max_epochs=EPOCHS,
        random_state=seed,
        **setting,
    )
    return model.fit(X, y).transform


def peer(make: Callable[[int, dict], torch.nn.Module], balanced: bool) -> Callable:
    """Loop by hand around a loss of pytorch-metric-learning; its proxies learn as ours do."""

    def train(X, y, seed, rate, decay, setting):
        torch.manual_seed(seed)
        mean, scale = X.mean(), X.std()

        def prepare(X):
            X = torch.from_numpy(X[:, None]).to(torch.float32, memory_format=torch.channels_last)
            return (X - mean) / scale

        rows, labels = prepare(X), torch.from_numpy(np.unique(y, return_inverse=True)[1])
        net = NETWORK.build((1, 28, 28), COMPONENTS)
        loss = make(int(labels.max()) + 1, setting)
        segments = flatten(
            [(p, rate, decay if p.ndim > 1 else 0.0) for p in net.parameters()]
            + [(p, PROXY_RATE, 0.0) for p in loss.parameters()]
        )
        stepper = make_stepper(AdamW(), segments)
        steps = EPOCHS * -(-len(rows) // BATCH)
        order = _orders(labels, steps, balanced)
        for i, batch in enumerate(order):
            for segment in segments:
                segment.gradients.zero_()
            loss(net(rows[batch]), labels[batch]).backward()
            stepper.step(0.5 * (1 + np.cos(np.pi * i / steps)))
        net.eval()

        @torch.no_grad()
        def transform(X):
            return torch.nn.functional.normalize(net(prepare(X))).numpy()

        return transform

    return train


def _orders(labels: torch.Tensor, steps: int, balanced: bool):
    """Batches of rows, shuffled, or of four rows of each of 32 classes."""
    taken = 0
    while taken < steps:
        if balanced:
            length = len(labels) // BATCH * BATCH
            order = torch.tensor(list(MPerClassSampler(labels, 4, BATCH, length)))
        else:
            order = torch.randperm(len(labels))
        for batch in order.split(BATCH):
            if taken < steps:
                yield batch
                taken += 1


def settings(**values) -> list[dict]:
    """Four settings of one parameter or more, side by side."""
    return [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]


LOSSES = {
    "HUG, learned proxies": (
        hug,
        settings(alpha=[0.2, 0.2, 0.65, 0.65], repulsion=[1.0, 2.0, 1.0, 2.0]),
    ),
    "HUG, fixed proxies": (
        hug,
        settings(proxies=["optimal"] * 4, repulsion=[0.0, 1.0, 2.0, 4.0]),
    ),
    "normalised softmax": (
        peer(lambda c, s: losses.NormalizedSoftmaxLoss(c, COMPONENTS, **s), balanced=False),
        settings(temperature=[0.05, 0.1, 0.2, 0.3]),
    ),
    "ArcFace": (
        peer(lambda c, s: losses.ArcFaceLoss(c, COMPONENTS, **s), balanced=False),
        settings(margin=[11.5, 11.5, 28.6, 28.6], scale=[16, 32, 16, 64]),
    ),
    "Proxy-Anchor": (
        peer(lambda c, s: losses.ProxyAnchorLoss(c, COMPONENTS, **s), balanced=False),
        settings(margin=[0.1, 0.1, 0.3, 0.3], alpha=[16, 32, 16, 32]),
    ),
    "SupCon": (
        peer(lambda c, s: losses.SupConLoss(**s), balanced=True),
        settings(temperature=[0.05, 0.1, 0.2, 0.4]),
    ),
    "multi-similarity": (
        peer(lambda c, s: losses.MultiSimilarityLoss(**s), balanced=True),
        settings(alpha=[2, 2, 2, 10], beta=[50, 50, 20, 50], base=[0.5, 1.0, 0.5, 0.5]),
    ),
}


def trial(
    folder: Path, name: str, train: tuple, search: tuple, seed: int, rates: tuple, setting: dict
) -> tuple[float, float]:
    """Train on some alphabets and search others; Recall@1 and MAP@R."""
    torch.set_num_threads(1)
    X, y = load(folder, train)
    transform = LOSSES[name][0](X, y, seed, *rates, dict(setting))
    X, y = load(folder, search)
    z = transform(X)
    return recall_at_k(z, y), mean_average_precision_at_r(z, y)


def main() -> None:
    """Choose every loss's settings, then search the test alphabets."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with omniglot.npz")
    parser.add_argument("--cache", type=Path, help="folder that keeps finished trials")
    parser.add_argument("--jobs", type=int, default=2, help="processes of one thread each")
    arguments = parser.parse_args()
    run = Memory(arguments.cache, verbose=0).cache(trial, ignore=["folder"])
    tuned_on = tuple(name for name in TRAIN if name not in HELD_OUT)

    def run_all(jobs):
        return Parallel(n_jobs=arguments.jobs)(delayed(run)(arguments.data, *job) for job in jobs)

    def tune(chosen):
        """Return the best of each loss's candidates, by MAP@R on the held-out alphabets."""
        jobs = [(name, *c) for name, candidates in chosen.items() for c in candidates]
        scores = run_all([(n, tuned_on, HELD_OUT, 0, rates, s) for n, rates, s in jobs])
        best = {}
        for (name, *candidate), (_, score) in zip(jobs, scores, strict=True):
            if name not in best or score > best[name][0]:
                best[name] = (score, candidate)
        return {name: candidate for name, (_, candidate) in best.items()}

    first = tune({n: [(RATES[0], s) for s in four] for n, (_, four) in LOSSES.items()})
    best = tune({n: [(rates, s) for rates in RATES] for n, (_, s) in first.items()})
    final = run_all([(n, TRAIN, TEST, seed, *best[n]) for n in LOSSES for seed in SEEDS])
    results, rows = {}, []
    for i, name in enumerate(LOSSES):
        values = np.array(final[i * len(SEEDS) : (i + 1) * len(SEEDS)])
        cells = dict(zip(("Recall@1", "MAP@R"), map(mean_and_error, values.T), strict=True))
        rates, setting = best[name]
        shown = {k: str(v) for k, v in setting.items()}
        results[name] = {**cells, "rate and decay": rates, "setting": shown}
        rows.append([name, *map(show, cells.values()), f"{rates} {shown}"])
    report("retrieval", ["loss", "Recall@1", "MAP@R", "settings chosen"], rows, results)


if __name__ == "__main__":
    main()
