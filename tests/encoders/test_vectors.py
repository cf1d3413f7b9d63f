"""Heads on vectors that exist already: closed forms, what is chosen, what is refused."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal
from scipy.linalg import eigh
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_digits, load_iris
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.metrics import log_loss
from sklearn.preprocessing import normalize
from sklearn.utils import estimator_checks as checks

from skhug import MLP, HUGClassifier, HUGEmbedder, Vectors, load
from skhug._data.class_moments import FoldMoments
from skhug._data.rows import Rows
from skhug._data.vector_rows import are_vectors
from skhug._defaults import resolve
from skhug._model.contrast import contrastive_gradient
from skhug._model.discriminant import (
    FORMS,
    Discriminant,
    choose,
    directions,
    discriminant,
    fit_sharpness,
    typical,
    within_classes,
)
from skhug._model.held_out_classes import (
    RECIPES,
    USUAL,
    class_average_precisions,
    class_draws,
    deal_classes,
    surely_best,
)
from skhug._model.whitening import Recipe, Whitening
from skhug.losses import MHE
from skhug.metrics import mean_average_precision_at_r
from skhug.proxies._choice import Optimal

SKIPPED = {"check_array_api_input"}


def vectors(n_classes=6, rows_a_class=20, width=40, noise=0.7, seed=0, dtype="f4"):
    """Unit rows about the classes' directions, shuffled."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((n_classes, width)) + 0.5
    y = rng.permutation(np.repeat(np.arange(n_classes), rows_a_class))
    spread = np.linspace(0.2, 2, width)
    X = centres[y] + noise * spread * rng.standard_normal((len(y), width))
    return normalize(X).astype(dtype), y


@pytest.fixture(scope="module")
def fitted():
    X, y = vectors()
    return HUGClassifier(random_state=0).fit(X, y), X, y


# --- statistics against a naive computation -------------------------------------------------


def naive_moments(X, y, weight, n_classes):
    means = np.array(
        [np.average(X[y == c], axis=0, weights=weight[y == c]) for c in range(n_classes)]
    )
    away = X - means[y]
    within = sum(w * np.outer(a, a) for w, a in zip(weight, away, strict=True)) / weight.sum()
    return means, within


@pytest.mark.parametrize("offset", [0.0, 1e3])
def test_moments_of_all_folds_but_one_are_those_of_a_loop(offset, monkeypatch):
    monkeypatch.setattr("skhug._data.class_moments._BLOCK_NUMBERS", 7 * 5)
    rng = np.random.default_rng(0)
    X, y = offset + rng.standard_normal((60, 5)), rng.integers(0, 3, 60)
    weight, folds = rng.uniform(0.5, 2, 60), rng.integers(0, 4, 60)
    moments = FoldMoments.of(X, y, weight, 3, folds)
    for fold in (None, 2):
        kept = folds != fold
        means, within = naive_moments(X[kept], y[kept], weight[kept], 3)
        found = moments.without(fold)
        assert_allclose(found.means, means, atol=1e-9 * (1 + offset))
        assert_allclose(found.within, within, atol=1e-9)
        assert_allclose(found.centre, np.average(X[kept], axis=0, weights=weight[kept]))
        covariance = np.cov(X[kept].T, aweights=weight[kept], bias=True)
        assert_allclose(found.total, covariance, atol=1e-9)


def test_one_row_a_class_has_no_covariance():
    X = 5 + np.random.default_rng(0).standard_normal((4, 3))
    moments = FoldMoments.of(X, np.arange(4), np.ones(4), 4, np.zeros(4, int)).without()
    assert not moments.within.any()


def moments_of(X, y):
    return FoldMoments.of(X, y, np.ones(len(y)), y.max() + 1, np.zeros(len(y), int)).without()


@pytest.mark.parametrize(("shrinkage", "power"), [(0.1, 0.25), (0.5, 0.5), (1.0, 0.25)])
def test_whitening_is_a_power_of_the_shrunk_covariance(shrinkage, power):
    X, y = vectors(dtype="f8", width=8)
    _, within = naive_moments(X, y, np.ones(len(y)), 6)
    shrunk = (1 - shrinkage) * within + shrinkage * np.trace(within) / 8 * np.eye(8)
    matrix = Whitening(moments_of(X, y)).matrix(Recipe(shrinkage, power, np.inf), 8)
    product = np.linalg.matrix_power(matrix, round(1 / power)) @ shrunk
    assert_allclose(product, product[0, 0] * np.eye(8), atol=1e-9 * product[0, 0])
    assert np.mean(np.linalg.svd(matrix)[1] ** 2) == pytest.approx(1)


