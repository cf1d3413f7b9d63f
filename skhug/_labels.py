"""Labels of one kind."""

from __future__ import annotations

from numbers import Number
from typing import Any

import numpy as np


def _kind_of(label: Any) -> str:
    if isinstance(label, (Number, np.bool_)):
        return "numbers"
    return "strings" if isinstance(label, str) else f"of type {type(label).__name__}"


def _is_gap(label: Any) -> bool:
    """Whether it is None, NaN, or the missing value of pandas."""
    if label is None or type(label).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(label, (float, np.floating)) and bool(np.isnan(label))


def check_one_kind(labels: Any, name: str) -> None:
    """Refuse labels that cannot be sorted, such as numbers and strings.

    Raises
    ------
    ValueError
        With the kinds that are mixed.
    """
    if isinstance(labels, np.ndarray) and labels.dtype != object:
        return
    if len({type(label) for label in labels}) > 1 and any(map(_is_gap, labels)):
        raise _has_gaps(name)
    kinds = {_kind_of(label) for label in {type(label): label for label in labels}.values()}
    if len(kinds) > 1:
        raise ValueError(
            f"{name} mix {' and '.join(sorted(kinds))}: pass labels of one type, for instance "
            "all as strings."
        )


def check_no_gaps(labels: Any, name: str) -> None:
    """Refuse NaN, None and what pandas has for it, also where all labels are gaps.

    Raises
    ------
    ValueError
        If there is one.
    """
    if str(getattr(labels, "dtype", "object")).startswith(("int", "uint", "bool", "<U", "torch")):
        return
    if labels is not None and any(map(_is_gap, np.asarray(labels, dtype=object).ravel())):
        raise _has_gaps(name)


def _has_gaps(name: str) -> ValueError:
    return ValueError(
        f"{name} have gaps, such as None or NaN: leave these rows out, or give them a label of "
        "their own."
    )
