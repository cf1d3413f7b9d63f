"""Neural collapse and hyperspherical uniformity as numbers, each beside its optimum."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from skhug._sphere import unit
from skhug.losses import hyperspherical_energy, separation, within_class_energy
from skhug.metrics._class_statistics import Classwise, row_blocks
from skhug.metrics._optima import optimal_energy, optimal_separation

ENERGY = 2.0  # Riesz exponent between classes
WITHIN = -2.0  # and within a class


def within_class_variability(x: Classwise) -> float:
    """``tr(Sigma_W Sigma_B^+) / C``: residuals in the axes of the class means, whitened."""
    _, scale, axes = torch.linalg.svd(x.centred / math.sqrt(x.n_classes), full_matrices=False)
    tolerance = torch.finfo(x.embeddings.dtype).eps * max(x.centred.shape)
    kept = scale > tolerance * scale[0]
    whitening = axes[kept].T / scale[kept]  # (n_components, rank)
    return float(x.class_means_of(lambda r: (r @ whitening).square().sum(1)).sum()) / (
        x.n_classes**2
    )


def cdnv(x: Classwise) -> float:
    """Mean over ordered pairs of classes of ``(V_c + V_c') / (2 ||m_c - m_c'||^2)``."""
    total = 0.0
    for rows in row_blocks(x.n_classes, x.n_classes):
        squared = torch.cdist(x.means[rows], x.means).square()
        squared[:, rows].fill_diagonal_(torch.inf)
        ratio = (x.variance[rows, None] + x.variance) / (2 * squared)
        total += float(ratio.nan_to_num(nan=math.inf, posinf=math.inf).sum())
    return total / _pairs(x)


def equinorm(x: Classwise) -> float:
    """Coefficient of variation of the centred class means' norms."""
    norm = x.centred.norm(dim=1)
    return float(norm.std(correction=0) / norm.mean())


def equiangularity(x: Classwise) -> float:
    """Spread of the centred class means' cosines around their own mean."""
    direction = unit(x.centred)
    mean = (float(direction.sum(0).square().sum()) - x.n_classes) / _pairs(x)
    return math.sqrt(_over_pairs(direction, lambda cos: (cos - mean).square()) / _pairs(x))


def maximal_angle(x: Classwise) -> float:
    """Mean distance of the centred class means' cosines from ``-1 / (C - 1)``."""
    ideal = -1 / (x.n_classes - 1)
    direction = unit(x.centred)
    return _over_pairs(direction, lambda cos: (cos - ideal).abs()) / _pairs(x)


def simplex_distance(x: Classwise) -> float:
    """Frobenius distance of the centred Gram matrix from the simplex's, both of norm 1."""
    size = (x.centred.T @ x.centred).norm()  # of the Gram matrix, without forming it
    n, total = x.n_classes, 0.0
    for rows in row_blocks(n, n):
        difference = x.centred[rows] @ x.centred.T / size + 1 / (n * math.sqrt(n - 1))
        difference[:, rows].diagonal().sub_(1 / math.sqrt(n - 1))
        total += float(difference.square().sum())
    return math.sqrt(total)


def self_duality(x: Classwise) -> float:
    """Squared distance of centred means and centred proxies, each of Frobenius norm 1."""
    proxies = _proxies(x).to(x.dtype)
    proxies = proxies - proxies.mean(0)
    return float((x.centred / x.centred.norm() - proxies / proxies.norm()).square().sum())


def ncc_agreement(x: Classwise) -> float:
    """Share of rows whose nearest class mean and nearest proxy are of one class."""
    proxies, means = unit(_proxies(x)), x.means.to(x.embeddings)
    half_squared = means.square().sum(1) / 2
    agreed = 0
    for rows in x.blocks(x.n_classes):
        z = x.embeddings[rows]
        nearest_mean = (z @ means.T - half_squared).argmax(1)
        agreed += int((nearest_mean == (z @ proxies.T).argmax(1)).sum())
    return agreed / len(x.embeddings)


def energy(x: Classwise, s: float = ENERGY) -> float:
    """Hyperspherical energy a class of the class means."""
    return float(hyperspherical_energy(unit(x.means), s))


