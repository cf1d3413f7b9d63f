"""RetrievalDisplay: queries and what a search finds for them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from sklearn.utils import check_random_state

from skhug.plotting._common import RIGHT, WRONG, labels_of, new_axes, optional, shown, unit_rows

# A tile is 1 wide; the query stands apart from its neighbours.
_STEP, _APART, _ROW_STEP = 1.12, 1.35, 1.34
_BLOCK = 1024  # queries searched at once


class RetrievalDisplay:
    """Queries and their nearest neighbours as a grid of images, the wrong ones marked.

    A row is a query, then its neighbours, the nearest first, each under its class. A neighbour
    of another class has a dashed frame and a cross, one of the query's class a solid frame. Long
    names are cut where they differ.

    Parameters
    ----------
    queries : array-like of shape (n_queries, height, width) or with 1, 3 or 4 channels
        Images, channels first or last.
    labels : array-like of shape (n_queries,)
        Their classes.
    neighbours : array-like of shape (n_queries, k, height, width) or with channels
        Images found, the nearest first.
    neighbour_labels : array-like of shape (n_queries, k)
        Their classes.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    images_ : ndarray of shape (n_queries, 1 + k) of matplotlib AxesImage
        The tiles, one row per query.
    wrong_ : ndarray of bool of shape (n_queries, k)
        Which neighbours are of another class.
    crosses_ : matplotlib Line2D
        The crosses on the wrong ones.
    figure_ : matplotlib Figure
        The figure.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhug import HUGEmbedder
    >>> from skhug.plotting import RetrievalDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = HUGEmbedder(max_epochs=3, random_state=0).fit(X[:900], y[:900])
    >>> display = RetrievalDisplay.from_estimator(model, X[900:], y[900:], n_queries=4, k=6)
    >>> display.wrong_.shape
    (4, 6)
    """

    def __init__(self, queries: Any, labels: Any, neighbours: Any, neighbour_labels: Any) -> None:
        self.queries = queries
        self.labels = labels
        self.neighbours = neighbours
        self.neighbour_labels = neighbour_labels

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        gallery: Any = None,
        gallery_labels: Any = None,
        n_queries: int = 6,
        k: int = 6,
        pick: str = "random",
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = 0,
        cmap: str = "gray",
        ax: Any = None,
    ) -> RetrievalDisplay:
        """Search images by the cosines of an estimator's embeddings, and draw what is found.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transform``.
        X : array-like of shape (n_samples, n_features) or (n_samples, height, width, ...)
            Queries are drawn from these.
        y : array-like of shape (n_samples,)
            Their classes, seen in training or not.
        gallery : array-like, optional
            What is searched; by default X, each query without itself.
        gallery_labels : array-like, optional
            Its classes.
        n_queries, k : int, default=6
            Queries to draw, and neighbours of each.
        pick : {"random", "wrong"}, default="random"
            Queries to draw at random: from all, or from those whose nearest row is of another
            class, of which there may be fewer than ``n_queries``.
        image_shape : tuple of int, optional
            Of a row of features; by default rows of a square number are square.
        random_state : int, RandomState or None, default=0
            Of the pick.
        cmap : str, default="gray"
            Colours of images without channels.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : RetrievalDisplay
            Drawn.
        """
        return cls.from_predictions(
            y,
            estimator.transform(X),
            X,
            gallery=gallery,
            gallery_labels=gallery_labels,
            gallery_embeddings=None if gallery is None else estimator.transform(gallery),
            n_queries=n_queries,
            k=k,
            pick=pick,
            image_shape=image_shape,
            random_state=random_state,
            cmap=cmap,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        embeddings: Any,
        images: Any,
        *,
        gallery: Any = None,
        gallery_labels: Any = None,
        gallery_embeddings: Any = None,
        n_queries: int = 6,
        k: int = 6,
        pick: str = "random",
        image_shape: tuple[int, ...] | None = None,
        random_state: Any = 0,
        cmap: str = "gray",
        ax: Any = None,
    ) -> RetrievalDisplay:
        """Search images by the cosines of given embeddings, and draw what is found.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Classes of the images.
        embeddings : array-like of shape (n_samples, n_components)
            Their embeddings, normalised here.
        images : array-like of shape (n_samples, n_features) or (n_samples, height, width, ...)
            Queries are drawn from these.
        gallery, gallery_labels, gallery_embeddings : array-like, optional
            What is searched, its classes and embeddings: all three, or none to search the images
            themselves, each query without itself.
        n_queries, k, pick, image_shape, random_state, cmap, ax
            As for :meth:`from_estimator`.

        Returns
        -------
        display : RetrievalDisplay
            Drawn.

        Raises
        ------
        ValueError
            If a shape, ``n_queries``, ``k`` or ``pick`` does not fit, or no nearest row is wrong
            where those are asked for.
        """
        if pick not in PICKS:
            raise ValueError(f"pick={pick!r}: pass one of {', '.join(map(repr, PICKS))}.")
        absent = [part is None for part in (gallery, gallery_labels, gallery_embeddings)]
        if any(absent) and not all(absent):
            raise ValueError("Pass gallery, gallery_labels and gallery_embeddings, or none.")
        z = unit_rows(embeddings, "embeddings")
        y = labels_of(y, len(z))
        themselves = gallery is None
        if themselves:
            gallery, gallery_labels, w = images, y, z
        else:
            w = unit_rows(gallery_embeddings, "gallery_embeddings")
            gallery_labels = labels_of(gallery_labels, len(w), "gallery_labels")
        if not 1 <= n_queries <= len(z):
            raise ValueError(f"n_queries={n_queries!r}: pass 1 to {len(z)}, the rows there are.")
        search = partial(_nearest, z, w, themselves=themselves)
        order = check_random_state(random_state).permutation(len(z))
        rows = PICKS[pick](
            order, n_queries, lambda rows: gallery_labels[search(rows, 1)[:, 0]] != y[rows]
        )
        found = search(rows, k)
        images, gallery = (_as_images(a, image_shape) for a in (images, gallery))
        display = cls(images[rows], y[rows], gallery[found], gallery_labels[found])
        return display.plot(cmap=cmap, ax=ax)

    def plot(self, ax: Any = None, *, cmap: str = "gray") -> RetrievalDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.
        cmap : str, default="gray"
            Colours of images without channels; ``"gray_r"`` spares ink.

        Returns
        -------
        self : RetrievalDisplay
            With ``ax_``, ``images_``, ``wrong_``, ``crosses_`` and ``figure_``.
        """
        labels, neighbour_labels = np.asarray(self.labels), np.asarray(self.neighbour_labels)
        self.wrong_ = neighbour_labels != labels[:, None]
        n, k = self.wrong_.shape
        size = (1.05 * (k + 1.6), 1.2 * n + 0.6)
        self.ax_ = ax = new_axes(ax, size)
        self.figure_ = ax.figure
        names = shown(np.column_stack([labels, neighbour_labels]).ravel(), 10)
        limits = _value_range(self.queries, self.neighbours)
        self.images_ = np.empty((n, 1 + k), dtype=object)
        for i, j in np.ndindex(n, 1 + k):
            image = self.queries[i] if j == 0 else self.neighbours[i][j - 1]
            x, y = _place(i, j)
            self.images_[i, j] = _draw_tile(ax, image, x, y, cmap, limits)
            ax.text(x, y - 0.54, names[i * (1 + k) + j], ha="center", va="bottom", fontsize=8)
        self._mark()
        right, bottom = _place(n - 1, k)
        ax.set(xlim=(-0.6, right + 0.6), ylim=(bottom + 0.6, -0.85), aspect="equal")
        ax.set_axis_off()
        ax.set_title(f"Query, and its {k} nearest: {self.wrong_.sum()} of {n * k} wrong (crossed)")
        return self

    def _mark(self) -> None:
        """Frame the neighbours, and cross the wrong ones."""
        patches = optional("matplotlib.patches")
        for i, j in np.ndindex(self.wrong_.shape):
            left, right, bottom, top = self.images_[i, j + 1].get_extent()
            wrong = self.wrong_[i, j]
            style = {"edgecolor": WRONG, "linestyle": "--"} if wrong else {"edgecolor": RIGHT}
            corner, size = (left, top), (right - left, bottom - top)
            frame = patches.Rectangle(corner, *size, fill=False, linewidth=2, **style)
            self.ax_.add_patch(frame)
        tiles = self.images_[:, 1:][self.wrong_]
        corners = np.array([tile.get_extent()[1:3] for tile in tiles]).reshape(-1, 2) - 0.14
        self.ax_.plot(*corners.T, "o", color="white", markersize=11, zorder=4)
        (self.crosses_,) = self.ax_.plot(
            *corners.T, "x", color=WRONG, markersize=7, markeredgewidth=2.2, zorder=5
        )


