"""The processes that make one fit, as code that asks them knows them; and one that is alone."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

__all__ = ["ALONE", "Alone", "Value", "ValuesOfRows", "seed_of"]

Value, ValuesOfRows = TypeVar("Value"), TypeVar("ValuesOfRows", np.ndarray, Tensor)


class Alone:
    """One process: every sum has one term, and what is asked of the first is done here.

    ``rank`` counts the processes from 0, ``size`` is their number; ``sharded`` says whether the
    rows of each are a shard of all.
    """

    rank, size, sharded = 0, 1, False

    @property
    def leads(self) -> bool:
        """Whether this is the process that prints, scores and writes."""
        return self.rank == 0

    @property
    def shards(self) -> Alone:
        """Who holds other rows: nobody where all processes have the same."""
        return ALONE

    @property
    def copies(self) -> Alone:
        """Who has the same rows, so that one process can answer for all."""
        return ALONE

    def first(self, make: Callable[[], Value]) -> Value:
        """Return what the first process makes; the others do not call it."""
        return make()

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, in their order."""
        return [value]

    def total(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of all processes' arrays of one shape."""
        return array

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add the other processes' tensors to this one."""
        return tensor

    def same_(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""

    def summing(self, gradients: Callable[..., Any], flat: list[Tensor]) -> Callable[..., Any]:
        """Return a function of a batch's part after which ``flat`` holds sums over all parts."""
        return gradients

    @contextmanager
    def interrupts(self) -> Iterator[Callable[[], None]]:
        """Yield what raises KeyboardInterrupt where processes agree upon it; alone it comes."""
        yield lambda: None

    def draw_apart(self, seed: int, epoch: int) -> None:
        """Let what is drawn in training by torch's global generator differ between processes."""

    def join(self, rows: ValuesOfRows) -> ValuesOfRows:
        """Return all processes' rows, one after another."""
        return rows

    # What follows comes down to the above.

    def any(self, flag: bool) -> bool:
        """Whether the flag is set anywhere."""
        return any(self.gather(bool(flag)))

    def all(self, flag: bool) -> bool:
        """Whether the flag is set everywhere."""
        return all(self.gather(bool(flag)))

    def count(self, n: int) -> int:
        """Return the sum of all processes' numbers."""
        return sum(self.gather(int(n)))

    def before(self, n: int) -> int:
        """Return the sum of the numbers of the processes before this one."""
        return sum(self.gather(int(n))[: self.rank])

    def own(self, index: np.ndarray, n: int) -> np.ndarray:
        """Return which of its n rows this process has among places in all processes' rows."""
        own = index - self.before(n)
        return own[(own >= 0) & (own < n)]

    def agree(self, values: dict[str, Any], cure: str) -> None:
        """Refuse values that differ between processes.

        Raises
        ------
        ValueError
            In every process, with the names of what differs and where.
        """
        everyone = self.gather(values)
        names = sorted(set().union(*everyone))
        for rank, others in enumerate(everyone):
            differing = [n for n in names if others.get(n) != everyone[0].get(n)]
            if differing:
                raise ValueError(
                    f"The processes do not fit the same: {', '.join(differing)} of rank {rank} "
                    f"differ{'s' * (len(differing) == 1)} from rank 0's. {cure}"
                )


ALONE = Alone()


def seed_of(*parts: int) -> int:
    """Return a seed that differs where one of the parts does."""
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
