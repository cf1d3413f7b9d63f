"""Gradients written by hand for the built-in MLP: autograd's numbers in fewer calls."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skhug._torch import ACTIVATION_BACKWARD, normalize, normalize_backward
from skhug.losses._within_class import pull_features, pull_rows

# Beside the backward kernels, the modules' own functions.
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
        and all(type(layer) in ACTIVATION_BACKWARD for layer in activations)
        and all(repr(layer) == repr(type(layer)()) for layer in activations)  # default options
        and not any(_has_hooks(layer) for layer in layers)
        and all(p.grad is not None for p in objective.encoder.body.parameters())
    )
    return _fixed_proxy_kernel(objective, linear, activations) if fixed and plain else None


def _has_hooks(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


def _fixed_proxy_kernel(
    objective: Any, linear: list[nn.Linear], activations: list[nn.Module]
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    proxies, beta = objective.proxies.detach(), objective.loss.beta
    pull = sphere_pull(objective.encoder.softness, objective.loss.uniformity)

    def loss(raw: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        cost, g = pull(raw, proxies.index_select(0, y), coef)
        return coef @ cost, g if beta == 1 else g.mul_(beta)

    layers = [
        Dense(layer.weight.detach(), layer.bias.detach(), layer.weight.grad, layer.bias.grad)
        for layer in linear
    ]
    return perceptron_kernel(layers, [type(layer) for layer in activations], loss)


class Dense(NamedTuple):
    """Parameters of a linear layer and where their gradients go.

    The weight has shape (out, in), or (replicas, out, in) with a bias (replicas, 1, out) and
    its gradient (replicas, out).
    """

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


def perceptron_kernel(
    layers: list[Dense],
    activations: list[type[nn.Module]],
    loss: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]],
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a perceptron's kernel, of one or of a stack of replicas.

    ``loss`` takes (raw, y, coef) with raw of shape (batch, n_components) or (replicas, batch,
    n_components) and returns its value and the gradient in raw.
    """
    stacked = layers[0].weight.ndim == 3
    affine, product = (torch.baddbmm, torch.bmm) if stacked else (torch.addmm, torch.mm)
    weights, biases, weight_gradients, bias_gradients = zip(*layers, strict=True)
    transposed = [weight.mT for weight in weights]
    forward = [_FORWARD[kind] for kind in activations]
    backward = [ACTIVATION_BACKWARD[kind] for kind in activations]
    depth = len(layers)

    def kernel(X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        entering, bent = [X], []  # what enters each layer; what enters each activation
        for i in range(depth - 1):
            bent.append(affine(biases[i], entering[i], transposed[i]))
            entering.append(forward[i](bent[i]))
        raw = affine(biases[-1], entering[-1], transposed[-1])
        value, g = loss(raw, y, coef)
        for i in range(depth - 1, -1, -1):
            product(g.mT, entering[i], out=weight_gradients[i])
            torch.sum(g, -2, out=bias_gradients[i])
            if i > 0:
                g = backward[i - 1](product(g, weights[i]), bent[i - 1], entering[i])
        return value

    return kernel


def in_two_parts(
    kernel: Callable[[Tensor, Tensor, Tensor], Tensor], gradients: list[Tensor]
) -> Callable[[Tensor, Tensor, Tensor], Tensor]:
    """Return a kernel that takes a batch in two parts and adds up what it writes for each."""

    def both(X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        first, second = zip(*(t.tensor_split(2) for t in (X, y, coef)), strict=True)
        value = kernel(*first)
        written = [gradient.clone() for gradient in gradients]
        value = value + kernel(*second)
        for gradient, before in zip(gradients, written, strict=True):
            gradient.add_(before)
        return value

    return both


def sphere_pull(
    softness: float, measure: Any
) -> Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Return :func:`pull_features` of a measure, by torch's fused normalisation if that serves."""
    if softness:
        return lambda raw, own, coef: pull_features(raw, own, coef, measure, softness)

    def pull(raw: Tensor, own: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        length = raw.new_ones(len(raw), 1)
        z, norm = normalize(raw, length)
        cost, push, _ = pull_rows(z, own, coef, measure)
        return cost, normalize_backward(push, raw, length, norm)

    return pull
