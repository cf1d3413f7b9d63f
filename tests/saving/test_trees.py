"""Nested objects as JSON and arrays: what comes back, and what is refused."""

import json
import os

import numpy as np
import pytest
import torch
from torch import nn

from skhug import MGD, MHE, MHS, MLP, SGD, AdamW, BalancedBatches, ConvNet, Learned, ResNet, augment
from skhug._saving.json_codec import NotPlainError, decode, encode, map_leaves


def round_trip(tree):
    arrays = {}
    text = json.dumps(encode(tree, arrays), allow_nan=False)
    return decode(json.loads(text), arrays)


PLAIN = [
    None,
    True,
    12345678901234567890,
    -0.1,
    float("inf"),
    "\ud800 text",
    [],
    [1, [2.0, "3"]],
    (1, (2,)),
    {},
    {"a": {1: (True, None)}, (1, 2): [3], 2.5: "x"},
    torch.device("cuda", 1),
    np.float32(0.1),
    np.int64(-3),
    np.bool_(True),
    np.str_("label"),
]


@pytest.mark.parametrize("value", PLAIN, ids=repr)
def test_plain_values_come_back_with_their_types(value):
    got = round_trip(value)
    assert got == value
    assert type(got) is type(value)


def test_not_a_number_comes_back():
    assert np.isnan(round_trip(float("nan")))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(3, dtype=np.int8),
        np.array(2.5, dtype=np.float32),
        np.arange(6, dtype=">f8").reshape(2, 3),
        np.zeros((0, 2), dtype=bool),
        np.array(["a", "bcd"], dtype="<U7"),
        np.array([["a"], ["b\0c"]]),
        np.array([], dtype="U3"),
        np.array(["a", None, 3, 2.5, True], dtype=object),
    ],
    ids=repr,
)
def test_arrays_come_back(array):
    got = round_trip(array)
    assert got.dtype == array.dtype.newbyteorder("=")
    assert got.shape == array.shape
    assert got.tolist() == array.tolist()
    assert [type(v) for v in got.ravel()] == [type(v) for v in array.ravel()]


def test_text_that_no_file_should_hold_is_refused():
    with pytest.raises(NotPlainError, match="dtype <U67108865"):
        encode(np.empty(1, dtype=f"U{(1 << 26) + 1}"), {})


def test_tensors_come_back_on_the_cpu():
    tensor = torch.arange(6, dtype=torch.int32).reshape(2, 3).T
    got = round_trip({"a": [tensor, nn.Parameter(torch.ones(()))]})["a"]
    assert torch.equal(got[0], tensor)
    assert got[0].dtype == tensor.dtype
    assert torch.equal(got[1], torch.ones(()))


def test_a_random_state_goes_on_where_it_was():
    state = np.random.RandomState(3)
    state.standard_normal(5)  # an odd number leaves half a pair in the state
    got = round_trip(state)
    assert np.array_equal(got.standard_normal(10), state.standard_normal(10))


@pytest.mark.parametrize(
    "spec",
    [
        MLP((3, 4), dropout=0.5),
        ConvNet([4], standardize=([0.5], [2.0]), image_shape=(1, 8, 8)),
        ResNet(34),
        MHE(s_within=-1.5),
        MHS(),
        MGD(),
        Learned(attached=False, momentum=0.97),
        AdamW(0.5),
        SGD(),
        BalancedBatches(2, 3),
        augment.Compose([augment.RandomCrop(2), augment.HorizontalFlip(0.1)]),
        augment.Affine(),
        augment.Cutout(3),
    ],
    ids=str,
)
def test_parameter_objects_come_back(spec):
    got = round_trip(spec)
    assert type(got) is type(spec)
    assert repr(got) == repr(spec)


class Mine(MLP):
    pass


@pytest.mark.parametrize(
    "value",
    [
        len,
        lambda: None,
        Mine(),
        MLP,
        nn.Linear(2, 2),
        {1, 2},
        b"bytes",
        1j,
        np.array([1j]),
        np.array([b"a"]),
        np.zeros(2, dtype="datetime64[s]"),
        np.array([[None]]),
        np.array([len], dtype=object),
        augment.Compose([len]),
        torch.zeros(2, dtype=torch.complex64),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_json_cannot_hold_is_refused(value):
    with pytest.raises(NotPlainError):
        encode([value], {})


def test_long_doubles_are_refused_where_they_are_long():
    array = np.zeros(2, dtype=np.longdouble)
    if array.itemsize > 8:
        with pytest.raises(NotPlainError, match="dtype"):
            encode(array, {})


@pytest.mark.parametrize(
    "crafted",
    [
        {"object": ["system", {"dict": []}]},
        {"object": ["os.system", {"dict": [["command", "touch hacked"]]}]},
        {"object": ["Pretrained", {"dict": []}]},
        {"object": ["MLP", {"dict": [["nonsense", 1]]}]},
        {"object": [["MLP"], {"dict": []}]},
        {"__reduce__": ["os.system", "touch hacked"]},
        {"eval": "1"},
        {"array": "0"},
        {"array": ["0"]},
        {"scalar": 1},
        {"tensor": 1},
        {"random_state": [1]},
        {"strings": [1 << 40, ["a"]]},
        {"strings": [1 << 16, ["a"] * 1025]},
        {"strings": ["1", ["a"]]},
        {"strings": [1, [len.__name__]]},
        {"dict": [[[1], 2]]},
        {"float": "x"},
        {"device": "nonsense"},
        {"tuple": 1},
        {"a": 1, "b": 2},
        {},
    ],
    ids=repr,
)
def test_crafted_trees_make_nothing(crafted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises((KeyError, TypeError, ValueError, RuntimeError)):
        decode(crafted, {})
    assert os.listdir(tmp_path) == []


def test_functions_reach_the_leaves_and_nothing_else():
    tree = {"a": [1, ("x", 2)], "b": 3.0}
    assert map_leaves(tree, int, str) == {"a": ["1", ("x", "2")], "b": 3.0}
