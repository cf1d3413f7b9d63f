"""Fits with nested proxies: what is minimised, what may be combined, what survives."""

import pickle
from functools import partial

import numpy as np
import pytest
import torch
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.preprocessing import normalize
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

import skhug
from skhug import MGD, MHE, MHS, MLP, HUGClassifier, HUGEmbedder, Learned, Nested, Pretrained
from skhug._data.prepare import Cast
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.objective import Objective
from skhug._training.state import TrainingState
from skhug.losses import HUGLoss
from skhug.losses._nested import Prefix

PREFIXES = (Prefix(2, 0.5), Prefix(4, 0.2), Prefix(6, 1.0))
LEARNED = Nested((2, 4), Learned(learning_rate=0.02))


def nested(Estimator=HUGClassifier, **parameters):
    given = {"n_components": 6, "max_epochs": 3, "random_state": 0, "device": "cpu"}
    return Estimator(**{"proxies": LEARNED, **given, **parameters})


def make_state(members, learned, measure):
    torch.manual_seed(0)
    body = MLP((7,), members=members).build((5,), 6).double()
    encoder = SphereEncoder(Cast(torch.float64), body, (5,), 6, softness=2.0)
    loss = HUGLoss(measure, alpha=0.7, beta=1.9, attached=learned)
    proxies = torch.randn(4, 6, dtype=torch.float64)
    objective = Objective(encoder, proxies, loss, learned, PREFIXES)
    rates = {"learning_rate": 0.1, "proxy_learning_rate": 0.1, "weight_decay": 0.0}
    return TrainingState.start(objective, "adamw", 0, **rates)


def naive_gradients(objective, X, y, coef):
    """Autograd's numbers for the sum over members and prefixes."""
    loss, body, proxies = objective.loss, objective.encoder.body, objective.proxies
    raw = body(X)
    raw = raw if raw.ndim == 3 else raw[None]
    within = sum(
        weight * loss.within(one[:, :d], proxies[:, :d], y, coef, objective.encoder.softness)
        for one in raw
        for d, weight in PREFIXES
    )
    between = sum(weight * loss.uniformity.between(proxies[:, :d]) for d, weight in PREFIXES)
    weights = [p for p in body.parameters() if p.requires_grad]
    gradients = list(torch.autograd.grad(loss.beta * within, weights, retain_graph=True))
    if proxies.requires_grad:
        total = loss.alpha * between + loss.beta * within / len(raw)
        gradients += torch.autograd.grad(total, proxies)
    return (between.detach(), within.detach() / len(raw)), gradients


@pytest.mark.parametrize("measure", [MHE(repulsion=1.0), MHS(temperature=0.3), MGD()], ids=repr)
@pytest.mark.parametrize("learned", [True, False])
@pytest.mark.parametrize("members", [1, 3])
@pytest.mark.parametrize("parts", [1, 2])
def test_an_objective_sums_the_losses_of_prefixes(members, learned, measure, parts):
    state = make_state(members, learned, measure)
    objective = state.objective
    assert not objective.has_kernel
    objective._parts = parts
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(11, 5, generator=generator, dtype=torch.float64)
    y, coef = torch.arange(11) % 4, torch.rand(11, generator=generator, dtype=torch.float64)
    terms, gradients = naive_gradients(objective, X, y, coef)
    torch.testing.assert_close(objective.gradients(X, y, coef), terms)
    trained = [p for p in objective.parameters() if p.requires_grad]
    # The module lists its own parameter, the proxies, before the encoder's.
    order = trained[1:] + trained[:1] if learned else trained
    torch.testing.assert_close([p.grad for p in order], gradients)


def test_a_prefix_is_drawn_to_the_prefix_of_its_proxy(digits):
    X, y = digits
    points = np.random.default_rng(0).normal(size=(10, 8))
    points[:, :4] *= 0.05  # of all components these count for little

    def distance(proxies):
        model = nested(n_components=8, proxies=proxies, encoder=MLP((16,), members=1))
        model.fit(X, y)
        z, w = (normalize(a[:, :4]) for a in (model.transform(X), model.proxies_))
        return 1 - np.mean(np.sum(z * w[y], axis=1))

    assert distance(Nested((4,), points, weight=1.0)) < 0.5 * distance(points)


