"""The peers' losses, each a module on a network's outputs.

All share one form. ``width`` is how many outputs the network has, ``forward(outputs, y)`` the mean
over a batch, ``scores(outputs)`` what the class is read from, the largest wins; ``finish(outputs,
y)`` sees the training rows once, after the last epoch. Class vectors that a loss learns are its
parameters.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from skhug.proxies import optimal_proxies


class Softmax(nn.Module):
    """Cross-entropy of logits, ``-log p_y``.

    Parameters
    ----------
    n_classes, n_components : int
        Outputs of the network for losses on logits and on embeddings.
    counts : Tensor of shape (n_classes,)
        Training rows of each class.
    """

    def __init__(self, n_classes: int, n_components: int, counts: Tensor) -> None:
        super().__init__()
        self.width = n_classes

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the logits, (n, n_classes)."""
        return outputs

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(self.scores(outputs), y)

    def finish(self, outputs: Tensor, y: Tensor) -> None:
        """Take note of what the training rows' outputs are; most losses need nothing."""


class LabelSmoothing(Softmax):
    """Cross-entropy to targets of ``1 - smoothing`` and the rest spread (Szegedy et al. 2016)."""

    def __init__(self, n_classes, n_components, counts, smoothing: float = 0.1) -> None:
        super().__init__(n_classes, n_components, counts)
        self.smoothing = smoothing

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(outputs, y, label_smoothing=self.smoothing)


class ClassWeighted(Softmax):
    """Cross-entropy, rows weighted by ``n / (n_classes n_y)``, the weighted mean."""

    def __init__(self, n_classes, n_components, counts) -> None:
        super().__init__(n_classes, n_components, counts)
        self.register_buffer("weight", counts.sum() / (n_classes * counts))

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the weighted mean over the batch."""
        return F.cross_entropy(outputs, y, weight=self.weight)


class LogitAdjusted(Softmax):
    """Cross-entropy of ``logits + tau log prior`` (Menon et al. 2021); the class by the logits."""

    def __init__(self, n_classes, n_components, counts, tau: float = 1.0) -> None:
        super().__init__(n_classes, n_components, counts)
        self.register_buffer("shift", tau * (counts / counts.sum()).log())

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(outputs + self.shift, y)


class MeanAbsoluteError(Softmax):
    """``sum_c |p_c - [c = y]| = 2 (1 - p_y)`` (Ghosh, Kumar and Sastry 2017)."""

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return 2 * (1 - _probability(outputs, y)).mean()


class GeneralisedCrossEntropy(Softmax):
    """``(1 - p_y^q) / q`` (Zhang and Sabuncu 2018): cross-entropy for q -> 0, MAE / 2 for q = 1."""

    def __init__(self, n_classes, n_components, counts, q: float = 0.7) -> None:
        super().__init__(n_classes, n_components, counts)
        self.q = q

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return ((1 - _probability(outputs, y) ** self.q) / self.q).mean()


class SymmetricCrossEntropy(Softmax):
    """``a CE + b RCE``, the reverse term ``-sum_c p_c log [c = y]`` with log 0 = -4.

    Wang et al. 2019, "Symmetric Cross Entropy for Robust Learning with Noisy Labels".
    """

    log_zero = -4.0

    def __init__(self, n_classes, n_components, counts, a: float = 0.1, b: float = 1.0) -> None:
        super().__init__(n_classes, n_components, counts)
        self.a, self.b = a, b

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        reverse = -self.log_zero * (1 - _probability(outputs, y)).mean()
        return self.a * F.cross_entropy(outputs, y) + self.b * reverse


class SimplexMSE(nn.Module):
    """``|x - w_y|^2`` of free outputs to the vertices of the regular simplex.

    Mean squared error as a loss for classes: Hui and Belkin 2021; here with the targets that
    neural collapse ends in.
    """

    def __init__(self, n_classes, n_components, counts) -> None:
        super().__init__()
        self.width = n_components
        self.register_buffer("targets", optimal_proxies(n_classes, n_components).float())

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the products with the targets: the largest is that of the nearest."""
        return outputs @ self.targets.T

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return (outputs - self.targets[y]).square().sum(1).mean()

    def finish(self, outputs: Tensor, y: Tensor) -> None:
        """Nothing to do."""


