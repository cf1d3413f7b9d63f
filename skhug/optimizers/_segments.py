"""Parameters and gradients of a model as views of a few long tensors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass
class Segment:
    """Parameters that share a learning rate, a weight decay and a dtype, in one flat buffer.

    Parameters
    ----------
    parameters : list of torch.nn.Parameter
        They become views of the buffer ``values``, their gradients views of ``gradients``.
    learning_rate : float
        Above 0.
    weight_decay : float or None
        0 or more; None leaves it to a torch.optim optimizer.

    Examples
    --------
    >>> from torch import nn
    >>> from skhug.optimizers import Segment
    >>> layer = nn.Linear(3, 2)
    >>> segment = Segment([layer.weight, layer.bias], learning_rate=1e-3, weight_decay=0.0)
    >>> segment.values.shape
    torch.Size([8])
    """

    parameters: list[nn.Parameter]
    learning_rate: float
    weight_decay: float | None
    values: Tensor = field(init=False)
    gradients: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.values = torch.cat([_as_it_lies(p.detach()).reshape(-1) for p in self.parameters])
        self.gradients = torch.zeros_like(self.values)
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.numel()
            turned = _lies_by_columns(parameter)
            shape = parameter.shape[::-1] if turned else parameter.shape
            for name, flat in (("data", self.values), ("grad", self.gradients)):
                view = flat[start:stop].view(shape)
                setattr(parameter, name, view.t() if turned else view)
            start = stop


def _lies_by_columns(parameter: Tensor) -> bool:
    """Whether a matrix lies in memory column by column, which it should go on to do."""
    return parameter.ndim == 2 and not parameter.is_contiguous() and parameter.t().is_contiguous()


def _as_it_lies(parameter: Tensor) -> Tensor:
    return parameter.t() if _lies_by_columns(parameter) else parameter


def flatten(
    parameters: Iterable[tuple[nn.Parameter, float, float | None]],
) -> list[Segment]:
    """Move parameters into flat buffers; those that need no gradient stay where they are.

    Parameters
    ----------
    parameters : iterable of (parameter, learning_rate, weight_decay)
        On their device already. A decay of None is left to a torch.optim optimizer.

    Returns
    -------
    segments : list of Segment
        One for each (learning rate, weight decay, dtype), in order of appearance.

    Examples
    --------
    >>> from torch import nn
    >>> from skhug.optimizers import flatten
    >>> layer = nn.Linear(3, 2)
    >>> segments = flatten([(layer.weight, 1e-3, 2.0), (layer.bias, 1e-3, 0.0)])
    >>> [len(segment.values) for segment in segments]
    [6, 2]
    """
    groups: dict[tuple[float, float | None, torch.dtype], list[nn.Parameter]] = {}
    for parameter, rate, decay in parameters:
        if parameter.requires_grad:
            groups.setdefault((rate, decay, parameter.dtype), []).append(parameter)
    return [Segment(members, rate, decay) for (rate, decay, _), members in groups.items()]
