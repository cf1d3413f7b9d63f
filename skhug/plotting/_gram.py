"""GramDisplay: the cosines between classes, beside the ideal."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from skhug._known_optima import known_optimum
from skhug.plotting._common import (
    fitted_attribute,
    labels_of,
    new_panels,
    shown,
    unit_rows,
)

# Up to so many classes every cell is labelled with its number, and every row with its class.
_MOST_NUMBERED, _MOST_NAMED = 12, 30
# The narrowest range of colours: a perfect arrangement shall not show its rounding errors.
_LEAST_RANGE = 0.2


class GramDisplay:
    """Cosines between the classes' proxies or means as a matrix, beside the ideal.

    Colours span the cosines off the diagonal, which itself is always 1 and left blank.

    Parameters
    ----------
    cosines : array-like of shape (n_classes, n_classes)
        Of the proxies or means.
    classes : array-like of shape (n_classes,), optional
        Their names; 0, 1, ... by default.
    ideal : array-like of shape (n_classes, n_classes), optional
        The cosines to compare with; without, one matrix is drawn.
    name : str, default="Cosines"
        Title of the matrix.
    ideal_name : str, default="Ideal"
        Title of the other.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that bound the picture.
    axes_ : ndarray of matplotlib Axes
        The panels, one for each matrix.
    images_ : list of matplotlib AxesImage
        The matrices drawn, their diagonals masked.
    deviation_ : float or None
        Largest difference to the ideal off the diagonal.
    figure_ : matplotlib Figure
        The figure.

    Examples
    --------
    >>> from skhug.plotting import GramDisplay
    >>> from skhug.proxies import simplex
    >>> display = GramDisplay.from_proxies(simplex(4, 3), ["a", "b", "c", "d"])
    >>> round(float(display.ideal[0, 1]), 3), round(display.deviation_, 3)
    (-0.333, 0.0)
    """

    def __init__(
        self,
        cosines: Any,
        classes: Any = None,
        *,
        ideal: Any = None,
        name: str = "Cosines",
        ideal_name: str = "Ideal",
    ) -> None:
        self.cosines = cosines
        self.classes = classes
        self.ideal = ideal
        self.name = name
        self.ideal_name = ideal_name

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any = None, y: Any = None, *, ideal: Any = None, ax: Any = None
    ) -> GramDisplay:
        """Draw the cosines between an estimator's proxies, or between the class means of rows.

        Parameters
        ----------
        estimator : object
            Fitted, with ``proxies_`` and ``classes_``, or with ``transform`` for class means.
        X : array-like of shape (n_samples, ...), optional
            Rows to embed; without them the proxies are drawn.
        y : array-like of shape (n_samples,), optional
            Their classes, seen in training or not.
        ideal : array-like of shape (n_classes, n_classes), optional
            Cosines to compare with, for example those of ``optimal_proxies``; by default the
            closed form where there is one.
        ax : matplotlib Axes, optional
            Part of a grid of axes; a new figure by default.

        Returns
        -------
        display : GramDisplay
            Drawn.
        """
        if (X is None) != (y is None):
            raise ValueError("Pass X and y to draw class means, or neither to draw proxies.")
        if X is not None:
            return cls.from_predictions(y, estimator.transform(X), ideal=ideal, ax=ax)
        proxies = fitted_attribute(estimator, "proxies_", "pass X and y to draw class means")
        classes = fitted_attribute(estimator, "classes_", "call from_proxies")
        return cls.from_proxies(proxies, classes, ideal=ideal, ax=ax)

    @classmethod
    def from_predictions(
        cls, y: Any, embeddings: Any, *, ideal: Any = None, ax: Any = None
    ) -> GramDisplay:
        """Draw the cosines between the class means of embeddings.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Classes.
        embeddings : array-like of shape (n_samples, n_components)
            Normalised here; so are their means.
        ideal : array-like of shape (n_classes, n_classes), optional
            Cosines to compare with, classes sorted; by default the closed form if there is one.
        ax : matplotlib Axes, optional
            Part of a grid of axes; a new figure by default.

        Returns
        -------
        display : GramDisplay
            Drawn.
        """
        z = unit_rows(embeddings, "embeddings")
        classes, codes = np.unique(labels_of(y, len(z)), return_inverse=True)
        sums = np.zeros((len(classes), z.shape[1]))
        np.add.at(sums, codes, z)
        return cls._from_points(sums, classes, ideal, "Cosines of class means", ax)

    @classmethod
    def from_proxies(
        cls, proxies: Any, classes: Any = None, *, ideal: Any = None, ax: Any = None
    ) -> GramDisplay:
        """Draw the cosines between proxies.

        Parameters
        ----------
        proxies : array-like of shape (n_classes, n_components)
            Normalised here.
        classes : array-like of shape (n_classes,), optional
            Their names.
        ideal : array-like of shape (n_classes, n_classes), optional
            Cosines to compare with; by default the closed form where there is one.
        ax : matplotlib Axes, optional
            Part of a grid of axes; a new figure by default.

        Returns
        -------
        display : GramDisplay
            Drawn.
        """
        return cls._from_points(proxies, classes, ideal, "Cosines of proxies", ax)

    @classmethod
    def _from_points(cls, points: Any, classes: Any, ideal: Any, name: str, ax: Any) -> GramDisplay:
        points = unit_rows(points, "proxies or class means")
        cosines, ideal_name = points @ points.T, "Ideal"
        if ideal is None and len(points) > 1:
            ideal, ideal_name = _closed_form(points)
            if ideal is None:
                name += (
                    f", no closed-form ideal\n{len(points)} classes, {points.shape[1]} components"
                )
        display = cls(cosines, classes, ideal=ideal, name=name, ideal_name=ideal_name)
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> GramDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Part of a grid of axes, as ``plt.subplots`` makes them; a new figure by default.

        Returns
        -------
        self : GramDisplay
            With ``ax_``, ``axes_``, ``images_``, ``deviation_`` and ``figure_``.
        """
        matrices = [_off_diagonal(self.cosines, "cosines")]
        titles = [self.name]
        self.deviation_ = None
        if self.ideal is not None:
            matrices.append(_off_diagonal(self.ideal, "ideal"))
            if matrices[1].shape != matrices[0].shape:
                raise ValueError(
                    f"ideal has shape {matrices[1].shape} and cosines {matrices[0].shape}: pass "
                    "the cosines between as many points."
                )
            self.deviation_ = float(np.abs(matrices[0] - matrices[1]).max())
            titles = [f"{self.name}\nat most {self.deviation_:.3f} off", self.ideal_name]
        self.ax_, self.axes_ = new_panels(ax, len(matrices), 2, (5.2, 4.6))
        self.figure_ = self.ax_.figure
        least, most = _colour_range(matrices)
        self.images_ = [
            panel.imshow(matrix, cmap="cividis", vmin=least, vmax=most)
            for panel, matrix in zip(self.axes_, matrices, strict=True)
        ]
        for panel, title, matrix in zip(self.axes_, titles, matrices, strict=True):
            panel.set_title(title)
            _name_rows(panel, self.classes, len(matrix))
            if len(matrix) <= _MOST_NUMBERED:
                _number_cells(panel, matrix, (least + most) / 2)
        self.figure_.colorbar(self.images_[0], ax=list(self.axes_), label="Cosine")
        return self


