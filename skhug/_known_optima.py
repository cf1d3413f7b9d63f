"""Arrangements of points on the sphere that are proved optimal, by the cosines between them."""

from __future__ import annotations

import math
from typing import NamedTuple

__all__ = ["KnownOptimum", "known_optimum"]


class KnownOptimum(NamedTuple):
    """An arrangement that is optimal for every energy at once.

    ``cosines`` are those from any of its points to the others, each with how many have it.
    """

    name: str
    cosines: dict[float, int]


_ROOT5 = math.sqrt(5)

# By (points, components): Cohn and Kumar, "Universally optimal distribution of points on
# spheres", J. Amer. Math. Soc. 20, 2007, table 1.
_SPORADIC: dict[tuple[int, int], KnownOptimum] = {
    (12, 3): KnownOptimum("icosahedron", {-1: 1, -1 / _ROOT5: 5, 1 / _ROOT5: 5}),
    (120, 4): KnownOptimum(
        "600-cell",
        {
            -1: 1,
            -(1 + _ROOT5) / 4: 12,
            -0.5: 20,
            (1 - _ROOT5) / 4: 12,
            0: 30,
            (_ROOT5 - 1) / 4: 12,
            0.5: 20,
            (1 + _ROOT5) / 4: 12,
        },
    ),
    (16, 5): KnownOptimum("hemicube", {-0.6: 5, 0.2: 10}),
    (27, 6): KnownOptimum("Schläfli polytope", {-0.5: 10, 0.25: 16}),
    (56, 7): KnownOptimum("equiangular lines", {-1: 1, -1 / 3: 27, 1 / 3: 27}),
    (240, 8): KnownOptimum("E8 roots", {-1: 1, -0.5: 56, 0: 126, 0.5: 56}),
}


def known_optimum(n_points: int, n_components: int) -> KnownOptimum | None:
    """Return the optimal arrangement of so many points, None where it is not known.

    The simplex where it fits, regular polygons on the circle, the cross-polytope for twice as
    many points as components, and six more.

    Raises
    ------
    ValueError
        If a size is out of range.
    """
    n, d = n_points, n_components
    if n < 2 or d < 1:
        raise ValueError(f"{n} points in {d} components: pass at least 2 points and 1 component.")
    if n <= d + 1:
        return KnownOptimum("simplex", {-1 / (n - 1): n - 1})
    if n == 2 * d:
        return KnownOptimum("cross-polytope", {0.0: n - 2, -1.0: 1})
    if d == 2:
        steps = range(1, n // 2 + 1)
        counts = {math.cos(2 * math.pi * j / n): 1 if 2 * j == n else 2 for j in steps}
        return KnownOptimum("regular polygon", counts)
    return _SPORADIC.get((n, d))
