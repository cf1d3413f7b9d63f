"""HUGClassifier: decisions, probabilities and their calibration."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skhug import HUGClassifier
from skhug._calibration import Candidates, fit_concentration, log_probabilities


@pytest.fixture(scope="module")
def fitted(digits):
    X, y = digits
    return HUGClassifier(max_epochs=10, random_state=0).fit(X[:900], y[:900])


def test_decision_function_is_the_cosine_to_each_proxy(fitted, digits):
    X = digits[0][900:]
    cosines = fitted.transform(X) @ fitted.proxies_.T
    np.testing.assert_allclose(fitted.decision_function(X), cosines, rtol=1e-5, atol=1e-6)


def test_prediction_is_the_nearest_proxy_and_the_most_probable_class(fitted, digits):
    X = digits[0][900:]
    distance = np.linalg.norm(fitted.transform(X)[:, None] - fitted.proxies_, axis=2)
    assert np.array_equal(fitted.predict(X), distance.argmin(1))
    assert np.array_equal(fitted.predict(X), fitted.predict_proba(X).argmax(1))


def test_score_of_a_sample_is_its_largest_cosine(fitted, digits):
    X = digits[0][900:]
    expected = fitted.decision_function(X).max(1)
    np.testing.assert_allclose(fitted.score_samples(X), expected, rtol=1e-6)


def test_rows_of_unknown_classes_score_lower(digits):
    X, y = digits
    known = y < 6
    model = HUGClassifier(max_epochs=10, random_state=0).fit(X[known], y[known])
    assert roc_auc_score(known, model.score_samples(X)) > 0.9


def test_many_classes_fit_and_predict():
    n_classes = 600  # more than calibration looks at
    rng = np.random.RandomState(0)
    centres = rng.standard_normal((n_classes, 16)).astype(np.float32)
    y = np.repeat(np.arange(n_classes), 6)
    X = centres[y] + 0.3 * rng.standard_normal((len(y), 16)).astype(np.float32)
    model = HUGClassifier(proxies=centres, n_components=16, max_epochs=20, random_state=0)
    model.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2])
    accuracy = model.score(X[1::2], y[1::2])
    assert accuracy > 0.9
    assert model.history_[-1]["validation_score"] == pytest.approx(accuracy)
    probability = model.predict_proba(X[1::2])
    np.testing.assert_allclose(probability.sum(1), 1, rtol=1e-4)
    assert np.array_equal(probability.argmax(1), model.predict(X[1::2]))
    assert abs(probability.max(1).mean() - accuracy) < 0.05


def test_two_classes_decide_by_sign():
    X, y = make_blobs(100, centers=2, random_state=3)
    model = HUGClassifier(max_epochs=10, random_state=0).fit(X, np.array(["no", "yes"])[y])
    decision = model.decision_function(X)
    assert decision.shape == (100,)
    assert np.abs(decision).max() <= 1
    assert np.array_equal(model.predict(X) == "yes", decision > 0)


def test_probabilities_follow_a_power_of_the_distance(fitted, digits):
    X = digits[0][900:920]
    distance = np.linalg.norm(fitted.transform(X)[:, None] - fitted.proxies_, axis=2)
    power = (distance**2 + fitted.softening_) ** -fitted.concentration_
    expected = power / power.sum(1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(expected), rtol=1e-3, atol=1e-4)


def test_concentration_is_recovered_from_drawn_labels():
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(60_000, 4, generator=generator, dtype=torch.float64) * 2 - 1
    probability = log_probabilities(cosines, 4.0, 0.1).exp()
    y = torch.multinomial(probability, 1, generator=generator)[:, 0]
    concentration, softening = fit_concentration(Candidates(cosines, y, None), torch.ones(60_000))
    assert concentration == pytest.approx(4.0, rel=0.1)
    assert softening == pytest.approx(0.1, rel=0.3)


def test_separable_data_do_not_make_it_explode():
    cosines = torch.eye(3, dtype=torch.float64).repeat(10, 1)
    y = torch.arange(3).repeat(10)
    parameters = fit_concentration(Candidates(cosines, y, None), torch.ones(30))
    probability = log_probabilities(cosines, *parameters).exp()
    assert 0.9 < probability.max() < 1 - 1e-6


def test_only_relative_weights_count_in_the_fit():
    cosines = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, weight = torch.arange(50) % 3, torch.arange(1.0, 51.0)
    seen = Candidates(cosines, y, None)
    np.testing.assert_allclose(
        fit_concentration(seen, weight),
        fit_concentration(seen, 1e-3 * weight),
        rtol=1e-4,
    )


def test_probabilities_are_calibrated_on_overlapping_classes():
    X, y = make_classification(6000, 10, n_informative=5, class_sep=0.6, flip_y=0.1, random_state=0)
    X, X_test, y, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
    model = HUGClassifier(early_stopping=True, validation_fraction=0.2, random_state=0).fit(X, y)
    confidence = model.predict_proba(X_test).max(1)
    right = model.predict(X_test) == y_test
    assert abs(confidence.mean() - right.mean()) < 0.04


def test_early_stopping_keeps_the_most_accurate_epoch(digits):
    X, y = digits
    model = HUGClassifier(early_stopping=True, max_epochs=8, random_state=0)
    model.fit(X[:500], y[:500], X_val=X[500:], y_val=y[500:])
    best = max(row["validation_score"] for row in model.history_)
    assert model.score(X[500:], y[500:]) == pytest.approx(best)