def _place(i: int, j: int) -> tuple[float, float]:
    """Return the centre of tile j of row i; y points down."""
    return (0.0 if j == 0 else _APART + (j - 1) * _STEP), i * _ROW_STEP


def _draw_tile(ax: Any, image: Any, x: float, y: float, cmap: str, limits: Any) -> Any:
    height, width = image.shape[:2]
    half_height, half_width = (0.5 * side / max(height, width) for side in (height, width))
    extent = (x - half_width, x + half_width, y + half_height, y - half_height)
    low, high = limits
    if image.ndim == 3:  # colours are drawn as they are, between 0 and 1
        image = np.clip((image - low) / (high - low), 0, 1)
    return ax.imshow(image, cmap=cmap, vmin=low, vmax=high, extent=extent, interpolation="nearest")


def _value_range(*images: Any) -> tuple[float, float]:
    """Return what is black and what is white: known for bytes, else the range of the values."""
    if all(np.asarray(a).dtype == np.uint8 for a in images):
        return 0.0, 255.0
    low = min(float(np.min(a)) for a in images)
    high = max(float(np.max(a)) for a in images)
    return low, high if high > low else low + 1.0


def _any(order: np.ndarray, n_queries: int, is_wrong: Callable) -> np.ndarray:
    return order[:n_queries]