def smallest_distance(x: Classwise) -> float:
    """Smallest distance between class means on the sphere."""
    return float(separation(x.means))


def uniformity_between(x: Classwise, s: float = ENERGY) -> float:
    """Minus the energy a class of the proxies, or of the class means."""
    return -float(hyperspherical_energy(_centres(x), s))


def uniformity_within(x: Classwise, s: float = WITHIN) -> float:
    """Mean over classes of the mean of ``||z_i - w_y||^-s``."""
    ones = torch.ones_like(x.embeddings[:, 0])  # their dtype is that of the coefficients
    return float(within_class_energy(unit(x.embeddings), x.codes, _centres(x), s, ones))


def uniformity_gap(x: Classwise, s: float = ENERGY, s_within: float = WITHIN) -> float:
    """Uniformity between classes minus uniformity within them."""
    return uniformity_between(x, s) - uniformity_within(x, s_within)


def best_equiangularity(n_classes: int, n_components: int) -> float:
    """Spread of the cosines of an equal-norm tight frame: Welch's bound for centred means."""
    c, d = n_classes, min(n_components, n_classes - 1)
    return math.sqrt(max((c / d - 1) / (c - 1) - 1 / (c - 1) ** 2, 0.0))


def best_simplex_distance(n_classes: int, n_components: int) -> float:
    """Distance of the simplex's Gram matrix from the nearest of rank n_components."""
    c, d = n_classes, min(n_components, n_classes - 1)
    return math.sqrt(2 - 2 * math.sqrt(d / (c - 1)))


def best_maximal_angle(n_classes: int, n_components: int) -> float:
    """Zero where the simplex fits; not known elsewhere."""
    return 0.0 if n_classes <= n_components + 1 else math.nan


def _constant(value: float) -> Callable[[int, int], float]:
    return lambda n_classes, n_components: value


class GeometryMeasure(NamedTuple):
    """A measure, its optimum for (n_classes, n_components), and whether it needs proxies."""

    value: Callable[[Classwise], float]
    optimum: Callable[[int, int], float]
    needs_proxies: bool = False


MEASURES: dict[str, GeometryMeasure] = {
    "within_class_variability": GeometryMeasure(within_class_variability, _constant(0.0)),
    "cdnv": GeometryMeasure(cdnv, _constant(0.0)),
    "equinorm": GeometryMeasure(equinorm, _constant(0.0)),
    "equiangularity": GeometryMeasure(equiangularity, best_equiangularity),
    "maximal_angle": GeometryMeasure(maximal_angle, best_maximal_angle),
    "simplex_distance": GeometryMeasure(simplex_distance, best_simplex_distance),
    "self_duality": GeometryMeasure(self_duality, _constant(0.0), True),
    "ncc_agreement": GeometryMeasure(ncc_agreement, _constant(1.0), True),
    "energy": GeometryMeasure(energy, optimal_energy),
    "separation": GeometryMeasure(smallest_distance, optimal_separation),
    "uniformity_between": GeometryMeasure(uniformity_between, lambda c, d: -optimal_energy(c, d)),
    "uniformity_within": GeometryMeasure(uniformity_within, _constant(0.0)),
    "uniformity_gap": GeometryMeasure(uniformity_gap, lambda c, d: -optimal_energy(c, d)),
}


def _pairs(x: Classwise) -> int:
    return x.n_classes * (x.n_classes - 1)


def _over_pairs(direction: Tensor, value: Callable[[Tensor], Tensor]) -> float:
    """Sum a function of the cosines over the ordered pairs of different rows."""
    total = 0.0
    for rows in row_blocks(len(direction), len(direction)):
        values = value(direction[rows] @ direction.T)
        values[:, rows].fill_diagonal_(0)
        total += float(values.sum())
    return total


def _centres(x: Classwise) -> Tensor:
    return unit(x.means.to(x.embeddings) if x.proxies is None else x.proxies)


def _proxies(x: Classwise) -> Tensor:
    if x.proxies is None:
        raise ValueError("This measure compares with the proxies: pass proxies=.")
    return x.proxies
