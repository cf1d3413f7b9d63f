"""Labels of one kind."""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np


def _kind_of(label: Any) -> str:
    if isinstance(label, (Number, np.bool_)):
        return "numbers"
    return "strings" if isinstance(label, str) else f"of type {type(label).__name__}"


def check_one_kind(labels: Any, name: str) -> None:
    """Refuse labels that cannot be sorted, such as numbers and strings.

    Raises
    ------
    ValueError
        With the kinds that are mixed.
    """
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return
    kinds = {_kind_of(label) for label in {type(label): label for label in labels}.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} mix {' and '.join(sorted(kinds))}: pass labels of one type, for instance "
            "all as strings."
        )
