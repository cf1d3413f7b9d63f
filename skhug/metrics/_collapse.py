"""Neural collapse as the literature measures it, on embeddings, labels and proxies.

Classes weigh alike whatever their sizes, which is the usual definition where they are equal. The
centre of the class means is their plain mean. Values are NaN where all class means coincide.

Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep learning
training", PNAS 117(40), 2020, defined NC1 to NC4.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from skhug._sphere import unit
from skhug.metrics._class_statistics import Classwise, row_blocks

__all__ = [
    "class_distance_normalized_variance",
    "equiangularity",
    "equinorm",
    "maximal_angle",
    "ncc_agreement",
    "self_duality",
    "simplex_distance",
    "within_class_variability",
]


def within_class_variability(embeddings: Any, labels: Any) -> float:
    """Within-class variability relative to between-class (NC1): ``tr(Sigma_W Sigma_B^+) / C``.

    Sigma_W is the mean over classes of the covariance of a class, Sigma_B the covariance of the
    class means, + the pseudo-inverse.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.

    Returns
    -------
    value : float
        0 or more; 0 where every embedding is its class mean.

    References
    ----------
    Papyan et al. 2020, NC1.

    Examples
    --------
    >>> from skhug.metrics import within_class_variability
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(within_class_variability(z, ["a", "a", "b", "b"]), 6)
    0.0
    """
    return within_class_variability_of(Classwise(embeddings, labels))


def within_class_variability_of(x: Classwise) -> float:
    """``tr(Sigma_W Sigma_B^+) / C``: residuals in the axes of the class means, whitened."""
    _, scale, axes = torch.linalg.svd(x.centred / math.sqrt(x.n_classes), full_matrices=False)
    tolerance = torch.finfo(x.embeddings.dtype).eps * max(x.centred.shape)
    kept = scale > tolerance * scale[0]
    whitening = axes[kept].T / scale[kept]  # (n_components, rank)
    return float(x.class_means_of(lambda r: (r @ whitening).square().sum(1)).sum()) / (
        x.n_classes**2
    )


def class_distance_normalized_variance(embeddings: Any, labels: Any) -> float:
    """Class-distance normalised variance (CDNV), NC1 by pairs of classes.

    Mean over pairs of ``(V_c + V_c') / (2 ||m_c - m_c'||^2)``, with V_c the mean squared distance
    to the class mean m_c. Memory is linear in the number of classes.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.

    Returns
    -------
    value : float
        0 or more, infinite where two class means coincide.

    References
    ----------
    Galanti, György and Hutter, "On the role of neural collapse in transfer learning", ICLR
    2022, definition 1.

    Examples
    --------
    >>> from skhug.metrics import class_distance_normalized_variance
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(class_distance_normalized_variance(z, ["a", "a", "b", "b"]), 6)
    0.0025
    """
    return class_distance_normalized_variance_of(Classwise(embeddings, labels))


def class_distance_normalized_variance_of(x: Classwise) -> float:
    """Mean over ordered pairs of classes of ``(V_c + V_c') / (2 ||m_c - m_c'||^2)``."""
    total = 0.0
    for rows in row_blocks(x.n_classes, x.n_classes):
        squared = torch.cdist(x.means[rows], x.means).square()
        squared[:, rows].fill_diagonal_(torch.inf)
        ratio = (x.variance[rows, None] + x.variance) / (2 * squared)
        total += float(ratio.nan_to_num(nan=math.inf, posinf=math.inf).sum())
    return total / _pairs(x)


def equinorm(embeddings: Any, labels: Any) -> float:
    """Coefficient of variation of the centred class means' norms (NC2).

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.

    Returns
    -------
    value : float
        0 or more; 0 where all norms are equal.

    References
    ----------
    Papyan et al. 2020, NC2 (equinorm).

    Examples
    --------
    >>> from skhug.metrics import equinorm
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(equinorm(z, ["a", "a", "b", "b"]), 6)
    0.0
    """
    return equinorm_of(Classwise(embeddings, labels))


def equinorm_of(x: Classwise) -> float:
    """Coefficient of variation of the centred class means' norms."""
    norm = x.centred.norm(dim=1)
    return float(norm.std(correction=0) / norm.mean())


def equiangularity(embeddings: Any, labels: Any) -> float:
    """Standard deviation of the cosines between centred class means (NC2).

    At best 0 for up to ``n_components + 1`` classes. Beyond, means of equal norm cannot go below
    ``sqrt((C/d - 1) / (C - 1) - 1 / (C - 1)^2)``, Welch's bound.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.

    Returns
    -------
    value : float
        From 0 to 1.

    References
    ----------
    Papyan et al. 2020, NC2 (equiangularity); Welch, "Lower bounds on the maximum cross
    correlation of signals", IEEE Trans. Inf. Theory 20, 1974.

    Examples
    --------
    >>> from skhug.metrics import equiangularity
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(equiangularity(z, ["a", "a", "b", "b"]), 6)
    0.0
    """
    return equiangularity_of(Classwise(embeddings, labels))


def equiangularity_of(x: Classwise) -> float:
    """Spread of the centred class means' cosines around their own mean."""
    direction = unit(x.centred)
    mean = (float(direction.sum(0).square().sum()) - x.n_classes) / _pairs(x)
    return math.sqrt(_over_pairs(direction, lambda cos: (cos - mean).square()) / _pairs(x))


