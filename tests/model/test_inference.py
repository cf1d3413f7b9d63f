"""Embedding in blocks, under shortage of memory too, and what is left out for speed."""

import copy
import warnings
from functools import cache

import numpy as np
import pytest
import torch
from torch import nn

from skhug import MLP, HUGClassifier
from skhug._data import validation
from skhug._data.prepare import Cast, Standardize
from skhug._model.embedding import embed, embed_blocks
from skhug._model.sphere_encoder import SphereEncoder


class Scarce(nn.Module):
    """Body on a device that holds so many rows."""

    def __init__(self, rows):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.rows = rows
        self.sizes = []

    def forward(self, X):
        self.sizes.append(len(X))
        if len(X) > self.rows:
            raise torch.OutOfMemoryError("no memory left")
        return self.linear(X)


def make_encoder(rows):
    torch.manual_seed(0)
    encoder = SphereEncoder(Cast(torch.float32), Scarce(rows), (4,), 3)
    encoder.prepare.block_rows = 64
    return encoder


X = np.random.default_rng(0).standard_normal((150, 4)).astype(np.float32)


@pytest.mark.parametrize("rows", [1, 3, 10, 63])
def test_blocks_that_memory_does_not_hold_are_halved(rows):
    torch.testing.assert_close(embed(make_encoder(rows), X), embed(make_encoder(64), X))


def test_later_blocks_keep_the_size_that_was_found():
    encoder = make_encoder(20)
    assert [len(block) for block in embed_blocks(encoder, X)] == [16] * 9 + [6]
    assert encoder.body.sizes == [64, 32] + [16] * 9 + [6]


def test_memory_for_no_row_at_all_is_an_error():
    encoder = make_encoder(0).train()
    with pytest.raises(torch.OutOfMemoryError):
        embed(encoder, X)
    assert encoder.training


TRAIN = np.random.default_rng(0).integers(0, 9, (20, 3)).astype(np.float64)


@cache
def fitted():
    """Return a small model, not to be changed."""
    return HUGClassifier(MLP((4,)), max_epochs=1, random_state=0).fit(TRAIN, np.arange(20) % 2)


@pytest.mark.parametrize("training", [False, True])
def test_one_block_leaves_the_module_in_its_mode(training):
    model = copy.deepcopy(fitted())
    model.module_.train(training)
    rows = model.transform(TRAIN[:5])
    assert rows.flags.writeable
    assert model.module_.training is training


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("far", [1.0, 1e17, 1e30, np.inf, -np.inf, np.nan])
def test_looking_for_what_is_far_changes_no_bit(dtype, far):
    prepare = Standardize(torch.zeros(3).double(), torch.ones(3).double(), dtype)
    rows = torch.tensor([[0.1, far, -2.0], [1e3, 0.0, 5.0]], dtype=dtype)
    expected = prepare(rows)
    assert bool((expected.abs() <= 3 + 1e-6).all())
    with torch.inference_mode():
        for given in (rows, rows.T.contiguous().T):  # by rows and by columns in memory
            assert torch.equal(prepare(given), expected)


def test_standardised_rows_have_a_gradient():
    prepare = Standardize(torch.zeros(3).double(), torch.ones(3).double(), torch.float64)
    rows = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(prepare, (rows,))


def outcome(function, rows):
    """What a function returns, raises and warns of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function(rows).tolist()
        except Exception as error:
            result = repr(error)
    return result, [str(w.message) for w in caught]


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.uint8, np.int64, ">f4", object, "U4"])
@pytest.mark.parametrize("named", [False, True])
def test_arrays_that_need_no_check_fare_as_if_checked(dtype, named, monkeypatch):
    model = copy.copy(fitted())
    if named:
        model.feature_names_in_ = np.array(["a", "b", "c"], dtype=object)
    rows = TRAIN[:4].astype(dtype)
    cases = [rows, rows[:0], rows[:, :2], rows[0], rows[None], np.asfortranarray(rows), rows[::-1]]
    if np.dtype(dtype).kind == "f":
        for value in (np.nan, np.inf, -np.inf, np.finfo(dtype).max):
            far = rows.copy()
            far[:2, 1] = value
            cases.append(far)
    quick = [outcome(model.transform, case) for case in cases]
    monkeypatch.setattr(validation, "_passes_unchanged", lambda *_: False)
    assert quick == [outcome(model.transform, case) for case in cases]
