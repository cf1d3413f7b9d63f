"""From the scores of known and unknown rows to the threshold below which a row is unknown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

__all__ = ["STRATEGIES", "Cuts", "choose_threshold"]


class Cuts(NamedTuple):
    """What each threshold would do, from one that accepts nobody to one that accepts all.

    Arrays of shape (n_cuts,): how many rows are ``accepted``, known ones with their ``right``
    label, ``strangers`` let in. ``n_known`` and ``n_strangers`` are how many there are, and
    ``max_far`` is what the user allows.
    """

    threshold: np.ndarray
    accepted: np.ndarray
    right: np.ndarray
    strangers: np.ndarray
    n_known: int
    n_strangers: int
    max_far: float

    @property
    def false_accept_rate(self) -> np.ndarray:
        """Share of the strangers that are let in, as whomever."""
        return self.strangers / self.n_strangers

    @property
    def identified(self) -> np.ndarray:
        """Share of the known that are accepted with their own label."""
        return self.right / self.n_known

    @property
    def f1(self) -> np.ndarray:
        """Harmonic mean of ``right / accepted`` and ``right / n_known``."""
        return 2 * self.right / (self.accepted + self.n_known)

    @property
    def accuracy(self) -> np.ndarray:
        """Share of all rows that are told right: the known by name, strangers as unknown."""
        refused = self.n_strangers - self.strangers
        return (self.right + refused) / (self.n_known + self.n_strangers)


# Strategy to what the threshold makes largest; of equals the highest threshold is taken.
STRATEGIES: dict[str, Callable[[Cuts], np.ndarray]] = {
    "f1": lambda cuts: cuts.f1,
    "accuracy": lambda cuts: cuts.accuracy,
    "max_far": lambda cuts: np.where(
        cuts.false_accept_rate <= cuts.max_far, np.arange(len(cuts.accepted)), -1
    ),
}


def choose_threshold(
    scores: np.ndarray, known: np.ndarray, right: np.ndarray, strategy: str, max_far: float
) -> tuple[float, dict[str, Any]]:
    """Return the best threshold by a strategy, and what it did to these rows.

    Parameters
    ----------
    scores : ndarray of shape (n,)
        Of the nearest row of the gallery; a row is accepted from the threshold on.
    known : ndarray of bool of shape (n,)
        Whether the row's class is in the gallery.
    right : ndarray of bool of shape (n,)
        Whether the nearest row's label is its own.
    strategy : str
        Of :data:`STRATEGIES`.
    max_far : float
        For ``"max_far"``.
    """
    cuts = _cuts(scores, known, right, max_far)
    best = int(np.argmax(STRATEGIES[strategy](cuts)))
    names = ("false_accept_rate", "identified", "f1", "accuracy")
    figures = {name: float(getattr(cuts, name)[best]) for name in names}
    counts = {"n_known": cuts.n_known, "n_strangers": cuts.n_strangers}
    return float(cuts.threshold[best]), {"strategy": strategy, **figures, **counts}


def _cuts(scores: np.ndarray, known: np.ndarray, right: np.ndarray, max_far: float) -> Cuts:
    """Cut between any two different scores, halfway."""
    order = np.argsort(-scores, kind="stable")
    scores, known, right = scores[order], known[order], right[order]
    ends = np.flatnonzero(np.append(scores[1:] < scores[:-1], True))  # last of equal scores
    above = scores[ends]
    below = np.append(above[1:], above[-1])
    halfway = (above + below) / 2
    halfway = np.where(halfway > below, halfway, above)  # neighbours among floats

    def counted(mask: np.ndarray) -> np.ndarray:
        return np.append(0, np.cumsum(mask)[ends])

    return Cuts(
        threshold=np.append(np.nextafter(above[0], np.inf), halfway),
        accepted=np.append(0, ends + 1),
        right=counted(known & right),
        strangers=counted(~known),
        n_known=int(known.sum()),
        n_strangers=int((~known).sum()),
        max_far=max_far,
    )
