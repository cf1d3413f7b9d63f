"""AngleDisplay: how far apart embeddings are, within classes and between them."""

from __future__ import annotations

from typing import Any

import numpy as np

from skhug._known_optima import known_optimum
from skhug.plotting._common import (
    RIGHT,
    WRONG,
    drawn_rows,
    labels_of,
    new_axes,
    unit_rows,
)

_BIN_EDGES = np.linspace(0.0, 180.0, 91)


class AngleDisplay:
    """Distributions of the angles within classes and between them, beside the optimum.

    Parameters
    ----------
    within : array-like of shape (n_pairs,)
        Angles between embeddings of one class, in degrees, 0 to 180.
    between : array-like of shape (n_pairs,)
        Angles between embeddings of different classes.
    optimum : array-like of float, default=()
        Angles to mark, in degrees: those between the classes at the optimum.
    optimum_name : str, default="optimum"
        What they are.
    note : str, default=""
        A second line of the title.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    optimum_lines_ : list of matplotlib Line2D
        A vertical line for each angle marked.
    figure_ : matplotlib Figure
        The figure.

    Examples
    --------
    >>> import numpy as np
    >>> from skhug.plotting import AngleDisplay
    >>> angle = np.deg2rad([0.0, 2.0, 120.0, 121.0, 240.0, 242.0])
    >>> z = np.column_stack([np.cos(angle), np.sin(angle)])
    >>> display = AngleDisplay.from_predictions(["a", "a", "b", "b", "c", "c"], z)
    >>> display.optimum.round().tolist()  # three classes fit a triangle
    [120.0]
    """

    def __init__(
        self,
        within: Any,
        between: Any,
        *,
        optimum: Any = (),
        optimum_name: str = "optimum",
        note: str = "",
    ) -> None:
        self.within = within
        self.between = between
        self.optimum = optimum
        self.optimum_name = optimum_name
        self.note = note

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: Any, y: Any, *, max_points: int = 1000, ax: Any = None
    ) -> AngleDisplay:
        """Draw the angles between an estimator's embeddings of rows.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transform``.
        X : array-like of shape (n_samples, ...)
            Rows that it embeds.
        y : array-like of shape (n_samples,)
            Their classes, seen in training or not.
        max_points : int, default=1000
            Rows whose pairs are measured; of more, as many are drawn, always the same.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : AngleDisplay
            Drawn.
        """
        return cls.from_predictions(y, estimator.transform(X), max_points=max_points, ax=ax)

    @classmethod
    def from_predictions(
        cls, y: Any, embeddings: Any, *, max_points: int = 1000, ax: Any = None
    ) -> AngleDisplay:
        """Draw the angles between embeddings.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Classes.
        embeddings : array-like of shape (n_samples, n_components)
            Normalised here.
        max_points : int, default=1000
            Rows whose pairs are measured; of more, as many are drawn, always the same. Time and
            memory are quadratic in it.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : AngleDisplay
            Drawn. The angle of the simplex, arccos(-1/(C-1)), is marked where C classes fit it,
            90 and 180 degrees for the cross-polytope's twice as many classes as components,
            those of the regular polygon on the circle.

        Raises
        ------
        ValueError
            If no two rows share a class or all do.
        """
        z = unit_rows(embeddings, "embeddings")
        y = labels_of(y, len(z))
        rows = drawn_rows(len(z), max_points)
        within, between = _pair_angles(z[rows], y[rows])
        n_classes = len(np.unique(y))
        known = known_optimum(n_classes, z.shape[1]) if n_classes > 1 else None
        name, cosines = known or ("", {})
        note = "" if len(rows) == len(z) else f"pairs of {len(rows):,} of {len(z):,} rows"
        display = cls(
            within,
            between,
            optimum=np.rad2deg(np.arccos(list(cosines))),
            optimum_name=f"optimum: {name}",
            note=note,
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> AngleDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : AngleDisplay
            With ``ax_``, ``optimum_lines_`` and ``figure_``.
        """
        self.ax_ = ax = new_axes(ax, (6.8, 4.2))
        self.figure_ = ax.figure
        _draw_shares(ax, self.within, "within classes", facecolor="none", edgecolor=RIGHT)
        _draw_shares(ax, self.between, "between classes", facecolor=WRONG, alpha=0.55)
        self.optimum_lines_ = []
        for i, angle in enumerate(self.optimum):
            label = None if i else f"{self.optimum_name}, {_listed(self.optimum)}"
            line = ax.axvline(angle, color="black", linestyle="--", linewidth=1.4, label=label)
            self.optimum_lines_.append(line)
        title = "Angles between embeddings"
        ax.set(
            xlim=(-2, 182),
            ylim=(0, 1.4 * ax.get_ylim()[1]),  # room for the legend
            xticks=range(0, 181, 30),
            xlabel="Angle (degrees)",
            ylabel="Share of the pairs (% per 2°)",
            title=f"{title}\n{self.note}" if self.note else title,
        )
        ax.legend(framealpha=1)
        return self


def _draw_shares(ax: Any, angles: Any, name: str, **style: Any) -> None:
    angles = np.asarray(angles, dtype=np.float64)
    hatch = {"hatch": "////", "linewidth": 1.4} if style["facecolor"] == "none" else {}
    label = f"{name}, median {np.median(angles):.0f}°"
    weights = np.full(len(angles), 100 / len(angles))
    ax.hist(
        angles, _BIN_EDGES, weights=weights, histtype="stepfilled", label=label, **hatch, **style
    )


def _pair_angles(z: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the angles of all pairs of rows, in degrees, within classes and between them."""
    above = np.triu(np.ones((len(z), len(z)), dtype=bool), k=1)
    angles = np.rad2deg(np.arccos(np.clip(z @ z.T, -1.0, 1.0)))
    same = y[:, None] == y[None, :]
    within, between = angles[above & same], angles[above & ~same]
    if not len(within) or not len(between):
        raise ValueError(
            "Angles within and between classes need two rows of one class and two classes among "
            f"the {len(z)} rows: pass more rows, or raise max_points."
        )
    return within, between


def _listed(angles: Any) -> str:
    texts = [f"{angle:.1f}°".replace(".0°", "°") for angle in angles]
    if len(texts) > 3:
        return ", ".join([*texts[:2], "…", texts[-1]])
    return " and ".join(texts)
