"""Reading ahead: in order, bounded, errors raised here, no thread left behind."""

import threading

import numpy as np
import pytest
import torch

from skhug._data.streaming import Stream, read_ahead


def reader_threads():
    return [t for t in threading.enumerate() if t.name.startswith("skhug-read-ahead")]


def test_blocks_come_in_order_and_are_read_by_another_thread():
    readers = set()

    def read(key):
        readers.add(threading.current_thread())
        return key * 10

    assert list(read_ahead(read, range(20))) == [10 * i for i in range(20)]
    assert readers.isdisjoint({threading.current_thread()})
    assert reader_threads() == []


def test_few_blocks_are_read_ahead_of_the_one_in_use():
    started = []
    for used, _ in enumerate(read_ahead(started.append, range(50))):
        assert len(started) <= used + 3


def test_errors_of_the_reader_are_raised_here_and_end_the_thread():
    def read(key):
        if key == 3:
            raise OSError("disk gone")
        return key

    blocks = read_ahead(read, range(10))
    assert [next(blocks) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(OSError, match="disk gone"):
        next(blocks)
    assert reader_threads() == []


def test_leaving_early_ends_the_thread():
    blocks = read_ahead(lambda key: key, range(1000))
    next(blocks)
    blocks.close()
    assert reader_threads() == []


@pytest.mark.parametrize("sizes", [[4, 4, 3], [11], [1] * 11])
def test_a_stream_yields_the_rows_of_each_batch(sizes):
    X = np.random.default_rng(0).normal(size=(11, 3))
    X.setflags(write=False)
    stream = Stream(X, torch.device("cpu"))
    order = torch.randperm(11, generator=torch.Generator().manual_seed(0))
    shuffled, as_they_lie = list(stream.batches(order, sizes)), list(stream.batches(None, sizes))
    assert [len(batch) for batch in shuffled] == sizes
    assert np.array_equal(torch.cat(shuffled).numpy(), X[order.numpy()])
    assert np.array_equal(torch.cat(as_they_lie).numpy(), X)
