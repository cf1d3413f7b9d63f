"""Gradients written by hand for the built-in MLP: autograd's numbers in fewer calls."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.linalg import vecdot

from skhug._torch import ACTIVATION_BACKWARD, normalize, normalize_backward
from skhug.encoders._members import Members
from skhug.losses._within_class import contrast_features, pull_features

# From (X, y, coef) to the within-class sum; the gradients are written on the way.
Kernel = Callable[[Tensor, Tensor, Tensor], Tensor]
# From (raw, y, coef) to the sum and the gradient in raw.
Loss = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

# Beside the backward kernels, the modules' own functions; in place where the backward kernel reads
# nothing but what comes out.
_FORWARD: dict[type[nn.Module], Callable[[Tensor], Tensor]] = {
    nn.ReLU: torch.relu_,
    nn.GELU: nn.functional.gelu,
    nn.SiLU: nn.functional.silu,
    nn.Tanh: torch.tanh_,
}
# Outputs below which, and rows from which on, a CPU multiplies faster with the rows as columns.
_NARROW, _TALL = 16, 64


def find_kernel(objective: Any) -> Kernel | None:
    """Return the kernel of an objective, or None where autograd has to do the work.

    Parameters
    ----------
    objective : Objective
        With gradients laid out already: the kernel writes into them.

    Returns
    -------
    kernel : callable or None
        Takes (X, y, coef), sets the gradients and returns the within-class sum. There is one
        for plain perceptrons (linear layers and activations in turn, or a single linear layer, as
        the head of a frozen backbone is) with fixed proxies, a measure that does not repel rows
        from the others' proxies alone, and one loss, of all components.
    """
    body = objective.encoder.body
    networks = list(body.networks) if type(body) is Members else [body]
    measure = objective.loss.uniformity
    known = measure.contrasts or not measure.repulsion
    if objective.proxies.requires_grad or objective.prefixes or not known:
        return None
    if not all(_is_plain(network) for network in networks):
        return None
    kinds = [type(layer) for layer in _layers_of(networks[0])[1::2]]
    layers = zip(*(_layers_of(network)[::2] for network in networks), strict=True)
    if len(networks) == 1:
        return perceptron_kernel([_dense(*layer) for layer in layers], kinds, _loss(objective))
    stacked = [_stacked(layer) for layer in layers]
    if None in stacked:
        return None
    return shared(perceptron_kernel(stacked, kinds, _loss_of_members(objective)), len(networks))


def _is_plain(network: nn.Module) -> bool:
    """Whether these are linear layers and activations in turn, all to be trained."""
    layers = _layers_of(network)
    linear, activations = layers[::2], layers[1::2]
    return (
        len(linear) == len(activations) + 1
        and all(type(layer) is nn.Linear and layer.bias is not None for layer in linear)
        and all(type(layer) in ACTIVATION_BACKWARD for layer in activations)
        and all(repr(layer) == repr(type(layer)()) for layer in activations)  # default options
        and not any(_has_hooks(layer) for layer in layers)
        and all(p.grad is not None for p in network.parameters())
    )


def _layers_of(network: nn.Module) -> list[nn.Module]:
    """Return the layers that a network runs in turn: itself if it is no sequence."""
    return list(network) if type(network) is nn.Sequential else [network]


def _has_hooks(layer: nn.Module) -> bool:
    return bool(
        layer._forward_hooks
        or layer._forward_pre_hooks
        or layer._backward_hooks
        or layer._backward_pre_hooks
    )


class Dense(NamedTuple):
    """Parameters of a linear layer and where their gradients go.

    The weight has shape (out, in), or (members, out, in) with a bias (members, 1, out) and its
    gradient (members, out).
    """

    weight: Tensor
    bias: Tensor
    weight_gradient: Tensor
    bias_gradient: Tensor


def _dense(layer: nn.Linear) -> Dense:
    weight, bias = layer.weight, layer.bias
    return Dense(weight.detach(), bias.detach(), weight.grad, bias.grad)


def _stacked(layers: Sequence[nn.Linear]) -> Dense | None:
    """Return one layer of all members as one; None where they do not lie at equal distances."""
    parts = [_side_by_side(tensors) for tensors in zip(*map(_dense, layers), strict=True)]
    if any(part is None for part in parts):
        return None
    weight, bias, weight_gradient, bias_gradient = parts
    return Dense(weight, bias[:, None], weight_gradient, bias_gradient)


def _side_by_side(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return a view (members, *shape) of tensors that lie in one buffer at equal distances."""
    first, second = tensors[:2]
    places = [tensor.storage_offset() for tensor in tensors]
    distance = places[1] - places[0]
    regular = all(
        tensor.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and (tensor.shape, tensor.stride()) == (second.shape, second.stride())
        and place == places[0] + i * distance
        for i, (tensor, place) in enumerate(zip(tensors, places, strict=True))
    )
    if not regular:
        return None
    return first.as_strided((len(tensors), *first.shape), (distance, *first.stride()))


