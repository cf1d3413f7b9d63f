"""What multiplies the learning rate in the course of a training."""

from __future__ import annotations

import math
from collections.abc import Callable

# Factor on the learning rate as a function of the share of the training done, in [0, 1).
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "cosine": lambda done: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done: 1.0 - done,
}
