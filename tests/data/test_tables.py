"""Data frames as they come: categories by dtype, gaps, and what is said where neither will do."""

import pickle

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from interruptions import Cut, cut_after, every_epoch
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.metrics import log_loss
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import TargetEncoder

import skhug
from skhug import HUGClassifier, HUGEmbedder
from skhug._data import sources as _sources
from skhug._data.folds import stream_folds
from skhug._data.rows import Rows
from skhug.encoders import MLP, ConvNet

X, y = load_iris(return_X_y=True)
PLACES = np.array(["Rome", "Paris", "Oslo", "Bonn"])
RNG = np.random.default_rng(0)
PLACE = PLACES[(y + (RNG.random(150) < 0.2)) % 4]
GAPS = RNG.random((150, 4)) < 0.2


def quick(**parameters):
    return HUGClassifier(random_state=0, **{"max_epochs": 3, **parameters})


def frame(**columns):
    return pd.DataFrame({"width": X[:, 1], "place": PLACE, **columns})


def polars_frame(data):
    return pytest.importorskip("polars").DataFrame(data)


def arrow_table(data):
    return pytest.importorskip("pyarrow").table(data)


LIBRARIES = {"pandas": pd.DataFrame, "polars": polars_frame, "arrow": arrow_table}


def kinds_of_places(library):
    """Yield the same column of places, with gaps, in every dtype that a library has for it."""
    places = [None if gap else str(place) for place, gap in zip(PLACE, GAPS[:, 0], strict=True)]
    if library == "pandas":
        yield from (pd.Series(places, dtype=dtype) for dtype in ("object", "string", "category"))
        yield pd.Series(places).mask(GAPS[:, 0])  # NaN for None
        pytest.importorskip("pyarrow")
        yield pd.Series(places, dtype="string[pyarrow]")
        yield pd.Series(places, dtype="string[pyarrow]").astype("category")
    elif library == "polars":
        polars = pytest.importorskip("polars")
        for dtype in (polars.String, polars.Categorical, polars.Enum(PLACES.tolist())):
            yield polars.Series(places, dtype=dtype)
    else:
        pyarrow = pytest.importorskip("pyarrow")
        yield pyarrow.array(places)
        yield pyarrow.array(places).dictionary_encode()


@pytest.mark.parametrize("library", LIBRARIES)
def test_categories_of_any_dtype_are_one_column_a_level(library):
    levels = np.column_stack([place == PLACE for place in sorted(PLACES)]) & ~GAPS[:, :1]
    wide = np.column_stack([levels, GAPS[:, 0]])
    centred = (wide - wide.mean(axis=0)) / 1.5
    expected = centred / np.sqrt(1 + (centred / 3) ** 2)
    probabilities = []
    for places in kinds_of_places(library):
        table = LIBRARIES[library]({"width": X[:, 1], "place": places})
        model = quick().fit(table, y)
        assert model.categories_[0] is None
        assert model.categories_[1].tolist() == sorted(PLACES)
        assert model.n_features_in_ == 2
        assert model.feature_names_in_.tolist() == ["width", "place"]
        codes = np.where(GAPS[:, 0], np.nan, np.searchsorted(sorted(PLACES), PLACE))
        rows = torch.from_numpy(np.column_stack([X[:, 1], codes]))
        assert np.allclose(model.module_.prepare(rows)[:, 1:], expected)
        probabilities.append(model.predict_proba(table))
    assert len(probabilities) > 1
    assert all(np.array_equal(p, probabilities[0]) for p in probabilities)


NUMBERS_WITH_GAPS = {
    "float": lambda v: pd.Series(v),
    "float32": lambda v: pd.Series(v, dtype="float32"),
    "Float64": lambda v: pd.Series(v).astype("Float64"),
    "Int64": lambda v: pd.Series(v).round().astype("Int64"),
    "object": lambda v: pd.Series([None if np.isnan(a) else float(a) for a in v], dtype=object),
    "object of pd.NA": lambda v: pd.Series([pd.NA if np.isnan(a) else a for a in v], dtype=object),
    "boolean": lambda v: (pd.Series(v) > 3).astype("boolean").mask(np.isnan(v)),
    "arrow": lambda v: pd.Series(v, dtype="double[pyarrow]"),
    "arrow integers": lambda v: pd.Series(v).round().astype("Int64").astype("int64[pyarrow]"),
}


