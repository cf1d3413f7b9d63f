"""Labels and ids of a gallery: one kind each, new ones welcome."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets

from skhug._labels import _kind_of, check_no_gaps, check_one_kind
from skhug._sklearn import check_y

__all__ = [
    "Classes",
    "as_labels",
    "check_same_kind",
    "new_ids",
    "places_of",
    "unknown_label_for",
    "with_unknown",
]


# Ids are int64, and one beyond the largest so far must be one too.
_LARGEST_ID = 2**63 - 1


class Classes(NamedTuple):
    """The labels of a gallery.

    ``labels`` (n_classes,) are sorted, ``codes`` (n_classes,) the numbers that rows know them by,
    from 0 on, given in the order in which the classes appeared.
    """

    labels: np.ndarray
    codes: np.ndarray

    def extended(self, y: np.ndarray) -> tuple[Classes, np.ndarray]:
        """Return the classes with those of y among them, and the codes of y."""
        new = np.unique(y)
        new = new[~np.isin(new, self.labels)] if len(self.labels) else new
        if not len(new):
            return self, self.codes[np.searchsorted(self.labels, y)]
        labels = np.concatenate([self.labels, new]) if len(self.labels) else new
        first = self.codes.max(initial=-1) + 1
        codes = np.concatenate([self.codes, np.arange(first, first + len(new))])
        order = np.argsort(labels, kind="stable")
        classes = Classes(labels[order], codes[order].astype(np.int32))
        return classes, classes.codes[np.searchsorted(classes.labels, y)]

    def kept(self, codes: np.ndarray) -> tuple[Classes, np.ndarray]:
        """Return the classes that rows of these codes have, numbered anew, and the rows' codes."""
        there, places = np.unique(codes, return_inverse=True)
        mask = np.isin(self.codes, there)
        classes = Classes(self.labels[mask], np.searchsorted(there, self.codes[mask]))
        return classes._replace(codes=classes.codes.astype(np.int32)), places.astype(np.int32)

    def rank(self) -> np.ndarray:
        """Return the place of each code among the sorted labels."""
        rank = np.full(self.codes.max(initial=-1) + 1, -1)
        rank[self.codes] = np.arange(len(self.codes))
        return rank


def as_labels(y: Any, estimator: Any) -> np.ndarray:
    """Return labels of one kind, as an array of one axis.

    Raises
    ------
    ValueError
        If they are of several kinds, have gaps or are no classes.
    """
    if y is None:
        raise ValueError("y is None, and a gallery requires y to be passed: a label for each row.")
    if isinstance(y, (list, tuple)):  # NumPy would turn [1, "a"] into strings
        check_one_kind(y, "y")
    check_no_gaps(y, "y")
    y = column_or_1d(check_y(y, estimator=estimator))
    check_one_kind(y, "y")
    if y.dtype.kind == "f":  # of others it warns where classes have a row each, as they may here
        check_classification_targets(y)
    return y


def check_same_kind(y: np.ndarray, labels: np.ndarray) -> None:
    """Refuse labels that cannot be sorted among those of the gallery.

    Raises
    ------
    ValueError
        With both kinds.
    """
    if not (len(y) and len(labels)):
        return
    new, old = _kind_of(y[0]), _kind_of(labels[0])
    if new != old:
        raise ValueError(f"y has {new} and the gallery's labels are {old}: pass the same kind.")


def _check_ids(ids: Any, n: int) -> np.ndarray:
    """Return ids as an array of integers or strings, each once.

    Raises
    ------
    ValueError
        If there are not n of them, two are the same, or they are of another kind.
    """
    if isinstance(ids, (list, tuple)):
        check_one_kind(ids, "ids")
    ids = np.asarray(ids)
    if ids.dtype == object and ids.ndim == 1:
        check_one_kind(ids, "ids")
        ids = np.asarray(ids.tolist())
    if ids.shape != (n,) or ids.dtype.kind not in "iuU":
        raise ValueError(
            f"ids have shape {ids.shape} and dtype {ids.dtype}: pass an integer or a string for "
            f"each of {n} rows."
        )
    if ids.dtype.kind in "iu" and n and int(ids.max()) >= _LARGEST_ID:
        raise ValueError(
            f"ids have {ids.max().item()}: pass integers below 2^63 - 1 = {_LARGEST_ID}, or "
            "strings."
        )
    unique, counts = np.unique(ids, return_counts=True)
    if len(unique) < n:
        raise ValueError(f"ids have {unique[counts.argmax()].item()!r} twice: pass each once.")
    return ids.astype(np.int64) if ids.dtype.kind in "iu" else ids


