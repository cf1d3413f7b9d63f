"""The nearest proxy by blocks against all cosines at once."""

import pytest
import torch

from skhug._model import nearest as _nearest
from skhug._model.nearest import nearest, row_blocks


@pytest.fixture
def points():
    generator = torch.Generator().manual_seed(0)
    draw = torch.randn(700, 8, generator=generator, dtype=torch.float64)
    return torch.nn.functional.normalize(draw, dim=1).split([200, 500])


@pytest.mark.parametrize(("rows", "cosines"), [(20, 60), (7, 70), (64, 6400), (2048, 1 << 20)])
def test_blocks_find_what_all_cosines_show(points, monkeypatch, rows, cosines):
    monkeypatch.setattr(_nearest, "_BLOCK_ROWS", rows)
    monkeypatch.setattr(_nearest, "_BLOCK_COSINES", cosines)
    z, proxies = points
    cosine, index = nearest(z, proxies)
    expected = (z @ proxies.T).max(1)
    torch.testing.assert_close(cosine, expected.values)
    assert torch.equal(index, expected.indices)


def test_the_first_of_equal_proxies_is_taken(monkeypatch):
    monkeypatch.setattr(_nearest, "_BLOCK_COSINES", 2)
    proxies = torch.eye(3)[[1, 0, 2, 0, 0]]
    assert nearest(torch.eye(3)[:1], proxies)[1].tolist() == [1]


def test_blocks_of_rows_shrink_as_classes_grow(points):
    z = points[0]
    assert [len(part) for part in row_blocks(z, 1 << 16)] == [64, 64, 64, 8]
    assert [len(part) for part in row_blocks(z, 10)] == [200]
    assert len(row_blocks(z, 1 << 30)) == 200
    assert torch.equal(torch.cat(row_blocks(z, 1 << 30)), z)
