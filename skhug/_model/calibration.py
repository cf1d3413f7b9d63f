"""From cosines to probabilities: a falling function of the distance, fitted on data."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor

from skhug._model.nearest import row_blocks
from skhug._process import FLOPS_A_FUNCTION, threads_for

__all__ = [
    "Candidates",
    "Falloff",
    "calibration_rows",
    "candidates",
    "fit_falloff",
    "log_probabilities",
    "pull_of",
]

# Classes that a row is compared with, and how many of them are its nearest; the others are drawn.
_CANDIDATES = 512
_NEAREST = 64
# Rows, and cosines, that a fit of three numbers looks at.
_ROWS = 8192
_COSINES = 1 << 21

# Where nothing is known, in logarithms: what held-out rows of MNIST and of small tabular sets
# lead to, about alike for 1,000 and for 40,000 training rows. These are for ten classes; what
# separates classes must grow with the logarithm of how many others there are.
_CENTRE = np.array([-0.8, -8.2, 0.5])
_GROWS = np.array([1.0, 0.0, 1.0])
_BOUNDS = [(-3.0, 4.0), (-12.0, 2.0), (-8.0, 5.0)]
# How strongly a fit is drawn to the centre, against a mean log-loss. Rows that were trained on
# look better than new ones however many they are: there it does not fade with their number.
_PULL_TRAINED = 0.04
_PULL_HELD_OUT = 0.5


class Falloff(NamedTuple):
    """How probabilities fall with the distance; all positive, see :func:`log_probabilities`."""

    concentration: float
    softening: float
    cutoff: float


def log_probabilities(cosines: Tensor, falloff: Falloff) -> Tensor:
    """Return ``log p_c``, ``p_c ~ (d_c^2 + softening)^-concentration exp(-cutoff d_c^4 / 4)``.

    Parameters
    ----------
    cosines : Tensor of shape (n, n_classes)
        To the proxies; ``d_c^2 = 2 - 2 cos_c`` is the squared distance.
    falloff : Falloff
        The three numbers.

    Returns
    -------
    log_probability : Tensor of shape (n, n_classes)
        Near a proxy they fall with a power of the distance, far away faster: of a softmax of
        cosines the tails are too thin, those of the power alone too thick, and both have a
        higher log-loss on held-out rows. The nearest class stays the most probable one.
    """
    squared = _squared_distances(cosines)
    concentration, softening, cutoff = falloff
    power = concentration * torch.log(squared + softening)
    return torch.log_softmax(-torch.addcmul(power, squared, squared, value=cutoff / 4), dim=1)


class Candidates(NamedTuple):
    """Classes that stand for all of them, row by row.

    ``cosines`` (n, k); ``own`` (n,), the column of a row's true class; ``log_count`` (n, k), the
    logarithm of how many classes a column stands for, or None where columns are the classes.
    """

    cosines: Tensor
    own: Tensor
    log_count: Tensor | None

    @property
    def log_classes(self) -> float:
        """Logarithm of the number of classes that all columns stand for."""
        if self.log_count is None:
            return math.log(self.cosines.shape[1])
        return float(self.log_count[0].logsumexp(0))


def calibration_rows(n_rows: int, n_classes: int) -> np.ndarray:
    """Return sorted indices of the rows to fit on: all, or a fixed draw of as many as bounds allow.

    Parameters
    ----------
    n_rows, n_classes : int
        Of the data at hand.
    """
    most = min(_ROWS, _COSINES // min(n_classes, _CANDIDATES))
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, most, replace=False))


def candidates(embeddings: Tensor, proxies: Tensor, y: Tensor) -> Candidates:
    """Return the cosines that a fit needs, of few classes where there are many.

    Up to 512 classes these are all cosines. Beyond, each row keeps its true class and the 64
    nearest to it; a draw among the others, the same for all rows, stands for the rest, whose
    cosines hardly differ.

    Parameters
    ----------
    embeddings : Tensor of shape (n, n_components)
        Unit rows.
    proxies : Tensor of shape (n_classes, n_components)
        Unit rows.
    y : Tensor of shape (n,)
        True classes.
    """
    if len(proxies) <= _CANDIDATES:
        return Candidates(embeddings @ proxies.T, y, None)
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randperm(len(proxies), generator=generator)[: _CANDIDATES - _NEAREST - 1]
    drawn = drawn.to(y.device)
    rows, labels = (row_blocks(a, len(proxies)) for a in (embeddings, y))
    blocks = [_candidates_of(z, proxies, own, drawn) for z, own in zip(rows, labels, strict=True)]
    cosines, log_count = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    return Candidates(cosines, torch.zeros_like(y), log_count)


def _candidates_of(z: Tensor, proxies: Tensor, y: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """Cosines and log-counts of the true class, the nearest others, and the drawn ones."""
    cosines = z @ proxies.T  # (block, n_classes)
    own = cosines.gather(1, y[:, None])
    cosines.scatter_(1, y[:, None], -2)  # below any cosine
    near = cosines.topk(_NEAREST, dim=1).values
    rest = cosines.index_select(1, drawn)
    counted = (rest < near[:, -1:]) & (rest > -2)  # neither among the nearest nor the true one
    remaining = len(proxies) - 1 - _NEAREST
    each = math.log(remaining) - counted.sum(1, keepdim=True).log()
    once = torch.zeros_like(near[:, :1]).expand(-1, 1 + _NEAREST)
    log_count = torch.cat([once, torch.where(counted, each, -math.inf)], dim=1)
    return torch.cat([own, near, rest.clamp_min(-1)], dim=1), log_count


def pull_of(n_rows: int, trained_on: bool) -> float:
    """Return how strongly a fit is pulled to what is typical, for :func:`fit_falloff`.

    Parameters
    ----------
    n_rows : int
        That the fit looks at.
    trained_on : bool
        Whether these rows are the training rows.
    """
    return _PULL_TRAINED if trained_on else _PULL_HELD_OUT / n_rows


def fit_falloff(candidates: Candidates, weight: Tensor, pull: float) -> Falloff:
    """Fit the three numbers by penalised maximum likelihood.

    Parameters
    ----------
    candidates : Candidates
        Cosines to the proxies, and the true classes.
    weight : Tensor of shape (n,)
        Positive weights; their scale does not matter.
    pull : float
        Weight of the squared way from typical values, in logarithms, beside the mean log-loss:
        separable rows would drive the fit to infinity.
    """
    share = (weight.double() / weight.sum())[:, None]
    log_count = 0 if candidates.log_count is None else candidates.log_count.double()
    squared, own = _squared_distances(candidates.cosines.double()), candidates.own[:, None]
    far = squared.square().div_(4)
    centre = _CENTRE + _GROWS * math.log(candidates.log_classes / math.log(10))

    def penalised_loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        concentration, softening, cutoff = np.exp(parameters)
        shifted = squared + softening
        logarithm = shifted.log()
        logits = torch.add(log_count - concentration * logarithm, far, alpha=-cutoff)
        log_p = torch.log_softmax(logits, dim=1)
        loss = -(share * log_p.gather(1, own)).sum()
        # The gradient in the logits, by hand: autograd takes twice the time of all of it.
        error = log_p.exp_().mul_(share).scatter_add_(1, own, -share)
        by_logit = [torch.dot(error.ravel(), a.ravel()) for a in (logarithm, far)]
        value, by_logarithm, by_far, by_inverse = torch.stack(
            [loss, *by_logit, error.div_(shifted).sum()]
        ).tolist()
        gradient = -np.array(
            [
                concentration * by_logarithm,
                concentration * softening * by_inverse,
                cutoff * by_far,
            ]
        )
        away = parameters - centre
        return value + pull * float(away @ away), gradient + 2 * pull * away

    with threads_for(FLOPS_A_FUNCTION * squared.numel(), squared.device):
        result = minimize(penalised_loss, centre, jac=True, method="L-BFGS-B", bounds=_BOUNDS)
    return Falloff(*np.exp(result.x).tolist())


def _squared_distances(cosines: Tensor) -> Tensor:
    return (2 - 2 * cosines).clamp_min_(0)