def _simplex_cosines(points: np.ndarray) -> np.ndarray:
    return np.full((len(points), len(points)), -1 / (len(points) - 1))


def _cross_polytope_cosines(points: np.ndarray) -> np.ndarray:
    """Any pairing of opposites is as good: take the one that is nearest."""
    ideal = np.zeros((len(points), len(points)))
    ideal[linear_sum_assignment(points @ points.T)] = -1
    return np.minimum(ideal, ideal.T)


def _polygon_cosines(points: np.ndarray) -> np.ndarray:
    """Any order around the circle is as good: take that of the points."""
    place = np.argsort(np.argsort(np.arctan2(points[:, 1], points[:, 0])))
    return np.cos(2 * np.pi * (place[:, None] - place) / len(points))


_IDEALS = {
    "simplex": _simplex_cosines,
    "cross-polytope": _cross_polytope_cosines,
    "regular polygon": _polygon_cosines,
}


def _closed_form(points: np.ndarray) -> tuple[np.ndarray | None, str]:
    """Return the ideal cosines and their name, or None where there is no closed form."""
    known = known_optimum(*points.shape)
    if known is None or known.name not in _IDEALS:
        return None, ""
    ideal = _IDEALS[known.name](points)
    np.fill_diagonal(ideal, 1.0)
    return ideal, f"Ideal: {known.name}"


def _off_diagonal(cosines: Any, name: str) -> np.ma.MaskedArray:
    cosines = np.asarray(cosines, dtype=np.float64)
    if cosines.ndim != 2 or len(cosines) != cosines.shape[1] or len(cosines) < 2:
        raise ValueError(
            f"{name} has shape {cosines.shape}: pass (n_classes, n_classes), at least 2 classes."
        )
    return np.ma.masked_array(cosines, mask=np.eye(len(cosines), dtype=bool))


def _colour_range(matrices: list[np.ma.MaskedArray]) -> tuple[float, float]:
    least, most = min(m.min() for m in matrices), max(m.max() for m in matrices)
    margin = max(0.0, _LEAST_RANGE - (most - least)) / 2
    return float(least - margin), float(most + margin)


def _name_rows(panel: Any, classes: Any, n: int) -> None:
    if n > _MOST_NAMED:
        panel.set(xlabel=f"{n} classes", ylabel=f"{n} classes", xticks=[], yticks=[])
        return
    names = shown(range(n) if classes is None else classes)
    long = max(map(len, names)) > 2
    panel.set_xticks(range(n), names, rotation=90 if long else 0, fontsize=8)
    panel.set_yticks(range(n), names, fontsize=8)


def _number_cells(panel: Any, matrix: np.ma.MaskedArray, middle: float) -> None:
    for i, j in np.argwhere(~matrix.mask):
        text = f"{round(matrix[i, j], 2) + 0.0:.2f}".replace("-", "\N{MINUS SIGN}")
        colour = "black" if matrix[i, j] > middle else "white"
        panel.text(j, i, text, ha="center", va="center", fontsize=7, color=colour)
