"""How an estimator's proxies come about: learned, or the best arrangement known."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from numbers import Integral
from typing import Any, ClassVar

import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug.losses import hyperspherical_energy
from skhug.proxies._closed_forms import (
    RandomState,
    _check_size,
    cross_polytope,
    orthogonal_simplices,
    simplex,
)
from skhug.proxies._minimised import (
    _TEMPERATURES,
    _evaluations,
    _separate,
    maximal_separation,
    minimal_energy,
)
from skhug.proxies._phase_code import PhaseCode, coherence_bound
from skhug.proxies._spherical_codes import random_coherence, spherical_code

__all__ = ["Learned", "code_of_many", "optimal_proxies"]

# ``n_points^2 n_components`` beyond which the least evaluations take too long.
_LARGE = 5e8
# Searched arrangements that a process keeps, and the most bytes of one: 64 MiB in all.
_KEPT, _KEPT_BYTES = 8, 2**23
# Numbers of proxies that are stored, 64 MiB in float32, and the share of random points' largest
# cosine up to which a code stands for more: repulsion of so many points reaches no less.
_STORED, _GOOD_OF_MANY = 2**24, 0.75
# How much more energy, relatively, a better separated arrangement may have.
_TIE = 1e-5


class Learned(Configured):
    """Proxies that are trained along with the encoder.

    Parameters
    ----------
    attached : bool, default=True
        Whether the within-class term moves the proxies too, so that they follow the data. The
        authors' code detaches them: they then follow the between-class term alone.
    learning_rate : float, optional
        Their own learning rate, above 0; the estimator's by default.
    momentum : float, optional
        Share of itself that a proxy keeps in a step with rows of its class, in (0, 1); the rest is
        the mean of their embeddings. Beside the gradient, or with ``attached=False`` in place of
        the within-class term's. By default proxies follow gradients alone.
        0.97 found classes never seen better (``benchmarks/evidence/unseen.py``).

    Examples
    --------
    >>> from skhug import HUGClassifier, Learned
    >>> model = HUGClassifier(proxies=Learned(learning_rate=0.02), alpha=0.5)
    """

    _before: ClassVar[dict[str, Any]] = {"momentum": None}

    @explained
    def __init__(
        self,
        attached: bool = True,
        learning_rate: float | None = None,
        momentum: float | None = None,
    ) -> None:
        self.attached = attached
        self.learning_rate = learning_rate
        self.momentum = momentum


class Optimal:
    """Proxies that lie in the best arrangement known and stay there: the string "optimal"."""


def optimal_proxies(
    n_classes: int,
    n_components: int,
    s: float = 2.0,
    *,
    criterion: str = "energy",
    random_state: RandomState = None,
) -> Tensor:
    """Return the best known arrangement of class proxies.

    Parameters
    ----------
    n_classes : int
        At least 2.
    n_components : int
        At least 1. With 1 there are two points on the sphere, which the classes share in turn.
    s : float, default=2.0
        Exponent of the energy to minimise where there is no closed form.
    criterion : {"energy", "separation"}, default="energy"
        What is best: the least energy, or the largest smallest distance.
    random_state : int, RandomState or None
        Of the search, where there is one.

    Returns
    -------
    proxies : Tensor of shape (n_classes, n_components)
        Unit rows, float64: the simplex for ``n_classes <= n_components + 1``,
        :func:`orthogonal_simplices` for up to ``2 * n_components``, else what
        :func:`minimal_energy` or :func:`maximal_separation` finds. In many dimensions the
        energy is flat around its minimum: a better separated arrangement is preferred to one
        whose energy is lower by less than a hundred-thousandth. For ``n_classes^2 n_components``
        above 5e8 (2,000 classes in 128 components) it is the :func:`spherical_code`, whose
        energy is within a thousandth of what a search finds and whose largest cosine is smaller;
        for the separation above 3.5e7. Estimators do not store more than 16.8 million numbers of
        it: see :class:`CodedProxies`.

    Raises
    ------
    ValueError
        If a size or the criterion is none of these.

    Notes
    -----
    A search takes one or two seconds for hundreds of points. What an integer ``random_state``
    led to is kept in the process, the last eight of up to 8 MiB each; later calls get a copy.
    For other processes store it with ``numpy.save`` and pass the array as an estimator's
    ``proxies``.

    References
    ----------
    Liu et al. 2023, section 3.3 (generalised neural collapse).

    Examples
    --------
    >>> from skhug.proxies import optimal_proxies
    >>> optimal_proxies(8, 4).shape
    torch.Size([8, 4])
    """
    _check_size(n_classes, n_components)
    if criterion not in _SEARCHES:
        raise ValueError(f"criterion={criterion!r}: pass {' or '.join(map(repr, _SEARCHES))}.")
    if n_components == 1:
        return torch.tensor([1.0, -1.0], dtype=torch.float64).repeat(n_classes)[:n_classes, None]
    if n_classes <= n_components + 1:
        return simplex(n_classes, n_components)
    if n_classes == 2 * n_components:
        return cross_polytope(n_classes, n_components)
    if n_classes < 2 * n_components:
        return orthogonal_simplices(n_classes, n_components)
    if isinstance(random_state, Integral) and 8 * n_classes * n_components <= _KEPT_BYTES:
        return _kept_search(n_classes, n_components, s, criterion, random_state).clone()
    return _search(n_classes, n_components, s, criterion, random_state)


def code_of_many(n_classes: int, n_components: int) -> PhaseCode | None:
    """Return the proxies of so many classes that they are not stored, None where they are.

    These are the points of :func:`optimal_proxies`, float64, wherever that is a code.
    """
    if n_classes <= 2 * n_components or n_classes * n_components <= _STORED:
        return None
    bound = coherence_bound(n_classes, n_components)
    good = bound <= _GOOD_OF_MANY * random_coherence(n_classes, n_components)
    return PhaseCode(n_classes, n_components) if good else None


def _search(
    n_points: int, n_components: int, s: float, criterion: str, random_state: RandomState
) -> Tensor:
    """Arrange points for which there is no closed form."""
    stages, search = _SEARCHES[criterion]
    if n_points**2 * n_components > _LARGE / stages:
        return spherical_code(n_points, n_components, random_state)
    return search(n_points, n_components, s, random_state)


def _of_least_energy(
    n_points: int, n_components: int, s: float, random_state: RandomState
) -> Tensor:
    """Arrange points by their energy, and of near ties by their separation."""
    points = minimal_energy(n_points, n_components, s, random_state=random_state)
    apart = _separate(points, 0.1, _evaluations(1, n_points, n_components))
    least = hyperspherical_energy(points, s)
    if hyperspherical_energy(apart, s) - least <= _TIE * least.abs():
        return apart
    return points


def _of_largest_separation(
    n_points: int, n_components: int, s: float, random_state: RandomState
) -> Tensor:
    """Arrange points by their smallest distance, whatever the energy's exponent."""
    return maximal_separation(n_points, n_components, random_state=random_state)


# Criterion to how many searches' evaluations it needs, and the search.
_SEARCHES: dict[str, tuple[int, Callable[..., Tensor]]] = {
    "energy": (1, _of_least_energy),
    "separation": (len(_TEMPERATURES), _of_largest_separation),
}

# Holds no lock of Python's, so that a child forked amid a search in another thread can go on; two
# threads may then search for the same points, and find the same.
_kept_search = lru_cache(maxsize=_KEPT)(_search)
