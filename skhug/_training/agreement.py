"""What the processes of a joined fit must agree on, before any of them builds anything."""

from __future__ import annotations

from typing import Any

import numpy as np

from skhug._data.rows import Task
from skhug._distributed.group import Alone
from skhug._training.continuing import Earlier

__all__ = ["agree_on_fit", "agree_on_shards"]

# Of a shard's own: they differ between processes as they should.
_OF_SHARDS = ("X", "y", "sample_weight", "X_val", "y_val")
_CURE = (
    "Every process must run the same script on the same rows (for rows of each process's own: "
    "skhug.distributed(sharded=True)); seed torch before you make a module."
)
_SAME_ROWS = "Pass the same rows to every process, sharded=False"
# Parameters that need all rows in one place: what says that one is used, and its name.
_NEED_ALL_ROWS = {
    "batch_sampler": lambda value: value is not None,
    "track": bool,
    "warm_start": bool,
}


def agree_on_fit(
    group: Alone, identity: dict[str, Any], task: Task, earlier: Earlier | None
) -> dict[str, Any]:
    """Refuse processes that would fit something else; return what makes the fit this one.

    Parameters
    ----------
    group : Alone
        The processes.
    identity : dict of str
        Parameters, and the estimator's class.
    task, earlier : Task, Earlier or None
        What is learned, and from where.

    Raises
    ------
    ValueError
        In every process, with what differs.
    """
    if group.size == 1:
        return identity
    # Here: a fit of one process reads no rows for it.
    from skhug._training.resuming import fingerprints

    # cuda:0 and cuda:1 are alike.
    alike = {**identity, "device": identity["device"].partition(":")[0]}
    parts = fingerprints(alike, task, earlier)
    own = {name: parts.pop(name) for name in _OF_SHARDS if name in parts}
    if not group.sharded:
        group.agree({**parts, **own}, _CURE)
        return identity
    group.agree(parts, _CURE)
    if not len(task.rows.y):
        raise ValueError(
            "Every row of this process's shard has weight zero: pass one that counts, or start "
            "fewer processes."
        )
    return {**identity, "shards": group.gather(own)}


def agree_on_shards(estimator: Any, group: Alone, X: Any, classes: np.ndarray) -> np.ndarray:
    """Return the classes of all shards.

    Parameters
    ----------
    estimator : estimator
        Its parameters and its attributes of the input are read.
    group : Alone
        The processes.
    X : ndarray, Source or CompressedRows of shape (n, ...)
        This process's rows.
    classes : ndarray
        Of this process's rows.

    Raises
    ------
    ValueError
        If shards are of different kinds, or a parameter needs all rows in one place.
    """
    for name, used in _NEED_ALL_ROWS.items():
        if used(getattr(estimator, name)):
            raise ValueError(
                f"{name}={getattr(estimator, name)!r} needs all rows, and each process has a "
                f"shard. {_SAME_ROWS}, or leave {name} at its default."
            )
    if estimator.categories_ is not None:
        raise ValueError(
            "X has columns of text or categories, and each process has a shard, which knows its "
            f"own levels alone. {_SAME_ROWS}, or encode these columns in front."
        )
    names = getattr(estimator, "feature_names_in_", None)
    kinds = {
        "the shape of a sample": tuple(X.shape[1:]),
        "the dtype of X": str(X.dtype),
        "the kind of X": type(X).__name__,
        "the names of columns": None if names is None else names.tolist(),
        "the kind of labels": classes.dtype.kind,
    }
    group.agree(kinds, "Shards must be rows of one data set.")
    return np.unique(group.join(classes))
