"""The repulsion from all proxies, a row's own among them, and the classes' shares in it."""

import math

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import load_iris
from torch.nn import functional as F

import skhug
from skhug import MLP, BalancedBatches, HUGClassifier, HUGEmbedder, Learned
from skhug.losses import MHE, HUGLoss
from skhug.proxies import optimal_proxies

SHARES = (0.5, 0.3, 0.15, 0.05)
MEASURES = [
    MHE(repulsion=2.0, repulsion_over="all"),
    MHE(repulsion=0.7, repulsion_over="all", repulsion_scale=3.0, s_within=-1.0),
    MHE(repulsion=1.5, repulsion_over="all", s_within=-4.0, prior=SHARES),
]


def a_batch(dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(9, 3, generator=generator, dtype=dtype)
    w = torch.randn(4, 3, generator=generator, dtype=dtype)
    coef = torch.rand(9, generator=generator, dtype=dtype)
    return x, w, torch.arange(9) % 3, coef


def naive(measure, x, w, y, coef, softness):
    """Row by row and class by class."""
    n_classes = len(w)
    shares = [1 / n_classes] * n_classes if measure.prior is None else measure.prior
    scale, total = measure.repulsion_scale, 0.0
    for i in range(len(x)):
        z = x[i] / (x[i].square().sum() + softness).sqrt()
        products = [z @ w[c] / w[c].norm() for c in range(n_classes)]
        pull = (2 - 2 * products[y[i]]) ** (-measure.s_within / 2)
        inside = sum(shares[c] * (scale * products[c]).exp() for c in range(n_classes))
        total = total + coef[i] * (pull + measure.repulsion * inside.log() / scale)
    return total


@pytest.mark.parametrize("softness", [0.0, 2.0])
@pytest.mark.parametrize("measure", MEASURES, ids=repr)
def test_it_equals_naive_loops_and_so_do_its_gradients(measure, softness):
    x, w, y, coef = a_batch()
    leaves = x.requires_grad_(), w.requires_grad_()
    value = HUGLoss(measure).within(x, w, y, coef, softness)
    expected = naive(measure, x, w, y, coef, softness)
    torch.testing.assert_close(value, expected)
    for got, wanted in zip(
        torch.autograd.grad(value, leaves), torch.autograd.grad(expected, leaves), strict=True
    ):
        torch.testing.assert_close(got, wanted)


@pytest.mark.parametrize("measure", MEASURES, ids=repr)
def test_gradients_pass_gradcheck(measure):
    x, w, y, coef = a_batch()
    loss = HUGLoss(measure, alpha=0.3, beta=1.4)

    def value(a, b):
        return loss.terms(a, b, y, coef, 0.5).loss

    assert torch.autograd.gradcheck(value, (x.requires_grad_(), w.requires_grad_()))


@pytest.mark.parametrize("softness", [0.0, 100.0])
@pytest.mark.parametrize("shares", [None, (0.5, 0.3, 0.15, 0.04, 0.01)])
def test_with_its_own_class_in_the_sum_it_is_cross_entropy_on_fixed_proxies(shares, softness):
    # docs/theory.md: (s / 2) L = CE(s <z, w_c> + log share_c) + a constant.
    scale = 5.0
    measure = MHE(repulsion=2.0, repulsion_over="all", repulsion_scale=scale, prior=shares)
    generator = torch.Generator().manual_seed(0)
    x = 5 * torch.randn(12, 4, generator=generator, dtype=torch.float64)
    w, y = optimal_proxies(5, 4), torch.arange(12) % 5
    coef = torch.full((12,), 1 / 12, dtype=torch.float64)
    ours = scale / 2 * HUGLoss(measure).within(x, w, y, coef, softness)
    z = x / (x.square().sum(1, keepdim=True) + softness).sqrt()
    log_prior = torch.tensor(shares or [1 / 5] * 5, dtype=torch.float64).log()
    softmax = F.cross_entropy(scale * z @ w.T + log_prior, y)
    own = log_prior[y].mean()
    torch.testing.assert_close(ours, softmax + own + scale)


def test_on_a_simplex_label_smoothing_is_a_larger_repulsion():
    # docs/theory.md: it takes a share off the pull.
    scale, share = 5.0, 0.1
    measure = MHE(repulsion=2 / (1 - share), repulsion_over="all", repulsion_scale=scale)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(12, 4, generator=generator, dtype=torch.float64, requires_grad=True)
    w, y = optimal_proxies(5, 4), torch.arange(12) % 5
    coef = torch.full((12,), 1 / 12, dtype=torch.float64)
    ours = (1 - share) * scale / 2 * HUGLoss(measure).within(x, w, y, coef)
    smoothed = F.cross_entropy(scale * F.normalize(x) @ w.T, y, label_smoothing=share)
    torch.testing.assert_close(
        torch.autograd.grad(ours, x), torch.autograd.grad(smoothed, x), rtol=1e-6, atol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("measure", MEASURES[:2], ids=repr)
def test_value_and_gradient_are_finite_where_points_coincide(measure, dtype):
    w = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], dtype=dtype, requires_grad=True)
    x = torch.tensor([[1.0, 0.0], [0.0, 0.0], [-1.0, 0.0]], dtype=dtype, requires_grad=True)
    HUGLoss(measure)(x, torch.tensor([0, 1, 2]), w).loss.backward()
    assert x.grad.isfinite().all()
    assert x.grad[0].abs().max() < 10  # a row on its proxy is at rest, whatever rounding says
    assert w.grad.isfinite().all()


