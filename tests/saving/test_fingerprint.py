"""Fingerprints: equal for what is the same fit, different for all else."""

import copy
import functools
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from skhug import MHE, MLP, Pretrained
from skhug._data.sources import RowView, open_rows
from skhug._saving import fingerprint as _fingerprint
from skhug._saving.fingerprint import fingerprint, fingerprint_rows


def scaled(factor, extra=None):
    return lambda X, generator: X * factor


def net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU())


class Callable:
    def __init__(self, value):
        self.value = value

    def __call__(self, X, generator):
        return X


VALUES = {
    "none": None,
    "int": 1,
    "float": 1.0,
    "bool": True,
    "string": "1",
    "array": np.array([1, 2]),
    "array of floats": np.array([1.0, 2.0]),
    "column": np.array([[1], [2]]),
    "objects": np.array([1, 2], dtype=object),
    "empty": np.empty((0, 3)),
    "list": [1, 2],
    "nested": [[1], 2],
    "tuple": (1, 2),
    "dict": {1: 2},
    "dict of strings": {"1": 2},
    "set": {1, 2},
    "tensor": torch.tensor([1, 2]),
    "spec": MLP((2,)),
    "wider spec": MLP((3,)),
    "measure": MHE(),
    "module": net(0),
    "module of other weights": net(1),
    "module of other layers": nn.Sequential(nn.Linear(2, 3), nn.GELU()),
    "pretrained": Pretrained(net(0)),
    "other pretrained": Pretrained(net(1)),
    "random state": np.random.RandomState(0),
    "other random state": np.random.RandomState(1),
    "function": scaled(2),
    "function of another closure": scaled(3),
    "other code": lambda X, generator: X + 1,
    "other constant": lambda X, generator: X + 2,
    "default": lambda X, generator, a=1: X,
    "other default": lambda X, generator, a=2: X,
    "built-in function": torch.relu,
    "other built-in function": torch.tanh,
    "class": torch.optim.Adam,
    "partial": functools.partial(torch.optim.RMSprop, alpha=0.9),
    "other partial": functools.partial(torch.optim.RMSprop, alpha=0.8),
    "object": Callable(1),
    "other object": Callable(2),
    "method": Callable(1).__call__,
    "device": torch.device("cpu"),
}


def test_different_values_have_different_fingerprints():
    digests = {name: fingerprint(value) for name, value in VALUES.items()}
    assert len(set(digests.values())) == len(digests)
    assert {len(digest) for digest in digests.values()} == {16}


@pytest.mark.parametrize("name", VALUES)
def test_copies_have_the_same_fingerprint(name):
    assert fingerprint(copy.deepcopy(VALUES[name])) == fingerprint(VALUES[name])
    assert fingerprint([VALUES[name]] * 2) != fingerprint([VALUES[name]])


def test_objects_that_hold_themselves_end():
    cycle, other = Callable(1), Callable(1)
    cycle.value, other.value = [cycle, 1], [other, 2]
    assert fingerprint(cycle) == fingerprint(copy.deepcopy(cycle)) != fingerprint(other)
    a, b = [1], [1]
    assert fingerprint([a, b, a]) != fingerprint([a, b, b])


def test_another_process_finds_the_same():
    code = (
        "import torch, numpy as np\n"
        "from skhug._saving.fingerprint import fingerprint\n"
        "class Thing:\n"
        "    def __init__(self): self.a = {'b': 1}\n"
        "torch.manual_seed(0)\n"
        "print(fingerprint([torch.nn.Linear(2, 2), {'a', 'b', 'c'}, Thing(), lambda x: x + 1,\n"
        "                   np.array(['a', None], dtype=object), object()]))\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    first, second = (process.communicate()[0] for process in started)
    assert first == second != ""


def test_layout_in_memory_does_not_count_and_every_value_does():
    X = np.random.default_rng(0).standard_normal((50, 3))
    assert fingerprint_rows(np.asfortranarray(X)) == fingerprint_rows(X)
    for i in (0, 17, 49):
        other = X.copy()
        other[i, 1] = np.nextafter(other[i, 1], 9)
        assert fingerprint_rows(other) != fingerprint_rows(X)
    assert fingerprint_rows(X.astype(np.float32)) != fingerprint_rows(X)


def test_of_many_rows_a_sample_is_read(monkeypatch):
    X = np.arange(10_000.0).reshape(-1, 1)
    monkeypatch.setattr(_fingerprint, "RESIDENT_BYTES", 100)
    last = X.copy()
    last[-1] = 0
    assert fingerprint_rows(last) != fingerprint_rows(X)
    assert fingerprint_rows(X[:-1]) != fingerprint_rows(X)
    index = np.arange(10_000)
    assert fingerprint_rows(RowView(X, index)) == fingerprint_rows(RowView(X.copy(), index))
    assert fingerprint_rows(RowView(X, index[::-1])) != fingerprint_rows(RowView(X, index))


class Rows(torch.utils.data.Dataset):
    def __init__(self, n, noise, seed=0):
        self.X = np.random.default_rng(seed).standard_normal((n, 2))
        self.noise = noise
        self.rng = np.random.default_rng()

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i] + self.noise * self.rng.standard_normal(2)


def test_rows_that_change_from_reading_to_reading_count_with_their_shape():
    def of(*args):
        return fingerprint_rows(open_rows(Rows(*args)))

    assert of(50, 0.0) == of(50, 0.0) != of(50, 0.0, 1)
    assert of(50, 1.0) == of(50, 1.0) != of(51, 1.0)
