"""Images: HUG beside cross-entropy and normalised softmax, and an epoch beside a bare loop.

Same network, augmentation (crop and flip; none on MNIST's digits), batches of 128, AdamW, learning
rate, cosine schedule and epochs for every loss; none is tuned. Accuracy is on the official test
set. An epoch's time is that of a fit of three epochs less that of one, over two, beside a loop
written by hand for the same network, loss and augmentation, in turn with it.

    python benchmarks/images.py --data DIR --quick             # ConvNet, 5,000 images, on a CPU
    python benchmarks/images.py --data DIR --only cifar10 HUG-mhe 0   # ResNet-18, for a GPU

The full form adds one run to ``results/images.json``; ``cifar10.npz`` and ``mnist.npz`` lie in
DIR, and without it both come from OpenML.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from common import RESULTS, interval, mean_and_error, measure, report, show, verdict
from joblib import Parallel, delayed
from torch.nn import functional as F

from skhug import MHE, ConvNet, HUGClassifier, Learned, ResNet
from skhug.augment import Compose, HorizontalFlip, RandomCrop
from skhug.optimizers import AdamW, flatten, make_stepper

BATCH, RATE, DECAY, COMPONENTS = 128, 3e-3, 0.5, 64
AUGMENT = {"cifar10": Compose([RandomCrop(4), HorizontalFlip()]), "mnist": None}
OPENML = {"cifar10": ("CIFAR_10", (3, 32, 32)), "mnist": ("mnist_784", (1, 28, 28))}


def load(folder: Path | None, name: str):
    """Return uint8 images (n, C, H, W) and labels, for training and for testing."""
    if folder is None:
        from sklearn.datasets import fetch_openml

        data, shape = OPENML[name]
        X, y = fetch_openml(data, version=1, as_frame=False, return_X_y=True)
        X, y = X.astype(np.uint8).reshape(-1, *shape), y.astype(np.int64)
        return X[:-10_000], y[:-10_000], X[-10_000:], y[-10_000:]
    with np.load(folder / f"{name}.npz") as file:
        X, y, X_test, y_test = (file[k] for k in ("X_train", "y_train", "X_test", "y_test"))
    X, X_test = (a[:, None] if a.ndim == 3 else np.moveaxis(a, -1, 1) for a in (X, X_test))
    return np.ascontiguousarray(X), y, np.ascontiguousarray(X_test), y_test


def hug(**params):
    """Return what trains a HUG classifier; the accuracy's function of test images."""

    def train(encoder, augment, X, y, epochs, seed):
        model = HUGClassifier(
            encoder, n_components=COMPONENTS, augment=augment, batch_size=BATCH,
            learning_rate=RATE, weight_decay=DECAY, max_epochs=epochs, random_state=seed, **params,
        )  # fmt: skip
        return model.fit(X, y).predict

    return train


class Logits(torch.nn.Module):
    """Class scores of embeddings: linear, or scaled cosines to learned class vectors."""

    def __init__(self, n_classes, normalised):
        super().__init__()
        self.linear = torch.nn.Linear(COMPONENTS, n_classes, bias=not normalised)
        self.normalised = normalised

    def forward(self, z):
        """Return logits."""
        if self.normalised:
            return 16 * F.normalize(z) @ F.normalize(self.linear.weight).T
        return self.linear(z)


