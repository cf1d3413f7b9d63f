"""Neural collapse as the literature measures it, on embeddings, labels and proxies.

Classes weigh alike whatever their sizes, which is the usual definition where they are equal. The
centre of the class means is their plain mean. Values are NaN where all class means coincide.

Papyan, Han and Donoho, "Prevalence of neural collapse during the terminal phase of deep learning
training", PNAS 117(40), 2020, defined NC1 to NC4.
"""

from __future__ import annotations

from typing import Any

from skhug.metrics import _geometry as geometry
from skhug.metrics._class_statistics import Classwise

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
    return geometry.within_class_variability(Classwise(embeddings, labels))


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
    return geometry.cdnv(Classwise(embeddings, labels))


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
    return geometry.equinorm(Classwise(embeddings, labels))


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
    return geometry.equiangularity(Classwise(embeddings, labels))


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
    return geometry.maximal_angle(Classwise(embeddings, labels))


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
    return geometry.simplex_distance(Classwise(embeddings, labels))


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
        One a class: in the sorted order of the labels where there are as many classes, else
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
    return geometry.self_duality(Classwise(embeddings, labels, proxies))


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
        One a class: in the sorted order of the labels where there are as many classes, else
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
    return geometry.ncc_agreement(Classwise(embeddings, labels, proxies))
