"""Images: layouts, statistics, and fits on them."""

import pickle
import tracemalloc

import numpy as np
import pytest
import torch
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, MinMaxScaler

from skhug import MLP, ConvNet, HUGClassifier, HUGEmbedder, ResNet
from skhug._data.image_layout import Layout, channel_statistics
from skhug._data.prepare import NormalizeImages

SMALL = ConvNet((8, 8))


@pytest.fixture(scope="module")
def grey(digits):
    X, y = digits
    return X.reshape(-1, 8, 8).astype(np.uint8), y


@pytest.fixture(scope="module")
def colour():
    """Two classes of 3-channel images (channels first) that differ in one channel's mean."""
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2
    X = rng.integers(0, 200, (60, 3, 8, 10), dtype=np.uint8)
    X[y == 1, 1] += 50
    return X, y


def quick(Estimator=HUGClassifier, **parameters):
    return Estimator(**{"encoder": SMALL, "max_epochs": 2, "random_state": 0, **parameters})


# --- layouts ---


@pytest.mark.parametrize(
    ("shape", "channels_first"),
    [
        ((28, 20), (1, 28, 20)),
        ((1, 28, 20), (1, 28, 20)),
        ((28, 20, 1), (1, 28, 20)),
        ((3, 32, 30), (3, 32, 30)),
        ((32, 30, 3), (3, 32, 30)),
        ((32, 30, 4), (4, 32, 30)),
        ((3, 8, 3), (3, 8, 3)),  # either: the first
        ((13, 64, 64), (13, 64, 64)),  # neither: the first, as it is the shorter
    ],
)
def test_the_channel_axis_is_found(shape, channels_first):
    layout = Layout(shape)
    assert layout.channels_first == channels_first
    X = np.arange(2 * np.prod(shape)).reshape(2, *shape)
    got = layout.to_channels_first(X)
    assert got.shape == (2, *channels_first)
    assert np.shares_memory(got, X)
    expected = np.moveaxis(X, -1, 1) if layout.channel_axis == 2 else X.reshape(got.shape)
    assert np.array_equal(got, expected)
    assert np.array_equal(layout.to_channels_first(torch.from_numpy(X)).numpy(), got)


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((64, 8, 8), "moveaxis"),
        ((64, 64, 13), "moveaxis"),
        ((2, 3, 8, 8), r"\(channels, height, width\)"),
    ],
)
def test_shapes_that_are_open_or_no_images_are_explained(shape, message):
    with pytest.raises(ValueError, match=message):
        Layout(shape)
    with pytest.raises(ValueError, match=message):
        quick().fit(np.zeros((4, *shape)), [0, 1, 0, 1])


def test_layouts_give_identical_fits(colour):
    X, y = colour
    expected = quick().fit(X, y)
    last = quick().fit(np.moveaxis(X, 1, -1), y)
    flat = quick(encoder=ConvNet((8, 8), image_shape=(3, 8, 10))).fit(X.reshape(60, -1), y)
    z = expected.transform(X)
    assert np.array_equal(last.transform(np.moveaxis(X, 1, -1)), z)
    assert np.array_equal(flat.transform(X.reshape(60, -1)), z)


def test_grey_images_with_and_without_a_channel_axis_are_the_same(grey):
    X, y = grey
    z = quick().fit(X, y).transform(X)
    for images in (X[:, None], X[..., None]):
        assert np.array_equal(quick().fit(images, y).transform(images), z)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_uint8_equals_float(grey, dtype):
    X, y = grey
    z = quick(precision="float32").fit(X, y).transform(X)
    got = quick(precision="float32").fit(X.astype(dtype), y).transform(X.astype(dtype))
    assert np.array_equal(got, z)
    assert z.dtype == np.float32


def test_uint8_rows_equal_float_rows(grey):
    X, y = grey
    rows = X.reshape(len(X), -1)
    first, second = (quick(encoder=MLP((8,))).fit(a, y) for a in (rows, rows.astype(np.float32)))
    np.testing.assert_allclose(first.transform(rows), second.transform(rows), atol=1e-5)


# --- statistics ---


