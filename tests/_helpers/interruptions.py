"""What several files need to cut fits off and to compare them."""

import functools
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from torch import nn

from skhug import (
    MHE,
    MLP,
    SGD,
    BalancedBatches,
    Checkpoint,
    ConvNet,
    HUGClassifier,
    Learned,
    Nested,
    Pretrained,
    augment,
)
from skhug._data import batches
from skhug._saving.modules import full_state


class Cut(Exception):
    """Ends a fit from inside."""


@contextmanager
def cut_after(n_batches, error=Cut):
    """Raise an error in place of the batch of that number, counted from now on."""
    epoch, left = batches.Batches.epoch, [n_batches]

    def counted(self, *args):
        for batch in epoch(self, *args):
            if left[0] == 0:
                raise error
            left[0] -= 1
            yield batch

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batches.Batches, "epoch", counted)
        yield


class Noisy(nn.Module):
    """Draws from torch's global generator and changes a buffer that its state leaves out."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()), persistent=False)
        self.norm, self.linear = nn.BatchNorm1d(4), nn.Linear(4, 3)

    def forward(self, X):
        if self.training:
            self.seen += 1
            X = X + 0.1 * torch.randn_like(X)
        return self.linear(self.norm(X)) * (1 + self.seen / 100)


class Items(torch.utils.data.Dataset):
    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


def rows(n=150):
    rng = np.random.default_rng(0)
    y = np.arange(n) % 5
    return rng.standard_normal((n, 4)) + y[:, None] / 2, y


def images(n=120):
    rng = np.random.default_rng(0)
    return rng.integers(0, 255, (n, 8, 8), dtype=np.uint8), np.arange(n) % 4


def seeded_net():
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(4, 6), nn.Dropout(0.2), nn.ReLU(), nn.Linear(6, 3))


# Parameters, made anew for every fit as a script does, and the data.
CASES = {
    "kernel": (dict, rows),
    "single precision": (lambda: {"precision": "float32"}, rows),
    "one batch": (lambda: {"batch_size": 1000}, rows),
    "learned proxies": (lambda: {"proxies": Learned(learning_rate=0.02)}, rows),
    "nested proxies": (lambda: {"proxies": Nested((2,), Learned(learning_rate=0.02))}, rows),
    "proxies that follow": (
        lambda: {"proxies": Learned(learning_rate=0.02, momentum=0.9)},
        rows,
    ),
    "momentum": (lambda: {"optimizer": SGD(), "learning_rate": 0.05}, rows),
    "torch's optimizer": (
        lambda: {"optimizer": functools.partial(torch.optim.RMSprop, momentum=0.5)},
        rows,
    ),
    "dropout": (lambda: {"encoder": MLP((8,), batch_norm=True, dropout=0.3)}, rows),
    "early stopping": (
        lambda: {"early_stopping": True, "n_iter_no_change": 3, "track": ["cdnv"]},
        rows,
    ),
    "module": (lambda: {"encoder": Noisy()}, rows),
    "seeded module": (lambda: {"encoder": seeded_net()}, rows),
    "callable": (lambda: {"encoder": lambda shape, n: Noisy()}, rows),
    "pretrained": (lambda: {"encoder": Pretrained(seeded_net(), learning_rate=1e-4)}, rows),
    "frozen": (lambda: {"encoder": Pretrained(seeded_net(), frozen=True)}, rows),
    "images": (
        lambda: {
            "encoder": ConvNet([4]),
            "augment": augment.Compose([augment.RandomCrop(1), augment.HorizontalFlip()]),
        },
        images,
    ),
    "sampled pairs": (
        lambda: {"proxies": Learned(), "uniformity": MHE(n_sampled=3)},
        rows,
    ),
    "balanced batches": (lambda: {"batch_sampler": BalancedBatches(3, 4)}, rows),
    "random state": (
        lambda: {"random_state": np.random.RandomState(5), "early_stopping": True},
        rows,
    ),
}


def new(name, Estimator=HUGClassifier, **more):
    make = CASES[name][0]
    torch.manual_seed(1)
    parameters = {"encoder": MLP((8,)), "max_epochs": 8, "batch_size": 32, "random_state": 0}
    return Estimator(**{**parameters, **make(), **more})


def every_epoch(folder):
    return Checkpoint(folder, every_seconds=0)


def assert_same_fit(one, other, X):
    assert one.history_ == other.history_
    assert one.n_iter_ == other.n_iter_
    a, b = full_state(one.module_), full_state(other.module_)
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert np.array_equal(one.proxies_, other.proxies_)
    assert np.array_equal(one.transform(X), other.transform(X))
    if isinstance(one, HUGClassifier):
        for name in ("power_", "floor_", "falloff_"):
            assert getattr(one, name) == getattr(other, name)


def fit_with_cuts(name, folder, X, y, Estimator=HUGClassifier, cuts=(7, 3, 9), **fit):
    """Fit again and again until no cut is left; return the estimator and the cuts that hit."""
    hit = 0
    for n_batches in (*cuts, 10**9):
        estimator = new(name, Estimator, checkpoint=every_epoch(folder))
        try:
            with cut_after(n_batches):
                estimator.fit(X, y, **fit)
        except Cut:
            hit += 1
        else:
            return estimator, hit
    raise AssertionError("no fit came to its end")
