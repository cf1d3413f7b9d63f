"""Retrieval scores in scikit-learn's model selection."""

import pickle

import numpy as np
import pytest
from sklearn.model_selection import (
    GridSearchCV,
    GroupKFold,
    KFold,
    cross_val_score,
    cross_validate,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skhug import HUGClassifier, HUGEmbedder
from skhug.metrics import _neighbours as _search
from skhug.metrics import mean_average_precision_at_r, recall_at_k
from skhug.model_selection import retrieval_scorer


@pytest.fixture
def some_digits(digits):
    return digits[0][:600], digits[1][:600]


def test_scores_are_those_of_the_metric(iris):
    X, y = iris
    embedder = HUGEmbedder(max_epochs=3, random_state=0).fit(X, y)
    z = embedder.transform(X)
    assert retrieval_scorer()(embedder, X, y) == mean_average_precision_at_r(z, y)
    scorer = retrieval_scorer("recall_at_k", k=2, distance="euclidean")
    weight = np.arange(150.0)
    expected = recall_at_k(z, y, k=2, metric="euclidean", sample_weight=weight)
    assert scorer(embedder, X, y, sample_weight=weight) == expected


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_cross_validation_on_classes_never_seen(Estimator, some_digits):
    X, y = some_digits
    seen = []

    class Spy(Estimator):
        def fit(self, X, y):
            super().fit(X, y)
            seen.append(set(self.classes_))
            return self

    scores = cross_val_score(
        Spy(max_epochs=3, random_state=0),
        X,
        y,
        groups=y,
        cv=GroupKFold(2),
        scoring=retrieval_scorer("mean_average_precision_at_r"),
    )
    assert np.isfinite(scores).all()
    assert seen[0].isdisjoint(seen[1])
    assert seen[0] | seen[1] == set(range(10))


def test_grid_search_over_a_pipeline(some_digits):
    X, y = some_digits
    pipeline = make_pipeline(StandardScaler(), HUGEmbedder(random_state=0))
    search = GridSearchCV(
        pipeline,
        {"hugembedder__max_epochs": [1, 10]},
        scoring=retrieval_scorer("mean_average_precision_at_r"),
        cv=2,
    ).fit(X, y)
    assert search.best_params_ == {"hugembedder__max_epochs": 10}
    fold = search.cv_results_["split0_test_score"]
    assert 0 < fold[0] < fold[1] <= 1


def test_several_metrics_come_from_one_search(some_digits, monkeypatch):
    X, y = some_digits
    calls = []
    plain = _search.Search._find
    monkeypatch.setattr(_search.Search, "_find", lambda self, k: calls.append(k) or plain(self, k))
    names = ["mean_average_precision_at_r", "recall_at_k", "mean_reciprocal_rank"]
    search = GridSearchCV(
        HUGEmbedder(max_epochs=2, random_state=0),
        {"beta": [1.0, 2.0]},
        scoring=retrieval_scorer(names, k=3),
        refit="recall_at_k",
        cv=2,
    ).fit(X, y)
    assert all(f"mean_test_{name}" in search.cv_results_ for name in names)
    assert len(calls) == 4  # 2 candidates, 2 folds


def test_scorers_by_name_side_by_side(iris):
    scoring = {
        "map": retrieval_scorer("mean_average_precision_at_r"),
        "recall": retrieval_scorer("recall_at_k", k=1),
    }
    scores = cross_validate(HUGEmbedder(max_epochs=2, random_state=0), *iris, cv=2, scoring=scoring)
    assert (scores["test_map"] <= scores["test_recall"]).all()


def test_scorers_can_be_pickled_and_name_themselves():
    scorer = pickle.loads(pickle.dumps(retrieval_scorer(["r_precision", "recall_at_k"], k=5)))
    assert repr(scorer) == repr(retrieval_scorer(("r_precision", "recall_at_k"), k=5))
    with pytest.raises(ValueError, match="metric='map': pass one or more of recall_at_k"):
        retrieval_scorer("map")


@pytest.mark.parametrize("scoring", [None, retrieval_scorer("recall_at_k", 1)])
def test_folds_of_one_class_have_no_score(iris, scoring):
    X, y = iris
    splits = [KFold(3), GroupKFold(3)]
    for cv in splits:
        arguments = {"groups": y, "cv": cv, "scoring": scoring}
        with pytest.raises(ValueError, match="each test fold needs as many"):
            cross_val_score(HUGEmbedder(max_epochs=1), X, y, error_score="raise", **arguments)
        with pytest.warns(UserWarning, match="each test fold needs as many"):
            scores = cross_val_score(HUGEmbedder(max_epochs=1), X, y, **arguments)
        assert np.isnan(scores).all()


def test_a_grid_search_on_folds_of_one_class_prefers_nothing(iris):
    search = GridSearchCV(HUGEmbedder(max_epochs=5), {"learning_rate": [1e-9, 3e-3]}, cv=3)
    with pytest.warns(UserWarning, match="each test fold needs as many"):
        search.fit(*iris)
    assert np.isnan(search.cv_results_["mean_test_score"]).all()


def test_validation_rows_of_one_class_are_refused_before_training(iris):
    X, y = iris
    embedder = HUGEmbedder(early_stopping=True)
    with pytest.raises(ValueError, match="150 validation rows are of one class"):
        embedder.fit(X, y, X_val=X, y_val=np.ones(150, dtype=int))
