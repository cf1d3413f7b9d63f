"""Pictures of fitted estimators, as scikit-learn Display classes.

Each takes any fitted estimator with the attributes it draws, alone, at the end of a pipeline or
in a grid search (``from_estimator``), or what the estimator returned (``from_predictions``),
and is drawn into an axes of yours with ``plot(ax=...)``. They need the extra ``plot``, the
interactive page the extra ``interactive``.
"""

from __future__ import annotations

from skhug._docs import public
from skhug.plotting._angle import AngleDisplay
from skhug.plotting._gram import GramDisplay
from skhug.plotting._history import HistoryDisplay
from skhug.plotting._retrieval import RetrievalDisplay
from skhug.plotting._sphere import SphereDisplay
from skhug.plotting._verification import VerificationDisplay

__all__ = [
    "AngleDisplay",
    "GramDisplay",
    "HistoryDisplay",
    "RetrievalDisplay",
    "SphereDisplay",
    "VerificationDisplay",
]
__dir__ = public(globals())