@pytest.mark.parametrize("kind", NUMBERS_WITH_GAPS)
@pytest.mark.parametrize("library", ["pandas", "polars", "arrow"])
def test_gaps_of_any_dtype_are_nan(library, kind):
    if "arrow" in kind or library != "pandas":
        pytest.importorskip("pyarrow")
    column = NUMBERS_WITH_GAPS[kind](np.where(GAPS[:, 1], np.nan, X[:, 1]))
    table = pd.DataFrame({"a": X[:, 0], "b": column})
    plain = np.column_stack([X[:, 0], column.astype(object).where(~GAPS[:, 1], np.nan)]).astype(
        float
    )
    if library == "polars":
        table = pytest.importorskip("polars").from_pandas(table.convert_dtypes())
    elif library == "arrow":
        table = pytest.importorskip("pyarrow").Table.from_pandas(table.convert_dtypes())
    probabilities = quick().fit(table, y).predict_proba(table)
    assert np.allclose(probabilities, quick().fit(plain, y).predict_proba(plain), atol=1e-6)


def test_a_gap_is_the_centre_and_a_column_that_says_so():
    gappy = np.where(GAPS, np.nan, X)
    model = quick().fit(gappy, y)
    prepared = model.module_.prepare(torch.from_numpy(gappy)).numpy()
    assert prepared.shape == (150, 8)
    assert not prepared[:, :4][GAPS].any()
    assert np.isfinite(prepared).all()
    says = prepared[:, 4:]
    assert (says[GAPS] > 0).all()
    assert (says[~GAPS] < 0).all()
    centre = model.module_.prepare.centre.numpy()
    assert np.allclose(centre[:4], np.nanmean(gappy, axis=0))


def test_columns_without_gaps_in_fit_take_them_later():
    model = quick(max_epochs=20).fit(X, y)
    assert model.module_.prepared_shape == (4,)
    gappy = X.copy()
    gappy[:, 3] = np.nan
    at_centre = X.copy()
    at_centre[:, 3] = model.module_.prepare.centre[3]
    assert np.allclose(model.predict_proba(gappy), model.predict_proba(at_centre))


def test_weights_count_in_the_statistics_of_columns_with_gaps():
    gappy = np.where(GAPS, np.nan, X)
    weight = RNG.integers(0, 3, 150)
    weighted = quick(encoder=MLP(members=1), batch_size=1000).fit(gappy, y, sample_weight=weight)
    repeated = quick(encoder=MLP(members=1), batch_size=1000).fit(
        np.repeat(gappy, weight, axis=0), np.repeat(y, weight)
    )
    assert np.allclose(weighted.module_.prepare.centre, repeated.module_.prepare.centre)
    assert np.allclose(weighted.predict_proba(gappy), repeated.predict_proba(gappy), atol=1e-6)


def test_levels_are_known_by_name_and_not_by_code():
    table = frame().astype({"place": "category"})
    model = quick().fit(table, y)
    other = pd.CategoricalDtype(["Oslo", "Nowhere", "Rome", "Paris", "Bonn"])
    assert np.array_equal(
        model.predict_proba(table), model.predict_proba(table.astype({"place": other}))
    )
    one = table.iloc[[3]]
    assert np.allclose(model.predict_proba(one), model.predict_proba(table)[[3]])


@pytest.mark.parametrize("gaps_in_fit", [False, True])
def test_unknown_levels_count_as_missing(gaps_in_fit):
    table = frame(place=pd.Series(PLACE).mask(GAPS[:, 0]) if gaps_in_fit else PLACE)
    model = quick().fit(table, y)
    unknown, missing = table.assign(place="Nowhere"), table.assign(place=None)
    assert np.array_equal(model.predict_proba(unknown), model.predict_proba(missing))


