"""Repeated steps, with a graph that does again what it was told to."""

import pytest
import torch

from skhug._data.batches import Batches
from skhug._data.prepare import Cast
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.cuda_graph import CapturedStep, acceleration
from skhug._training.loop import as_it_is, train
from skhug._training.objective import Objective
from skhug._training.state import TrainingState
from skhug.encoders import MLP
from skhug.encoders._encoder import build_body
from skhug.losses import MGD, MHE, MHS, HUGLoss
from skhug.optimizers import SCHEDULES, SGD
from skhug.proxies import optimal_proxies


class Again:
    """Graph of the CPU: recording does nothing, and replaying does the recorded work."""

    def __init__(self):
        self.calls = []

    def warm_up(self, work):
        self.calls.append("warm up")
        work()

    def record(self, work):
        self.calls.append("record")
        self.work = work

    def replay(self):
        self.calls.append("replay")
        self.work()


class Refusing(Again):
    def record(self, work):
        super().record(work)
        raise RuntimeError("operation not permitted when stream is capturing")


def make_state(spec, learned=False, measure=None, optimizer="adamw"):
    torch.manual_seed(0)
    body = build_body(spec, (5,), 3)
    encoder = SphereEncoder(Cast(torch.float32), body, (5,), 3, spec)
    proxies = optimal_proxies(4, 3, random_state=0).float()
    objective = Objective(encoder, proxies, HUGLoss(measure or MHE(), alpha=0.1), learned)
    return TrainingState.start(
        objective,
        optimizer,
        0,
        learning_rate=0.01,
        proxy_learning_rate=0.02,
        weight_decay=0.1,
    )


def trained(accelerate, n_rows=75, epochs=3, **params):
    """Train with batches of 16, the last one smaller; return the state."""
    state = make_state(MLP((6,)), **params)
    X = torch.randn(n_rows, 5, generator=torch.Generator().manual_seed(1))
    batches = Batches(X, torch.arange(n_rows) % 4, torch.ones(n_rows), torch.ones(4), 16)
    train(
        state,
        batches,
        max_epochs=epochs,
        schedule=SCHEDULES["cosine"],
        begin_epoch=lambda: None,
        end_epoch=lambda state: False,
        accelerate=accelerate,
    )
    return state


@pytest.mark.parametrize("learned", [False, True])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd", SGD(momentum=0.0)], ids=str)
@pytest.mark.parametrize("measure", [MHE(), MHS(), MGD()], ids=repr)
def test_replayed_steps_equal_eager_ones(learned, optimizer, measure):
    graph = Again()
    params = {"learned": learned, "optimizer": optimizer, "measure": measure}
    replayed = trained(lambda step: CapturedStep(step, graph), **params)
    eager = trained(as_it_is, **params)
    for a, b in zip(replayed.segments, eager.segments, strict=True):
        torch.testing.assert_close(a.values, b.values)
    for a, b in zip(replayed.history, eager.history, strict=True):
        assert a == pytest.approx(b, rel=1e-5)
    # 12 batches of 16 rows in three epochs; the three of 11 rows are done as they come.
    assert graph.calls == ["warm up"] * 3 + ["record"] + ["replay"] * 9


def test_a_step_that_cannot_be_recorded_goes_on_as_it_was():
    graph = Refusing()
    with pytest.warns(RuntimeWarning, match="could not be captured"):
        went_on = trained(lambda step: CapturedStep(step, graph))
    assert graph.calls == ["warm up"] * 3 + ["record"]
    for a, b in zip(went_on.segments, trained(as_it_is).segments, strict=True):
        torch.testing.assert_close(a.values, b.values)


def test_a_single_batch_an_epoch_is_replayed_whatever_its_size():
    graph = Again()
    trained(lambda step: CapturedStep(step, graph), n_rows=11, epochs=6)
    assert graph.calls == ["warm up"] * 3 + ["record"] + ["replay"] * 3


class OnCuda:
    """Objective as seen by what decides, its proxies on a GPU that need not be there."""

    def __init__(self, objective):
        self.encoder, self.loss = objective.encoder, objective.loss
        self.proxies = type("Proxies", (), {"device": torch.device("cuda")})


def decided(state, flops=1e6):
    state.objective = OnCuda(state.objective)
    return acceleration(state, flops)


class Own(MHE):
    """A user's measure."""


def test_only_small_steps_of_what_is_known_are_captured_and_only_on_cuda():
    known = MLP((6,))
    assert acceleration(make_state(known), 1e6) is as_it_is
    assert decided(make_state(known)) is not as_it_is
    assert decided(make_state(known), flops=1e12) is as_it_is
    assert decided(make_state(known, measure=Own())) is as_it_is
    assert decided(make_state(known, optimizer=torch.optim.AdamW)) is as_it_is
    user = make_state(known)
    user.objective.encoder.spec = None
    assert decided(user) is as_it_is
