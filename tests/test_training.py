"""The objective under shortage of memory."""

import numpy as np
import pytest
import torch
from torch import nn

from skhug import HUGClassifier


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