def test_directions_weigh_by_the_likelihood_of_a_pair():
    X, y = vectors(dtype="f8", width=8, n_classes=12)
    moments, recipe = moments_of(X, y), Recipe(1e-12, 0.5, 0.2)
    found = Whitening(moments).matrix(recipe, 8)
    # Naively: axes in which the covariance within is 1, and that between is diagonal.
    _, within = naive_moments(X, y, np.ones(len(y)), 12)
    within *= len(y) / (len(y) - 12)
    between, axes = eigh(np.cov(moments.means.T), within)
    weight = (between + 0.2) / (1 + 2 * (between + 0.2))
    expected = (axes * weight) @ axes.T
    product = found @ found.T
    assert_allclose(product / np.trace(product), expected / np.trace(expected), atol=1e-8)


@pytest.mark.parametrize("recipe", [USUAL, Recipe(0.3, 0.5, 0.1), Recipe(0.1, 0.5, np.inf)])
def test_rows_that_recipes_are_compared_by_lie_as_the_module_puts_them(recipe):
    X, y = vectors(dtype="f8")
    whitening = Whitening(moments_of(X, y))
    rows = whitening.rows(whitening.turned(X), recipe)
    module = normalize((X - X.mean(0)) @ whitening.matrix(recipe, X.shape[1]))
    assert_allclose(rows @ rows.T, module @ module.T, atol=1e-9)


def test_fewer_components_are_the_directions_in_which_whitened_rows_vary_most():
    X, y = vectors(dtype="f8", width=8)
    whitening = Whitening(moments_of(X, y))
    white, few = ((X - X.mean(0)) @ whitening.matrix(USUAL, width) for width in (8, 3))
    variances = np.linalg.svd(white)[1][:3] ** 2
    assert_allclose(np.linalg.eigvalsh(few.T @ few)[::-1], variances)


def test_average_precision_of_each_class_is_the_metric_of_its_queries():
    X, y = vectors(n_classes=5, noise=3.0)
    X, y = X[:70], y[:70]
    found = class_average_precisions(X, y)
    for c in range(5):
        expected = mean_average_precision_at_r(X, y, sample_weight=y == c)
        assert found[c] == pytest.approx(expected, abs=1e-6)


def test_classes_of_one_row_are_never_held_out():
    folds = deal_classes(np.array([2, 1, 5, 2, 0, 3, 2, 9, 2]))
    assert_array_equal(folds[[1, 4]], 0)
    assert_array_equal(np.bincount(folds)[1:], [3, 2, 2])
    assert deal_classes(np.array([2, 2, 2, 2, 2, 1])) is None


# --- the discriminant -----------------------------------------------------------------------


@pytest.mark.parametrize("shrinkage", [1.0, 0.5, 0.02])
@pytest.mark.parametrize("load_set", [vectors, lambda: load_digits(return_X_y=True)])
def test_nearest_proxies_are_scikit_learns_discriminant_analysis(load_set, shrinkage, monkeypatch):
    monkeypatch.delitem(FORMS, "even")
    X, y = load_set()
    X = np.asarray(X, "f8")
    # Its shares count in full, ours against scores as sharp as rows left out say: alike they agree.
    model = HUGClassifier(Vectors(shrinkage=shrinkage), class_weight="balanced", random_state=0)
    n_classes = len(np.unique(y))
    peer = LinearDiscriminantAnalysis(
        solver="lsqr", shrinkage=shrinkage, priors=np.full(n_classes, 1 / n_classes)
    )
    counts = np.bincount(y)
    rows = np.concatenate([np.flatnonzero(y == c)[: counts.min()] for c in range(n_classes)])
    model.fit(X[rows], y[rows])
    peer.fit(X[rows], y[rows])
    assert np.mean(model.predict(X) == peer.predict(X)) > 0.999


def test_even_scores_are_those_of_a_loop():
    X, y = vectors(n_classes=4, rows_a_class=9, width=7, dtype="f8")
    X, y = X[y.argsort()][3:], np.sort(y)[3:]  # classes of 6 and of 9 rows
    moments = FoldMoments.of(X, y, np.ones(len(y)), 4, np.zeros(len(y), int)).without()
    weights, bias = discriminant(moments, Discriminant(0.5, 3.0, "even"))
    _, within = naive_moments(X, y, np.ones(len(y)), 4)
    within *= len(y) / (len(y) - 4)
    shrunk = 0.5 * within + 0.5 * np.trace(within) / 7 * np.eye(7)
    inverse = np.linalg.inv(shrunk)
    means = [X[y == c].mean(0) - X.mean(0) for c in range(4)]
    mean_square = np.mean([m @ inverse @ m for m in means])
    for c, m in enumerate(means):
        square, n = m @ inverse @ m, np.sum(y == c)
        length = np.sqrt(square / mean_square)
        assert_allclose(weights[c], 3 * inverse @ m / length)
        by_chance = np.trace(inverse @ within) / n
        kept = max(square - by_chance, 0.1 * square)
        assert_allclose(bias[c], -3 * kept / 4 / length + np.log(n / len(y)))


