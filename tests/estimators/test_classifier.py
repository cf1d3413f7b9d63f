"""HUGClassifier: decisions, probabilities and their calibration."""

import numpy as np
import pytest
import torch
from sklearn.datasets import make_blobs, make_classification
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skhug import HUGClassifier
from skhug._model.calibration import Readout, candidates, fit_readout, log_probabilities, pull_of
from skhug._model.embedding import embed
from skhug._model.sphere_encoder import SphereEncoder
from skhug.encoders import MLP
from skhug.proxies import optimal_proxies


@pytest.fixture(scope="module")
def fitted(digits):
    X, y = digits
    return HUGClassifier(max_epochs=10, random_state=0).fit(X[:900], y[:900])


def points(model, X):
    return embed(model.module_, X.astype(model.proxies_.dtype), SphereEncoder.ball).numpy()


def test_decisions_are_products_of_points_in_the_ball_with_the_proxies(fitted, digits):
    X = digits[0][900:]
    z = points(fitted, X)
    assert 0 < np.linalg.norm(z, axis=1).min() < 0.999
    np.testing.assert_allclose(fitted.decision_function(X), z @ fitted.proxies_.T, atol=1e-5)
    unit = z / np.linalg.norm(z, axis=1, keepdims=True)
    np.testing.assert_allclose(fitted.transform(X), unit, atol=1e-5)


def test_decisions_of_one_network_without_softness_are_cosines(digits):
    X, y = digits
    model = HUGClassifier(MLP((16,), members=1, softness=0.0), max_epochs=2, random_state=0)
    model.fit(X[:300], y[:300])
    cosines = model.transform(X[300:]) @ model.proxies_.T
    np.testing.assert_allclose(model.decision_function(X[300:]), cosines, atol=1e-5)


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


def test_probabilities_are_of_shares_and_distances_as_documented(fitted, digits):
    X = digits[0][900:920]
    z, w = points(fitted, X), fitted.proxies_
    share = np.maximum((9 * z @ w.T + 1) / 10, 0)  # ten classes
    squared = ((z[:, None] - w) ** 2).sum(2)
    raised = (share + fitted.floor_) ** fitted.power_ / (squared + 3e-4) ** fitted.falloff_
    expected = raised / raised.sum(1, keepdims=True)
    np.testing.assert_allclose(fitted.predict_proba(X), expected, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(fitted.predict_log_proba(X), np.log(expected), rtol=1e-3, atol=1e-4)


def drawn_points(n, n_classes, seed=0):
    """Points near to the proxies of a simplex, and these."""
    generator = torch.Generator().manual_seed(seed)
    drawn = -torch.rand(n, n_classes, generator=generator, dtype=torch.float64).log()
    proxies = optimal_proxies(n_classes, n_classes - 1).double()
    return (drawn**3 / (drawn**3).sum(1, keepdim=True)) @ proxies, proxies


def test_the_readout_is_recovered_from_drawn_labels():
    points, proxies = drawn_points(60_000, 4)
    true = log_probabilities(points, proxies, Readout(2.0, 0.1, 0.3)).exp()
    y = torch.multinomial(true, 1, generator=torch.Generator().manual_seed(1))[:, 0]
    pull = pull_of(60_000, trained_on=False)
    found = fit_readout(candidates(points, proxies, y), torch.ones(60_000), pull)
    # The numbers make up for one another; what they say is the same.
    torch.testing.assert_close(
        log_probabilities(points, proxies, found).exp(), true, atol=0.02, rtol=0
    )


def test_the_fit_is_at_a_minimum_of_the_penalised_loss():
    points, proxies = drawn_points(80, 5)
    nearest = (points @ proxies.T).argmax(1)
    y = torch.where(torch.arange(80) % 4 == 0, torch.arange(80) % 5, nearest)
    weight = torch.linspace(0.5, 2, 80, dtype=torch.float64)

    def loss(parameters):
        log_p = log_probabilities(points, proxies, Readout(*np.exp(parameters)))
        away = parameters - np.array([-0.7, -4.0, -0.7])
        of_row = log_p[torch.arange(80), y]
        return float(-(weight * of_row).sum() / weight.sum()) + 0.01 * away @ away

    best = np.log(fit_readout(candidates(points, proxies, y), weight, 0.01))
    for step in 0.02 * np.vstack([np.eye(3), -np.eye(3)]):
        assert loss(best + step) > loss(best)


def test_the_nearest_class_is_the_most_probable_for_any_readout():
    points, proxies = drawn_points(200, 6)
    for readout in (Readout(0.05, 1e-5, 5.0), Readout(50.0, 7.0, 1e-3), Readout(0.5, 1e-4, 0.5)):
        log_p = log_probabilities(points, proxies, readout)
        assert torch.equal(log_p.argmax(1), (points @ proxies.T).argmax(1))


@pytest.mark.parametrize("n_rows", [3, 30])
@pytest.mark.parametrize("trained_on", [True, False])
def test_separable_data_do_not_make_it_explode(n_rows, trained_on):
    proxies = optimal_proxies(3, 2).double()
    y = torch.arange(3).repeat(n_rows // 3)
    seen, pull = candidates(proxies[y], proxies, y), pull_of(n_rows, trained_on)
    readout = fit_readout(seen, torch.ones(n_rows), pull)
    probability = log_probabilities(proxies, proxies, readout).exp()
    assert 0.9 < probability.max() < 1 - 1e-5


def test_more_held_out_rows_are_trusted_more():
    proxies = optimal_proxies(3, 2).double()
    row = torch.arange(900)
    points = proxies[row % 3]
    y = torch.where(row % 9 < 3, (row + 1) % 3, row % 3)

    def confidence(n_rows):
        seen = candidates(points[:n_rows], proxies, y[:n_rows])
        readout = fit_readout(seen, torch.ones(n_rows), pull_of(n_rows, False))
        return log_probabilities(points, proxies, readout).exp().max()

    two_thirds = 2 / 3  # of the rows are right
    assert two_thirds < confidence(900) < confidence(90) < confidence(9)
    assert confidence(900) == pytest.approx(two_thirds, abs=0.02)


def test_only_relative_weights_count_in_the_fit():
    y, weight = torch.arange(50) % 3, torch.arange(1.0, 51.0)
    seen = candidates(*drawn_points(50, 3), y)
    np.testing.assert_allclose(
        fit_readout(seen, weight, 1e-3), fit_readout(seen, 1e-3 * weight, 1e-3), rtol=1e-4
    )


def test_training_rows_that_are_all_right_do_not_promise_as_much_of_new_ones(digits):
    X, X_new, y, y_new = train_test_split(*digits, train_size=200, random_state=0)
    model = HUGClassifier(random_state=0).fit(X, y)
    assert model.score(X, y) == 1
    accuracy = model.score(X_new, y_new)
    assert accuracy < 0.98
    assert abs(model.predict_proba(X_new).max(1).mean() - accuracy) < 0.05


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
