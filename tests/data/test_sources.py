"""Rows read in blocks: every kind gives the rows of the array that it stands for."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.sparse import csr_array
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

from skhug import HUGClassifier
from skhug._data import sources as _sources
from skhug._data.sources import RowView, Source, open_rows, take

X = np.random.default_rng(0).normal(size=(37, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def everything_is_large(monkeypatch):
    monkeypatch.setattr(_sources, "RESIDENT_BYTES", 0)


class Sliced:
    """An array on disk that knows slices alone."""

    def __init__(self, array):
        self.array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self.array)

    def __getitem__(self, key):
        if not isinstance(key, slice):
            raise TypeError("slices only")
        return self.array[key]


def memory_map(array, folder):
    np.save(folder / "X.npy", array)
    return np.load(folder / "X.npy", mmap_mode="r")


def hdf5(array, folder):
    h5py = pytest.importorskip("h5py")
    return h5py.File(folder / "X.h5", "w").create_dataset("X", data=array)


def zarr_array(array, folder):
    zarr = pytest.importorskip("zarr")
    stored = zarr.open_array(folder / "X.zarr", mode="w", shape=array.shape, dtype=array.dtype)
    stored[:] = array
    return stored


KINDS = {
    "memmap": memory_map,
    "hdf5": hdf5,
    "zarr": zarr_array,
    "slices": lambda array, folder: Sliced(array),
    "dataset": lambda array, folder: TensorDataset(torch.from_numpy(array), torch.arange(37)),
    "view": lambda array, folder: RowView(array[::-1], np.arange(36, -1, -1)),
}


@pytest.fixture(params=KINDS)
def source(request, tmp_path):
    return open_rows(KINDS[request.param](X, tmp_path))


def test_shape_and_dtype_are_known_before_reading(source):
    assert isinstance(source, Source)
    assert (source.shape, source.ndim, len(source)) == ((37, 5), 2, 37)
    assert source.dtype == np.float32
    assert source.nbytes == X.nbytes


@pytest.mark.parametrize(
    "key",
    [slice(3, 9), slice(30, 50), slice(None), slice(None, None, 7), slice(5, 5)],
    ids=str,
)
def test_slices_give_the_arrays_rows(source, key):
    assert np.array_equal(source[key], X[key])
    assert source[key].shape == X[key].shape


@pytest.mark.parametrize("index", [[4], [9, 2, 2, 36, 3, 4, 0], [], range(37)], ids=str)
def test_any_order_of_rows_with_repeats_gives_the_arrays_rows(source, index):
    index = np.asarray(index, dtype=np.int64)
    assert np.array_equal(source[index], X[index])


def test_views_of_views_look_up_the_same_rows(source):
    view = take(take(source, np.array([8, 3, 5, 1])), np.array([2, 0]))
    assert np.array_equal(view[:], X[[5, 8]])


def test_small_rows_are_loaded_and_data_sets_are_not(monkeypatch, tmp_path):
    monkeypatch.setattr(_sources, "RESIDENT_BYTES", X.nbytes)
    assert isinstance(open_rows(Sliced(X)), np.ndarray)
    assert isinstance(open_rows(memory_map(X, tmp_path)), np.ndarray)
    assert isinstance(open_rows(KINDS["dataset"](X, tmp_path)), Source)
    assert isinstance(take(X, np.arange(3)), np.ndarray)


@pytest.mark.parametrize("data", [X, X.tolist(), pd.DataFrame(X), pd.Series(X[:, 0]), csr_array(X)])
def test_what_lies_in_memory_is_left_as_it_is(data):
    assert open_rows(data) is data


@pytest.mark.parametrize(
    ("stored", "read"), [("u1", "u1"), ("f8", "f8"), ("i4", "f8"), ("?", "f8"), ("f2", "f8")]
)
def test_numbers_are_kept_or_read_as_float64(stored, read):
    source = open_rows(Sliced(np.ones((4, 2), dtype=stored)))
    assert source.dtype == source[:2].dtype == np.dtype(read)


def test_values_that_are_not_finite_are_refused_when_read():
    bad = X.copy()
    bad[20, 1] = np.nan
    source = open_rows(Sliced(bad))
    assert np.array_equal(source[:20], X[:20])
    with pytest.raises(ValueError, match="NaN or infinity"):
        source[15:25]
    with pytest.raises(ValueError, match="NaN or infinity"):
        RowView(source, np.array([20]))[:]
    huge = np.full((3, 2), 3e38, dtype=np.float32)  # the sum overflows, the values do not
    assert np.array_equal(open_rows(Sliced(huge))[:], huge)


def test_text_is_refused():
    with pytest.raises(ValueError, match="real numbers"):
        open_rows(Sliced(np.array([["a", "b"]])))


def test_a_data_set_brings_its_labels_and_nothing_else_does():
    dataset = [(row, f"class {i % 3}") for i, row in enumerate(X)]

    class Pairs(torch.utils.data.Dataset):
        def __len__(self):
            return len(dataset)

        def __getitem__(self, i):
            return dataset[i]

    assert open_rows(Pairs()).labels().tolist() == [f"class {i % 3}" for i in range(37)]
    with pytest.raises(ValueError, match="pass y"):
        open_rows(Sliced(X)).labels()


def test_data_sets_without_length_or_of_mixed_shapes_say_so():
    class Endless(IterableDataset):
        def __iter__(self):
            yield from X

    class Ragged(torch.utils.data.Dataset):
        def __len__(self):
            return 3

        def __getitem__(self, i):
            return np.zeros(i + 1)

    with pytest.raises(ValueError, match="Endless has no length"):
        open_rows(Endless())
    with pytest.raises(ValueError, match=r"Item 1 .* shape \(2,\) and the first \(1,\)"):
        open_rows(Ragged())[:]


def test_a_data_loader_is_refused_with_what_to_pass():
    data = TensorDataset(torch.zeros(4, 2), torch.arange(4))
    with pytest.raises(TypeError, match=r"fit\(loader.dataset\)"):
        HUGClassifier().fit(DataLoader(data))
