"""HistoryDisplay: a fit, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from skhug._sklearn import fitted_step
from skhug.metrics._measures import GEOMETRY
from skhug.plotting._common import COLOURS, MARKERS, WRONG, fitted_attribute, new_panels

_LOSSES = ("loss", "between", "within")
_SCORE = "validation_score"
_DASHES = ("-", "--", ":")
# Titles of what is not just its name with spaces.
_TITLES = {
    "cdnv": "Class-distance normalized variance",
    "ncc_agreement": "Nearest-class-centre agreement",
}
# Values that span more than this factor go on a logarithmic axis.
_DECADE = 10.0


class HistoryDisplay:
    """Loss terms, validation score and tracked measures over the epochs.

    The terms of the loss share a panel; every further number that rows of the history hold gets
    a panel of its own. An axis is logarithmic where its values are positive and span more than a
    factor of 10. The best validation score is marked, and so is the best value that a measure could
    reach, where it is known.

    Parameters
    ----------
    history : list of dict
        One row per epoch, as in ``history_``; ``epoch`` is counted from 1 where it is missing.
        Values that are no numbers are passed over, and so are epochs without a value.
    optima : dict of str to float, optional
        Best value possible of a key of the history, drawn as a dashed line; NaN where it is not
        known. ``from_estimator`` knows those of tracked measures.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes that bound the picture.
    axes_ : ndarray of matplotlib Axes
        The panels; ``ax_`` itself where there is only one.
    lines_ : dict of str to matplotlib Line2D
        The curve of each key of the history.
    figure_ : matplotlib Figure
        The figure.

    Raises
    ------
    ValueError
        If no row holds a number.

    Examples
    --------
    >>> from skhug.plotting import HistoryDisplay
    >>> rows = [{"epoch": 1, "loss": 2.0, "nc1": 0.5}, {"epoch": 2, "loss": 1.5, "nc1": 0.2}]
    >>> display = HistoryDisplay.from_history(rows)
    >>> sorted(display.lines_)
    ['loss', 'nc1']
    """

    def __init__(
        self, history: Sequence[Mapping[str, Any]], *, optima: Mapping[str, float] | None = None
    ) -> None:
        self.history = history
        self.optima = optima

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> HistoryDisplay:
        """Draw the history of a fitted estimator.

        Parameters
        ----------
        estimator : object
            Fitted, with ``history_``; a pipeline's last step or a search's best estimator counts.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : HistoryDisplay
            Drawn.
        """
        history = fitted_attribute(estimator, "history_", "pass rows to from_history")
        proxies = getattr(fitted_step(estimator), "proxies_", None)
        optima = {} if proxies is None else _optima(history, *np.shape(proxies))
        return cls.from_history(history, optima=optima, ax=ax)

    @classmethod
    def from_history(
        cls,
        history: Sequence[Mapping[str, Any]],
        *,
        optima: Mapping[str, float] | None = None,
        ax: Any = None,
    ) -> HistoryDisplay:
        """Draw rows of a history.

        Parameters
        ----------
        history : list of dict
            One row per epoch.
        optima : dict of str to float, optional
            As for the class.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : HistoryDisplay
            Drawn.
        """
        return cls(history, optima=optima).plot(ax=ax)

    def plot(self, ax: Any = None) -> HistoryDisplay:
        """Draw.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Part of a grid of axes, as ``plt.subplots`` makes them; a new figure by default.

        Returns
        -------
        self : HistoryDisplay
            With ``ax_``, ``axes_``, ``lines_`` and ``figure_``.
        """
        curves = _curves(self.history)
        if not curves:
            raise ValueError("history holds no numbers: pass rows such as {'loss': 0.5}.")
        losses = [key for key in _LOSSES if key in curves]
        groups = [losses] * bool(losses) + [[key] for key in curves if key not in losses]
        self.ax_, self.axes_ = new_panels(ax, len(groups), 3, (4.2, 3.2))
        self.figure_ = self.ax_.figure
        self.lines_ = {}
        for panel, keys in zip(self.axes_, groups, strict=True):
            for i, key in enumerate(keys):
                self.lines_[key] = _draw_curve(panel, key, curves[key], i)
            _finish(panel, keys, [value for key in keys for value in curves[key][1]])
            _draw_optimum(panel, (self.optima or {}).get(keys[0], math.nan))
        if _SCORE in curves:
            _mark_best(self.lines_[_SCORE], *curves[_SCORE])
        return self


def _curves(history: Sequence[Mapping[str, Any]]) -> dict[str, tuple[list[int], list[float]]]:
    """Return (epochs, values) of each key, from the rows that hold a finite number."""
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for i, row in enumerate(history):
        for key, value in row.items():
            number = isinstance(value, Real) and not isinstance(value, bool)
            if key != "epoch" and number and math.isfinite(value):
                epochs, values = curves.setdefault(key, ([], []))
                epochs.append(row.get("epoch", i + 1))
                values.append(float(value))
    return curves


def _draw_curve(panel: Any, key: str, curve: tuple[list[int], list[float]], i: int) -> Any:
    (line,) = panel.plot(
        *curve,
        color=COLOURS[i],
        linestyle=_DASHES[i],
        marker=MARKERS[i],
        markersize=3.5,
        markevery=max(1, len(curve[0]) // 12),
        label=key,
    )
    return line


def _finish(panel: Any, keys: list[str], values: list[float]) -> None:
    least, most = min(values), max(values)
    if least > 0 and most > _DECADE * least:
        panel.set_yscale("log")
    panel.xaxis.get_major_locator().set_params(integer=True)
    panel.set(xlabel="Epoch", title="Loss terms" if len(keys) > 1 else _title(keys[0]))
    panel.grid(alpha=0.3)
    if len(keys) > 1:
        panel.legend()


def _title(key: str) -> str:
    spaced = key.replace("_", " ")
    # An abbreviation stays as it is.
    return _TITLES.get(key, spaced if len(key) < 4 else spaced[0].upper() + spaced[1:])


def _optima(history: Sequence[Mapping[str, Any]], n_classes: int, n_components: int) -> dict:
    """Return the best values of the measures that a history tracks."""
    tracked = GEOMETRY.keys() & {key for row in history for key in row}
    return {key: GEOMETRY[key].optimum(n_classes, n_components) for key in tracked}


def _draw_optimum(panel: Any, value: float) -> None:
    if math.isnan(value) or (value <= 0 and panel.get_yscale() == "log"):
        return
    panel.axhline(value, color="0.5", linestyle="--", linewidth=1, label=f"optimum {value:.3g}")
    panel.legend(handles=panel.lines[-1:])


def _mark_best(line: Any, epochs: list[int], values: list[float]) -> None:
    best = int(np.argmax(values))
    line.axes.plot(
        epochs[best],
        values[best],
        color=WRONG,
        marker="*",
        markersize=13,
        markeredgecolor="white",
        linestyle="none",
        label=f"best {values[best]:.3f}, epoch {epochs[best]}",
    )
    line.axes.legend(handles=line.axes.lines[-1:], loc="lower right")
