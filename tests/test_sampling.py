"""Class-balanced batches: exactly K rows of P classes, every row, the same by the same seed."""

import numpy as np
import pytest
import torch
from sklearn.base import clone

from skhug import BalancedBatches

CASES = [
    (np.repeat(np.arange(10), 20), 4, 4),  # equal classes
    (np.repeat(np.arange(7), [1, 2, 3, 5, 8, 13, 21]), 3, 4),  # small ones, a large one
    (np.repeat([0, 1, 2], [500, 3, 1]), 3, 2),  # a class that dominates
    (np.repeat(np.arange(50), np.arange(1, 51)), 32, 4),
    (np.arange(9), 4, 1),  # a row a class
    (np.repeat([2, 7], [5, 4]), 32, 8),  # fewer classes than asked, numbers with gaps
    (np.zeros(5, dtype=int), 4, 2),  # one class
]
each = pytest.mark.parametrize(("y", "classes", "samples"), CASES)


def epoch_of(y, classes, samples, seed=0):
    y = np.random.default_rng(seed).permutation(y)
    sampler = BalancedBatches(classes, samples).bind(y)
    order = sampler.draw(torch.Generator().manual_seed(seed))
    assert len(order) == len(sampler)
    return y, order.reshape(-1, sampler.batch_size)


@each
@pytest.mark.parametrize("seed", range(5))
def test_every_batch_has_as_many_rows_of_as_many_classes(y, classes, samples, seed):
    y, batches = epoch_of(y, classes, samples, seed)
    for batch in batches:
        _, counts = np.unique(y[batch], return_counts=True)
        assert counts.tolist() == [samples] * min(classes, len(np.unique(y)))


@each
@pytest.mark.parametrize("seed", range(5))
def test_every_row_comes_and_those_of_a_class_equally_often(y, classes, samples, seed):
    y, batches = epoch_of(y, classes, samples, seed)
    times = np.bincount(batches.ravel(), minlength=len(y))
    assert times.min() >= 1
    for c in np.unique(y):
        assert np.ptp(times[y == c]) <= 1


@each
def test_rows_repeat_in_a_batch_only_where_their_class_is_short(y, classes, samples):
    y, batches = epoch_of(y, classes, samples)
    for batch in batches:
        rows, times = np.unique(batch, return_counts=True)
        short = np.bincount(y)[y[rows]] < samples
        assert np.all((times == 1) | short)


@each
def test_an_epoch_is_as_short_as_can_be(y, classes, samples):
    counts = np.unique(y, return_counts=True)[1]
    groups = -(-counts // samples)
    _, batches = epoch_of(y, classes, samples)
    shortest = max(-(-groups.sum() // min(classes, len(counts))), groups.max())
    assert len(batches) == shortest


def test_the_smallest_classes_repeat_first_and_evenly():
    y, batches = epoch_of(np.repeat(np.arange(4), [40, 8, 4, 4]), 2, 4)
    groups = np.bincount(y[batches.ravel()]) // 4
    assert groups.tolist()[0] == 10
    assert groups[1:].sum() == 10
    assert groups[1:].min() == 3


def test_orders_repeat_with_the_generator_and_differ_between_epochs():
    sampler = BalancedBatches(3, 2).bind(np.repeat(np.arange(6), 10))
    generator = torch.Generator().manual_seed(1)
    first, second = sampler.draw(generator), sampler.draw(generator)
    assert np.array_equal(first, sampler.draw(torch.Generator().manual_seed(1)))
    assert not np.array_equal(first, second)


def test_classes_meet_in_all_combinations():
    y = np.repeat(np.arange(8), 12)
    sampler = BalancedBatches(4, 4).bind(y)
    generator, met = torch.Generator().manual_seed(0), np.zeros((8, 8))
    for _ in range(60):
        for batch in y[sampler.draw(generator)].reshape(-1, 16):
            present = np.unique(batch)
            met[np.ix_(present, present)] += 1
    apart = met[~np.eye(8, dtype=bool)]
    assert apart.min() > 0.5 * apart.mean()


def test_it_follows_scikit_learn_and_names_what_is_wrong():
    sampler = clone(BalancedBatches(classes=8)).set_params(samples=2)
    assert sampler.get_params() == {"classes": 8, "samples": 2}
    with pytest.raises(ValueError, match="samples=0"):
        BalancedBatches(samples=0).bind(np.arange(3))
    with pytest.raises(ValueError, match=r"classes=1\.5"):
        BalancedBatches(classes=1.5).bind(np.arange(3))
