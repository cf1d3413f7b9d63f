"""Measures of hyperspherical uniformity: MHE, MHS and MGD.

A measure gives two numbers to minimise: one *between* classes, a function of the proxies alone,
and one *within* classes, a sum over the rows of a batch. The rows' sum is linear in row
coefficients, so that micro-batches, shards and padded rows change nothing.

Source: Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from skhug._configured import explained
from skhug._docs import public
from skhug.losses._energy import energy_gradient, gram_logdet, hyperspherical_energy, separation
from skhug.losses._uniformity import Uniformity, drawn_points

__all__ = ["MGD", "MHE", "MHS", "Uniformity"]
__dir__ = public(globals())

# Points up to which a determinant is computed whole: 4,096 take a core some ten seconds, 1,024 a
# fifth of one.
_EXACT_GRAM = 1024


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
        smooth maximum of its cosines to them, part of the within-class term. Non-negative. A step
        costs the more, the more classes there are.
    repulsion_scale : float, default=10.0
        Sharpness of that smooth maximum, positive.
    n_sampled : int, optional
        Proxies drawn a step, at least 2, whose pairs alone estimate the energy, without bias: a
        step's cost then does not grow with the square of the classes. They are drawn from
        torch's global generator, which ``fit`` seeds and restores. By default all proxies.
    repulsion_over : {"others", "all"}, default="others"
        Whether the smooth maximum is over the other classes, or over all of them, the row's own
        included: the repulsion then fades as a row comes nearer to its own proxy than to any other.
        With ``s_within=-2`` and ``repulsion=2`` this is cross-entropy of
        ``repulsion_scale * <z, w_c>`` up to a factor. In the ball distances within a class are
        then those of the hemisphere above it, ``sqrt(2 - 2 <z, w_y>)``; on the sphere nothing is
        different.
    prior : "train" or array-like of shape (n_classes,), optional
        Shares of the classes, by which they count in the sum over all. Large classes then need no
        further push away from small ones: a row's nearest proxy is the class that would be its
        most probable one if all were equally frequent. ``"train"`` takes the shares of
        what an estimator trains on, weights included; an array, in the order of ``classes_``, need
        not add up to 1. Nothing is repelled from a class of share 0, one whose rows have no weight:
        fix the proxies then. By default all classes count alike. With ``repulsion_over="all"``
        alone.

    References
    ----------
    Liu et al. 2023, section 3.1. Shares inside the sum: Menon et al., "Long-tail learning via logit
    adjustment", ICLR 2021, eq. 10, for cross-entropy.

    Examples
    --------
    >>> from skhug import HUGClassifier
    >>> from skhug.losses import MHE
    >>> robust = HUGClassifier(uniformity=MHE(s_within=-1.0))
    >>> long_tail = HUGClassifier(
    ...     uniformity=MHE(repulsion=2.0, repulsion_over="all", prior="train")
    ... )
    """

    _before: ClassVar[dict[str, Any]] = {"repulsion_over": "others", "prior": None}

    @explained
    def __init__(
        self,
        s: float = 2.0,
        s_within: float = -2.0,
        repulsion: float = 0.0,
        repulsion_scale: float = 10.0,
        n_sampled: int | None = None,
        repulsion_over: str = "others",
        prior: Any = None,
    ) -> None:
        self.s = s
        self.s_within = s_within
        self.repulsion = repulsion
        self.repulsion_scale = repulsion_scale
        self.n_sampled = n_sampled
        self.repulsion_over = repulsion_over
        self.prior = prior

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
        subset = drawn_points(proxies)
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
        subset = drawn_points(proxies)
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
        return self.between(drawn_points(proxies, _EXACT_GRAM))


# Known to treat every row by itself, on the device alone: a user's own may not.
BUILT_IN_MEASURES = (MHE, MHS, MGD)
