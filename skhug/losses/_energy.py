"""How evenly points lie on the sphere: energy, separation and Gram determinant.

Source: Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skhug._sphere import unit, widened
from skhug.losses._pair_sums import PairSum, pair_sum, riesz_kernel, smallest_distance, softening

__all__ = ["energy_gradient", "gram_logdet", "hyperspherical_energy", "separation"]


def hyperspherical_energy(points: Tensor, s: float = 2.0) -> Tensor:
    """Hyperspherical energy per point: ``1/n sum_i sum_{j != i} K_s(||p_i - p_j||)``.

    Parameters
    ----------
    points : Tensor of shape (n_points, n_components)
        Normalised here.
    s : float, default=2.0
        Riesz exponent, ``s >= 0``: ``K_s(r) = r^-s`` for s > 0 and ``log(1/r)`` for s = 0.

    Returns
    -------
    energy : scalar Tensor
        Differentiable once. Coincident points count as a distance of about 1e-3 (float32) or
        3e-8 (float64), so that value and gradient stay finite.

    Raises
    ------
    ValueError
        If ``s`` is negative or there are fewer than 2 points.

    References
    ----------
    Liu et al. 2023, section 3.1 (MHE); there the mean over pairs, which is this over
    ``n_points - 1``.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import hyperspherical_energy
    >>> hyperspherical_energy(torch.eye(3), s=2)
    tensor(1.)
    """
    if s < 0:
        raise ValueError(f"s={s!r}: the energy between points needs s >= 0.")
    points = _check_points(points)
    return PairSum.apply(points, riesz_kernel(s, softening(points))) / len(points)


def separation(points: Tensor, temperature: float = 0.0) -> Tensor:
    """Smallest distance between two of the points, or a smooth minimum of all of them.

    Parameters
    ----------
    points : Tensor of shape (n_points, n_components)
        Normalised here.
    temperature : float, default=0.0
        0 gives the minimum itself (not differentiable here). ``T > 0`` gives
        ``-T log sum_{i<j} exp(-||p_i - p_j|| / T)``, which is at most the minimum and tends to
        it as T falls.

    Returns
    -------
    distance : scalar Tensor
        In units of the sphere's radius, at most 2.

    Raises
    ------
    ValueError
        If ``temperature`` is negative or there are fewer than 2 points.

    References
    ----------
    Liu et al. 2023, section 3.1 (MHS).

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import separation
    >>> separation(torch.eye(3))
    tensor(1.4142)
    """
    if temperature < 0:
        raise ValueError(f"temperature={temperature!r}: pass 0 or more.")
    points = _check_points(points)
    smallest = smallest_distance(unit(points.detach()))
    if temperature == 0:
        return smallest
    floor = softening(points)

    def kernel(squared: Tensor) -> tuple[Tensor, Tensor]:
        distance = squared.clamp_min_(floor).sqrt_()
        value = ((smallest - distance) / temperature).exp_()
        return value, value / (-2 * temperature * distance)

    ordered = PairSum.apply(points, kernel)  # each pair counted twice
    return smallest - temperature * (ordered / 2).log()


def gram_logdet(points: Tensor, eps: float = 1.0) -> Tensor:
    """Log-determinant of the Gram matrix ``G_ij = exp(-eps^2 ||p_i - p_j||^2)``.

    Parameters
    ----------
    points : Tensor of shape (n_points, n_components)
        Normalised here.
    eps : float, default=1.0
        Inverse length scale of the kernel, ``eps > 0``.

    Returns
    -------
    logdet : scalar Tensor
        At most 0, reached as all points move infinitely far apart. The diagonal is raised by
        1e-6, so that coincident points give a large negative number and no infinity.
        Memory is O(n_points^2): a determinant cannot be had in blocks.

    Raises
    ------
    ValueError
        If ``eps`` is not positive or there are fewer than 2 points.

    References
    ----------
    Liu et al. 2023, section 3.1 (MGD).

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import gram_logdet
    >>> gram_logdet(torch.eye(2)) > gram_logdet(torch.tensor([[1.0, 0.0], [1.0, 0.1]]))
    tensor(True)
    """
    if eps <= 0:
        raise ValueError(f"eps={eps!r}: pass a number above 0.")
    points = unit(_check_points(points))
    # Small eigenvalues drown in float32's rounding; MPS has no float64.
    wide = points if points.device.type == "mps" else points.double()
    squared = (2 - 2 * (wide @ wide.T)).clamp_min(0)
    gram = torch.exp(-(eps**2) * squared) + 1e-6 * torch.eye(len(wide), device=wide.device)
    factor, _ = torch.linalg.cholesky_ex(gram)
    return 2 * factor.diagonal().log().sum().to(points.dtype)


def _check_points(points: Tensor) -> Tensor:
    points = torch.as_tensor(points)
    if not points.is_floating_point():
        points = points.float()
    if points.ndim != 2 or len(points) < 2:
        raise ValueError(
            f"points has shape {tuple(points.shape)}: pass (n_points, n_components), n_points >= 2."
        )
    return widened(points)


def energy_gradient(points: Tensor, s: float) -> tuple[Tensor, Tensor]:
    """:func:`hyperspherical_energy` and its gradient."""
    total, gradient = pair_sum(points, riesz_kernel(s, softening(points)))
    return total / len(points), gradient.div_(len(points))