def test_what_is_fitted_is_of_all_components(Estimator, iris):
    X, y = iris
    model = nested(Estimator).fit(X, y)
    assert model.proxies_.shape == (3, 6)
    assert model.transform(X).shape == (150, 6)
    np.testing.assert_allclose(np.linalg.norm(model.proxies_, axis=1), 1)
    assert len(model.history_) == model.n_iter_


@pytest.mark.parametrize("proxies", ["optimal", "learned", np.eye(3, 6) + 0.1], ids=type)
def test_a_classifier_still_learns(iris, proxies):
    model = nested(proxies=Nested((2, 4), proxies), encoder=MLP((16,), members=1))
    model.set_params(max_epochs=40, learning_rate=0.02).fit(*iris)
    assert model.score(*iris) > 0.9
    assert np.allclose(model.predict_proba(iris[0]).sum(1), 1)


@pytest.mark.parametrize(
    "parameters",
    [
        {"precision": "float32"},
        {"class_weight": "balanced", "uniformity": "mgd"},
        {"encoder": MLP((8,), members=4), "early_stopping": True},
        {"encoder": Pretrained(nn.Linear(4, 5), frozen=True)},
        {"encoder": Pretrained(nn.Linear(4, 5)), "optimizer": partial(torch.optim.RMSprop)},
        {"encoder": nn.Linear(4, 6), "n_components": None, "track": "nc"},
        {"uniformity": MHE(n_sampled=2), "proxies": Nested((3, 6), Learned(attached=False))},
    ],
    ids=["float32", "balanced", "members", "frozen", "torch", "module", "detached"],
)
def test_nested_proxies_go_with_other_parameters(Estimator, iris, parameters):
    X, y = iris
    weight = np.arange(len(y)) % 3
    model = nested(Estimator, **parameters).fit(X, y, sample_weight=weight)
    assert np.isfinite(model.transform(X)).all()
    assert np.isfinite(model.loss_)


def test_a_stream_goes_on_from_a_file_and_from_a_pickle(Estimator, iris, tmp_path):
    X, y = iris
    whole, half = nested(Estimator), nested(Estimator)
    for model, calls in ((whole, 4), (half, 2)):
        for _ in range(calls):
            model.partial_fit(X, y)
    half.save(tmp_path / "half")
    for again in (skhug.load(tmp_path / "half"), pickle.loads(pickle.dumps(half))):
        assert again.get_params()["proxies__proxies__learning_rate"] == 0.02
        assert tuple(again.proxies.prefixes) == (2, 4)
        for _ in range(2):
            again.partial_fit(X, y)
        assert np.array_equal(again.transform(X), whole.transform(X))
        assert again.history_ == whole.history_


@pytest.mark.parametrize("proxies", [LEARNED, Nested((2, 4))], ids=["learned", "optimal"])
def test_a_warm_start_goes_on_with_the_same_proxies(iris, proxies):
    model = nested(proxies=proxies, warm_start=True).fit(*iris)
    before, loss = model.proxies_, model.loss_
    model.fit(*iris)
    assert model.loss_ < loss
    if proxies is not LEARNED:
        assert np.array_equal(model.proxies_, before)


def test_a_grid_search_reaches_inside(iris):
    grid = {"proxies__prefixes": [(2,), (2, 4)], "proxies__proxies__learning_rate": [0.01, 0.1]}
    search = GridSearchCV(nested(HUGEmbedder, max_epochs=1), grid, cv=StratifiedKFold(2)).fit(*iris)
    assert len(search.cv_results_["params"]) == 4
    assert np.isfinite(search.best_score_)


# scikit-learn sets n_components=1 in these, and no prefix fits in there.
IN_ONE_COMPONENT = [
    "check_dont_overwrite_parameters",
    "check_fit2d_1feature",
    "check_fit2d_predict1d",
    "check_methods_sample_order_invariance",
    "check_methods_subset_invariance",
]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_scikit_learn_passes_that_leaves_the_components_alone(Estimator):
    model = nested(Estimator, encoder=MLP(members=1), max_epochs=40)
    expected = dict.fromkeys(IN_ONE_COMPONENT, "n_components=1 and Nested")
    results = check_estimator(model, on_fail=None, on_skip=None, expected_failed_checks=expected)
    failed = [r["check_name"] for r in results if r["status"] == "failed"]
    assert failed == []
