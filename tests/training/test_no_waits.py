"""A training step never waits for its device, asks it for a value or leaves it.

What a CUDA graph forbids is found here without a GPU: steps run on torch's meta device, where code
takes the ways of an accelerator and tensors have no numbers, and modes see every operation.
"""

from contextlib import ExitStack

import numpy as np
import pytest
import torch
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from skhug import (
    MGD,
    MHE,
    MHS,
    MLP,
    ConvNet,
    HUGClassifier,
    HUGEmbedder,
    Learned,
    Nested,
    Pretrained,
    ResNet,
    Vectors,
)
from skhug._data.folds import deal_folds
from skhug._data.rows import Rows, Task
from skhug._defaults import resolve
from skhug._distributed.group import ALONE
from skhug._training import state as _state
from skhug._training.build import build_batches, build_model, build_objective
from skhug._training.frozen import stage_of
from skhug._training.loop import _make_step
from skhug._training.state import TrainingState
from skhug.augment import Affine, Compose, Cutout, HorizontalFlip, RandomCrop
from skhug.losses import _pair_sums
from skhug.optimizers import SGD, AdamW
from skhug.sampling import BalancedBatches

META = torch.device("meta")
SHAPED_BY_VALUES = {torch.Tag.data_dependent_output, torch.Tag.dynamic_output_shape}
# Waits to see whether a solver came to its end, which no tag says.
LOOKS_AT_OUTCOMES = "aten::_linalg_check_errors"
# Optimizers in one kernel, which torch has not for the meta device: they write in place.
FUSED = ("aten::_fused_adamw_", "aten::_fused_sgd_")
# What makes tensors of Python's numbers: on a GPU each is a copy from the host.
FROM_PYTHON = {torch.tensor, torch.as_tensor, torch.from_numpy, torch.Tensor.new_tensor}


class Waited(Exception):
    """An operation that no CUDA graph can hold."""


def tensors_in(tree):
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, torch.Tensor)]


def looks_at_values(function, args, kwargs):
    """Whether an operation on tensors of the device reads them before it can go on."""
    name = function.name().split(".")[0]
    if name.startswith(("aten::index", "aten::_index_put", "aten::_unsafe_index")):
        return any(t.dtype in (torch.bool, torch.uint8) for t in tensors_in(args[1:2]))
    if name == "aten::repeat_interleave" and kwargs.get("output_size") is not None:
        return False
    return name == LOOKS_AT_OUTCOMES or not SHAPED_BY_VALUES.isdisjoint(function.tags)


class NoLooks(TorchDispatchMode):
    """Refuses operations that look at values of the device, or take tensors from elsewhere.

    With ``brings`` numbers may come from the host, if nothing waits for them.
    """

    def __init__(self, brings=False):
        super().__init__()
        self.brings = brings
        self.n_operations = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        given = tensors_in((args, kwargs))
        on_device = any(t.device == META for t in given)
        if on_device and looks_at_values(function, args, kwargs):
            raise Waited(function.name())
        if len({t.device for t in given}) > 1:
            raise Waited(f"{function.name()} with tensors of several devices")
        self.n_operations += on_device
        target = kwargs.get("device")
        leaves = given and target is not None and torch.device(target) != given[0].device
        if leaves and not (self.brings and not on_device and kwargs.get("non_blocking")):
            raise Waited(f"{function.name()} to {target}")
        return None if function.name().startswith(FUSED) else function(*args, **kwargs)