class NormalisedSoftmax(nn.Module):
    """Cross-entropy of ``cos(z, w_c) / temperature``, learned w (Wang et al. 2017, NormFace)."""

    def __init__(self, n_classes, n_components, counts, temperature: float = 0.1) -> None:
        super().__init__()
        self.width = n_components
        self.temperature = temperature
        self.vectors = nn.Parameter(torch.randn(n_classes, n_components) / math.sqrt(n_components))

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the cosines to the class vectors, (n, n_classes)."""
        return F.normalize(outputs) @ F.normalize(self.vectors).T

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        return F.cross_entropy(self.scores(outputs) / self.temperature, y)

    def finish(self, outputs: Tensor, y: Tensor) -> None:
        """Nothing to do."""


class ArcFace(NormalisedSoftmax):
    """Normalised softmax with the true class's angle raised by a margin (Deng et al. 2019).

    Beyond an angle of ``pi - margin`` the cosine goes on straight, ``cos - margin sin(margin)``,
    so that it keeps falling.
    """

    def __init__(
        self, n_classes, n_components, counts, temperature: float = 0.1, margin: float = 0.2
    ) -> None:
        super().__init__(n_classes, n_components, counts, temperature)
        self.margin = margin

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        cosines = self.scores(outputs)
        own = cosines.gather(1, y[:, None]).clamp(-1 + 1e-6, 1 - 1e-6)
        raised = torch.cos(own.acos() + self.margin)
        straight = own - self.margin * math.sin(self.margin)
        raised = torch.where(own > math.cos(math.pi - self.margin), raised, straight)
        return F.cross_entropy(cosines.scatter(1, y[:, None], raised) / self.temperature, y)


class NTCE(NormalisedSoftmax):
    """Each row's class vector against all rows of the batch (Koromilas et al. 2026).

    ``-log exp(cos(w_y, z_i) / t) / sum_j exp(cos(w_y, z_j) / t)``, j over the whole batch, rows of
    the same class included.
    """

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        logits = self.scores(outputs) / self.temperature
        own = logits.gather(1, y[:, None])[:, 0]
        return (logits.logsumexp(0)[y] - own).mean()


class NONL(NormalisedSoftmax):
    """As NTCE, the sum over rows of the other classes alone (Koromilas et al. 2026).

    ``-log exp(cos(w_y, z_i) / t) / sum_{j: y_j != y_i} exp(cos(w_y, z_j) / t)``. A batch of one
    class has no negatives: its rows are only pulled.
    """

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the batch."""
        logits = self.scores(outputs) / self.temperature
        own = logits.gather(1, y[:, None])[:, 0]
        if (y == y[0]).all():
            return -own.mean()
        others = logits.scatter(1, y[:, None], -math.inf).logsumexp(0)  # (n_classes,)
        return (others[y] - own).mean()


class SupCon(nn.Module):
    """Supervised contrastive loss (Khosla et al. 2020, eq. 2); the class by the nearest mean.

    ``-1/|P(i)| sum_{p in P(i)} log exp(z_i z_p / t) / sum_{a != i} exp(z_i z_a / t)``, P(i) the
    other rows of i's class in the batch; rows without any are left out.
    """

    def __init__(self, n_classes, n_components, counts, temperature: float = 0.1) -> None:
        super().__init__()
        self.width = n_components
        self.temperature = temperature
        self.register_buffer("means", torch.zeros(n_classes, n_components))

    def scores(self, outputs: Tensor) -> Tensor:
        """Return the cosines to the classes' mean directions."""
        return F.normalize(outputs) @ self.means.T

    def forward(self, outputs: Tensor, y: Tensor) -> Tensor:
        """Return the mean over the rows that have a positive."""
        z = F.normalize(outputs)
        itself = torch.eye(len(z), dtype=torch.bool, device=z.device)
        logits = (z @ z.T / self.temperature).masked_fill(itself, -math.inf)
        positive = (y[:, None] == y) & ~itself
        count = positive.sum(1)
        log_share = (logits - logits.logsumexp(1, keepdim=True)).masked_fill(~positive, 0)
        anchored = count > 0
        return -(log_share.sum(1)[anchored] / count[anchored]).sum() / anchored.sum().clamp_min(1)

    def finish(self, outputs: Tensor, y: Tensor) -> None:
        """Keep the directions of the classes' mean embeddings."""
        z = F.normalize(outputs)
        self.means = F.normalize(torch.zeros_like(self.means).index_add_(0, y, z))


def _probability(outputs: Tensor, y: Tensor) -> Tensor:
    """Softmax probability of each row's true class."""
    return outputs.softmax(1).gather(1, y[:, None])[:, 0]
