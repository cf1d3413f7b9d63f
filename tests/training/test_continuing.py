"""Statistics of the input where training goes on with other rows."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn

import skhug
from skhug import MLP, ConvNet, HUGClassifier, Learned
from skhug._data.feature_scale import FeatureSummary, centre_and_scale
from skhug._data.image_layout import ChannelSummary, Layout, channel_statistics
from skhug.encoders import Encoder


def chunks(n, size=100):
    return [slice(start, start + size) for start in range(0, n, size)]


def streamed(model, X, y, passes=5, size=100):
    for _ in range(passes):
        for rows in chunks(len(X), size):
            model.partial_fit(X[rows], y[rows], classes=np.unique(y))
    return model


def summary_of(X, size=100):
    parts = [FeatureSummary.of(X[rows], np.ones(len(X[rows])), 0) for rows in chunks(len(X), size)]
    whole = parts[0]
    for seed, part in enumerate(parts[1:]):
        whole = whole.merged(part, seed)
    return whole


def features(n):
    rng = np.random.default_rng(0)
    normal, heavy = rng.normal(3.0, 2.0, n), np.exp(2 * rng.normal(size=n))
    count, pixel = rng.poisson(0.3, n), np.where(rng.random(n) < 0.1, rng.integers(1, 255, n), 0)
    return np.column_stack([normal, heavy, count, pixel, np.full(n, 0.3), np.sort(normal)])


# --- summaries -----------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [1.0, 1e-30, 1e300])
def test_a_summary_in_parts_is_that_of_all_rows(factor):
    X = features(480) * factor
    expected = centre_and_scale(X, np.ones(len(X)))
    np.testing.assert_allclose(summary_of(X, 70).centre_and_scale(), expected, rtol=1e-12)


def test_a_summary_of_bytes_is_that_of_all_rows():
    X = features(480)[:, 3:4].astype(np.uint8)
    expected = centre_and_scale(X, np.ones(len(X)))
    np.testing.assert_allclose(summary_of(X).centre_and_scale(), expected, rtol=1e-12)


def test_a_summary_of_many_rows_stays_small_and_near_to_all_of_them():
    X = features(20_000)
    summary = summary_of(X)
    assert summary.n_rows == 20_000
    assert summary.values.shape == (512, 6)
    centre, scale = summary.centre_and_scale()
    expected_centre, expected_scale = centre_and_scale(X, np.ones(len(X)))
    np.testing.assert_allclose(scale, expected_scale, rtol=0.5)
    np.testing.assert_array_less(np.abs(centre - expected_centre), 0.5 * expected_scale + 1e-9)


def test_no_row_can_be_read_off_a_summary():
    X = np.arange(400.0).reshape(100, 4)
    values = summary_of(X).values
    assert np.array_equal(np.sort(values, axis=0), X)
    together = [np.ptp(row // 4) == 0 for row in values]
    assert np.mean(together) < 0.1


def test_a_summary_draws_rows_by_their_weights():
    X = np.arange(100.0)[:, None]
    heavy = np.where(X[:, 0] < 50, 1e-9, 1.0)
    assert FeatureSummary.of(X, heavy, 0).values.min() >= 50


@pytest.mark.parametrize("dtype", [np.uint8, np.float64])
def test_channels_in_parts_have_the_statistics_of_all_images(dtype):
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (60, 3, 4, 4)).astype(dtype)
    images[:20, 0], images[:, 1] = 7, 9  # dark at first; dark for ever
    layout = Layout((3, 4, 4))
    parts = [ChannelSummary.of(images[rows], np.ones(20), layout) for rows in chunks(60, 20)]
    merged = parts[0].merged(parts[1], 0).merged(parts[2], 0)
    expected = channel_statistics(images, np.ones(60), layout)
    np.testing.assert_allclose(merged.centre_and_scale(), expected, rtol=1e-12)
    assert merged.std[1] == 0


# --- streams -------------------------------------------------------------------------------


def test_a_column_that_is_constant_in_the_first_part_is_learned_later():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 5))
    X[:, 0] = rng.integers(0, 2, 2000)
    X[:100, 0] = 0
    assert streamed(HUGClassifier(random_state=0), X, X[:, 0]).score(X, X[:, 0]) > 0.98


def test_indicators_that_appear_one_after_the_other_are_learned():
    rng = np.random.default_rng(0)
    category, labels = np.sort(rng.integers(0, 40, 3000)), rng.integers(0, 4, 40)
    X, y = np.eye(40)[category], labels[category]
    assert streamed(HUGClassifier(random_state=0), X, y).score(X, y) > 0.98


@pytest.mark.parametrize("factor", [100.0, 0.01])
def test_a_column_may_change_its_scale(factor):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 4))
    X[100:, 0] *= factor
    y = X[:, 0] > 0.5 * factor
    assert streamed(HUGClassifier(random_state=0), X, y).score(X[100:], y[100:]) > 0.95


def test_a_colour_that_is_missing_in_the_first_images_is_learned_later():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 20, (400, 3, 6, 6)).astype(np.uint8)
    y = rng.integers(0, 2, 400)
    images[:, 2] += (100 * y).astype(np.uint8)[:, None, None]
    images[:100, 2] = 0
    model = HUGClassifier(ConvNet((4,)), random_state=0)
    model = streamed(model, images, y, passes=8)
    assert model.score(images[100:], y[100:]) > 0.95
    mean, std = channel_statistics(images, np.ones(400), Layout((3, 6, 6)))
    np.testing.assert_allclose(model.module_.prepare.mean[2], mean[2], rtol=1e-5)
    np.testing.assert_allclose(model.module_.prepare.inverse_std[2], 1 / std[2], rtol=1e-5)


class Narrow(Encoder):
    standardize = True

    def build(self, input_shape, n_components):
        return nn.Sequential(nn.LayerNorm(*input_shape), nn.Linear(*input_shape, n_components))


@pytest.mark.parametrize("encoder", [MLP((8,)), Narrow()])
def test_a_stream_standardises_by_all_rows_so_far(encoder):
    X, y = features(400)[:, [0, 1, 3, 5]], np.arange(400) % 3
    model = streamed(HUGClassifier(encoder, random_state=0), X, y, passes=1)
    centre, scale = centre_and_scale(X, np.ones(400))
    np.testing.assert_allclose(model.module_.prepare.centre, centre, rtol=1e-9)
    np.testing.assert_allclose(model.module_.prepare.inverse_scale, 1 / scale, rtol=1e-9)


@pytest.mark.parametrize("encoder", [MLP((8,), standardize=False), nn.Linear(6, 3)])
def test_what_is_not_standardised_by_rows_keeps_nothing_of_them(encoder):
    model = streamed(HUGClassifier(encoder, random_state=0), features(200), np.arange(200) % 3, 1)
    assert model._progress["summary"] is None


def test_given_channel_statistics_stay():
    images, y = np.random.default_rng(0).random((60, 3, 4, 4)), np.arange(60) % 2
    given = (np.full(3, 0.5), np.full(3, 0.25))
    model = HUGClassifier(ConvNet((4,), standardize=given), random_state=0)
    streamed(model, images, y, passes=1, size=20)
    np.testing.assert_allclose(model.module_.prepare.inverse_std, 4)


@pytest.mark.parametrize("way", ["pickle", "file"])
@pytest.mark.parametrize("images", [False, True], ids=["rows", "images"])
def test_a_stream_goes_on_from_a_pickle_or_a_file_as_if_nothing_had_been(way, images, tmp_path):
    rng = np.random.default_rng(0)
    X = rng.random((2400, 1, 4, 4)) if images else features(2400)
    X[:100, :1] = 0
    y = rng.integers(0, 3, 2400)
    encoder = ConvNet((4,)) if images else MLP((8,))
    parts = chunks(2400, 300)
    model = HUGClassifier(encoder, random_state=0)
    for rows in parts[:4]:
        model.partial_fit(X[rows], y[rows])
    if way == "file":
        model.save(tmp_path / "model.skhug")
        again = skhug.load(tmp_path / "model.skhug")
    else:
        again = pickle.loads(pickle.dumps(model))
    for rows in parts[4:]:
        model.partial_fit(X[rows], y[rows])
        again.partial_fit(X[rows], y[rows])
    assert np.array_equal(again.transform(X), model.transform(X))


def without_summary(model):
    """As a file of an earlier version has it."""
    del model._progress["summary"]
    return pickle.loads(pickle.dumps(model))


@pytest.mark.parametrize("origin", ["fit", "older version"])
def test_statistics_of_a_model_whose_rows_are_not_known_change_with_new_rows(origin):
    X = np.column_stack([features(400)[:, :4], np.full(400, 5.0)])
    y = np.arange(400) % 3
    model = HUGClassifier(MLP((8,)), max_epochs=1, random_state=0)
    model = model.fit(X, y) if origin == "fit" else without_summary(model.partial_fit(X, y))
    before = model.module_.prepare
    moved = X.copy()
    moved[::2, 4] = 6  # constant so far
    for _ in range(3):
        model.partial_fit(moved, y)
    after = model.module_.prepare
    assert before.inverse_scale[4] == 0
    assert after.inverse_scale[4] == 2
    np.testing.assert_allclose(after.inverse_scale[:4], before.inverse_scale[:4], rtol=0.5)
    for _ in range(30):
        model.partial_fit(100 * moved, y)
    ratio = model.module_.prepare.inverse_scale[0] / before.inverse_scale[0]
    assert ratio < 0.1


def test_a_fit_clears_the_statistics_of_an_earlier_stream():
    X, y = features(300), np.arange(300) % 3
    model = HUGClassifier(MLP((8,)), max_epochs=1, random_state=0)
    expected = model.fit(X, y).module_.prepare.centre
    streamed(model, 100 * X, y, passes=1).fit(X, y)
    assert torch.equal(model.module_.prepare.centre, expected)


# --- warm starts ---------------------------------------------------------------------------


def test_a_warm_start_learns_a_column_that_was_constant():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(1000, 5))
    y = rng.integers(0, 2, 1000)
    X[:, 0] = 3
    model = HUGClassifier(warm_start=True, max_epochs=20, random_state=0).fit(X, y)
    X[:, 0] = y
    assert model.fit(X, y).score(X, y) > 0.98


def test_a_warm_start_on_the_same_rows_leaves_the_statistics_alone(iris):
    model = HUGClassifier(warm_start=True, max_epochs=1, random_state=0).fit(*iris)
    before = model.module_.prepare
    after = model.fit(*iris).module_.prepare
    assert torch.equal(after.centre, before.centre)
    assert torch.equal(after.inverse_scale, before.inverse_scale)


def test_what_no_longer_varies_keeps_its_statistics(iris):
    X, y = iris
    model = HUGClassifier(warm_start=True, max_epochs=1, random_state=0).fit(X, y)
    before = model.module_.prepare
    flat = X.copy()
    flat[:, 2] = 1.5
    after = model.fit(flat, y).module_.prepare
    assert torch.equal(after.centre[2], before.centre[2])
    assert torch.equal(after.inverse_scale[2], before.inverse_scale[2])


@pytest.mark.parametrize("proxies", ["learned", Learned(attached=False, learning_rate=0.05)])
def test_learned_proxies_keep_their_length_between_calls(iris, proxies):
    X, y = iris
    settings = {"proxies": proxies, "batch_size": 150, "random_state": 0}
    whole = HUGClassifier(max_epochs=6, schedule="constant", **settings)
    whole.set_params(encoder=MLP((8,), standardize=False)).fit(X, y)
    stream = HUGClassifier(encoder=MLP((8,), standardize=False), **settings)
    for _ in range(6):
        stream.partial_fit(X, y)
    np.testing.assert_allclose(stream.proxies_, whole.proxies_, atol=1e-6)


def test_a_stream_goes_on_with_its_optimizer_or_says_so(iris):
    model = HUGClassifier(max_epochs=1, random_state=0).partial_fit(*iris)
    with pytest.raises(ValueError, match="does not suit the optimizer or the proxies"):
        model.set_params(optimizer="sgd").partial_fit(*iris)
