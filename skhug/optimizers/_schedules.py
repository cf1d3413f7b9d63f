"""What multiplies the learning rate in the course of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

# Each is twice as long as the one before, and ends at rate 0.
CYCLES = 5
# Steps of a cycle from which on its end tells whether more training helps.
_TELLING_STEPS = 50


def _cycles(done: float) -> float:
    """Rise and fall as ``(1 - cos(2 pi log2(1 + (2^CYCLES - 1) done))) / 2``."""
    return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + (2**CYCLES - 1) * done)))


# Factor on the learning rate as a function of the share of the training done, in [0, 1).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "cycles": _cycles,
    "linear": lambda done: 1.0 - done,
}


def cycle_ends(max_epochs: int, steps_per_epoch: int) -> list[int]:
    """Return the epochs after which cycles end that are long enough to be judged by."""
    parts = 2**CYCLES - 1
    ends = [max(1, round(max_epochs * (2**i - 1) / parts)) for i in range(1, CYCLES + 1)]
    pairs = zip([0, *ends], ends, strict=False)
    return [end for start, end in pairs if (end - start) * steps_per_epoch >= _TELLING_STEPS]
