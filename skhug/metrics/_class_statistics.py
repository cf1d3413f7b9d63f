"""Class means and spreads of embeddings: what the measures of geometry are made of."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from skhug.metrics._arguments import as_labels, as_points, encode, rescaled

# Elements of the largest temporary: 16 MiB in float64.
_BLOCK_ELEMENTS = 1 << 21


class Classwise:
    """Embeddings by class, with what several measures need computed once.

    Parameters
    ----------
    embeddings : array or Tensor of shape (n_samples, n_components)
        Taken as they are.
    labels : array-like of shape (n_samples,)
        Their classes.
    proxies : array or Tensor of shape (n_classes, n_components), optional
        One per class: in the sorted order of the labels where there are as many classes, else
        labels are their row numbers.

    Raises
    ------
    ValueError
        If shapes do not fit, values are not finite or there is one class only.
    """

    def __init__(self, embeddings: Any, labels: Any, proxies: Any = None) -> None:
        # No measure depends on the scale.
        (self.embeddings,) = rescaled(as_points(embeddings, "embeddings"))
        labels = as_labels(labels, len(self.embeddings), "labels")
        codes = encode(labels).to(self.embeddings.device)
        self.n_classes = int(codes.max()) + 1
        if self.n_classes < 2:
            raise ValueError("labels have 1 class: pass embeddings of at least 2.")
        self.codes = codes
        self.proxies = None if proxies is None else self._match(proxies, labels)

    def _match(self, proxies: Any, labels: Any) -> Tensor:
        """Return the proxies of the classes at hand, in the order of the codes."""
        proxies = rescaled(as_points(proxies, "proxies"))[0].to(self.embeddings)
        if proxies.shape[1] != self.embeddings.shape[1]:
            raise ValueError(
                f"embeddings have {self.embeddings.shape[1]} components and proxies "
                f"{proxies.shape[1]}: pass those of one model."
            )
        if len(proxies) == self.n_classes:
            return proxies
        rows = torch.unique(torch.as_tensor(labels)) if _are_integers(labels) else None
        if rows is None or rows[0] < 0 or rows[-1] >= len(proxies):
            raise ValueError(
                f"labels have {self.n_classes} classes and there are {len(proxies)} proxies: pass "
                "the row numbers of the proxies as labels, or proxies of these classes only."
            )
        return proxies[rows.to(proxies.device)]

    @property
    def dtype(self) -> torch.dtype:
        """Of the sums: float64, where the device has it."""
        return torch.float32 if self.embeddings.device.type == "mps" else torch.float64

    @cached_property
    def counts(self) -> Tensor:
        """Rows of each class, shape (n_classes,)."""
        return torch.bincount(self.codes, minlength=self.n_classes).to(self.dtype)

    @cached_property
    def means(self) -> Tensor:
        """Class means, shape (n_classes, n_components)."""
        shape = self.n_classes, self.embeddings.shape[1]
        sums = self.embeddings.new_zeros(shape, dtype=self.dtype)
        for rows in self.blocks(shape[1]):
            sums.index_add_(0, self.codes[rows], self.embeddings[rows].to(self.dtype))
        return sums / self.counts[:, None]

    @cached_property
    def centred(self) -> Tensor:
        """Class means minus their mean, in which classes weigh alike."""
        return self.means - self.means.mean(0)

    @cached_property
    def variance(self) -> Tensor:
        """Mean squared distance to the class mean, shape (n_classes,)."""
        return self.class_means_of(lambda residual: residual.square().sum(1))

    def class_means_of(self, function: Any) -> Tensor:
        """Return class means of a function of the rows' residuals, shape (n_classes,)."""
        sums = torch.zeros_like(self.counts)
        for rows in self.blocks(self.embeddings.shape[1]):
            codes = self.codes[rows]
            residual = self.embeddings[rows].to(self.dtype) - self.means[codes]
            sums.index_add_(0, codes, function(residual))
        return sums / self.counts

    def blocks(self, width: int) -> Iterator[slice]:
        """Cut the rows so that (rows, width) is small."""
        return row_blocks(len(self.embeddings), width)


def row_blocks(n: int, width: int) -> Iterator[slice]:
    """Cut n rows so that (rows, width) is small."""
    size = max(1, _BLOCK_ELEMENTS // width)
    return (slice(start, min(start + size, n)) for start in range(0, n, size))


def _are_integers(labels: Any) -> bool:
    if isinstance(labels, Tensor):
        return not labels.is_floating_point()
    return labels.dtype.kind in "iu"
