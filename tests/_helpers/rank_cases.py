"""Fits that one process and several make alike: functions that any of them calls."""

import os
import signal
import time
from contextlib import nullcontext
from unittest.mock import patch

import numpy as np
import torch
import torch.distributed as dist
from sklearn.model_selection import GridSearchCV
from torch import nn

import skhug
from skhug import MHE, MLP, ConvNet, HUGClassifier, HUGEmbedder, Learned, Nested
from skhug._defaults import class_weights
from skhug._distributed.joined import joined
from skhug.proxies import CodedProxies
from skhug.proxies import _choice as choice


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
    history = [row[name] for row in model.history_ for name in sorted(row)]
    return {
        "weights": weights,
        "proxies": np.asarray(model.proxies_),
        "said": said,
        "history": np.array(history, float),
        "n_iter": model.n_iter_,
        "buffers": [b.numpy() for b in model.module_.buffers()],
    }


def fit(case, precision="float64"):
    """Fit a case of the table."""
    estimator, data, fit_params = CASES[case](precision)
    few_are_many = patch.object(choice, "_STORED", 100)
    with few_are_many if case == "coded" else nullcontext():
        model = estimator.fit(*data, **fit_params)
    assert isinstance(model.proxies_, CodedProxies) == (case == "coded")
    return facts(model, data[0].X if isinstance(data[0], Rows) else data[0])


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


def _coded(precision):
    """Classes whose proxies are an algebraic code, where these count as too many to store."""
    return _mlp(precision, data=blobs(n=400, n_classes=60), n_components=12)


def _weighted():
    return {"sample_weight": np.random.default_rng(2).integers(0, 4, 157).astype(float)}


