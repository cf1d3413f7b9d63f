"""The base of the measures of hyperspherical uniformity: what all of them do with the samples."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._configured import Configured

__all__ = ["Uniformity", "as_shares", "drawn_points", "power"]

# Parameters of the measures: what is allowed, in code and in words.
_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "s": (lambda v: v >= 0, "a number of 0 or more"),
    "s_within": (lambda v: v < 0, "a number below 0"),
    "temperature": (lambda v: v > 0, "a number above 0"),
    "eps": (lambda v: v > 0, "a number above 0"),
    "repulsion": (lambda v: v >= 0, "a number of 0 or more"),
    "repulsion_scale": (lambda v: v > 0, "a number above 0"),
    "n_sampled": (lambda v: v >= 2 and v == int(v), "a whole number of 2 or more, or None"),
}
# Which proxies a row is repelled from.
_OVER = ("others", "all")
# Fixed points beyond this number are measured on a random subset of this size.
_EXACT_POINTS = 4096


def drawn_points(points: Tensor, most: int | None = None) -> Tensor:
    """All points, or ``most`` of them drawn with a seed of its own; 4,096 if nothing is said."""
    most = _EXACT_POINTS if most is None else most
    if len(points) <= most:
        return points[:]  # of a code its rows
    drawn = torch.randperm(len(points), generator=torch.Generator().manual_seed(0))
    return points[drawn[:most].to(points.device)]


class Uniformity(Configured):
    """Base of the measures: what all of them do with the samples.

    A measure of your own needs ``between(proxies)`` alone: a scalar tensor, differentiable, lower
    where the proxies are more uniform. What else there is has a default:

    - ``pull(squared)``: the cost of a row at a squared distance from its proxy, and the derivative
      in that squared distance. By default ``distance^-s_within``.
    - ``s_within``, the exponent of that, below 0: -2, unless the measure has such a parameter.
    - ``repulsion``, ``repulsion_scale``, ``repulsion_over`` and ``prior``: 0, 10, ``"others"`` and
      None; see :class:`MHE`.

    Parameters follow scikit-learn: ``get_params``, ``set_params``, clonable, searched as
    ``uniformity__s_within``.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import HUGLoss, Uniformity
    >>> class MeanCosine(Uniformity):
    ...     def __init__(self, s_within=-2.0):
    ...         self.s_within = s_within
    ...     def between(self, proxies):
    ...         w = torch.nn.functional.normalize(proxies)
    ...         return (w @ w.T).mean()
    >>> loss = HUGLoss(MeanCosine())
    >>> loss(torch.eye(4), torch.arange(4), torch.eye(4)).between
    tensor(0.2500)
    """

    # For measures of a user's own that do not define these.
    s_within: float = -2.0
    repulsion: float = 0.0
    repulsion_scale: float = 10.0
    repulsion_over: str = "others"
    prior: Any = None

    def between(self, proxies: Tensor) -> Tensor:
        """Return what the classes' proxies pay for being close; lower is more uniform."""
        raise NotImplementedError(
            f"{type(self).__name__} has no between(proxies), which returns a scalar tensor, lower "
            "where the proxies are more uniform: define it."
        )

    def between_gradient(self, proxies: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``between`` and its gradient in the proxies, without a trace in autograd.

        Parameters
        ----------
        proxies : Tensor of shape (n_classes, n_components)
            Normalised here.

        Returns
        -------
        between : scalar Tensor
        gradient : Tensor of shape (n_classes, n_components)
        """
        with torch.enable_grad():
            leaf = proxies.detach().requires_grad_()
            value = self.between(leaf)
        self._check_between(value)
        if not value.requires_grad:
            raise ValueError(
                f"{type(self).__name__}.between has no gradient: compute it from the proxies by "
                "torch's functions, without detach() or item()."
            )
        (gradient,) = torch.autograd.grad(value, leaf)
        return value.detach(), gradient

    def between_fixed(self, proxies: Tensor) -> Tensor:
        """Return ``between`` of proxies that are not trained, at a cost flat in their number.

        Up to 4,096 proxies, 1,024 for :class:`MGD`, this is the exact value. Beyond, it is an
        estimate from a random subset of as many, the same at every call: for :class:`MHE` without
        bias; for :class:`MHS` and :class:`MGD` in the mean a lower bound. Without a gradient the
        value only shifts the loss that is reported. No global random state is read.

        Parameters
        ----------
        proxies : Tensor of shape (n_classes, n_components)
            Normalised here.

        Returns
        -------
        between : scalar Tensor

        Examples
        --------
        >>> import torch
        >>> from skhug.losses import MHE
        >>> MHE().between_fixed(torch.eye(3))
        tensor(1.)
        """
        value = self.between(drawn_points(proxies))
        self._check_between(value)
        return value

    def _check_between(self, value: Any) -> None:
        if not isinstance(value, Tensor) or value.ndim:
            what = f"shape {tuple(value.shape)}" if isinstance(value, Tensor) else repr(value)
            raise ValueError(
                f"{type(self).__name__}.between returned {what}: return a scalar tensor, for "
                "instance the mean."
            )

    def check(self) -> None:
        """Raise a ValueError for a parameter out of its range."""
        for name, (allowed, text) in _RANGES.items():
            value = getattr(self, name, None)
            if value is None:
                continue
            if not isinstance(value, Real) or not allowed(value):
                raise ValueError(f"{type(self).__name__}: {name}={value!r}: pass {text}.")
        if self.repulsion_over not in _OVER:
            raise ValueError(
                f"{type(self).__name__}: repulsion_over={self.repulsion_over!r}: pass 'others', or "
                "'all' for the proxy of the row's own class too."
            )
        if self.prior is not None:
            self._check_prior()

    @property
    def contrasts(self) -> bool:
        """Whether rows are weighed against all proxies, their own among them."""
        return self.repulsion > 0 and self.repulsion_over == "all"

    def _check_prior(self) -> None:
        name = type(self).__name__
        if not self.contrasts:
            raise ValueError(
                f"{name}: prior={self.prior!r} acts in the sum over all classes alone: pass "
                "repulsion=2 and repulsion_over='all' too, or leave it out."
            )
        if isinstance(self.prior, str) and self.prior == "train":
            return
        try:
            shares = as_shares(self.prior)
        except (TypeError, ValueError):
            shares = torch.zeros(0)
        if shares.ndim != 1 or not (shares.isfinite() & (shares >= 0)).all() or not shares.any():
            raise ValueError(
                f"{name}: prior={self.prior!r}: pass None, 'train', or one number above 0 for each "
                "class, in the order of classes_."
            )

    def pull(self, squared: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return a row's cost at a squared distance from its proxy, and its derivative."""
        return power(squared, -self.s_within)


def as_shares(prior: Any) -> Tensor:
    """Return numbers of classes as a tensor: a tensor stays where it is."""
    return prior if isinstance(prior, Tensor) else torch.from_numpy(np.array(prior, dtype=float))


def power(squared: Tensor, exponent: float) -> tuple[Tensor, Tensor | float]:
    """Return ``distance^exponent`` of squared distances, and its derivative in them.

    Raises
    ------
    ValueError
        If the exponent is not positive.
    """
    if not exponent > 0:
        raise ValueError(
            f"s_within={-exponent!r}: the energy within a class needs an exponent below 0."
        )
    if exponent == 2:
        return squared, 1.0
    # The root's slope is infinite at 0: a row that sits on its proxy must not give NaN.
    squared = squared.clamp_min(torch.finfo(squared.dtype).tiny)
    if exponent == 1:
        distance = squared.sqrt()
        return distance, 0.5 / distance
    value = squared.pow(exponent / 2)
    return value, (exponent / 2) * value / squared
