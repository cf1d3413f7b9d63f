"""From sparse rows on the device to what a body takes: zeros stay zeros, and are not stored."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.sparse import csr_array
from torch import Tensor, nn

from skhug._data.prepare import Cast, Prepare, squeezed
from skhug._device import to_tensor
from skhug._distributed.group import ALONE, Alone
from skhug._sparse import CompressedRows, SparseRows, lie_by_columns
from skhug.encoders._members import Members

__all__ = [
    "ScaleSummary",
    "SparseCast",
    "SparseScale",
    "prepare_sparse",
]

# Rows looked at at once.
_ROWS = 256
# Units that a typical value is scaled to.
_TYPICAL = 3.0


class _KeepsZeros(Prepare):
    """Base of what leaves zeros where they are: a perceptron is given sparse rows as such.

    Any other body is given them dense, batch by batch.
    """

    per_batch = True

    def arrange(self, X: Tensor | SparseRows) -> Tensor | SparseRows:
        """Return sparse rows as such if the body takes them."""
        return X if self.keeps_sparse else super().arrange(X)

    def normalize(self, X: Tensor | SparseRows) -> Tensor | SparseRows:
        """Return rows in the units and the dtype that the body takes."""
        if isinstance(X, SparseRows):
            return X.with_values(self._scaled(X.values, X.columns))
        return self._scaled(X, slice(None))

    def suit(self, body: nn.Module) -> None:
        """Lay the first weights out as products with sparse rows read them."""
        layers = _first_layers(body)
        self.keeps_sparse = bool(layers)
        for layer in layers:
            lie_by_columns(layer.weight)

    def _scaled(self, values: Tensor, columns: Any) -> Tensor:
        raise NotImplementedError


class SparseCast(_KeepsZeros, Cast):
    """Changes the dtype and nothing else."""

    def _scaled(self, values: Tensor, columns: Any) -> Tensor:
        return values.to(self.dtype)


class SparseScale(_KeepsZeros):
    """Scales features and does not centre them.

    Parameters
    ----------
    inverse_scale : Tensor of shape (n_features,)
        What values are multiplied by.
    dtype : torch.dtype
        Of the computation.
    """

    def __init__(self, inverse_scale: Tensor, dtype: torch.dtype) -> None:
        super().__init__(dtype)
        self.register_buffer("inverse_scale", inverse_scale)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor takes beside the dtype."""
        return {"inverse_scale": self.inverse_scale}

    def _scaled(self, values: Tensor, columns: Any) -> Tensor:
        z = (values * self.inverse_scale[columns]).to(self.dtype)
        return squeezed(z)


def _first_layers(body: nn.Module) -> list[nn.Linear]:
    """Return the linear layers that a perceptron, or each of several, begins with; else none."""
    networks = list(body.networks) if type(body) is Members else [body]
    if not all(type(network) is nn.Sequential and len(network) for network in networks):
        return []
    layers = [network[0] for network in networks]
    return layers if all(type(layer) is nn.Linear for layer in layers) else []


def prepare_sparse(
    X: CompressedRows,
    weight: np.ndarray,
    standardize: Any,
    device: torch.device,
    dtype: torch.dtype,
    shards: Alone = ALONE,
) -> SparseCast | SparseScale:
    """Return what prepares sparse rows, with statistics of these; ``standardize`` as in Encoder."""
    if standardize is False:
        return SparseCast(dtype)
    if standardize is not True:
        raise ValueError(
            f"standardize={standardize!r} is per channel of images, and X has sparse rows: pass "
            "True or False."
        )
    _, scale = ScaleSummary.of(X, weight, shards).centre_and_scale()
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 0)
    return SparseScale(to_tensor(inverse, device, exact), dtype)


class ScaleSummary(NamedTuple):
    """What is kept of rows so that the scale of those of later calls can be added.

    ``magnitude``, ``count`` (n_features,): of a column's values other than 0, the sum of their
    magnitudes and that of their rows' weights, which are 1 in the mean.
    """

    magnitude: np.ndarray
    count: np.ndarray

    @classmethod
    def of(cls, X: Any, weight: np.ndarray, shards: Alone = ALONE) -> ScaleSummary:
        """Return the summary of rows, sparse or dense, which count by their weights.

        Those of other ``shards`` count as well.
        """
        magnitude, count = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        share = weight * (shards.count(len(weight)) / sum(shards.gather(weight.sum())))
        for start in range(0, len(X), _ROWS):
            block = X[start : start + _ROWS]
            block = block.csr if isinstance(block, CompressedRows) else csr_array(block)
            of_each = np.repeat(share[start : start + _ROWS], np.diff(block.indptr))
            values, columns = np.abs(block.data.astype(np.float64)), block.indices
            with np.errstate(over="ignore"):  # the scale is infinite then, and its inverse 0
                np.add.at(magnitude, columns, values * of_each)
            np.add.at(count, columns, np.where(values > 0, of_each, 0))
        return cls(shards.total(magnitude), shards.total(count))

    @classmethod
    def assumed(cls, scale: np.ndarray, newer: ScaleSummary) -> ScaleSummary:
        """Return a summary that a scale may have come from, of as many values as a newer one's."""
        count = np.where(scale > 0, np.maximum(newer.count, 1), 0)
        return cls(scale * _TYPICAL * count, count)

    def merged(self, newer: ScaleSummary, seed: int) -> ScaleSummary:
        """Return the summary of the rows of both."""
        return ScaleSummary(*(a + b for a, b in zip(self, newer, strict=True)))

    def centre_and_scale(self) -> tuple[np.ndarray, np.ndarray]:
        """Return zeros, and what each column is divided by; 0 of one that holds zeros alone."""
        scale = self.magnitude / np.where(self.count > 0, self.count, 1) / _TYPICAL
        scale[scale < np.finfo(np.float64).tiny] = 0  # it has no inverse
        return np.zeros_like(scale), scale
