"""Folds: which rows a member leaves out."""

import numpy as np
import pytest

from skhug._data import folds as _folds
from skhug._data.folds import NO_FOLD, left_out_weights
from skhug._data.rows import Rows


def as_they_are(rows):
    return rows


def assign_folds(rows, n_folds, prepared=as_they_are):
    return _folds.assign_folds(rows, n_folds, prepared)


def stream_folds(rows, n_folds):
    return _folds.stream_folds(rows, n_folds, as_they_are)


def make_rows(n=60, n_classes=3, seed=0):
    random = np.random.default_rng(seed)
    X = random.standard_normal((n, 4))
    return Rows(X, np.arange(n) % n_classes, np.ones(n))


def test_every_class_is_dealt_out_evenly():
    rows = make_rows(62)
    index = assign_folds(rows, 4)
    for label in range(3):
        counts = np.bincount(index[rows.y == label], minlength=4)
        assert np.ptp(counts) <= 1
    assert np.ptp(np.bincount(index)) <= 1


def test_the_order_of_the_rows_does_not_matter():
    rows = make_rows()
    order = np.random.default_rng(1).permutation(60)
    assert np.array_equal(assign_folds(rows.take(order), 4), assign_folds(rows, 4)[order])


def test_repeated_rows_are_dealt_out_one_by_one():
    rows = make_rows().take(np.repeat(np.arange(60), 40))
    index = assign_folds(rows, 4)
    for row in range(60):
        assert len(np.unique(index[40 * row : 40 * row + 40])) == 4


def test_few_different_rows_are_not_dealt_out():
    few = make_rows(19)
    assert assign_folds(few, 4) is None
    assert assign_folds(few.take(np.repeat(np.arange(19), 9)), 4) is None
    assert assign_folds(make_rows(20), 4) is not None


@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_the_dtype_of_equal_values_does_not_matter(dtype):
    rows = make_rows()
    X = np.abs(10 * rows.X).astype(dtype)
    same = assign_folds(rows._replace(X=X), 4)
    assert np.array_equal(same, assign_folds(rows._replace(X=X.astype(np.float64)), 4))


def test_the_only_row_of_a_class_is_left_out_by_nobody():
    rows = make_rows()._replace(y=np.r_[np.zeros(40, int), np.ones(19, int), 2])
    folds = assign_folds(rows, 4)
    assert folds[-1] == NO_FOLD
    assert (folds[:-1] >= 0).all()
    assert assign_folds(rows._replace(y=np.arange(60)), 4) is None


def test_members_see_all_rows_but_their_own_fold():
    rows = make_rows(20)._replace(weight=np.arange(1.0, 21))
    folds = assign_folds(rows, 4)
    weight = left_out_weights(rows.weight, folds, 4)
    for member in range(4):
        expected = np.where(folds == member, 0, rows.weight)
        assert np.array_equal(weight[:, member], expected)


def test_rows_of_a_stream_have_the_same_fold_whenever_they_come():
    rows = make_rows(4000)
    whole = stream_folds(rows, 4)
    part = np.random.default_rng(0).permutation(4000)[:100]
    assert np.array_equal(stream_folds(rows.take(part), 4), whole[part])
    assert np.bincount(whole).min() > 900


def test_what_standardising_takes_away_does_not_matter():
    rows = make_rows()
    moved = rows._replace(X=rows.X * [1e-6, 1.0, 1e6, 1e3] + [1e3, 0.0, -1e9, 5.0])

    def standardised(X):
        return (X - moved.X.mean(0)) / moved.X.std(0)

    plain = assign_folds(rows, 4, lambda X: (X - rows.X.mean(0)) / rows.X.std(0))
    assert np.array_equal(plain, assign_folds(moved, 4, standardised))


def test_repeated_rows_of_a_stream_are_dealt_out_one_by_one():
    rows = make_rows(4).take(np.arange(400) % 4)
    index = stream_folds(rows, 4)
    for row in range(4):
        assert np.bincount(index[np.arange(400) % 4 == row], minlength=4).min() > 10


def test_few_rows_are_dealt_out_where_folds_of_them_are_asked_for():
    rows = make_rows(12)
    folds = _folds.deal_folds(rows, 10, as_they_are)
    assert np.array_equal(np.sort(np.bincount(folds)), [1] * 8 + [2] * 2)
    for label in range(3):
        assert len(np.unique(folds[rows.y == label])) == 4
    assert _folds.deal_folds(rows._replace(y=np.arange(12)), 10, as_they_are) is None


def test_different_rows_are_those_of_other_values_or_another_class():
    X, y = np.array([[1.0, 2], [3, 4], [1, 2], [1, 2], [3, 4]]), np.array([0, 1, 0, 1, 1])
    places, which = _folds.different_rows(X, y)
    assert np.array_equal(np.sort(places), [0, 1, 3])
    assert np.array_equal(places[which], [0, 1, 0, 3, 1])
