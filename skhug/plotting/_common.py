"""What the displays share: optional imports, colours and marks, panels, an estimator's parts."""

from __future__ import annotations

import importlib
import re
from typing import Any

import numpy as np

from skhug._sklearn import fitted_step

_EXTRA_OF = {"matplotlib": "plot", "plotly": "interactive"}

# Paul Tol's "muted" colours and a grey, which the colour-blind tell apart.
COLOURS = (
    "#332288",
    "#CC6677",
    "#117733",
    "#DDCC77",
    "#88CCEE",
    "#882255",
    "#44AA99",
    "#999933",
    "#AA4499",
    "#4D4D4D",
)
# As many as are coprime to the colours: the pairs repeat only after 90 classes.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
RIGHT, WRONG = "#0072B2", "#D55E00"


def optional(module: str) -> Any:
    """Import a module of an optional dependency, or say which extra installs it."""
    package = module.partition(".")[0]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        extra = _EXTRA_OF[package]
        raise ImportError(f'This picture needs {package}: pip install "skhug[{extra}]".') from error


def new_axes(ax: Any, size: tuple[float, float], projection: str | None = None) -> Any:
    """Return the axes to draw into, by default those of a new figure."""
    plt = optional("matplotlib.pyplot")
    if ax is None:
        if projection == "3d":  # whose extent layout engines misjudge: leave room for a legend
            return plt.figure(figsize=size).add_axes((0.0, 0.03, 0.68, 0.87), projection="3d")
        return plt.figure(figsize=size, layout="constrained").add_subplot()
    if projection is not None and ax.name != projection:
        raise ValueError(
            f"This picture needs axes with projection={projection!r}: make them with "
            f'plt.subplots(subplot_kw={{"projection": {projection!r}}}).'
        )
    return ax


def new_panels(ax: Any, n_panels: int, n_cols: int, size: tuple[float, float]) -> tuple[Any, Any]:
    """Return the axes that bound the picture, and those of its panels.

    One panel is the bounding axes themselves; more share their place, and the bounding ones are
    then invisible. ``size`` is that of a panel, in inches.
    """
    n_cols = min(n_cols, n_panels)
    n_rows = -(-n_panels // n_cols)
    ax = new_axes(ax, (size[0] * n_cols, size[1] * n_rows))
    if n_panels == 1:
        return ax, np.array([ax])
    place = ax.get_subplotspec()
    if place is None:
        raise ValueError(
            f"{n_panels} panels need axes that are part of a grid: make ax with plt.subplots, "
            "or leave it out."
        )
    ax.set_axis_off()
    grid = place.subgridspec(n_rows, n_cols)
    cells = [divmod(i, n_cols) for i in range(n_panels)]
    return ax, np.array([ax.figure.add_subplot(grid[cell]) for cell in cells])


def fitted_attribute(estimator: Any, name: str, otherwise: str) -> Any:
    """Return an attribute of the estimator inside searches and pipelines."""
    step = fitted_step(estimator)
    if not hasattr(step, name):
        raise ValueError(f"{type(step).__name__} has no {name}: {otherwise}.")
    return getattr(step, name)


def unit_rows(points: Any, name: str) -> np.ndarray:
    """Return points as float64 rows of length 1."""
    points = np.asarray(points, dtype=np.float64)
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"{name} has shape {points.shape}: pass (n_points, n_components).")
    length = np.linalg.norm(points, axis=1, keepdims=True)
    if not np.all(np.isfinite(length) & (length > 0)):
        raise ValueError(f"{name} has rows of zeros, NaN or infinity: remove them.")
    return points / length


def labels_of(y: Any, n_rows: int, name: str = "y") -> np.ndarray:
    """Return labels as an array, one for each row."""
    y = np.asarray(y)
    if y.shape != (n_rows,):
        raise ValueError(f"{name} has shape {y.shape}: pass one label for each of {n_rows} rows.")
    return y


def drawn_rows(n_rows: int, most: int) -> np.ndarray:
    """Return the rows to draw: all, or as many as may be, drawn always alike."""
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.RandomState(0).permutation(n_rows)[:most])


def shown(labels: Any, width: int = 14) -> list[str]:
    """Return labels as texts of limited width, in which different ones stay different.

    A long one is cut at its end. Those that would then look alike are cut at the part that they
    share, ``"armenian letter ayb"`` and ``"armenian letter ben"`` to ``"arm…ayb"`` and
    ``"arm…ben"``. Where the width does not allow that, they are longer.
    """
    names = [str(label) for label in labels]
    distinct = sorted(set(names))
    while True:
        texts = _cut(distinct, width, 0)
        if len(set(texts.values())) == len(distinct):
            return [texts[name] for name in names]
        width += 4


def _cut(names: list[str], width: int, start: int) -> dict[str, str]:
    """Return the text of each name, of which the part from ``start`` on tells it from others."""
    texts = {name: _window(name, width, start) for name in names}
    alike: dict[str, list[str]] = {}
    for name, text in texts.items():
        alike.setdefault(text, []).append(name)
    for group in alike.values():
        shared = _n_shared(min(group), max(group))
        if len(group) > 1 and shared > start:
            texts.update(_cut(group, width, shared))
    return texts


def _n_shared(a: str, b: str) -> int:
    """Return with how many characters both begin; of sorted names the first and last tell."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), len(a))


def _window(name: str, width: int, start: int) -> str:
    if len(name) <= width:
        return name
    if not start:
        return name[: width - 1] + "…"
    room = width - 4
    word = start - len(re.search(r"[^\W_]*$", name[:start])[0])
    start = word if start - word < room / 2 else start  # at the start of a word, if that is near
    tail = name[start:]
    return name[:3] + "…" + (tail if len(tail) <= room else tail[: room - 1] + "…")
