"""The objective: under shortage of memory, in bfloat16, compiled."""

import pickle
import shutil

import numpy as np
import pytest
import torch
from torch import nn

from skhug import MLP, HUGClassifier
from skhug._training import objective as _objective


class Scarce(nn.Module):
    """Encoder on a device that holds so many rows."""

    def __init__(self, rows):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.rows = rows

    def forward(self, X):
        if self.training and len(X) > self.rows:
            raise torch.OutOfMemoryError("no memory left")
        return self.linear(X)


def fit(rows, **params):
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((64, 4)), np.arange(64) % 4
    torch.manual_seed(0)
    model = HUGClassifier(Scarce(rows), max_epochs=3, batch_size=32, random_state=0, **params)
    return model.fit(X, y)


@pytest.mark.parametrize("proxies", ["optimal", "learned"])
def test_a_batch_that_memory_does_not_hold_is_taken_in_parts(proxies):
    with pytest.warns(RuntimeWarning, match="taken in 4 parts"):
        scarce = fit(8, proxies=proxies)
    ample = fit(32, proxies=proxies)
    np.testing.assert_allclose(scarce.proxies_, ample.proxies_, atol=1e-12)
    for a, b in zip(scarce.module_.parameters(), ample.module_.parameters(), strict=True):
        torch.testing.assert_close(a, b)
    assert [row["loss"] for row in scarce.history_] == pytest.approx(
        [row["loss"] for row in ample.history_]
    )


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_memory_for_no_row_at_all_is_an_error():
    with pytest.raises(torch.OutOfMemoryError):
        fit(0)


def test_a_kernel_takes_a_batch_in_parts_as_well(digits, monkeypatch):
    X, y = digits
    params = {"max_epochs": 2, "batch_size": 64, "random_state": 0, "device": "cpu"}
    ample = HUGClassifier(**params).fit(X, y)
    found = _objective.find_kernel

    def scarce(objective):
        kernel = found(objective)

        def limited(X, y, coef):
            if y.shape[-1] > 16:
                raise torch.OutOfMemoryError("no memory left")
            return kernel(X, y, coef)

        return limited

    monkeypatch.setattr(_objective, "find_kernel", scarce)
    with pytest.warns(RuntimeWarning, match="taken in 4 parts"):
        in_parts = HUGClassifier(**params).fit(X, y)
    np.testing.assert_allclose(in_parts.transform(X), ample.transform(X), atol=1e-3)
    assert in_parts.loss_ == pytest.approx(ample.loss_, rel=1e-4)


class Spy(nn.Module):
    """Encoder that notes the dtypes it computes in."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.seen = set()

    def forward(self, X):
        raw = self.linear(X)
        self.seen.add((self.training, raw.dtype))
        return raw


@pytest.mark.parametrize("proxies", ["optimal", "learned"])
def test_bfloat16_is_for_the_body_in_training_and_nothing_else(iris, proxies):
    X, y = iris
    params = {"max_epochs": 30, "random_state": 0, "proxies": proxies, "n_components": 3}
    torch.manual_seed(0)
    spy = Spy()
    model = HUGClassifier(spy, precision="bfloat16", early_stopping=True, **params).fit(X, y)
    assert model.module_.body.seen == {(True, torch.bfloat16), (False, torch.float32)}
    assert {p.dtype for p in model.module_.parameters()} == {torch.float32}
    assert model.transform(X).dtype == model.proxies_.dtype == np.float32
    single = HUGClassifier(spy, precision="float32", early_stopping=True, **params).fit(X, y)
    assert single.module_.body.seen == {(True, torch.float32), (False, torch.float32)}
    # Of the epochs that both have: rounding may decide which validation score is the best.
    for low, full in zip(model.history_, single.history_, strict=False):
        assert low["loss"] == pytest.approx(full["loss"], rel=0.02)


def test_the_kernel_written_by_hand_knows_no_bfloat16(iris):
    model = HUGClassifier(max_epochs=3, random_state=0, precision="bfloat16").fit(*iris)
    single = HUGClassifier(max_epochs=3, random_state=0, precision="float32").fit(*iris)
    difference = np.abs(model.transform(iris[0]) - single.transform(iris[0])).max()
    assert 0 < difference < 0.05


@pytest.mark.slow
@pytest.mark.skipif(
    not any(map(shutil.which, ("c++", "g++", "clang++", "cl"))), reason="no C++ compiler"
)
def test_compiled_training_agrees_and_leaves_an_ordinary_module(iris):
    X, y = iris
    params = {"encoder": MLP((8,)), "max_epochs": 3, "random_state": 0}
    compiled = HUGClassifier(compile=True, **params).fit(X, y)
    plain = HUGClassifier(**params).fit(X, y)
    np.testing.assert_allclose(compiled.transform(X), plain.transform(X), atol=1e-6)
    assert type(compiled.module_.body) is type(plain.module_.body)
    loaded = pickle.loads(pickle.dumps(compiled))
    assert np.array_equal(loaded.transform(X), compiled.transform(X))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_no_part_of_a_batch_has_one_row():
    class Normalised(Scarce):
        def __init__(self):
            super().__init__(8)
            self.norm = nn.BatchNorm1d(3)

        def forward(self, X):
            return self.norm(super().forward(X))

    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((99, 4)), np.arange(99) % 4  # the last batch has 3 rows
    model = HUGClassifier(Normalised(), max_epochs=2, batch_size=32, random_state=0).fit(X, y)
    assert model.n_iter_ == 2
