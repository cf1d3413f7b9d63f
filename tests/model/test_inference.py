"""Embedding in blocks under shortage of memory."""

import numpy as np
import pytest
import torch
from torch import nn

from skhug._data.prepare import Cast
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