def test_levels_that_do_not_occur_are_none():
    dtype = pd.CategoricalDtype([*PLACES, "Nowhere"])
    model = quick().fit(frame().astype({"place": dtype}), y)
    assert model.categories_[1].tolist() == sorted(PLACES)


def test_numbers_and_times_may_be_levels_if_the_dtype_says_so():
    for levels in (y + 7, y > 1, pd.interval_range(0, 3)[y], pd.date_range("2020", periods=3)[y]):
        table = frame(kind=pd.Categorical(levels))
        model = quick(max_epochs=20).fit(table, y)
        assert len(model.categories_[2]) == len(np.unique(np.asarray(levels, dtype=str)))
        assert model.score(table, y) > 0.9 or len(model.categories_[2]) == 2
        assert np.array_equal(
            pickle.loads(pickle.dumps(model)).predict(table), model.predict(table)
        )


def test_booleans_are_numbers():
    model = quick().fit(frame(late=y > 1), y)
    assert model.categories_[2] is None


def many_levels(n=600, gaps=0.1):
    """Return a table whose 40 levels tell two of three classes apart, and its labels."""
    rng = np.random.default_rng(0)
    code = rng.integers(0, 40, n)
    target = np.where(rng.random(n) < 0.8, code % 2, 2)
    code = pd.Series([f"level {c}" for c in code]).mask(rng.random(n) < gaps)
    return pd.DataFrame({"a": rng.normal(size=n), "code": code}), target


@pytest.mark.parametrize("n_classes", [2, 3])
def test_many_levels_are_the_shares_of_the_classes(n_classes):
    table, target = many_levels()
    target = np.minimum(target, n_classes - 1)
    model = quick(max_epochs=20).fit(table, target)
    width = 1 if n_classes == 2 else 3
    assert model.module_.prepared_shape == (1 + width,)
    kind = "binary" if n_classes == 2 else "multiclass"
    peer = TargetEncoder(target_type=kind).fit(table[["code"]], target)
    shares, levels = model.class_shares_[1], model.categories_[1]
    assert model.class_shares_[0] is None
    assert np.allclose(shares[:-1], peer.transform(pd.DataFrame({"code": levels})))
    assert np.allclose(shares[-1:], peer.transform(pd.DataFrame({"code": [np.nan]}, dtype=object)))
    assert model.score(table, target) > (0.75 if n_classes == 3 else 0.85)
    gone, new = table.assign(code=None), table.assign(code="level 99")
    assert np.array_equal(model.predict_proba(gone), model.predict_proba(new))


def test_a_name_a_row_tells_nothing():
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"name": [f"name {i}" for i in range(800)], "a": rng.normal(size=800)})
    target = rng.integers(0, 2, 800)
    model = HUGClassifier(random_state=0).fit(table[:400], target[:400])
    assert log_loss(target[400:], model.predict_proba(table[400:])) < 0.72


def test_rows_without_weight_tell_no_shares():
    table, target = many_levels()
    weight = np.where(np.arange(600) % 3, 1.0, 0.0)
    weighted = quick().fit(table, target, sample_weight=weight)
    alone = quick().fit(table[weight > 0], target[weight > 0])
    assert np.allclose(weighted.class_shares_[1], alone.class_shares_[1][:41])


def test_many_levels_live_on(tmp_path):
    table, target = many_levels()
    model = quick().fit(table, target)
    expected = model.predict_proba(table)
    model.save(tmp_path / "model.skhug")
    assert np.array_equal(skhug.load(tmp_path / "model.skhug").predict_proba(table), expected)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict_proba(table), expected)
    shares = model.class_shares_[1].copy()
    model.partial_fit(table[:100], target[:100])
    assert np.array_equal(model.class_shares_[1], shares)  # of the first call
    model.set_params(warm_start=True).fit(table[:300], target[:300])
    assert not np.array_equal(model.class_shares_[1], shares)
    with pytest.raises(ValueError, match="held numbers in fit"):
        quick(warm_start=True).fit(X[:, :2], y).fit(frame(), y)


