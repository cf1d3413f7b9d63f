"""What the benchmarks' tests share: one thread, and digits in place of the benchmarks' data."""

import os

import pytest
import torch
from sklearn.datasets import load_digits

torch.set_num_threads(int(os.environ.get("SKHUG_TEST_THREADS", "1")))


@pytest.fixture(scope="session")
def digits():
    X, y = load_digits(return_X_y=True)
    X.setflags(write=False)
    return X, y
