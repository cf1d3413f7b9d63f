"""Where rows live changes nothing that a fit returns: resident, in place, or streamed."""

import numpy as np
import pytest
import torch
from sklearn.model_selection import train_test_split
from torch.utils.data import Dataset

from skhug import MLP, BalancedBatches, HUGClassifier, HUGEmbedder
from skhug._data import sources as _sources
from skhug._data.placement import place_rows
from skhug._data.sources import Source
from skhug._data.streaming import Stream
from skhug.augment import Compose, HorizontalFlip, RandomCrop
from skhug.encoders import ConvNet


class Items(Dataset):
    """A torch data set of (x, y)."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return torch.from_numpy(self.X[i]), self.y[i]


@pytest.fixture
def rows(digits):
    X, y = digits
    return X[:300].astype(np.float32), y[:300]


@pytest.fixture
def images(digits):
    X, y = digits
    return X[:200].reshape(-1, 8, 8).astype(np.uint8), y[:200]


def mapped(X, folder):
    np.save(folder / "X.npy", X)
    return np.load(folder / "X.npy", mmap_mode="r")


def everything_is_large(monkeypatch):
    monkeypatch.setattr(_sources, "RESIDENT_BYTES", 0)


def quick(Estimator=HUGClassifier, **parameters):
    return Estimator(
        **{"max_epochs": 3, "batch_size": 32, "random_state": 0, "device": "cpu", **parameters}
    )


def assert_same_fit(first, second):
    for a, b in zip(first.module_.parameters(), second.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert first.history_ == second.history_
    assert np.array_equal(first.proxies_, second.proxies_)
    if isinstance(first, HUGClassifier):
        assert first.power_ == second.power_


SMALL_IMAGES = ConvNet(widths=(8, 8))
SETTINGS = {
    "plain": {},
    "one batch": {"batch_size": 1000},
    "tail of one": {"batch_size": 299},
    "early stopping": {"early_stopping": True},
    "balanced": {"batch_sampler": BalancedBatches(5, 4)},
    "autograd": {"encoder": MLP((16,), batch_norm=True), "proxies": "learned"},
    "not standardised": {"encoder": MLP((16,), standardize=False)},
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_streamed_fits_equal_resident_ones_bit_for_bit(
    Estimator, setting, rows, monkeypatch, tmp_path
):
    X, y = rows
    resident = quick(Estimator, **SETTINGS[setting]).fit(X, y)
    expected = resident.transform(X)
    everything_is_large(monkeypatch)
    for data in (mapped(X, tmp_path), Items(X, y)):
        streamed = quick(Estimator, **SETTINGS[setting]).fit(data, y)
        assert_same_fit(streamed, resident)
        assert np.array_equal(streamed.transform(data), expected)


@pytest.mark.parametrize("augment", [None, Compose([RandomCrop(1), HorizontalFlip()])])
def test_streamed_images_equal_resident_ones_bit_for_bit(augment, images, monkeypatch, tmp_path):
    X, y = images
    resident = quick(encoder=SMALL_IMAGES, augment=augment).fit(X, y)
    everything_is_large(monkeypatch)
    streamed = quick(encoder=SMALL_IMAGES, augment=augment).fit(mapped(X, tmp_path), y)
    assert_same_fit(streamed, resident)


def test_large_arrays_are_used_in_place_and_left_as_they_are(rows, monkeypatch):
    X, y = rows
    resident = quick().fit(X, y)
    everything_is_large(monkeypatch)
    before = X.copy()
    in_place = quick().fit(X, y)
    assert_same_fit(in_place, resident)
    assert np.array_equal(X, before)
    placed, _ = place_rows(in_place.module_.prepare, X, None, torch.device("cpu"))
    assert placed.data_ptr() == X.ctypes.data


@pytest.mark.parametrize("change", [np.asfortranarray, lambda X: X[::-1][::-1][:, ::1]])
def test_large_arrays_in_any_memory_order_fit_alike(change, rows, monkeypatch):
    X, y = rows
    resident = quick().fit(X, y)
    everything_is_large(monkeypatch)
    assert_same_fit(quick().fit(change(X), y), resident)


def test_large_arrays_that_are_read_only_are_streamed(rows, monkeypatch):
    X, y = rows
    model = quick().fit(X, y)
    everything_is_large(monkeypatch)
    X.setflags(write=False)
    assert isinstance(place_rows(model.module_.prepare, X, None, torch.device("cpu"))[0], Stream)
    assert_same_fit(quick().fit(X, y), model)


def test_rows_of_weight_zero_are_left_out_of_streams(rows, monkeypatch, tmp_path):
    X, y = rows
    weight = np.random.default_rng(0).integers(0, 3, len(y)).astype(float)
    resident = quick().fit(X, y, weight)
    everything_is_large(monkeypatch)
    assert_same_fit(quick().fit(mapped(X, tmp_path), y, weight), resident)


def test_a_stream_is_never_read_as_a_whole(rows, monkeypatch, tmp_path):
    everything_is_large(monkeypatch)
    X, y = (np.tile(a, (40, *[1] * (a.ndim - 1))) for a in rows)  # 12,000 rows
    read = []
    original = Source.__getitem__
    monkeypatch.setattr(
        Source, "__getitem__", lambda s, key: read.append(len(b := original(s, key))) or b
    )
    model = quick(early_stopping=True, max_epochs=1).fit(mapped(X, tmp_path), y)
    model.predict(mapped(X, tmp_path))
    assert max(read) < 2 * 4096  # the subsample of the statistics is the largest
    assert sum(read) > 2 * len(X)


def test_labels_come_from_the_data_set(rows):
    X, y = rows
    names = np.array([f"digit {label}" for label in y])
    expected = quick().fit(X, names)
    fitted = quick().fit(Items(X, names), X_val=Items(X[:50], names[:50]))
    assert fitted.classes_.tolist() == expected.classes_.tolist()
    assert "validation_score" in fitted.history_[-1]
    assert np.array_equal(fitted.proxies_, expected.proxies_)


def test_partial_fit_takes_streams(rows, monkeypatch, tmp_path):
    X, y = rows
    resident = quick().partial_fit(X, y).partial_fit(X, y)
    everything_is_large(monkeypatch)
    X = mapped(X, tmp_path)
    streamed = quick().partial_fit(X, y).partial_fit(X, y)
    for a, b in zip(resident.module_.parameters(), streamed.module_.parameters(), strict=True):
        assert torch.equal(a, b)


def test_bad_values_in_a_stream_are_named_and_lose_no_earlier_fit(rows, monkeypatch, tmp_path):
    X, y = rows
    model = quick().fit(X, y)
    before = model.predict(X)
    everything_is_large(monkeypatch)
    X_bad = X.copy()
    X_bad[250, 3] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.fit(mapped(X_bad, tmp_path), y)
    with pytest.raises(ValueError, match="NaN or infinity"):
        model.predict(mapped(X_bad, tmp_path))
    assert np.array_equal(model.predict(X), before)


def test_wrong_widths_and_lengths_of_streams_are_named(rows, monkeypatch, tmp_path):
    X, y = rows
    model = quick().fit(X, y)
    everything_is_large(monkeypatch)
    with pytest.raises(ValueError, match="60 features"):
        model.predict(mapped(X[:, :60], tmp_path))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.fit(mapped(X, tmp_path), y[:-1])
    with pytest.raises(ValueError, match="pass y"):
        model.fit(mapped(X, tmp_path))


# --- output larger than memory ---


def test_transform_writes_to_a_memory_map(Estimator, rows, tmp_path):
    X, y = rows
    model = quick(Estimator).fit(X, y)
    expected = model.transform(X)
    out = np.memmap(tmp_path / "z", expected.dtype, "w+", shape=expected.shape)
    assert model.transform(X, out=out) is out
    assert np.array_equal(out, expected)


@pytest.mark.parametrize(
    ("shape", "dtype"), [((300, 8), np.float32), ((299, 9), np.float32), ((300, 9), np.float64)]
)
def test_output_of_another_shape_or_dtype_is_refused_untouched(shape, dtype, rows):
    X, y = rows
    model = quick().fit(X, y)
    out = np.full(shape, 7, dtype)
    with pytest.raises(ValueError, match=r"out has shape .* \(300, 9\) and dtype float32"):
        model.transform(X, out=out)
    assert np.all(out == 7)


# --- augmentation and balanced batches in a fit ---


def test_augmentation_gets_raw_channels_first_batches_and_the_fits_generator(images):
    X, y = images
    seen = []

    def spy(batch, generator):
        seen.append((batch.dtype, tuple(batch.shape[1:]), isinstance(generator, torch.Generator)))
        return batch

    plain = quick(encoder=SMALL_IMAGES).fit(X, y)
    spied = quick(encoder=SMALL_IMAGES, augment=spy).fit(X, y)
    assert set(seen) == {(torch.uint8, (1, 8, 8), True)}
    assert len(seen) == 3 * 7  # in training alone
    spied.predict(X)
    assert len(seen) == 3 * 7
    assert_same_fit(spied, plain)


def test_augmentation_acts_and_repeats_with_the_random_state(images):
    X, y = images
    plain, first, second = (
        quick(encoder=SMALL_IMAGES, augment=augment).fit(X, y)
        for augment in (None, RandomCrop(2), RandomCrop(2))
    )
    assert_same_fit(first, second)
    assert first.history_ != plain.history_


def test_augmentation_of_flat_rows_gets_raw_rows(rows):
    X, y = rows
    largest = []

    def shifted(batch, generator):
        largest.append(batch.max().item())
        return batch + 0.1 * torch.randn(batch.shape, generator=generator)

    quick(augment=shifted).fit(X, y)
    assert max(largest) == X.max()
    with pytest.raises(ValueError, match="RandomCrop takes images"):
        quick(augment=RandomCrop()).fit(X, y)


def test_balanced_batches_train_and_are_reached_by_nested_parameters(rows):
    X, y = rows
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    model = quick(HUGEmbedder, batch_sampler=BalancedBatches(classes=5), max_epochs=10)
    model.set_params(batch_sampler__samples=6).fit(X_train, y_train)
    assert model.get_params()["batch_sampler__samples"] == 6
    assert model.score(X_test, y_test) > 0.5