def test_the_form_of_the_scores_is_the_better_one_on_rows_left_out():
    X, y = vectors(rows_a_class=60, noise=2.0, dtype="f8")
    lengths = np.linspace(0.1, 1, 6)[:, None]
    normal = np.random.default_rng(0).standard_normal((len(y), 40)) * 3
    normal += (lengths * np.random.default_rng(1).standard_normal((6, 40)))[y]
    chosen = []
    for rows in (X, normal):
        folds = np.arange(len(y)) % 5
        moments = FoldMoments.of(rows, y, np.ones(len(y)), 6, folds)
        chosen.append(choose(moments, rows, y, np.ones(len(y)), folds).form)
    assert chosen == ["even", "normal"]


def test_probabilities_are_the_softmax_of_scores_and_shares(fitted):
    model, X, _ = fitted
    logits = X.astype("f8") - model.module_.prepare.shift.numpy()
    body = model.module_.body
    logits = logits @ body.weight.detach().numpy().T.astype("f8") + body.bias.detach().numpy()
    logits = logits @ model.proxies_.T
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    assert_allclose(model.predict_proba(X), expected, atol=1e-4)
    assert_array_equal(model.predict(X), expected.argmax(1))


def test_an_imbalanced_fit_has_the_classes_shares():
    X, y = vectors(n_classes=3, rows_a_class=200, noise=6.0)
    rows = np.r_[np.flatnonzero(y == 0), np.flatnonzero(y == 1)[:20], np.flatnonzero(y == 2)[:20]]
    plain = HUGClassifier(Vectors(), random_state=0).fit(X[rows], y[rows])
    balanced = clone(plain).set_params(class_weight="balanced").fit(X[rows], y[rows])
    share = plain.predict_proba(X)[:, 0].mean(), balanced.predict_proba(X)[:, 0].mean()
    assert share[0] > share[1] + 0.1