def test_a_prior_moves_the_boundary_towards_the_small_class():
    # One feature, overlapping classes of 9 to 1: the boundary of equal densities is 0.
    rng = np.random.default_rng(0)
    y = np.repeat([0, 1], [900, 100])
    X = (rng.normal(size=1000) + np.where(y == 0, -1.0, 1.0))[:, None]
    grid = np.linspace(-2, 2, 401)[:, None]

    def boundary(**params):
        measure = MHE(repulsion=2.0, repulsion_over="all", **params)
        model = HUGClassifier(
            MLP(32, members=1), uniformity=measure, max_epochs=20, random_state=0
        ).fit(X, y)
        return grid[model.predict(grid).argmax(), 0], model

    plain, _ = boundary()
    adjusted, model = boundary(prior="train")
    given, _ = boundary(prior=[0.9, 0.1])
    assert plain > 0.6  # log 9 / 2 = 1.1 for the densities
    assert abs(adjusted) < 0.4
    assert given == pytest.approx(adjusted, abs=0.02)
    # The probabilities are those of classes that are equally frequent.
    assert 0.3 < model.predict_proba([[0.0]])[0, 1] < 0.7
    assert model.uniformity.prior == "train"


def test_shares_may_be_any_numbers_in_a_row():
    x, w, y, coef = a_batch()
    expected = HUGLoss(MEASURES[2]).within(x, w, y, coef)
    for prior in (np.array(SHARES), torch.tensor(SHARES), pd.Series(SHARES, list("abcd"))):
        measure = MHE(repulsion=1.5, repulsion_over="all", s_within=-4.0, prior=prior)
        torch.testing.assert_close(HUGLoss(measure).within(x, w, y, coef), expected)


def test_shares_are_those_of_what_counts():
    X, y = load_iris(return_X_y=True)
    weight = np.where(y == 0, 4.0, 1.0)

    def fitted(prior, **params):
        measure = MHE(repulsion=2.0, repulsion_over="all", prior=prior)
        model = HUGClassifier(uniformity=measure, max_epochs=2, random_state=0, **params)
        return model.fit(X, y, sample_weight=weight).transform(X)

    np.testing.assert_allclose(fitted("train"), fitted([4, 1, 1]), atol=1e-9)
    balanced = {"class_weight": "balanced"}
    np.testing.assert_allclose(fitted("train", **balanced), fitted(None, **balanced), atol=1e-5)


