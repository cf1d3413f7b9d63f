"""The coordinates that SphereDisplay draws: 2 or 3 of the embeddings' own, or a projection."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from skhug.plotting._common import COLOURS, drawn_rows, labels_of, shown, unit_rows


class View(NamedTuple):
    """What is drawn: coordinates and what the axes mean."""

    points: np.ndarray  # (n_drawn, n_axes)
    codes: np.ndarray  # (n_drawn,), indices of names
    proxies: np.ndarray  # (n_proxies, n_axes), of the first names
    names: list[str]
    axis_names: list[str]
    title: str


def project(display: Any, n_axes: int) -> View:
    """Check what a display holds, and project it to 2 or 3 axes."""
    if n_axes not in (2, 3):
        raise ValueError(f"n_axes={n_axes!r}: pass 2 or 3.")
    z = unit_rows(display.embeddings, "embeddings")
    y = labels_of(display.y, len(z))
    has_proxies = display.proxies is not None
    proxies = unit_rows(display.proxies, "proxies") if has_proxies else np.empty((0, z.shape[1]))
    if z.shape[1] < 2 or proxies.shape[1] != z.shape[1]:
        raise ValueError(
            f"embeddings have {z.shape[1]} components and proxies {proxies.shape[1]}: pass as "
            "many, at least 2."
        )
    classes = np.unique(y) if display.classes is None else np.asarray(display.classes)
    if has_proxies and len(classes) != len(proxies):
        raise ValueError(
            f"{len(proxies)} proxies and {len(classes)} classes: pass classes, one for each proxy."
        )
    unseen = np.setdiff1d(y, classes)  # classes without a proxy
    order = {label: i for i, label in enumerate([*classes.tolist(), *unseen.tolist()])}
    rows = drawn_rows(len(z), display.max_points)
    axes, kept = _principal_axes(proxies if has_proxies else z, n_axes)
    whose = "proxies" if has_proxies else "embeddings"
    return View(
        points=z[rows] @ axes,
        codes=np.array([order[label] for label in y[rows].tolist()]),
        proxies=proxies @ axes,
        names=shown(order),
        axis_names=_axis_names(n_axes, kept),
        title=_title(z.shape[1], kept, whose, len(rows), len(z)),
    )


def _principal_axes(points: np.ndarray, n_axes: int) -> tuple[np.ndarray, np.ndarray | None]:
    """Return (n_components, n_axes) axes and their shares of variance; None if nothing is lost."""
    n_components = points.shape[1]
    if n_components <= n_axes:
        return np.eye(n_components, n_axes), None
    # not n_samples x n_samples: the right singular vectors of a tall matrix by its covariance
    variance, axes = np.linalg.eigh(np.cov(points, rowvar=False, bias=True))
    axes = axes[:, ::-1][:, :n_axes]
    axes *= np.sign(axes[np.abs(axes).argmax(0), range(n_axes)])
    return axes, variance[::-1][:n_axes] / max(variance.sum(), np.finfo(float).tiny)


def _axis_names(n_axes: int, kept: np.ndarray | None) -> list[str]:
    if kept is None:
        return [f"z{i + 1}" for i in range(n_axes)]
    return [f"Principal axis {i + 1} ({share:.0%})" for i, share in enumerate(kept)]


def _title(n_components: int, kept: np.ndarray | None, whose: str, n_drawn: int, n: int) -> str:
    lines = [f"Embeddings on the {'circle' if n_components == 2 else 'sphere'}"]
    if kept is not None:
        lines = [
            f"Embeddings: {n_components} components projected to {len(kept)}",
            f"{kept.sum():.0%} of the variance of the {whose} kept",
        ]
    if n_drawn < n:
        lines.append(f"{n_drawn:,} of {n:,} points drawn")
    return "\n".join(lines)


def styled(view: View, markers: tuple[str, ...]) -> list[tuple[np.ndarray, dict[str, str]]]:
    """Return (which points, their colour, marker and label) for each style in use."""
    n_styles = len(COLOURS) * len(markers)
    unique = len(view.names) <= n_styles
    styled = []
    for i in range(min(len(view.names), n_styles)):
        style = {"color": COLOURS[i % len(COLOURS)], "marker": markers[i % len(markers)]}
        style["label"] = view.names[i] if unique else f"style {i + 1}"
        styled.append((view.codes % n_styles == i, style))
    return styled


def globe() -> list[np.ndarray]:
    """Return meridians and parallels of the unit sphere, each of shape (3, n)."""
    around = np.linspace(0, 2 * np.pi, 73)
    flat = np.stack([np.cos(around), np.sin(around)])
    heights = np.sin(np.deg2rad(range(-60, 61, 30)))
    parallels = [np.vstack([np.sqrt(1 - h**2) * flat, np.full(73, h)]) for h in heights]
    turns = np.deg2rad(range(0, 180, 30))
    meridians = [np.stack([np.cos(t) * flat[0], np.sin(t) * flat[0], flat[1]]) for t in turns]
    return parallels + meridians
