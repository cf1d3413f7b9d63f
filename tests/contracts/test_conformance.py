"""scikit-learn's conventions: its own checks, and what they do not call."""

import io
import pickle
import warnings
from collections import Counter

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import sklearn
import skops.io
from sklearn import config_context
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import AdaBoostClassifier, BaggingClassifier
from sklearn.experimental import enable_halving_search_cv  # noqa: F401
from sklearn.model_selection import (
    GridSearchCV,
    HalvingGridSearchCV,
    StratifiedKFold,
    cross_val_score,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler
from sklearn.utils import estimator_checks as checks

from skhug import MHE, MLP, HUGClassifier, HUGEmbedder
from skhug.persistence import trusted_types

SKIPPED = {"check_array_api_input"}  # needs SCIPY_ARRAY_API set before SciPy is imported

# In scikit-learn's suite, and not called by check_estimator.
MORE_CHECKS = [
    "check_dataframe_column_names_consistency",
    "check_get_feature_names_out_error",
    "check_global_output_transform_pandas",
    "check_global_set_output_transform_polars",
    "check_inplace_ensure_writeable",
    "check_param_validation",
    "check_set_output_transform",
    "check_set_output_transform_pandas",
    "check_set_output_transform_polars",
    "check_transformer_get_feature_names_out",
    "check_transformer_get_feature_names_out_pandas",
    "check_readonly_memmap_input",
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "parameters", [{"max_epochs": 40}, pytest.param({}, marks=pytest.mark.slow)], ids=str
)
def test_every_check_of_scikit_learn_passes(Estimator, parameters):
    results = checks.check_estimator(Estimator(**parameters), on_fail=None, on_skip=None)
    outcomes = {r["check_name"]: r for r in results if r["status"] != "passed"}
    assert set(outcomes) <= SKIPPED, {n: repr(r["exception"]) for n, r in outcomes.items()}
    assert Counter(r["status"] for r in results)["passed"] > 50


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", MORE_CHECKS)
def test_checks_that_the_suite_does_not_call_pass(Estimator, name):
    getattr(checks, name)(Estimator.__name__, Estimator(max_epochs=3))


@pytest.mark.filterwarnings("ignore")
def test_a_class_without_weight_does_not_count():
    name = "check_classifiers_one_label_sample_weights"
    getattr(checks, name)("HUGClassifier", HUGClassifier(max_epochs=50))


def quick(Estimator, **parameters):
    return Estimator(max_epochs=5, random_state=0, **parameters)


def test_clone_keeps_nested_parameters(Estimator):
    estimator = Estimator(encoder=MLP((8,)), uniformity=MHE(s_within=-1))
    copy = clone(estimator)
    assert copy.get_params()["encoder__hidden_layer_sizes"] == (8,)
    assert copy.uniformity is not estimator.uniformity


def test_nested_parameters_reach_through_the_string_shorthands(Estimator):
    estimator = Estimator().set_params(uniformity__s_within=-1.0, encoder__hidden_layer_sizes=(4,))
    assert estimator.uniformity.s_within == -1.0
    assert estimator.encoder.hidden_layer_sizes == (4,)
    with pytest.raises(ValueError, match="nonsense"):
        Estimator().set_params(uniformity__nonsense=1)


@pytest.mark.parametrize("tool", [pickle, joblib], ids=["pickle", "joblib"])
def test_round_trips_give_identical_embeddings(Estimator, iris, tool):
    X, y = iris
    estimator = quick(Estimator).fit(X, y)
    file = io.BytesIO()
    tool.dump(estimator, file)
    file.seek(0)
    loaded = tool.load(file)
    assert np.array_equal(loaded.transform(X), estimator.transform(X))
    if Estimator is HUGClassifier:
        assert np.array_equal(loaded.predict_proba(X), estimator.predict_proba(X))


def test_a_skops_round_trip_trusts_skhugs_own_classes_alone(Estimator, iris):
    X, y = iris
    estimator = quick(Estimator, uniformity=MHE(s_within=-1.0)).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), estimator).fit(X, y)
    for model in (estimator, pipeline):
        data = skops.io.dumps(model)
        assert set(skops.io.get_untrusted_types(data=data)) <= set(trusted_types())
        loaded = skops.io.loads(data, trusted=trusted_types())
        assert np.array_equal(loaded.transform(X), model.transform(X))
        if Estimator is HUGClassifier:
            assert np.array_equal(loaded.predict_proba(X), model.predict_proba(X))


def test_pickle_holds_numpy_and_no_torch(Estimator, iris):
    estimator = quick(Estimator).fit(*iris)
    assert b"torch" not in pickle.dumps(estimator)


