"""Threads and random state, which belong to the process."""

import subprocess
import sys

import numpy as np
import pytest
import torch

from skhug import HUGClassifier
from skhug._model import calibration as _calibration
from skhug._process import draw_seed, seeded, threads_for
from skhug._training import build as _build
from skhug._training import loop as _training

CPU = torch.device("cpu")


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


@pytest.mark.usefixtures("two_threads")
def test_small_steps_use_one_thread_and_the_number_is_restored():
    with threads_for(1e6, CPU):
        assert torch.get_num_threads() == 1
    with threads_for(1e12, CPU):
        assert torch.get_num_threads() == 2
    with pytest.raises(KeyError), threads_for(1e6, CPU):
        raise KeyError
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_small_fits_use_one_thread_from_their_rows_to_their_probabilities(iris, monkeypatch):
    seen = {}

    def watch(module, name):
        function = getattr(module, name)

        def watched(*args, **kwargs):
            seen[name] = torch.get_num_threads()
            return function(*args, **kwargs)

        monkeypatch.setattr(module, name, watched)

    watch(_build, "place_rows")
    watch(_training, "_train_epoch")
    watch(_calibration, "minimize")
    HUGClassifier(max_epochs=1).fit(*iris)
    assert torch.get_num_threads() == 2
    assert seen == {"place_rows": 1, "_train_epoch": 1, "minimize": 1}


@pytest.mark.usefixtures("two_threads")
def test_threaded_fits_restore_the_number_of_threads(iris):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(3) as pool:
        fits = [pool.submit(HUGClassifier(max_epochs=2).fit, *iris) for _ in range(9)]
        for fit in fits:
            fit.result()
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == 2


def test_processes_of_the_suite_get_as_many_threads_as_the_suite():
    command = [sys.executable, "-c", "import torch; print(torch.get_num_threads())"]
    child = subprocess.run(command, capture_output=True, text=True, check=True)
    assert int(child.stdout) == torch.get_num_threads()
