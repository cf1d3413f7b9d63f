"""Gradients written by hand for the built-in MLP: autograd's numbers in fewer calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from skhug._within import pull_rows, pull_sum

# Activation: backward from (gradient, input, output). Forward is the module's own function.
_BACKWARD: dict[type[nn.Module], Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    nn.ReLU: lambda g, x, out: torch.ops.aten.threshold_backward.default(g, out, 0),
    nn.GELU: lambda g, x, out: torch.ops.aten.gelu_backward.default(g, x),
    nn.SiLU: lambda g, x, out: torch.ops.aten.silu_backward.default(g, x),
    nn.Tanh: lambda g, x, out: torch.ops.aten.tanh_backward.default(g, out),
}
_normalize_backward = torch.ops.aten._weight_norm_interface_backward.default
_FORWARD: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu,
    nn.GELU: nn.functional.gelu,
    nn.SiLU: nn.functional.silu,
    nn.Tanh: torch.tanh,
}


def find_kernel(objective: Any) -> Callable[[Tensor, Tensor, Tensor], Tensor] | None:
    """Return the kernel of an objective, or None where autograd has to do the work.

    Parameters
    ----------
    objective : Objective
        With gradients laid out already: the kernel writes into them.

    Returns
    -------
    kernel : callable or None
        Takes (X, y, coef), sets the gradients and returns the within-class sum. There is one
        for a plain perceptron (linear layers and activations in turn) with fixed proxies and a
        measure without repulsion.
    """
    fixed = not objective.proxies.requires_grad and not objective.loss.uniformity.repulsion
    layers = list(objective.encoder.body) if type(objective.encoder.body) is nn.Sequential else []
    linear, activations = layers[::2], layers[1::2]
    plain = (
        len(linear) == len(activations) + 1
        and all(type(layer) is nn.Linear and layer.bias is not None for layer in linear)
        and all(type(layer) in _BACKWARD for layer in activations)
        and all(repr(layer) == repr(type(layer)()) for layer in activations)  # default options
        and not any(_has_hooks(layer) for layer in layers)
        and all(p.grad is not None for p in objective.encoder.body.parameters())
    )
    return _perceptron_kernel(objective, linear, activations) if fixed and plain else None


def _has_hooks(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def _perceptron_kernel(
    objective: Any, linear: list[nn.Linear], activations: list[nn.Module]
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    weights = [layer.weight.detach() for layer in linear]
    transposed = [weight.t() for weight in weights]
    biases = [layer.bias.detach() for layer in linear]
    weight_gradients = [layer.weight.grad for layer in linear]
    bias_gradients = [layer.bias.grad for layer in linear]
    forward = [_FORWARD[type(layer)] for layer in activations]
    backward = [_BACKWARD[type(layer)] for layer in activations]
    proxies, measure = objective.proxies.detach(), objective.loss.uniformity
    beta, depth = objective.loss.beta, len(linear)
    pull = _sphere_pull(objective.encoder.softness, measure)

    def kernel(X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        entering, bent = [X], []  # what enters each layer; what enters each activation
        for i in range(depth - 1):
            bent.append(torch.addmm(biases[i], entering[i], transposed[i]))
            entering.append(forward[i](bent[i]))
        raw = torch.addmm(biases[-1], entering[-1], transposed[-1])
        value, g = pull(raw, proxies.index_select(0, y), coef)
        if beta != 1:
            g.mul_(beta)
        for i in range(depth - 1, -1, -1):
            torch.mm(g.t(), entering[i], out=weight_gradients[i])
            torch.sum(g, 0, out=bias_gradients[i])
            if i > 0:
                g = backward[i - 1](torch.mm(g, weights[i]), bent[i - 1], entering[i])
        return value

    return kernel


def _sphere_pull(
    softness: float, measure: Any
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return :func:`pull_sum` of a measure, by torch's fused normalisation where that serves."""
    if softness:
        return lambda raw, own, coef: pull_sum(raw, own, coef, measure, softness)

    def pull(raw: Tensor, own: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        length = raw.new_ones(len(raw), 1)
        z, norm = torch._weight_norm_interface(raw, length, 0)
        cost, push = pull_rows(z, own, coef, measure)
        g, _ = _normalize_backward(push, raw, length, norm, 0)
        return coef @ cost, g

    return pull
