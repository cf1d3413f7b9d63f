"""The private names of skhug that benchmarks reach, all of them here.

Peers train on what skhug prepares, and timings cut into its steps; what moves inside skhug is
mended here once.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from skhug import HUGClassifier
from skhug._data.batches import Batches
from skhug._data.feature_scale import centre_and_scale
from skhug._data.placement import place_rows
from skhug._data.prepare import Cast, Standardize
from skhug._data.rows import Rows, split_rows
from skhug._defaults import default_batch_size, default_max_epochs, resolve
from skhug._distributed.joined import Group
from skhug._model.nearest import nearest
from skhug._model.sphere_encoder import SphereEncoder
from skhug._process import draw_seed
from skhug._saving import archive
from skhug._saving.fingerprint import fingerprint
from skhug._saving.modules import full_state
from skhug._training import build, fit, frozen
from skhug._training.loop import as_it_is, train
from skhug._training.objective import Objective
from skhug._training.state import TrainingState
from skhug.encoders import Encoder
from skhug.losses._pair_sums import pair_sum, riesz_kernel
from skhug.proxies import optimal_proxies
from skhug.proxies._choice import _kept_search, code_of_many

__all__ = [
    "Batches",
    "Cast",
    "Objective",
    "Rows",
    "SphereEncoder",
    "Standardize",
    "TrainingState",
    "archive",
    "backbone_in_every_epoch",
    "build_encoder",
    "centre_and_scale",
    "default_batch_size",
    "default_max_epochs",
    "draw_seed",
    "fingerprint",
    "fixed_points",
    "forget_arrangements",
    "full_state",
    "nearest",
    "no_graph",
    "pair_sum",
    "place_rows",
    "riesz_kernel",
    "split_rows",
    "timed_training",
    "train",
]


def build_encoder(encoder: Encoder, width: int, X: np.ndarray, weight: np.ndarray) -> SphereEncoder:
    """Return the network that a fit on these rows starts from, float32, on the CPU."""
    rows = Rows(X, np.arange(len(X)) % 2, weight)
    model = HUGClassifier(encoder, n_components=width, precision="float32", device="cpu")
    return build.build_encoder(resolve(model, rows, np.arange(2), 0), rows)


def fixed_points(n_classes: int, n_components: int):
    """Return the fixed proxies of so many classes as a fit has them, stored or not."""
    code = code_of_many(n_classes, n_components)
    return optimal_proxies(n_classes, n_components, random_state=0) if code is None else code


@contextmanager
def backbone_in_every_epoch() -> Iterator[None]:
    """Run a frozen backbone on every batch, as one that is trained."""
    views, frozen._views = frozen._views, lambda settings, rows, encoder: 0
    try:
        yield
    finally:
        frozen._views = views


def forget_arrangements() -> None:
    """Let the next fit search for its proxies anew."""
    _kept_search.cache_clear()


@contextmanager
def no_graph() -> Iterator[None]:
    """Launch steps operation by operation on a GPU."""
    accelerate, fit.acceleration = fit.acceleration, lambda state, flops: as_it_is
    try:
        yield
    finally:
        fit.acceleration = accelerate


@contextmanager
def timed_training() -> Iterator[dict[str, float]]:
    """Yield what the training of fits takes: seconds, those in sums over processes, bytes sent."""
    spent = {"seconds": 0.0, "cpu": 0.0, "sums": 0.0, "bytes": 0, "calls": 0}
    plain_train, plain_sum = fit.train, Group.sum_

    def train_timed(*args, **options):
        start, cpu = time.perf_counter(), time.process_time()
        before = spent["sums"], spent["bytes"], spent["calls"]
        ended = plain_train(*args, **options)
        spent["seconds"], spent["cpu"] = time.perf_counter() - start, time.process_time() - cpu
        for name, value in zip(("sums", "bytes", "calls"), before, strict=True):
            spent[name] -= value
        return ended

    def sum_timed(self, tensor):
        start = time.perf_counter()
        result = plain_sum(self, tensor)
        spent["sums"] += time.perf_counter() - start
        spent["bytes"] += tensor.nbytes
        spent["calls"] += 1
        return result

    fit.train, Group.sum_ = train_timed, sum_timed
    try:
        yield spent
    finally:
        fit.train, Group.sum_ = plain_train, plain_sum
