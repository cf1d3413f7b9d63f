"""Measures of hyperspherical uniformity: MHE, MHS and MGD.

A measure gives two numbers to minimise: one *between* classes, a function of the proxies alone,
and one *within* classes, a sum over the rows of a batch. The rows' sum is linear in row
coefficients, so that micro-batches, shards and padded rows change nothing.

Source: Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._docs import public
from skhug.losses._energy import energy_gradient, gram_logdet, hyperspherical_energy, separation

__all__ = ["MGD", "MHE", "MHS", "Uniformity"]
__dir__ = public(globals())

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
# Fixed points beyond this number are measured on a random subset of this size, and fewer where
# the cost grows with the cube: 4,096 points take a core some ten seconds, 1,024 a fifth of one.
_EXACT_POINTS = 4096
_EXACT_GRAM = 1024


def _subset(points: Tensor, most: int) -> Tensor:
    """All points, or ``most`` of them drawn with a seed of its own."""
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
    - ``repulsion`` and ``repulsion_scale``: 0 and 10; see :class:`MHE`.

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
        value = self.between(_subset(proxies, _EXACT_POINTS))
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

    def pull(self, squared: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return a row's cost at a squared distance from its proxy, and its derivative."""
        return power(squared, -self.s_within)


class MHE(Uniformity):
    """Minimum hyperspherical energy.

    Between classes ``1/C sum_c sum_{c' != c} K_s(||w_c - w_c'||)``, within a class the mean of
    ``||z_i - w_y||^-s_within``.

    Parameters
    ----------
    s : float, default=2.0
        Riesz exponent between classes, ``s >= 0``; 0 is the logarithmic energy.
    s_within : float, default=-2.0
        Exponent within a class, ``s_within < 0``. -1 weighs every sample alike and shrugs off
        wrong labels; -2 and -4 lean on the samples far from their proxy and fit clean labels
        better.
    repulsion : float, default=0.0
        Weight of an added term that repels each embedding from the other classes' proxies: the
        smooth maximum of its cosines to them, part of the within-class term. Non-negative.
    repulsion_scale : float, default=10.0
        Sharpness of that smooth maximum, positive.
    n_sampled : int, optional
        Proxies drawn a step, at least 2, whose pairs alone estimate the energy, without bias: a
        step's cost then does not grow with the square of the classes. They are drawn from
        torch's global generator, which ``fit`` seeds and restores. By default all proxies.

    References
    ----------
    Liu et al. 2023, section 3.1.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.losses import MHE
    >>> robust = HUGClassifier(uniformity=MHE(s_within=-1.0))
    """

    @explained
    def __init__(
        self,
        s: float = 2.0,
        s_within: float = -2.0,
        repulsion: float = 0.0,
        repulsion_scale: float = 10.0,
        n_sampled: int | None = None,
    ) -> None:
        self.s = s
        self.s_within = s_within
        self.repulsion = repulsion
        self.repulsion_scale = repulsion_scale
        self.n_sampled = n_sampled

    def between(self, proxies: Tensor) -> Tensor:
        """Return the energy per class, ``hyperspherical_energy(proxies, s)``, or its estimate."""
        drawn = self._draw(len(proxies), proxies.device)
        if drawn is None:
            return hyperspherical_energy(proxies, self.s)
        return _pairs_a_class(proxies, drawn) * hyperspherical_energy(proxies[drawn], self.s)

    def between_gradient(self, proxies: Tensor) -> tuple[Tensor, Tensor]:
        """Return the energy per class, or its estimate, and its gradient."""
        drawn = self._draw(len(proxies), proxies.device)
        if drawn is None:
            return energy_gradient(proxies, self.s)
        value, of_drawn = energy_gradient(proxies[drawn], self.s)
        scale = _pairs_a_class(proxies, drawn)
        gradient = torch.zeros_like(proxies).index_copy_(0, drawn, of_drawn.mul_(scale))
        return scale * value, gradient

    def between_fixed(self, proxies: Tensor) -> Tensor:
        """Return the energy per class: exact up to 4,096 classes, beyond an unbiased estimate."""
        subset = _subset(proxies, _EXACT_POINTS)
        return _pairs_a_class(proxies, subset) * hyperspherical_energy(subset, self.s)

    def _draw(self, n_proxies: int, device: torch.device) -> Tensor | None:
        """Indices of a step's proxies; None for all of them."""
        if self.n_sampled is None or self.n_sampled >= n_proxies:
            return None
        return torch.randperm(n_proxies, device=device)[: int(self.n_sampled)]