def maximal_angle(embeddings: Any, labels: Any) -> float:
    """Mean distance of the centred class means' cosines from ``-1 / (C - 1)`` (NC2).

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.

    Returns
    -------
    value : float
        0 or more; 0 where the class means are a simplex.

    References
    ----------
    Papyan et al. 2020, NC2 (maximal angle).

    Examples
    --------
    >>> from skhug.metrics import maximal_angle
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(maximal_angle(z, ["a", "a", "b", "b"]), 6)
    0.0
    """
    return maximal_angle_of(Classwise(embeddings, labels))


def maximal_angle_of(x: Classwise) -> float:
    """Mean distance of the centred class means' cosines from ``-1 / (C - 1)``."""
    ideal = -1 / (x.n_classes - 1)
    direction = unit(x.centred)
    return _over_pairs(direction, lambda cos: (cos - ideal).abs()) / _pairs(x)


def simplex_distance(embeddings: Any, labels: Any) -> float:
    """Distance of the centred class means from a simplex equiangular tight frame (NC2).

    Frobenius norm of ``G / ||G|| - (I - 1/C) / sqrt(C - 1)``, with G the means' Gram matrix. At
    best 0 for up to ``n_components + 1`` classes and ``sqrt(2 - 2 sqrt(d / (C - 1)))`` beyond: G
    has rank d at most.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.

    Returns
    -------
    value : float
        From 0 to sqrt(2).

    References
    ----------
    Zhu, Ding, Zhou, Li, You, Sulam and Qu, "A geometric analysis of neural collapse with
    unconstrained features", NeurIPS 2021, section 4.

    Examples
    --------
    >>> from skhug.metrics import simplex_distance
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(simplex_distance(z, ["a", "a", "b", "b"]), 6)
    0.0
    """
    return simplex_distance_of(Classwise(embeddings, labels))


def simplex_distance_of(x: Classwise) -> float:
    """Frobenius distance of the centred Gram matrix from the simplex's, both of norm 1."""
    size = (x.centred.T @ x.centred).norm()  # of the Gram matrix, without forming it
    n, total = x.n_classes, 0.0
    for rows in row_blocks(n, n):
        difference = x.centred[rows] @ x.centred.T / size + 1 / (n * math.sqrt(n - 1))
        difference[:, rows].diagonal().sub_(1 / math.sqrt(n - 1))
        total += float(difference.square().sum())
    return math.sqrt(total)


def self_duality(embeddings: Any, labels: Any, proxies: Any) -> float:
    """Squared distance between class means and proxies (NC3).

    Both are centred and divided by their Frobenius norm.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.
    proxies : array or Tensor of shape (n_classes, n_components)
        One per class: in the sorted order of the labels where there are as many classes, else
        labels are the proxies' row numbers and classes without rows are left out.

    Returns
    -------
    value : float
        From 0 to 4; 0 where proxies are the class means but for scale and centre.

    References
    ----------
    Papyan et al. 2020, NC3.

    Examples
    --------
    >>> from skhug.metrics import self_duality
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(self_duality(z, ["a", "a", "b", "b"], proxies=[[1.0, 0.2], [-1.0, 0.2]]), 6)
    0.0
    """
    return self_duality_of(Classwise(embeddings, labels, proxies))


def self_duality_of(x: Classwise) -> float:
    """Squared distance of centred means and centred proxies, each of Frobenius norm 1."""
    proxies = _proxies(x).to(x.dtype)
    proxies = proxies - proxies.mean(0)
    return float((x.centred / x.centred.norm() - proxies / proxies.norm()).square().sum())


def ncc_agreement(embeddings: Any, labels: Any, proxies: Any) -> float:
    """Share of rows whose nearest class mean is the class of their nearest proxy (NC4).

    The class mean by distance, the proxy by cosine.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are, not normalised. A Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.
    proxies : array or Tensor of shape (n_classes, n_components)
        One per class: in the sorted order of the labels where there are as many classes, else
        labels are the proxies' row numbers and classes without rows are left out.

    Returns
    -------
    value : float
        From 0 to 1.

    References
    ----------
    Papyan et al. 2020, NC4, which counts disagreements.

    Examples
    --------
    >>> from skhug.metrics import ncc_agreement
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> round(ncc_agreement(z, ["a", "a", "b", "b"], proxies=[[1.0, 0.2], [-1.0, 0.2]]), 6)
    1.0
    """
    return ncc_agreement_of(Classwise(embeddings, labels, proxies))


def ncc_agreement_of(x: Classwise) -> float:
    """Share of rows whose nearest class mean and nearest proxy are of one class."""
    proxies, means = unit(_proxies(x)), x.means.to(x.embeddings)
    half_squared = means.square().sum(1) / 2
    agreed = 0
    for rows in x.blocks(x.n_classes):
        z = x.embeddings[rows]
        nearest_mean = (z @ means.T - half_squared).argmax(1)
        agreed += int((nearest_mean == (z @ proxies.T).argmax(1)).sum())
    return agreed / len(x.embeddings)


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


def _proxies(x: Classwise) -> Tensor:
    if x.proxies is None:
        raise ValueError("This measure compares with the proxies: pass proxies=.")
    return x.proxies
