"""Batches: every row once an epoch, coefficients that are means of means."""

import numpy as np
import pytest
import torch

from skhug._data.batches import Batches, spread
from skhug._data.rows import Rows, split_rows
from skhug.losses import class_mean_coefficients
from skhug.losses._coefficients import epoch_coefficients, row_coefficients


def make_batches(n=53, n_classes=6, batch_size=8, seed=0):
    rng = np.random.default_rng(seed)
    X = torch.arange(n, dtype=torch.float64)[:, None]
    y = torch.from_numpy(rng.integers(n_classes, size=n))
    weight = torch.from_numpy(rng.uniform(0.1, 2, n))
    class_weight = torch.from_numpy(rng.uniform(0.5, 1.5, n_classes))
    return Batches(X, y, weight, class_weight, batch_size)


@pytest.mark.parametrize(("n", "batch_size"), [(53, 8), (49, 8), (8, 8), (5, 8), (9, 8), (3, 1)])
def test_every_row_comes_once_an_epoch_and_no_batch_is_a_lone_tail(n, batch_size):
    batches = make_batches(n, batch_size=batch_size)
    seen = [X[:, 0] for X, _, _ in batches.epoch(torch.Generator().manual_seed(0))]
    assert sorted(torch.cat(seen).tolist()) == list(range(n))
    assert len(seen) == len(batches)
    assert batch_size == 1 or min(map(len, seen)) > 1


def test_orders_differ_between_epochs_and_repeat_with_the_generator():
    batches = make_batches()
    generator = torch.Generator().manual_seed(3)
    first, second = ([X for X, _, _ in batches.epoch(generator)] for _ in range(2))
    again = [X for X, _, _ in batches.epoch(torch.Generator().manual_seed(3))]
    assert not torch.equal(torch.cat(first), torch.cat(second))
    assert torch.equal(torch.cat(first), torch.cat(again))


@pytest.mark.parametrize("n", [53, 49, 5])
@pytest.mark.parametrize("n_classes", [2, 6, 1000])
def test_coefficients_of_an_epoch_equal_those_batch_by_batch(n, n_classes):
    batches = make_batches(n, n_classes)
    batches.coefficients = epoch_coefficients
    for X, y, coef in batches.epoch(torch.Generator().manual_seed(0)):
        weight = batches.sample_weight[X[:, 0].long()]
        expected = class_mean_coefficients(y, weight, batches.class_weight)
        torch.testing.assert_close(coef, expected)


@pytest.mark.parametrize("n", [53, 49, 5])
def test_rows_count_by_their_weights_beside_the_mean_of_all(n):
    batches = make_batches(n)
    value = batches.sample_weight * batches.class_weight[batches.y]
    for X, _, coef in batches.epoch(torch.Generator().manual_seed(0)):
        expected = value[X[:, 0].long()] / value.mean() / len(X)
        torch.testing.assert_close(coef, expected)


@pytest.mark.parametrize("coefficients", [epoch_coefficients, row_coefficients])
def test_members_have_coefficients_of_their_own(coefficients):
    batches = make_batches()
    weight = batches.sample_weight
    seen = torch.arange(len(weight))[:, None] % 3 != torch.arange(3)
    columns = []
    for member in range(3):
        batches.sample_weight = weight * seen[:, member]
        batches.coefficients = coefficients
        epoch = batches.epoch(torch.Generator().manual_seed(0))
        columns.append(torch.cat([coef for _, _, coef in epoch]))
    batches.sample_weight = weight[:, None] * seen
    together = torch.cat([c for _, _, c in batches.epoch(torch.Generator().manual_seed(0))])
    torch.testing.assert_close(together, torch.stack(columns, 1))


def test_members_apart_get_the_rows_that_count_for_them():
    batches = make_batches(n=53, batch_size=16)
    fold = torch.arange(53) % 4
    batches.sample_weight = batches.sample_weight[:, None] * (fold[:, None] != torch.arange(3))
    together = list(batches.epoch(torch.Generator().manual_seed(0)))
    batches.apart = True
    apart = list(batches.epoch(torch.Generator().manual_seed(0)))
    for (X, y, coef), (own_X, own_y, own_coef) in zip(together, apart, strict=True):
        most = (coef > 0).sum(0).max()
        assert own_X.shape == (3, most, 1)
        for member in range(3):
            # Every row is a number of its own.
            counts = coef[:, member] > 0
            expected = X[counts].ravel().tolist()
            place = [own_X[member].ravel().tolist().index(row) for row in expected]
            torch.testing.assert_close(own_y[member][place], y[counts])
            torch.testing.assert_close(own_coef[member][place], coef[counts, member])
        assert own_coef.sum() == pytest.approx(float(coef.sum()))


@pytest.mark.parametrize("n", [400, 403])
def test_every_batch_has_rows_of_all_folds_alike(n):
    folds = torch.arange(n) % 4
    order = spread(torch.randperm(n), folds)
    assert sorted(order.tolist()) == list(range(n))
    for batch in folds[order].split(64):
        assert torch.bincount(batch).max() - torch.bincount(batch).min() <= 1


def test_folds_of_any_size_are_spread_evenly():
    folds = (torch.arange(1000) >= 900).long()
    halves = folds[spread(torch.randperm(1000), folds)].view(10, 100).sum(1)
    assert halves.tolist() == [10] * 10


def test_split_is_stratified_and_keeps_lone_rows_in_training():
    y = np.repeat([0, 1, 2], [60, 30, 1])
    rows = Rows(np.arange(91.0)[:, None], y, np.ones(91))
    train, held_out = split_rows(rows, 0.2, seed=0)
    assert np.bincount(held_out.y).tolist() == [12, 6]
    assert sorted(np.concatenate([train.X, held_out.X]).ravel()) == list(range(91))
    assert 2 in train.y


def test_split_too_small_for_the_classes_says_what_to_do():
    rows = Rows(np.zeros((8, 1)), np.arange(8) // 2, np.ones(8))
    with pytest.raises(ValueError, match="Raise validation_fraction"):
        split_rows(rows, 0.1, seed=0)


@pytest.mark.parametrize("heavy", [1.0, 3.0])
def test_what_rows_count_goes_with_them_in_every_epoch(heavy):
    X = torch.arange(11.0)[:, None]
    weight = torch.ones(11)
    weight[4] = heavy
    batches = Batches(X, torch.arange(11) % 2, weight, torch.ones(2), 4)
    generator = torch.Generator().manual_seed(0)
    for _ in range(3):
        for rows, _, coef in batches.epoch(generator):
            own = weight[rows[:, 0].long()]
            torch.testing.assert_close(coef, own / weight.mean() / len(rows))
