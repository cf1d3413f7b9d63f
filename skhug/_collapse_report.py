"""All measures of geometry at once, of embeddings and of a fitted estimator."""

from __future__ import annotations

from typing import Any

import numpy as np

from skhug._classwise import Classwise
from skhug._geometry import MEASURES
from skhug._report import Report
from skhug._unwrap import fitted_step

__all__ = ["geometry_report", "neural_collapse_report"]


def geometry_report(embeddings: Any, labels: Any, proxies: Any = None) -> Report:
    """Every measure of neural collapse and uniformity, each beside its optimum.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are; a Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.
    proxies : array or Tensor of shape (n_classes, n_components), optional
        One a class: in the sorted order of the labels where there are as many classes, else
        labels are the proxies' row numbers. Without, measures that need them are left out.

    Returns
    -------
    report : Report
        ``within_class_variability``, ``cdnv`` (NC1), ``equinorm``, ``equiangularity``,
        ``maximal_angle``, ``simplex_distance`` (NC2), ``self_duality`` (NC3), ``ncc_agreement``
        (NC4), ``energy`` and ``separation`` of the class means, ``uniformity_between``,
        ``uniformity_within`` and ``uniformity_gap`` around the proxies, else the class means;
        energies at s = 2, within classes at s = -2. Optima are for the classes at hand and
        ``n_components``, NaN where none is known.

    Examples
    --------
    >>> from skhug.metrics import geometry_report
    >>> z = [[1.0, 0.1], [1.0, -0.1], [-1.0, 0.1], [-1.0, -0.1]]
    >>> geometry_report(z, ["a", "a", "b", "b"])["equinorm"]
    0.0
    """
    x = Classwise(embeddings, labels, proxies)
    size = x.n_classes, x.embeddings.shape[1]
    kept = {
        name: measure
        for name, measure in MEASURES.items()
        if x.proxies is not None or not measure.needs_proxies
    }
    return Report(
        {name: measure.value(x) for name, measure in kept.items()},
        {name: measure.optimum(*size) for name, measure in kept.items()},
    )


def neural_collapse_report(estimator: Any, X: Any, y: Any) -> Report:
    """Every measure of neural collapse and uniformity of a fitted estimator's embeddings.

    Parameters
    ----------
    estimator : estimator
        Fitted HUGClassifier or HUGEmbedder, or a Pipeline that ends in one.
    X : array-like of shape (n_samples, n_features)
        Rows to embed; neural collapse is about the training rows.
    y : array-like of shape (n_samples,)
        Their labels, of classes seen in training.

    Returns
    -------
    report : Report
        As of :func:`geometry_report`, with the estimator's proxies; a dict that prints as a
        table.

    Raises
    ------
    ValueError
        If ``y`` has classes not seen in training.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skhug import HUGClassifier
    >>> from skhug.metrics import neural_collapse_report
    >>> X, y = load_iris(return_X_y=True)
    >>> report = neural_collapse_report(HUGClassifier(random_state=0).fit(X, y), X, y)
    >>> report["separation"] <= report.optimum["separation"]
    True
    """
    final = fitted_step(estimator)
    y = np.asarray(y)
    unseen = np.setdiff1d(y, final.classes_)
    if len(unseen):
        raise ValueError(
            f"y has classes not seen in training, {unseen!r}: they have no proxies. Pass rows of "
            "the training classes, or geometry_report(estimator.transform(X), y)."
        )
    codes = np.searchsorted(final.classes_, y)
    return geometry_report(estimator.transform(X), codes, final.proxies_)
