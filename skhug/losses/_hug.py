"""The Hyperspherical Uniformity Gap as a loss.

Source: Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from skhug._configured import explained, plain
from skhug._sphere import widened
from skhug.losses._coefficients import as_indices, class_mean_coefficients
from skhug.losses._constant import ConstantBetween
from skhug.losses._measures import MHE, Uniformity
from skhug.losses._within_class import WithinSum, within_sum

__all__ = ["HUGLoss", "HUGLossTerms", "within_class_energy"]


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
    TypeError, ValueError
        If ``s`` is not negative, or as :class:`HUGLoss` raises.

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
    labels = _checked(embeddings, labels, proxies, sample_weight)
    coef = _coefficients(embeddings, labels, sample_weight, len(proxies))
    embeddings = widened(embeddings)
    proxies = proxies.to(embeddings.dtype)
    return HUGLoss(MHE(s_within=s)).within(embeddings, proxies, labels, coef)


class HUGLossTerms(NamedTuple):
    """A loss and what it is made of: ``loss = alpha * between + beta * within``.

    Parameters
    ----------
    loss : scalar Tensor
        What to minimise.
    between : scalar Tensor
        Between-class term, of the proxies alone.
    within : scalar Tensor
        Within-class term, of the samples.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import HUGLoss
    >>> loss = HUGLoss(alpha=0.5, beta=2.0)
    >>> terms = loss(torch.eye(3), torch.tensor([0, 1, 2]), torch.eye(3))
    >>> terms.between, terms.within, terms.loss
    (tensor(1.), tensor(0.), tensor(0.5000))
    """

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
        Weight of the between-class term. It acts only where the proxies are learned. The term of
        proxies that take no gradient is computed once for a tensor, beyond 4,096 classes
        estimated (``uniformity.between_fixed``), and with 0 not at all: it is NaN then.
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

    @explained
    def __init__(
        self,
        uniformity: Uniformity | None = None,
        alpha: float = 1.0,
        beta: float = 1.0,
        attached: bool = True,
    ) -> None:
        super().__init__()
        self.uniformity = MHE() if uniformity is None else plain(uniformity)
        if not isinstance(self.uniformity, Uniformity):
            raise TypeError(
                f"uniformity={uniformity!r} is no measure: pass MHE(), MHS(), MGD() or an object "
                "of a subclass of skhug.losses.Uniformity."
            )
        self.uniformity.check()
        if isinstance(self.uniformity.prior, str):
            raise ValueError(
                f"{self.uniformity}: only an estimator knows the rows that it trains on. Pass the "
                "classes' shares, prior=[0.9, 0.1]."
            )
        self.alpha = plain(alpha)
        self.beta = plain(beta)
        self.attached = attached
        self._constant_between = ConstantBetween()

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
            Rows of ``proxies``, integers. On the CPU their range is checked; on a GPU torch's
            kernels assert it, since to look would wait for the device in every batch.
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
        TypeError, ValueError
            If the shapes do not fit one another, or a dtype or a label is none to compute with.
        """
        labels = _checked(embeddings, labels, proxies, sample_weight)
        coef = _coefficients(embeddings, labels, sample_weight, len(proxies))
        return self.terms(widened(embeddings), proxies, labels, coef)

    def terms(
        self,
        embeddings: Tensor,
        proxies: Tensor,
        labels: Tensor,
        coef: Tensor,
        softness: float = 0.0,
    ) -> HUGLossTerms:
        """Return the terms with given row coefficients; both are normalised here.

        A ``softness`` above 0 projects embeddings to ``x / sqrt(|x|^2 + softness)`` instead.
        """
        same_dtype = proxies.to(embeddings.dtype)
        if proxies.requires_grad:
            return HUGLossTerms(
                *_FusedTerms.apply(embeddings, same_dtype, labels, coef, self, softness)
            )
        within = self.within(embeddings, same_dtype, labels, coef, softness)
        if not self.alpha:
            return HUGLossTerms(self.beta * within, within.new_full((), math.nan), within)
        return self.combine(self._constant_between(self.uniformity, proxies).to(within), within)

    def within(
        self,
        embeddings: Tensor,
        proxies: Tensor,
        labels: Tensor,
        coef: Tensor,
        softness: float = 0.0,
    ) -> Tensor:
        """Return the within-class term alone: with fixed proxies the other is a constant."""
        # detached: alignment must not drag the proxies
        anchors = proxies if self.attached else proxies.detach()
        return WithinSum.apply(embeddings, anchors, labels, coef, self.uniformity, softness)

    def combine(self, between: Tensor, within: Tensor) -> HUGLossTerms:
        """Weigh the two terms."""
        return HUGLossTerms(self.alpha * between + self.beta * within, between, within)

    def extra_repr(self) -> str:
        """Show the parameters in the module's repr."""
        return f"{self.uniformity}, alpha={self.alpha}, beta={self.beta}, attached={self.attached}"


