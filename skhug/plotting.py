"""Pictures of fitted estimators, as scikit-learn Display classes.

Each takes any fitted estimator with the attributes it draws, alone, at the end of a pipeline or
in a grid search (``from_estimator``), or what the estimator returned (``from_predictions``),
and is drawn into an axes of yours with ``plot(ax=...)``. They need the extra ``plot``, the
interactive page the extra ``interactive``.
"""

from __future__ import annotations

from skhug._displays_angle import AngleDisplay
from skhug._displays_gram import GramDisplay
from skhug._displays_history import HistoryDisplay
from skhug._displays_retrieval import RetrievalDisplay
from skhug._displays_sphere import SphereDisplay
from skhug._docs import public

__all__ = [
    "AngleDisplay",
    "GramDisplay",
    "HistoryDisplay",
    "RetrievalDisplay",
    "SphereDisplay",
]
__dir__ = public(globals())
