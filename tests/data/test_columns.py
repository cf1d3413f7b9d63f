"""What X may be beside an array of numbers, and what is said of what it may not be."""

from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from skhug import HUGClassifier, HUGEmbedder
from skhug._data.columns import numeric_rows
from skhug._data.tables import Table
from skhug.model_selection import retrieval_scorer

X, y = load_iris(return_X_y=True)
X = X.astype(np.float32)
DATES = pd.date_range("2020", periods=150)


def quick():
    return HUGClassifier(max_epochs=2, random_state=0)


class Items(Dataset):
    """A data set of what a function returns."""

    def __init__(self, item):
        self.item = item

    def __len__(self):
        return 150

    def __getitem__(self, i):
        return self.item(i)


class Endless(IterableDataset):
    def __iter__(self):
        yield X[0], 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.uint8])
@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_a_tensor_is_as_good_as_its_array(Estimator, dtype):
    tensor = torch.from_numpy(X).to(dtype)
    array = tensor.numpy() if dtype == torch.uint8 else tensor.float().numpy()
    model = Estimator(max_epochs=2, random_state=0).fit(tensor, torch.from_numpy(y))
    same = Estimator(max_epochs=2, random_state=0).fit(array, y)
    embedded = model.transform(tensor)
    assert embedded.dtype == np.float32
    assert np.array_equal(embedded, same.transform(array))
    assert model.score(tensor, torch.from_numpy(y)) == same.score(array, y)
    parted, whole = (Estimator(random_state=0) for _ in range(2))
    weight = torch.ones(150, dtype=torch.bfloat16)
    parted.partial_fit(tensor, y, sample_weight=weight)
    whole.partial_fit(array, y)
    assert np.array_equal(parted.transform(tensor), whole.transform(array))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.from_numpy(X.copy()).requires_grad_(),
        torch.from_numpy(X).to_sparse(),
        torch._neg_view(torch.from_numpy(-X)),
        list(torch.from_numpy(X).bfloat16()),
        list(torch.from_numpy(X)),
    ],
    ids=["with gradient", "sparse", "negated", "list of bfloat16", "list"],
)
def test_a_tensor_of_any_layout_is_read(tensor):
    read = np.asarray(numeric_rows(tensor))
    assert read.dtype == np.float32
    assert np.allclose(read, X, rtol=1e-2)


def _polars(data):
    return pytest.importorskip("polars").DataFrame(data)


def _arrow(data):
    return pytest.importorskip("pyarrow").table(data)


FRAMES = {"pandas": pd.DataFrame, "polars": _polars, "arrow": _arrow}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_column_of_vectors_is_as_many_columns(frame):
    table = frame({"a": X[:, 0], "v": X.astype(float).tolist(), "b": X[:, 1]})
    expected = np.column_stack([X[:, 0], X, X[:, 1]]).astype(float)
    model, same = quick().fit(table, y), quick().fit(expected, y)
    assert model.n_features_in_ == 6
    assert np.array_equal(model.predict_proba(table), same.predict_proba(expected))


@pytest.mark.parametrize("frame", [pd.DataFrame, _polars], ids=["pandas", "polars"])
def test_columns_in_another_order_are_seen_behind_vectors_too(frame):
    data = {"a": X[:, 0].tolist(), "v": X.tolist()}
    model = quick().fit(frame(data), y)
    assert model.feature_names_in_.tolist() == ["a", "v_0", "v_1", "v_2", "v_3"]
    with pytest.raises(ValueError, match="same order"):
        model.predict(frame(dict(reversed(data.items()))))


def _kinds_of_vectors():
    polars = pytest.importorskip("polars")
    yield pd.DataFrame({"v": list(X)})
    yield pd.DataFrame({"v": [tuple(row) for row in X]})
    yield pd.DataFrame({"v": list(torch.from_numpy(X))})
    yield pd.DataFrame({"v": list(X)}, index=range(150, 0, -1))
    yield pd.DataFrame({0: list(X)})  # a name that is no string
    yield pd.Series(list(X))
    yield pd.Series(list(X)).to_numpy()
    yield pd.DataFrame({"v": list(X)}).to_numpy()
    yield polars.DataFrame({"v": X})  # an Array
    yield polars.DataFrame({"v": X.tolist()})  # a List
    yield polars.Series("v", X.tolist())


def test_every_kind_of_vectors_gives_the_same_rows():
    for X_ in _kinds_of_vectors():
        rows = numeric_rows(X_)
        rows = np.column_stack(rows.columns) if isinstance(rows, Table) else rows
        assert np.array_equal(np.asarray(rows, dtype=np.float32), X)


