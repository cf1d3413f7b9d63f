"""VerificationDisplay: what thresholds on the cosine of two rows accept."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from skhug.metrics import Report
from skhug.metrics._pairs import all_pairs
from skhug.metrics._verification import RATES, Curve, checked_rates, report_of
from skhug.plotting._common import COLOURS, MARKERS, new_axes

# Points of the curve that are drawn, evenly by the logarithm of their false accept rate.
_MOST_POINTS = 2000


class VerificationDisplay:
    """ROC curve of all pairs of rows, the false accept rate on a logarithmic axis.

    The equal error rate is marked, where the curve meets the dotted line of as large a share of the
    false pairs accepted as of the true ones rejected, and so are the true accept rates at some
    false accept rates.

    Parameters
    ----------
    far, tar : array-like of shape (n_points,)
        False and true accept rates, both rising to 1.
    report : Report
        What is marked: ``eer`` and all ``tar_at_far_...``, as of
        :func:`~skhug.metrics.verification_report`; those that are NaN are left out. The axis
        starts at one of its ``n_false_pairs``.
    name : str, optional
        In the legend.

    Attributes
    ----------
    ax_ : matplotlib Axes
        The axes.
    line_ : matplotlib Line2D
        The curve.
    eer_point_ : matplotlib Line2D
        The point of the equal error rate.
    tar_points_ : matplotlib Line2D
        The points at given false accept rates.
    figure_ : matplotlib Figure
        The figure.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from skhug import HUGEmbedder
    >>> from skhug.plotting import VerificationDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> seen = y < 7
    >>> model = HUGEmbedder(max_epochs=3, random_state=0).fit(X[seen], y[seen])
    >>> display = VerificationDisplay.from_estimator(model, X[~seen], y[~seen])
    >>> display.ax_.get_xscale()
    'log'
    """

    def __init__(self, far: Any, tar: Any, report: Report, name: str | None = None) -> None:
        self.far = far
        self.tar = tar
        self.report = report
        self.name = name

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: Any,
        *,
        gallery: Any = None,
        gallery_labels: Any = None,
        far: float | Sequence[float] = RATES,
        sample_weight: Any = None,
        name: str | None = None,
        ax: Any = None,
    ) -> VerificationDisplay:
        """Draw the curve of an estimator's embeddings.

        Parameters
        ----------
        estimator : object
            Fitted, with ``transform``.
        X : array-like of shape (n_samples, n_features)
            Rows, of classes that were not trained on for verification of classes to come.
        y : array-like of shape (n_samples,)
            Their classes.
        gallery : array-like of shape (n_gallery, n_features), optional
            What rows are paired with; by default one another.
        gallery_labels : array-like of shape (n_gallery,), optional
            Classes of the gallery.
        far : float or sequence of float, default=(0.1, 0.01, 0.001, 0.0001, 1e-05)
            False accept rates to mark, above 0 and at most 1.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows, non-negative.
        name : str, optional
            In the legend; by default the estimator's class.
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        display : VerificationDisplay
            Drawn.
        """
        return cls.from_predictions(
            y,
            estimator.transform(X),
            gallery_embeddings=None if gallery is None else estimator.transform(gallery),
            gallery_labels=gallery_labels,
            far=far,
            sample_weight=sample_weight,
            name=type(estimator).__name__ if name is None else name,
            ax=ax,
        )

    @classmethod
    def from_predictions(
        cls,
        y: Any,
        embeddings: Any,
        *,
        gallery_embeddings: Any = None,
        gallery_labels: Any = None,
        far: float | Sequence[float] = RATES,
        sample_weight: Any = None,
        name: str | None = None,
        ax: Any = None,
    ) -> VerificationDisplay:
        """Draw the curve of given embeddings.

        Parameters
        ----------
        y : array-like of shape (n_samples,)
            Classes of the rows.
        embeddings : array or Tensor of shape (n_samples, n_components)
            Their embeddings, normalised here.
        gallery_embeddings : array or Tensor of shape (n_gallery, n_components), optional
            What rows are paired with; by default one another.
        gallery_labels : array-like of shape (n_gallery,), optional
            Classes of the gallery.
        far, sample_weight, name, ax
            As for :meth:`from_estimator`.

        Returns
        -------
        display : VerificationDisplay
            Drawn.
        """
        rates = checked_rates(far)
        curve = Curve(all_pairs(embeddings, y, gallery_embeddings, gallery_labels, sample_weight))
        return cls(curve.far, curve.tar, report_of(curve, rates), name).plot(ax=ax)

    def plot(self, ax: Any = None) -> VerificationDisplay:
        """Draw; several into one axes to compare them.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        self : VerificationDisplay
            With ``ax_``, ``line_``, ``eer_point_``, ``tar_points_`` and ``figure_``.
        """
        self.ax_ = ax = new_axes(ax, (5.6, 4.4))
        self.figure_ = ax.figure
        earlier = sum(line.get_gid() == "roc" for line in ax.lines)
        colour, least = COLOURS[earlier % len(COLOURS)], 1 / self.report["n_false_pairs"]
        eer, auc = self.report["eer"], self.report["roc_auc"]
        label = f"EER {eer:.3f}, AUC {auc:.3f}"
        (self.line_,) = ax.plot(
            *_drawn(self.far, self.tar, least),
            color=colour,
            linestyle=("-", "--", "-.", ":")[earlier % 4],
            label=label if self.name is None else f"{self.name}: {label}",
            gid="roc",
        )
        style = {"color": colour, "linestyle": "none", "zorder": 3}
        rates, values = _marks(self.report)
        marker = MARKERS[earlier % len(MARKERS)]
        (self.tar_points_,) = ax.plot(rates, values, marker=marker, markersize=5, **style)
        (self.eer_point_,) = ax.plot(
            [max(eer, least)],
            [1 - eer],
            marker="*",
            markersize=12,
            markeredgecolor="white",
            **style,
        )
        if not earlier:
            self._finish(least)
        ax.set_xlim(left=min(least, ax.get_xlim()[0]))
        ax.legend(loc="best")
        return self

    def _finish(self, least: float) -> None:
        """Draw what curves share, and label the axes."""
        rates = np.geomspace(min(least, 0.5), 1.0, 200)
        self.ax_.plot(rates, 1 - rates, color="0.6", linewidth=0.9, linestyle=":", zorder=1)
        self.ax_.set(
            xscale="log",
            xlim=(least, 1),
            ylim=(0, 1.02),
            xlabel="False accept rate",
            ylabel="True accept rate",
            title="Are two rows of one class?",
        )
        self.ax_.grid(alpha=0.3)


def _drawn(far: Any, tar: Any, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the points to draw: the corners of the curve, as many as the eye tells apart.

    Before the first false pair the curve rises at a rate of 0, drawn at the axis' start.
    """
    far, tar = np.maximum(np.asarray(far, dtype=np.float64), least), np.asarray(tar)
    if len(far) > _MOST_POINTS:
        # The last point of every stretch, beside which the curve is flat or was passed already.
        place = np.searchsorted(far, np.geomspace(least, 1.0, _MOST_POINTS), side="right") - 1
        kept = np.unique(np.append(0, place))
        far, tar = far[kept], tar[kept]
    return far, tar


def _marks(report: Report) -> tuple[list[float], list[float]]:
    """Return the false accept rates of a report and the true accept rates at them."""
    prefix = "tar_at_far_"
    found = {
        float(name.removeprefix(prefix)): value
        for name, value in report.items()
        if name.startswith(prefix) and not np.isnan(value)
    }
    return list(found), list(found.values())