@pytest.mark.parametrize("rows_a_class", [1, 2, 5])
def test_few_rows_a_class_are_enough(rows_a_class):
    X, y = vectors(rows_a_class=30)
    train = np.concatenate([np.flatnonzero(y == c)[:rows_a_class] for c in range(6)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # as many classes as rows
        model = HUGClassifier(random_state=0).fit(X[train], y[train])
    assert isinstance(model.module_.spec, Vectors)
    test = np.setdiff1d(np.arange(len(y)), train)
    assert model.score(X[test], y[test]) > 0.5
    assert log_loss(y[test], model.predict_proba(X[test])) < np.log(6)


def weak_vectors(seed, n_classes=6, rows_a_class=60, width=64):
    """Unit rows that vary in few directions, and by far more within classes than between them."""
    rng = np.random.default_rng(seed)
    scale = 0.7 ** np.arange(width)
    y = rng.permutation(np.repeat(np.arange(n_classes), rows_a_class))
    centres = 0.9 * rng.standard_normal((n_classes, width))
    X = 2 * rng.uniform(0.5, 1, width) / 8
    X = X + 0.5 * scale * (centres[y] + rng.standard_normal((len(y), width)))
    return normalize(X).astype("f4"), y


@pytest.mark.parametrize("rows_a_class", [1, 2, 4])
def test_few_rows_of_weak_vectors_are_hardly_worse_than_the_shares(rows_a_class):
    losses = []
    for seed in range(8):
        X, y = weak_vectors(seed)
        few = np.concatenate([np.flatnonzero(y == c)[:rows_a_class] for c in range(6)])
        test = np.setdiff1d(np.arange(len(y)), few)
        model = HUGClassifier("vectors", random_state=0).fit(X[few], y[few])
        losses.append(log_loss(y[test], model.predict_proba(X[test])))
    assert np.mean(losses) < np.log(6) + 0.15


@pytest.mark.parametrize("rows_a_class", [2, 4])
def test_few_rows_weigh_as_often_as_they_are_repeated(rows_a_class):
    X, y = vectors(rows_a_class=rows_a_class, noise=2.0, dtype="f8")
    weight = np.random.default_rng(0).integers(1, 4, len(y))
    model = HUGClassifier("vectors", random_state=0)
    weighted = clone(model).fit(X, y, sample_weight=weight).predict_proba(X)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(weighted, repeated.predict_proba(X), atol=1e-5)


def test_rows_in_few_directions_are_worth_few_features():
    rng = np.random.default_rng(0)
    few = np.zeros((7, 50))
    few[:, :3] = rng.standard_normal((7, 3))
    variances = np.linalg.eigvalsh(np.cov(few.T))
    features = 2 * variances.sum() ** 2 / np.sum(variances**2)
    assert features < 6
    assert typical(moments_of(few, np.arange(7))).sharpness == pytest.approx(features / 50)
    many = rng.standard_normal((30, 50))
    assert typical(moments_of(many, np.arange(30))).sharpness == 12 / 50


def test_a_covariance_of_little_freedom_is_filled_up_by_a_guess():
    X, y = vectors(n_classes=11, rows_a_class=1, width=8, dtype="f8")
    X, y = np.r_[X, X[:1] + 0.1], np.r_[y, y[0]]
    moments = moments_of(X, y)
    # One degree of freedom, and three are a quarter of the rows: the guess counts as two.
    guess = 2 * np.trace(np.cov(X.T, bias=True)) / 8 * np.eye(8)
    expected = (12 * naive_moments(X, y, np.ones(12), 11)[1] + 2 * guess) / 3
    assert_allclose(within_classes(moments), expected, atol=1e-12)


def test_the_sharpness_makes_up_for_the_means_of_fewer_rows_in_folds(monkeypatch):
    monkeypatch.delitem(FORMS, "normal")
    X, y = vectors(rows_a_class=2, noise=2.0, dtype="f8")
    ones, folds = np.ones(len(y)), np.empty(len(y), int)
    folds[y.argsort()] = np.arange(len(y)) % 4
    moments = FoldMoments.of(X, y, ones, 6, folds)
    whole, spectrum = moments.without(), np.linalg.eigvalsh(within_classes(moments.without()))
    scores, squares = np.empty((len(y), 6)), np.empty((2, len(y)))
    for fold in range(4):
        out, rest = folds == fold, moments.without(fold)
        found = directions(rest, 0.5, spectrum)
        weights, bias = FORMS["even"](found)
        scores[out] = (X[out] - rest.centre) @ weights.T + bias
        squares[0, out] = found.squares[y[out]] + found.squares.mean()
    found = directions(whole, 0.5, spectrum)
    squares[1] = found.squares[y] + found.squares.mean()
    of_folds, _ = fit_sharpness(scores, y, ones, np.log(whole.shares), typical(whole).sharpness)
    longer = squares[0].sum() / squares[1].sum()
    assert longer > 1.1
    chosen = choose(moments, X, y, ones, folds, (0.5,))
    assert chosen.sharpness == pytest.approx(of_folds * longer)


@pytest.mark.parametrize(("rows_a_class", "kept"), [(2, False), (60, True)])
def test_a_weak_shrinkage_chosen_by_few_rows_has_to_be_clearly_better(
    rows_a_class, kept, monkeypatch
):
    X, y = vectors(rows_a_class=rows_a_class, noise=0.7, width=16, dtype="f8")
    folds = np.empty(len(y), int)
    folds[y.argsort()] = np.arange(len(y)) % 5
    moments = FoldMoments.of(X, y, np.ones(len(y)), 6, folds)
    chosen = choose(moments, X, y, np.ones(len(y)), folds).shrinkage
    monkeypatch.setattr("skhug._model.discriminant._PULL_SHRINKAGE", 0.0)
    freely = choose(moments, X, y, np.ones(len(y)), folds).shrinkage
    assert freely < 0.95
    assert (chosen == freely) == kept
    assert kept or chosen > freely


def test_two_classes_and_fewer_components_than_a_simplex_needs():
    X, y = vectors(n_classes=2)
    assert HUGClassifier(random_state=0).fit(X, y).score(X, y) > 0.95
    X, y = vectors(n_classes=6)
    narrow = HUGClassifier(n_components=2, random_state=0).fit(X, y)
    assert narrow.transform(X).shape == (len(X), 2)
    assert narrow.score(X, y) > 0.4


def test_weights_count_as_rows():
    X, y = vectors(rows_a_class=10, dtype="f8")
    weight = np.random.default_rng(0).integers(0, 4, len(y))
    model = HUGClassifier(Vectors(shrinkage=0.5), random_state=0)
    weighted = clone(model).fit(X, y, sample_weight=weight)
    repeated = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight))
    assert_allclose(weighted.module_.prepare.shift, repeated.module_.prepare.shift)
    # The sharpness is chosen by folds, which differ; directions are not.
    pair = [m.module_.body.weight.detach().numpy() for m in (weighted, repeated)]
    pair = [w / np.linalg.norm(w) for w in pair]
    assert_allclose(*pair, atol=1e-6)


