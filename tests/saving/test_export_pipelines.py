"""Pipelines and meta-estimators as graphs, by way of skl2onnx: right, or refused."""

import importlib
import warnings

import numpy as np
import pandas as pd
import pytest
from onnx_graphs import assert_graph_equals, needs_onnx, run_graph
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import (
    AdaBoostClassifier,
    BaggingClassifier,
    StackingClassifier,
    VotingClassifier,
)
from sklearn.feature_selection import RFE, SelectFromModel, SequentialFeatureSelector
from sklearn.frozen import FrozenEstimator
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import (
    FixedThresholdClassifier,
    GridSearchCV,
    RandomizedSearchCV,
    TunedThresholdClassifierCV,
)
from sklearn.multiclass import OneVsOneClassifier, OneVsRestClassifier, OutputCodeClassifier
from sklearn.multioutput import ClassifierChain, MultiOutputClassifier
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from skhug import MLP, HUGClassifier, HUGEmbedder
from skhug._saving.onnx_inputs import columns_of
from skhug.export import pipeline_to_onnx, register_converters

pytestmark = needs_onnx


def hug():
    return HUGClassifier(MLP((16,)), max_epochs=5, learning_rate=0.01, random_state=0)


def scaled():
    return make_pipeline(StandardScaler(), hug())


def pair():
    return [("hug", hug()), ("lr", LogisticRegression())]


RATES = {"learning_rate": [1e-2]}
# Meta-estimator, number of classes, and whether its graph must be written.
METAS = {
    "calibrated": (lambda: CalibratedClassifierCV(hug(), cv=2), 3, True),
    "calibrated, two classes": (lambda: CalibratedClassifierCV(hug(), cv=2), 2, True),
    "calibrated, one ensemble": (
        lambda: CalibratedClassifierCV(hug(), cv=2, ensemble=False),
        2,
        True,
    ),
    "isotonic": (lambda: CalibratedClassifierCV(hug(), cv=2, method="isotonic"), 2, False),
    "temperature": (lambda: CalibratedClassifierCV(hug(), cv=2, method="temperature"), 3, False),
    "calibrated pipeline": (lambda: CalibratedClassifierCV(scaled(), cv=2), 3, True),
    "calibrated pipeline, two classes": (lambda: CalibratedClassifierCV(scaled(), cv=2), 2, True),
    "stacking decisions of pipelines": (
        lambda: StackingClassifier([("hug", scaled())], cv=2, stack_method="decision_function"),
        3,
        True,
    ),
    "one against the rest, two": (lambda: OneVsRestClassifier(hug()), 2, True),
    "one against the rest": (lambda: OneVsRestClassifier(hug()), 3, False),
    "one against one": (lambda: OneVsOneClassifier(hug()), 3, True),
    "bagging": (lambda: BaggingClassifier(hug(), 2, random_state=0), 3, True),
    "bagging pipelines": (lambda: BaggingClassifier(scaled(), 2, random_state=0), 3, True),
    "soft votes": (
        lambda: VotingClassifier(pair(), voting="soft", flatten_transform=False),
        3,
        True,
    ),
    "hard votes": (lambda: VotingClassifier(pair(), flatten_transform=False), 3, False),
    "stacking": (lambda: StackingClassifier(pair(), cv=2), 3, True),
    "stacking decisions": (
        lambda: StackingClassifier(pair(), cv=2, stack_method="decision_function"),
        2,
        False,
    ),
    "boosting": (lambda: AdaBoostClassifier(hug(), n_estimators=2, random_state=0), 3, True),
    "several outputs": (lambda: MultiOutputClassifier(hug()), 3, True),
    "chain": (lambda: ClassifierChain(hug()), 2, False),
    "output code": (lambda: OutputCodeClassifier(hug(), random_state=0), 3, False),
    "fixed threshold": (lambda: FixedThresholdClassifier(hug(), threshold=0.3), 2, False),
    "tuned threshold": (lambda: TunedThresholdClassifierCV(hug(), cv=2), 2, False),
    "self-training": (lambda: SelfTrainingClassifier(hug(), max_iter=1), 3, False),
    "frozen": (lambda: FrozenEstimator(scaled()), 3, False),
    "grid search": (lambda: GridSearchCV(hug(), RATES, cv=2), 3, True),
    "random search": (lambda: RandomizedSearchCV(hug(), RATES, n_iter=1, cv=2), 3, False),
    "elimination": (
        lambda: make_pipeline(RFE(LogisticRegression(), n_features_to_select=2), hug()),
        3,
        False,  # skl2onnx takes RFE for a classifier
    ),
    "selection": (lambda: make_pipeline(SelectFromModel(LogisticRegression()), hug()), 3, True),
    "selection one by one": (
        lambda: make_pipeline(
            SequentialFeatureSelector(LogisticRegression(), n_features_to_select=2, cv=2), hug()
        ),
        3,
        False,
    ),
    "pipeline in a pipeline": (lambda: make_pipeline(StandardScaler(), scaled()), 3, True),
}


