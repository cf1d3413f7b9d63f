"""HUGClassifier: decisions, probabilities and their calibration."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skhug import HUGClassifier
from skhug._model.calibration import Candidates, Falloff, fit_falloff, log_probabilities, pull_of


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


def test_probabilities_fall_with_the_distance_as_documented(fitted, digits):
    X = digits[0][900:920]
    distance = np.linalg.norm(fitted.transform(X)[:, None] - fitted.proxies_, axis=2)
    share = (distance**2 + fitted.softening_) ** -fitted.concentration_
    share *= np.exp(-fitted.cutoff_ * distance**4 / 4)
    expected = share / share.sum(1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(expected), rtol=1e-3, atol=1e-4)


def test_the_falloff_is_recovered_from_drawn_labels():
    generator = torch.Generator().manual_seed(0)
    cosines = torch.rand(60_000, 4, generator=generator, dtype=torch.float64) * 2 - 1
    true = Falloff(2.0, 0.1, 3.0)
    y = torch.multinomial(log_probabilities(cosines, true).exp(), 1, generator=generator)[:, 0]
    found = fit_falloff(Candidates(cosines, y, None), torch.ones(60_000), pull_of(60_000, False))
    assert found.concentration == pytest.approx(true.concentration, rel=0.1)
    assert found.softening == pytest.approx(true.softening, rel=0.3)
    assert found.cutoff == pytest.approx(true.cutoff, rel=0.1)


def test_the_fit_is_at_a_minimum_of_the_penalised_loss():
    cosines = torch.rand(80, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    y = torch.where(torch.arange(80) % 4 == 0, torch.arange(80) % 5, cosines.argmax(1))
    weight = torch.linspace(0.5, 2, 80, dtype=torch.float64)

    def loss(parameters):
        log_p = log_probabilities(cosines, Falloff(*np.exp(parameters)))[torch.arange(80), y]
        growth = np.log(np.log(5) / np.log(10))  # five classes
        away = parameters - np.array([-0.8 + growth, -8.2, 0.5 + growth])
        return float(-(weight * log_p).sum() / weight.sum()) + 0.01 * away @ away

    best = np.log(fit_falloff(Candidates(cosines, y, None), weight, 0.01))
    for step in 0.02 * np.vstack([np.eye(3), -np.eye(3)]):
        assert loss(best + step) > loss(best)


def test_the_nearest_class_is_the_most_probable_for_any_falloff():
    cosines = torch.rand(200, 6, generator=torch.Generator().manual_seed(2)) * 2 - 1
    for falloff in (Falloff(0.05, 1e-5, 1e-3), Falloff(50.0, 7.0, 100.0), Falloff(0.5, 1e-4, 0.6)):
        assert torch.equal(log_probabilities(cosines, falloff).argmax(1), cosines.argmax(1))


@pytest.mark.parametrize("n_rows", [3, 30])
@pytest.mark.parametrize("trained_on", [True, False])
def test_separable_data_do_not_make_it_explode(n_rows, trained_on):
    cosines = torch.eye(3, dtype=torch.float64).repeat(n_rows // 3, 1)
    y = torch.arange(3).repeat(n_rows // 3)
    falloff = fit_falloff(
        Candidates(cosines, y, None), torch.ones(n_rows), pull_of(n_rows, trained_on)
    )
    probability = log_probabilities(cosines, falloff).exp()
    assert 0.9 < probability.max() < 1 - 1e-5


def test_more_held_out_rows_are_trusted_more():
    cosines = torch.eye(3, dtype=torch.float64)[torch.arange(90) % 3]
    y = torch.where(torch.arange(90) % 9 < 3, (torch.arange(90) + 1) % 3, torch.arange(90) % 3)

    def confidence(n_rows):
        seen = Candidates(cosines[:n_rows], y[:n_rows], None)
        falloff = fit_falloff(seen, torch.ones(n_rows), pull_of(n_rows, False))
        return log_probabilities(cosines, falloff).exp().max()

    two_thirds = 2 / 3  # of the rows are right
    assert two_thirds < confidence(90) < confidence(9)
    assert confidence(90) == pytest.approx(two_thirds, abs=0.02)


def test_only_relative_weights_count_in_the_fit():
    cosines = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    y, weight = torch.arange(50) % 3, torch.arange(1.0, 51.0)
    seen = Candidates(cosines, y, None)
    np.testing.assert_allclose(
        fit_falloff(seen, weight, 1e-3), fit_falloff(seen, 1e-3 * weight, 1e-3), rtol=1e-4
    )


def test_training_rows_that_are_all_right_do_not_promise_as_much_of_new_ones(digits):
    X, y = digits
    model = HUGClassifier(random_state=0).fit(X[:200], y[:200])
    assert model.score(X[:200], y[:200]) == 1
    confidence = model.predict_proba(X[200:]).max(1).mean()
    # Accuracy on new rows is 0.84; one that believed the training rows would say 0.93 and more.
    assert abs(confidence - model.score(X[200:], y[200:])) < 0.06


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
