"""Arrangements that a formula gives, and random ones."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils import check_random_state
from torch import Tensor

__all__ = ["cross_polytope", "orthogonal_simplices", "random_proxies", "simplex"]

RandomState = int | np.random.RandomState | None


def simplex(n_points: int, n_components: int) -> Tensor:
    """Return the regular simplex: all cosines equal to ``-1 / (n_points - 1)``.

    Parameters
    ----------
    n_points : int
        At least 2.
    n_components : int
        At least ``n_points - 1``; the coordinates beyond that are zero.

    Returns
    -------
    points : Tensor of shape (n_points, n_components)
        Unit rows, float64. The optimum of every uniformity measure where it fits.

    Raises
    ------
    ValueError
        If the simplex does not fit.

    Examples
    --------
    >>> from skhug.proxies import simplex
    >>> (simplex(3, 2) @ simplex(3, 2).T).round(decimals=3)
    tensor([[ 1.0000, -0.5000, -0.5000],
            [-0.5000,  1.0000, -0.5000],
            [-0.5000, -0.5000,  1.0000]], dtype=torch.float64)
    """
    _check_size(n_points, n_components)
    n = n_points - 1
    if n_components < n:
        raise ValueError(
            f"A simplex of {n_points} points needs {n} components and n_components="
            f"{n_components}: raise it, or use minimal_energy."
        )
    points = torch.zeros(n_points, n_components, dtype=torch.float64)
    points[:n, :n] = math.sqrt(1 + 1 / n) * torch.eye(n, dtype=points.dtype)
    points[:n, :n] -= (math.sqrt(n + 1) - 1) * n**-1.5
    points[n, :n] = -(n**-0.5)
    return points


def cross_polytope(n_points: int, n_components: int) -> Tensor:
    """Return vertices of the cross-polytope: ``e_1, -e_1, e_2, -e_2, ...``.

    Parameters
    ----------
    n_points : int
        From 2 to ``2 * n_components``.
    n_components : int
        At least 1.

    Returns
    -------
    points : Tensor of shape (n_points, n_components)
        Unit rows, float64. With ``n_points = 2 * n_components`` the optimum of every energy
        (Cohn and Kumar 2007); with fewer, more than ``n_components + 1``, of the separation.

    Raises
    ------
    ValueError
        If there are not as many vertices.

    Examples
    --------
    >>> from skhug.proxies import cross_polytope
    >>> cross_polytope(4, 2).tolist()
    [[1.0, 0.0], [-1.0, -0.0], [0.0, 1.0], [-0.0, -1.0]]
    """
    _check_size(n_points, n_components)
    if n_points > 2 * n_components:
        raise ValueError(
            f"The cross-polytope has {2 * n_components} vertices in {n_components} components: "
            f"raise n_components to {math.ceil(n_points / 2)} for {n_points} points."
        )
    axes = torch.eye(n_components, dtype=torch.float64)
    return torch.stack([axes, -axes], dim=1).reshape(-1, n_components)[:n_points]


def orthogonal_simplices(n_points: int, n_components: int) -> Tensor:
    """Return simplices in subspaces orthogonal to one another, of sizes as equal as can be.

    Parameters
    ----------
    n_points : int
        From 2 to ``2 * n_components``.
    n_components : int
        At least 1.

    Returns
    -------
    points : Tensor of shape (n_points, n_components)
        Unit rows, float64. ``n_points - n_components`` simplices: one for ``n_points =
        n_components + 1``, the cross-polytope for ``2 * n_components``. No cosine is above 0,
        the largest separation there is beyond the simplex (Rankin 1955); at exponents as they
        are used in training the energy is not above what searches find.

    Raises
    ------
    ValueError
        If there are too many points.

    References
    ----------
    Kuperberg, "Optimal arrangements in packing congruent balls in a spherical container",
    Discrete & Computational Geometry 37, 2007.

    Examples
    --------
    >>> from skhug.proxies import orthogonal_simplices
    >>> points = orthogonal_simplices(5, 3)  # a triangle and two poles
    >>> (points @ points.T)[0].round(decimals=3).abs().tolist()
    [1.0, 0.5, 0.5, 0.0, 0.0]
    """
    _check_size(n_points, n_components)
    if n_points > 2 * n_components:
        raise ValueError(
            f"{n_points} points in {n_components} components: orthogonal simplices hold "
            f"{2 * n_components}. Raise n_components to {math.ceil(n_points / 2)}."
        )
    if n_points <= n_components + 1:
        return simplex(n_points, n_components)
    n_simplices = n_points - n_components
    size, larger = divmod(n_points, n_simplices)
    sizes = [size + 1] * larger + [size] * (n_simplices - larger)
    return torch.block_diag(*(simplex(n, n - 1) for n in sizes))


def random_proxies(n_classes: int, n_components: int, random_state: RandomState = None) -> Tensor:
    """Return points drawn uniformly from the sphere.

    Parameters
    ----------
    n_classes, n_components : int
        At least 2 and 1.
    random_state : int, RandomState or None
        Of the draw.

    Returns
    -------
    proxies : Tensor of shape (n_classes, n_components)
        Unit rows, float64.

    Examples
    --------
    >>> from skhug.proxies import random_proxies
    >>> random_proxies(5, 3, random_state=0).norm(dim=1).round(decimals=6).tolist()
    [1.0, 1.0, 1.0, 1.0, 1.0]
    """
    _check_size(n_classes, n_components)
    return next(iter(_starts(1, n_classes, n_components, random_state)))


def _check_size(n_points: int, n_components: int, least_components: int = 1) -> None:
    if n_points < 2 or n_components < least_components:
        raise ValueError(
            f"{n_points} points in {n_components} components: pass at least 2 points and "
            f"{least_components} components."
        )


def _starts(
    n_starts: int | None, n_points: int, n_components: int, random_state: RandomState
) -> list[Tensor]:
    if n_starts is None:
        n_starts = 10 if n_points <= 64 else 1
    rng = check_random_state(random_state)
    draws = rng.standard_normal((n_starts, n_points, n_components))
    return list(F.normalize(torch.from_numpy(draws), dim=-1))
