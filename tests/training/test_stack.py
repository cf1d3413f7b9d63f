"""Fits trained as one stack: each member is what its single fit is."""

from functools import partial

import numpy as np
import pytest
import torch

from skhug import MGD, MHE, MHS, MLP, SGD, HUGClassifier
from skhug._data.rows import Rows, Task
from skhug._defaults import resolve
from skhug._process import draw_seed, seeded
from skhug._sklearn import EpochCallbacks
from skhug._training.fit import Plan, begin
from skhug._training.stack import Replica, stack_key, train_stack

SMALL = {"encoder": MLP((8,)), "batch_size": 32, "max_epochs": 5, "precision": "float64"}


def begun(model, X, y, weight=None):
    """A fit up to its first step, as the estimator begins it."""
    classes, codes = np.unique(y, return_inverse=True)
    rows = Rows(X, codes, np.ones(len(y)) if weight is None else weight)
    settings = resolve(model, rows, classes, draw_seed(model.random_state))
    plan = Plan(settings, Task(rows, None, classes), model._goal, partial(EpochCallbacks, model))
    with seeded(settings.seed, settings.device):
        state, batches = begin(plan)
    return Replica(state, batches, settings.max_epochs, settings.schedule)


def assert_members_equal_their_single_fits(models, X, y, rows, weights):
    data = [(X[i], y[i], w) for i, w in zip(rows, weights, strict=True)]
    replicas = [begun(m, *d) for m, d in zip(models, data, strict=True)]
    assert len({stack_key(replica) for replica in replicas}) == 1
    train_stack(replicas)
    for model, own, replica in zip(models, data, replicas, strict=True):
        single = model.fit(*own)
        replica.state.release()
        trained = replica.state.objective.encoder.state_dict()
        torch.testing.assert_close(trained, single.module_.state_dict(), rtol=1e-9, atol=1e-11)
        assert len(replica.state.history) == single.n_iter_
        for row, same in zip(replica.state.history, single.history_, strict=True):
            assert row == pytest.approx(same, rel=1e-9)


@pytest.mark.parametrize("optimizer", ["adamw", SGD()])
@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("hidden", [(), (8, 6)])
@pytest.mark.parametrize("weighted", [False, True])
def test_members_of_a_stack_are_their_single_fits(iris, hidden, n_components, optimizer, weighted):
    # Data that differ by rows of the last batch; seeds, rates and measures.
    jobs = [(149, 0, 1e-2, MHE()), (147, 1, 1e-2, MHS()), (150, 2, 2e-2, MHE())]
    order = np.random.RandomState(0).permutation(150)
    models = [
        HUGClassifier(**{**SMALL, "encoder": MLP(hidden)}, n_components=n_components,
                      learning_rate=rate, uniformity=measure, optimizer=optimizer,
                      random_state=seed)
        for _, seed, rate, measure in jobs
    ]  # fmt: skip
    weights = [np.linspace(1, 2, n) if weighted else None for n, *_ in jobs]
    assert_members_equal_their_single_fits(models, *iris, [order[:n] for n, *_ in jobs], weights)


@pytest.mark.parametrize(
    "values",
    [
        {"learning_rate": [1e-3, 1e-2, 3e-2]},
        {"weight_decay": [0.1, 1.0, None]},
        {"uniformity": [MHE(s_within=-1), MHE(s_within=-3.5), MGD(s_within=-1.0)]},
        {"beta": [0.5, 1.0, 3.0]},
        {"class_weight": [None, "balanced", {0: 3.0}]},
    ],
    ids=lambda values: next(iter(values)),
)
def test_members_may_differ_in_what_they_are_trained_with(iris, values):
    ((name, choices),) = values.items()
    X, y = iris
    models = [HUGClassifier(**SMALL, **{name: choice}, random_state=0) for choice in choices]
    assert_members_equal_their_single_fits(models, X, y, [slice(None)] * 3, [None] * 3)


def test_full_batches_stack_too(iris):
    models = [HUGClassifier(**{**SMALL, "batch_size": 1000}, random_state=s) for s in range(3)]
    assert_members_equal_their_single_fits(models, *iris, [slice(None)] * 3, [None] * 3)


def test_members_may_know_different_classes(digits):
    X, y = digits[0][:300], digits[1][:300]
    rows = [np.flatnonzero(y // 2 != left)[:200] for left in range(3)]
    models = [HUGClassifier(**SMALL, n_components=6, random_state=seed) for seed in range(3)]
    assert_members_equal_their_single_fits(models, X, y, rows, [None] * 3)


ALONE = {
    "dropout": {"encoder": MLP((8,), dropout=0.1)},
    "batch normalisation": {"encoder": MLP((8,), batch_norm=True)},
    "a module": {"encoder": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ELU())},
    "learned proxies": {"proxies": "learned"},
    "a measure with repulsion": {"uniformity": MHE(repulsion=1.0)},
}


@pytest.mark.parametrize("parameters", ALONE.values(), ids=ALONE)
def test_what_cannot_be_stacked_has_no_key(parameters, iris):
    assert stack_key(begun(HUGClassifier(**{**SMALL, **parameters}, random_state=0), *iris)) is None


@pytest.mark.parametrize(
    "parameters",
    [{"encoder": MLP((9,))}, {"batch_size": 16}, {"max_epochs": 6}, {"optimizer": "sgd"},
     {"precision": "float32"}, {"schedule": "constant"}],
    ids=lambda parameters: next(iter(parameters)),
)  # fmt: skip
def test_what_differs_in_form_is_no_member(parameters, iris):
    one, other = (HUGClassifier(**{**SMALL, **p}, random_state=0) for p in ({}, parameters))
    assert stack_key(begun(one, *iris)) != stack_key(begun(other, *iris))


def test_a_member_that_diverges_does_not_touch_the_others(iris):
    good, bad = (
        begun(HUGClassifier(**SMALL, optimizer="sgd", learning_rate=r, random_state=0), *iris)
        for r in (1e-2, 1e300)
    )
    train_stack([bad, good])
    single = HUGClassifier(**SMALL, optimizer="sgd", learning_rate=1e-2, random_state=0).fit(*iris)
    torch.testing.assert_close(good.state.objective.encoder.state_dict(),
                               single.module_.state_dict(), rtol=1e-9, atol=1e-11)  # fmt: skip
    assert not (bad.state.is_finite() and np.isfinite(bad.state.history[-1]["loss"]))
