"""Measures of hyperspherical uniformity, under the name that they had first."""

from skhug._docs import public
from skhug.losses import MGD, MHE, MHS, Uniformity

__all__ = [
    "MGD",
    "MHE",
    "MHS",
    "Uniformity",
]
__dir__ = public(globals())