class NoNumbers(TorchFunctionMode):
    """Refuses tensors of the device that are made of Python's numbers."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if function in FROM_PYTHON and result.device == META and not tensors_in(args[:1]):
            raise Waited(f"{function.__name__} of numbers on the host")
        return result


def watching(brings=False):
    """Return a context that refuses waits, and the mode that counts what it saw."""
    stack, mode = ExitStack(), NoLooks(brings)
    stack.enter_context(NoNumbers())
    stack.enter_context(mode)
    return stack, mode


ROWS, IMAGES, CLASSES = (12,), (8, 8, 3), 5
DEFAULTS = {"n_components": 6, "batch_size": 12, "max_epochs": 2, "device": "cpu"}


def training_rows(shape):
    """Random rows or images, a few of every class; weights of two sizes."""
    rng = np.random.default_rng(0)
    y = np.arange(24) % CLASSES
    X = rng.integers(0, 256, (len(y), *shape), dtype=np.uint8)
    X = X if len(shape) > 1 else X.astype(np.float32)
    return Rows(X, y, rng.choice([0.5, 1.0], len(y)))


def state_and_batches(Estimator=HUGClassifier, shape=ROWS, **parameters):
    """Return what a fit on the meta device trains; what comes before is computed on the CPU."""
    rows = training_rows(shape)
    model = Estimator(**{"encoder": MLP((7,), members=1), **DEFAULTS, **parameters})
    classes = np.arange(CLASSES)
    settings, task = resolve(model, rows, classes, 0), Task(rows, None, classes)
    encoder, proxies, _ = build_model(settings, task)
    members = encoder.n_members
    folds = None if members == 1 else deal_folds(rows, members, lambda X: X)
    stage = stage_of(settings, task, encoder)
    stage.encoder.to(META)
    objective = build_objective(settings, stage.encoder, proxies)
    batches = build_batches(settings, stage, objective, folds)
    state = TrainingState.start(
        objective,
        settings.optimizer,
        0,
        learning_rate=settings.learning_rate,
        proxy_learning_rate=settings.proxy_learning_rate,
        weight_decay=settings.weight_decay,
    )
    state.objective.train()
    return state, batches


def train_watched(**parameters):
    """Make a batch and take a step under watch; return the state and the operations of the step."""
    state, batches = state_and_batches(**parameters)
    sums, factor = torch.zeros(2, device=META), torch.ones((), device=META)
    step, epoch = _make_step(state, sums, ALONE), batches.epoch(state.generator)
    # Of inference mode's functions modes would see the whole, and not the operations inside.
    with torch.set_grad_enabled(not state.by_hand):
        next(epoch)  # with it come the order of the epoch and what all its rows count
        with watching(brings=True)[0]:
            batch = next(epoch)
        watch, mode = watching()
        with watch:
            step(*batch, factor)
    return state, mode.n_operations


@pytest.fixture(autouse=True)
def _no_look_at_what_is_finite(monkeypatch):
    """Weights of the meta device are neither finite nor not; a state looks before it starts."""
    monkeypatch.setattr(_state, "largest_magnitude", lambda tensors: 0.0)


def backbone():
    return nn.Sequential(nn.Linear(12, 8), nn.ReLU())


VECTORS = {"encoder": Vectors(), "learning_rate": 1e-3, "n_components": None}
# Name: whether gradients are written by hand, the input's shape, parameters.
ENCODERS = {
    "perceptron": (True, ROWS, {}),
    "linear": (True, ROWS, {"encoder": MLP((), members=1)}),
    "soft": (True, ROWS, {"encoder": MLP((7,), softness=0.0, members=1)}),
    "members": (True, ROWS, {"encoder": MLP((7,), members=3)}),
    "members, autograd": (False, ROWS, {"encoder": MLP((7,), dropout=0.2, members=3)}),
    "normalised": (False, ROWS, {"encoder": MLP((7,), batch_norm=True, members=1)}),
    "convnet": (False, IMAGES, {"encoder": ConvNet((4, 4))}),
    "resnet": (False, IMAGES, {"encoder": ResNet(18, width=2)}),
    "pretrained": (False, ROWS, {"encoder": Pretrained(backbone())}),
    "frozen": (True, ROWS, {"encoder": Pretrained(backbone(), frozen=True)}),
    "module": (False, ROWS, {"encoder": nn.Sequential(nn.Linear(12, 6), nn.Softplus())}),
    "discriminant": (True, ROWS, VECTORS),
    "search": (False, ROWS, {"Estimator": HUGEmbedder, **VECTORS}),
}


@pytest.mark.parametrize("name", ENCODERS)
def test_no_encoder_waits(name):
    by_hand, shape, parameters = ENCODERS[name]
    state, n_operations = train_watched(shape=shape, **parameters)
    assert state.by_hand == by_hand
    assert n_operations > 5


MEASURES = [
    MHE(),
    MHE(s=0, s_within=-1),
    MHE(s=1, s_within=-4),
    MHE(repulsion=1),
    MHE(n_sampled=3),
    MHS(),
    MHS(s_within=-2, repulsion=0.5),
    MGD(),
    MGD(eps=2, s_within=-1, repulsion=0.5),
]
NESTED = Nested((2, 4), Learned())


@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_no_measure_waits(measure):
    train_watched(uniformity=measure, proxies=Learned())


@pytest.mark.slow
@pytest.mark.parametrize("proxies", ["optimal", NESTED], ids=repr)
@pytest.mark.parametrize("measure", MEASURES, ids=str)
def test_no_measure_waits_with_other_proxies(measure, proxies):
    train_watched(uniformity=measure, proxies=proxies)


PROXIES = {
    "array": np.eye(CLASSES, 6),
    "detached": Learned(attached=False),
    "following": Learned(momentum=0.9),
    "nested": Nested((2, 4)),
    "nested, learned": NESTED,
}


@pytest.mark.parametrize("name", PROXIES)
def test_no_proxies_wait(name):
    train_watched(proxies=PROXIES[name])


@pytest.mark.parametrize("optimizer", [AdamW(), SGD(), SGD(momentum=0.0)], ids=str)
@pytest.mark.parametrize("proxies", ["optimal", "learned"])
def test_no_optimizer_waits(optimizer, proxies):
    train_watched(optimizer=optimizer, proxies=proxies)


@pytest.mark.parametrize("measure", [MHE(), MHS(), MGD()], ids=str)
def test_energies_in_tiles_do_not_wait(measure, monkeypatch):
    monkeypatch.setattr(_pair_sums, "_TILE", 2)
    train_watched(uniformity=measure, proxies="learned")


AUGMENTATIONS = [
    RandomCrop(2),
    HorizontalFlip(),
    Affine(15, 0.1, (0.9, 1.1)),
    Cutout(3),
    Compose([RandomCrop(1), HorizontalFlip()]),
]


@pytest.mark.parametrize("augment", AUGMENTATIONS, ids=repr)
def test_no_augmentation_waits(augment):
    train_watched(shape=IMAGES, encoder=ConvNet((4,)), augment=augment)


@pytest.mark.parametrize(
    "parameters",
    [{"class_weight": "balanced"}, {"batch_sampler": BalancedBatches(3, 4)}, {"batch_size": 2}],
    ids=["balanced", "sampler", "few rows"],
)
@pytest.mark.parametrize("encoder", ["perceptron", "members", "convnet"])
def test_no_batch_waits(encoder, parameters):
    _, shape, own = ENCODERS[encoder]
    train_watched(shape=shape, **{**own, **parameters})


FAULTS = {
    "item": lambda t: t.sum().item(),
    "truth": lambda t: bool(t.sum() > 0),
    "comparison": lambda t: torch.equal(t, t),
    "mask": lambda t: t[t > 0],
    "written mask": lambda t: t.clone().__setitem__(t > 0, 0.0),
    "nonzero": lambda t: t.nonzero(),
    "sizes": lambda t: t.new_zeros(3, dtype=torch.int64).bincount(minlength=3),
    "to the host": lambda t: t.cpu(),
    "from the host": lambda t: torch.ones(3).to(t.device),
    "from the host later": lambda t: torch.ones(3).to(t.device, non_blocking=True),
    "written from the host": lambda t: t.new_zeros(3).copy_(torch.ones(3)),
    "numbers": lambda t: torch.tensor([1.0, 2.0], device=t.device),
    "place on the host": lambda t: t[torch.arange(2)],
    "solver": lambda t: torch.linalg.cholesky(t.new_zeros(2, 2)),
}


class Faulty(MHE):
    """A measure that does something on the way."""

    def __init__(self, s=2.0, s_within=-2.0, fault="item"):
        super().__init__(s, s_within)
        self.fault = fault

    def pull(self, squared):
        FAULTS[self.fault](squared)
        return super().pull(squared)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(
    "encoder", ["perceptron", pytest.param("normalised", marks=pytest.mark.slow)]
)
def test_a_step_that_waits_is_caught(encoder, fault):
    _, shape, parameters = ENCODERS[encoder]
    with pytest.raises(Waited):
        train_watched(shape=shape, uniformity=Faulty(fault=fault), **parameters)


WAITING = {
    "item": lambda X, generator: X + X.max().item(),
    "mask": lambda X, generator: X.masked_select(X >= 0).view(X.shape),
    "host": lambda X, generator: X + torch.ones(len(X), 1, 1, 1).to(X),
}


@pytest.mark.parametrize("name", WAITING)
def test_an_augmentation_that_waits_is_caught(name):
    calls = []

    def augment(X, generator):
        calls.append(1)
        return X if len(calls) == 1 else WAITING[name](X, generator)

    with pytest.raises(Waited):
        train_watched(shape=IMAGES, encoder=ConvNet((4,)), augment=augment)
