"""SphereDisplay: embeddings and proxies on the circle, on the sphere, or projected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from skhug._sklearn import fitted_step
from skhug.plotting._common import MARKERS, new_axes, optional
from skhug.plotting._projection import View, globe, project, styled

# Beyond these the names would cover the picture.
_MOST_IN_LEGEND, _MOST_AT_PROXIES = 12, 40
_PLOTLY_SYMBOLS = ("circle", "square", "diamond", "cross", "x", "circle-open", "square-open")


class SphereDisplay:
    """Embeddings and proxies: the circle for 2 components, the sphere for 3, else a projection.

    Classes differ in colour and in marker; proxies are stars in the text's colour, above all
    points, with the names of their classes. With more than 3 components the principal axes of
    the proxies are drawn (of the embeddings without proxies), and title and axes say how much of
    their variance that keeps.

    Parameters
    ----------
    embeddings : array-like of shape (n_samples, n_components)
        Normalised here; at least 2 components.
    y : array-like of shape (n_samples,)
        Classes.
    proxies : array-like of shape (n_classes, n_components), optional
        Normalised here.
    classes : array-like of shape (n_classes,), optional
        Classes of the proxies, in their order; by default those of ``y``, sorted.
    n_axes : {2, 3}, optional
        Axes to draw; by default 3 for 3 components, else 2.
    max_points : int, default=2000
        Embeddings to draw; of more, as many are drawn, always the same, and the title says so.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes; with ``projection="3d"`` for three.
    points_ : list of matplotlib PathCollection
        The embeddings, a collection for each class (for each style beyond 90 classes).
    proxies_ : matplotlib PathCollection or None
        The proxies.
    figure_ : matplotlib Figure
        The figure.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skhug import HUGClassifier
    >>> from skhug.plotting import SphereDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = HUGClassifier(n_components=2, max_epochs=3, random_state=0).fit(X, y)
    >>> display = SphereDisplay.from_estimator(model, X, y)
    >>> display.ax_.get_xlabel(), len(display.points_)
    ('z1', 3)
    """

    def __init__(
        self,
        embeddings: Any,
        y: Any,
        *,
        proxies: Any = None,
        classes: Any = None,
        n_axes: int | None = None,
        max_points: int = 2000,
    ) -> None:
        self.embeddings = embeddings
        self.y = y
        self.proxies = proxies
        self.classes = classes
        self.n_axes = n_axes
        self.max_points = max_points

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        n_axes: int | None = None,
        max_points: int = 2000,
        ax: Any = None,
    ) -> SphereDisplay:
        """Draw an estimator's embeddings of rows, and its proxies if it has some.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transform``; ``proxies_`` and ``classes_`` are used where it has them.
        X : array-like of shape (n_samples, ...)
            Rows that it embeds.
        y : array-like of shape (n_samples,)
            Their classes, seen in training or not.
        n_axes, max_points
            As for the class.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : SphereDisplay
            Drawn.
        """
        step = fitted_step(estimator)
        return cls.from_predictions(
            y,
            estimator.transform(X),
            proxies=getattr(step, "proxies_", None),
            classes=getattr(step, "classes_", None),
            n_axes=n_axes,
            max_points=max_points,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        embeddings: Any,
        *,
        proxies: Any = None,
        classes: Any = None,
        n_axes: int | None = None,
        max_points: int = 2000,
        ax: Any = None,
    ) -> SphereDisplay:
        """Draw embeddings.

        Parameters
        ----------
        y, embeddings, proxies, classes, n_axes, max_points
            As for the class.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : SphereDisplay
            Drawn.
        """
        display = cls(
            embeddings, y, proxies=proxies, classes=classes, n_axes=n_axes, max_points=max_points
        )
        return display.plot(ax=ax)

    def plot(self, ax: Any = None) -> SphereDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw, with ``projection="3d"`` for three axes; a new figure by default.

        Returns
        -------
        self : SphereDisplay
            With ``ax_``, ``points_``, ``proxies_`` and ``figure_``.
        """
        n_axes = self.n_axes or (3 if np.shape(self.embeddings)[-1] == 3 else 2)
        view = project(self, n_axes)
        self.ax_ = ax = new_axes(
            ax, (8.0, 6.0) if n_axes == 3 else (7.2, 6.0), "3d" if n_axes == 3 else None
        )
        self.figure_ = ax.figure
        (_draw_globe if n_axes == 3 else _draw_circle)(ax)
        self.points_ = [
            ax.scatter(*view.points[rows].T, s=18, alpha=0.85, linewidth=0, **style)
            for rows, style in styled(view, MARKERS)
        ]
        self.proxies_ = _draw_proxies(ax, view) if len(view.proxies) else None
        ax.set_title(view.title)
        for letter, name in zip("xyz", view.axis_names, strict=False):
            getattr(ax, f"set_{letter}label")(name)
        if len(view.names) <= _MOST_IN_LEGEND:
            left = 1.13 if n_axes == 3 else 1.02  # clear of the third axis' name
            ax.legend(loc="center left", bbox_to_anchor=(left, 0.5), markerscale=1.4)
        return self

    def to_html(self, path: Any) -> Path:
        """Write the sphere as a page to turn and zoom, which needs no network.

        Parameters
        ----------
        path : str or Path
            File to write, about 5 MB: the drawing library is inside. Beyond 3 components it
            shows the projection to 3 axes; the circle lies flat.

        Returns
        -------
        path : Path
            The file written.

        Raises
        ------
        ImportError
            Without plotly: ``pip install "skhug[interactive]"``.
        """
        path = Path(path)
        figure = _interactive(project(self, 3))
        figure.write_html(path, include_plotlyjs=True, full_html=True)
        return path