def test_levels_are_a_column_each_where_no_shares_can_be_told():
    table, _ = many_levels()
    model = HUGClassifier(random_state=0).partial_fit(table, np.zeros(600, int), classes=[0, 1])
    assert model.class_shares_ == [None, None]
    each = np.arange(600)  # a class a row
    assert HUGEmbedder(max_epochs=1, random_state=0).fit(table, each).class_shares_[1] is None


def test_levels_and_gaps_of_rows_without_weight_are_none():
    table = frame(place=np.where(np.arange(150) < 10, "Nowhere", PLACE))
    table.loc[:5, "width"] = np.nan
    weight = np.where(np.arange(150) < 10, 0.0, 1.0)
    weighted = quick().fit(table, y, sample_weight=weight)
    alone = quick().fit(table[10:], y[10:])
    assert np.allclose(weighted.predict_proba(frame()), alone.predict_proba(frame()))


def test_gaps_of_many_rows_are_found_before_those_without_weight_are_left_out(monkeypatch):
    monkeypatch.setattr(_sources, "RESIDENT_BYTES", 1000)
    gappy = np.where(GAPS, np.nan, X)
    weight = np.where(np.arange(150) < 10, 0.0, 1.0)
    model = quick().fit(gappy, y, sample_weight=weight)
    assert model.module_.prepared_shape == (8,)


def test_levels_of_float32_are_those_of_float64():
    levels = np.array([0.1, 0.2, 0.3])[y]
    model = quick().fit(frame(k=pd.Categorical(levels.astype(np.float32))), y)
    assert model.categories_[2].tolist() == [0.1, 0.2, 0.3]


BAD_IN_FIT = {
    "two of a name": (lambda: pd.concat([frame(), frame()], axis=1), "several columns called"),
    "complex": (lambda: frame(z=X[:, 0] + 1j), "Column 'z' of X holds complex"),
    "objects of complex": (lambda: frame(z=pd.Series([1j] * 150, dtype=object)), "'z' .*complex"),
    "intervals": (
        lambda: frame(z=pd.interval_range(0, 150)),
        "'z' of X holds values of type Inter",
    ),
    "too large": (
        lambda: frame(z=pd.Series([10**400] * 150, dtype=object)),
        "'z' .*no float holds",
    ),
    "bytes": (lambda: frame(z=[b"a"] * 150), r"'z' .*str\.decode"),
    "vectors of text": (lambda: frame(z=[["a", "b"]] * 150), "'z' of X holds vectors of <U1"),
    "empty vectors": (lambda: frame(z=[[]] * 150), "'z' of X holds empty vectors"),
    "a series": (lambda: frame().iloc[0], r"Series .*frame\.iloc"),
    "a dict": (lambda: frame().to_dict("list"), r"pass pandas\.DataFrame"),
    "dicts": (lambda: frame().to_dict("records"), r"pass pandas\.DataFrame"),
    "records": (lambda: frame().to_records(), r"pass pandas\.DataFrame"),
}


@pytest.mark.parametrize("kind", BAD_IN_FIT)
def test_what_no_table_holds_is_named(kind):
    make, message = BAD_IN_FIT[kind]
    with pytest.raises((ValueError, TypeError), match=message):
        quick().fit(make(), y)


def test_gaps_come_in_other_guises_too():
    gappy = np.where(GAPS, np.nan, X)
    expected = quick().fit(gappy, y).predict_proba(gappy)
    objects = np.where(GAPS, pd.NA, X.astype(object))
    masked = np.ma.masked_array(np.where(GAPS, 1e9, X), GAPS)
    for guise in (objects, masked):
        assert np.allclose(quick().fit(guise, y).predict_proba(guise), expected)
    pyarrow = pytest.importorskip("pyarrow")
    decimals = pd.Series([None, 1.5, 2.5] * 50).astype(pd.ArrowDtype(pyarrow.decimal128(5, 2)))
    assert np.isfinite(quick().fit(pd.DataFrame({"a": X[:, 0], "b": decimals}), y).loss_)
    batch = pyarrow.RecordBatch.from_pandas(frame())
    model = quick().fit(batch, y)
    assert model.feature_names_in_.tolist() == ["width", "place"]