def test_it_is_not_trained_unless_asked_to_and_calibrated_on_validation_rows(fitted):
    model, X, y = fitted
    assert model.n_iter_ == 0
    assert model.history_ == []
    trained = HUGClassifier(max_epochs=2, random_state=0).fit(X, y)
    assert [row["epoch"] for row in trained.history_] == [1, 2]
    assert isinstance(trained.module_.spec, Vectors)
    calibrated = HUGClassifier(random_state=0).fit(X[:80], y[:80], X_val=X[80:], y_val=y[80:])
    assert calibrated.sharpness_ != HUGClassifier(random_state=0).fit(X[:80], y[:80]).sharpness_
    assert HUGClassifier(early_stopping=True, random_state=0).fit(X, y).score(X, y) > 0.9


def test_a_fit_of_another_kind_leaves_no_number_of_the_former(fitted):
    model, X, y = fitted
    model = pickle.loads(pickle.dumps(model))
    model.set_params(encoder="mlp", max_epochs=2).fit(X, y)
    assert not hasattr(model, "sharpness_")
    assert hasattr(model, "power_")
    model.set_params(encoder="vectors").fit(X, y)
    assert hasattr(model, "sharpness_")
    assert not hasattr(model, "power_")


# --- search ---------------------------------------------------------------------------------


def test_search_is_a_closed_form_and_says_which():
    X, y = vectors(n_classes=4)
    model = HUGEmbedder(random_state=0).fit(X, y)
    assert (model.n_iter_, model.history_) == (0, [])
    spec = model.module_.spec
    assert Recipe(spec.shrinkage, spec.power, spec.novelty) == USUAL
    assert "novelty=0.3" in repr(spec)
    white = normalize((X - X.mean(0)) @ Whitening(moments_of(X, y)).matrix(USUAL, X.shape[1]))
    assert_allclose(model.transform(X), white, atol=1e-5)
    assert model.get_params()["encoder"] == "auto"


def test_training_adds_a_residual_where_it_is_asked_for():
    X, y = vectors()
    start = HUGEmbedder(random_state=0).fit(X, y)
    trained = HUGEmbedder(max_epochs=6, random_state=0).fit(X, y)
    assert trained.n_iter_ == 6
    assert 1e-4 < np.abs(trained.transform(X) - start.transform(X)).max() < 0.3


def within_classes_only(seed, n_classes=40, width=32):
    """Rows whose classes differ in few directions, and vary by far more in others."""
    rng = np.random.default_rng(seed)
    y = rng.permutation(np.repeat(np.arange(n_classes), 12))
    scale = np.r_[np.full(8, 1.0), np.full(width - 8, 0.2)]
    noise = np.r_[np.full(8, 0.3), np.full(width - 8, 1.5)]
    X = (scale * rng.standard_normal((n_classes, width)))[y]
    return normalize(X + noise * rng.standard_normal(X.shape)).astype("f4"), y


def test_classes_held_out_choose_a_stronger_whitening_where_it_finds_more():
    X, y = within_classes_only(0)
    seen = y < 25
    model = HUGEmbedder(random_state=0).fit(X[seen], y[seen])
    spec = model.module_.spec
    assert spec.power == 0.5
    assert spec.shrinkage < 0.5
    usual = HUGEmbedder(Vectors(**USUAL._asdict()), random_state=0).fit(X[seen], y[seen])
    scores = [m.score(X[~seen], y[~seen]) for m in (model, usual)]
    assert scores[0] > scores[1] + 0.05


def test_a_power_of_zero_leaves_rows_as_they_are():
    X, y = vectors()
    model = HUGEmbedder(Vectors(power=0.0), random_state=0).fit(X, y)
    assert_allclose(model.transform(X), X, atol=1e-6)


def test_few_classes_do_not_overrule_what_is_usual():
    # Noise alone: of any number of recipes one is best by chance.
    chosen = []
    for seed in range(5):
        X, y = vectors(n_classes=8, noise=8.0, seed=seed)
        spec = HUGEmbedder(random_state=0).fit(X, y).module_.spec
        chosen.append(Recipe(spec.shrinkage, spec.power, spec.novelty) == USUAL)
    assert sum(chosen) >= 3


def test_what_is_given_is_not_chosen():
    X, y = within_classes_only(0)
    spec = HUGEmbedder(Vectors(power=0.25, novelty=1.0)).fit(X, y).module_.spec
    assert (spec.power, spec.novelty) == (0.25, 1.0)
    assert {r.power for r in RECIPES} == {0.0, 0.25, 0.5}


