"""The picture of verification: a curve, what is marked on it, and its axis."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import pytest

from skhug import HUGEmbedder
from skhug.metrics import verification_report
from skhug.metrics._pairs import all_pairs
from skhug.metrics._verification import Curve
from skhug.plotting import VerificationDisplay, _verification


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture
def points():
    rng = np.random.default_rng(0)
    y = rng.integers(8, size=70)
    return rng.normal(size=(8, 5))[y] + rng.normal(size=(70, 5)), y


def test_curve_and_marks_are_those_of_the_report(points, monkeypatch):
    X, y = points
    monkeypatch.setattr(_verification, "_MOST_POINTS", 10_000)
    display = VerificationDisplay.from_predictions(y, X, far=(0.1, 0.01, 1e-6), name="raw")
    report = verification_report(X, y, far=(0.1, 0.01))
    curve = Curve(all_pairs(X, y))
    least = 1 / report["n_false_pairs"]
    far, tar = display.line_.get_data()
    np.testing.assert_allclose(far, np.maximum(curve.far, least))
    np.testing.assert_allclose(tar, curve.tar)
    marked = np.array(display.tar_points_.get_data())
    expected = [report["tar_at_far_1e-1"], report["tar_at_far_1e-2"]]
    np.testing.assert_allclose(marked, [[0.1, 0.01], expected])  # 1e-6 cannot be told
    star = np.ravel(display.eer_point_.get_data())
    np.testing.assert_allclose(star, [report["eer"], 1 - report["eer"]])
    assert display.ax_.get_xscale() == "log"
    assert display.ax_.get_xlim()[0] == pytest.approx(least)
    label = display.ax_.get_legend().get_texts()[0].get_text()
    assert label == f"raw: EER {report['eer']:.3f}, AUC {report['roc_auc']:.3f}"


def test_long_curves_are_thinned_and_keep_their_shape(points, monkeypatch):
    monkeypatch.setattr(_verification, "_MOST_POINTS", 10_000)
    whole = VerificationDisplay.from_predictions(*points[::-1]).line_.get_data()
    monkeypatch.setattr(_verification, "_MOST_POINTS", 300)
    thin = VerificationDisplay.from_predictions(*points[::-1]).line_.get_data()
    assert len(thin[0]) <= 301 < len(whole[0])
    assert (thin[0][-1], thin[1][-1]) == (1, 1)
    pairs = set(zip(*whole, strict=True))
    assert set(zip(*thin, strict=True)) <= pairs
    for rate in (0.003, 0.01, 0.1, 0.5):
        at_rate = [tar[far <= rate].max() for far, tar in (whole, thin)]
        assert at_rate[1] == pytest.approx(at_rate[0], abs=0.01)


def test_curves_share_an_axes_and_differ_in_more_than_colour(points):
    X, y = points
    _, ax = plt.subplots()
    first = VerificationDisplay.from_predictions(y, X, name="a", ax=ax)
    second = VerificationDisplay.from_predictions(y, X**3, name="b", ax=ax)
    assert first.ax_ is second.ax_ is ax
    assert first.line_.get_linestyle() != second.line_.get_linestyle()
    assert first.tar_points_.get_marker() != second.tar_points_.get_marker()
    assert [t.get_text()[0] for t in ax.get_legend().get_texts()] == ["a", "b"]


def test_an_estimators_embeddings_are_paired_with_a_gallery_too(iris):
    X, y = iris
    model = HUGEmbedder(max_epochs=1, random_state=0).fit(X, y)
    z = model.transform(X)
    display = VerificationDisplay.from_estimator(model, X, y)
    assert display.report == pytest.approx(verification_report(z, y), nan_ok=True)
    assert display.line_.get_label().startswith("HUGEmbedder: EER")
    gallery = {"gallery": X[::2], "gallery_labels": y[::2]}
    display = VerificationDisplay.from_estimator(model, X, y, **gallery, far=0.1)
    expected = verification_report(z, y, gallery=z[::2], gallery_labels=y[::2], far=0.1)
    assert display.report == pytest.approx(expected)


def test_pairs_told_without_an_error_are_drawn(points):
    y = points[1]
    display = VerificationDisplay.from_predictions(y, np.eye(8)[y])
    assert display.eer_point_.get_xdata()[0] > 0  # there is no 0 on the axis
    display.figure_.canvas.draw()
