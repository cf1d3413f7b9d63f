"""Batches of rows from host memory or disk, read ahead while the device works."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from skhug._device import to_numpy, to_tensor

__all__ = ["Stream", "read_ahead"]

# Blocks read before they are asked for.
_AHEAD = 2

Key, Block = TypeVar("Key"), TypeVar("Block")


def read_ahead(read: Callable[[Key], Block], keys: Iterable[Key]) -> Iterator[Block]:
    """Yield ``read(key)`` for every key, in order, the next ones read by a thread meanwhile.

    What ``read`` raises is raised here. The thread ends with the iteration, early or not.
    """
    keys = iter(keys)
    pool = ThreadPoolExecutor(1, thread_name_prefix="skhug-read-ahead")
    try:
        pending = deque(pool.submit(read, key) for key in islice(keys, _AHEAD))
        while pending:
            block = pending.popleft().result()
            pending.extend(pool.submit(read, key) for key in islice(keys, 1))
            yield block
    finally:
        pool.shutdown(cancel_futures=True)


class Stream:
    """Rows that stay where they are and come to the device batch by batch.

    On CUDA they pass through pinned memory, so that the copy does not wait for the device.

    Parameters
    ----------
    rows : ndarray, Source or CompressedRows
        Of shape (n, ...), indexed by slices and by arrays.
    device : torch.device
        Where batches are wanted.
    """

    def __init__(self, rows: Any, device: torch.device) -> None:
        self.rows = rows
        self.device = device

    def __len__(self) -> int:
        return len(self.rows)

    def batches(self, order: Tensor | None, sizes: list[int]) -> Iterator[Tensor]:
        """Yield batches of these sizes, in an order of the rows (on the CPU) or as they lie."""
        if order is None:
            ends = np.cumsum(sizes).tolist()
            keys = [slice(end - size, end) for size, end in zip(sizes, ends, strict=True)]
        else:
            keys = map(to_numpy, order.split(sizes))
        for block in read_ahead(self._read, keys):
            yield block.to(self.device, non_blocking=True)

    def _read(self, key: slice | np.ndarray) -> Tensor:
        rows = self.rows[:1][:0] if not isinstance(key, slice) and not len(key) else self.rows[key]
        block = to_tensor(rows, torch.device("cpu"))
        return block.pin_memory() if self.device.type == "cuda" else block
