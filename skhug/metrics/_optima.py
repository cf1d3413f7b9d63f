"""What hyperspherical energy and separation can reach at best, where that is proved."""

from __future__ import annotations

import math

__all__ = ["optimal_energy", "optimal_separation"]

_ROOT5 = math.sqrt(5)

# Arrangements optimal for every energy at once, by (points, components): the cosines from a
# point to the others and how many others have them. Cohn and Kumar 2007, table 1.
_UNIVERSALLY_OPTIMAL: dict[tuple[int, int], dict[float, int]] = {
    (12, 3): {-1: 1, -1 / _ROOT5: 5, 1 / _ROOT5: 5},  # icosahedron
    (120, 4): {  # 600-cell
        -1: 1,
        -(1 + _ROOT5) / 4: 12,
        -0.5: 20,
        (1 - _ROOT5) / 4: 12,
        0: 30,
        (_ROOT5 - 1) / 4: 12,
        0.5: 20,
        (1 + _ROOT5) / 4: 12,
    },
    (16, 5): {-0.6: 5, 0.2: 10},
    (27, 6): {-0.5: 10, 0.25: 16},
    (56, 7): {-1: 1, -1 / 3: 27, 1 / 3: 27},
    (240, 8): {-1: 1, -0.5: 56, 0: 126, 0.5: 56},  # roots of E8
}


def optimal_energy(n_points: int, n_components: int, s: float = 2.0) -> float:
    """Return the least hyperspherical energy a point, where it is known.

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
    cosines = _optimal_cosines(n_points, n_components)
    if cosines is None:
        return math.nan
    return math.fsum(count * _riesz(2 - 2 * cosine, s) for cosine, count in cosines)


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
    cosines = _optimal_cosines(n_points, n_components)
    if cosines is not None:
        return round(math.sqrt(2 - 2 * max(cosine for cosine, _ in cosines)), 15)
    return math.sqrt(2) if n_points <= 2 * n_components else math.nan


def _optimal_cosines(n_points: int, n_components: int) -> list[tuple[float, int]] | None:
    """Cosines from a point to the others with their counts, None where not known."""
    if n_points < 2 or n_components < 1:
        raise ValueError(
            f"{n_points} points in {n_components} components: pass at least 2 points and "
            "1 component."
        )
    if n_points <= n_components + 1:
        return [(-1 / (n_points - 1), n_points - 1)]
    if n_components == 2:
        return [(math.cos(2 * math.pi * j / n_points), 1) for j in range(1, n_points)]
    if n_points == 2 * n_components:
        return [(-1, 1), (0, n_points - 2)]
    known = _UNIVERSALLY_OPTIMAL.get((n_points, n_components))
    return None if known is None else list(known.items())


def _riesz(squared: float, s: float) -> float:
    return -0.5 * math.log(squared) if s == 0 else squared ** (-s / 2)
