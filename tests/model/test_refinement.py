"""Softmax regression that goes on from a discriminant."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from skhug import HUGClassifier, Vectors
from skhug._model.refinement import _Course
from skhug._training import vector_start


def skewed(n_rows, seed=0, width=32):
    """Rows of long tails, classes that depend on them linearly: no normal density fits them."""
    rng, fixed = np.random.default_rng(seed), np.random.default_rng(100)
    X = np.exp(rng.standard_normal((n_rows, width)))
    scores = 0.7 * X @ fixed.standard_normal((width, 3)) + rng.gumbel(size=(n_rows, 3))
    return X, scores.argmax(1)


@pytest.fixture(scope="module")
def fitted():
    X, y = skewed(400)
    return HUGClassifier("vectors", precision="float64", random_state=0).fit(X, y)


def test_a_path_of_many_steps_ends_at_the_peers_penalised_regression():
    X, y = skewed(120, width=5)
    X = np.log(X)
    ones = np.ones(len(y))
    course = _Course(X, y, np.zeros((120, 3)), ones / 120, np.eye(5))
    change = np.zeros((3, 6))
    for _ in range(60):
        change = course.step(change, 0.5)
    peer = LogisticRegression(C=2.0, fit_intercept=False, tol=1e-8, max_iter=5000)
    peer.fit(np.column_stack([X, ones]), y)
    expected = peer.predict_proba(np.column_stack([X, ones]))
    assert_allclose(np.exp(course.log_probabilities(change)), expected, atol=5e-3)


def test_change_counts_by_the_covariance_and_not_by_the_rows_axes():
    X, y = skewed(120, width=5)
    turned = X @ np.random.default_rng(0).standard_normal((5, 5))
    found = []
    for rows in (X, turned):
        root = np.linalg.cholesky(np.cov(rows.T))
        course = _Course(rows, y, np.zeros((120, 3)), np.full(120, 1 / 120), root)
        change = np.zeros((3, 6))
        for _ in range(60):
            change = course.step(change, 2.0)
        found.append(course.log_probabilities(change))
    assert_allclose(*found, atol=1e-3)


def test_many_rows_gain_where_no_normal_density_fits(fitted, monkeypatch):
    X, y = skewed(3000, seed=1)
    monkeypatch.setattr(vector_start, "refined", lambda *rows: None)
    plain = clone(fitted).fit(*skewed(400))
    losses = [log_loss(y, model.predict_proba(X)) for model in (plain, fitted)]
    assert losses[1] < losses[0] - 0.05
    assert fitted.score(X, y) > plain.score(X, y) + 0.01


def test_labels_by_lot_are_not_followed():
    X, _ = skewed(400)
    y = np.random.default_rng(2).integers(3, size=400)
    model = HUGClassifier("vectors", random_state=0).fit(X, y)
    y_new = np.random.default_rng(3).integers(3, size=400)
    assert log_loss(y_new, model.predict_proba(skewed(400, seed=4)[0])) < np.log(3) + 0.03


@pytest.mark.parametrize(("encoder", "n_rows"), [(Vectors(shrinkage=0.5), 400), ("vectors", 199)])
def test_a_shrinkage_of_ones_own_and_few_rows_leave_the_discriminant(encoder, n_rows, fitted):
    assert fitted._progress["vectors"]["change"] is not None
    model = HUGClassifier(encoder, random_state=0).fit(*skewed(n_rows))
    assert model._progress["vectors"]["change"] is None


def test_rows_in_calls_are_as_rows_in_one_fit(fitted):
    X, y = skewed(400)
    model = clone(fitted)
    for part in np.split(np.arange(400), (90, 250)):
        model.partial_fit(X[part], y[part], np.arange(3))
    assert_allclose(model.predict_proba(X), fitted.predict_proba(X), atol=1e-5)


def test_only_some_rows_of_many_are_left_out_and_others_count(fitted, monkeypatch):
    X, y = skewed(3000, seed=1)
    monkeypatch.setattr(vector_start, "_LEFT_OUT", 200)
    some = clone(fitted).fit(*skewed(400))
    assert some._progress["vectors"]["change"] is not None
    assert abs(log_loss(y, some.predict_proba(X)) - log_loss(y, fitted.predict_proba(X))) < 0.05


def test_a_copy_without_rows_keeps_what_they_added(fitted):
    X, y = skewed(420)
    copy = pickle.loads(pickle.dumps(fitted)).partial_fit(X[400:], y[400:])
    change = fitted._progress["vectors"]["change"]
    assert_allclose(copy._progress["vectors"]["change"], change)
    assert np.abs(copy.predict_proba(X) - fitted.predict_proba(X)).mean() < 0.02
