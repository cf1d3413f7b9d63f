"""A gallery: named vectors to search, to which classes are added without training.

:class:`Gallery` is a classifier of scikit-learn's kind around any embedder; what searches it is
exact by default, or one of the indexes here.
"""

from skhug._docs import public
from skhug.retrieval._gallery import Gallery
from skhug.retrieval._indexes import ExactIndex, Index, QuantizedIndex
from skhug.retrieval._libraries import FaissIndex, UsearchIndex

__all__ = [
    "ExactIndex",
    "FaissIndex",
    "Gallery",
    "Index",
    "QuantizedIndex",
    "UsearchIndex",
]
__dir__ = public(globals())
