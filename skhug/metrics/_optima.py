"""What hyperspherical energy and separation can reach at best, where that is proved."""

from __future__ import annotations

import math

from skhug._known_optima import known_optimum

__all__ = ["optimal_energy", "optimal_separation"]


def optimal_energy(n_points: int, n_components: int, s: float = 2.0) -> float:
    """Return the least hyperspherical energy per point, where it is known.

    Parameters
    ----------
    n_points : int
        At least 2.
    n_components : int
        At least 1.
    s : float, default=2.0
        Riesz exponent, 0 or more; 0 is the logarithmic energy.

    Returns
    -------
    energy : float
        In the scale of :func:`skhug.losses.hyperspherical_energy`. Known for the simplex
        (``n_points <= n_components + 1``), the cross-polytope (``n_points = 2 n_components``),
        regular polygons (``n_components = 2``), the icosahedron (12, 3), the 600-cell (120, 4)
        and (16, 5), (27, 6), (56, 7), (240, 8); NaN elsewhere.

    Raises
    ------
    ValueError
        If a size or the exponent is out of range.

    References
    ----------
    Cohn and Kumar, "Universally optimal distribution of points on spheres", J. Amer. Math.
    Soc. 20, 2007, theorem 1.2.

    Examples
    --------
    >>> from skhug.metrics import optimal_energy
    >>> optimal_energy(4, 3)  # the simplex: 3 others at squared distance 8/3
    1.125
    >>> optimal_energy(5, 3)
    nan
    """
    if not s >= 0:
        raise ValueError(f"s={s!r}: the energy between points needs s >= 0.")
    known = known_optimum(n_points, n_components)
    if known is None:
        return math.nan
    return math.fsum(count * _riesz(2 - 2 * cos, s) for cos, count in known.cosines.items())


def optimal_separation(n_points: int, n_components: int) -> float:
    """Return the largest smallest distance between points on the sphere, where it is known.

    Parameters
    ----------
    n_points : int
        At least 2.
    n_components : int
        At least 1.

    Returns
    -------
    distance : float
        In units of the radius. Known where the least energy is, and for
        ``n_points <= 2 n_components`` (sqrt(2) beyond the simplex); NaN elsewhere.

    Raises
    ------
    ValueError
        If a size is out of range.

    References
    ----------
    Rankin, "The closest packing of spherical caps in n dimensions", Proc. Glasgow Math. Assoc.
    2, 1955; Cohn and Kumar 2007.

    Examples
    --------
    >>> from skhug.metrics import optimal_separation
    >>> optimal_separation(6, 2)  # the hexagon
    1.0
    """
    known = known_optimum(n_points, n_components)
    if known is not None:
        return round(math.sqrt(2 - 2 * max(known.cosines)), 15)
    return math.sqrt(2) if n_points <= 2 * n_components else math.nan


def _riesz(squared: float, s: float) -> float:
    return -0.5 * math.log(squared) if s == 0 else squared ** (-s / 2)
