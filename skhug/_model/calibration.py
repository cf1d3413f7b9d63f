"""From points in the ball to probabilities: three numbers, fitted on data."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import minimize
from torch import Tensor
from torch.linalg import vecdot

from skhug._model.nearest import products, row_blocks
from skhug._process import FLOPS_A_FUNCTION, threads_for
from skhug.proxies._phase_code import PhaseCode

__all__ = [
    "Candidates",
    "Readout",
    "calibration_rows",
    "candidates",
    "fit_readout",
    "log_distances",
    "log_probabilities",
    "pull_of",
    "shares",
]

# Classes that a row is compared with, and how many of them are its nearest; the others are drawn.
_CANDIDATES = 512
_NEAREST = 64
# Rows, and cosines, that a fit of three numbers looks at.
_ROWS = 8192
_COSINES = 1 << 21
# Cosines of these rows with all classes.
_ALL_COSINES = 1 << 29

# Where nothing is known, in logarithms; see Readout. The floor is for ten classes or fewer.
_CENTRE = np.array([-0.7, -4.0, -0.7])
_FEW_CLASSES = 10
_BOUNDS = [(-6.0, 4.0), (-20.0, 2.0), (-6.0, 4.0)]
# Added to squared distances: a point that lies on a proxy is not infinitely sure.
_SOFTENING = 3e-4
# How strongly a fit is drawn to the centre, against a mean log-loss. Rows that were trained on
# look better than new ones however many they are: there it does not fade with their number.
_PULL_TRAINED = 0.04
_PULL_HELD_OUT = 0.5


class Readout(NamedTuple):
    """From points in the ball to probabilities; all positive, see :func:`log_probabilities`."""

    power: float
    floor: float
    falloff: float


def shares(products: Tensor, centre: Tensor, n_classes: int, n_components: int) -> Tensor:
    """Return the classes' shares in points of the ball.

    A point that minimises the expected squared distance to the proxies is ``sum_c p_c w_c``. Of a
    simplex its product with a proxy is ``(C p_c - 1) / (C - 1)``, which gives ``p_c`` back. Other
    arrangements do so in the mean: as a tight frame, with the dimension in place of C - 1.

    Parameters
    ----------
    products : Tensor of shape (n, k)
        Of points inside the ball with some of the proxies.
    centre : Tensor of shape (n, 1)
        Of the points with the mean of all proxies.
    n_classes, n_components : int
        Of the proxies.
    """
    scale = min(n_classes - 1, n_components)
    return (products - centre).mul_(scale).add_(1).clamp_min_(0).div_(n_classes)


def log_distances(products: Tensor, points: Tensor) -> Tensor:
    """Return logarithms of squared distances, softened, of points from unit proxies.

    Parameters
    ----------
    products : Tensor of shape (n, k)
        Of the points with some of the proxies.
    points : Tensor of shape (n, n_components)
        Inside the ball.
    """
    squared = vecdot(points, points)[:, None] + 1 - 2 * products
    return squared.clamp_min_(0).add_(_SOFTENING).log_()


def log_probabilities(points: Tensor, proxies: Tensor | PhaseCode, readout: Readout) -> Tensor:
    """Return ``log p_c``, ``p_c ~ (q_c + floor)^power (d_c^2 + 0.0003)^-falloff``.

    The shares ``q_c`` are right inside the ball, where a softness leaves the outputs their length;
    of directions the distances ``d_c`` from the proxies tell more.

    Parameters
    ----------
    points : Tensor of shape (n, n_components)
        Inside the ball.
    proxies : Tensor or PhaseCode of shape (n_classes, n_components)
        Unit rows.
    readout : Readout
        The three numbers.

    Returns
    -------
    log_probability : Tensor of shape (n, n_classes)
        The nearest class stays the most probable one.
    """
    cosines = products(points, proxies)
    q = shares(cosines, cosines.mean(1, keepdim=True), *proxies.shape)
    power, floor, falloff = readout
    distance = log_distances(cosines, points)
    return torch.log_softmax(power * torch.log(q + floor) - falloff * distance, dim=1)


class Candidates(NamedTuple):
    """Classes that stand for all of them, row by row.

    ``shares`` and ``log_distances`` (n, k); ``own`` (n,), the column of a row's true class;
    ``log_count`` (n, k), the logarithm of how many classes a column stands for, or None where
    columns are the classes.
    """

    shares: Tensor
    log_distances: Tensor
    own: Tensor
    log_count: Tensor | None
    n_classes: int


def calibration_rows(n_rows: int, n_classes: int) -> np.ndarray:
    """Return sorted indices of the rows to fit on: all, or a fixed draw of as many as bounds allow.

    Parameters
    ----------
    n_rows, n_classes : int
        Of the data at hand.
    """
    all_classes = max(_ALL_COSINES // n_classes, 64)
    most = min(_ROWS, _COSINES // min(n_classes, _CANDIDATES), all_classes)
    if n_rows <= most:
        return np.arange(n_rows)
    return np.sort(np.random.default_rng(0).choice(n_rows, most, replace=False))


def candidates(points: Tensor, proxies: Tensor | PhaseCode, y: Tensor) -> Candidates:
    """Return the shares and distances that a fit needs, of few classes where there are many.

    Up to 512 classes these are all of them. Beyond, each row keeps its true class and the 64
    nearest to it; a draw among the others, the same for all rows, stands for the rest, whose
    products hardly differ.

    Parameters
    ----------
    points : Tensor of shape (n, n_components)
        Inside the ball.
    proxies : Tensor or PhaseCode of shape (n_classes, n_components)
        Unit rows.
    y : Tensor of shape (n,)
        True classes.
    """
    centre = points @ proxies.mean(0)[:, None]
    if len(proxies) <= _CANDIDATES:
        cosines, own, log_count = products(points, proxies), y, None
    else:
        own = torch.zeros_like(y)
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randperm(len(proxies), generator=generator)[: _CANDIDATES - _NEAREST - 1]
        drawn = drawn.to(y.device)
        rows, labels = (row_blocks(a, len(proxies)) for a in (points, y))
        pairs = zip(rows, labels, strict=True)
        blocks = [_candidates_of(z, proxies, true, drawn) for z, true in pairs]
        cosines, log_count = (torch.cat(parts) for parts in zip(*blocks, strict=True))
    q = shares(cosines, centre, *proxies.shape)
    return Candidates(q, log_distances(cosines, points), own, log_count, len(proxies))


def _candidates_of(
    z: Tensor, proxies: Tensor | PhaseCode, y: Tensor, drawn: Tensor
) -> tuple[Tensor, Tensor]:
    """Cosines and log-counts of the true class, the nearest others, and the drawn ones."""
    own, near, rest = (_of_code if isinstance(proxies, PhaseCode) else _of_stored)(
        z, proxies, y, drawn
    )
    counted = (rest < near[:, -1:]) & (rest > -2)  # neither among the nearest nor the true one
    remaining = len(proxies) - 1 - _NEAREST
    each = math.log(remaining) - counted.sum(1, keepdim=True).log()
    once = torch.zeros_like(near[:, :1]).expand(-1, 1 + _NEAREST)
    log_count = torch.cat([once, torch.where(counted, each, -math.inf)], dim=1)
    return torch.cat([own, near, rest.clamp_min(-1)], dim=1), log_count


def _of_stored(
    z: Tensor, proxies: Tensor, y: Tensor, drawn: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Cosines to the true class, to the nearest others, and to the drawn; -2 to the true there."""
    cosines = z @ proxies.T  # (block, n_classes)
    own = cosines.gather(1, y[:, None])
    cosines.scatter_(1, y[:, None], -2)  # below any cosine
    return own, cosines.topk(_NEAREST, dim=1).values, cosines.index_select(1, drawn)