def _draw_circle(ax: Any) -> None:
    angle = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(angle), np.sin(angle), color="0.75", linewidth=0.8, zorder=0)
    ax.update_datalim([(-1.28, -1.28), (1.28, 1.28)])
    ax.margins(0)
    # A box of fixed shape would push its labels off the page.
    ax.set_aspect("equal", adjustable="datalim")


def _draw_globe(ax: Any) -> None:
    for line in globe():
        ax.plot(*line, color="0.75", linewidth=0.5, zorder=0)
    ax.set(xticks=[-1, 0, 1], yticks=[-1, 0, 1], zticks=[-1, 0, 1])
    ax.set_aspect("equal")
    ax.grid(False)  # the globe is grid enough
    ax.computed_zorder = False  # by depth, points would hide the proxies and their names


def _draw_proxies(ax: Any, view: View) -> Any:
    effects = optional("matplotlib.patheffects")
    style = optional("matplotlib").rcParams  # legible on dark pictures, too
    ink, paper = style["text.color"], style["axes.facecolor"]
    proxies = ax.scatter(
        *view.proxies.T,
        marker="*",
        s=150,
        color=ink,
        edgecolor=paper,
        label="proxies",
        zorder=5,
    )
    if len(view.proxies) <= _MOST_AT_PROXIES:
        for name, proxy in zip(view.names, view.proxies, strict=False):
            text = ax.text(*_beside(proxy), name, ha="center", va="center", weight="bold", zorder=6)
            text.set_path_effects([effects.withStroke(linewidth=2.5, foreground=paper)])
    return proxies


def _beside(proxy: np.ndarray) -> np.ndarray:
    """Return where a proxy's name goes: a little farther from the centre."""
    return proxy + 0.13 * proxy / max(float(np.linalg.norm(proxy)), 0.2)


def _interactive(view: View) -> Any:
    graph = optional("plotly.graph_objects")
    figure = graph.Figure()
    gap = np.full((3, 1), np.nan)
    x, y, z = np.hstack([part for line in globe() for part in (line, gap)])
    quiet = {"hoverinfo": "skip", "showlegend": False}
    line = {"color": "lightgrey", "width": 1}
    figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=line, **quiet)
    for rows, style in styled(view, _PLOTLY_SYMBOLS):
        marker = {"color": style["color"], "symbol": style["marker"], "size": 3.5}
        names = [view.names[code] for code in view.codes[rows]]
        _add_points(figure, view.points[rows], names, marker, style["label"], mode="markers")
    if len(view.proxies):
        names = view.names[: len(view.proxies)]
        marker = {"color": "black", "symbol": "diamond", "size": 6}
        mode = "markers+text" if len(names) <= _MOST_AT_PROXIES else "markers"
        _add_points(figure, view.proxies, names, marker, "proxies", mode=mode)
    axes = zip(("xaxis", "yaxis", "zaxis"), view.axis_names, strict=True)
    figure.update_layout(
        title=view.title.replace("\n", "<br>"),
        scene={"aspectmode": "data", **{axis: {"title": {"text": name}} for axis, name in axes}},
        legend={"itemsizing": "constant"},
        template="plotly_white",
    )
    return figure


def _add_points(
    figure: Any, points: np.ndarray, names: list[str], marker: dict, label: str, mode: str
) -> None:
    x, y, z = points.T
    hover = "%{text}<extra></extra>"
    figure.add_scatter3d(
        x=x, y=y, z=z, text=names, marker=marker, name=label, mode=mode, hovertemplate=hover
    )