def test_a_warm_start_wants_the_same_columns():
    model = quick(warm_start=True).fit(frame(), y)
    before = model.predict_proba(frame())
    for other, message in (
        (frame()[["place", "width"]], "has column 'place' where the fitted model had 'width'"),
        (frame(more=1.0), "has column 'more' where .* had nothing.*set warm_start=False"),
        (frame().rename(columns={"width": "w"}), "has column 'w' where .* 'width'"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(other, y)
        assert model.feature_names_in_.tolist() == ["width", "place"]
        assert np.array_equal(model.predict_proba(frame()), before)


def test_far_too_many_levels_of_one_class_are_refused():
    table = pd.DataFrame({"id": [f"i{i}" for i in range(400)]})
    with pytest.raises(ValueError, match="400 levels, and all rows are of one class"):
        HUGClassifier().partial_fit(table, np.zeros(400), classes=[0, 1])


BAD_AT_PREDICT = {
    "text for numbers": (lambda t: t.assign(width="wide"), "Column 'width' .*held numbers in fit"),
    "categories for numbers": (
        lambda t: t.astype({"width": "category"}),
        r"Column 'width' .*as categories, .*astype\(float\)",
    ),
    "numbers for text": (lambda t: t.assign(place=1.5), "Column 'place' .*in fit it held text"),
    "array": (lambda t: t.to_numpy(), "data frame with categories"),
    "missing": (lambda t: t.drop(columns="width"), "yet now missing:\n- width"),
    "more": (lambda t: t.assign(b=1), "unseen at fit time:\n- b"),
    "reordered": (lambda t: t[["place", "width"]], "same order"),
    "infinite": (lambda t: t.assign(width=np.inf), "infinity"),
}


@pytest.mark.parametrize("kind", BAD_AT_PREDICT)
def test_other_tables_than_in_fit_are_refused(kind):
    change, message = BAD_AT_PREDICT[kind]
    model = quick().fit(frame(), y)
    before = model.predict_proba(frame())
    with pytest.raises(ValueError, match=message):
        model.predict(change(frame()))
    assert np.array_equal(model.predict_proba(frame()), before)
    with pytest.raises(ValueError, match="y has 1 class"):
        model.fit(frame(place="x"), np.zeros(150))
    assert np.array_equal(model.predict_proba(frame()), before)


def test_text_in_an_array_is_told_to_come_in_a_frame():
    with pytest.raises(ValueError, match=r"could not convert string.*such as pandas\.DataFrame"):
        quick().fit(frame().to_numpy(), y)
    with pytest.raises(ValueError, match=r"Series .*such as X.to_frame\(\)"):
        quick().fit(frame()["place"], y)


@pytest.mark.parametrize("encoder", [MLP(standardize=False), None], ids=["not standardised", "own"])
def test_encoders_that_normalise_for_themselves_get_levels_and_gaps_too(encoder):
    encoder = encoder or (lambda shape, width: torch.nn.Linear(*shape, width))
    table = frame(late=np.where(GAPS[:, 2], np.nan, X[:, 2]))
    model = quick(encoder=encoder, max_epochs=20).fit(table, y)
    assert model.module_.prepared_shape == (7,)
    codes = np.array([np.flatnonzero(np.sort(PLACES) == place)[0] for place in PLACE])
    late = np.where(GAPS[:, 2], np.nanmean(table["late"]), X[:, 2])
    by_hand = np.column_stack([X[:, 1], late, *(codes == i for i in range(4)), GAPS[:, 2]])
    prepared = model.module_.prepare(
        torch.from_numpy(np.column_stack([X[:, 1], codes, table["late"]]))
    )
    assert np.allclose(prepared, by_hand)
    assert np.isfinite(model.predict_proba(table)).all()
    with pytest.raises(ValueError, match="images have no gaps"):
        quick(encoder=encoder).fit(X, y, X_val=np.where(GAPS, np.nan, X), y_val=y)


def test_images_and_rows_read_in_blocks_have_no_gaps(tmp_path):
    gappy = np.where(GAPS, np.nan, X)
    images = ConvNet(image_shape=(1, 2, 2))
    with pytest.raises(ValueError, match="images have no gaps"):
        quick(encoder=images).fit(gappy, y)
    with pytest.raises(ValueError, match="images have no gaps"):
        quick(encoder=images).fit(X, y).predict(gappy)
    with pytest.raises(ValueError, match="contains NaN"):
        quick().fit(gappy.reshape(150, 2, 2), y)
    data = torch.utils.data.TensorDataset(torch.from_numpy(gappy), torch.from_numpy(y))
    with pytest.raises(ValueError, match="NaN or infinity, first seen in row"):
        quick().fit(data)


def whole_table():
    """Return a table with text, categories, flags, counts and gaps in all of them."""
    return pd.DataFrame(
        {
            "length": np.where(GAPS[:, 0], np.nan, X[:, 0]),
            "place": pd.Series(PLACE).mask(GAPS[:, 1]),
            "kind": pd.Categorical(np.array(["u", "v", "w"])[y]).astype(object),
            "flag": pd.array(X[:, 1] > 3, dtype="boolean"),
            "count": pd.array((10 * X[:, 2]).astype(int), dtype="Int64"),
        }
    ).assign(kind=lambda t: t["kind"].mask(GAPS[:, 2]).astype("category"))


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_a_table_lives_through_all_that_happens_to_a_model(Estimator, tmp_path):
    table = whole_table()
    model = Estimator(max_epochs=3, random_state=0).fit(table, y)
    embedded = model.transform(table)
    assert np.array_equal(clone(model).fit(table, y).transform(table), embedded)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).transform(table), embedded)
    model.save(tmp_path / "model.skhug")
    loaded = skhug.load(tmp_path / "model.skhug")
    assert np.array_equal(loaded.transform(table), embedded)
    assert [None if c is None else c.tolist() for c in loaded.categories_] == [
        None if c is None else c.tolist() for c in model.categories_
    ]
    named = model.set_output(transform="pandas").transform(table)
    assert list(named.columns) == list(model.get_feature_names_out())
    model.set_params(warm_start=True).fit(table, y)
    loaded.partial_fit(table, y)
    assert np.isfinite(loaded.transform(table)).all()


