"""What a gallery asks of its embedder."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted

from skhug._sparse import is_sparse
from skhug.retrieval._ranking import as_array

__all__ = ["INPUT_ATTRIBUTES", "embedded", "fitted_embedder", "input_attributes", "trained_classes"]

# Rows embedded at a time, where X is an array that can be cut.
_BLOCK_ROWS = 1 << 14
INPUT_ATTRIBUTES = ("n_features_in_", "feature_names_in_")


def fitted_embedder(embedder: Any, X: Any, y: Any) -> Any:
    """Return an embedder as it is if it is fitted, else a copy of it fitted on these rows."""
    try:
        check_is_fitted(embedder)
    except NotFittedError:
        return clone(embedder).fit(X, y)
    return embedder


def embedded(embedder: Any, X: Any) -> np.ndarray:
    """Return the embeddings of rows, checked.

    Raises
    ------
    ValueError
        If they are not rows of finite numbers.
    """
    if isinstance(X, np.ndarray) and len(X) > _BLOCK_ROWS:
        starts = range(0, len(X), _BLOCK_ROWS)
        blocks = [_checked(embedder.transform(X[i : i + _BLOCK_ROWS])) for i in starts]
        return np.concatenate(blocks)
    return _checked(embedder.transform(X))


def _checked(rows: Any) -> np.ndarray:
    if is_sparse(rows):
        raise ValueError(
            "The embedder returns sparse rows, and a gallery keeps dense vectors: put a "
            "TruncatedSVD behind it, or .toarray() where they are few."
        )
    return check_array(as_array(rows), dtype=[np.float32, np.float64], input_name="the embedding")


def input_attributes(embedder: Any) -> dict[str, Any]:
    """Return what an embedder knows of its input."""
    return {name: getattr(embedder, name) for name in INPUT_ATTRIBUTES if hasattr(embedder, name)}


def trained_classes(embedder: Any) -> np.ndarray | None:
    """Return the classes that an embedder was trained on, None if it does not say."""
    while embedder is not None:
        # A frozen one shows what is inside, and so does a pipeline of a classifier.
        for place in (embedder, getattr(embedder, "estimator", None)):
            classes = getattr(place, "classes_", None)
            if classes is not None:
                return np.asarray(classes)
        steps = getattr(embedder, "steps", None)
        embedder = getattr(embedder, "best_estimator_", steps[-1][1] if steps else None)
    return None
