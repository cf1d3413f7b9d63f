"""The between-class term of proxies that are not trained: a constant, computed once."""

from __future__ import annotations

import weakref
from typing import Any

import torch
from torch import Tensor

from skhug._sphere import widened


class ConstantBetween:
    """Remembers ``between_fixed`` of the last proxies that were seen.

    Told apart by the tensor itself, by torch's count of what was written to it and by the
    measure's parameters. A copy or a pickle starts empty.
    """

    def __init__(self) -> None:
        self._key: tuple[Any, ...] = ()
        self._value: Tensor | None = None

    def __call__(self, measure: Any, proxies: Tensor) -> Tensor:
        """Return the term of proxies of shape (n_classes, n_components)."""
        if torch.compiler.is_compiling() or proxies.is_inference():  # these count no writes
            return measure.between_fixed(widened(proxies))
        key = (weakref.ref(proxies), proxies._version, type(measure), dict(vars(measure)))
        if self._value is None or key != self._key:
            with torch.no_grad():
                self._key, self._value = key, measure.between_fixed(widened(proxies))
        return self._value

    def __reduce__(self) -> tuple[type[ConstantBetween], tuple[()]]:
        return type(self), ()