@pytest.mark.parametrize(
    ("Estimator", "proxies"),
    [
        (HUGClassifier, "optimal"),
        (HUGEmbedder, "learned"),
        (HUGClassifier, Learned(momentum=0.9)),
    ],
)
def test_both_estimators_train_with_it_and_save_it(Estimator, proxies, tmp_path):
    X, y = load_iris(return_X_y=True)
    measure = MHE(repulsion=2.0, repulsion_over="all", repulsion_scale=5.0, prior=[1, 1, 2])
    model = Estimator(
        MLP(16, members=1), uniformity=measure, proxies=proxies, max_epochs=60, random_state=0
    ).fit(X, y)
    nearest = (model.transform(X) @ model.proxies_.T).argmax(1)
    assert np.mean(nearest == y) > 0.8
    model.save(tmp_path / "m.skhug")
    assert skhug.load(tmp_path / "m.skhug").uniformity.prior == [1, 1, 2]


def test_a_stream_takes_the_shares_of_its_rows():
    X, y = load_iris(return_X_y=True)
    model = HUGClassifier(
        encoder="mlp",
        uniformity=MHE(repulsion=2.0, repulsion_over="all", prior="train"),
        random_state=0,
    )
    model.partial_fit(X[:100], y[:100], classes=[0, 1, 2])  # of the third class there is no row
    model.partial_fit(X[::-1], y[::-1])
    assert math.isfinite(model.loss_)
    assert model.score(X, y) > 0.8


def test_validation_rows_of_a_class_without_training_rows_do_not_count():
    X, y = load_iris(return_X_y=True)
    measure = MHE(repulsion=2.0, repulsion_over="all", prior="train")
    model = HUGClassifier(MLP(8, members=1), uniformity=measure, max_epochs=3, random_state=0)
    known = y < 2
    found = []
    for rows in (np.arange(0, 150, 3), np.arange(0, 100, 3)):  # with the third class, and without
        model.fit(X, y, sample_weight=known.astype(float), X_val=X[rows], y_val=y[rows])
        found.append(model.predict_proba(X))
    np.testing.assert_array_equal(*found)


@pytest.mark.parametrize(
    ("measure", "message"),
    [
        (MHE(repulsion_over="own"), "repulsion_over='own': pass 'others', or 'all'"),
        (MHE(prior="train"), "acts in the sum over all classes alone: pass repulsion=2"),
        (MHE(repulsion=1.0, prior="train"), "acts in the sum over all"),
        (MHE(repulsion=1.0, repulsion_over="all", prior="balanced"), "pass None, 'train', or one"),
        (MHE(repulsion=1.0, repulsion_over="all", prior=[1, -1, 1]), "pass None, 'train', or one"),
        (MHE(repulsion=1.0, repulsion_over="all", prior=[[1, 1, 1]]), "pass None, 'train', or one"),
        (MHE(repulsion=1.0, repulsion_over="all", prior=[1, 0, 1]), "a class of share 0"),
        (MHE(repulsion=1.0, repulsion_over="all", prior=[1, 1]), "has 2 shares and there are 3"),
    ],
    ids=repr,
)
def test_what_cannot_be_is_explained(measure, message):
    X, y = load_iris(return_X_y=True)
    with pytest.raises(ValueError, match=message):
        HUGClassifier(uniformity=measure, max_epochs=1).fit(X, y)


def test_shares_of_the_rows_are_an_estimators_to_know():
    measure = MHE(repulsion=1.0, repulsion_over="all", prior="train")
    with pytest.raises(ValueError, match=r"only an estimator knows the rows"):
        HUGLoss(measure)
    X, y = load_iris(return_X_y=True)
    sampler = BalancedBatches(classes=3, samples=4)
    with pytest.raises(ValueError, match="batch_sampler draws classes alike: leave one"):
        HUGClassifier(uniformity=measure, batch_sampler=sampler, max_epochs=1).fit(X, y)