def test_the_choice_is_the_same_for_any_random_state_and_order():
    X, y = within_classes_only(1)
    specs = [
        repr(HUGEmbedder(random_state=seed).fit(X[order], y[order]).module_.spec)
        for seed, order in ((0, slice(None)), (1, slice(None, None, -1)))
    ]
    assert specs[0] == specs[1]


def test_the_gradient_of_the_map_is_that_of_the_supervised_contrastive_loss():
    rng = np.random.default_rng(0)
    u, y = rng.standard_normal((12, 5)), np.repeat([0, 1, 2], [2, 4, 6])
    rows = torch.from_numpy(u).requires_grad_()
    z = rows / rows.norm(dim=1, keepdim=True)
    loss = 0.0
    for i in range(12):
        others = [j for j in range(12) if j != i]
        all_of_them = torch.logsumexp(10 * z[others] @ z[i], 0)
        own = [j for j in others if y[j] == y[i]]
        loss = loss - (10 * z[own] @ z[i] - all_of_them).mean() / 12
    loss.backward()
    assert_allclose(contrastive_gradient(u, y), rows.grad, atol=1e-6)


def test_a_row_of_zeros_has_no_gradient_of_the_map_and_spoils_no_other():
    u = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    u[0] = 0
    gradient = contrastive_gradient(u, np.array([0, 0, 1, 1]))
    assert_array_equal(gradient[0], 0)
    assert np.isfinite(gradient).all()


def test_draws_are_of_the_classes_asked_for_and_bounded():
    y = np.random.default_rng(0).integers(0, 100, 20_000)
    draws = list(class_draws(y, np.arange(10, 95), 3))
    for drawn in draws:
        count = np.bincount(y[drawn], minlength=100)
        assert set(count) == {0, 16}
        assert np.count_nonzero(count) == 64
        assert not count[:10].any()
        assert not count[95:].any()
    assert len(np.unique(np.concatenate(draws))) > 1.5 * 1024


def test_a_choice_must_be_better_by_two_standard_errors():
    gains = np.tile([0.5, 1.5], 20)  # a standard error of 0.08
    nothing = np.zeros(40)
    assert surely_best(np.array([nothing, gains - 0.9, gains - 0.8])) == 2
    assert surely_best(np.array([nothing, gains - 0.9])) == 0
    assert surely_best(np.array([nothing])) == 0


def test_a_map_is_taken_where_classes_held_out_are_found_better_by_it():
    X, y = within_classes_only(0)
    seen = y < 25
    raw = Vectors(power=0.0)  # directions that vary within classes alone are as long as others
    chosen, without = (
        HUGEmbedder(clone(raw).set_params(strength=t), random_state=0).fit(X[seen], y[seen])
        for t in (None, 0.0)
    )
    assert chosen.module_.spec.strength == chosen.module_.body.strength > 0
    assert without.module_.spec.strength == 0
    scores = [
        mean_average_precision_at_r(m.transform(X[~seen]), y[~seen]) for m in (chosen, without)
    ]
    assert scores[0] > scores[1] + 0.01
    spec = chosen.module_.spec
    given = HUGEmbedder(clone(raw).set_params(strength=spec.strength), random_state=1)
    assert_allclose(given.fit(X[seen], y[seen]).transform(X), chosen.transform(X), atol=1e-5)
    narrow = HUGEmbedder(raw, n_components=20, random_state=0).fit(X[seen], y[seen])
    assert narrow.transform(X).shape == (len(X), 20)


def test_noise_is_no_reason_for_a_map():
    taken = []
    for seed in range(4):
        X, y = vectors(n_classes=9, rows_a_class=8, noise=8.0, seed=seed)
        taken.append(HUGEmbedder(random_state=0).fit(X, y).module_.spec.strength)
    assert taken.count(None) >= 3


def test_search_of_unseen_classes_is_no_worse_than_of_raw_vectors():
    gains = []
    for seed in range(3):
        X, y = vectors(n_classes=24, width=64, noise=2.0, seed=seed)
        seen = y < 16
        z = HUGEmbedder(random_state=0).fit(X[seen], y[seen]).transform(X[~seen])
        raw, found = (mean_average_precision_at_r(a, y[~seen]) for a in (X[~seen], z))
        gains.append(found - raw)
    assert np.mean(gains) > 0


