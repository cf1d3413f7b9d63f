"""Devices, precision, threads and random states."""

import numpy as np
import pytest
import torch

from skhug import MLP, HUGClassifier, HUGEmbedder, Learned, _calibration, _fitting, _training
from skhug._device import (
    draw_seed,
    resolve_device,
    resolve_dtype,
    seeded,
    threads_for,
    to_numpy,
    to_tensor,
)

CPU = torch.device("cpu")
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.mark.parametrize(
    ("precision", "dtype", "shape", "expected"),
    [
        ("auto", np.float64, (100, 10), torch.float64),
        ("auto", np.float64, (1000, 101), torch.float32),
        ("auto", np.float32, (100, 10), torch.float32),
        ("float64", np.float32, (100, 10), torch.float64),
        ("float32", np.float64, (100, 10), torch.float32),
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


@pytest.mark.usefixtures("random_states_untouched")
def test_seeds_come_from_the_random_state_alone():
    assert draw_seed(3) == draw_seed(3)
    assert draw_seed(None) != draw_seed(None)
    state = np.random.RandomState(0)
    assert draw_seed(state) != draw_seed(state)


@pytest.mark.usefixtures("random_states_untouched")
def test_seeded_blocks_repeat_and_leave_no_trace():
    draws = []
    for _ in range(2):
        with seeded(7, CPU):
            draws.append(torch.rand(3))
    assert torch.equal(*draws)


def test_small_steps_use_one_thread_and_the_number_is_restored():
    torch.set_num_threads(2)
    try:
        with threads_for(1e6, CPU):
            assert torch.get_num_threads() == 1
        with threads_for(1e12, CPU):
            assert torch.get_num_threads() == 2
        with pytest.raises(KeyError), threads_for(1e6, CPU):
            raise KeyError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)


def test_device_names_resolve():
    assert resolve_device("cpu") == resolve_device(CPU) == CPU
    with pytest.raises(ValueError, match="'auto', 'cpu', 'cuda'"):
        resolve_device("abacus")


@pytest.mark.cuda
@needs_cuda
@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
@pytest.mark.parametrize("proxies", ["optimal", Learned()], ids=str)
@pytest.mark.parametrize("uniformity", ["mhe", "mhs", "mgd"])
def test_cuda_agrees_with_the_cpu(digits, Estimator, proxies, uniformity):
    X, y = digits
    parameters = {
        "proxies": proxies,
        "uniformity": uniformity,
        "max_epochs": 3,
        "random_state": 0,
        "precision": "float64",
        "encoder": MLP((32,)),
    }
    on_cpu = Estimator(device="cpu", **parameters).fit(X, y)
    on_cuda = Estimator(device="cuda", **parameters).fit(X, y)
    assert next(on_cuda.module_.parameters()).is_cuda
    np.testing.assert_allclose(on_cuda.transform(X), on_cpu.transform(X), atol=1e-5)


@pytest.mark.cuda
@needs_cuda
def test_a_model_trained_on_cuda_pickles_to_numpy(digits):
    import pickle

    X, y = digits
    model = HUGClassifier(device="cuda", max_epochs=3, random_state=0).fit(X, y)
    loaded = pickle.loads(pickle.dumps(model))
    assert not next(loaded.module_.parameters()).is_cuda
    np.testing.assert_allclose(loaded.predict_proba(X), model.predict_proba(X), atol=1e-5)


def test_small_fits_use_one_thread_from_their_rows_to_their_probabilities(iris, monkeypatch):
    seen = {}

    def watch(module, name):
        function = getattr(module, name)

        def watched(*args, **kwargs):
            seen[name] = torch.get_num_threads()
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    watch(_fitting, "place_rows")
    watch(_training, "_train_epoch")
    watch(_calibration, "minimize")
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        HUGClassifier(max_epochs=1).fit(*iris)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert seen == {"place_rows": 1, "_train_epoch": 1, "minimize": 1}
