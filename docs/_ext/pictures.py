"""Still pictures of the Theory page and of the guide."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from skhug import HUGClassifier
from skhug.plotting import SphereDisplay
from skhug.proxies import optimal_proxies

PAGE = Path(__file__).parents[1] / "guide" / "end_to_end.md"


def draw_pictures(folder: Path) -> None:
    """Draw all of them into a folder."""
    for name, draw in PICTURES.items():
        figure = draw()
        figure.savefig(folder / f"{name}.png", dpi=110, bbox_inches="tight")
        plt.close(figure)


def _before_and_after() -> Any:
    """Digits on the sphere after one step of training and after all of it."""
    X, y = load_digits(return_X_y=True)
    figure = plt.figure(figsize=(11, 4.8), layout="constrained")
    for place, epochs, title in ((121, 1, "After one epoch"), (122, 40, "After 40 epochs")):
        model = HUGClassifier(n_components=3, max_epochs=epochs, random_state=0).fit(X, y)
        ax = figure.add_subplot(place, projection="3d")
        SphereDisplay.from_estimator(model, X, y, ax=ax, max_points=900)
        ax.set_title(title)
        if place == 121:
            ax.get_legend().remove()
    return figure


def _arrangements() -> Any:
    figure = plt.figure(figsize=(11, 3.9), layout="constrained")
    titles = {4: "4: simplex", 6: "6: cross-polytope", 12: "12: icosahedron", 20: "20: found"}
    for place, (n, title) in enumerate(titles.items(), 1):
        ax = figure.add_subplot(1, 4, place, projection="3d")
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


def _wrong_neighbours() -> Any:
    """What a page of the guide draws: its code, run as far as that."""
    text = PAGE.read_text(encoding="utf-8")
    namespace: dict[str, Any] = {}
    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # the page writes its images to where it is run
        try:
            for code in re.findall(r"^```python\n(.*?)^```", text, re.M | re.S):
                with contextlib.redirect_stdout(io.StringIO()):
                    exec(code, namespace)
                if "display" in namespace:
                    break
        finally:
            os.chdir(here)
    return namespace["display"].figure_


PICTURES = {
    "wrong_neighbours": _wrong_neighbours,
    "before_and_after": _before_and_after,
    "arrangements": _arrangements,
    "exponents": _exponents,
}
