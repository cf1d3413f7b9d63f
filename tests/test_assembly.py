"""What is assembled from parameters and data."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from skhug import MHE, MLP, ConvNet, ResNet
from skhug._assembly import build_objective, step_flops
from skhug._modules import Cast, NormalizeImages, SphereEncoder


@pytest.mark.parametrize("spec", [MLP((32,)), ConvNet((4, 6)), ResNet(width=4)], ids=str)
def test_operations_of_a_step_are_about_those_counted(spec):
    if isinstance(spec, MLP):
        shape, prepare = (64,), Cast(torch.float32)
    else:
        shape = (3, 8, 8)
        prepare = NormalizeImages(shape, torch.zeros(3), torch.ones(3), torch.float32)
    encoder = SphereEncoder(prepare, spec.build(shape, 5), shape, 5, spec)
    objective = build_objective(encoder, torch.eye(5), "optimal", MHE(), 1.0, 1.0)
    with FlopCounterMode(display=False) as counter:
        encoder(torch.zeros(16, *shape))
    assert step_flops(objective, 16) == pytest.approx(3 * counter.get_total_flops(), rel=0.1)
    assert all(not m._forward_hooks for m in encoder.modules() if isinstance(m, nn.Conv2d))
