"""Data that several test files use; all of it is bundled with scikit-learn or generated."""

import os
import re

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, load_iris

from skhug import HUGClassifier, HUGEmbedder

# The suite measures behaviour, not speed: one thread is the steadiest on any machine. Processes
# that tests start get as many.
THREADS = int(os.environ.get("SKHUG_TEST_THREADS", "1"))
torch.set_num_threads(THREADS)
os.environ["OMP_NUM_THREADS"] = str(THREADS)


def pytest_collection_modifyitems(items):
    """Refuse a test whose name holds an address: processes that share the suite must agree."""
    named = [item.nodeid for item in items if re.search(r"\b0x[0-9a-f]", item.nodeid, re.I)]
    if named:
        raise pytest.UsageError(f"names of tests differ from process to process: {named}")


@pytest.fixture(autouse=True)
def _threads_are_as_before():
    """Fail if the test leaves torch with another number of threads."""
    yield
    left = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    assert left == THREADS


@pytest.fixture
def two_threads():
    """Let torch use two threads, and check that it still may at the end."""
    torch.set_num_threads(2)
    yield
    left = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    assert left == 2


@pytest.fixture(params=[HUGClassifier, HUGEmbedder])
def Estimator(request):
    """Both estimators, for what they share."""
    return request.param


@pytest.fixture(scope="session")
def iris():
    X, y = load_iris(return_X_y=True)
    X.setflags(write=False)
    return X, y


@pytest.fixture(scope="session")
def digits():
    X, y = load_digits(return_X_y=True)
    X.setflags(write=False)
    return X, y


@pytest.fixture
def random_states_untouched():
    """Fail if the test changes NumPy's or torch's global random state."""
    numpy_before, torch_before = np.random.get_state(), torch.get_rng_state()
    yield
    assert np.array_equal(numpy_before[1], np.random.get_state()[1])
    assert numpy_before[2] == np.random.get_state()[2]
    assert torch.equal(torch_before, torch.get_rng_state())