def fitted(make, X, y):
    model = make()
    if isinstance(model, FrozenEstimator):
        model.estimator.fit(X, y)
    several = isinstance(model, (MultiOutputClassifier, ClassifierChain))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(X, np.c_[y, X[:, 0] > 5.8].astype(int) if several else y)


def refused(model, X, path):
    """Why a model is not written, None if it is."""
    try:
        pipeline_to_onnx(model, X, path)
    except ValueError as error:
        return str(error)
    return None


QUICK = {
    "calibrated, two classes",
    "calibrated pipeline",
    "one against the rest",
    "stacking",
    "pipeline in a pipeline",
}
QUICK |= {"text with None", "bool", "numbers with gaps"}


def cases(table):
    """The table's names, those that the quick suite leaves out marked slow."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in table]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("case", cases(METAS))
def test_a_meta_estimators_graph_decides_as_it_does_or_is_refused(iris, tmp_path, capfd, case):
    make, n_classes, must = METAS[case]
    X, y = iris[0].astype(np.float32), iris[1]
    X, y = X[y < n_classes], y[y < n_classes]
    model, path = fitted(make, X, y), tmp_path / "model.onnx"
    refusal = refused(model, X, path)
    assert "Traceback" not in capfd.readouterr().err
    assert not (must and refusal), refusal
    if refusal:
        assert "skl2onnx cannot convert" in refusal or "skl2onnx's graph of" in refusal
        assert not any(tmp_path.iterdir())
        return
    outputs = run_graph(path, {"X": X})
    label = outputs["label"].reshape(np.shape(model.predict(X)))
    assert np.mean(label == model.predict(X)) > 0.99  # but for ties
    if hasattr(model, "predict_proba"):
        expected, found = model.predict_proba(X), outputs["probabilities"]
        assert len(found) == len(expected)
        for each, right in zip(found, expected, strict=True):  # rows, or outputs
            np.testing.assert_allclose(each, right, rtol=0, atol=1e-3)


@pytest.mark.parametrize("target", [12, 15, 17, 24, {"": 17, "ai.onnx.ml": 3}])
@pytest.mark.parametrize("make", [hug, lambda: CalibratedClassifierCV(hug(), cv=2)])
def test_opsets_that_cannot_be_written_are_refused_at_once(iris, capfd, target, make):
    model = make().fit(*iris)
    register_converters()
    to_onnx = importlib.import_module("skl2onnx").to_onnx
    number = target[""] if isinstance(target, dict) else target
    with pytest.raises(ValueError, match=f"target_opset={number}: .* from 18 to 23"):
        to_onnx(model, iris[0][:1], target_opset=target, options={"zipmap": False})
    assert "Traceback" not in capfd.readouterr().err


def test_the_usual_options_of_classifiers_are_known(iris, tmp_path):
    model = hug().fit(*iris)
    register_converters()
    to_onnx = importlib.import_module("skl2onnx").to_onnx
    options = {"zipmap": False, "raw_scores": True}
    graph = to_onnx(model, iris[0][:1], target_opset=18, options=options)
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    scores = run_graph(tmp_path / "model.onnx", {"X": iris[0]})["probabilities"]
    np.testing.assert_allclose(scores, model.decision_function(iris[0]), rtol=0, atol=1e-5)


# --- what columns hold ---

RNG = np.random.default_rng(0)
TARGET = np.arange(150) % 3
TEXT = np.array(["red", "white", "blue"], dtype=object)[TARGET]
HOLE = RNG.random(150) < 0.2
COLUMNS = {
    "numbers with gaps": np.where(HOLE, np.nan, RNG.normal(size=150) + TARGET),
    "int64": RNG.integers(0, 9, 150),
    "int16": RNG.integers(0, 9, 150).astype(np.int16),
    "uint8": RNG.integers(0, 9, 150).astype(np.uint8),
    "bool": HOLE,
    "text": TEXT,
    "text with nan": np.where(HOLE, np.nan, TEXT),
    "text with None": pd.Series(np.where(HOLE, None, TEXT), dtype=object),
    "text with empty strings": np.where(HOLE, "", TEXT),
    "categories with gaps": pd.Categorical(np.where(HOLE, None, TEXT)),
}


@pytest.mark.parametrize("case", cases(COLUMNS))
def test_a_column_comes_in_as_it_was_in_fit(tmp_path, case):
    X = pd.DataFrame({"number": RNG.normal(size=150) + TARGET, "a column (mm)": COLUMNS[case]})
    text = X["a column (mm)"].dtype.kind not in "biuf"
    encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    numbers = ["number"] if text else ["number", "a column (mm)"]
    columns = make_column_transformer(
        (SimpleImputer(), numbers), (encoder, ["a column (mm)"] if text else [])
    )
    model = make_pipeline(columns, hug()).fit(X, TARGET)
    pipeline_to_onnx(model, X, tmp_path / "model.onnx")
    column = (
        X["a column (mm)"].astype(object).where(X["a column (mm)"].notna(), "")
        if text
        else X["a column (mm)"]
    )
    inputs = {"number": X[["number"]].to_numpy(), "a column (mm)": column.to_numpy()[:, None]}
    if case == "int16":  # which skl2onnx has no type for
        inputs["a column (mm)"] = inputs["a column (mm)"].astype(np.int64)
    assert_graph_equals(tmp_path / "model.onnx", model, X, inputs)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (pd.date_range("2020", periods=3), "'c' is of dtype datetime64.*numbers or text"),
        (pd.Series([1, "a", None], dtype=object), "'c' mixes NoneType, int, str: make it text"),
        (pd.Series(["", "a", None], dtype=object), "'c' has gaps and empty strings.*fill"),
        (pd.Series([np.nan, "a", None], dtype=object), "'c' has gaps of None and of nan"),
    ],
)
def test_columns_that_no_graph_takes_are_named_with_the_cure(values, message):
    with pytest.raises((TypeError, ValueError), match=message):
        columns_of(pd.DataFrame({"c": values}))


# --- what comes before and after ---


@needs_onnx
@pytest.mark.parametrize(("kind", "dtype"), [(HUGClassifier, "float64"), (HUGEmbedder, "float32")])
def test_preprocessing_comes_along(iris, tmp_path, kind, dtype):
    X, y = iris[0].astype(dtype), iris[1]
    model = make_pipeline(StandardScaler(), PCA(3), kind(MLP((16,)), max_epochs=5, random_state=0))
    pipeline_to_onnx(model.fit(X, y), X, tmp_path / "model.onnx")
    for n in (1, 150):
        assert_graph_equals(tmp_path / "model.onnx", model, X[:n])


@needs_onnx
def test_columns_of_a_frame_become_inputs(iris, tmp_path):
    X, y = iris
    frame = pd.DataFrame(X[:, :2].astype(np.float32), columns=["length", "width"])
    frame["colour"] = np.array(["blue", "red", "white"])[np.arange(150) % 3]
    columns = make_column_transformer(
        (StandardScaler(), ["length", "width"]), (OneHotEncoder(sparse_output=False), ["colour"])
    )
    model = make_pipeline(columns, HUGClassifier(MLP((16,)), max_epochs=5, random_state=0))
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline_to_onnx(model.fit(frame, labels), frame, tmp_path / "model.onnx")
    inputs = {name: frame[[name]].to_numpy() for name in frame}
    assert_graph_equals(tmp_path / "model.onnx", model, frame, inputs)


@needs_onnx
def test_embeddings_may_go_on_to_another_model(iris, tmp_path):
    X, y = iris[0].astype(np.float32), iris[1]
    model = make_pipeline(HUGEmbedder(max_epochs=5, random_state=0), KNeighborsClassifier())
    pipeline_to_onnx(model.fit(X, y), X, tmp_path / "model.onnx")
    label = run_graph(tmp_path / "model.onnx", {"X": X})["label"]
    assert np.array_equal(label, model.predict(X))


@needs_onnx
@pytest.mark.slow
def test_a_vote_takes_label_and_probabilities(iris, tmp_path):
    X, y = iris[0].astype(np.float32), iris[1]
    members = [("hug", HUGClassifier(max_epochs=5, random_state=0)), ("lr", LogisticRegression())]
    model = VotingClassifier(members, voting="soft", flatten_transform=False).fit(X, y)
    register_converters()
    graph = importlib.import_module("skl2onnx").to_onnx(model, X[:1])  # its own choice of opset
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    outputs = run_graph(tmp_path / "model.onnx", {"X": X})
    assert np.array_equal(next(iter(outputs.values())), model.predict(X))


@needs_onnx
def test_a_classifier_in_the_middle_is_refused(iris, tmp_path):
    model = make_pipeline(HUGClassifier(max_epochs=1), KNeighborsClassifier()).fit(*iris)
    with pytest.raises(ValueError, match="put a HUGEmbedder in its place"):
        pipeline_to_onnx(model, iris[0], tmp_path / "model.onnx")


class Doubled(TransformerMixin, BaseEstimator):
    """A transformer that nobody wrote a converter for."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return 2 * X

    def __sklearn_is_fitted__(self):
        return True


@needs_onnx
@pytest.mark.parametrize("step", [FunctionTransformer(np.log1p), Doubled()], ids=str)
def test_a_step_without_a_converter_is_named(iris, tmp_path, step):
    model = make_pipeline(step, HUGClassifier(max_epochs=1)).fit(*iris)
    name = type(step).__name__
    with pytest.raises(ValueError, match=f"skl2onnx cannot convert .*{name}.*last step alone"):
        pipeline_to_onnx(model, iris[0], tmp_path / "model.onnx")
