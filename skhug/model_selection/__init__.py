"""Model selection: scorers for scikit-learn's searches, and a threshold for verification."""

from skhug._docs import public
from skhug.model_selection._scorers import retrieval_scorer, verification_scorer
from skhug.model_selection._thresholds import verification_threshold

__all__ = ["retrieval_scorer", "verification_scorer", "verification_threshold"]
__dir__ = public(globals())
