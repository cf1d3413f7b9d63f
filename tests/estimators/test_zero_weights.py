"""Classes whose rows all have weight zero: known, with a probability, never trained."""

import numpy as np
import pytest
from sklearn import config_context
from sklearn.ensemble import BaggingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_validate
from sklearn.multiclass import OneVsRestClassifier

from skhug import BalancedBatches, HUGClassifier, HUGEmbedder


def quick(Estimator, **parameters):
    return Estimator(max_epochs=5, random_state=0, **parameters)


@pytest.fixture(scope="module")
def some_digits(digits):
    """Digits, and weights that leave out the threes and the sevens."""
    X, y = digits
    return X[:600], y[:600], np.where(np.isin(y[:600], [3, 7]), 0.0, 1.0)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"class_weight": "balanced"},
        {"class_weight": {3: 9.0, 4: 2.0}},
        {"early_stopping": True},
        {"n_components": 3},
        {"proxies": "learned"},
        {"proxies": np.eye(10), "n_components": 10},
        {"batch_sampler": BalancedBatches(4, 8)},
        {"track": ["nc"]},
        {"uniformity": "mgd"},
    ],
    ids=lambda parameters: next(iter(parameters), "defaults"),
)
def test_they_stay_and_are_not_trained(Estimator, some_digits, parameters):
    X, y, weight = some_digits
    model = quick(Estimator, **parameters).fit(X, y, sample_weight=weight)
    assert np.array_equal(model.classes_, np.arange(10))
    assert len(model.proxies_) == 10
    assert all(np.isfinite(list(row.values())).all() for row in model.history_)
    shown = weight > 0
    assert model.score(X[shown], y[shown]) > 0.8
    again = quick(Estimator, **parameters).fit(
        np.where(shown[:, None], X, 1e9), y, sample_weight=weight
    )
    assert np.array_equal(again.transform(X), model.transform(X))


def test_they_have_a_probability_that_is_small(some_digits):
    X, y, weight = some_digits
    model = quick(HUGClassifier).fit(X, y, sample_weight=weight)
    shown = weight > 0
    probability = model.predict_proba(X[shown])
    assert probability.shape == (shown.sum(), 10)
    assert probability[:, [3, 7]].max() < 0.1
    assert not np.isin(model.predict(X[shown]), [3, 7]).any()


def test_they_may_be_validated_on(Estimator, some_digits):
    X, y, weight = some_digits
    model = quick(Estimator, early_stopping=True)
    model.fit(X, y, sample_weight=weight, X_val=X[::3], y_val=y[::3])
    scores = [row["validation_score"] for row in model.history_]
    assert np.isfinite(scores).all()


def test_cross_validation_scores_their_probabilities(iris):
    X, y = iris
    weight = np.where(y == 2, 0.0, 1.0)
    for model in (LogisticRegression(), quick(HUGClassifier)):
        scores = cross_validate(
            model, X, y, params={"sample_weight": weight}, scoring="neg_log_loss"
        )
        assert np.isfinite(scores["test_score"]).all()


def test_soft_votes_have_a_column_for_them(iris):
    X, y = iris
    members = [("hug", quick(HUGClassifier)), ("linear", LogisticRegression())]
    voting = VotingClassifier(members, voting="soft")
    voting.fit(X, y, sample_weight=np.where(y == 0, 0.0, 1.0))
    assert voting.predict_proba(X).shape == (150, 3)


def test_bags_agree_on_the_classes(iris):
    X, y = iris
    bags = BaggingClassifier(quick(HUGClassifier), 3, max_samples=20, random_state=0).fit(X, y)
    assert np.isfinite(bags.predict_proba(X)).all()


def test_a_stream_knows_them_from_its_first_call(Estimator, iris):
    X, y = iris
    model = quick(Estimator).partial_fit(X, y, sample_weight=np.where(y == 1, 0.0, 1.0))
    assert np.array_equal(model.classes_, [0, 1, 2])
    model.partial_fit(X, y)
    with pytest.raises(ValueError, match="none of the model's 3 classes: 5"):
        model.partial_fit(X, np.where(y == 1, 5, y), sample_weight=np.where(y == 1, 0.0, 1.0))


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"class_weight": "balanced"},
        {"early_stopping": True},
        {"proxies": "learned"},
        {"batch_sampler": BalancedBatches(4, 8)},
        {"n_components": 1},
    ],
    ids=lambda parameters: next(iter(parameters), "defaults"),
)
def test_all_classes_but_one_may_be_without_weight(Estimator, iris, parameters):
    X, y = iris
    model = Estimator(max_epochs=30, random_state=0, **parameters)
    weight = np.where(y == 1, 1.0, 0.0)
    if Estimator is HUGEmbedder and "early_stopping" in parameters:
        with pytest.raises(ValueError, match="validation rows are of one class"):
            model.fit(X, y, sample_weight=weight)
        return
    model.fit(X, y, sample_weight=weight)
    assert np.array_equal(model.classes_, [0, 1, 2])
    nearest = (model.transform(X[y == 1]) @ model.proxies_.T).argmax(axis=1)
    assert (nearest == 1).all()


def test_one_against_the_rest_goes_with_a_class_without_weight(iris):
    X, y = iris
    with config_context(enable_metadata_routing=True):
        model = OneVsRestClassifier(quick(HUGClassifier).set_fit_request(sample_weight=True))
        model.fit(X, y, sample_weight=np.where(y == 2, 0.0, 1.0))
    assert model.predict_proba(X).shape == (150, 3)


def test_a_warm_start_may_leave_a_class_out(Estimator, iris):
    X, y = iris
    model = quick(Estimator, warm_start=True).fit(X, y)
    model.fit(X, y, sample_weight=np.where(y == 1, 0.0, 1.0))
    assert np.array_equal(model.classes_, [0, 1, 2])


def test_they_count_in_an_embedder_as_unseen_classes(some_digits):
    X, y, weight = some_digits
    model = quick(HUGEmbedder).fit(X, y, sample_weight=weight)
    assert model.transform(X).shape == (600, 9)
