"""Objectives: the operations of a step, and that other classes' fixed proxies cost it nothing."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skhug import MLP, ConvNet, HUGClassifier, Learned, ResNet
from skhug._data.prepare import Cast, NormalizeImages
from skhug._data.rows import Rows, Task
from skhug._defaults import class_weights, resolve
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.build import build_model, build_objective
from skhug._training.objective import Objective
from skhug._training.state import TrainingState
from skhug.losses import HUGLoss
from skhug.optimizers import AdamW
from skhug.proxies import random_proxies


def objective_of(n_classes, proxies="optimal", encoder=None):
    rows = Rows(np.random.RandomState(0).standard_normal((20, 5)), np.arange(20) % 2, np.ones(20))
    if isinstance(proxies, str):
        proxies = random_proxies(n_classes, 4, random_state=0)
    model = HUGClassifier(
        MLP((8,)) if encoder is None else encoder,
        n_components=None if encoder else 4,
        proxies=proxies,
        precision="float64",
        device="cpu",
    )
    classes = np.arange(n_classes)
    settings = resolve(model, rows, classes, 0)
    return build_objective(settings, *build_model(settings, Task(rows, None, classes))[:2])


def test_operations_of_a_step_grow_with_learned_proxies_only():
    assert objective_of(10).step_flops(32) == objective_of(500).step_flops(32)
    learned = [objective_of(n, Learned()).step_flops(32) for n in (10, 500)]
    assert learned[1] - learned[0] == 6 * 32 * 490 * 4


@pytest.mark.parametrize("encoder", [None, torch.nn.Linear(5, 4)], ids=["kernel", "autograd"])
def test_a_step_never_reads_the_proxies_of_other_classes(encoder):
    gradients = []
    for rest in (0.5, float("nan")):
        torch.manual_seed(0)
        objective = objective_of(300, encoder=encoder)
        objective.proxies.data[3:] = rest
        state = TrainingState.start(
            objective, AdamW(), 0, learning_rate=1e-3, proxy_learning_rate=1e-3, weight_decay=None
        )
        X = torch.linspace(-1, 1, 30, dtype=torch.float64).view(6, 5)
        objective.gradients(X, torch.arange(6) % 3, torch.full((6,), 1 / 6).double())
        gradients.append(torch.cat([segment.gradients for segment in state.segments]))
    assert gradients[0].norm() > 0
    assert torch.equal(*gradients)


@pytest.mark.parametrize("spec", [MLP((32,)), ConvNet((4, 6)), ResNet(width=4)], ids=str)
def test_operations_of_a_step_are_about_those_counted(spec):
    if isinstance(spec, MLP):
        shape, prepare = (64,), Cast(torch.float32)
    else:
        shape = (3, 8, 8)
        prepare = NormalizeImages(shape, torch.zeros(3), torch.ones(3), torch.float32)
    encoder = SphereEncoder(prepare, spec.build(shape, 5), shape, 5, spec)
    objective = Objective(encoder, torch.eye(5), HUGLoss(), False)
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(16, *shape))
    assert objective.step_flops(16) == pytest.approx(3 * counter.get_total_flops(), rel=0.1)
    assert all(not m._forward_hooks for m in encoder.modules() if isinstance(m, nn.Conv2d))


def test_balanced_weights_make_up_for_batches_without_a_class():
    y = np.repeat(np.arange(3), [900, 90, 10])
    weight = class_weights("balanced", y, np.ones(1000), np.arange(3), 50)
    rng = np.random.default_rng(0)
    batches = (rng.choice(y, 50) for _ in range(4000))
    present = np.mean([np.isin(np.arange(3), batch) for batch in batches], axis=0)
    np.testing.assert_allclose(present * weight, np.mean(present * weight), rtol=0.05)


@pytest.mark.parametrize("drawn", [0, 2000])
def test_balanced_weights_are_equal_where_every_batch_has_every_class(drawn):
    y = np.repeat(np.arange(3), [900, 90, 10])
    weight = class_weights("balanced", y, np.ones(1000), np.arange(3), drawn)
    np.testing.assert_allclose(weight, 1, rtol=1e-6)


def test_balanced_weights_go_by_the_sample_weights_of_any_scale():
    y = np.arange(60) % 3
    weight = np.array([1.0, 2.0, 6.0])[y]
    repeated = np.repeat(y, np.array([1, 2, 6])[y])
    for scale in (1e-290, 1.0, 1e290):
        np.testing.assert_allclose(
            class_weights("balanced", y, scale * weight, np.arange(3), 4),
            class_weights("balanced", repeated, np.ones(len(repeated)), np.arange(3), 4),
        )


def test_one_class_and_one_without_rows_have_balanced_weights():
    weight = class_weights("balanced", np.zeros(9, int), np.ones(9), np.arange(2), 4)
    np.testing.assert_allclose(weight, [1, 0])


def test_class_weights_of_any_scale_count_alike_and_are_finite():
    y = np.arange(9) % 3
    for scale in (1.0, 1e308, 1e-300):
        weight = class_weights({0: scale, 1: scale / 2, 2: scale}, y, np.ones(9), np.arange(3), 4)
        np.testing.assert_allclose(weight, np.array([1, 0.5, 1]) * 3 / 2.5)
    with pytest.raises(ValueError, match="must be finite"):
        class_weights({0: np.inf, 1: 1.0, 2: 1.0}, y, np.ones(9), np.arange(3), 4)
