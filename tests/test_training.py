"""The objective under shortage of memory."""

import numpy as np
import pytest
import torch
from torch import nn

from skhug import HUGClassifier, _objective


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
            if len(X) > 16:
                raise torch.OutOfMemoryError("no memory left")
            return kernel(X, y, coef)

        return limited

    monkeypatch.setattr(_objective, "find_kernel", scarce)
    with pytest.warns(RuntimeWarning, match="taken in 4 parts"):
        in_parts = HUGClassifier(**params).fit(X, y)
    np.testing.assert_allclose(in_parts.transform(X), ample.transform(X), atol=1e-3)
    assert in_parts.loss_ == pytest.approx(ample.loss_, rel=1e-4)