def _wrong(order: np.ndarray, n_queries: int, is_wrong: Callable) -> np.ndarray:
    """Return the first rows whose nearest is wrong, searched in blocks until there are enough."""
    rows = np.empty(0, dtype=int)
    for start in range(0, len(order), _BLOCK):
        block = order[start : start + _BLOCK]
        rows = np.append(rows, block[is_wrong(block)])
        if len(rows) >= n_queries:
            break
    if not len(rows):
        raise ValueError('The nearest row of every query is of its class: pass pick="random".')
    return rows[:n_queries]


PICKS = {"random": _any, "wrong": _wrong}


def _nearest(
    z: np.ndarray, w: np.ndarray, rows: np.ndarray, k: int, *, themselves: bool
) -> np.ndarray:
    """Return the k rows of w nearest to each of the rows of z, nearest first."""
    most = len(w) - themselves
    if not 1 <= k <= most:
        raise ValueError(f"k={k!r}: pass 1 to {most}, the rows there are to find.")
    cosines = z[rows] @ w.T
    if themselves:
        cosines[np.arange(len(rows)), rows] = -np.inf
    return np.argsort(-cosines, axis=1, kind="stable")[:, :k]


def _as_images(X: Any, image_shape: tuple[int, ...] | None) -> np.ndarray:
    """Return X as (n, height, width) or, with colours, (n, height, width, 3 or 4)."""
    X = np.asarray(X)
    if image_shape is not None:
        X = X.reshape(len(X), *image_shape)
    elif X.ndim == 2:
        side = math.isqrt(X.shape[1])
        if side**2 != X.shape[1]:
            raise ValueError(
                f"Rows of {X.shape[1]} features are no square: pass image_shape=(height, width)."
            )
        X = X.reshape(len(X), side, side)
    if X.ndim == 4 and X.shape[3] not in (1, 3, 4) and X.shape[1] in (1, 3, 4):
        X = np.moveaxis(X, 1, 3)
    if X.ndim == 4 and X.shape[3] == 1:
        X = X[..., 0]
    if X.ndim != 3 and not (X.ndim == 4 and X.shape[3] in (3, 4)):
        raise ValueError(f"Images have shape {X.shape[1:]}: pass image_shape=(height, width).")
    return X
