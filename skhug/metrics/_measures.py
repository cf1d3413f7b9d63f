"""The measures of geometry by name, each with its optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from skhug.metrics import _collapse, _uniformity
from skhug.metrics._class_statistics import Classwise
from skhug.metrics._optima import optimal_energy, optimal_separation

__all__ = ["GEOMETRY"]


def _best_equiangularity(n_classes: int, n_components: int) -> float:
    """Spread of the cosines of an equal-norm tight frame: Welch's bound for centred means."""
    c, d = n_classes, min(n_components, n_classes - 1)
    return math.sqrt(max((c / d - 1) / (c - 1) - 1 / (c - 1) ** 2, 0.0))


def _best_simplex_distance(n_classes: int, n_components: int) -> float:
    """Distance of the simplex's Gram matrix from the nearest of rank n_components."""
    c, d = n_classes, min(n_components, n_classes - 1)
    return math.sqrt(2 - 2 * math.sqrt(d / (c - 1)))


def _best_maximal_angle(n_classes: int, n_components: int) -> float:
    """Zero where the simplex fits; not known elsewhere."""
    return 0.0 if n_classes <= n_components + 1 else math.nan


def _constant(value: float) -> Callable[[int, int], float]:
    return lambda n_classes, n_components: value


class GeometryMeasure(NamedTuple):
    """A measure, its optimum for (n_classes, n_components), and whether it needs proxies."""

    value: Callable[[Classwise], float]
    optimum: Callable[[int, int], float]
    needs_proxies: bool = False


GEOMETRY: dict[str, GeometryMeasure] = {
    "within_class_variability": GeometryMeasure(
        _collapse.within_class_variability_of, _constant(0.0)
    ),
    "cdnv": GeometryMeasure(_collapse.class_distance_normalized_variance_of, _constant(0.0)),
    "equinorm": GeometryMeasure(_collapse.equinorm_of, _constant(0.0)),
    "equiangularity": GeometryMeasure(_collapse.equiangularity_of, _best_equiangularity),
    "maximal_angle": GeometryMeasure(_collapse.maximal_angle_of, _best_maximal_angle),
    "simplex_distance": GeometryMeasure(_collapse.simplex_distance_of, _best_simplex_distance),
    "self_duality": GeometryMeasure(_collapse.self_duality_of, _constant(0.0), True),
    "ncc_agreement": GeometryMeasure(_collapse.ncc_agreement_of, _constant(1.0), True),
    "energy": GeometryMeasure(_uniformity.energy_of, optimal_energy),
    "separation": GeometryMeasure(_uniformity.separation_of, optimal_separation),
    "uniformity_between": GeometryMeasure(
        _uniformity.uniformity_between_of, lambda c, d: -optimal_energy(c, d)
    ),
    "uniformity_within": GeometryMeasure(_uniformity.uniformity_within_of, _constant(0.0)),
    "uniformity_gap": GeometryMeasure(
        _uniformity.uniformity_gap_of, lambda c, d: -optimal_energy(c, d)
    ),
}
