"""Model selection with scikit-learn: scorers by retrieval."""

from skhug._scorers import retrieval_scorer

__all__ = ["retrieval_scorer"]
