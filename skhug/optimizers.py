"""Optimizers on flat buffers: parameters and gradients of a model as views of a few long tensors.

One call of a fused kernel updates a whole segment, where torch.optim loops over parameters and
imports torch's compiler stack when it is first constructed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from skhug._configured import Configured, explained
from skhug._docs import public
from skhug._torch import fused_adamw, fused_sgd

__all__ = [
    "SCHEDULES",
    "SGD",
    "AdamW",
    "Segment",
    "default_weight_decay",
    "flatten",
    "make_stepper",
]
__dir__ = public(globals())

# Factor on the learning rate as a function of the share of the training done, in [0, 1).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
}


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
        flat = [parameter.detach().reshape(-1) for parameter in self.parameters]
        self.values = torch.cat(flat)
        self.gradients = torch.zeros_like(self.values)
        start = 0
        for parameter in self.parameters:
            stop = start + parameter.numel()
            parameter.data = self.values[start:stop].view(parameter.shape)
            parameter.grad = self.gradients[start:stop].view(parameter.shape)
            start = stop


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


class AdamW(Configured):
    """Adam with decoupled weight decay (Loshchilov and Hutter 2019), by torch's fused kernel.

    Parameters
    ----------
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay of the gradient's and the squared gradient's running means, in [0, 1).
    eps : float, default=1e-8
        Added to the root of the squared gradient's mean.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.optimizers import AdamW
    >>> model = HUGClassifier(optimizer=AdamW(beta_2=0.99))
    """

    # Times the learning rate a step; strong, since only the embedding's direction counts.
    default_weight_decay = 2.0

    @explained
    def __init__(self, beta_1: float = 0.9, beta_2: float = 0.999, eps: float = 1e-8) -> None:
        self.beta_1 = beta_1
        self.beta_2 = beta_2
        self.eps = eps

    def init(self, segment: Segment) -> dict[str, Tensor]:
        """Return the state of a segment before the first step."""
        return {
            "mean": torch.zeros_like(segment.values),
            "square": torch.zeros_like(segment.values),
        }

    def step(
        self,
        segment: Segment,
        state: dict[str, Tensor],
        learning_rate: float | Tensor,
        count: Tensor,
    ) -> None:
        """Update a segment in place, for the ``count``-th time.

        A captured step brings the learning rate as a float32 tensor on the device.
        """
        fused_adamw(
            [segment.values],
            [segment.gradients],
            [state["mean"]],
            [state["square"]],
            [],
            [count],
            lr=learning_rate,
            beta1=self.beta_1,
            beta2=self.beta_2,
            weight_decay=segment.weight_decay,
            eps=self.eps,
            amsgrad=False,
            maximize=False,
        )


class SGD(Configured):
    """Stochastic gradient descent with Nesterov momentum, by torch's fused kernel.

    Weight decay is added to the gradient, as is the custom with SGD.

    Parameters
    ----------
    momentum : float, default=0.9
        In [0, 1); 0 is plain gradient descent.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.optimizers import SGD
    >>> model = HUGClassifier(optimizer=SGD(momentum=0.95), learning_rate=0.1)
    """

    default_weight_decay = 5e-4

    @explained
    def __init__(self, momentum: float = 0.9) -> None:
        self.momentum = momentum

    def init(self, segment: Segment) -> dict[str, Tensor]:
        """Return the state of a segment before the first step."""
        return {"momentum": torch.zeros_like(segment.values)}

    def step(
        self,
        segment: Segment,
        state: dict[str, Tensor],
        learning_rate: float | Tensor,
        count: Tensor,
    ) -> None:
        """Update a segment in place, for the ``count``-th time.

        A captured step brings the learning rate as a float32 tensor on the device.
        """
        fused_sgd(
            [segment.values],
            [segment.gradients],
            [state["momentum"]] if self.momentum > 0 else [],
            weight_decay=segment.weight_decay,
            momentum=self.momentum,
            lr=learning_rate,
            dampening=0.0,
            nesterov=self.momentum > 0,
            maximize=False,
            is_first_step=False,  # from a zero buffer the first step is the same
        )


NAMED = {"adamw": AdamW, "sgd": SGD}
# Known to treat every weight by itself, and to do the same in every step: a user's own may not.
BUILT_IN_OPTIMIZERS = tuple(NAMED.values())


class FlatStepper:
    """Steps an optimizer specification over segments and holds its state."""

    def __init__(self, spec: AdamW | SGD, segments: list[Segment]) -> None:
        self.spec = spec
        self._segments = segments
        self._states = [spec.init(segment) for segment in segments]
        # On the device, where a fused kernel reads it without waiting.
        self._count = segments[0].values.new_zeros((), dtype=torch.float32)
        self._one = torch.ones_like(self._count)

    def step(self, factor: float | Tensor) -> None:
        """Update every segment at ``factor`` times its learning rate."""
        self._count.add_(self._one)
        for segment, state in zip(self._segments, self._states, strict=True):
            self.spec.step(segment, state, factor * segment.learning_rate, self._count)

    def state_dict(self) -> dict[str, Any]:
        """Return the state, not copied."""
        return {"count": self._count, "segments": self._states}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Copy a state into this one."""
        self._count.copy_(torch.as_tensor(state["count"]))
        for own, other in zip(self._states, state["segments"], strict=True):
            for name, value in own.items():
                value.copy_(torch.as_tensor(other[name]))


