"""Model selection: scorers for scikit-learn's searches and cross-validation."""

from skhug._docs import public
from skhug.model_selection._scorers import retrieval_scorer

__all__ = ["retrieval_scorer"]
__dir__ = public(globals())
