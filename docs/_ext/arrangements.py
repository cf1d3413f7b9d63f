"""Optimal arrangements of class proxies: on the sphere, to be turned, and for every (C, d)."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from skhug.metrics import hyperspherical_energy, optimal_energy, separation
from skhug.proxies import optimal_proxies

_ON_THE_SPHERE = range(2, 25)
_CLASSES = (2, 3, 4, 5, 6, 8, 10, 12, 16, 24)
_COMPONENTS = (2, 3, 4, 5, 8, 16)
_NAMES = {4: "simplex (tetrahedron)", 6: "cross-polytope (octahedron)", 12: "icosahedron"}


def arrangements() -> list[dict[str, Any]]:
    """Return, for 2 to 24 classes in three components, points, edges and what is known."""
    return [_arrangement(n) for n in _ON_THE_SPHERE]


def _arrangement(n: int) -> dict[str, Any]:
    points = optimal_proxies(n, 3, random_state=0).numpy()
    energy, best = float(hyperspherical_energy(points)), optimal_energy(n, 3)
    nearest = separation(points)
    angle = 2 * math.degrees(math.asin(min(nearest / 2, 1.0)))
    known = "no proof known" if math.isnan(best) else f"{best:.4f}"
    return {
        "name": _NAMES.get(n, "simplex" if n <= 4 else "least energy found"),
        "proxies": points.round(4).tolist(),
        "edges": _edges(points, nearest) if n > 2 else [],
        "numbers": {
            "energy": f"{energy:.4f}",
            "least possible": known,
            "smallest angle": f"{angle:.1f}°",
        },
    }


def _edges(points: np.ndarray, nearest: float) -> list[list[int]]:
    """Pairs about as near as the nearest pair."""
    distance = np.linalg.norm(points[:, None] - points[None], axis=2)
    return np.argwhere(np.triu(distance < 1.2 * nearest, 1)).tolist()


def optima_table() -> str:
    """Return, as Markdown, the kind of optimum and its largest cosine for several (C, d)."""
    header = ["classes", *(f"d = {d}" for d in _COMPONENTS)]
    rows = [[str(c), *(_optimum(c, d) for d in _COMPONENTS)] for c in _CLASSES]
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _optimum(n_classes: int, n_components: int) -> str:
    points = optimal_proxies(n_classes, n_components, random_state=0).numpy()
    largest = 1 - separation(points) ** 2 / 2
    return f"{_kind(n_classes, n_components)} {largest:.2f}".replace("-0.00", "0.00")


def _kind(n_classes: int, n_components: int) -> str:
    if n_classes <= n_components + 1:
        return "S"
    if n_components == 2:
        return "P"
    if n_classes == 2 * n_components:
        return "X"
    return "K" if not math.isnan(optimal_energy(n_classes, n_components)) else "E"
