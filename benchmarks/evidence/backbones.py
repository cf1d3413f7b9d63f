"""Vectors of images: networks trained by cross-entropy on some classes see images of others.

Neither the loss nor the classes are those of the heads that are measured on the vectors. The
networks are small, so that one is trained within a minute of one core.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

__all__ = ["cifar", "omniglot"]

WIDTH = 128
# Of Omniglot, characters that the network is trained on; of CIFAR-10, classes.
CHARACTERS, CLASSES = 80, 4
# Images of a class of CIFAR-10 that the network is trained on, and whose vectors are kept, of the
# training and of the test part.
LEARNED, KEPT = 1250, 500
BATCH, RATE = 64, 3e-3
EPOCHS = {"omniglot": 15, "cifar": 3}


def omniglot(folder: Path, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return unit vectors of the drawings of characters that the network has not seen, and these.

    Parameters
    ----------
    folder : Path
        With ``omniglot.npz``: ``X`` (n, 28, 28) and ``y``.
    seed : int
        Of the draw of the characters, and of the training.

    Returns
    -------
    vectors : ndarray of shape (n_others, 128)
        Float32, of unit length, in an order by lot.
    characters : ndarray of shape (n_others,)
    """
    with np.load(folder / "omniglot.npz") as file:
        X, y = file["X"][:, None], file["y"]
    seen = np.isin(y, np.random.default_rng(seed).permutation(y.max() + 1)[:CHARACTERS])
    network = trained(X[seen], y[seen], EPOCHS["omniglot"], seed)
    return by_lot(vectors(network, X[~seen]), y[~seen], seed)


def cifar(folder: Path, seed: int) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the same of CIFAR-10, so many images of each class and part.

    Parameters
    ----------
    folder : Path
        With ``cifar10.npz``: ``X_train``, ``y_train``, ``X_test`` and ``y_test``.
    seed : int
        Of the draw of the classes and the images, and of the training.

    Returns
    -------
    parts : dict of (vectors, classes)
        ``"train"`` and ``"test"``.
    """
    with np.load(folder / "cifar10.npz") as file:
        images = {p: file[f"X_{p}"].transpose(0, 3, 1, 2) for p in ("train", "test")}
        labels = {p: file[f"y_{p}"].astype(np.int64) for p in images}
    rng = np.random.default_rng(seed)
    classes = rng.permutation(10)
    y = labels["train"]
    learned = np.concatenate([np.flatnonzero(y == c)[:LEARNED] for c in classes[:CLASSES]])
    network = trained(images["train"][learned], y[learned], EPOCHS["cifar"], seed)
    parts = {}
    for part, y in labels.items():
        kept = np.concatenate(
            [rng.permutation(np.flatnonzero(y == c))[:KEPT] for c in classes[CLASSES:]]
        )
        parts[part] = by_lot(vectors(network, images[part][kept]), y[kept], seed)
    return parts


def by_lot(X: np.ndarray, y: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and labels in an order by lot."""
    lot = np.random.default_rng(seed).permutation(len(y))
    return X[lot], y[lot]


def trained(X: np.ndarray, y: np.ndarray, epochs: int, seed: int) -> nn.Sequential:
    """Return a network trained by cross-entropy on images shifted at random, without its head."""
    torch.manual_seed(seed)
    images, labels = scaled(X), torch.from_numpy(np.unique(y, return_inverse=True)[1])
    body = network(images.shape[1])
    model = nn.Sequential(body, nn.Linear(WIDTH, int(labels.max()) + 1)).train()
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=0.01)
    batches = [b for _ in range(epochs) for b in torch.randperm(len(labels)).split(BATCH)]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=len(batches))
    for batch in batches:
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(shifted(images[batch])), labels[batch])
        loss.backward()
        optimizer.step()
        schedule.step()
    return body.eval()


def network(channels: int) -> nn.Sequential:
    """Return three convolutions, each normalised and pooled, and the mean over places."""
    layers, widths = [], (channels, 32, 64, WIDTH)
    for before, after in pairwise(widths):
        convolution = nn.Conv2d(before, after, 3, padding=1, bias=False)
        layers += [convolution, nn.BatchNorm2d(after), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers[:-1], nn.AdaptiveAvgPool2d(1), nn.Flatten())


def shifted(images: Tensor, most: int = 3) -> Tensor:
    """Return images all moved by one draw of a few pixels."""
    padded = nn.functional.pad(images, (most,) * 4)
    down, right = torch.randint(2 * most + 1, (2,)).tolist()
    height, width = images.shape[2:]
    return padded[:, :, down : down + height, right : right + width]


def scaled(X: np.ndarray) -> Tensor:
    """Return images of bytes as numbers about 0."""
    return torch.from_numpy(np.ascontiguousarray(X)).float().div_(127.5).sub_(1)


@torch.inference_mode()
def vectors(body: nn.Sequential, X: np.ndarray) -> np.ndarray:
    """Return the network's vectors of images, of unit length."""
    made = torch.cat([body(scaled(X[i : i + 500])) for i in range(0, len(X), 500)])
    return nn.functional.normalize(made).numpy()
