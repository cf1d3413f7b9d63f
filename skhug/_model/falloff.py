"""Probabilities of classifiers that an earlier version saved: by distances on the sphere."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["falloff_log_probabilities"]


def falloff_log_probabilities(
    points: Tensor, proxies: Tensor, concentration: float, softening: float, cutoff: float
) -> Tensor:
    """Return ``log p_c``, ``p_c ~ (d_c^2 + softening)^-concentration exp(-cutoff d_c^4 / 4)``.

    Parameters
    ----------
    points : Tensor of shape (n, n_components)
        Unit rows.
    proxies : Tensor of shape (n_classes, n_components)
        Unit rows; ``d_c^2 = 2 - 2 cos_c`` is the squared distance from one.
    concentration, softening, cutoff : float
        How they fall with the distance; positive.
    """
    squared = (2 - 2 * points @ proxies.T).clamp_min_(0)
    power = concentration * torch.log(squared + softening)
    return torch.log_softmax(-torch.addcmul(power, squared, squared, value=cutoff / 4), dim=1)