def test_early_stopping_may_keep_the_start():
    X, y = vectors(n_classes=12)
    seen = y < 8
    model = HUGEmbedder(
        learning_rate=0.3, early_stopping=True, n_iter_no_change=2, random_state=0
    ).fit(X[seen], y[seen], X_val=X[~seen], y_val=y[~seen])
    assert len(model.history_) > 0
    assert not torch.any(model.module_.body.weight)


def test_what_is_set_stands_above_the_heads_own_defaults():
    X, y = vectors()
    model = HUGEmbedder(n_components=5, max_epochs=2, proxies="learned", random_state=0).fit(X, y)
    assert model.n_iter_ == 2
    assert model.transform(X).shape == (len(X), 5)
    usual = HUGEmbedder(proxies="optimal", uniformity="mhe", learning_rate=3e-3, alpha=1.0)
    settings = resolve(usual, Rows(X, y, np.ones(len(y))), np.arange(6), 0)
    assert (settings.learning_rate, settings.alpha) == (3e-3, 1.0)
    assert isinstance(settings.proxies, Optimal)
    assert settings.uniformity.repulsion == MHE().repulsion
    assert settings.max_epochs == 0
    with pytest.raises(ValueError, match="the vectors have 40 values"):
        HUGEmbedder(n_components=41).fit(X, y)


def test_a_classifier_may_have_the_head_of_search():
    X, y = vectors()
    model = HUGClassifier(Vectors(head="search"), random_state=0).fit(X, y)
    assert model.score(X, y) > 0.8
    assert hasattr(model, "power_")


def test_vectors_of_texts_are_proxies_before_there_are_many_rows():
    rng = np.random.default_rng(0)
    concepts, gap = rng.standard_normal((12, 64)), 2 * rng.standard_normal(64)
    y = rng.permutation(np.repeat(np.arange(12), 30))
    X = normalize(concepts[y] + 1.6 * rng.standard_normal((360, 64)) + gap)
    texts = normalize(concepts + 0.8 * rng.standard_normal((12, 64)) - gap)
    shots = np.concatenate([np.flatnonzero(y == c)[:2] for c in range(12)])
    test = np.setdiff1d(np.arange(360), shots)
    with_texts = HUGClassifier(Vectors(head="search"), proxies=texts - texts.mean(0))
    found = with_texts.fit(X[shots], y[shots]).score(X[test], y[test])
    assert found > np.mean((X[test] @ texts.T).argmax(1) == y[test])
    assert found > HUGClassifier().fit(X[shots], y[shots]).score(X[test], y[test])


# --- the rule of "auto" ---------------------------------------------------------------------


def test_unit_vectors_are_told_from_tables():
    X, _ = vectors()
    assert are_vectors(X)
    assert are_vectors(X[:6])
    assert not are_vectors(X[:, :31])
    assert not are_vectors(X * np.linspace(1, 2, len(X))[:, None])
    assert not are_vectors(np.eye(40, dtype="f4"))  # two values a column
    assert not are_vectors(np.random.default_rng(0).standard_normal((200, 64)))
    assert not any(are_vectors(f(return_X_y=True)[0]) for f in (load_digits, load_breast_cancer))


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_auto_takes_it_for_vectors_and_says_so(Estimator):
    X, y = vectors()
    model = Estimator(random_state=0).fit(X, y)
    assert isinstance(model.module_.spec, Vectors)
    assert model.module_.spec.head == ("search" if Estimator is HUGEmbedder else "discriminant")
    assert model.encoder == "auto"
    quick = {"max_epochs": 2, "random_state": 0}
    assert isinstance(Estimator("mlp", **quick).fit(X, y).module_.spec, MLP)
    assert isinstance(Estimator(warm_start=True, **quick).fit(X, y).module_.spec, Vectors)
    assert isinstance(Estimator(random_state=0).partial_fit(X, y).module_.spec, MLP)
    with_gap = X.copy()
    with_gap[0, 0] = np.nan
    assert isinstance(Estimator(**quick).fit(with_gap, y).module_.spec, MLP)


# --- what is refused, and what files hold ---------------------------------------------------


def test_what_cannot_be_is_refused_with_what_to_do():
    X, y = vectors()
    network = HUGClassifier("mlp", max_epochs=2, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="the fitted model is a network"):
        network.set_params(encoder="vectors").fit(X, y)
    without_sums = HUGClassifier().fit(X, y)
    del without_sums._progress
    with pytest.raises(ValueError, match="sums of its rows were not kept"):
        without_sums.partial_fit(X, y)
    with pytest.raises(ValueError, match="too large for their squares"):
        HUGClassifier("vectors").fit(X.astype("f8") * 1e200, y)
    with_gap = X.copy()
    with_gap[0, 0] = np.nan
    with pytest.raises(ValueError, match="impute"):
        HUGClassifier("vectors").fit(with_gap, y)
    with pytest.raises(ValueError, match="encoder for images"):
        HUGClassifier("vectors").fit(X.reshape(-1, 5, 8), y)


