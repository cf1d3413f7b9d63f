"""What a module gives for some rows, asked without changing its state."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from skhug.encoders._members import Members

__all__ = ["evaluate", "into_last_layer", "output_width", "repeated_weights"]


def output_width(body: nn.Module, rows: Tensor) -> int:
    """Return the number of columns that a module gives for these rows, its state unchanged."""
    if isinstance(body, Members):
        return output_width(body.networks[0], rows)
    try:
        output = evaluate(body, rows)
    except Exception as error:
        raise ValueError(
            f"the encoder failed on rows of shape {tuple(rows.shape)} and dtype {rows.dtype}: "
            f"{error}. It must take such a batch: size its first layer by them, or pass a "
            "function (input_shape, n_components) -> module that does."
        ) from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != len(rows):
        is_tensor = isinstance(output, Tensor)
        shape = tuple(output.shape) if is_tensor else f"a {type(output).__name__}"
        end = "end it with nn.Flatten() or a pooling" if is_tensor else "let it return that tensor"
        raise ValueError(
            f"the encoder returned {shape} for {len(rows)} rows: it must return one row of "
            f"n_components numbers for each, a tensor of two axes. Wrap the module and {end}."
        )
    return output.shape[1]


@torch.no_grad()
def evaluate(module: nn.Module, rows: Tensor) -> Tensor:
    """Return a module's output in evaluation mode, its own mode unchanged."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        return module(rows)
    finally:
        for part, training in modes:  # a part may have a mode of its own
            part.training = training


def into_last_layer(module: nn.Module, rows: Tensor) -> Tensor:
    """Return what the linear layer takes whose output is the module's; that, if there is none."""
    seen: list[tuple[Tensor, Tensor]] = []
    handles = [
        layer.register_forward_hook(lambda _, taken, given: seen.append((taken[0], given)))
        for layer in module.modules()
        if isinstance(layer, nn.Linear)
    ]
    try:
        output = module(rows)
    finally:
        for handle in handles:
            handle.remove()
    # A list of this call's: another thread's rows have other outputs.
    return next((taken for taken, given in seen if given is output), output)


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def repeated_weights(body: nn.Module, row_shape: tuple[int, ...]) -> int:
    """Multiplications per row that convolutions add to one for each of their weights."""
    layers = [m for m in body.modules() if isinstance(m, _CONVOLUTIONS)]
    if not layers:
        return 0
    added: list[int] = []
    handles = [
        layer.register_forward_hook(
            lambda layer, _, out: added.append(layer.weight.numel() * (out[0, 0].numel() - 1))
        )
        for layer in layers
    ]
    row = torch.zeros(1, *row_shape).to(next(body.parameters()))
    try:
        evaluate(body, row)
    finally:
        for handle in handles:
            handle.remove()
    return sum(added)
