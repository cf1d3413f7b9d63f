"""Measures of geometry at the end of every epoch, on a fixed part of the training rows."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from skhug._data.rows import Rows
from skhug._device import to_tensor
from skhug._model.embedding import device_of, embed
from skhug._training.objective import Objective

if TYPE_CHECKING:
    from skhug.metrics._class_statistics import Classwise

# A quarter of the rows is measured, between these bounds, and of a class at least as many.
SAMPLE_ROWS = (512, 2048)
_ROWS_PER_CLASS = 8


def make_tracker(
    functions: dict[str, Callable[[Classwise], float]], objective: Objective, rows: Rows
) -> Callable[[], dict[str, float]]:
    """Return a function that measures the model as it is when called.

    Parameters
    ----------
    functions : dict of callable
        Measures by the name of their column.
    objective : Objective
        Encoder and proxies in training.
    rows : Rows
        Training rows, of which a sample is measured.
    """
    if not functions:
        return dict
    if len(np.unique(rows.y)) < 2:  # a call of partial_fit: nothing between classes to measure
        return lambda: dict.fromkeys(functions, math.nan)
    # Here: a fit that tracks nothing needs no metrics.
    from skhug.metrics._class_statistics import Classwise

    sample = sample_by_class(rows.y)
    X, labels = rows.X[sample], to_tensor(rows.y[sample], device_of(objective.encoder))

    def measure() -> dict[str, float]:
        proxies = objective.unit_proxies()
        proxies = proxies if isinstance(proxies, Tensor) else proxies[labels.unique()]
        x = Classwise(embed(objective.encoder, X), labels, proxies)
        return {name: function(x) for name, function in functions.items()}

    return measure


def sample_by_class(y: np.ndarray) -> np.ndarray:
    """Choose a quarter of the rows, 512 to 2,048, spread evenly over classes and inside each.

    With more than 256 classes some are left out, so that the others have enough rows to have a
    spread.
    """
    classes, counts = np.unique(y, return_counts=True)
    least, most = SAMPLE_ROWS
    n_rows = min(max(len(y) // 4, _ROWS_PER_CLASS * len(classes), least), most)
    n_chosen = min(len(classes), n_rows // _ROWS_PER_CLASS)
    chosen = np.linspace(0, len(classes) - 1, n_chosen).astype(int)
    per_class = n_rows // n_chosen
    by_class = np.split(np.argsort(y, kind="stable"), np.cumsum(counts)[:-1])
    parts = [by_class[c] for c in chosen]
    return np.concatenate(
        [p[np.linspace(0, len(p) - 1, min(len(p), per_class)).astype(int)] for p in parts]
    )