def _check_new_ids(ids: np.ndarray, before: np.ndarray) -> None:
    """Refuse ids that rows of the gallery have, or of another kind than theirs.

    Raises
    ------
    ValueError
        With one of them.
    """
    if not len(before):
        return
    if ids.dtype.kind != before.dtype.kind:
        raise ValueError(
            f"ids are {_kind_of(ids[0])} and those of the gallery {_kind_of(before[0])}: pass "
            "ids= of the same kind."
        )
    taken = ids[np.isin(ids, before)]
    if len(taken):
        raise ValueError(
            f"ids has {taken[0].item()!r}, which a row of the gallery has: remove([...]) that "
            "row first, or pass another id."
        )


def new_ids(ids: Any, n: int, before: np.ndarray, next_id: int) -> tuple[np.ndarray, int]:
    """Return the ids of new rows, and the first integer that none has had."""
    if ids is None and before.dtype.kind == "U" and len(before):
        raise ValueError("The gallery's ids are strings: pass ids= for the new rows too.")
    if ids is None and next_id + n > _LARGEST_ID:
        raise ValueError(f"No integers below 2^63 - 1 are left from {next_id} on: pass ids=.")
    if ids is None:
        return np.arange(next_id, next_id + n), next_id + n
    ids = _check_ids(ids, n)
    if {ids.dtype.kind, before.dtype.kind} != {"i"} or ids.min(initial=next_id) < next_id:
        _check_new_ids(ids, before)
    return ids, max(next_id, int(ids.max()) + 1) if ids.dtype.kind == "i" and n else next_id


def places_of(ids: Any, known: np.ndarray) -> np.ndarray:
    """Return a mask of the rows that have these ids.

    Raises
    ------
    ValueError
        If there is no such row.
    """
    if isinstance(ids, (list, tuple)):
        check_one_kind(np.array(ids, dtype=object).ravel(), "ids")
    ids = np.asarray(list(ids) if isinstance(ids, (set, frozenset)) else ids)
    if ids.dtype == object:  # of a data frame
        check_one_kind(ids.ravel(), "ids")
        ids = np.asarray(ids.tolist())
    ids = np.unique(ids.ravel())
    alike = not len(known) or not len(ids) or (ids.dtype.kind in "iu") == (known.dtype.kind in "iu")
    mask = np.isin(known, ids) if alike else np.zeros(len(known), bool)
    if mask.sum() < len(ids):
        missing = ids[~np.isin(ids, known)] if alike else ids
        shown = ", ".join(map(repr, missing[:5].tolist()))
        raise ValueError(f"The gallery has no row with id {shown}: ids_ lists those it has.")
    return mask


def unknown_label_for(label: Any, classes: np.ndarray) -> Any:
    """Return the label of strangers beside these classes.

    Raises
    ------
    ValueError
        If it is one of them, or of another kind.
    """
    if label is None:
        label = _default_unknown(classes)
    if len(classes) and _kind_of(label) != _kind_of(classes[0]):
        raise ValueError(
            f"unknown_label={label!r} is {_kind_of(label)} and the labels are "
            f"{_kind_of(classes[0])}: pass one of the same kind."
        )
    if np.isin(label, classes).any():
        raise ValueError(
            f"unknown_label={label!r} is a class of the gallery: pass a label that none has."
        )
    return label


def _default_unknown(classes: np.ndarray) -> Any:
    if len(classes) and _kind_of(classes[0]) == "strings":
        return "unknown"
    if classes.dtype.kind == "b":
        raise ValueError("The labels are booleans, which leave none for strangers: pass integers.")
    return -1


def with_unknown(classes: np.ndarray, label: Any) -> np.ndarray:
    """Return the classes and behind them the label of strangers, in a dtype that holds both."""
    kind = np.min_scalar_type(label) if classes.dtype.kind in "iu" else np.asarray(label).dtype
    dtype = np.promote_types(classes.dtype, kind)
    if dtype.kind == "f" and classes.dtype.kind != "f":  # uint64 and -1
        dtype = np.dtype(object)
    both = np.empty(len(classes) + 1, dtype)
    both[:-1], both[-1] = classes, label
    return both
