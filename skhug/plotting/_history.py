"""HistoryDisplay: a fit, epoch by epoch."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np

from skhug.plotting._common import COLOURS, MARKERS, WRONG, fitted_attribute, new_panels

_LOSSES = ("loss", "between", "within")
_SCORE = "validation_score"
_DASHES = ("-", "--", ":")
# Values that span more than this factor go on a logarithmic axis.
_DECADE = 10.0


class HistoryDisplay:
    """Loss terms, validation score and tracked measures over the epochs.

    The terms of the loss share a panel; every further number that rows of the history hold gets
    a panel of its own. An axis is logarithmic where its values are positive and span more than a
    factor of 10. The best validation score is marked.

    Parameters
    ----------
    history : list of dict
        One row per epoch, as in ``history_``; ``epoch`` is counted from 1 where it is missing.
        Values that are no numbers are passed over, and so are epochs without a value.

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

    def __init__(self, history: Sequence[Mapping[str, Any]]) -> None:
        self.history = history

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
        return cls.from_history(history, ax=ax)

    @classmethod
    def from_history(
        cls, history: Sequence[Mapping[str, Any]], *, ax: Any = None
    ) -> HistoryDisplay:
        """Draw rows of a history.

        Parameters
        ----------
        history : list of dict
            One row per epoch.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : HistoryDisplay
            Drawn.
        """
        return cls(history).plot(ax=ax)

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
    panel.set(xlabel="Epoch", title="Loss terms" if len(keys) > 1 else keys[0])
    panel.grid(alpha=0.3)
    if len(keys) > 1:
        panel.legend()


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
