"""The training loop for images that a careful user writes by hand, and losses for it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from skhug.proxies import optimal_proxies

SCALE = 16.0  # of the cosines in the normalised softmax


class Softmax(nn.Module):
    """Cross-entropy of the network's outputs, one per class."""

    def __init__(self, n_classes, n_components):
        super().__init__()
        self.width = n_classes

    def scores(self, outputs):
        """Return the logits."""
        return outputs

    def forward(self, outputs, y):
        """Return the mean over the batch."""
        return F.cross_entropy(self.scores(outputs), y)


class NormalisedSoftmax(Softmax):
    """Cross-entropy of scaled cosines to learned class vectors (Wang et al. 2017, NormFace)."""

    def __init__(self, n_classes, n_components):
        super().__init__(n_classes, n_components)
        self.width = n_components
        self.vectors = nn.Parameter(torch.randn(n_classes, n_components) / math.sqrt(n_components))

    def scores(self, outputs):
        """Return the logits."""
        return SCALE * F.normalize(outputs) @ F.normalize(self.vectors).T


class ToProxies(nn.Module):
    """HUG's loss for fixed proxies: over a batch's classes, mean squared distances to them."""

    def __init__(self, n_classes, n_components):
        super().__init__()
        self.width = n_components
        self.register_buffer("proxies", optimal_proxies(n_classes, n_components).float())

    def scores(self, outputs):
        """Return the cosines to the proxies."""
        return F.normalize(outputs) @ self.proxies.T

    def forward(self, outputs, y):
        """Return the mean over the classes present of the mean over their rows."""
        distance = (F.normalize(outputs) - self.proxies[y]).square().sum(1)
        count = distance.new_zeros(len(self.proxies)).index_add_(0, y, torch.ones_like(distance))
        share = 1 / count[y]
        return (share / share.sum()) @ distance


class BareLoop:
    """A network, its loss and its data on the device, trained epoch by epoch.

    On a GPU as a careful user would: bfloat16 autocast, channels last, no wait for the device.
    """

    def __init__(
        self, encoder, criterion, X, y, augment, *,
        learning_rate, weight_decay, batch_size, epochs, seed,
    ):  # fmt: skip
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.X, self.y = channels_first(X).to(self.device), torch.from_numpy(y).to(self.device)
        self.mean, self.inverse_std = (t.to(self.device) for t in channel_statistics(X))
        self.augment, self.batch_size, self.rate = augment, batch_size, learning_rate
        self.net = encoder.build(tuple(self.X.shape[1:]), criterion.width).to(self.device)
        self.criterion = criterion.to(self.device)
        parameters = [*self.net.parameters(), *criterion.parameters()]
        matrices = [p for p in parameters if p.ndim > 1]
        others = [p for p in parameters if p.ndim <= 1]
        self.optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": weight_decay}, {"params": others}],
            lr=learning_rate, weight_decay=0.0, fused=True,
        )  # fmt: skip
        self.generator = torch.Generator().manual_seed(seed)
        self.steps = -(-len(y) // batch_size)
        self.horizon, self.step = epochs * self.steps, 0
        self.total = torch.zeros((), device=self.device)

    def outputs(self, X):
        """Return the network's outputs for raw images, in float32."""
        on_gpu = self.device.type == "cuda"
        X = X.to(torch.float32, memory_format=torch.channels_last)
        X = (X - self.mean) * self.inverse_std
        with torch.autocast(self.device.type, torch.bfloat16, enabled=on_gpu and self.net.training):
            return self.net(X).float()

    def epoch(self):
        """Train on every image once."""
        self.net.train()
        order = torch.randperm(len(self.X), generator=self.generator).to(self.device)
        labels = self.y[order].split(self.batch_size)
        for rows, y in zip(order.split(self.batch_size), labels, strict=True):
            X = self.X.index_select(0, rows)
            if self.augment is not None:
                X = self.augment(X, self.generator)
            self.optimizer.zero_grad()
            loss = self.criterion(self.outputs(X), y)
            loss.backward()
            self.total += loss.detach()
            factor = 0.5 * (1 + math.cos(math.pi * self.step / self.horizon))
            for group in self.optimizer.param_groups:
                group["lr"] = self.rate * factor
            self.optimizer.step()
            self.step += 1

    @torch.no_grad()
    def predict(self, X):
        """Return the class of every image."""
        self.net.eval()
        blocks = (self.outputs(block.to(self.device)) for block in channels_first(X).split(256))
        return torch.cat([self.criterion.scores(z).argmax(1) for z in blocks]).cpu().numpy()


def channels_first(X):
    """Return images (n, height, width[, channels]) as a tensor (n, channels, height, width)."""
    X = X[:, None] if X.ndim == 3 else np.moveaxis(X, -1, 1)
    return torch.from_numpy(np.ascontiguousarray(X))


def channel_statistics(X):
    """Return each channel's mean and reciprocal deviation, of shape (channels, 1, 1)."""
    pixels = X.reshape(-1, 1 if X.ndim == 3 else X.shape[-1])
    counts = np.stack([np.bincount(channel, minlength=256) for channel in pixels.T])
    mean = counts @ np.arange(256) / len(pixels)
    std = np.sqrt(counts @ np.arange(256) ** 2 / len(pixels) - mean**2)
    return [torch.from_numpy(a.astype(np.float32))[:, None, None] for a in (mean, 1 / std)]


def wait_for_device():
    """Let the clock see what was launched."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
