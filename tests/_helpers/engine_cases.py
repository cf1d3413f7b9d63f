"""What engines for more than one machine are given to do; imported by their workers."""

import os

import numpy as np
from sklearn.datasets import load_iris

import skhug
from skhug import MLP, HUGClassifier


def data():
    return load_iris(return_X_y=True)


def model():
    return HUGClassifier(MLP((8,), members=1), max_epochs=5, batch_size=32, random_state=0)


def process_that_scores(model, X, y):
    """A score that says where it was computed."""
    return float(os.getpid())


def fit_joined(folder=None):
    """Fit in a process that an engine started; return the weights."""
    import torch.distributed as dist

    fitted = model().fit(*data())
    assert dist.is_initialized()
    assert dist.get_world_size() == 2
    weights = np.concatenate([p.detach().numpy().ravel() for p in fitted.module_.parameters()])
    if folder is not None:
        np.save(f"{folder}/{dist.get_rank()}.npy", weights)
    return weights


def fit_by_variables(folder):
    """Fit in a process that was given torchrun's variables alone."""
    with skhug.distributed():
        fit_joined(folder)
