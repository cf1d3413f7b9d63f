"""Heads on vectors that go on: rows in calls, and fits from a fitted model."""

import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.preprocessing import normalize

from skhug import HUGClassifier, HUGEmbedder, Vectors, load
from skhug._data.class_moments import FoldMoments, Sums
from skhug._model.whitening import Recipe, Whitening
from skhug._training import vector_start


def vectors(n_classes=6, rows_a_class=20, width=40, noise=0.7, seed=0):
    """Unit rows about the classes' directions, shuffled."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_classes, width)) + 0.5
    y = rng.permutation(np.repeat(np.arange(n_classes), rows_a_class))
    X = centres[y] + noise * np.linspace(0.2, 2, width) * rng.standard_normal((len(y), width))
    return normalize(X), y


def streamed(model, X, y, *ends, weight=None):
    """Fit rows in calls that end at these."""
    for rows in np.split(np.arange(len(y)), ends):
        given = None if weight is None else weight[rows]
        model.partial_fit(X[rows], y[rows], np.unique(y), sample_weight=given)
    return model


def parameters(model):
    body, proxies = model.module_.body, model.proxies_.astype("f8")
    weights = proxies @ body.weight.detach().numpy(), proxies @ body.bias.detach().numpy()
    return *weights, model.module_.prepare.shift.numpy(), model.sharpness_


# --- sums -----------------------------------------------------------------------------------


def test_sums_of_parts_add_up_and_are_taken_away():
    X, y = vectors()
    weight = np.random.default_rng(1).uniform(0.5, 2, len(y))
    whole = Sums.of(X, y, weight, 6, weight)
    parts = [
        Sums.of(X[at], y[at], weight[at], 6, weight[at]) for at in (slice(33), slice(33, None))
    ]
    for found in (parts[0].plus(parts[1]), whole.plus(parts[0]).minus(parts[0])):
        for name, value in found.moments()._asdict().items():
            assert_allclose(value, getattr(whole.moments(), name), atol=1e-12)
    alone = whole.minus(parts[0]).moments()
    for name, value in alone._asdict().items():
        if name != "count":  # in units of the least weight of all
            assert_allclose(value, getattr(parts[1].moments(), name), atol=1e-12)


def test_many_rows_are_multiplied_in_float32_if_that_tells_enough(monkeypatch):
    X, y = vectors(rows_a_class=40)
    tight = normalize(X[:6][y] + 1e-5 * X)
    for rows, tolerance in ((X, 1e-6), (tight, 1e-3)):
        rows = rows.astype("f4")
        exact = Sums.of(rows, y, np.ones(len(y)), 6).moments()
        with monkeypatch.context() as patch:
            patch.setattr("skhug._data.class_moments._MANY_NUMBERS", 0)
            found = Sums.of(rows, y, np.ones(len(y)), 6).moments()
        size = np.trace(exact.within)
        assert_allclose(found.within, exact.within, atol=tolerance * size)
        assert_allclose(found.means, exact.means, atol=1e-6)


# --- the discriminant -----------------------------------------------------------------------


@pytest.mark.parametrize("ends", [(60,), (7, 8, 50)])
def test_rows_in_calls_are_as_rows_in_one_fit(ends):
    X, y = vectors()
    model = HUGClassifier("vectors", precision="float64", random_state=0)
    whole = clone(model).fit(X, y)
    model = streamed(model, X, y, *ends)
    assert model.n_iter_ == 0
    for found, expected in zip(parameters(model), parameters(whole), strict=True):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)
    assert_allclose(model.predict_proba(X), whole.predict_proba(X), atol=1e-8)


def test_weights_and_classes_that_come_late_count_as_in_one_fit():
    X, y = vectors()
    order, weight = np.argsort(y, kind="stable"), np.arange(len(y)) % 3 + 1.0
    X, y = X[order], y[order]
    model = HUGClassifier("vectors", precision="float64", random_state=0)
    whole = clone(model).fit(X, y, sample_weight=weight)
    model = streamed(model, X, y, 30, 70, weight=weight)
    assert_allclose(model.predict_proba(X), whole.predict_proba(X), atol=1e-8)


def test_how_a_long_stream_is_cut_does_not_matter(monkeypatch):
    monkeypatch.setattr(vector_start, "_ROWS", 60)
    X, y = vectors()
    model = HUGClassifier("vectors", precision="float64", random_state=0)
    one, many = (streamed(clone(model), X, y, *ends) for ends in ((), (20, 61, 62, 100)))
    assert len(many._kept_rows.y) == 60
    for found, expected in zip(parameters(many), parameters(one), strict=True):
        assert_allclose(found, expected, rtol=1e-6, atol=1e-8)


def test_a_fit_goes_on_with_what_it_chose_until_as_many_rows_came():
    X, y = vectors()
    model = HUGClassifier("vectors", precision="float64", random_state=0).fit(X[:50], y[:50])
    assert not hasattr(model, "_kept_rows")
    chosen = model._progress["vectors"]["chosen"]
    model.partial_fit(X[50:90], y[50:90])
    moments = FoldMoments.of(X[:90], y[:90], np.ones(90), 6, np.zeros(90, int)).without()
    found = vector_start.discriminant(moments, vector_start.Discriminant(*chosen))
    for mine, expected in zip(parameters(model), found, strict=False):
        assert_allclose(mine - mine.mean(0), expected - expected.mean(0), atol=1e-8)
    model.partial_fit(X[90:], y[90:])
    assert model._progress["vectors"]["chosen"] != chosen
    assert model._progress["vectors"]["chosen_by"] == 70


def test_a_fit_too_few_rows_to_choose_by_leaves_the_choice_to_later_ones():
    X, y = vectors()
    one_each = np.unique(y, return_index=True)[1]
    others = np.setdiff1d(np.arange(len(y)), one_each)
    model = HUGClassifier("vectors", random_state=0).fit(X[one_each], y[one_each])
    assert model._progress["vectors"]["chosen"] is None
    before = model.sharpness_
    model.partial_fit(X[others], y[others])
    assert model._progress["vectors"]["chosen"] is not None
    assert model.sharpness_ != before
    assert model.score(X, y) > 0.9


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_streams_go_on_from_files_and_pickles_that_hold_no_rows(Estimator, tmp_path):
    X, y = vectors()
    model = streamed(Estimator("vectors", random_state=0), X[:70].astype("f2"), y[:70], 30)
    model.save(tmp_path / "model.skhug")
    copies = [load(tmp_path / "model.skhug"), pickle.loads(pickle.dumps(model))]
    for copy in copies:
        assert not hasattr(copy, "_kept_rows")
        copy.partial_fit(X[70:].astype("f2"), y[70:])
        assert_array_equal(copy.transform(X), copies[0].transform(X))
    model.partial_fit(X[70:].astype("f2"), y[70:])
    shifts = [m.module_.prepare.shift for m in (model, copies[0])]
    assert_allclose(*shifts, atol=1e-12)
    if Estimator is HUGClassifier:
        assert np.mean(copies[0].predict(X) == model.predict(X)) > 0.98


def test_a_call_that_fails_leaves_the_model_as_it_was():
    X, y = vectors()
    model = HUGClassifier("vectors", random_state=0).fit(X, y)
    before = model.predict_proba(X)
    with pytest.raises(ValueError, match="too large for their squares"):
        model.partial_fit(X * 1e200, y)
    assert_array_equal(model.predict_proba(X), before)


# --- search ---------------------------------------------------------------------------------


@pytest.mark.parametrize("n_components", [None, 8])
def test_search_is_whitened_by_all_rows_as_the_first_call_chose(n_components):
    X, y = vectors()
    model = HUGEmbedder("vectors", n_components=n_components, random_state=0)
    model.partial_fit(X[:90], y[:90], np.unique(y))
    first, spec = model.module_.prepare.matrix.clone(), model.module_.spec
    model.partial_fit(X[90:], y[90:])
    assert model.n_iter_ == 0
    recipe = Recipe(spec.shrinkage, spec.power, spec.novelty)
    assert model.module_.spec.get_params() == spec.get_params()
    moments = FoldMoments.of(X, y, np.ones(len(y)), 6, np.zeros(len(y), int)).without()
    expected = Whitening(moments).matrix(recipe, n_components or 40)
    found = model.module_.prepare.matrix.numpy()
    assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)
    assert torch.dist(model.module_.prepare.matrix, first) < 0.5 * first.norm()
    if n_components is None:
        assert_allclose(found, expected, atol=1e-4)


def test_search_trains_on_each_call_where_epochs_are_asked_for():
    X, y = vectors()
    model = HUGEmbedder("vectors", max_epochs=6, random_state=0)
    model.partial_fit(X[:90], y[:90], np.unique(y))
    weights = model.module_.body.weight.clone()
    model.partial_fit(X[90:], y[90:])
    assert model.n_iter_ == 2
    assert not torch.equal(model.module_.body.weight, weights)


def test_a_recipe_that_the_first_call_chose_stays():
    X, y = vectors(n_classes=12)
    model = HUGEmbedder("vectors", random_state=0).partial_fit(X, y)
    model.module_.spec.set_params(shrinkage=0.9)  # as if other rows had chosen it
    assert model.partial_fit(X, y).module_.spec.shrinkage == 0.9


def test_a_class_that_comes_late_gets_its_place():
    X, y = vectors()
    model = HUGEmbedder("vectors", random_state=0)
    model.partial_fit(X[y < 4], y[y < 4], np.unique(y))
    model.partial_fit(X[y >= 2], y[y >= 2])
    z = model.transform(X)
    own = np.array([z[y == c].mean(0) @ model.proxies_.T for c in range(6)])
    assert_array_equal(own.argmax(1), np.arange(6))


# --- fits that start warm -------------------------------------------------------------------


def test_a_warm_start_solves_anew_for_its_rows():
    X, y = vectors()
    model = HUGClassifier("vectors", warm_start=True, random_state=0).fit(X[:60], y[:60])
    model.fit(X[60:], y[60:])
    anew = HUGClassifier("vectors", random_state=0).fit(X[60:], y[60:])
    assert_allclose(model.predict_proba(X), anew.predict_proba(X), atol=1e-9)


def test_a_warm_start_of_search_keeps_its_map():
    X, y = vectors()
    model = HUGEmbedder(warm_start=True, max_epochs=6, random_state=0).fit(X, y)
    model.set_params(learning_rate=1e-9)
    weights = model.module_.body.weight.clone()
    assert weights.abs().max() > 1e-5
    model.fit(X[:60], y[:60])
    assert_allclose(model.module_.body.weight.detach(), weights.detach(), atol=1e-6)
    assert isinstance(model.module_.spec, Vectors)


def test_a_map_that_was_chosen_goes_on():
    X, y = vectors(n_classes=12)
    model = HUGEmbedder(Vectors(strength=0.5), random_state=0).partial_fit(X, y)
    weights = model.module_.body.weight.clone()
    assert weights.any()
    model.set_params(encoder="vectors").partial_fit(X[:60], y[:60])
    assert torch.equal(model.module_.body.weight, weights)
    assert model.module_.spec.strength == model.module_.body.strength == 0.5
    model.set_params(warm_start=True).fit(X, y)
    assert model.module_.spec.strength == model.module_.body.strength == 0.5