def test_a_table_in_searches_and_pipelines():
    table = whole_table()
    search = GridSearchCV(quick(), {"learning_rate": [1e-3, 3e-3]}, cv=2).fit(table, y)
    assert search.predict(table).shape == (150,)
    assert np.isfinite(cross_val_score(quick(), table, y, cv=2)).all()
    early = quick(early_stopping=True).fit(table, y)
    assert "validation_score" in early.history_[0]
    weighted = quick().fit(table, y, sample_weight=np.arange(150))
    assert np.isfinite(weighted.predict_proba(table)).all()
    piped = make_pipeline(HUGEmbedder(max_epochs=2, random_state=0), quick()).fit(table, y)
    assert piped.score(table, y) > 0.3


def test_streams_learn_levels_and_gaps_at_the_first_call():
    dtype = pd.CategoricalDtype(sorted(PLACES))
    table = frame().astype({"place": dtype})
    first = table[table["place"] != "Rome"]
    model = HUGClassifier(random_state=0).partial_fit(first, y[first.index], classes=[0, 1, 2])
    assert model.categories_[1].tolist() == sorted(PLACES)  # as the dtype declares
    for _ in range(5):
        model.partial_fit(table, y)
    live = model.module_.prepare.inverse_scale[1:].numpy()
    assert (live > 0).all()  # Rome counts from the call in which it came
    text = HUGClassifier(random_state=0).partial_fit(first.astype({"place": str}), y[first.index])
    assert "Rome" not in text.categories_[1]
    text.partial_fit(table.astype({"place": str}), y)
    assert np.isfinite(text.predict_proba(table)).all()


def test_the_scale_of_levels_does_not_grow_where_a_stream_follows_a_fit():
    model = quick().fit(frame(), y)
    for _ in range(3):
        model.partial_fit(frame(), y)
        assert (1 / model.module_.prepare.inverse_scale[1:] < 2).all()