def by_hand(normalised):
    """Return the loop that a careful user writes around softmax cross-entropy."""

    def train(encoder, augment, X, y, epochs, seed):
        torch.manual_seed(seed)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        net = encoder.build(X.shape[1:], COMPONENTS).to(device)
        head = Logits(int(y.max()) + 1, normalised).to(device)
        parameters = [*net.parameters(), *head.parameters()]
        segments = flatten((p, RATE, DECAY if p.ndim > 1 else 0.0) for p in parameters)
        stepper, generator = make_stepper(AdamW(), segments), torch.Generator().manual_seed(seed)
        mean, std = (np.asarray(s, np.float32)[:, None, None] for s in _statistics(X))
        mean, std = torch.from_numpy(mean).to(device), torch.from_numpy(std).to(device)
        rows, labels = torch.from_numpy(X).to(device), torch.from_numpy(y.astype(np.int64))
        labels = labels.to(device)
        steps, done = epochs * -(-len(rows) // BATCH), 0
        total = torch.zeros((), device=device)
        for _ in range(epochs):
            for batch in torch.randperm(len(rows), generator=generator).to(device).split(BATCH):
                images = rows.index_select(0, batch)
                if augment is not None:
                    images = augment(images, generator)
                for segment in segments:
                    segment.gradients.zero_()
                loss = F.cross_entropy(head(net((images.float() - mean) / std)), labels[batch])
                loss.backward()
                total += loss.detach()
                stepper.step(0.5 * (1 + np.cos(np.pi * done / steps)))
                done += 1
        net.eval()

        @torch.no_grad()
        def predict(X):
            blocks = torch.from_numpy(X).split(256)
            scores = (head(net((b.to(device).float() - mean) / std)) for b in blocks)
            return torch.cat([s.argmax(1) for s in scores]).cpu().numpy()

        return predict

    return train


def _statistics(X):
    pixels = X[:5000].astype(np.float64)
    return pixels.mean((0, 2, 3)), pixels.std((0, 2, 3))


LOSSES = {
    "cross-entropy": by_hand(normalised=False),
    "normalised-softmax": by_hand(normalised=True),
    "HUG-mhe": hug(),
    "HUG-mhs": hug(uniformity="mhs"),
    "HUG-mgd": hug(uniformity="mgd"),
    "HUG-learned": hug(uniformity=MHE(repulsion=2.0), proxies=Learned(), alpha=0.5),
}


def accuracy(encoder, name, data, loss, epochs, seed):
    """Train once; accuracy on the test images, and seconds an epoch with all else included."""
    if not torch.cuda.is_available():
        torch.set_num_threads(1)
    X, y, X_test, y_test = data
    start = time.perf_counter()
    predict = LOSSES[loss](encoder, AUGMENT[name], X, y, epochs, seed)
    seconds = (time.perf_counter() - start) / epochs
    return float(np.mean(predict(X_test) == y_test)), seconds


def epoch_ratio(encoder, name, X, y, rounds):
    """Time of an epoch over that of the bare loop, with the same augmentation."""

    def job(train, epochs):
        return lambda: train(encoder, AUGMENT[name], X, y, epochs, 0)

    pairs = {"HUG": hug(), "loop": by_hand(normalised=True)}
    jobs = {(n, e): job(train, e) for n, train in pairs.items() for e in (1, 3)}
    seconds = measure(jobs, rounds)
    epochs = {n: (seconds[n, 3] - seconds[n, 1]) / 2 for n in pairs}
    return interval(epochs["HUG"], epochs["loop"]), float(np.median(epochs["HUG"]))


def quick(folder: Path | None) -> None:
    """All losses on 5,000 images, two seeds and two epochs, and an epoch beside the loop."""
    torch.set_num_threads(1)
    encoder, results, rows = ConvNet(), {}, []
    for name in AUGMENT:
        X, y, X_test, y_test = load(folder, name)
        some = np.random.RandomState(0).permutation(len(X))[:5000]
        few = np.random.RandomState(1).permutation(len(X_test))[:1000]
        data = X[some], y[some], X_test[few], y_test[few]
        ratio, seconds = epoch_ratio(encoder, name, data[0][:640], data[1][:640], 5)
        results[name] = {"epoch, HUG / loop": ratio, "seconds for 640 images": seconds}
        rows.append([f"{name}: epoch, HUG / loop", verdict(ratio, 1.05)])
        runs = [(loss, seed) for loss in LOSSES for seed in (0, 1)]
        scores = Parallel(n_jobs=2)(
            delayed(accuracy)(encoder, name, data, loss, 2, seed) for loss, seed in runs
        )
        for i, loss in enumerate(LOSSES):
            results[name][loss] = mean_and_error([score for score, _ in scores[2 * i : 2 * i + 2]])
            rows.append([f"{name}: {loss}", show(results[name][loss])])
    report("images_quick", ["5,000 images, ConvNet, 2 epochs", ""], rows, results)


def full(folder: Path | None, name: str, loss: str, seed: int, epochs: int) -> None:
    """One run of ResNet-18 on all images, added to the results."""
    data, path = load(folder, name), RESULTS / "images.json"
    score, seconds = accuracy(ResNet(18), name, data, loss, epochs, seed)
    known = json.loads(path.read_text()) if path.exists() else {}
    known.setdefault(f"{name}, {epochs} epochs", {}).setdefault(loss, {})[str(seed)] = {
        "accuracy": score,
        "seconds an epoch": seconds,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
    }
    path.write_text(json.dumps(known, indent=1) + "\n")
    print(f"{name} {loss} seed {seed}: accuracy {score:.4f}, {seconds:.1f} s an epoch")


def main() -> None:
    """Run the quick form, or one run of the full one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="folder with cifar10.npz and mnist.npz")
    parser.add_argument("--quick", action="store_true", help="5,000 images and a ConvNet")
    parser.add_argument("--only", nargs=3, metavar=("DATA", "LOSS", "SEED"), help="one full run")
    parser.add_argument("--epochs", type=int, default=30, help="of a full run")
    arguments = parser.parse_args()
    if arguments.quick:
        quick(arguments.data)
    elif arguments.only:
        name, loss, seed = arguments.only
        full(arguments.data, name, loss, int(seed), arguments.epochs)
    else:
        parser.error("pass --quick, or --only DATA LOSS SEED")


if __name__ == "__main__":
    main()
