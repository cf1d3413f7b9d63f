"""What training minimises: encoder, proxies and loss as one module, and its gradients."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import cached_property, partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skhug._device import free_memory
from skhug._model.sphere_encoder import SphereEncoder
from skhug._sphere import unit, widened
from skhug._training.following import ClassFollower
from skhug._training.mlp_gradients import by_member, find_kernel, in_two_parts
from skhug.losses import HUGLoss, Uniformity
from skhug.losses._nested import (
    Prefix,
    nested_between_fixed,
    nested_between_gradient,
    nested_within_sum,
)
from skhug.losses._within_class import within_sum
from skhug.optimizers import Segment
from skhug.proxies._phase_code import PhaseCode

__all__ = ["Objective"]


class Objective(nn.Module):
    """Encoder, proxies and loss as one module.

    Parameters
    ----------
    encoder : SphereEncoder
        Maps rows to the sphere.
    proxies : Tensor or PhaseCode of shape (n_classes, n_components)
        Initial or fixed proxies; a code is fixed.
    loss : HUGLoss
        Weighs the terms.
    learned : bool
        Whether the proxies are trained. Fixed ones leave the between-class term without a
        gradient: it is computed once, and a step costs the same for any number of classes.
    prefixes : tuple of Prefix
        First components that have a loss of their own, in the end all of them; what is minimised
        is the sum. By default all components have the only one.
    """

    def __init__(
        self,
        encoder: SphereEncoder,
        proxies: Tensor | PhaseCode,
        loss: HUGLoss,
        learned: bool,
        prefixes: tuple[Prefix, ...] = (),
    ) -> None:
        super().__init__()
        self.encoder = encoder
        if isinstance(proxies, Tensor):
            proxies = nn.Parameter(F.normalize(proxies, dim=1), requires_grad=learned)
        self.proxies = proxies
        self.loss = loss
        self.prefixes = prefixes
        self._within, self._between, between_fixed = _terms(loss.uniformity, prefixes)
        # What training calls; held so that it is no second module of this one.
        self._body: Callable[[Tensor], Tensor] = encoder.body.__call__
        self._gradients: list[Tensor] = []
        self._kernel = None
        self._parts = 1  # that a batch is taken in
        # What moves learned proxies beside their gradients, if anything does.
        self.follow: ClassFollower | None = None
        # Of the between-class term, the share that this process adds.
        self._between_share = 1.0
        self._fixed_between = self._counted_between = None
        if not learned:
            with torch.no_grad():
                self._fixed_between = between_fixed(self.proxies)
            self._counted_between = self._fixed_between

    def count_between(self, share: float) -> None:
        """Let the between-class term count by a share: processes add up what they have."""
        self._between_share = share
        if self._fixed_between is not None:
            self._counted_between = self._fixed_between * share

    def gradients(self, X: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Set the parameters' gradients for a batch; return its (between, within).

        ``coef`` of shape (batch,) are the rows' coefficients, or (batch, members) where those of
        several members differ. Every member gets the gradient of its own sum; ``within`` is their
        mean. Where there is a kernel, members may bring rows of their own: all three with one more
        axis in front.

        The one seam of the loop: forward and backward, or a kernel that does the same by hand.
        Where the device's memory does not hold a batch, it is taken in parts from then on.

        Warns
        -----
        RuntimeWarning
            If the device ran out of memory.
        """
        try:
            if self._kernel is not None and y.shape[-1]:
                return self._counted_between, self._kernel(X, y, coef)
            return self._backward(X, y, coef)
        except torch.OutOfMemoryError:
            if y.shape[-1] < 4 * self._parts:  # batch normalisation takes no part of one row
                raise
        self._parts *= 2
        if self._kernel is not None:
            self._kernel = in_two_parts(self._kernel, self._gradients)
        _warn_out_of_memory(y.shape[-1], self._parts)
        free_memory(X.device)
        return self.gradients(X, y, coef)

    def _backward(self, X: Tensor, y: Tensor, coef: Tensor) -> tuple[Tensor, Tensor]:
        """Accumulate the gradients of a batch's parts: its rows' coefficients add up."""
        for gradients in self._gradients:
            gradients.zero_()
        if self.follow is not None:
            self.follow.forget()
        within = torch.zeros_like(coef[:1]).sum()
        n_parts = min(self._parts, max(1, len(X) // 2))  # no part of one row
        parts = (t.tensor_split(n_parts) for t in (X, y, coef) if len(y))
        for part in zip(*parts, strict=True):
            within += self._backward_within(*part)
        between, share = self._counted_between, self._between_share
        if between is None:
            between, push = self._between(self.proxies.detach())
            self.proxies.grad.add_(push, alpha=self.loss.alpha * share)
            between = between * share
        return between, within

    def _backward_within(self, X: Tensor, y: Tensor, coef: Tensor) -> Tensor:
        """Add the gradients of some rows' within-class sum; return the sum."""
        loss, raw = self.loss, self._body(X)
        n_members = len(raw) if raw.ndim == 3 else 1
        features = raw.flatten(0, 1) if n_members > 1 else raw  # one member after another
        if self.follow is not None:
            self.follow.see(features, y.repeat(n_members), by_member(coef, n_members))
        # The loss brings its own gradients: autograd only has to take them through the body.
        within = self._within(
            widened(features.detach()),
            self.proxies.detach(),
            y.repeat(n_members),
            by_member(coef, n_members),
            loss.uniformity,
            self.encoder.softness,
            attached=loss.attached and self.proxies.requires_grad,
        )
        if raw.requires_grad:  # else there is nothing to train but the proxies
            features.backward(loss.beta * within.features.to(raw.dtype))
        if within.proxies is not None:  # which the members share: the mean of their gradients
            self.proxies.grad.add_(within.proxies, alpha=loss.beta / n_members)
        return within.value / n_members

    def train_through(self, body: Callable[[Tensor], Tensor]) -> None:
        """Let training call this in the body's place: the body, compiled or under autocast.

        The body itself stays as it is, and so does what is fitted.
        """
        self._body = body

    def bind(self, segments: list[Segment]) -> None:
        """Take note of where the gradients lie, and of a kernel that can write them."""
        self._gradients = [segment.gradients for segment in segments]
        plain = self._body == self.encoder.body.__call__
        self._kernel = find_kernel(self) if plain else None

    def step_flops(self, batch_size: int) -> float:
        """Floating-point operations of a training step: three times those of the forward pass.

        Every weight counts once per row, and those of a convolution once per position. Fixed
        proxies cost nothing: a step reads the rows' own.
        """
        return 6.0 * batch_size * self._weights_a_row

    @cached_property
    def _weights_a_row(self) -> int:
        learned = self.proxies.numel() if self.proxies.requires_grad else 0
        return self.encoder.weights_a_row + learned

    @property
    def fixed_between(self) -> Tensor | None:
        """The between-class term of fixed proxies; None where they are learned."""
        return self._fixed_between

    @property
    def has_kernel(self) -> bool:
        """Whether a kernel writes the gradients, so that nothing is left to autograd."""
        return self._kernel is not None

    @torch.no_grad()
    def unit_proxies(self) -> Tensor | PhaseCode:
        """Return the proxies as they are now, on the sphere."""
        return unit(self.proxies) if isinstance(self.proxies, Tensor) else self.proxies


def _terms(measure: Uniformity, prefixes: tuple[Prefix, ...]) -> tuple[Callable[..., Any], ...]:
    """Return the functions of the terms: within and between with gradients, between if fixed."""
    if not prefixes:
        return within_sum, measure.between_gradient, measure.between_fixed
    given = {"measure": measure, "prefixes": prefixes}
    return (
        partial(nested_within_sum, prefixes=prefixes),
        partial(nested_between_gradient, **given),
        partial(nested_between_fixed, **given),
    )


def _warn_out_of_memory(rows: int, parts: int) -> None:
    warnings.warn(
        f"The device's memory does not hold a batch of {rows} rows: it is taken in {parts} parts, "
        "whose gradients are added up. A smaller batch_size avoids this.",
        RuntimeWarning,
        stacklevel=2,
    )