def test_rows_with_gaps_are_left_out_by_their_values_in_a_stream():
    rows = Rows(np.where(GAPS, np.nan, X), y, np.ones(150))
    folds = stream_folds(rows, 4, None)
    assert len(np.unique(folds[GAPS.any(axis=1)])) == 4
    alone = np.unique(rows.X, axis=0, return_index=True)[1]
    again = stream_folds(rows.take(alone[::2]), 4, None)
    assert np.array_equal(again, stream_folds(rows.take(alone), 4, None)[::2])


def test_a_stream_whose_first_rows_have_no_value_of_a_column():
    first = X.copy()
    first[:, 2] = np.nan
    model = HUGClassifier(random_state=0).partial_fit(first, y)
    for _ in range(10):
        model.partial_fit(X, y)
    centre = model.module_.prepare.centre.numpy()
    assert abs(centre[2] - X[:, 2].mean()) < 0.3


def test_a_checkpoint_of_a_table_goes_on(tmp_path):
    table = whole_table()
    whole = quick(max_epochs=4, batch_size=50).fit(table, y)
    keeping = quick(max_epochs=4, batch_size=50, checkpoint=every_epoch(tmp_path))
    with pytest.raises(Cut), cut_after(7):
        clone(keeping).fit(table, y)
    assert len(list(tmp_path.iterdir())) == 1
    again = keeping.fit(table, y)
    assert np.array_equal(whole.predict_proba(table), again.predict_proba(table))


def test_a_graph_takes_gaps_and_refuses_categories_by_name(tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    gappy = np.where(GAPS, np.nan, X)
    model = quick(max_epochs=20).fit(gappy, y)
    model.to_onnx(tmp_path / "model.onnx", X=gappy)
    session = runtime.InferenceSession(tmp_path / "model.onnx")
    outputs = session.run(None, {"X": gappy})
    assert np.allclose(outputs[1], model.predict_proba(gappy), atol=1e-5)
    with pytest.raises(ValueError, match=r"Columns \['place'\] hold categories.*pipeline_to_onnx"):
        quick().fit(frame(), y).to_onnx(tmp_path / "table.onnx")
    assert not (tmp_path / "table.onnx").exists()


LEVELS = st.one_of(st.none(), st.sampled_from(["a", "b", "", "c d", "é"]))
COLUMNS = {
    "text": st.lists(LEVELS, min_size=24, max_size=24).map(lambda v: pd.Series(v, dtype=object)),
    "string": st.lists(LEVELS, min_size=24, max_size=24).map(
        lambda v: pd.Series(v, dtype="string")
    ),
    "category": st.lists(LEVELS, min_size=24, max_size=24).map(
        lambda v: pd.Series(pd.Categorical(v, categories=["a", "b", "", "c d", "é", "none"]))
    ),
    "float": st.lists(
        st.one_of(st.just(np.nan), st.floats(-1e6, 1e6)), min_size=24, max_size=24
    ).map(pd.Series),
    "Int64": st.lists(st.one_of(st.none(), st.integers(-100, 100)), min_size=24, max_size=24).map(
        lambda v: pd.Series(v, dtype="Int64")
    ),
    "boolean": st.lists(st.one_of(st.none(), st.booleans()), min_size=24, max_size=24).map(
        lambda v: pd.Series(v, dtype="boolean")
    ),
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.sampled_from(sorted(COLUMNS)), min_size=1, max_size=4), st.data())
def test_any_table_of_any_dtypes_is_fitted_and_predicted(kinds, data):
    table = pd.DataFrame({f"c{i}": data.draw(COLUMNS[kind]) for i, kind in enumerate(kinds)})
    target = np.arange(24) % 2
    model = HUGClassifier(MLP((8,), members=1), max_epochs=1, random_state=0).fit(table, target)
    probabilities = model.predict_proba(table)
    assert np.isfinite(probabilities).all()
    assert np.allclose(probabilities.sum(axis=1), 1)
    # One row at a time, in another order, with the columns' other levels gone: the same.
    order = np.random.default_rng(0).permutation(24)
    parts = np.vstack([model.predict_proba(table.iloc[[i]]) for i in order[:3]])
    assert np.allclose(parts, probabilities[order[:3]], atol=1e-6)
    assert np.isfinite(log_loss(target, probabilities))
