"""Batch samplers: which rows make a batch."""

from __future__ import annotations

from numbers import Integral

import numpy as np
import torch

from skhug._configured import Configured, explained
from skhug._docs import public

__all__ = ["BalancedBatches"]
__dir__ = public(globals())


class BalancedBatches(Configured):
    """Class-balanced batches: the same number of rows of each of several classes.

    Every batch holds exactly ``samples`` rows of each of ``min(classes, C)`` different classes,
    C the number of classes with rows. In an epoch every row comes at least once: the rows of a
    class, newly shuffled, are cut into groups of ``samples``; a short last group is filled with
    rows of the class from the beginning. Groups are dealt to batches at random, a class at most
    once a batch. Where classes have groups too few to fill all batches, the smallest repeat
    theirs, as evenly as possible. An epoch so has as many batches as the largest class has
    groups, or more. A row comes twice in a batch only if its class has fewer than ``samples``.

    Parameters
    ----------
    classes : int, default=32
        Classes a batch, at least 1.
    samples : int, default=4
        Rows of each of them, at least 1.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from skhug import BalancedBatches
    >>> y = np.repeat([0, 1, 2], [6, 3, 2])
    >>> sampler = BalancedBatches(classes=2, samples=2).bind(y)
    >>> order = sampler.draw(torch.Generator().manual_seed(0))
    >>> [np.bincount(batch, minlength=3).tolist() for batch in y[order].reshape(-1, 4)]
    [[2, 2, 0], [2, 2, 0], [2, 0, 2]]
    """

    @explained
    def __init__(self, classes: int = 32, samples: int = 4) -> None:
        self.classes = classes
        self.samples = samples

    def bind(self, y: np.ndarray) -> BalancedOrder:
        """Return the sampler of rows with these class indices.

        Raises
        ------
        ValueError
            If a parameter is out of its range.
        """
        for name in ("classes", "samples"):
            value = getattr(self, name)
            if not isinstance(value, Integral) or value < 1:
                raise ValueError(f"{name}={value!r}: pass a whole number, at least 1.")
        return BalancedOrder(y, int(self.classes), int(self.samples))


class BalancedOrder:
    """Draws an epoch of class-balanced batches; see :class:`BalancedBatches`.

    Parameters
    ----------
    y : ndarray of shape (n,)
        Class indices.
    classes, samples : int
        Classes a batch, at most; rows of each.
    """

    def __init__(self, y: np.ndarray, classes: int, samples: int) -> None:
        _, self._codes, self._counts = np.unique(y, return_inverse=True, return_counts=True)
        self._classes = min(classes, len(self._counts))
        self._samples = samples
        needed = -(-self._counts // samples)
        self.n_batches = int(max(-(-needed.sum() // self._classes), needed.max()))
        self._needed = needed

    @property
    def batch_size(self) -> int:
        """Rows of every batch."""
        return self._classes * self._samples

    def __len__(self) -> int:
        """Rows of an epoch, repeated ones included."""
        return self.n_batches * self.batch_size

    def draw(self, generator: torch.Generator) -> np.ndarray:
        """Return the rows of an epoch's batches, one batch after the other."""
        seed = torch.randint(2**62, (), generator=generator, device=generator.device).item()
        rng = np.random.default_rng(seed)
        owner, rows = self._groups(rng)
        return rows[self._deal(owner, rng)].ravel()

    def _groups(self, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Class of each group and its rows (n_groups, samples), a class's groups together."""
        total = self.n_batches * self._classes
        groups = _filled_up(self._needed, total, self.n_batches, rng)
        shuffled = rng.permutation(len(self._codes))
        by_class = shuffled[np.argsort(self._codes[shuffled], kind="stable")]
        first = np.cumsum(self._counts) - self._counts
        turn = rng.permutation(len(groups))  # the classes' order among each other
        owner = np.repeat(turn, groups[turn])
        before = np.cumsum(groups[turn]) - groups[turn]
        number = np.arange(total) - np.repeat(before, groups[turn])  # of a group in its class
        slot = number[:, None] * self._samples + np.arange(self._samples)
        return owner, by_class[first[owner][:, None] + slot % self._counts[owner][:, None]]

    def _deal(self, owner: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Return the group of every place, batch by batch, no class twice in a batch.

        In each round every batch gets one group. A class has groups for one round at most, so
        it can meet itself only where it goes on from the round before: those of its groups that
        open a round take batches that it has not been in.
        """
        places = np.empty((self.n_batches, self._classes), dtype=np.int64)
        last_class, used = -1, np.zeros(self.n_batches, dtype=bool)
        for r, group in enumerate(np.arange(len(owner)).reshape(self._classes, -1)):
            batch = rng.permutation(self.n_batches)
            if owner[group[0]] == last_class:
                batch = batch[np.argsort(used[batch], kind="stable")]
            places[batch, r] = group
            last_class = owner[group[-1]]
            used[batch] = owner[group] == last_class
        return places.ravel()


def _filled_up(groups: np.ndarray, total: int, most: int, rng: np.random.Generator) -> np.ndarray:
    """Raise the smallest numbers until they sum to ``total``, none above ``most``."""
    low, high = 0, most  # the highest level to which all can be raised
    while low < high:
        level = (low + high + 1) // 2
        low, high = (level, high) if np.maximum(groups, level).sum() <= total else (low, level - 1)
    raised = np.maximum(groups, low)
    at_level = np.flatnonzero(raised == low)
    raised[rng.choice(at_level, total - raised.sum(), replace=False)] += 1
    return raised
