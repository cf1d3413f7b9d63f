"""Configurations of points on the unit sphere, and how an estimator's proxies come about."""

from skhug._docs import public
from skhug.proxies._choice import Learned, optimal_proxies
from skhug.proxies._closed_forms import (
    cross_polytope,
    orthogonal_simplices,
    random_proxies,
    simplex,
)
from skhug.proxies._minimised import maximal_separation, minimal_energy
from skhug.proxies._nested import Nested
from skhug.proxies._phase_code import CodedProxies
from skhug.proxies._spherical_codes import spherical_code

__all__ = [
    "CodedProxies",
    "Learned",
    "Nested",
    "cross_polytope",
    "maximal_separation",
    "minimal_energy",
    "optimal_proxies",
    "orthogonal_simplices",
    "random_proxies",
    "simplex",
    "spherical_code",
]
__dir__ = public(globals())