def test_statistics_equal_numpys_over_blocks_and_weights():
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, (700, 50, 45, 3), dtype=np.uint8)  # more than one block
    for weight in (np.ones(700, int), np.arange(700) % 3 + 1):
        mean, std = channel_statistics(X, weight.astype(float), Layout(X.shape[1:]))
        n = int(weight.sum()) * 50 * 45
        for channel in range(3):  # in integers, which are exact
            values = X[..., channel].reshape(700, -1).astype(np.int64)
            total, squares = (int(weight @ v.sum(1)) for v in (values, values**2))
            np.testing.assert_allclose(mean[channel], total / n, rtol=1e-12)
            variance = (n * squares - total**2) / n**2
            np.testing.assert_allclose(std[channel], variance**0.5, rtol=1e-12)


def test_a_large_offset_costs_no_digits():
    X = 1e8 + np.random.default_rng(0).normal(size=(50, 6, 6))
    _, std = channel_statistics(X, np.ones(50), Layout((6, 6)))
    np.testing.assert_allclose(std, X.std(), rtol=1e-6)


def test_statistics_read_slices_alone():
    class Sliced:
        def __init__(self, array):
            self.array, self.shape, self.largest = array, array.shape, 0

        def __len__(self):
            return len(self.array)

        def __getitem__(self, rows):
            self.largest = max(self.largest, rows.stop - rows.start)
            return self.array[rows]

    X = np.ones((3000, 32, 32), np.uint8)
    sliced = Sliced(X)
    mean, std = channel_statistics(sliced, np.ones(3000), Layout((32, 32)))
    assert sliced.largest <= 256
    assert (mean, std) == (1, 0)


def test_the_training_datas_statistics_are_stored_and_used(colour):
    X, y = colour
    model = quick().fit(X, y)
    prepare = model.module_.prepare
    np.testing.assert_allclose(prepare.mean, X.mean((0, 2, 3)), rtol=1e-6)
    z = prepare(torch.from_numpy(X))
    assert z.dtype == torch.float32
    torch.testing.assert_close(z.mean((0, 2, 3)), torch.zeros(3), atol=1e-4, rtol=0)
    torch.testing.assert_close(z.std((0, 2, 3)), torch.ones(3), atol=1e-3, rtol=0)
    brighter = model.transform(X // 2)  # statistics of fit, not of these
    assert not np.allclose(brighter, model.transform(X), atol=1e-2)
    copy = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copy.transform(X), model.transform(X))


def test_given_statistics_stand_in_for_the_datas(colour):
    X, y = colour
    mean, std = (100.0, 110.0, 120.0), (50.0, 51.0, 52.0)
    model = quick(encoder=ConvNet((8,), standardize=(mean, std))).fit(X, y)
    pixel = model.module_.prepare(torch.from_numpy(X))[0, :, 0, 0].numpy()
    np.testing.assert_allclose(pixel, (X[0, :, 0, 0] - np.array(mean)) / std, rtol=1e-5)
    with pytest.raises(ValueError, match="3 numbers each"):
        quick(encoder=ConvNet((8,), standardize=(0.5, 0.5))).fit(X, y)


def test_a_constant_channel_is_left_out(colour):
    X, y = colour
    X = X.copy()
    X[:, 2] = 7
    z = quick().fit(X, y).module_.prepare(torch.from_numpy(X))
    assert (z[:, 2] == 0).all()


def test_images_are_never_copied_as_floats():
    X = np.random.default_rng(0).integers(0, 255, (4000, 32, 32, 3), dtype=np.uint8)
    y = np.arange(4000) % 2
    prepared = []

    def normalize(self, images, original=NormalizeImages.normalize):
        prepared.append((len(images), images.dtype))
        return original(self, images)

    model = HUGClassifier(ConvNet((2,)), max_epochs=1, batch_size=500, random_state=0)
    model.fit(X[:8], y[:8])  # torch imports modules in the first backward pass
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(NormalizeImages, "normalize", normalize)
        tracemalloc.start()  # sees NumPy's memory; torch's floats come from preparation
        try:
            model.fit(X, y).predict(X)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak < X.nbytes  # a float copy would be four times as large
    assert max(n for n, _ in prepared) == 500
    assert {dtype for n, dtype in prepared if n > 1} == {torch.uint8}  # one row counts operations


# --- shapes ---


