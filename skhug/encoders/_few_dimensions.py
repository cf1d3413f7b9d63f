"""What is left open, where classes crowd: many of them in few dimensions."""

from __future__ import annotations

from typing import Any

from sklearn.base import clone

from skhug.encoders._mlp import MLP

__all__ = ["are_crowded", "softened_little"]

# Softness by default, at most, where classes crowd. Outputs well inside the ball are no
# probabilities there, and near neighbours among the proxies are told apart by directions.
SOFTNESS_OF_CROWDED = 1.0


def are_crowded(n_classes: int, n_components: int) -> bool:
    """Whether proxies have near neighbours: ``C > 4 d`` and ``C > 2^(d / 2)``.

    Up to 2d proxies none need to be nearer than 90 degrees, and in many dimensions many more are
    hardly nearer, as long as their number is not exponential in d. The thresholds were chosen on
    data; between 2d and 4d neither way was better throughout. The 0-sphere has two places only,
    which proxies share.
    """
    d = n_components
    return d > 1 and n_classes > 4 * d and n_classes**2 > 2**d


def softened_little(encoder: Any, input_shape: tuple[int, ...]) -> Any:
    """Return an encoder with little softness, or as it is where it says how much or has less."""
    of_rows = isinstance(encoder, MLP) and type(encoder).softness_for is MLP.softness_for
    if not of_rows or encoder.softness is not None:
        return encoder
    if encoder.softness_for(input_shape) <= SOFTNESS_OF_CROWDED:
        return encoder
    return clone(encoder).set_params(softness=SOFTNESS_OF_CROWDED)
