"""The Hyperspherical Uniformity Gap as a loss, its measures and their parts.

Source: Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.
"""

from skhug._docs import public
from skhug.losses._coefficients import class_mean_coefficients
from skhug.losses._energy import gram_logdet, hyperspherical_energy, separation
from skhug.losses._hug import HUGLoss, HUGLossTerms, within_class_energy
from skhug.losses._measures import MGD, MHE, MHS, Uniformity

__all__ = [
    "MGD",
    "MHE",
    "MHS",
    "HUGLoss",
    "HUGLossTerms",
    "Uniformity",
    "class_mean_coefficients",
    "gram_logdet",
    "hyperspherical_energy",
    "separation",
    "within_class_energy",
]
__dir__ = public(globals())
