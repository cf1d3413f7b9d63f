"""Proxies that stay apart where embeddings are cut: the spec, and the best fixed arrangement."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import pairwise
from numbers import Integral
from typing import Any

import torch
from torch import Tensor

from skhug._configured import Configured, explained
from skhug._sphere import unit
from skhug.losses import hyperspherical_energy
from skhug.proxies._choice import _LARGE
from skhug.proxies._closed_forms import random_proxies
from skhug.proxies._minimised import _evaluations, _lbfgs
from skhug.proxies._spherical_codes import spherical_code

__all__ = ["Nested", "nested_arrangement", "side_by_side"]

# Components that a prefix has at least: on one there are but two points.
_FEWEST = 2
# Searched arrangements that a process keeps.
_KEPT = 8


class Nested(Configured):
    """Proxies for embeddings that can be cut: every prefix of them has a loss of its own.

    What is minimised is the sum of the losses of ``z[:, :d]``, projected anew, beside the first
    ``d`` columns of the proxies, for every ``d`` of ``prefixes`` and for all components. After the
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

    See Also
    --------
    sklearn.preprocessing.normalize : Brings embeddings that were cut back to length 1.

    Notes
    -----
    ``loss_`` and the columns of ``history_`` are sums over the prefixes. ``proxies_`` are those of
    all components, and so are prediction, probabilities and validation. A step costs little more:
    the encoder runs once. A search of more than about 5e8 for ``n_classes^2 sum(prefixes)`` takes
    too long: ``"optimal"`` is then the :func:`spherical_code` and its prefixes.

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
    def __init__(self, prefixes: Sequence[int], proxies: Any = "optimal") -> None:
        self.prefixes = prefixes
        self.proxies = proxies

    def widths(self) -> tuple[int, ...]:
        """Return the prefixes as Python's integers.

        Raises
        ------
        TypeError, ValueError
            If they are none, or not in rising order from 2 on.
        """
        values = list(self.prefixes) if isinstance(self.prefixes, Iterable) else []
        if not values or not all(isinstance(d, Integral) for d in values):
            raise TypeError(
                f"prefixes={self.prefixes!r}: pass numbers of components, for instance "
                "Nested(prefixes=(16, 32))."
            )
        widths = tuple(int(d) for d in values)
        if widths[0] < _FEWEST or any(a >= b for a, b in pairwise(widths)):
            raise ValueError(
                f"prefixes={self.prefixes!r}: pass numbers of components in rising order, each at "
                f"least {_FEWEST}."
            )
        return widths

    def inner(self) -> Any:
        """Return the proxies that have these prefixes.

        Raises
        ------
        ValueError
            If they are none.
        """
        nested, text = isinstance(self.proxies, Nested), isinstance(self.proxies, str)
        if nested or (text and self.proxies not in ("optimal", "learned")):
            raise ValueError(
                f"Nested has proxies={self.proxies!r}: pass 'optimal', 'learned', Learned(...) or "
                "an array with a row a class."
            )
        return self.proxies


def nested_arrangement(n_classes: int, prefixes: tuple[int, ...], s: float = 2.0) -> Tensor:
    """Return points whose prefixes all have little energy, each on its own sphere.

    Parameters
    ----------
    n_classes : int
        At least 2.
    prefixes : tuple of int
        In rising order, the last one is the number of components.
    s : float
        Exponent of the energy.

    Returns
    -------
    points : Tensor of shape (n_classes, prefixes[-1])
        Unit rows, float64: a local minimum of the sum of the prefixes' energies.
    """
    return _search(n_classes, prefixes, s).clone()


@lru_cache(maxsize=_KEPT)
def _search(n_classes: int, prefixes: tuple[int, ...], s: float) -> Tensor:
    columns, n_components = sum(prefixes), prefixes[-1]
    if n_classes**2 * columns > _LARGE:
        return spherical_code(n_classes, n_components, 0)

    def summed_energy(points: Tensor) -> Tensor:
        return n_classes * sum(hyperspherical_energy(points[:, :d], s) for d in prefixes)

    start = random_proxies(n_classes, n_components, random_state=0)
    return _lbfgs(summed_energy, start, _evaluations(1, n_classes, columns))


def side_by_side(points: Tensor, prefixes: tuple[int, ...]) -> Tensor:
    """Return the prefixes' unit points in one row each: their products are the sums of cosines."""
    return torch.cat([unit(points[:, :d]) for d in prefixes], dim=1)


def all_prefixes(prefixes: tuple[int, ...], n_components: int) -> tuple[int, ...]:
    """Return what is trained: the prefixes and all components; nothing where there are none.

    Raises
    ------
    ValueError
        If one is longer than the embeddings.
    """
    if not prefixes:
        return ()
    if prefixes[-1] > n_components:
        raise ValueError(
            f"Nested has a prefix of {prefixes[-1]} components and the embeddings have "
            f"{n_components}: raise n_components, or leave longer prefixes out."
        )
    return prefixes if prefixes[-1] == n_components else (*prefixes, n_components)