CASES = {
    "mlp": _mlp,
    "members": lambda p: _mlp(p, 4),
    "coded": _coded,
    "learned": lambda p: _mlp(p, proxies="learned"),
    "attached": lambda p: _mlp(p, proxies=Learned(attached=True)),
    "momentum": lambda p: _mlp(p, proxies=Learned(momentum=0.9)),
    "nested": lambda p: _mlp(p, proxies=Nested((2,), "learned"), n_components=4),
    "vectors": lambda p: (HUGClassifier("vectors", random_state=0), vectors(), {}),
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


# --- shards: every process passes rows of its own ------------------------------------------


def shard_of(array, sizes):
    """Return this process's rows of an array, cut at uneven places."""
    ends = np.cumsum([0, *sizes])
    return array[ends[rank()] : ends[rank() + 1]]


def cut(n, share=0.3):
    """Return sizes of as many shards of n rows as there are processes, all of them different."""
    parts = np.cumsum(share ** np.arange(size()))
    ends = np.round(n * parts / parts[-1]).astype(int)
    return np.diff([0, *ends])


def fit_shards(case, precision="float64"):
    """Fit a case of shards; alone, of all rows."""
    make, (X, y), weight = SHARDED[case]
    sizes = cut(len(y))
    whole = X
    params = {}
    if weight is not None:
        params["sample_weight"] = shard_of(weight, sizes)
    with skhug.distributed(sharded=True):
        model = make(precision).fit(shard_of(X, sizes), shard_of(y, sizes), **params)
    return {**facts(model, whole), "classes": model.classes_.tolist()}


def _full(precision, encoder=None, estimator=HUGClassifier, **params):
    """An estimator that takes all rows at once: in which order does not matter."""
    encoder = encoder or MLP((8,), members=1)
    params = {"max_epochs": 6, "batch_size": 10_000, **params}
    return estimator(encoder, random_state=0, precision=precision, **params)


def of_shares():
    """A measure that takes the classes' shares in all rows."""
    return MHE(repulsion=2.0, repulsion_over="all", prior="train")


def sorted_blobs():
    """Rows sorted by class: a process knows some of the classes alone."""
    X, y = blobs()
    order = np.argsort(y, kind="stable")
    return X[order], np.array(list("vwxyz"))[y[order]]


def many():
    X, y = blobs(5003, 3)
    X[::7, 1] *= 50
    return X, y


def with_gaps():
    X, y = blobs()
    X[:9, 2] = np.nan
    return X, y


def sparse_rows():
    from scipy import sparse

    rng = np.random.default_rng(3)
    y = np.arange(120) % 4
    X = rng.random((120, 600)) * (rng.random((120, 600)) < 0.05)
    X[np.arange(120), y] += 1
    return sparse.csr_array(X), y


def vectors(n=157):
    X, y = blobs(n, 40)
    return X / np.linalg.norm(X, axis=1, keepdims=True), y


_WEIGHT = np.random.default_rng(2).integers(0, 4, 157).astype(float)
SHARDED = {
    "rows": (_full, blobs(), None),
    "sorted by class": (_full, sorted_blobs(), None),
    "learned": (lambda p: _full(p, proxies="learned"), sorted_blobs(), None),
    "balanced": (lambda p: _full(p, class_weight="balanced"), sorted_blobs(), None),
    "weights": (_full, sorted_blobs(), _WEIGHT),
    "balanced weights": (lambda p: _full(p, class_weight="balanced"), sorted_blobs(), _WEIGHT),
    "prior": (lambda p: _full(p, uniformity=of_shares()), sorted_blobs(), _WEIGHT),
    "many rows": (_full, many(), None),
    "gaps": (_full, with_gaps(), None),
    "few dimensions": (lambda p: _full(p, n_components=2), blobs(), None),
    "images": (lambda p: _full(p, plain_net), images(), None),
    "sparse": (_full, sparse_rows(), None),
    "embedder": (lambda p: _full(p, estimator=HUGEmbedder), blobs(), None),
}
# Cases that come out differently in several processes, and well in all.
BATCHES_OF_SHARDS = {
    "batches": lambda: _full("float64", batch_size=16, max_epochs=8),
    "balanced": lambda: _full("float64", batch_size=16, max_epochs=8, class_weight="balanced"),
    "members": lambda: _full("float64", MLP((8,), members=4), batch_size=16, max_epochs=8),
    "validation": lambda: _full("float64", batch_size=16, early_stopping=True, max_epochs=8),
    "batch normalisation": lambda: _full("float64", normalised, batch_size=16, max_epochs=8),
}


def normalised(input_shape, n_components):
    return nn.Sequential(
        nn.Linear(*input_shape, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, n_components)
    )


def fit_batches_of_shards(case):
    X, y = blobs(400)
    sizes = cut(len(y), 0.5)
    with skhug.distributed(sharded=True):
        model = BATCHES_OF_SHARDS[case]().fit(shard_of(X, sizes), shard_of(y, sizes))
    return {**facts(model, X), "score": model.score(X, y)}


def fit_vectors_of_shards():
    X, y = vectors()
    sizes = cut(len(y))
    with skhug.distributed(sharded=True):
        HUGClassifier("vectors").fit(shard_of(X, sizes), shard_of(y, sizes))


# --- what goes wrong, and searches --------------------------------------------------------


def fit_differently(what):
    """Fit with something of its own in the last process."""
    X, y = blobs()
    params = {"max_epochs": 2, "random_state": 0}
    if rank() == size() - 1:
        X = X + 1 if what == "X" else X
        y = y[::-1] if what == "y" else y
        if what == "learning_rate":
            params["learning_rate"] = 0.1
    HUGClassifier(MLP((8,)), **params).fit(X, y)


def fit_and_fail(in_rank):
    """Fit, and raise an error in the middle of an epoch of one process."""

    def encoder(input_shape, n_components):
        return _Failing(in_rank, *input_shape, n_components)

    X, y = blobs()
    HUGClassifier(encoder, max_epochs=3, random_state=0).fit(X, y)


class _Failing(nn.Linear):
    def __init__(self, in_rank, *shape):
        super().__init__(*shape)
        self.in_rank, self.calls = in_rank, 0

    def forward(self, X):
        self.calls += self.training
        if self.calls > 7 and rank() == self.in_rank:
            raise ValueError("seven is enough")
        return super().forward(X)


class _Slow(nn.Linear):
    def forward(self, X):
        if self.training:
            time.sleep(0.02)
        return super().forward(X)


def fit_long(folder=None, epochs=1000, interrupt=None):
    """Fit for long; return how it ended, and after how many seconds."""

    def encoder(input_shape, n_components):
        return _Slow(*input_shape, n_components)

    if interrupt == rank():
        import threading

        threading.Timer(1.0, os.kill, (os.getpid(), signal.SIGINT)).start()
    X, y = blobs()
    checkpoint = folder and skhug.Checkpoint(folder, every_seconds=0)
    model = HUGClassifier(
        encoder,
        max_epochs=epochs,
        random_state=0,
        batch_size=32,
        checkpoint=checkpoint,
        schedule="constant",
    ).fit(X, y)
    return facts(model, X)


def search():
    """Search a grid; return its scores, the best parameters and the best model's facts."""
    X, y = blobs()
    grid = {"learning_rate": [1e-3, 1e-2]}
    model = HUGClassifier(MLP((8,), members=1), max_epochs=3, random_state=0, precision="float64")
    found = GridSearchCV(model, grid, cv=2).fit(X, y)
    return {
        "scores": found.cv_results_["mean_test_score"],
        "best": found.best_params_["learning_rate"],
        **facts(found.best_estimator_, X),
    }


def fit_normalised():
    X, y = images()
    return facts(
        HUGClassifier(ConvNet((4,)), max_epochs=2, batch_size=16, random_state=0).fit(X, y), X
    )


def what_is_drawn():
    """Return sums of what augmentation and dropout draw in an epoch of this process."""
    drawn = {}

    def augmented(X, generator):
        noise = torch.rand(1, generator=generator)
        drawn.setdefault("augmentation", float(noise))
        return X

    class Drops(nn.Linear):
        def forward(self, X):
            if self.training:
                drawn.setdefault("dropout", float(torch.rand(1)))
            return super().forward(X)

    X, y = blobs()
    HUGClassifier(
        lambda shape, n_components: Drops(*shape, n_components),
        max_epochs=1,
        batch_size=32,
        augment=augmented,
        random_state=0,
    ).fit(X, y)
    return drawn


def fit_in_parts():
    X, y = blobs()
    model = HUGClassifier(MLP((8,), members=2), random_state=0, precision="float64")
    for i in range(3):
        model.partial_fit(X[i::3], y[i::3], classes=np.unique(y))
    return facts(model, X)


def fit_shards_wrongly(what):
    """Fit shards in a way that needs all rows."""
    X, y = blobs()
    params = {"max_epochs": 2, "random_state": 0}
    wrong = {
        "track": ["uniformity"],
        "batch_sampler": skhug.BalancedBatches(2, 2),
        "warm_start": True,
    }
    if what in wrong:
        params[what] = wrong[what]
    if what == "text":
        import pandas as pd

        X = pd.DataFrame({"a": X[:, 0], "b": list("xyz") * 52 + ["x"]})
    if what == "width" and rank():
        X = X[:, 1:]
    model = HUGClassifier(**params)
    with skhug.distributed(sharded=True):
        (model.partial_fit if what == "partial_fit" else model.fit)(X, y)


def fit_inside_a_fit():
    """Fit another model while one is fitted."""
    X, y = blobs()

    def another(X, generator):
        HUGClassifier(max_epochs=1).fit(*blobs())
        return X

    HUGClassifier(augment=another, max_epochs=1, random_state=0).fit(X, y)


def fit_in_a_forked_child():
    """Whether a forked child of rank 0, which inherits the process group, fits all the same."""
    if rank():
        return True
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(60)  # ends one that waits for the others
            X, y = blobs()
            HUGClassifier(MLP((8,), members=1), max_epochs=1, random_state=0).fit(X, y)
            os._exit(0)
        finally:
            os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def weigh_classes():
    """Return the weights of the classes of all shards, for batches of few rows."""
    _, y = sorted_blobs()
    classes, codes = np.unique(y, return_inverse=True)
    sizes = cut(len(y))
    with skhug.distributed(sharded=True), joined() as group:
        own = shard_of(codes, sizes), shard_of(_WEIGHT, sizes)
        return {"weights": class_weights("balanced", *own, classes, 8, group.shards)}


class Listener:
    """Counts the epochs that it is told of, and stops after three."""

    def __init__(self):
        self.scores = []

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.task_name != "epoch":
            return False
        self.scores.append(fitted_estimator.score(X, y))
        return len(self.scores) == 3

    def teardown(self, estimator, context):
        pass


def fit_with_callbacks(sharded=False):
    listener = Listener()
    X, y = blobs()
    model = HUGClassifier(MLP((8,), members=2), max_epochs=9, random_state=0)
    model.set_callbacks(listener)
    with skhug.distributed(sharded=sharded):
        model.fit(X, y)
    return {"told": len(listener.scores), **facts(model, X)}
