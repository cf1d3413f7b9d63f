"""Devices, precision and the crossings."""

import numpy as np
import pytest
import torch

from skhug import HUGClassifier
from skhug._data.rows import Rows
from skhug._defaults import resolve
from skhug._device import (
    _read_tf32_settings,
    allows_tf32,
    resolve_device,
    resolve_dtype,
    tf32,
    to_numpy,
    to_tensor,
)

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("precision", "dtype", "shape", "expected"),
    [
        ("auto", np.float64, (100, 10), torch.float64),
        ("auto", np.float64, (1000, 101), torch.float32),
        ("auto", np.float32, (100, 10), torch.float32),
        ("float64", np.float32, (100, 10), torch.float64),
        ("float32", np.float64, (100, 10), torch.float32),
        ("bfloat16", np.float64, (100, 10), torch.float32),
    ],
)
def test_precision_follows_the_input_up_to_a_size(precision, dtype, shape, expected):
    assert resolve_dtype(precision, np.zeros(shape, dtype), CPU) == expected


def test_arrays_cross_to_tensors_without_a_copy_where_they_can():
    array = np.arange(6.0).reshape(2, 3)
    tensor = to_tensor(array, CPU)
    assert np.shares_memory(to_numpy(tensor), array)
    array.setflags(write=False)
    assert not np.shares_memory(to_numpy(to_tensor(array, CPU)), array)
    for odd in (np.asfortranarray(array), array[::-1], array.T):
        assert np.array_equal(to_numpy(to_tensor(odd, CPU)), odd)


def test_device_names_resolve():
    assert resolve_device("cpu") == resolve_device(CPU) == CPU
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda'"):
        resolve_device("abacus")


@pytest.mark.skipif(torch.cuda.is_available(), reason="the device is there")
@pytest.mark.parametrize("device", ["cuda", "cuda:1", torch.device("cuda")])
def test_a_device_that_is_not_there_is_refused_by_name(iris, device):
    with pytest.raises(ValueError, match=r"'cuda(:1)?' is not available here.*'auto' or .*'cpu'"):
        HUGClassifier(device=device).fit(*iris)


TF32 = {"auto": True, "bfloat16": True, "float32": False, "float64": False}


@pytest.mark.parametrize("precision", TF32)
@pytest.mark.parametrize("before", [True, False])
def test_tf32_follows_the_precision_and_is_restored(precision, before):
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    at_start = tf32_settings()
    matmul.allow_tf32 = cudnn.allow_tf32 = before
    own = tf32_settings()
    try:
        with tf32(allows_tf32(precision), torch.device("cuda")):
            assert matmul.allow_tf32 == cudnn.allow_tf32 == TF32[precision]
        assert tf32_settings() == own
        with pytest.raises(KeyError), tf32(TF32[precision], torch.device("cuda")):
            raise KeyError
        assert tf32_settings() == own
        with tf32(TF32[precision], CPU):
            assert tf32_settings() == own
    finally:
        for place, name, value in at_start:
            setattr(place, name, value)


@pytest.mark.skipif(
    not hasattr(torch.backends.cuda.matmul, "fp32_precision"), reason="torch before 2.9"
)
def test_tf32_settings_by_their_finer_names_are_restored():
    conv, rnn = torch.backends.cudnn.conv, torch.backends.cudnn.rnn
    at_start = tf32_settings()
    conv.fp32_precision, rnn.fp32_precision = "ieee", "tf32"  # allow_tf32 cannot say this
    try:
        with tf32(True, torch.device("cuda")):
            assert torch.backends.cudnn.allow_tf32
        assert (conv.fp32_precision, rnn.fp32_precision) == ("ieee", "tf32")
    finally:
        for place, name, value in at_start:
            setattr(place, name, value)


def tf32_settings():
    return list(_read_tf32_settings())


def test_bfloat16_is_trained_in_where_asked_for_and_not_by_itself_on_the_cpu():
    X = np.zeros((4, 2), np.float32)
    rows, classes = Rows(X, np.arange(4) % 2, np.ones(4)), np.arange(2)
    least = {
        precision: resolve(
            HUGClassifier(precision=precision, device="cpu"), rows, classes, 0
        ).bfloat16_flops
        for precision in ("bfloat16", "auto", "float32", "float64")
    }
    assert least == {"bfloat16": 0, "auto": np.inf, "float32": np.inf, "float64": np.inf}
