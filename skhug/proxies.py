"""Configurations of points on the unit sphere, and how an estimator's proxies come about."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from numbers import Integral

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from sklearn.utils import check_random_state
from torch import Tensor

from skhug._codes import spherical_code
from skhug._configured import Configured, explained
from skhug._docs import public
from skhug.losses import hyperspherical_energy, separation

__all__ = [
    "Learned",
    "cross_polytope",
    "maximal_separation",
    "minimal_energy",
    "optimal_proxies",
    "orthogonal_simplices",
    "random_proxies",
    "simplex",
    "spherical_code",
]
__dir__ = public(globals())

RandomState = int | np.random.RandomState | None

# Floating-point operations that a search may spend: one or two seconds on a core, less than a
# training of so many classes. Ten times as many gain a thousandth of the energy.
_BUDGET = 1e10
# Evaluations of a start, at least and at most.
_EVALUATIONS = (20, 1000)
# ``n_points^2 n_components`` beyond which the least evaluations take too long.
_LARGE = 5e8
# Searched arrangements that a process keeps, and the most bytes of one: 64 MiB in all.
_KEPT, _KEPT_BYTES = 8, 2**23
# How much more energy, relatively, a better separated arrangement may have.
_TIE = 1e-5
# Temperatures of the smooth minimum, from a rough picture of the distances to the very smallest.
_TEMPERATURES = np.geomspace(0.3, 1e-6, 14)


class Learned(Configured):
    """Proxies that are trained along with the encoder.

    Parameters
    ----------
    attached : bool, default=True
        Whether the within-class term moves the proxies too, so that they follow the data. The
        authors' code detaches them: they then follow the between-class term alone.
    learning_rate : float, optional
        Their own learning rate, above 0; the estimator's by default.

    Examples
    --------
    >>> from skhug import HUGClassifier, Learned
    >>> model = HUGClassifier(proxies=Learned(learning_rate=0.02), alpha=0.5)
    """

    @explained
    def __init__(self, attached: bool = True, learning_rate: float | None = None) -> None:
        self.attached = attached
        self.learning_rate = learning_rate


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


def optimal_proxies(
    n_classes: int,
    n_components: int,
    s: float = 2.0,
    *,
    by_separation: bool = False,
    random_state: RandomState = None,
) -> Tensor:
    """Return the best known arrangement of class proxies.

    Parameters
    ----------
    n_classes : int
        At least 2.
    n_components : int
        At least 1. With 1 there are two points on the sphere, which the classes share in turn.
    s : float, default=2.0
        Exponent of the energy to minimise where there is no closed form.
    by_separation : bool, default=False
        Whether the smallest distance counts in place of the energy.
    random_state : int, RandomState or None
        Of the search, where there is one.

    Returns
    -------
    proxies : Tensor of shape (n_classes, n_components)
        Unit rows, float64: the simplex for ``n_classes <= n_components + 1``,
        :func:`orthogonal_simplices` for up to ``2 * n_components``, else what
        :func:`minimal_energy` or :func:`maximal_separation` finds. In many dimensions the
        energy is flat around its minimum: a better separated arrangement is preferred to one
        whose energy is lower by less than a hundred-thousandth. For ``n_classes^2 n_components``
        above 5e8 (2,000 classes in 128 components) it is the :func:`spherical_code`, whose
        energy is within a thousandth of what a search finds and whose largest cosine is smaller;
        for the separation above 3.5e7.

    Notes
    -----
    A search takes one or two seconds for hundreds of points. What an integer ``random_state``
    led to is kept in the process, the last eight of up to 8 MiB each; later calls get a copy.
    For other processes store it with ``numpy.save`` and pass the array as an estimator's
    ``proxies``.

    References
    ----------
    Liu et al. 2023, section 3.3 (generalised neural collapse).

    Examples
    --------
    >>> from skhug.proxies import optimal_proxies
    >>> optimal_proxies(8, 4).shape
    torch.Size([8, 4])
    """
    _check_size(n_classes, n_components)
    if n_components == 1:
        return torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(n_classes)[:n_classes, None]
    if n_classes <= n_components + 1:
        return simplex(n_classes, n_components)
    if n_classes == 2 * n_components:
        return cross_polytope(n_classes, n_components)
    if n_classes < 2 * n_components:
        return orthogonal_simplices(n_classes, n_components)
    if isinstance(random_state, Integral) and 8 * n_classes * n_components <= _KEPT_BYTES:
        return _kept_search(n_classes, n_components, s, by_separation, random_state).clone()
    return _search(n_classes, n_components, s, by_separation, random_state)


def _search(
    n_points: int, n_components: int, s: float, by_separation: bool, random_state: RandomState
) -> Tensor:
    """Arrange points for which there is no closed form."""
    stages = len(_TEMPERATURES) if by_separation else 1
    if n_points**2 * n_components > _LARGE / stages:
        return spherical_code(n_points, n_components, random_state)
    if by_separation:
        return maximal_separation(n_points, n_components, random_state=random_state)
    points = minimal_energy(n_points, n_components, s, random_state=random_state)
    apart = _separate(points, 0.1, _evaluations(1, n_points, n_components))
    least = hyperspherical_energy(points, s)
    if hyperspherical_energy(apart, s) - least <= _TIE * least.abs():
        return apart
    return points


# Holds no lock of Python's, so that a child forked amid a search in another thread can go on; two
# threads may then search for the same points, and find the same.
_kept_search = lru_cache(maxsize=_KEPT)(_search)


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


def _evaluations(n_starts: int, n_points: int, n_components: int) -> int:
    """Evaluations a start: a pair costs 2 products of n_components each for value and gradient."""
    evaluations = _BUDGET / (4 * n_points**2 * n_components * n_starts)
    return int(np.clip(evaluations, *_EVALUATIONS))


def _separate(points: Tensor, temperature: float, evaluations: int) -> Tensor:
    return _lbfgs(lambda p: -separation(p, temperature) / temperature, points, evaluations)


def _starts(
    n_starts: int | None, n_points: int, n_components: int, random_state: RandomState
) -> list[Tensor]:
    if n_starts is None:
        n_starts = 10 if n_points <= 64 else 1
    rng = check_random_state(random_state)
    draws = rng.standard_normal((n_starts, n_points, n_components))
    return list(F.normalize(torch.from_numpy(draws), dim=-1))


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
