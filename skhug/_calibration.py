"""From cosines to probabilities: one concentration fitted on data."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from skhug._device import FLOPS_A_FUNCTION, threads_for

__all__ = ["fit_concentration", "log_probabilities"]

# Where nothing is known: typical of real data sets, in logarithms.
_CENTRE = np.log([3.0, 0.05])
# Pull towards it, against a mean log-loss: separable data would drive the fit to infinity.
_PENALTY = 1e-4
_BOUNDS = [(-3.0, 4.0), (-12.0, 2.0)]


def log_probabilities(cosines: Tensor, concentration: float, softening: float) -> Tensor:
    """Return ``log p_c``, p_c proportional to ``(d_c^2 + softening)^-concentration``.

    Parameters
    ----------
    cosines : Tensor of shape (n, n_classes)
        To the proxies; ``d_c^2 = 2 - 2 cos_c`` is the squared distance.
    concentration, softening : float
        Both positive.

    Returns
    -------
    log_probability : Tensor of shape (n, n_classes)
        Falls with a power of the distance: of a softmax of cosines the tails are too thin, and
        measured log-losses higher.
    """
    return torch.log_softmax(-concentration * torch.log(_squared(cosines) + softening), dim=1)


def fit_concentration(cosines: Tensor, y: Tensor, weight: Tensor) -> tuple[float, float]:
    """Fit concentration and softening by penalised maximum likelihood.

    Parameters
    ----------
    cosines : Tensor of shape (n, n_classes)
        To the proxies.
    y : Tensor of shape (n,)
        True classes.
    weight : Tensor of shape (n,)
        Positive weights; their scale does not matter.

    Returns
    -------
    concentration, softening : float
    """
    share = weight.double() / weight.sum()
    squared = _squared(cosines.double())

    def penalised_loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        concentration, softening = np.exp(parameters)
        shifted = squared + softening
        logarithm = shifted.log()
        log_p = torch.log_softmax(-concentration * logarithm, dim=1)
        loss = -(share * log_p.gather(1, y[:, None])[:, 0]).sum()
        # The gradient in the logits, by hand: autograd takes twice the time of all of it.
        error = log_p.exp_().mul_(share[:, None]).scatter_add_(1, y[:, None], -share[:, None])
        sums = torch.stack([loss, error.mul(logarithm).sum(), error.div_(shifted).sum()])
        value, by_logarithm, by_inverse = sums.tolist()
        gradient = -concentration * np.array([by_logarithm, softening * by_inverse])
        away = parameters - _CENTRE
        return value + _PENALTY * float(away @ away), gradient + 2 * _PENALTY * away

    with threads_for(FLOPS_A_FUNCTION * squared.numel(), squared.device):
        result = minimize(penalised_loss, _CENTRE, jac=True, method="L-BFGS-B", bounds=_BOUNDS)
    concentration, softening = np.exp(result.x).tolist()
    return concentration, softening


def _squared(cosines: Tensor) -> Tensor:
    """Squared distances of unit vectors."""
    return (2 - 2 * cosines).clamp_min(0)