class _FusedTerms(torch.autograd.Function):
    """(loss, between, within) of learned proxies; the forward pass makes all gradients."""

    @staticmethod
    def forward(
        ctx: Any,
        features: Tensor,
        proxies: Tensor,
        labels: Tensor,
        coef: Tensor,
        loss: HUGLoss,
        softness: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        measure = loss.uniformity
        within = within_sum(
            features, proxies, labels, coef, measure, softness, attached=loss.attached
        )
        between, push = measure.between_gradient(proxies)
        ctx.save_for_backward(within.features, within.proxies, push)
        ctx.weights = loss.alpha, loss.beta
        ctx.set_materialize_grads(False)
        return loss.alpha * between + loss.beta * within.value, between, within.value

    @staticmethod
    def backward(
        ctx: Any, of_loss: Tensor | None, of_between: Tensor | None, of_within: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        features, attached, push = ctx.saved_tensors
        alpha, beta = ctx.weights
        to_between = _total(of_loss, alpha, of_between)
        to_within = _total(of_loss, beta, of_within)
        in_proxies = push * to_between
        if attached is not None:
            in_proxies = in_proxies.add_(attached * to_within)
        return features * to_within, in_proxies, None, None, None, None


def _total(of_loss: Tensor | None, weight: float, of_term: Tensor | None) -> Tensor | float:
    """Gradient that reaches a term: by way of the loss and directly."""
    total = 0.0 if of_loss is None else weight * of_loss
    return total if of_term is None else total + of_term


def _coefficients(
    embeddings: Tensor, labels: Tensor, sample_weight: Tensor | None, n_classes: int
) -> Tensor:
    dtype = widened(embeddings[:0]).dtype
    if sample_weight is None:
        sample_weight = torch.ones(labels.shape, dtype=dtype, device=labels.device)
    return class_mean_coefficients(labels, sample_weight.to(dtype), n_classes=n_classes)


def _checked(
    embeddings: Tensor, labels: Tensor, proxies: Tensor, sample_weight: Tensor | None
) -> Tensor:
    """Return the labels as indices, once all fit one another; nothing waits for the device."""
    for name, points in (("embeddings", embeddings), ("proxies", proxies)):
        if not isinstance(points, Tensor) or not points.is_floating_point():
            kind = points.dtype if isinstance(points, Tensor) else type(points).__name__
            raise TypeError(f"{name} are of {kind}: pass a tensor of floating-point numbers.")
    if embeddings.ndim != 2 or proxies.ndim != 2 or embeddings.shape[1] != proxies.shape[1]:
        raise ValueError(
            f"embeddings {tuple(embeddings.shape)} and proxies {tuple(proxies.shape)} must be "
            "(batch, n_components) and (n_classes, n_components) with the same n_components."
        )
    labels = as_indices(labels, "labels", len(proxies))
    if labels.shape != embeddings.shape[:1]:
        raise ValueError(
            f"labels has shape {tuple(labels.shape)}: pass one integer for each of the "
            f"{len(embeddings)} embeddings."
        )
    if sample_weight is None:
        return labels
    if not isinstance(sample_weight, Tensor) or sample_weight.shape != labels.shape:
        what = getattr(sample_weight, "shape", type(sample_weight).__name__)
        raise ValueError(
            f"sample_weight is {what}: pass a tensor of one number for each of the "
            f"{len(embeddings)} embeddings."
        )
    return labels