def _of_code(
    z: Tensor, proxies: PhaseCode, y: Tensor, drawn: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """:func:`_of_stored`, by blocks of the classes."""
    own, near, rest = (z.new_empty(len(z), n) for n in (1, 0, len(drawn)))
    for start, cosines in proxies.product_blocks(z):
        width = cosines.shape[1]
        rows, columns = (
            ((classes >= start) & (classes < start + width)).nonzero()[:, 0]
            for classes in (y, drawn)
        )
        own[rows, 0] = cosines[rows, y[rows] - start]
        cosines[rows, y[rows] - start] = -2
        rest[:, columns] = cosines[:, drawn[columns] - start]
        near = torch.cat([near, cosines.topk(min(_NEAREST, width), dim=1).values], 1)
        near = near.topk(min(_NEAREST, near.shape[1]), dim=1).values
    return own, near, rest


def pull_of(n_rows: int, trained_on: bool) -> float:
    """Return how strongly a fit is pulled to what is typical, for :func:`fit_readout`.

    Parameters
    ----------
    n_rows : int
        That the fit looks at.
    trained_on : bool
        Whether these rows are the training rows.
    """
    return _PULL_TRAINED if trained_on else _PULL_HELD_OUT / n_rows


def fit_readout(candidates: Candidates, weight: Tensor, pull: float) -> Readout:
    """Fit the three numbers by penalised maximum likelihood.

    Parameters
    ----------
    candidates : Candidates
        Shares of the classes and distances from them, and the true ones.
    weight : Tensor of shape (n,)
        Positive weights; their scale does not matter.
    pull : float
        Weight of the squared way from typical values, in logarithms, beside the mean log-loss:
        separable rows would drive the fit to infinity.
    """
    share = (weight.double() / weight.sum())[:, None]
    log_count = 0 if candidates.log_count is None else candidates.log_count.double()
    q, distance = candidates.shares.double(), candidates.log_distances.double()
    own = candidates.own[:, None]
    centre = _CENTRE - [0, math.log(max(candidates.n_classes / _FEW_CLASSES, 1)), 0]

    def penalised_loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        power, floor, falloff = np.exp(parameters)
        raised = q + floor
        logarithm = raised.log()
        logits = torch.add(log_count + power * logarithm, distance, alpha=-falloff)
        logits -= logits.amax(1, keepdim=True)
        true = logits.gather(1, own)
        p = logits.exp_()  # once: a softmax beside its logarithm takes twice the time
        total = p.sum(1, keepdim=True)
        loss = (share * (total.log() - true)).sum()
        # The gradient in the logits, by hand: autograd takes twice the time of all of it.
        error = p.mul_(share / total).scatter_add_(1, own, -share)
        by_logit = [torch.dot(error.ravel(), a.ravel()) for a in (logarithm, distance)]
        value, by_logarithm, by_distance, by_floor = torch.stack(
            [loss, *by_logit, error.div_(raised).sum()]
        ).tolist()
        gradient = np.array(
            [power * by_logarithm, power * floor * by_floor, -falloff * by_distance]
        )
        away = parameters - centre
        return value + pull * float(away @ away), gradient + 2 * pull * away

    with threads_for(FLOPS_A_FUNCTION * q.numel(), q.device):
        result = minimize(penalised_loss, centre, jac=True, method="L-BFGS-B", bounds=_BOUNDS)
    return Readout(*np.exp(result.x).tolist())
