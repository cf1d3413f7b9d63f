"""What the whole process shares: torch's threads and random state, for one fit at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state

# Floating-point operations of a training step below which a second thread costs more than it gives.
_SINGLE_THREAD_FLOPS = 1e8
# What a root or a logarithm counts as.
FLOPS_A_FUNCTION = 25.0

# torch's global random state belongs to the process: one fit at a time uses it.
_PROCESS_LOCK = threading.RLock()


def _settle_in_child() -> None:
    """Make a forked child usable: the threads of its parent stayed behind.

    A loop over several OpenMP threads would wait for them for ever, and so would a fit for one
    of them that held the lock.
    """
    global _PROCESS_LOCK
    _PROCESS_LOCK = threading.RLock()
    torch.set_num_threads(1)


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_settle_in_child)


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed from a ``random_state`` parameter; None never touches NumPy's global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, and leave them as they were.

    Initialisation, dropout and users' modules draw from the global generators, which belong to
    the process: threaded fits take turns.
    """
    with _PROCESS_LOCK:
        if (
            device.type == "cpu"
        ):  # torch.manual_seed would note its call for all GPUs: a millisecond
            generator = torch.default_generator
            before = generator.get_state()
            generator.manual_seed(seed)
            try:
                yield
            finally:
                generator.set_state(before)
            return
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield


@contextmanager
def threads_for(flops: float, device: torch.device) -> Iterator[None]:
    """Use one thread where a step of so many operations is small, as many as torch has elsewhere.

    Two threads on a step of microseconds spend their time waiting for each other.
    """
    single = device.type != "cpu" or flops < _SINGLE_THREAD_FLOPS
    with _PROCESS_LOCK:  # else two fits would restore each other's number
        before = torch.get_num_threads()
        torch.set_num_threads(1 if single else before)
        try:
            yield
        finally:
            torch.set_num_threads(before)
