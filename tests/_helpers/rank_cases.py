"""Fits that one process and several make alike: functions that any of them calls."""

import os
import signal
import time

import numpy as np
import torch
import torch.distributed as dist
from sklearn.model_selection import GridSearchCV
from torch import nn

import skhug
from skhug import MHE, MLP, ConvNet, HUGClassifier, HUGEmbedder, Learned


def rank():
    return dist.get_rank() if dist.is_initialized() else 0


def size():
    return dist.get_world_size() if dist.is_initialized() else 1


def blobs(n=157, n_features=6, n_classes=5, seed=0):
    """Rows about the centres of classes of unequal sizes, in which no batch comes out even."""
    rng = np.random.default_rng(seed)
    y = rng.integers(n_classes, size=n) * (rng.random(n) < 0.8)
    return rng.standard_normal((n_classes, n_features))[y] + rng.standard_normal((n, n_features)), y


def images(n=60):
    rng = np.random.default_rng(1)
    y = np.arange(n) % 3
    X = rng.standard_normal((n, 1, 8, 8))
    X[np.arange(n), 0, y, y] += 4
    return X, y


def plain_net(input_shape, n_components):
    """A convolutional network without batch normalisation."""
    return nn.Sequential(
        nn.Conv2d(input_shape[0], 4, 3, padding=1),
        nn.MaxPool2d(2),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, n_components),
    )


class Rows(torch.utils.data.Dataset):
    """Rows that are read one by one."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], int(self.y[i])


def facts(model, X):
    """What a fitted model is and says."""
    weights = [p.detach().numpy() for p in model.module_.parameters()]
    said = [model.transform(X)]
    if hasattr(model, "predict_proba"):
        said += [model.predict_proba(X)]
    history = [[row[name] for name in sorted(row)] for row in model.history_]
    return {
        "weights": [w for w in weights],
        "proxies": model.proxies_,
        "said": said,
        "history": np.array(history, float),
        "n_iter": model.n_iter_,
        "buffers": [b.numpy() for b in model.module_.buffers()],
    }


def fit(case, precision="float64"):
    """Fit a case of the table."""
    estimator, data, fit_params = CASES[case](precision)
    return facts(
        estimator.fit(*data, **fit_params), data[0].X if isinstance(data[0], Rows) else data[0]
    )


def _mlp(precision, members=1, data=None, fit_params=None, **params):
    estimator = HUGClassifier(
        MLP((8,), members=members),
        random_state=0,
        precision=precision,
        **{"max_epochs": 4, "batch_size": 32, **params},
    )
    return estimator, data or blobs(), fit_params or {}


def _net(precision, **params):
    estimator = HUGClassifier(
        plain_net, random_state=0, precision=precision, max_epochs=2, batch_size=16, **params
    )
    return estimator, images(), {}


def _weighted():
    return {"sample_weight": np.random.default_rng(2).integers(0, 4, 157).astype(float)}


CASES = {
    "mlp": _mlp,
    "members": lambda p: _mlp(p, 4),
    "learned": lambda p: _mlp(p, proxies="learned"),
    "attached": lambda p: _mlp(p, proxies=Learned(attached=True)),
    "repulsion": lambda p: _mlp(p, uniformity=MHE(repulsion=0.5)),
    "balanced": lambda p: _mlp(p, class_weight="balanced"),
    "balanced members": lambda p: _mlp(p, 4, class_weight="balanced"),
    "weights": lambda p: _mlp(p, fit_params=_weighted()),
    "streamed": lambda p: _mlp(p, data=(Rows(*blobs()), None)),
    "early stopping": lambda p: _mlp(p, early_stopping=True, max_epochs=12, n_iter_no_change=3),
    "one batch": lambda p: _mlp(p, batch_size=500),
    "rest of two rows": lambda p: _mlp(p, batch_size=31),
    "sgd": lambda p: _mlp(p, optimizer="sgd"),
    "torch's optimizer": lambda p: _mlp(p, optimizer=torch.optim.RMSprop),
    "convnet": _net,
    "convnet learned": lambda p: _net(p, proxies="learned"),
}
