"""Checks of what users pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from typing import Any

import numpy as np
from sklearn.utils import check_array, check_consistent_length, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import validate_data

from skhug._data.coding import Coding, learn
from skhug._data.columns import as_array
from skhug._data.expansion import refuse_gaps
from skhug._data.sources import Source, open_rows
from skhug._data.sparse_rows import SPARSE, check_fill, held
from skhug._data.tables import Table, table_of
from skhug._distributed.group import ALONE, Alone
from skhug._guesses import advice_on_value
from skhug._labels import check_one_kind
from skhug._sklearn import (
    InvalidParameterError,
    StrOptions,
    check_sample_weight,
    check_y,
    validate_parameter_constraints,
)
from skhug._sparse import CompressedRows

__all__ = [
    "check_classes",
    "check_parameters",
    "check_rows",
    "check_training_data",
    "encode_labels",
    "input_attributes_kept_on_error",
]

# Kept as they come, uint8 since images are large; all else becomes the first of them.
_KEPT = {
    "dtype": (np.float64, np.float32, np.uint8),
    "allow_nd": True,
    "ensure_all_finite": "allow-nan",
    **SPARSE,
}
# What a fit reads of X beside its values, which a fit that fails must not leave behind.
_INPUT_ATTRIBUTES = (
    "n_features_in_",
    "feature_names_in_",
    "input_shape_",
    "input_dtype_",
    "categories_",
    "class_shares_",
)


def check_parameters(estimator: Any, constraints: dict[str, list[Any]]) -> None:
    """Check an estimator's parameters against their constraints.

    Raises
    ------
    InvalidParameterError
        As scikit-learn raises it, with what may have been meant.
    """
    name = type(estimator).__name__
    for parameter, value in estimator.get_params(deep=False).items():
        try:
            validate_parameter_constraints(constraints, {parameter: value}, name)
        except InvalidParameterError as error:
            own = constraints[parameter]
            options = [o for c in own if isinstance(c, StrOptions) for o in sorted(c.options)]
            allowed = partial(_is_allowed, parameter, own)
            advice = advice_on_value(parameter, value, allowed, options)
            raise InvalidParameterError(f"{error} {advice}".rstrip()) from None


def _is_allowed(parameter: str, constraints: list[Any], value: Any) -> bool:
    try:
        validate_parameter_constraints({parameter: constraints}, {parameter: value}, "")
    except InvalidParameterError:
        return False
    return True


def check_rows(estimator: Any, X: Any) -> np.ndarray | Source | CompressedRows:
    """Return rows or images as an array, checked against those seen in fit; NaN is a gap.

    Of what is read in blocks the values are checked when they are read.
    """
    if _passes_unchanged(estimator, X):
        return X
    X = open_rows(X)
    check_fill(X)
    _check_sample_shape(estimator, X)
    if isinstance(X, Source):
        validate_data(estimator, X[:1], reset=False, **_KEPT)
        return X
    X = _check_values(estimator, X)
    if not estimator.module_.prepare.takes_gaps:
        refuse_gaps(X)
    return X


def _passes_unchanged(estimator: Any, X: Any) -> bool:
    """Whether X is a plain array of finite numbers as in fit, which every check would return.

    The checks of one row cost more than its embedding.
    """
    if type(X) is not np.ndarray or X.dtype not in _KEPT["dtype"]:
        return False
    if X.shape[1:] != estimator.input_shape_ or not len(X) or coding_of(estimator) is not None:
        return False
    if hasattr(estimator, "feature_names_in_"):  # scikit-learn warns of an array without names
        return False
    with np.errstate(over="ignore", invalid="ignore"):
        return X.dtype.kind == "u" or bool(np.isfinite(X.sum()))


def _check_values(estimator: Any, X: Any) -> np.ndarray:
    """Return what lies in memory as an array, by what fit made of its columns."""
    coding = coding_of(estimator)
    if coding is None and not isinstance(X, Table):
        with _cure_of_text():
            return held(validate_data(estimator, X, reset=False, **_KEPT))
    table = X if isinstance(X, Table) else table_of(X)
    validate_data(estimator, table.header, reset=False, skip_check_array=True)
    rows = (coding or Coding.of_numbers(table)).rows(table)
    return check_array(rows, estimator=estimator, input_name="X", **_KEPT)


def coding_of(estimator: Any) -> Coding | None:
    """Return what fit made of the columns of a table; None if it had none, or an older model."""
    categories = getattr(estimator, "categories_", None)
    return None if categories is None else Coding(categories, estimator.class_shares_)


@contextmanager
def _cure_of_text() -> Iterator[None]:
    """Say what to do about text in an array, which has no columns of several kinds."""
    try:
        yield
    except ValueError as error:
        if "could not convert string to float" not in str(error):
            raise
        raise ValueError(
            f"{error}. Columns of text count as categories in a data frame: pass one, such as "
            "pandas.DataFrame(X).convert_dtypes(), or encode them in front."
        ) from None


def _check_sample_shape(estimator: Any, X: Any) -> None:
    """Refuse samples of another shape than in fit; of flat rows scikit-learn counts features."""
    seen = estimator.input_shape_
    shape = X.shape if hasattr(X, "shape") else np.asarray(X).shape
    if (len(seen) > 1 or len(shape) > 2) and tuple(shape[1:]) != seen:
        raise ValueError(
            f"X has shape {tuple(shape)}, and {type(estimator).__name__} was fitted on samples "
            f"of shape {seen}: pass X of shape (n, {', '.join(map(str, seen))})."
        )


def check_training_data(
    estimator: Any,
    X: Any,
    y: Any,
    sample_weight: Any,
    *,
    reset: bool,
    levels: str = "fitted",
    shards: Alone = ALONE,
) -> tuple[np.ndarray | Source | CompressedRows, np.ndarray, np.ndarray]:
    """Return X, y and weights of all rows, those of weight zero too: their labels are classes.

    Parameters
    ----------
    estimator : estimator
        Its attributes of the input are checked, or set with ``reset``.
    X, y, sample_weight : array-like
        As they were passed to it.
    reset : bool
        Whether X is the first that it sees.
    levels : {"found", "declared", "fitted"}
        Which levels of categories there are from now on: those in X, those that the columns'
        dtypes name too, or those of the fitted model.
    shards : Alone
        The processes that hold further rows.

    Raises
    ------
    ValueError
        If X, y or the weights are not usable, with what to do.
    """
    X, y, sample_weight = open_rows(X), as_array(y), as_array(sample_weight)
    check_fill(X)
    _check_labels(y)
    known = coding_of(estimator) if levels == "fitted" else None
    names = getattr(estimator, "feature_names_in_", None) if levels == "fitted" else None
    if known is not None and not isinstance(X, Table):
        X = table_of(X)
    if not reset:
        _check_sample_shape(estimator, X)
    X, y = _check_pair(estimator, X, y, reset=reset)
    _check_names(names, estimator)
    if reset:
        estimator.input_shape_ = tuple(X.shape[1:])
    y = column_or_1d(y, warn=True)
    check_one_kind(y, "y")
    check_classification_targets(y)
    weight = _check_weight(sample_weight, y, shards)
    if isinstance(X, Table):
        X = _coded(estimator, X, y, weight > 0, levels, learns=reset)
    elif levels != "fitted":
        estimator.categories_ = estimator.class_shares_ = None
    if reset:
        estimator.input_dtype_ = X.dtype.name
    return X, y, weight


def _check_names(before: np.ndarray | None, estimator: Any) -> None:
    """Refuse to go on from a model whose columns had other names, or another order.

    Raises
    ------
    ValueError
        With the first that differs.
    """
    now = getattr(estimator, "feature_names_in_", None)
    if before is None or now is None or np.array_equal(before, now):
        return
    pairs = zip_longest(map(repr, before.tolist()), map(repr, now.tolist()), fillvalue="nothing")
    old, new = next(pair for pair in pairs if pair[0] != pair[1])
    raise ValueError(
        f"warm_start: X has column {new} where the fitted model had {old}: pass the same "
        "columns in the same order, or set warm_start=False to fit a new model."
    )


def _check_weight(sample_weight: Any, y: np.ndarray, shards: Alone) -> np.ndarray:
    if not shards.any(sample_weight is not None):
        return np.ones(len(y))
    weight = check_sample_weight(sample_weight, y, dtype=np.float64, ensure_non_negative=True)
    # By a power of two, which is exact: sums of 1e308 overflow, and 1e-308 is 0 in float32.
    largest = max(shards.gather(weight.max()))
    weight = np.ldexp(weight, -np.frexp(largest)[1])
    if not largest:
        raise ValueError("Every sample weight is zero: pass at least one positive weight.")
    return weight


def _check_pair(estimator: Any, X: Any, y: Any, *, reset: bool) -> tuple[Any, np.ndarray]:
    """Check rows and their labels against one another; a table is coded later."""
    if isinstance(X, Source):
        return X, _check_source(estimator, X, y, reset=reset)
    if y is None or not isinstance(X, Table):
        with _cure_of_text():
            X, y = validate_data(estimator, X, y, reset=reset, **_KEPT)
        if X.ndim > 2:  # images
            refuse_gaps(X)
        return held(X), y
    validate_data(estimator, X.header, reset=reset, skip_check_array=True)
    y = check_y(y, estimator=estimator)
    check_consistent_length(X, y)
    return X, y


def _coded(
    estimator: Any, table: Table, y: np.ndarray, counts: np.ndarray, levels: str, *, learns: bool
) -> np.ndarray:
    """Return a table's rows as an array; what stands for levels is learned of a fit's rows."""
    coding = (coding_of(estimator) if levels == "fitted" else None) or Coding.of_numbers(table)
    if not learns:
        rows = coding.rows(table)
    else:
        categories = coding.categories
        if levels != "fitted":
            categories = table.categories(counts, declared=levels == "declared")
        coding, rows = learn(table, np.unique(y, return_inverse=True)[1], counts, categories)
        estimator.categories_, estimator.class_shares_ = coding.attributes()
    return check_array(rows, estimator=estimator, input_name="X", **_KEPT)


def _check_source(estimator: Any, X: Source, y: Any, *, reset: bool) -> np.ndarray:
    """Check a row and the labels, those that the source brings if there are no others."""
    validate_data(estimator, X[:1], reset=reset, **_KEPT)
    y = check_y(X.labels() if y is None else y, estimator=estimator)
    check_consistent_length(X, y)
    return y


def _check_labels(y: Any) -> None:
    """Refuse labels that scikit-learn's checks would answer without a cure."""
    if isinstance(y, (list, tuple)):  # NumPy would turn [1, "a"] and ["a", nan] into strings
        check_one_kind(y, "y")
    shape = getattr(y, "shape", ())
    if len(shape) > 1 and shape[1] != 1:
        raise ValueError(
            f"y should be a 1d array, got an array of shape {tuple(shape)} instead: pass one label "
            "per row, of one-hot rows y.argmax(axis=1)."
        )
    if len(shape) == 1:  # gaps of pandas' own dtypes appear only here
        check_one_kind(np.asarray(y), "y")


