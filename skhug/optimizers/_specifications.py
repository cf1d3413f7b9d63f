"""Optimizers as parameters say them: how a flat segment is updated, and what it decays by."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._torch import fused_adamw, fused_sgd
from skhug.optimizers._segments import Segment


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


def specification_of(optimizer: Any) -> Any:
    """Return what a name stands for; anything else as it is."""
    return NAMED[optimizer]() if isinstance(optimizer, str) else optimizer


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
    return getattr(specification_of(optimizer), "default_weight_decay", None)
