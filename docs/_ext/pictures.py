"""Still pictures of the site, each drawn for light pages and for dark ones."""

from __future__ import annotations

import json
from functools import cache, partial
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from page_code import figure_of
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from skhug import HUGClassifier
from skhug.plotting import SphereDisplay
from skhug.proxies import optimal_proxies

RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"
_NO_PANES = {f"axes3d.{axis}axis.panecolor": (0, 0, 0, 0) for axis in "xyz"}
_INK = "#ced6dd"
_INKED = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color")
# The paper is the theme's: what is drawn around marks and names has its colour.
MODES = {
    "light": _NO_PANES,
    "dark": {**_NO_PANES, **dict.fromkeys(_INKED, _INK), "axes.facecolor": "#14181e"},
}


def draw_pictures(folder: Path) -> None:
    """Draw all of them into a folder, as ``NAME-light.png`` and ``NAME-dark.png``."""
    for name, draw in PICTURES.items():
        for mode, style in MODES.items():
            with plt.rc_context(style):
                figure = draw()
                figure.savefig(
                    folder / f"{name}-{mode}.png", dpi=110, bbox_inches="tight", transparent=True
                )
                plt.close(figure)


@cache
def _digits() -> tuple[Any, ...]:
    X, y = load_digits(return_X_y=True)
    return train_test_split(X, y, stratify=y, random_state=0)


@cache
def _on_the_sphere(epochs: int) -> HUGClassifier:
    X, _, y, _ = _digits()
    return HUGClassifier(n_components=3, max_epochs=epochs, random_state=0).fit(X, y)


def _sphere(epochs: int) -> Any:
    """Digits that were not trained on: one large sphere, classes named at their proxies."""
    _, X, _, y = _digits()
    figure = plt.figure(figsize=(4.6, 4.6))
    ax = figure.add_axes((0, 0, 1, 1), projection="3d")
    display = SphereDisplay.from_estimator(_on_the_sphere(epochs), X, y, ax=ax)
    for points in display.points_:
        points.set(sizes=[40], alpha=1)
    display.proxies_.set_sizes([260])
    for text in ax.texts:
        text.set_fontsize(15)
    ax.get_legend().remove()
    ax.set_title("")
    ax.set_axis_off()
    ax.set_box_aspect((1, 1, 1), zoom=1.45)
    return figure


def _tables() -> Any:
    """Log-loss of everybody's defaults on the real tables, from the evidence."""
    results = json.loads((RESULTS / "evidence_real_tables.json").read_text())["results"]
    kinds = {"13 sets that chose our settings": "to choose on", "6 others": "for one last look"}
    loss = {
        kind: {
            name: np.mean([np.mean(values["log-loss"]) for values in sets.values()])
            for name, sets in results[key].items()
        }
        for kind, key in kinds.items()
    }
    first, second = loss.values()
    names = sorted(first, key=first.get, reverse=True)
    figure, ax = plt.subplots(figsize=(4.6, 3.6), layout="constrained")
    for (kind, values), marker, colour in zip(
        loss.items(), "oD", ("#0072B2", "#D55E00"), strict=True
    ):
        ax.plot([values[n] for n in names], range(len(names)), marker, color=colour, label=kind)
    ax.hlines(
        range(len(names)),
        *zip(*((second[n], first[n]) for n in names), strict=True),
        color="0.6",
        linewidth=0.7,
        zorder=0,
    )
    ax.set_yticks(
        range(len(names)),
        [
            n.removesuffix(", scaled").replace("_TD_Classifier", "").replace("_D_Classifier", "")
            for n in names
        ],
    )
    ax.get_yticklabels()[names.index("HUGClassifier")].set_weight("bold")
    ax.set(xlabel="Mean log-loss on real tables (less is better)")
    figure.legend(loc="outside upper center", ncols=2, fontsize="small", frameon=False)
    return figure


def _arrangements(titles: dict[int, str]) -> Any:
    figure = plt.figure(figsize=(2.75 * len(titles), 3.1), layout="constrained")
    for place, (n, title) in enumerate(titles.items(), 1):
        ax = figure.add_subplot(1, len(titles), place, projection="3d")
        points = optimal_proxies(n, 3, random_state=0).numpy()
        distance = np.linalg.norm(points[:, None] - points[None], axis=2)
        nearest = distance[distance > 1e-9].min()
        for i, j in np.argwhere(np.triu((distance > 0) & (distance < 1.2 * nearest))):
            ax.plot(*points[[i, j]].T, color="0.6", linewidth=0.9)
        ax.scatter(*points.T, color="#0072B2", s=36, depthshade=False)
        ax.set(title=title, xlim=(-1, 1), ylim=(-1, 1), zlim=(-1, 1))
        ax.set_aspect("equal")
        ax.set_axis_off()
    return figure


def _exponents() -> Any:
    """How strongly a sample is pulled, by its angle to the proxy."""
    angle = np.radians(np.linspace(0.5, 180, 400))
    distance = 2 * np.sin(angle / 2)
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    styles = zip((-1, -2, -4), ("#0072B2", "#D55E00", "#009E73"), ("-", "--", "-."), strict=True)
    for s, colour, dashes in styles:
        style = {"color": colour, "linestyle": dashes, "label": f"s_within = {s}"}
        left.plot(np.degrees(angle), distance**-s, **style)
        # Along the sphere: the slope in the angle, not in the distance.
        right.plot(np.degrees(angle), -s * distance ** (-s - 1) * np.cos(angle / 2), **style)
    left.set(ylim=(0, 6), title="What a sample pays")
    right.set(title="How strongly it is pulled")
    for ax in (left, right):
        ax.set(xlabel="Angle to the proxy (degrees)", xticks=range(0, 181, 45))
    left.legend()
    return figure


PICTURES = {
    "before": partial(_sphere, 1),
    "after": partial(_sphere, 40),
    "tables": _tables,
    "arrangements": partial(
        _arrangements,
        {4: "4: simplex", 6: "6: cross-polytope", 12: "12: icosahedron", 20: "20: found"},
    ),
    "two_arrangements": partial(_arrangements, {6: "Six classes", 12: "Twelve classes"}),
    "exponents": _exponents,
    "ten_minutes": partial(figure_of, "ten_minutes"),
    "wrong_neighbours": partial(figure_of, "guide/end_to_end"),
    "collapse": partial(figure_of, "guide/geometry"),
    "verification": partial(figure_of, "guide/verification"),
    "retrieval": partial(figure_of, "guide/retrieval"),
}
# Pages whose code draws: they are drawn anew when it changes.
PAGES = [draw.args[0] for draw in PICTURES.values() if getattr(draw, "func", None) is figure_of]
