"""Modules as NumPy arrays and back."""

import numpy as np
import pytest
import torch
from torch import nn

from skhug._data.prepare import Cast, NormalizeImages, Standardize
from skhug._model.sphere_encoder import SphereEncoder
from skhug._saving.modules import (
    full_state,
    load_full_state,
    pack_module,
    pack_tensors,
    unpack_module,
    unpack_tensors,
)
from skhug.encoders import MLP, ConvNet, ResNet


def make(spec):
    body = nn.Linear(4, 3) if spec is None else spec.build((4,), 3)
    prepare = Cast(torch.float32)
    if spec is not None and spec.standardize:
        prepare = Standardize(torch.ones(4).double(), torch.ones(4).double(), torch.float32)
    encoder = SphereEncoder(prepare, body, (4,), 3, spec)
    encoder(torch.randn(50, 4))  # moves the running statistics of batch normalisation
    return encoder.eval()


@pytest.mark.usefixtures("random_states_untouched")
def test_packing_draws_no_random_numbers():
    with torch.random.fork_rng():
        encoder = make(MLP((5,)))
    unpack_module(pack_module(encoder))


@pytest.mark.parametrize(
    "spec",
    [None, MLP((5,)), MLP((5,), batch_norm=True, dropout=0.1), MLP(standardize=False)],
    ids=str,
)
def test_modules_survive_the_round_trip(spec):
    encoder = make(spec)
    copy = unpack_module(pack_module(encoder))
    X = torch.randn(7, 4)
    assert torch.equal(copy(X), encoder(X))
    assert not copy.training


def test_convolutional_modules_survive_with_their_counters():
    for spec in (ConvNet((4, 4)), ResNet(width=4)):
        prepare = NormalizeImages((8, 8, 3), torch.ones(3), torch.ones(3), torch.float32)
        encoder = SphereEncoder(prepare, spec.build((3, 8, 8), 3), (8, 8, 3), 3, spec)
        X = torch.randint(0, 255, (7, 8, 8, 3), dtype=torch.uint8)
        encoder(X)
        encoder.eval()
        copy = unpack_module(pack_module(encoder))
        assert torch.equal(copy(X), encoder(X))
        state, restored = encoder.state_dict(), copy.state_dict()
        assert state.keys() == restored.keys()
        assert all(torch.equal(restored[name], value) for name, value in state.items())


def test_built_in_encoders_are_packed_without_torch():
    def leaves(tree):
        if isinstance(tree, dict):
            for value in tree.values():
                yield from leaves(value)
        else:
            yield tree

    kinds = {type(leaf) for leaf in leaves(pack_module(make(MLP((5,)))))}
    assert kinds == {tuple, int, float, str, np.ndarray, MLP}


def test_trees_of_tensors_survive_the_round_trip():
    tree = {"a": [torch.arange(3), {"b": torch.ones(())}], "c": 1, "d": (None, "x")}
    packed = pack_tensors(tree)
    assert isinstance(packed["a"][0], np.ndarray)
    restored = unpack_tensors(packed)
    assert torch.equal(restored["a"][0], tree["a"][0])
    assert restored["c"] == 1
    assert restored["d"] == (None, "x")


class Stateful(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(2, 2)
        self.norm = nn.BatchNorm1d(2)
        self.norm.register_buffer("left_out", torch.randn(3), persistent=False)


def test_the_full_state_has_the_buffers_that_state_dict_leaves_out():
    one, other = Stateful(), Stateful()
    state = {name: value.clone() for name, value in full_state(one).items()}
    assert state.keys() - one.state_dict().keys() == {"norm.left_out"}
    places = [p.data_ptr() for p in other.parameters()]
    load_full_state(other, state)
    assert [p.data_ptr() for p in other.parameters()] == places
    assert all(torch.equal(value, state[name]) for name, value in full_state(other).items())


@pytest.mark.parametrize("name", ["linear.weight", "norm.left_out", "norm.running_mean"])
def test_a_state_with_other_names_is_refused(name):
    state = full_state(Stateful())
    with pytest.raises(RuntimeError, match="nonsense"):
        load_full_state(Stateful(), {**state, "nonsense": state[name]})
    del state[name]
    with pytest.raises(RuntimeError, match=name):
        load_full_state(Stateful(), state)