def test_the_full_shape_is_checked_at_transform_and_named(Estimator, colour):
    X, y = colour
    model = quick(Estimator).fit(X, y)
    assert model.input_shape_ == (3, 8, 10)
    assert model.n_features_in_ == 3
    for other in (X[:, :, :, :8], np.moveaxis(X, 1, -1), X.reshape(60, -1), X[:, 0], X[0]):
        with pytest.raises(ValueError, match=r"has shape .*\(3, 8, 10\)"):
            model.transform(other)
    with pytest.raises(ValueError, match=r"\(60, 3, 8, 8\).*\(3, 8, 10\)"):
        quick(Estimator).fit(X, y, X_val=X[:, :, :, :8], y_val=y)
    rows = quick(Estimator, encoder="auto").fit(X[:, 0, 0], y)
    with pytest.raises(ValueError, match=r"\(60, 3, 8, 10\).*\(10,\)"):
        rows.transform(X)


def test_a_fit_that_fails_keeps_the_shape(colour):
    X, y = colour
    model = quick().fit(X, y)
    with pytest.raises(ValueError, match="1 class"):
        model.fit(X[:, :, :, :8], np.zeros(60))
    assert model.transform(X).shape == (60, 2)


@pytest.mark.parametrize(
    ("encoder", "slicing", "message"),
    [
        ("mlp", (), "ConvNet"),
        ("convnet", (slice(None), 0, 0), "image_shape=.1, 28, 28"),
        (ConvNet(image_shape=(1, 28, 28)), (slice(None), 0, 0), "784 values and each row has 10"),
        (ConvNet(image_shape=(1, 28, 28)), (), "flat rows alone"),
        (ConvNet(standardize=((1,), (1,))), (), "3 numbers"),
        (MLP(standardize=((1,), (1,))), (slice(None), 0, 0), "flat rows"),
        (ConvNet(()), (), "one or more"),
        (ResNet(depth=19), (), "18, 34, 50"),
        (ResNet(width=0), (), "above 0"),
    ],
)
def test_encoders_that_do_not_fit_the_data_say_so(colour, encoder, slicing, message):
    X, y = colour
    with pytest.raises(ValueError, match=message):
        quick(encoder=encoder).fit(X[slicing], y)


# --- learning ---


def test_auto_is_an_mlp_for_rows_and_a_convnet_for_images(grey):
    X, y = grey
    images = HUGClassifier(max_epochs=1, random_state=0).fit(X[:100], y[:100])
    rows = HUGClassifier(max_epochs=1, random_state=0).fit(X[:100].reshape(100, -1), y[:100])
    assert type(images.module_.spec) is ConvNet
    assert type(rows.module_.spec) is MLP


def test_nested_parameters_choose_what_auto_stands_for(Estimator):
    assert Estimator().set_params(encoder__widths=(4,)).encoder.widths == (4,)
    model = Estimator().set_params(encoder__standardize=False, encoder__image_shape=(8, 8))
    assert type(model.encoder) is ConvNet
    assert type(Estimator().set_params(encoder__standardize=False).encoder) is MLP


def test_a_convnet_learns_digits(grey):
    X, y = grey
    model = HUGClassifier(ConvNet((32, 32, 32)), max_epochs=6, random_state=0)
    assert model.fit(X[:1200], y[:1200]).score(X[1200:], y[1200:]) > 0.85


def test_rows_go_through_a_pipeline_for_rows(grey):
    X, y = grey
    rows = X.reshape(len(X), -1).astype(np.float32)
    model = make_pipeline(
        MinMaxScaler(),
        FunctionTransformer(np.sqrt),
        quick(encoder=ConvNet((16, 16), image_shape=(1, 8, 8)), max_epochs=4),
    )
    assert model.fit(rows[:1000], y[:1000]).score(rows[1000:], y[1000:]) > 0.8


def test_embedders_take_images_in_both_ways_of_fitting(grey):
    X, y = grey
    model = quick(HUGEmbedder, early_stopping=True).fit(X[:400], y[:400])
    assert model.history_[-1]["validation_score"] > 0
    model = quick(HUGEmbedder).partial_fit(X[:100], y[:100], classes=range(10))
    assert model.partial_fit(X[100:200], y[100:200]).transform(X).shape == (len(X), 9)


def test_images_without_pixels_are_refused():
    with pytest.raises(ValueError, match=r"pass \(height, width\)"):
        HUGClassifier().fit(np.zeros((4, 3, 0)), [0, 1, 0, 1])