class TorchStepper:
    """Steps an optimizer of torch.optim, made by a user's partial, on the parameters' views."""

    def __init__(self, factory: Callable[..., Any], segments: list[Segment]) -> None:
        # What a partial fixes stands above the estimator's parameters.
        fixed = factory.keywords if isinstance(factory, functools.partial) else {}
        groups = []
        for segment in segments:
            group = {"lr": segment.learning_rate, "weight_decay": segment.weight_decay}
            given = {k: v for k, v in group.items() if v is not None and k not in fixed}
            groups.append({"params": segment.parameters, **given})
        self._optimizer = factory(groups)
        self._rates = [group["lr"] for group in self._optimizer.param_groups]

    def step(self, factor: float) -> None:
        """Update the parameters at ``factor`` times their learning rates."""
        for group, rate in zip(self._optimizer.param_groups, self._rates, strict=True):
            group["lr"] = factor * rate
        self._optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Return torch's state."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Load torch's state."""
        self._optimizer.load_state_dict(state)


def default_weight_decay(optimizer: Any) -> float | None:
    """Return an optimizer's own weight decay; None leaves it to what a callable makes.

    Parameters
    ----------
    optimizer : {"adamw", "sgd"}, AdamW, SGD or callable
        As an estimator's parameter.

    Returns
    -------
    weight_decay : float or None
        What an estimator takes where its ``weight_decay`` is None.

    Examples
    --------
    >>> from skhug.optimizers import default_weight_decay
    >>> default_weight_decay("adamw")
    2.0
    """
    return getattr(_specification(optimizer), "default_weight_decay", None)


def make_stepper(optimizer: Any, segments: list[Segment]) -> FlatStepper | TorchStepper:
    """Return what steps an estimator's ``optimizer`` parameter over segments.

    Parameters
    ----------
    optimizer : {"adamw", "sgd"}, AdamW, SGD or callable
        As an estimator's parameter.
    segments : list of Segment
        Flat parameters, from :func:`flatten`.

    Returns
    -------
    stepper : object
        With ``step(factor)``, which steps once at ``factor`` times the learning rates,
        ``state_dict`` and ``load_state_dict``.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from skhug.optimizers import flatten, make_stepper
    >>> layer = nn.Linear(1, 1)
    >>> segments = flatten((p, 0.1, 0.0) for p in layer.parameters())
    >>> stepper = make_stepper("adamw", segments)
    >>> for _ in range(200):
    ...     _ = segments[0].gradients.zero_()
    ...     (layer(torch.ones(1)) - 3).square().backward()
    ...     stepper.step(1.0)
    >>> bool((layer(torch.ones(1)) - 3).abs() < 0.1)
    True
    """
    specification = _specification(optimizer)
    flat = hasattr(specification, "step") and hasattr(specification, "init")
    return (FlatStepper if flat else TorchStepper)(specification, segments)


def _specification(optimizer: Any) -> Any:
    return NAMED[optimizer]() if isinstance(optimizer, str) else optimizer
