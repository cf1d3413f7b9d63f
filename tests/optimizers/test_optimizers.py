"""Flat buffers and fused steps against torch.optim on the same parameters."""

import functools
import itertools

import pytest
import torch
from torch import nn

from skhug.optimizers import SCHEDULES, SGD, AdamW, flatten, make_stepper


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 7), nn.ReLU(), nn.Linear(7, 3)).double()


def run(model, stepper_step, zero, steps=20):
    X = torch.linspace(-1, 1, 40, dtype=torch.float64).reshape(8, 5)
    for i in range(steps):
        zero()
        model(X).square().sum().backward()
        stepper_step(1 / (1 + i))
    return [p.detach().clone() for p in model.parameters()]


def run_ours(optimizer, decay):
    model = make_model()
    segments = flatten((p, 0.05, decay if p.ndim > 1 else 0.0) for p in model.parameters())
    stepper = make_stepper(optimizer, segments)
    return run(model, stepper.step, lambda: [s.gradients.zero_() for s in segments])


def run_torch(factory, decay):
    model = make_model()
    groups = [
        {"params": [p], "weight_decay": decay if p.ndim > 1 else 0.0} for p in model.parameters()
    ]
    optimizer = factory(groups, lr=0.05)

    def step(factor):
        for group in optimizer.param_groups:
            group["lr"] = 0.05 * factor
        optimizer.step()

    return run(model, step, optimizer.zero_grad)


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        ("adamw", torch.optim.AdamW),
        (AdamW(0.8, 0.95, 1e-6), functools.partial(torch.optim.AdamW, betas=(0.8, 0.95), eps=1e-6)),
        ("sgd", functools.partial(torch.optim.SGD, momentum=0.9, nesterov=True)),
        (SGD(momentum=0.0), torch.optim.SGD),
        (
            functools.partial(torch.optim.RMSprop, alpha=0.9),
            functools.partial(torch.optim.RMSprop, alpha=0.9),
        ),
    ],
    ids=["adamw", "AdamW", "sgd", "SGD", "partial"],
)
@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_steps_equal_torch_optim(ours, torchs, decay):
    for got, expected in zip(run_ours(ours, decay), run_torch(torchs, decay), strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_what_a_partial_fixes_stands_above_the_group():
    model = make_model()
    segments = flatten((p, 0.05, 0.0) for p in model.parameters())
    stepper = make_stepper(functools.partial(torch.optim.SGD, lr=0.5), segments)
    before = segments[0].values.clone()
    segments[0].gradients.fill_(1.0)
    stepper.step(1.0)
    torch.testing.assert_close(segments[0].values, before - 0.5)


def test_flatten_makes_parameters_and_gradients_views_and_leaves_frozen_ones_out():
    model = make_model()
    model[0].requires_grad_(False)
    frozen = model[0].weight.clone()
    expected = [p.detach().clone() for p in model.parameters()]
    segments = flatten((p, 0.1, 0.0 if p.ndim == 1 else 0.2) for p in model.parameters())
    assert [s.values.numel() for s in segments] == [21, 3]
    for parameter, value in zip(model.parameters(), expected, strict=True):
        assert torch.equal(parameter, value)
    model(torch.ones(2, 5, dtype=torch.float64)).sum().backward()
    assert torch.equal(segments[0].gradients, model[2].weight.grad.reshape(-1))
    assert segments[1].gradients.abs().sum() > 0
    segments[0].values.zero_()
    assert not model[2].weight.any()
    assert torch.equal(model[0].weight, frozen)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd", torch.optim.Adam])
def test_state_survives_a_round_trip(optimizer):
    def stepped(model, segments, steppers):
        for stepper in steppers:
            for segment in segments:
                segment.gradients.copy_(torch.arange(len(segment.gradients)))
            stepper.step(1.0)
        return segments[0].values.clone()

    model = make_model()
    segments = flatten((p, 0.05, 0.0) for p in model.parameters())
    first = make_stepper(optimizer, segments)
    uninterrupted = stepped(model, segments, [first, first])

    model = make_model()
    segments = flatten((p, 0.05, 0.0) for p in model.parameters())
    first, second = make_stepper(optimizer, segments), make_stepper(optimizer, segments)
    stepped(model, segments, [first])
    second.load_state_dict(first.state_dict())
    assert torch.equal(stepped(model, segments, [second]), uninterrupted)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "cycles"])
def test_schedules_start_at_one_and_never_rise(name):
    factors = [SCHEDULES[name](i / 10) for i in range(10)]
    assert factors[0] == 1
    assert all(a >= b for a, b in itertools.pairwise(factors))
    assert min(factors) > 0