@pytest.mark.parametrize("layout", ["read-only", "fortran", "strided", "memmap", "list"])
def test_memory_layout_of_the_input_does_not_matter(Estimator, iris, layout, tmp_path):
    X, y = (a.copy() for a in iris)
    expected = quick(Estimator).fit(X, y).transform(X)
    if layout == "read-only":
        X.setflags(write=False)
        y.setflags(write=False)
    elif layout == "fortran":
        X = np.asfortranarray(X)
    elif layout == "strided":
        X = np.repeat(X, 2, axis=0)[::-2][::-1]
    elif layout == "memmap":
        np.save(tmp_path / "X.npy", X)
        X = np.load(tmp_path / "X.npy", mmap_mode="r")
    else:
        X, y = X.tolist(), y.tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = quick(Estimator).fit(X, y).transform(X)
    assert np.array_equal(got, expected)


def test_set_output_names_the_columns(Estimator, iris):
    X, y = iris
    estimator = quick(Estimator, n_components=3).fit(X, y)
    expected = [f"{Estimator.__name__.lower()}{i}" for i in range(3)]
    frame = estimator.set_output(transform="pandas").transform(X)
    assert isinstance(frame, pd.DataFrame)
    assert list(frame.columns) == expected
    frame = estimator.set_output(transform="polars").transform(X)
    assert isinstance(frame, pl.DataFrame)
    assert frame.columns == expected


def test_feature_names_are_kept_and_checked(Estimator, iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = quick(Estimator).fit(frame, y)
    assert estimator.feature_names_in_.tolist() == list("abcd")
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame[["b", "a", "c", "d"]])
    with pytest.raises(ValueError, match=r"unseen at fit time:\n- other\n(.*\n)*.*missing:\n- c"):
        estimator.transform(frame.rename(columns={"c": "other"}))
    with pytest.raises(ValueError, match="4 features"):
        quick(Estimator).fit(X, y).transform(X[:, :2])


def test_grid_search_reaches_every_level_in_parallel_workers(iris):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    columns = ColumnTransformer([("two", MinMaxScaler(), ["a", "b"])], remainder="passthrough")
    search = GridSearchCV(
        make_pipeline(columns, HUGClassifier(max_epochs=60, random_state=0)),
        {
            "hugclassifier__alpha": [0.5],
            "hugclassifier__proxies": ["learned"],
            "hugclassifier__beta": [1.0],
            "hugclassifier__n_components": [2, 3],
            "hugclassifier__encoder__hidden_layer_sizes": [(32,)],
            "hugclassifier__uniformity__s_within": [-1.0, -2.0],
        },
        cv=3,
        n_jobs=2,
        error_score="raise",
    ).fit(frame, y)
    assert len(search.cv_results_["params"]) == 4
    assert search.best_score_ > 0.8
    assert search.best_estimator_[-1].encoder.hidden_layer_sizes == (32,)


def test_grid_search_over_an_embedder_scores_by_retrieval(iris):
    grid = {"uniformity__s_within": [-1.0, -2.0]}
    cv = StratifiedKFold(3)  # plain folds of sorted labels are of one class each
    search = GridSearchCV(quick(HUGEmbedder), grid, cv=cv, error_score="raise").fit(*iris)
    assert 0.5 < search.best_score_ <= 1


def test_halving_search_works(iris):
    search = HalvingGridSearchCV(
        HUGClassifier(max_epochs=5, random_state=0),
        {"beta": [0.5, 1.0, 2.0]},
        cv=3,
        random_state=0,
        error_score="raise",
    ).fit(*iris)
    assert search.best_score_ > 0.6


def test_cross_validation_and_meta_estimators_work(iris):
    X, y = iris
    base = HUGClassifier(max_epochs=30, random_state=0)
    assert cross_val_score(base, X, y, cv=3).mean() > 0.8
    calibrated = CalibratedClassifierCV(base, cv=3).fit(X, y)
    np.testing.assert_allclose(calibrated.predict_proba(X).sum(1), 1, rtol=1e-5)
    for ensemble in (
        AdaBoostClassifier(base, n_estimators=2, random_state=0),
        BaggingClassifier(base, n_estimators=2, random_state=0, n_jobs=2),
    ):
        assert ensemble.fit(X, y).score(X, y) > 0.8


def test_sample_weight_is_routed_through_a_pipeline(iris):
    X, y = iris
    weight = np.where(y == 1, 0.0, 1.0)
    with config_context(enable_metadata_routing=True):
        model = HUGClassifier(max_epochs=5, random_state=0).set_fit_request(sample_weight=True)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        routed = make_pipeline(scaler, model).fit(X, y, sample_weight=weight)
    assert not (routed.predict(X) == 1).any()


@pytest.mark.skipif(
    sklearn.__version__ < "1.6", reason="transform_input came with scikit-learn 1.6"
)
def test_validation_data_goes_through_a_pipeline(iris):
    X, y = iris
    with config_context(enable_metadata_routing=True):
        model = quick(HUGClassifier).set_fit_request(X_val=True, y_val=True)
        pipeline = make_pipeline(StandardScaler(), model)
        pipeline.set_params(transform_input=["X_val"])
        pipeline.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    assert pipeline[-1].history_[-1]["validation_score"] > 0.5
