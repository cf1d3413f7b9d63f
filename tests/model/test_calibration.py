"""Calibration on few classes that stand for many."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skhug._model import calibration as _calibration
from skhug._model.calibration import (
    Candidates,
    calibration_rows,
    candidates,
    fit_readout,
    log_distances,
    shares,
)
from skhug.proxies import optimal_proxies


def clustered(n_classes, n_rows, d=16, noise=0.2):
    generator = torch.Generator().manual_seed(0)
    proxies = F.normalize(torch.randn(n_classes, d, generator=generator), dim=1)
    y = torch.randint(n_classes, (n_rows,), generator=generator)
    z = proxies[y] + noise * torch.randn(n_rows, d, generator=generator)
    return F.normalize(z, dim=1), proxies, y


def all_shares(z, proxies):
    return shares(z @ proxies.T, z @ proxies.mean(0)[:, None], *proxies.shape)


def all_candidates(z, proxies, y):
    distances = log_distances(z @ proxies.T, z)
    return Candidates(all_shares(z, proxies), distances, y, None, len(proxies))


def test_distances_are_those_from_the_proxies():
    z, proxies, _ = clustered(20, 30)
    z = z * torch.linspace(0.1, 1, 30)[:, None]
    expected = (torch.cdist(z.double(), proxies.double()) ** 2 + 3e-4).log()
    torch.testing.assert_close(
        log_distances(z @ proxies.T, z).double(), expected, atol=1e-3, rtol=0
    )


@pytest.mark.parametrize("n_classes", [2, 3, 10])
@pytest.mark.parametrize("more", [0, 1, 5])
def test_a_mean_of_a_simplex_gives_its_probabilities_back(n_classes, more):
    proxies = optimal_proxies(n_classes, n_classes - 1 + more).double()
    p = torch.rand(7, n_classes, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    p /= p.sum(1, keepdim=True)
    torch.testing.assert_close(all_shares(p @ proxies, proxies), p, rtol=1e-5, atol=1e-6)


def test_the_expected_loss_on_the_ball_is_least_at_the_probabilities():
    proxies = optimal_proxies(3, 2).double()
    p = torch.tensor([0.6, 0.3, 0.1], dtype=torch.float64)

    def expected(z):
        return p @ (z - proxies).square().sum(1)

    best = p @ proxies
    for direction in (*torch.eye(2).double(), *-torch.eye(2).double()):
        assert expected(best + 0.01 * direction) > expected(best)


def test_shares_of_a_tight_frame_are_ordered_as_the_products():
    z, proxies, _ = clustered(40, 50)
    assert torch.equal(all_shares(z, proxies).argmax(1), (z @ proxies.T).argmax(1))


def test_few_classes_are_all_seen():
    z, proxies, y = clustered(100, 50)
    seen = candidates(z, proxies, y)
    assert torch.equal(seen.shares, all_shares(z, proxies))
    assert torch.equal(seen.own, y)
    assert seen.log_count is None
    assert seen.n_classes == 100


@pytest.mark.parametrize("n_classes", [513, 2000])
def test_columns_stand_for_every_class_once(n_classes):
    z, proxies, y = clustered(n_classes, 40)
    seen = candidates(z, proxies, y)
    assert seen.shares.shape == seen.log_count.shape == (40, 512)
    count = seen.log_count.exp().sum(1)
    torch.testing.assert_close(count, torch.full((40,), float(n_classes)))
    assert seen.n_classes == n_classes
    q = all_shares(z, proxies)
    torch.testing.assert_close(seen.shares[:, 0], q.gather(1, y[:, None])[:, 0])
    torch.testing.assert_close(seen.shares[:, :65].amax(1), q.amax(1))
    distances = log_distances(z @ proxies.T, z)
    torch.testing.assert_close(seen.log_distances[:, :65].amin(1), distances.amin(1))


def test_a_draw_of_classes_gives_what_all_of_them_give():
    z, proxies, y = clustered(1500, 600, noise=0.3)
    few = fit_readout(candidates(z, proxies, y), torch.ones(600), 1e-3)
    full = fit_readout(all_candidates(z, proxies, y), torch.ones(600), 1e-3)
    np.testing.assert_allclose(few, full, rtol=0.05)


def test_blocks_of_rows_change_nothing(monkeypatch):
    z, proxies, y = clustered(600, 30)
    whole = candidates(z, proxies, y)
    monkeypatch.setattr("skhug._model.nearest._WIDE_COSINES", 600 * 7)
    torch.testing.assert_close(candidates(z, proxies, y), whole)


def test_rows_are_drawn_only_beyond_the_bound(monkeypatch):
    monkeypatch.setattr(_calibration, "_COSINES", 1000)
    assert np.array_equal(calibration_rows(100, 10), np.arange(100))
    drawn = calibration_rows(101, 10)
    assert len(drawn) == 100
    assert np.all(np.diff(drawn) > 0)
    assert np.array_equal(drawn, calibration_rows(101, 10))