def check_classes(classes: Any) -> np.ndarray:
    """Return what partial_fit is told of the classes that will come, as an array.

    Raises
    ------
    ValueError
        If they have gaps, or are of several kinds: NumPy would make all of them strings.
    """
    classes = list(classes) if isinstance(classes, (set, frozenset)) else as_array(classes)
    check_one_kind(classes if isinstance(classes, list) else np.asarray(classes), "classes")
    classes = np.asarray(classes)
    if classes.dtype.kind == "f" and np.isnan(classes).any():
        raise ValueError("classes have NaN: leave it out.")
    return classes


def encode_labels(y: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """Return each label's index in the sorted classes.

    Raises
    ------
    ValueError
        If a label is not among the classes.
    """
    index = np.searchsorted(classes, y)
    index = np.minimum(index, len(classes) - 1)
    unknown = classes[index] != y
    if np.any(unknown):
        shown = ", ".join(map(repr, np.unique(y[unknown])[:5].tolist()))
        raise ValueError(
            f"y has labels that are none of the model's {len(classes)} classes: {shown}. "
            "Fit again with them, or declare all classes at the first call of partial_fit."
        )
    return index


@contextmanager
def input_attributes_kept_on_error(estimator: Any) -> Iterator[None]:
    """Keep a fitted model usable when a later fit fails.

    Validation stores the new data's names and shape before training; a fit that fails then
    must not leave them beside the old weights.
    """
    names = _INPUT_ATTRIBUTES
    before = {name: getattr(estimator, name) for name in names if hasattr(estimator, name)}
    try:
        yield
    except BaseException:
        for name in names:
            estimator.__dict__.pop(name, None)
        estimator.__dict__.update(before)
        raise