def test_names_that_would_clash_get_another_form():
    table = pd.DataFrame({"v": list(X), "v_0": X[:, 0]})
    rows = numeric_rows(table)
    assert np.array_equal(np.column_stack(rows.columns), np.column_stack([X, X[:, 0]]))
    assert list(rows.header.columns) == ["v__0", "v__1", "v__2", "v__3", "v_0"]
    model = HUGClassifier(max_epochs=1, random_state=0).fit(table, y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(table[["v_0", "v"]])


def test_times_in_lists_and_in_vectors_are_no_numbers():
    times = np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]")
    for rows in ([list(times)] * 4, pd.DataFrame({"t": [times] * 4, "a": np.arange(4.0)})):
        with pytest.raises(ValueError, match="times"):
            HUGClassifier().fit(rows, [0, 1, 0, 1])


def test_columns_of_polars_are_fetched_once():
    polars = pytest.importorskip("polars")
    wide = {f"c{i}": ["1", "2"] for i in range(50)}
    table = polars.DataFrame(wide)
    calls, get_columns = [], polars.DataFrame.get_columns
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            polars.DataFrame, "get_columns", lambda self: (calls.append(1), get_columns(self))[1]
        )
        numeric_rows(table)
    assert len(calls) <= 2


class Listed(Dataset):
    """A data set of these items."""

    def __init__(self, items):
        self.items = items

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        return self.items[i]


def test_items_of_another_dtype_than_the_first_are_refused():
    first = np.array([1, 2], np.uint8)
    data = Listed([(first, 0), *[(np.array([0.5, 0.25], np.float32), i % 2) for i in range(9)]])
    with pytest.raises(ValueError, match="Item 1 of the data set is of dtype float32"):
        HUGClassifier(max_epochs=1).fit(data)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", float("nan"), "b", "a"], "gaps"),
        ([1, "b", 1, "b"], "mix"),
        (pd.array(["a", None, "b", "a"], dtype="string"), "gaps"),
    ],
)
def test_labels_of_several_kinds_are_no_strings(labels, message):
    rows = np.arange(8.0).reshape(4, 2)
    with pytest.raises(ValueError, match=message):
        HUGClassifier(max_epochs=1).fit(rows, labels)
    if isinstance(labels, list):
        data = Listed(list(zip(rows, labels, strict=True)))
        with pytest.raises(ValueError, match=message):
            HUGClassifier(max_epochs=1).fit(data)
        with pytest.raises(ValueError, match=message):
            HUGClassifier(max_epochs=1).partial_fit(rows[:1], labels[:1], classes=labels)


def test_classes_that_will_come_may_be_a_set_without_gaps():
    rows = np.arange(8.0).reshape(4, 2)
    model = HUGClassifier(max_epochs=1).partial_fit(rows, [0, 1, 0, 1], classes={2, 1, 0})
    assert model.classes_.tolist() == [0, 1, 2]
    with pytest.raises(ValueError, match="NaN"):
        HUGClassifier().partial_fit(rows, [0, 1, 0, 1], classes=[0.0, 1.0, np.nan])


def test_a_column_of_images_is_images():
    images = X.reshape(150, 2, 2)
    assert np.array_equal(numeric_rows(pd.DataFrame({"image": list(images)})), images)
    with pytest.raises(ValueError, match=r"Column 'image' of X holds arrays of shape \(2, 2\)"):
        numeric_rows(pd.DataFrame({"image": list(images), "a": X[:, 0]}))


def test_frames_of_numbers_are_left_as_they_are():
    polars = pytest.importorskip("polars")
    data = {"a": X[:, 0], "b": y, "c": y > 0}
    numbers = pd.DataFrame(data)
    for table in (numbers, numbers.convert_dtypes(), polars.DataFrame(data)):
        assert numeric_rows(table) is table


MIXED = (
    r"Column 't' of X holds text, such as 'x', and values of type int, such as 1: make all of it"
)
BAD_COLUMNS = {
    "text and numbers": (["x", 1] * 75, MIXED),
    "numbers and text": ([1, "x"] * 75, MIXED),
    "dates": (
        DATES,
        r"Column 't' of X holds times \([Dd]ate.*turn it into numbers.*tabular_pipeline",
    ),
    "durations": (DATES - DATES[0], r"Column 't' of X holds times"),
    "dicts": ([{"k": 1}] * 150, r"Column 't' of X holds (records|values of type dict)"),
    "ragged": ([[1.0, 2.0]] * 149 + [[1.0]], r"Column 't' of X .*\(2,\) in row 0 .* \(1,\) in row"),
    "gap in vectors": ([[1.0, 2.0]] * 149 + [None], r"Column 't' .*\(2,\) in row 0 .*in row 149"),
}


@pytest.mark.parametrize("kind", BAD_COLUMNS)
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_that_is_no_number_is_named_with_the_cure(library, kind):
    column, message = BAD_COLUMNS[kind]
    if library == "polars":
        polars = pytest.importorskip("polars")
        if "and" in kind:
            column = polars.Series(column, dtype=polars.Object)
        table = polars.DataFrame({"a": X[:, 0], "t": column})
    else:
        table = pd.DataFrame({"a": X[:, 0], "t": column})
    model = quick().fit(X[:, :2], y)
    for call in (lambda: quick().fit(table, y), lambda: model.transform(table)):
        with pytest.raises(ValueError, match=message):
            call()


