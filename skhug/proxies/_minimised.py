"""Arrangements found by a search: least energy, largest separation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from torch import Tensor

from skhug.losses import hyperspherical_energy, separation
from skhug.proxies._closed_forms import RandomState, _check_size, _starts

__all__ = ["maximal_separation", "minimal_energy"]

# Floating-point operations that a search may spend: one or two seconds on a core, less than a
# training of so many classes. Ten times as many gain a thousandth of the energy.
_BUDGET = 1e10
# Evaluations of a start, at least and at most.
_EVALUATIONS = (20, 1000)
# Temperatures of the smooth minimum, from a rough picture of the distances to the very smallest.
_TEMPERATURES = np.geomspace(0.3, 1e-6, 14)


def minimal_energy(
    n_points: int,
    n_components: int,
    s: float = 2.0,
    *,
    n_starts: int | None = None,
    random_state: RandomState = None,
) -> Tensor:
    """Arrange points so that their hyperspherical energy is small, by L-BFGS.

    Parameters
    ----------
    n_points : int
        At least 2.
    n_components : int
        At least 2.
    s : float, default=2.0
        Riesz exponent, 0 or more.
    n_starts : int, optional
        Random starts, the best of which is kept; by default 10 for up to 64 points, else 1. A
        start spends 1,000 evaluations at most, fewer where they are dear (beyond about 1e10
        floating-point operations in all), but no fewer than 20.
    random_state : int, RandomState or None
        Of the starts.

    Returns
    -------
    points : Tensor of shape (n_points, n_components)
        Unit rows, float64. A local optimum; memory is linear in ``n_points``.

    Raises
    ------
    ValueError
        If there are too few points or components.

    Examples
    --------
    >>> from skhug.proxies import minimal_energy
    >>> cosines = minimal_energy(4, 2, random_state=0) @ minimal_energy(4, 2, random_state=0).T
    >>> cosines[0].abs().sort().values.round(decimals=4).tolist()
    [0.0, 0.0, 1.0, 1.0]
    """
    _check_size(n_points, n_components, least_components=2)

    # The sum and not the mean: its gradient does not fade under L-BFGS's tolerances as n grows.
    def summed_energy(points: Tensor) -> Tensor:
        return len(points) * hyperspherical_energy(points, s)

    starts = _starts(n_starts, n_points, n_components, random_state)
    evaluations = _evaluations(len(starts), n_points, n_components)
    ends = [_lbfgs(summed_energy, start, evaluations) for start in starts]
    return min(ends, key=lambda points: float(hyperspherical_energy(points, s)))


def maximal_separation(
    n_points: int,
    n_components: int,
    *,
    n_starts: int | None = None,
    random_state: RandomState = None,
) -> Tensor:
    """Arrange points so that the smallest distance is large (Tammes' problem).

    A smooth minimum of the distances is raised by L-BFGS at falling temperatures, from the
    points of least energy on: plain gradients see the nearest pair only and get stuck.

    Parameters
    ----------
    n_points : int
        At least 2.
    n_components : int
        At least 2.
    n_starts : int, optional
        Random starts, the best of which is kept; by default 10 for up to 64 points, else 1.
    random_state : int, RandomState or None
        Of the starts.

    Returns
    -------
    points : Tensor of shape (n_points, n_components)
        Unit rows, float64. A local optimum.

    Raises
    ------
    ValueError
        If there are too few points or components.

    Examples
    --------
    >>> from skhug.losses import separation
    >>> from skhug.proxies import maximal_separation
    >>> separation(maximal_separation(6, 3, random_state=0)).round(decimals=4)  # octahedron
    tensor(1.4142, dtype=torch.float64)
    """
    _check_size(n_points, n_components, least_components=2)
    starts = _starts(n_starts, n_points, n_components, random_state)
    stages = len(starts) * len(_TEMPERATURES)
    evaluations = min(_evaluations(stages, n_points, n_components), 300)
    ends = []
    for points in starts:
        for temperature in _TEMPERATURES:
            points = _separate(points, temperature, evaluations)
        ends.append(points)
    return max(ends, key=lambda points: float(separation(points)))


def _evaluations(n_starts: int, n_points: int, n_components: int) -> int:
    """Evaluations a start: a pair costs 2 products of n_components each for value and gradient."""
    evaluations = _BUDGET / (4 * n_points**2 * n_components * n_starts)
    return int(np.clip(evaluations, *_EVALUATIONS))


def _separate(points: Tensor, temperature: float, evaluations: int) -> Tensor:
    return _lbfgs(lambda p: -separation(p, temperature) / temperature, points, evaluations)


def _lbfgs(function: Callable[[Tensor], Tensor], start: Tensor, evaluations: int) -> Tensor:
    """Minimise a function of unit points; return them on the sphere."""

    def value_and_gradient(flat: np.ndarray) -> tuple[float, np.ndarray]:
        points = torch.from_numpy(flat.reshape(start.shape)).requires_grad_()
        value = function(points)
        (gradient,) = torch.autograd.grad(value, points)
        return float(value.detach()), gradient.numpy().ravel()

    result = minimize(
        value_and_gradient,
        start.numpy().ravel(),
        jac=True,
        method="L-BFGS-B",
        options={
            "maxcor": 20,
            "maxfun": evaluations,
            "maxiter": evaluations,
            "ftol": 1e-15,
            "gtol": 1e-9,
        },
    )
    return F.normalize(torch.from_numpy(result.x.reshape(start.shape)), dim=-1)