def _loss(objective: Any) -> Loss:
    """Return the loss of one network's outputs (batch, n_components)."""
    proxies, beta = objective.proxies.detach(), objective.loss.beta
    measure, softness = objective.loss.uniformity, objective.encoder.softness
    pull = sphere_pull(softness, measure)

    def of_own(raw: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        return pull(raw, proxies.index_select(0, y), coef)

    def of_all(raw: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        return contrast_features(raw, proxies, y, coef, measure, softness)

    rows = of_all if measure.contrasts else of_own

    def loss(raw: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        cost, g = rows(raw, y, coef)
        return coef @ cost, g if beta == 1 else g.mul_(beta)

    return loss


def _loss_of_members(objective: Any) -> Loss:
    """Return the loss of several networks' outputs (members, batch, n_components), a mean."""
    of_one = _loss(objective)

    def loss(raw: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        value, g = of_one(raw.flatten(0, 1), y.flatten(), coef.flatten())
        return value / len(raw), g.view(raw.shape)

    return loss


def shared(kernel: Kernel, n_members: int) -> Kernel:
    """Return a kernel that takes batches of members' own rows, or one batch for all of them."""

    def either(X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        if y.ndim == 1:
            coef = by_member(coef, n_members).view(n_members, -1)
            X, y = X.expand(n_members, *X.shape), y.expand(n_members, -1)
        return kernel(X, y, coef)

    return either


def by_member(coef: Tensor, n_members: int) -> Tensor:
    """Return coefficients (batch,) or (batch, members) as one row, member after member."""
    return coef.repeat(n_members) if coef.ndim == 1 else coef.T.flatten()


def perceptron_kernel(
    layers: list[Dense], activations: list[type[nn.Module]], loss: Loss
) -> Kernel:
    """Return the kernel of one perceptron, or of several side by side.

    Of several all tensors have one more axis in front. ``loss`` takes (raw, y, coef) with raw of
    shape (batch, n_components) and returns its value and the gradient in raw.
    """
    several = layers[0].weight.ndim == 3
    affine, product = (torch.baddbmm, torch.bmm) if several else (torch.addmm, torch.mm)
    weights, biases, weight_gradients, bias_gradients = zip(*layers, strict=True)
    transposed = [weight.mT for weight in weights]
    forward = [_FORWARD[kind] for kind in activations]
    backward = [ACTIVATION_BACKWARD[kind] for kind in activations]
    depth = len(layers)
    narrow = weights[-1].shape[-2] < _NARROW and weights[-1].device.type == "cpu"
    last = _turned if narrow and not several else affine

    def kernel(X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        entering, bent = [X], []  # what enters each layer; what enters each activation
        for i in range(depth - 1):
            bent.append(affine(biases[i], entering[i], transposed[i]))
            entering.append(forward[i](bent[i]))
        raw = last(biases[-1], entering[-1], transposed[-1])
        value, g = loss(raw, y, coef)
        for i in range(depth - 1, -1, -1):
            product(g.mT, entering[i], out=weight_gradients[i])
            torch.sum(g, -2, out=bias_gradients[i])
            if i > 0:
                g = backward[i - 1](product(g, weights[i]), bent[i - 1], entering[i])
        return value

    return kernel


def _turned(bias: Tensor, X: Tensor, weight: Tensor) -> Tensor:
    """Return ``X @ weight + bias`` of a weight with few columns."""
    if X.shape[0] < _TALL:
        return torch.addmm(bias, X, weight)
    return torch.addmm(bias[:, None], weight.mT, X.mT).mT.contiguous()


def in_two_parts(kernel: Kernel, gradients: list[Tensor]) -> Kernel:
    """Return a kernel that takes a batch in two parts and adds up what it writes for each."""

    def both(X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        rows = y.ndim - 1  # behind the members, where these have rows of their own
        first, second = zip(*(t.tensor_split(2, rows) for t in (X, y, coef)), strict=True)
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

    ones: dict[int, Tensor] = {}  # by the number of rows, of which there are two or three

    def pull(raw: Tensor, own: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        n = raw.shape[0]  # len() of a tensor is a call in Python
        length = ones.get(n)
        if length is None:
            length = ones[n] = raw.new_ones(n, 1)
        z, norm = normalize(raw, length)
        difference = z - own
        cost, slope = measure.pull(vecdot(difference, difference))
        # What rows count is taken for lengths that their gradients are scaled by.
        return cost, normalize_backward(difference, raw, (2 * slope * coef).unsqueeze(-1), norm)

    return pull
