"""The one place that knows torch's private names: kernels, the store of its processes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

__all__ = [
    "ACTIVATION_BACKWARD",
    "BatchNorm",
    "default_store",
    "fused_adamw",
    "fused_sgd",
    "normalize",
    "normalize_backward",
]

fused_adamw = torch._fused_adamw_
fused_sgd = torch._fused_sgd_

# Activation: backward from (gradient, input, output).
ACTIVATION_BACKWARD: dict[type[nn.Module], Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    nn.ReLU: lambda g, x, out: torch.ops.aten.threshold_backward.default(g, out, 0),
    nn.GELU: lambda g, x, out: torch.ops.aten.gelu_backward.default(g, x),
    nn.SiLU: lambda g, x, out: torch.ops.aten.silu_backward.default(g, x),
    nn.Tanh: lambda g, x, out: torch.ops.aten.tanh_backward.default(g, out),
}


def normalize(rows: Tensor, length: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows scaled to a length each, (n, 1), and the norms that they had."""
    return torch._weight_norm_interface(rows, length, 0)


def normalize_backward(gradient: Tensor, rows: Tensor, length: Tensor, norm: Tensor) -> Tensor:
    """Return the gradient in the rows of :func:`normalize`."""
    backward = torch.ops.aten._weight_norm_interface_backward.default
    return backward(gradient, rows, length, norm, 0)[0]


def default_store() -> Any:
    """Return where the processes of torch.distributed leave notes for one another."""
    from torch.distributed import distributed_c10d

    return distributed_c10d._get_default_store()