def _pairs_a_class(proxies: Tensor, subset: Tensor) -> float:
    """How many partners a proxy has among all, for one that it has in a subset."""
    return (len(proxies) - 1) / (len(subset) - 1)


class MHS(Uniformity):
    """Maximum hyperspherical separation, smooth.

    Between classes minus the smooth minimum of the distances. Within a class the smooth maximum
    ``M`` of ``||z_i - w_y||^-s_within`` at the same temperature T, through the increasing
    function ``T (exp(M / T) - 1)``: this makes it a plain sum over rows.

    Parameters
    ----------
    temperature : float, default=1.0
        Smoothness T of minimum and maximum, positive. The paper's hard ones are the limit 0.
    s_within : float, default=-1.0
        Exponent within a class, ``s_within < 0``.
    repulsion : float, default=0.0
        As in :class:`MHE`.
    repulsion_scale : float, default=10.0
        As in :class:`MHE`.

    References
    ----------
    Liu et al. 2023, section 3.1.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.losses import MHS
    >>> model = HUGClassifier(uniformity=MHS(temperature=0.5))
    """

    @explained
    def __init__(
        self,
        temperature: float = 1.0,
        s_within: float = -1.0,
        repulsion: float = 0.0,
        repulsion_scale: float = 10.0,
    ) -> None:
        self.temperature = temperature
        self.s_within = s_within
        self.repulsion = repulsion
        self.repulsion_scale = repulsion_scale

    def between(self, proxies: Tensor) -> Tensor:
        """Return minus the smooth minimum of the distances."""
        return -separation(proxies, self.temperature)

    def between_fixed(self, proxies: Tensor) -> Tensor:
        """Return ``between``, from 4,096 classes on by the mean over a random subset's pairs."""
        subset = _subset(proxies, _EXACT_POINTS)
        pairs = math.comb(len(proxies), 2) / math.comb(len(subset), 2)
        return self.between(subset) + self.temperature * math.log(pairs)

    def pull(self, squared: Tensor) -> tuple[Tensor, Tensor | float]:
        """Return ``T (exp(||z - w||^-s_within / T) - 1)`` and its derivative."""
        cost, slope = super().pull(squared)
        smooth = self.temperature * torch.expm1(cost / self.temperature)
        return smooth, slope * (smooth / self.temperature + 1)


class MGD(Uniformity):
    """Maximum Gram determinant.

    Between classes minus ``logdet G / C``, ``G_cc' = exp(-eps^2 ||w_c - w_c'||^2)``, a class as
    the energy is; within a class the mean of ``||z_i - w_y||^-s_within``.

    Parameters
    ----------
    eps : float, default=1.0
        Inverse length scale of the kernel, positive.
    s_within : float, default=-2.0
        Exponent within a class, ``s_within < 0``.
    repulsion : float, default=0.0
        As in :class:`MHE`.
    repulsion_scale : float, default=10.0
        As in :class:`MHE`.

    References
    ----------
    Liu et al. 2023, section 3.1.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.losses import MGD
    >>> model = HUGClassifier(uniformity=MGD(eps=1.0))
    """

    @explained
    def __init__(
        self,
        eps: float = 1.0,
        s_within: float = -2.0,
        repulsion: float = 0.0,
        repulsion_scale: float = 10.0,
    ) -> None:
        self.eps = eps
        self.s_within = s_within
        self.repulsion = repulsion
        self.repulsion_scale = repulsion_scale

    def between(self, proxies: Tensor) -> Tensor:
        """Return ``-gram_logdet(proxies, eps) / n_classes``."""
        return -gram_logdet(proxies, self.eps) / len(proxies)

    def between_fixed(self, proxies: Tensor) -> Tensor:
        """Return ``between``: exact up to 1,024 classes, beyond in the mean a lower bound.

        The cost grows with the cube of the classes, for a number that is only reported.
        """
        # A subset's log-determinant a point exceeds the whole's in the mean (Han's inequality).
        return self.between(_subset(proxies, _EXACT_GRAM))


# Known to treat every row by itself, on the device alone: a user's own may not.
BUILT_IN_MEASURES = (MHE, MHS, MGD)


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
