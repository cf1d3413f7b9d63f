"""From cosines to probabilities: one concentration fitted on data."""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

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
    squared = (2 - 2 * cosines).clamp_min(0)
    return torch.log_softmax(-concentration * torch.log(squared + softening), dim=1)


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
    cosines, share = cosines.double(), weight.double() / weight.sum()

    def penalised_loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        theta = torch.tensor(parameters, device=cosines.device, requires_grad=True)
        log_p = log_probabilities(cosines, theta[0].exp(), theta[1].exp())
        loss = -(share * log_p.gather(1, y[:, None])[:, 0]).sum()
        loss.backward()
        away = parameters - _CENTRE
        gradient = theta.grad.cpu().numpy() + 2 * _PENALTY * away
        return loss.item() + _PENALTY * float(away @ away), gradient

    result = minimize(penalised_loss, _CENTRE, jac=True, method="L-BFGS-B", bounds=_BOUNDS)
    concentration, softening = np.exp(result.x).tolist()
    return concentration, softening
