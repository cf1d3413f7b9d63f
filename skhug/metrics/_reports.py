"""Many measures at once, in a dict that prints as a table."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from skhug._sklearn import fitted_step
from skhug.metrics._class_statistics import Classwise
from skhug.metrics._measures import GEOMETRY

__all__ = ["geometry_report", "neural_collapse_report"]


class Report(dict):
    """Values by name, each beside its optimum; prints as a table.

    Parameters
    ----------
    values : mapping of str to float
        The measures.
    optimum : mapping of str to float
        The value that each could reach at best; NaN or absent where it is not known.

    Attributes
    ----------
    optimum : dict of str to float
        As passed.

    Examples
    --------
    >>> from skhug.metrics import Report
    >>> Report({"recall_at_1": 0.5, "energy": 2.0}, {"recall_at_1": 1.0})
                    value   optimum
    recall_at_1    0.5000    1.0000
    energy         2.0000         -
    """

    def __init__(self, values: Mapping[str, float], optimum: Mapping[str, float]) -> None:
        super().__init__(values)
        self.optimum = dict(optimum)

    def __repr__(self) -> str:
        width = max(map(len, self), default=0)
        lines = [f"{'':{width}}  {'value':>8}  {'optimum':>8}"]
        for name, value in self.items():
            best = self.optimum.get(name, math.nan)
            shown = "-" if math.isnan(best) else f"{best:.4f}"
            lines.append(f"{name:{width}}  {_number(value):>8}  {shown:>8}")
        return "\n".join(lines)

    def __reduce__(self) -> tuple:
        return type(self), (dict(self), self.optimum)


def _number(value: float) -> str:
    """Four decimals, or an exponent where they would show nothing; a count as it is."""
    if isinstance(value, int):
        return str(value)
    return f"{value:.4f}" if value == 0 or 1e-3 <= abs(value) < 1e5 else f"{value:.1e}"


def geometry_report(embeddings: Any, labels: Any, proxies: Any = None) -> Report:
    """Every measure of neural collapse and uniformity, each beside its optimum.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are; a Tensor is measured on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type; at least 2 classes.
    proxies : array or Tensor of shape (n_classes, n_components), optional
        One per class: in the sorted order of the labels where there are as many classes, else
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
        for name, measure in GEOMETRY.items()
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
