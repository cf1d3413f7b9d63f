"""Proxies that stay apart where embeddings are cut: the spec, and the best fixed arrangement."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from numbers import Integral, Real
from typing import Any

import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._sphere import unit
from skhug.losses import hyperspherical_energy
from skhug.losses._nested import Prefix
from skhug.proxies._choice import _LARGE
from skhug.proxies._closed_forms import random_proxies
from skhug.proxies._minimised import _evaluations, _lbfgs
from skhug.proxies._spherical_codes import spherical_code

__all__ = [
    "Nested",
    "all_prefixes",
    "checked_prefixes",
    "inner_proxies",
    "nested_arrangement",
    "side_by_side",
]

# Components that a prefix has at least: on one there are but two points.
_FEWEST = 2
# Searched arrangements that a process keeps.
_KEPT = 8


class Nested(Configured):
    """Proxies for embeddings that can be cut: every prefix of them has a loss of its own.

    What is minimised is the loss of all components and, weighted, those of ``z[:, :d]``, projected
    anew, beside the first ``d`` columns of the proxies for every ``d`` of ``prefixes``. After the
    fit ``normalize(model.transform(X)[:, :d])`` is an embedding in ``d`` dimensions.

    Parameters
    ----------
    prefixes : sequence of int
        Numbers of first components to train besides all of them, each at least 2, in rising order
        and at most ``n_components``. Others than these serve less well.
    proxies : {"optimal", "learned"}, Learned or array of shape (n_classes, n_components), \
default="optimal"
        As for the estimators. ``"optimal"`` are searched for: points of which every prefix has
        little energy on its own sphere, summed over the prefixes. ``"learned"`` are trained
        along, and the columns of a prefix by all losses that see them. No row of an array may
        have a prefix of zeros.
    weight : float, default=0.1
        What the loss of each prefix counts beside that of all components, above 0. More makes
        short embeddings better and the whole one worse.

    See Also
    --------
    sklearn.preprocessing.normalize : Brings embeddings that were cut back to length 1.

    Notes
    -----
    A small ``alpha`` suits learned proxies here, 0.02 where 0.2 does for all components alone: what
    spreads classes in few components does so at the expense of which are alike.

    ``loss_`` and the columns of ``history_`` are these sums. ``proxies_`` are those of
    all components, and so are prediction, probabilities and validation. A step costs little more:
    the encoder runs once. A search of more than about 5e8 for ``n_classes^2 sum(prefixes)`` takes
    too long: ``"optimal"`` is then the :func:`~skhug.proxies.spherical_code` and its prefixes.

    References
    ----------
    Kusupati et al., "Matryoshka Representation Learning", NeurIPS 2022, arXiv 2205.13147.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.preprocessing import normalize
    >>> from skhug import HUGEmbedder, Learned, Nested
    >>> X, y = load_digits(return_X_y=True)
    >>> nested = Nested(prefixes=(4, 8), proxies=Learned(learning_rate=0.02))
    >>> model = HUGEmbedder(n_components=16, proxies=nested, max_epochs=2, random_state=0)
    >>> Z = model.fit(X, y).transform(X)
    >>> normalize(Z[:, :8]).shape
    (1797, 8)
    """

    @explained
    def __init__(
        self, prefixes: Sequence[int], proxies: Any = "optimal", weight: float = 0.1
    ) -> None:
        self.prefixes = prefixes
        self.proxies = proxies
        self.weight = weight


def checked_prefixes(nested: Nested) -> tuple[Prefix, ...]:
    """Return the prefixes and what each counts.

    Raises
    ------
    TypeError, ValueError
        If they are none, or not in rising order from 2 on, or the weight is not above 0.
    """
    given, weight = nested.prefixes, nested.weight
    widths = list(given) if isinstance(given, Iterable) else []
    if not widths or not all(isinstance(d, Integral) for d in widths):
        raise TypeError(
            f"prefixes={given!r}: pass numbers of components, for instance "
            "Nested(prefixes=(16, 32))."
        )
    if widths[0] < _FEWEST or any(a >= b for a, b in pairwise(widths)):
        raise ValueError(
            f"prefixes={given!r}: pass numbers of components in rising order, each at least "
            f"{_FEWEST}."
        )
    if not (isinstance(weight, Real) and 0 < weight < math.inf):
        raise ValueError(f"Nested has weight={weight!r}: pass a finite number above 0.")
    return tuple(Prefix(int(d), float(weight)) for d in widths)


def inner_proxies(nested: Nested) -> Any:
    """Return the proxies that have these prefixes.

    Raises
    ------
    ValueError
        If they are none.
    """
    proxies = nested.proxies
    unknown = isinstance(proxies, str) and proxies not in ("optimal", "learned")
    if unknown or isinstance(proxies, Nested):
        raise ValueError(
            f"Nested has proxies={proxies!r}: pass 'optimal', 'learned', Learned(...) or an array "
            "with a row a class."
        )
    return proxies


def nested_arrangement(n_classes: int, prefixes: tuple[Prefix, ...], s: float = 2.0) -> Tensor:
    """Return points whose prefixes all have little energy, each on its own sphere.

    Parameters
    ----------
    n_classes : int
        At least 2.
    prefixes : tuple of Prefix
        In rising order, the last one is of all components.
    s : float
        Exponent of the energy.

    Returns
    -------
    points : Tensor of shape (n_classes, n_components)
        Unit rows, float64: a local minimum of the weighted sum of the prefixes' energies.
    """
    if n_classes**2 * _columns(prefixes) > _LARGE:
        return spherical_code(n_classes, prefixes[-1].width, 0)
    return _search(n_classes, prefixes, s).clone()


def _columns(prefixes: tuple[Prefix, ...]) -> int:
    return sum(prefix.width for prefix in prefixes)


@lru_cache(maxsize=_KEPT)
def _search(n_classes: int, prefixes: tuple[Prefix, ...], s: float) -> Tensor:
    def summed_energy(points: Tensor) -> Tensor:
        energies = (weight * hyperspherical_energy(points[:, :d], s) for d, weight in prefixes)
        return n_classes * sum(energies)

    start = random_proxies(n_classes, prefixes[-1].width, random_state=0)
    return _lbfgs(summed_energy, start, _evaluations(1, n_classes, _columns(prefixes)))


def side_by_side(points: Tensor, prefixes: tuple[Prefix, ...]) -> Tensor:
    """Return the prefixes' unit points in one row each: products are weighted sums of cosines."""
    return torch.cat([weight**0.5 * unit(points[:, :d]) for d, weight in prefixes], dim=1)


def all_prefixes(prefixes: tuple[Prefix, ...], n_components: int) -> tuple[Prefix, ...]:
    """Return what is trained: the prefixes and all components; nothing where there are none.

    All components count 1, whether they are among the prefixes or not.

    Raises
    ------
    ValueError
        If one is longer than the embeddings.
    """
    if not prefixes:
        return ()
    if prefixes[-1].width > n_components:
        raise ValueError(
            f"Nested has a prefix of {prefixes[-1].width} components and the embeddings have "
            f"{n_components}: raise n_components, or leave longer prefixes out."
        )
    shorter = (prefix for prefix in prefixes if prefix.width < n_components)
    return (*shorter, Prefix(n_components, 1.0))
