"""Hand-written gradients against autograd's, and when there are none."""

import copy

import pytest
import torch
from torch import nn

from skhug._data.prepare import Cast
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.objective import Objective
from skhug._training.state import TrainingState
from skhug.encoders import MLP
from skhug.encoders._mlp import ACTIVATIONS
from skhug.losses import MGD, MHE, MHS, HUGLoss
from skhug.proxies import optimal_proxies


def make_state(body, measure=None, learned=False, n_components=3):
    encoder = SphereEncoder(Cast(torch.float64), body.double(), (5,), n_components)
    proxies = optimal_proxies(4, n_components, random_state=0)
    loss = HUGLoss(measure or MHE(), alpha=0.7, beta=1.9)
    objective = Objective(encoder, proxies, loss, learned)
    rates = {"learning_rate": 0.1, "proxy_learning_rate": 0.1, "weight_decay": 0.0}
    return TrainingState.start(objective, "adamw", 0, **rates)


def make_batch(members=1, rows=11):
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(rows, 5, generator=generator, dtype=torch.float64)
    shape = (rows, members) if members > 1 else (rows,)
    coef = torch.rand(shape, generator=generator, dtype=torch.float64)
    return X, torch.arange(rows) % 4, coef


@pytest.mark.parametrize("rows", [11, 70])  # as rows, and as columns in the last product
@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("hidden", [(), (6,), (6, 7)])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize(
    "measure",
    [
        MHE(),
        MHE(s_within=-1),
        MHE(repulsion=2.0, repulsion_over="all", prior=(4, 3, 2, 1)),
        MHS(),
        MGD(s_within=-4),
    ],
    ids=repr,
)
@pytest.mark.parametrize("members", [1, 3])
def test_the_kernel_equals_autograd(members, activation, hidden, measure, n_components, rows):
    torch.manual_seed(0)
    body = MLP(hidden, activation=activation, members=members).build((5,), n_components)
    state = make_state(body, measure, n_components=n_components)
    objective = state.objective
    assert objective._kernel is not None
    batch = make_batch(members, rows)
    terms = objective.gradients(*batch)
    by_hand = [segment.gradients.clone() for segment in state.segments]
    objective._kernel = None
    torch.testing.assert_close(terms, objective.gradients(*batch))
    torch.testing.assert_close(by_hand, [segment.gradients for segment in state.segments])


@pytest.mark.parametrize(
    "make",
    [
        lambda: make_state(MLP((6,), members=1, dropout=0.1).build((5,), 3)),
        lambda: make_state(MLP((6,), members=1, batch_norm=True).build((5,), 3)),
        lambda: make_state(nn.Sequential(nn.Linear(5, 6), nn.ELU(), nn.Linear(6, 3))),
        lambda: make_state(nn.Sequential(nn.Linear(5, 3, bias=False))),
        lambda: make_state(nn.Sequential(nn.Linear(5, 6), nn.GELU("tanh"), nn.Linear(6, 3))),
        lambda: make_state(MLP((6,), members=1).build((5,), 3), learned=True),
        lambda: make_state(MLP((6,), members=1).build((5,), 3), MHE(repulsion=1.0)),
    ],
)
def test_what_the_kernel_does_not_know_is_left_to_autograd(make):
    state = make()
    assert state.objective._kernel is None
    state.objective.gradients(*make_batch())
    assert all(segment.gradients.any() for segment in state.segments)


def test_hooks_and_frozen_layers_are_left_to_autograd():
    hooked = MLP((6,), members=1).build((5,), 3)
    hooked[0].register_forward_hook(lambda *_: None)
    frozen = MLP((6,), members=1).build((5,), 3)
    frozen[0].requires_grad_(False)
    assert make_state(hooked).objective._kernel is None
    assert make_state(frozen).objective._kernel is None


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize(
    "measure", [MHE(), MHE(repulsion=1.0), MHS(), MGD(repulsion=0.5)], ids=repr
)
def test_gradients_of_learned_proxies_equal_autograds(measure, attached):
    torch.manual_seed(0)
    state = make_state(MLP((6,), members=1).build((5,), 3), measure, learned=True)
    objective = state.objective
    objective.loss.attached = attached
    terms = objective.gradients(*make_batch())
    got = [segment.gradients.clone() for segment in state.segments]
    for segment in state.segments:
        segment.gradients.zero_()
    X, y, coef = make_batch()
    loss, encoder = objective.loss, objective.encoder
    expected = loss.terms(encoder.body(X), objective.proxies, y, coef, encoder.softness)
    expected.loss.backward()
    torch.testing.assert_close(terms, (expected.between, expected.within))
    torch.testing.assert_close(got, [segment.gradients for segment in state.segments])


def test_gradients_are_set_and_not_added():
    state = make_state(MLP((6,), members=1).build((5,), 3), learned=True)
    state.objective.gradients(*make_batch())
    once = [segment.gradients.clone() for segment in state.segments]
    state.objective.gradients(*make_batch())
    torch.testing.assert_close(once, [segment.gradients for segment in state.segments])


@pytest.mark.parametrize("learned", [False, True])
def test_members_get_the_gradients_that_they_would_get_alone(learned):
    torch.manual_seed(0)
    body = MLP((6,), members=3).build((5,), 3)
    state = make_state(body, learned=learned)
    X, y, coef = make_batch(3)
    terms = state.objective.gradients(X, y, coef)
    within, in_proxies = [], []
    for network, column in zip(body.networks, coef.unbind(1), strict=True):
        alone = make_state(copy.deepcopy(network), learned=learned)
        within.append(alone.objective.gradients(X, y, column)[1])
        expected = [p.grad for p in alone.objective.encoder.body.parameters()]
        torch.testing.assert_close([p.grad for p in network.parameters()], expected)
        in_proxies.append(alone.objective.proxies.grad)
    torch.testing.assert_close(terms[1], torch.stack(within).mean())
    if learned:
        mean = torch.stack(in_proxies).mean(0)
        torch.testing.assert_close(state.objective.proxies.grad, mean)


def test_members_may_bring_rows_of_their_own():
    torch.manual_seed(0)
    state = make_state(MLP((6,), members=3).build((5,), 3))
    X, y, coef = make_batch(3)
    coef[:4, 0] = coef[4:8, 1] = coef[7:, 2] = 0
    expected = state.objective.gradients(X, y, coef)
    gradients = [segment.gradients.clone() for segment in state.segments]
    rows = torch.stack([column.nonzero().ravel() for column in coef.unbind(1)])
    terms = state.objective.gradients(X[rows], y[rows], coef.mT.gather(1, rows))
    torch.testing.assert_close(terms, expected)
    torch.testing.assert_close(gradients, [segment.gradients for segment in state.segments])


def test_members_with_frozen_layers_are_left_to_autograd():
    body = MLP((6,), members=2).build((5,), 3)
    body.networks[1][0].requires_grad_(False)
    assert make_state(body).objective._kernel is None
