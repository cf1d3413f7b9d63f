"""Model selection: search with the fits of one architecture trained together; scorers."""

from skhug._docs import public
from skhug.model_selection._scorers import retrieval_scorer
from skhug.model_selection._stacked_search import StackedSearchCV

__all__ = [
    "StackedSearchCV",
    "retrieval_scorer",
]
__dir__ = public(globals())
