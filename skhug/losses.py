"""The Hyperspherical Uniformity Gap as a loss.

Source: Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from skhug._pairs import widened
from skhug._within import WithinSum
from skhug.uniformity import (
    MGD,
    MHE,
    MHS,
    Uniformity,
    gram_logdet,
    hyperspherical_energy,
    separation,
)

__all__ = [
    "MGD",
    "MHE",
    "MHS",
    "HUGLoss",
    "HUGLossTerms",
    "Uniformity",
    "class_mean_coefficients",
    "gram_logdet",
    "hyperspherical_energy",
    "separation",
    "within_class_energy",
]


def class_mean_coefficients(
    labels: Tensor, sample_weight: Tensor | None = None, class_weight: Tensor | None = None
) -> Tensor:
    """Row coefficients whose weighted sum is a mean over classes of means over their rows.

    Parameters
    ----------
    labels : Tensor of shape (batch,)
        Class of each row, integers.
    sample_weight : Tensor of shape (batch,), optional
        Weights inside a class's mean, non-negative. A class with no weight is absent.
    class_weight : Tensor of shape (n_classes,), optional
        Weights of the classes' means, of mean 1; ones by default.

    Returns
    -------
    coef : Tensor of shape (batch,)
        ``coef_i = class_weight_{y_i} w_i / (sum of w over the class of i) / (classes present)``,
        in the dtype of ``sample_weight`` (float32 without). Cost and memory do not depend on
        the number of classes, and nothing waits for the device.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import class_mean_coefficients
    >>> class_mean_coefficients(torch.tensor([0, 0, 7]))
    tensor([0.2500, 0.2500, 0.5000])
    """
    if sample_weight is None:
        sample_weight = torch.ones(labels.shape, device=labels.device)
    ordered, order = labels.sort()
    starts = torch.ones_like(ordered)
    starts[1:] = ordered[1:] != ordered[:-1]
    segment = torch.empty_like(order)
    segment[order] = starts.cumsum(0) - 1  # the classes of this batch, numbered from 0
    totals = torch.zeros_like(sample_weight).index_add_(0, segment, sample_weight)
    present = (totals > 0).sum()
    coef = sample_weight / totals[segment].clamp_min(torch.finfo(totals.dtype).tiny) / present
    return coef if class_weight is None else coef * class_weight[labels]


def within_class_energy(
    embeddings: Tensor,
    labels: Tensor,
    proxies: Tensor,
    s: float = -2.0,
    sample_weight: Tensor | None = None,
) -> Tensor:
    """Mean over the classes present of the mean of ``||z_i - w_{y_i}||^-s`` over their rows.

    Parameters
    ----------
    embeddings : Tensor of shape (batch, n_components)
        Normalised here.
    labels : Tensor of shape (batch,)
        Row of ``proxies`` that each embedding belongs to.
    proxies : Tensor of shape (n_classes, n_components)
        Normalised here.
    s : float, default=-2.0
        Exponent, ``s < 0``: -1 is the distance, -2 its square.
    sample_weight : Tensor of shape (batch,), optional
        Weights inside a class's mean.

    Returns
    -------
    energy : scalar Tensor
        Between 0 and ``2^-s``.

    Raises
    ------
    ValueError
        If ``s`` is not negative.

    References
    ----------
    Liu et al. 2023, section 3.2; the authors' code uses s = -1.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import within_class_energy
    >>> within_class_energy(torch.eye(2), torch.tensor([1, 0]), torch.eye(2), s=-2)
    tensor(2.)
    """
    return HUGLoss(MHE(s_within=s)).within(
        *_widened(embeddings, proxies), labels, _coefficients(embeddings, labels, sample_weight)
    )


class HUGLossTerms(NamedTuple):
    """A loss and what it is made of: ``loss = alpha * between + beta * within``."""

    loss: Tensor
    between: Tensor
    within: Tensor


class HUGLoss(nn.Module):
    """The Hyperspherical Uniformity Gap as a torch module for any training loop.

    Parameters
    ----------
    uniformity : Uniformity, optional
        :class:`MHE`, :class:`MHS` or :class:`MGD`; ``MHE()`` by default.
    alpha : float, default=1.0
        Weight of the between-class term. It acts only where the proxies are learned.
    beta : float, default=1.0
        Weight of the within-class term.
    attached : bool, default=True
        Whether the within-class term moves the proxies too. The authors' code detaches them.

    References
    ----------
    Liu et al. 2023, eq. 4 and section 3.2.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import MHE, HUGLoss
    >>> embeddings = torch.randn(8, 3, requires_grad=True)
    >>> labels = torch.tensor([0, 1, 2, 3, 0, 1, 2, 3])
    >>> proxies = torch.nn.Parameter(torch.randn(4, 3))
    >>> terms = HUGLoss(MHE(s_within=-1.0), alpha=0.5)(embeddings, labels, proxies)
    >>> terms.loss.backward()
    """

    def __init__(
        self,
        uniformity: Uniformity | None = None,
        alpha: float = 1.0,
        beta: float = 1.0,
        attached: bool = True,
    ) -> None:
        super().__init__()
        self.uniformity = MHE() if uniformity is None else uniformity
        self.alpha = alpha
        self.beta = beta
        self.attached = attached

    def forward(
        self,
        embeddings: Tensor,
        labels: Tensor,
        proxies: Tensor,
        sample_weight: Tensor | None = None,
    ) -> HUGLossTerms:
        """Return the loss of a batch and its two terms.

        Parameters
        ----------
        embeddings : Tensor of shape (batch, n_components)
            Normalised here; bfloat16 and float16 are computed in float32.
        labels : Tensor of shape (batch,)
            Rows of ``proxies``, int64.
        proxies : Tensor of shape (n_classes, n_components)
            Normalised here.
        sample_weight : Tensor of shape (batch,), optional
            Weights inside a class's mean, non-negative.

        Returns
        -------
        terms : HUGLossTerms
            ``(loss, between, within)``, scalars.

        Raises
        ------
        ValueError
            If the shapes do not fit one another.
        """
        _check_shapes(embeddings, labels, proxies)
        coef = _coefficients(embeddings, labels, sample_weight)
        embeddings, proxies = _widened(embeddings, proxies)
        within = self.within(embeddings, proxies, labels, coef)
        return self.combine(self.uniformity.between(proxies), within)

    def within(
        self,
        embeddings: Tensor,
        proxies: Tensor,
        labels: Tensor,
        coef: Tensor,
        softness: float = 0.0,
    ) -> Tensor:
        """Return the within-class term with row coefficients; both are normalised here.

        A ``softness`` above 0 projects embeddings to ``x / sqrt(|x|^2 + softness)`` instead.
        """
        # detached: alignment must not drag the proxies
        anchors = proxies if self.attached else proxies.detach()
        return WithinSum.apply(embeddings, anchors, labels, coef, self.uniformity, softness)

    def combine(self, between: Tensor, within: Tensor) -> HUGLossTerms:
        """Weigh the two terms."""
        return HUGLossTerms(self.alpha * between + self.beta * within, between, within)

    def extra_repr(self) -> str:
        """Show the parameters in the module's repr."""
        return f"{self.uniformity}, alpha={self.alpha}, beta={self.beta}, attached={self.attached}"


def _widened(embeddings: Tensor, proxies: Tensor) -> tuple[Tensor, Tensor]:
    """Both in one dtype, at least float32."""
    embeddings = widened(embeddings)
    return embeddings, proxies.to(embeddings.dtype)


def _coefficients(embeddings: Tensor, labels: Tensor, sample_weight: Tensor | None) -> Tensor:
    dtype = widened(embeddings[:0]).dtype
    if sample_weight is not None:
        sample_weight = sample_weight.to(dtype)
    return class_mean_coefficients(labels, sample_weight).to(dtype)


def _check_shapes(embeddings: Tensor, labels: Tensor, proxies: Tensor) -> None:
    if embeddings.ndim != 2 or proxies.ndim != 2 or embeddings.shape[1] != proxies.shape[1]:
        raise ValueError(
            f"embeddings {tuple(embeddings.shape)} and proxies {tuple(proxies.shape)} must be "
            "(batch, n_components) and (n_classes, n_components) with the same n_components."
        )
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}: pass one integer for each of the "
            f"{len(embeddings)} embeddings."
        )
