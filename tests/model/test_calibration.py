"""Calibration on few classes that stand for many."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from skhug._model import calibration as _calibration
from skhug._model.calibration import Candidates, calibration_rows, candidates, fit_falloff
from skhug._model.nearest import nearest


def clustered(n_classes, n_rows, d=16, noise=0.2):
    generator = torch.Generator().manual_seed(0)
    proxies = F.normalize(torch.randn(n_classes, d, generator=generator), dim=1)
    y = torch.randint(n_classes, (n_rows,), generator=generator)
    z = proxies[y] + noise * torch.randn(n_rows, d, generator=generator)
    return F.normalize(z, dim=1), proxies, y


def test_few_classes_are_all_seen():
    z, proxies, y = clustered(100, 50)
    seen = candidates(z, proxies, y)
    assert torch.equal(seen.cosines, z @ proxies.T)
    assert torch.equal(seen.own, y)
    assert seen.log_count is None
    assert seen.log_classes == pytest.approx(np.log(100))


@pytest.mark.parametrize("n_classes", [513, 2000])
def test_columns_stand_for_every_class_once(n_classes):
    z, proxies, y = clustered(n_classes, 40)
    seen = candidates(z, proxies, y)
    assert seen.cosines.shape == seen.log_count.shape == (40, 512)
    count = seen.log_count.exp().sum(1)
    torch.testing.assert_close(count, torch.full((40,), float(n_classes)))
    assert seen.log_classes == pytest.approx(np.log(n_classes))
    cosines = z @ proxies.T
    torch.testing.assert_close(seen.cosines[:, 0], cosines.gather(1, y[:, None])[:, 0])
    torch.testing.assert_close(seen.cosines[:, :65].amax(1), nearest(z, proxies)[0])


def test_a_draw_of_classes_gives_what_all_of_them_give():
    z, proxies, y = clustered(1500, 600, noise=0.3)
    few = fit_falloff(candidates(z, proxies, y), torch.ones(600), 1e-3)
    full = fit_falloff(Candidates(z @ proxies.T, y, None), torch.ones(600), 1e-3)
    np.testing.assert_allclose(few, full, rtol=0.02)


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