def test_times_are_no_numbers_in_an_array_either():
    with pytest.raises(ValueError, match="X holds times"):
        quick().fit(DATES.to_numpy()[:, None], y)


def test_rows_of_several_lengths_are_named():
    with pytest.raises(ValueError, match=r"X holds vectors .* \(4,\) in row 0 and \(3,\) in row 7"):
        quick().fit([row[: 3 if i == 7 else 4].tolist() for i, row in enumerate(X)], y)


def test_what_has_not_been_read_says_how_to_read_it(recwarn):
    polars = pytest.importorskip("polars")
    with pytest.raises(TypeError, match=r"LazyFrame, which has not read .* pass X\.collect\(\)"):
        quick().fit(polars.DataFrame(X).lazy(), y)
    with pytest.raises(TypeError, match=r"X is a generator, read once: pass list\(X\)"):
        quick().fit((row for row in X), y)
    assert not recwarn.list


Pair = namedtuple("Pair", "x y")
Swapped = namedtuple("Swapped", "label image")


@pytest.mark.parametrize(
    "data",
    [
        TensorDataset(torch.from_numpy(X).bfloat16(), torch.from_numpy(y)),
        Items(lambda i: Pair(X[i], y[i])),
        Items(lambda i: (X[i], y[i], "more")),
        Items(lambda i: (torch.from_numpy(X[i]).requires_grad_(), torch.tensor(y[i]))),
    ],
    ids=["bfloat16", "named tuples", "triples", "with gradient"],
)
def test_data_sets_whose_items_are_x_and_y_are_read(data):
    model = quick().fit(data)
    assert model.classes_.tolist() == [0, 1, 2]
    assert model.proxies_.dtype == np.float32


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TensorDataset(torch.from_numpy(X)), "TensorDataset has no labels.*pass y"),
        (Items(lambda i: X[i]), "Items has no labels.*pass y"),
        (Items(lambda i: {"image": X[i], "label": 0}), "are dicts with the keys 'image', 'label'"),
        (Items(lambda i: Swapped(y[i], X[i])), "type int64, the first of label, image"),
        (Items(lambda i: ("a text", y[i])), "type str: pass a data set whose"),
        (Items(lambda i: (X[i], np.eye(3)[y[i]])), r"labels of Items are of shape \(3,\)"),
        (Items(lambda i: (X[i], None)), "labels of Items are None"),
        (Endless(), "Endless has no length or no order.*partial_fit"),
    ],
)
def test_other_data_sets_are_told_what_to_return(data, message):
    with pytest.raises(ValueError, match=message):
        quick().fit(data)


def test_labels_of_ones_own_stand_beside_a_data_set_without_any():
    assert quick().fit(TensorDataset(torch.from_numpy(X)), y).n_features_in_ == 4


LABELS = {
    "column": y[:, None],
    "data frame": pd.DataFrame({"y": y}),
    "categories": pd.Series(y).astype("category"),
    "text": np.array(["a", "b", "c"])[y],
    "tensor": torch.from_numpy(y),
    "half": torch.from_numpy(y).bfloat16(),
    "column tensor": torch.from_numpy(y)[:, None],
    "with gradient": torch.from_numpy(y).float().requires_grad_(),
}


@pytest.mark.filterwarnings("ignore:A column-vector y")
@pytest.mark.parametrize("labels", LABELS.values(), ids=LABELS)
@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_labels_that_fit_takes_are_scored(Estimator, labels):
    model = Estimator(max_epochs=1, random_state=0).fit(X, labels)
    same = Estimator(max_epochs=1, random_state=0).fit(X, y)
    assert model.score(X, labels) == same.score(X, y)
    assert retrieval_scorer()(model, X, labels) == retrieval_scorer()(same, X, y)


@pytest.mark.parametrize(
    "weight", [2.0, torch.ones(150, requires_grad=True)], ids=["one", "tensor"]
)
@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_weights_that_fit_takes_are_scored(Estimator, weight, recwarn):
    model = Estimator(max_epochs=1, random_state=0).fit(X, y, sample_weight=weight)
    scorer = retrieval_scorer()
    assert scorer(model, X, y, sample_weight=weight) == pytest.approx(scorer(model, X, y))
    if Estimator is HUGEmbedder:  # accuracy_score takes no single weight
        assert model.score(X, y, weight) == pytest.approx(model.score(X, y))
    assert not recwarn.list


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_a_data_set_that_was_fitted_is_scored_with_its_labels(Estimator):
    data = TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    model = Estimator(max_epochs=1, random_state=0).fit(data)
    assert model.score(data) == model.score(X, y)
    assert retrieval_scorer()(model, data) == retrieval_scorer()(model, X, y)
    for call in (lambda: model.score(X), lambda: retrieval_scorer()(model, X)):
        with pytest.raises(ValueError, match="y is None, and only a torch data set"):
            call()