@pytest.mark.parametrize(
    ("parameters", "text"),
    [
        ({"head": "serch"}, "Did you mean search?"),
        ({"shrinkage": 0.0}, r"\(0, 1\]"),
        ({"power": 2}, r"\[0, 1\]"),
        ({"novelty": 0.0}, "above 0"),
        ({"strength": -1.0}, "0 or more"),
    ],
)
def test_parameters_out_of_range_are_refused(parameters, text):
    X, y = vectors()
    with pytest.raises(ValueError, match=text):
        HUGEmbedder(Vectors(**parameters)).fit(X, y)


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_files_and_pickles_give_the_same(Estimator, tmp_path):
    X, y = vectors()
    model = Estimator(random_state=0).fit(X, y)
    model.save(tmp_path / "model.skhug")
    for copy in (load(tmp_path / "model.skhug"), pickle.loads(pickle.dumps(model))):
        assert_array_equal(copy.transform(X), model.transform(X))
        if Estimator is HUGClassifier:
            assert_array_equal(copy.predict_proba(X), model.predict_proba(X))


@pytest.mark.parametrize("Estimator", [HUGClassifier, HUGEmbedder])
def test_graphs_compute_the_same(Estimator, tmp_path):
    pytest.importorskip("onnxruntime")
    X, y = vectors()
    Estimator(random_state=0).fit(X, y).to_onnx(tmp_path / "model.onnx", X)


def test_rows_of_a_file_are_read_in_blocks(tmp_path, monkeypatch):
    X, y = vectors()
    np.save(tmp_path / "X.npy", X)
    monkeypatch.setattr("skhug._data.sources.RESIDENT_BYTES", 1000)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    found = HUGClassifier(random_state=0).fit(mapped, y)
    monkeypatch.undo()
    assert_allclose(
        found.predict_proba(X), HUGClassifier(random_state=0).fit(X, y).predict_proba(X), atol=1e-5
    )


def test_iris_and_a_half_precision_table():
    X, y = load_iris(return_X_y=True)
    assert HUGClassifier("vectors", random_state=0).fit(X, y).score(X, y) > 0.95
    X, y = vectors()
    assert HUGClassifier(random_state=0).fit(X.astype("f2"), y).score(X, y) > 0.9


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("estimator", [HUGClassifier("vectors"), HUGEmbedder("vectors")])
def test_checks_of_scikit_learn_pass(estimator):
    results = checks.check_estimator(estimator, on_fail=None, on_skip=None)
    failed = {r["check_name"]: r for r in results if r["status"] != "passed"}
    assert set(failed) <= SKIPPED, {n: repr(r["exception"]) for n, r in failed.items()}


def test_an_infinite_novelty_is_kept_in_files(tmp_path):
    X, y = vectors()
    model = HUGEmbedder(Vectors(novelty=np.inf), random_state=0).fit(X, y)
    model.save(tmp_path / "m.skhug")
    again = load(tmp_path / "m.skhug")
    assert again.encoder.novelty == again.module_.spec.novelty == np.inf
    assert_array_equal(again.transform(X), model.transform(X))


def test_validation_rows_without_early_stopping_need_no_epoch():
    X, y = vectors(n_classes=12)
    seen = y < 8
    model = HUGEmbedder(random_state=0).fit(X[seen], y[seen], X_val=X[~seen], y_val=y[~seen])
    assert model.history_ == []


def test_rows_too_small_for_their_squares_are_told():
    X, y = vectors(dtype="f8")
    with pytest.raises(ValueError, match="too small for their squares"):
        HUGClassifier("vectors").fit(X * 1e-200, y)
    np.testing.assert_array_equal(HUGClassifier("vectors").fit(X * 1e-30, y).predict(X * 1e-30), y)
    same = np.full((20, 3), 0.1)  # rows that are equal are no such
    assert np.isfinite(HUGClassifier("vectors").fit(same, y[:20]).transform(same)).all()


def test_classes_whose_rows_are_all_alike_are_told_apart():
    X, y = np.repeat(np.eye(3, 40), 20, axis=0), np.repeat(np.arange(3), 20)
    model = HUGClassifier("vectors").fit(X, y)
    assert_array_equal(model.predict(X), y)
    assert np.isfinite(model.predict_proba(X)).all()
    assert np.isfinite(HUGEmbedder("vectors").fit(X, y).transform(X)).all()
