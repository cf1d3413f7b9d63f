"""Hyperspherical uniformity of embeddings between and within classes, and their gap."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from skhug import losses
from skhug._sphere import unit
from skhug.metrics._arguments import as_points, rescaled
from skhug.metrics._class_statistics import Classwise

__all__ = [
    "hyperspherical_energy",
    "separation",
    "uniformity_between",
    "uniformity_gap",
    "uniformity_within",
]


def hyperspherical_energy(points: Any, s: float = 2.0) -> float:
    """Hyperspherical energy per point, as a number.

    :func:`skhug.losses.hyperspherical_energy` is the same as a differentiable tensor, and
    :func:`optimal_energy` the least there can be.

    Parameters
    ----------
    points : array or Tensor of shape (n_points, n_components)
        Class means or proxies, at least 2; normalised here.
    s : float, default=2.0
        Riesz exponent, 0 or more.

    Returns
    -------
    energy : float
        ``1/n sum_i sum_{j != i} ||p_i - p_j||^-s``; for s = 0 of ``log(1 / ||p_i - p_j||)``.

    References
    ----------
    Liu et al. 2023, section 3.1.

    Examples
    --------
    >>> from skhug.metrics import hyperspherical_energy
    >>> hyperspherical_energy([[1.0, 0.0], [-1.0, 0.0]])
    0.25
    """
    return float(losses.hyperspherical_energy(unit(*rescaled(as_points(points, "points"))), s))


def separation(points: Any) -> float:
    """Smallest distance between two of the points on the sphere, as a number.

    :func:`optimal_separation` is the largest there can be.

    Parameters
    ----------
    points : array or Tensor of shape (n_points, n_components)
        Class means or proxies, at least 2; normalised here.

    Returns
    -------
    distance : float
        From 0 to 2.

    References
    ----------
    Liu et al. 2023, section 3.1.

    Examples
    --------
    >>> from skhug.metrics import separation
    >>> separation([[1.0, 0.0], [-1.0, 0.0]])
    2.0
    """
    return float(losses.separation(*rescaled(as_points(points, "points"))))


def uniformity_between(points: Any, s: float = 2.0) -> float:
    """Hyperspherical uniformity between classes: minus the energy per point.

    Parameters
    ----------
    points : array or Tensor of shape (n_points, n_components)
        Class means or proxies, at least 2; normalised here.
    s : float, default=2.0
        Riesz exponent, 0 or more.

    Returns
    -------
    uniformity : float
        At most ``-optimal_energy(n_points, n_components, s)``.

    References
    ----------
    Liu et al. 2023, section 3.1.

    Examples
    --------
    >>> from skhug.metrics import uniformity_between
    >>> uniformity_between([[1.0, 0.0], [-1.0, 0.0]])
    -0.25
    """
    return -hyperspherical_energy(points, s)


def uniformity_within(embeddings: Any, labels: Any, proxies: Any = None, s: float = -2.0) -> float:
    """Hyperspherical uniformity within classes: how far embeddings spread around their centre.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Normalised here.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.
    proxies : array or Tensor of shape (n_classes, n_components), optional
        Centres of the classes, by default the class means: in the sorted order of the labels
        where there are as many classes, else labels are the proxies' row numbers.
    s : float, default=-2.0
        Exponent within a class, below 0.

    Returns
    -------
    uniformity : float
        Mean over the classes of the mean of ``||z_i - w_y||^-s``, from 0 to ``2^-s``; 0 where
        every embedding is at its centre.

    References
    ----------
    Liu et al. 2023, section 3.2.

    Examples
    --------
    >>> from skhug.metrics import uniformity_within
    >>> z = [[0.8, 0.6], [0.8, -0.6], [-1.0, 0.0]]
    >>> round(uniformity_within(z, ["b", "b", "a"]), 6)
    0.2
    """
    return uniformity_within_of(Classwise(embeddings, labels, proxies), s)


def uniformity_gap(
    embeddings: Any, labels: Any, proxies: Any = None, s: float = 2.0, s_within: float = -2.0
) -> float:
    """Hyperspherical uniformity gap: uniformity between classes minus uniformity within them.

    It is what training maximises: minus the loss of ``MHE(s, s_within)`` at alpha = beta = 1.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Normalised here.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.
    proxies : array or Tensor of shape (n_classes, n_components), optional
        Centres of the classes, by default the class means: in the sorted order of the labels
        where there are as many classes, else labels are the proxies' row numbers.
    s : float, default=2.0
        Riesz exponent between the classes' centres, 0 or more.
    s_within : float, default=-2.0
        Exponent within a class, below 0.

    Returns
    -------
    gap : float
        At most ``-optimal_energy(n_classes, n_components, s)``.

    References
    ----------
    Liu et al. 2023, eq. 4.

    Examples
    --------
    >>> from skhug.metrics import uniformity_gap
    >>> z = [[0.8, 0.6], [0.8, -0.6], [-1.0, 0.0]]
    >>> round(uniformity_gap(z, ["b", "b", "a"]), 6)
    -0.45
    """
    return uniformity_gap_of(Classwise(embeddings, labels, proxies), s, s_within)


# --- the same of classes whose means are known -------------------------------------------------


def energy_of(x: Classwise, s: float = 2.0) -> float:
    """Hyperspherical energy per class of the class means."""
    return float(losses.hyperspherical_energy(unit(x.means), s))


def separation_of(x: Classwise) -> float:
    """Smallest distance between class means on the sphere."""
    return float(losses.separation(x.means))


def uniformity_between_of(x: Classwise, s: float = 2.0) -> float:
    """Minus the energy per class of the proxies, or of the class means."""
    return -float(losses.hyperspherical_energy(_centres(x), s))


def uniformity_within_of(x: Classwise, s: float = -2.0) -> float:
    """Mean over classes of the mean of ``||z_i - w_y||^-s``."""
    ones = torch.ones_like(x.embeddings[:, 0])  # their dtype is that of the coefficients
    return float(losses.within_class_energy(unit(x.embeddings), x.codes, _centres(x), s, ones))


def uniformity_gap_of(x: Classwise, s: float = 2.0, s_within: float = -2.0) -> float:
    """Uniformity between classes minus uniformity within them."""
    return uniformity_between_of(x, s) - uniformity_within_of(x, s_within)


def _centres(x: Classwise) -> Tensor:
    return unit(x.means.to(x.embeddings) if x.proxies is None else x.proxies)
