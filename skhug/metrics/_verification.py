"""Verification: are two rows of one class? Every pair above a cosine is accepted.

The share of the pairs of two classes that a threshold accepts is its false accept rate (FAR), of
the pairs of one class its true accept rate (TAR). Pairs of the same cosine are accepted together,
so that on the curve of the two they make one straight step.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from skhug.metrics._pairs import Pairs, all_pairs, given_pairs
from skhug.metrics._reports import Report

__all__ = [
    "RATES",
    "VERIFICATION",
    "Curve",
    "check_rate",
    "checked_rates",
    "pair_verification_report",
    "report_of",
    "verification_report",
]

RATES = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
# A threshold lies so far below the least cosine that it accepts, where there is room for it:
# cosines of float32 are off by as much.
_ROUNDING = 2.0**-20


def verification_report(
    embeddings: Any,
    labels: Any,
    *,
    gallery: Any = None,
    gallery_labels: Any = None,
    far: float | Sequence[float] = RATES,
    sample_weight: Any = None,
) -> Report:
    """How well the cosine of two rows tells whether they are of one class, over all pairs.

    Each pair counts once and no row is paired with itself. 15,000 rows make 1.1e8 pairs.

    Parameters
    ----------
    embeddings : array, sparse array or Tensor of shape (n_samples, n_components)
        Normalised here; products of a Tensor are taken on its device.
    labels : array-like of shape (n_samples,)
        Their classes, of any type.
    gallery : array, sparse array or Tensor of shape (n_gallery, n_components), optional
        What rows are paired with; by default one another.
    gallery_labels : array-like of shape (n_gallery,), optional
        Classes of the gallery.
    far : float or sequence of float, default=(0.1, 0.01, 0.001, 0.0001, 1e-05)
        False accept rates, above 0 and at most 1.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the rows, non-negative; a pair counts by the product of its two rows', those
        of a gallery being 1.

    Returns
    -------
    report : Report
        ``roc_auc``; ``eer``, the rate at which as large a share of the false pairs is accepted as
        of the true ones rejected, and ``threshold_at_eer``; for each rate ``tar_at_far_1e-3`` and
        so on, the true accept rate of the lowest threshold that accepts no larger share of the
        false pairs, and ``threshold_at_far_1e-3``. A pair is accepted from the threshold, a
        cosine, upward. Rates below ``1 / n_false_pairs`` cannot be told and are NaN.
        ``n_true_pairs``, ``n_false_pairs``, those of a positive weight.

    Raises
    ------
    ValueError
        If no pair is of one class or none of two, or a rate is out of its range.

    See Also
    --------
    pair_verification_report : Of given pairs.
    skhug.model_selection.verification_threshold : A threshold to use, from classes held out.
    skhug.plotting.VerificationDisplay : The curve.

    Notes
    -----
    Cosines are taken in float64 (on MPS in float32). Pairs count as equally near, and are accepted
    together, where rounding alone parts them: of up to four million pairs within 1e-12, of more
    within 2^-22 = 2.4e-7, about what embeddings in float32 tell apart. Beyond that the rates are
    those of scikit-learn's ``roc_curve`` and ``roc_auc_score``. Memory, some 300 MiB, does not grow
    with the pairs.

    A threshold of classes that the model was trained on does not keep its rate on others, where it
    may accept several times as many false pairs: choose it on classes held out. A rate rests on
    ``far * n_false_pairs`` pairs, and these share rows: from 30 on it is known to about 30 %.

    Examples
    --------
    >>> from skhug.metrics import verification_report
    >>> z = [[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [0.6, 0.8]]
    >>> verification_report(z, ["a", "a", "b", "b"], far=0.25)
                                value   optimum
    roc_auc                    0.7500    1.0000
    eer                        0.2500    0.0000
    threshold_at_eer           0.8000         -
    tar_at_far_2.5e-1          1.0000    1.0000
    threshold_at_far_2.5e-1    0.8000         -
    n_true_pairs                    2         -
    n_false_pairs                   4         -
    """
    rates = checked_rates(far)
    curve = Curve(all_pairs(embeddings, labels, gallery, gallery_labels, sample_weight))
    return report_of(curve, rates)


def pair_verification_report(
    embeddings: Any,
    others: Any,
    same: Any,
    *,
    far: float | Sequence[float] = RATES,
    sample_weight: Any = None,
) -> Report:
    """How well the cosine of two rows tells whether they are of one class, over given pairs.

    Protocols with a list of pairs, such as that of Labeled Faces in the Wild, are scored so.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_pairs, n_components)
        The first row of each pair, normalised here; ``z[pairs[:, 0]]`` where pairs are indices.
    others : array or Tensor of shape (n_pairs, n_components)
        The second row of each.
    same : array-like of bool of shape (n_pairs,)
        Whether the two are of one class.
    far : float or sequence of float, default=(0.1, 0.01, 0.001, 0.0001, 1e-05)
        False accept rates, above 0 and at most 1.
    sample_weight : array-like of shape (n_pairs,), optional
        Weights of the pairs, non-negative.

    Returns
    -------
    report : Report
        As of :func:`verification_report`.

    Raises
    ------
    ValueError
        If no pair is of one class or none of two, a rate is out of its range, or shapes do not
        fit.

    Examples
    --------
    >>> from skhug.metrics import pair_verification_report
    >>> left, right = [[1.0, 0.0], [1.0, 0.0]], [[0.8, 0.6], [0.0, 1.0]]
    >>> report = pair_verification_report(left, right, [True, False])
    >>> report["roc_auc"], report["n_false_pairs"]
    (1.0, 1)
    """
    rates = checked_rates(far)
    return report_of(Curve(given_pairs(embeddings, others, same, sample_weight)), rates)


class Curve:
    """The ROC curve of counted pairs, point by point as the threshold falls.

    Attributes
    ----------
    far, tar, threshold : ndarray of shape (n_cosines + 1,)
        Of the first point, at (0, 0), to the last, at (1, 1).
    """

    def __init__(self, pairs: Pairs) -> None:
        counts = pairs.counts
        self.pairs = pairs
        self.far, self.tar = (
            np.append(0.0, sums / sums[-1])
            for sums in (counts.false.cumsum(), counts.true.cumsum())
        )
        room = np.append(counts.cosine[:-1] - counts.cosine[1:], np.inf)
        below = counts.cosine - np.minimum(room, _ROUNDING) / 2
        self.threshold = np.append(counts.cosine[0] + _ROUNDING / 2, below)

    @property
    def roc_auc(self) -> float:
        """The area below."""
        return float(np.diff(self.far) @ (self.tar[1:] + self.tar[:-1]) / 2)

    @cached_property
    def _around_eer(self) -> tuple[int, float]:
        """The point from which on FAR is at least the rate of rejected, and how far before it."""
        excess = self.far + self.tar - 1
        i = int(np.argmax(excess >= 0))
        return i, float(-excess[i - 1] / (excess[i] - excess[i - 1]))

    @property
    def eer(self) -> float:
        """The rate at which the curve, points joined by lines, meets FAR = 1 - TAR."""
        i, share = self._around_eer
        return float(self.far[i - 1] + share * (self.far[i] - self.far[i - 1]))

    @property
    def threshold_at_eer(self) -> float:
        """That of the point nearer to where the rates are equal."""
        i, share = self._around_eer
        return float(self.threshold[i if share > 0.5 else i - 1])

    def tells(self, far: float) -> bool:
        """Whether there are false pairs enough for a rate."""
        return far * self.pairs.n_false >= 1 - 1e-9

    def check_tells(self, far: float) -> None:
        """Raise if there are too few false pairs for a rate, with how many rows it takes."""
        if self.tells(far):
            return
        _, _, n_false, n_rows = self.pairs
        # Two digits of 1.06 times the least rate are never below it.
        least, factor = math.ceil(1 / far - 1e-9), 1 / (far * n_false)
        more = (
            f"{factor:.1f} times as many pairs"
            if n_rows is None
            else f"about {math.ceil(n_rows * factor**0.5):,} rows, as many to a class as now"
        )
        raise ValueError(
            f"far={far:g} is told by {least:,} pairs of two classes and more, and there are "
            f"{n_false:,}: pass {more}, or a far of {1.06 / n_false:.1e} or more."
        )

    def at_far(self, far: float) -> tuple[float, float]:
        """Return TAR and threshold of the lowest threshold of a rate that is not above."""
        i = int(np.searchsorted(self.far, far, side="right")) - 1
        return float(self.tar[i]), float(self.threshold[i])


def _tar_at_far(curve: Curve, far: float) -> float:
    curve.check_tells(far)
    return curve.at_far(far)[0]


# Name to the value of a curve at a rate, higher being better.
VERIFICATION: dict[str, Callable[[Curve, float], float]] = {
    "roc_auc": lambda curve, far: curve.roc_auc,
    "neg_eer": lambda curve, far: -curve.eer,
    "tar_at_far": _tar_at_far,
}


def check_rate(far: float) -> float:
    """Return a false accept rate.

    Raises
    ------
    ValueError
        If it is none.
    """
    if not isinstance(far, Real) or not 0 < far <= 1:
        raise ValueError(f"far={far!r}: pass a rate above 0 and at most 1, such as 1e-3.")
    return float(far)


def checked_rates(far: float | Iterable[float]) -> list[float]:
    """Return false accept rates, of one or several."""
    return [check_rate(rate) for rate in (far if np.iterable(far) else [far])]


def report_of(curve: Curve, rates: list[float]) -> Report:
    """Return the measures of a curve, and its points at some rates."""
    values = {
        "roc_auc": curve.roc_auc,
        "eer": curve.eer,
        "threshold_at_eer": curve.threshold_at_eer,
    }
    optimum = {"roc_auc": 1.0, "eer": 0.0}
    for far in rates:
        name = np.format_float_scientific(far, trim="-", exp_digits=1)
        tar, threshold = curve.at_far(far) if curve.tells(far) else (math.nan, math.nan)
        values |= {f"tar_at_far_{name}": tar, f"threshold_at_far_{name}": threshold}
        optimum[f"tar_at_far_{name}"] = 1.0
    sizes = {"n_true_pairs": curve.pairs.n_true, "n_false_pairs": curve.pairs.n_false}
    return Report(values | sizes, optimum)
