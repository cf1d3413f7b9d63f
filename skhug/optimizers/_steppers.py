"""Optimizers at work: all segments of a model, step by step, with the state between steps."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skhug.optimizers._segments import Segment
from skhug.optimizers._specifications import SGD, AdamW, specification_of


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
    specification = specification_of(optimizer)
    flat = hasattr(specification, "step") and hasattr(specification, "init")
    return (FlatStepper if flat else TorchStepper)(specification, segments)
