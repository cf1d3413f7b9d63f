"""Whether numbers are sound: before training, after an epoch, and in what a model returns."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.linalg import vecdot

from skhug._data.prepare import Standardize
from skhug._data.sources import Source
from skhug._data.sparse_prepare import SparseScale
from skhug._device import to_tensor
from skhug._model.embedding import Output, device_of, embed_blocks
from skhug._model.sphere_encoder import SphereEncoder
from skhug._sparse import CompressedRows
from skhug._sphere import widened
from skhug._torch import BatchNorm
from skhug._training.objective import Objective
from skhug._training.state import TrainingState
from skhug.encoders._probing import evaluate

__all__ = ["Probe", "preflight", "sound_blocks"]

# How far the length of an embedding may be from 1, rounding included.
_SLACK = 1e-3


class Probe:
    """A few training rows, by which finite weights are told from those that give nothing finite.

    Weights of 1e15 are finite, and what three layers of them make of a row is not.

    Parameters
    ----------
    objective : Objective
        In training.
    X : ndarray or Source of shape (n, ...)
        Raw rows, of which the first and those with the largest and the smallest value are taken.
    """

    def __init__(self, objective: Objective, X: np.ndarray | Source) -> None:
        self.objective = objective
        self.X = X

    @cached_property
    def rows(self) -> Tensor:
        """The rows, prepared; taken when they are first needed, which is seldom."""
        encoder = self.objective.encoder
        with torch.no_grad():
            return encoder.prepare(to_tensor(self.telling_rows(), device_of(encoder)))

    def telling_rows(self) -> np.ndarray:
        """Return raw rows whose embeddings are the likeliest to overflow, if that is cheap."""
        X, index = self.X, {0, len(self.X) - 1}
        cheap = not isinstance(X, (Source, CompressedRows)) and X.dtype != np.uint8
        if cheap and not self.bounded:
            axes = tuple(range(1, X.ndim))
            index |= {int(X.max(axis=axes).argmax()), int(X.min(axis=axes).argmin())}
        return X[np.array(sorted(index))]

    @property
    def bounded(self) -> bool:
        """Whether the body is given small numbers whatever the rows are."""
        return isinstance(self.objective.encoder.prepare, (SparseScale, Standardize))

    def __call__(self) -> bool:
        """Whether rows and proxies can be projected to the sphere; waits for the device."""
        features = widened(evaluate(self.objective.encoder.body, self.rows))
        proxies = self.objective.proxies.detach()
        numbers = [features, *([proxies] if isinstance(proxies, Tensor) else [])]
        return all(bool(vecdot(points, points).isfinite().all()) for points in numbers)


def preflight(state: TrainingState, X: np.ndarray | Source, least_rows: int) -> None:
    """Refuse what could not be trained, before it is tried, and give the state its probe.

    Parameters
    ----------
    state : TrainingState
        About to be trained.
    X : ndarray or Source of shape (n, ...)
        Its raw rows.
    least_rows : int
        Rows of the smallest batch.

    Raises
    ------
    ValueError
        If the untrained encoder gives nothing finite for some rows, or cannot take a batch of so
        few, or the between-class term of fixed proxies is not finite.
    """
    objective = state.objective
    state.probe = probe = Probe(objective, X)
    dtype = str(objective.proxies.dtype).removeprefix("torch.")
    between, measure = objective.fixed_between, objective.loss.uniformity
    if between is not None and not bool(between.isfinite()):
        raise ValueError(
            f"uniformity={measure}: the between-class term of the {len(objective.proxies)} fixed "
            f"proxies is not finite in {dtype}. Choose a gentler measure such as 'mhe' with its "
            "defaults, raise n_components, or set precision='float64'."
        )
    if least_rows == 1 and not _trains_on_one_row(objective.encoder.body, probe):
        raise ValueError(
            "The encoder normalises over the batch, and a batch has 1 row: raise batch_size, pass "
            "2 rows or more, or leave batch normalisation out."
        )
    if not (objective.encoder.spec is not None and probe.bounded) and not probe():
        rows = probe.telling_rows()
        raise ValueError(
            f"The encoder gives nothing finite in {dtype} for rows with values from "
            f"{rows.min():.3g} to {rows.max():.3g}: scale the features, for instance with "
            "StandardScaler in a Pipeline, or set precision='float64'."
        )


def _trains_on_one_row(body: nn.Module, probe: Probe) -> bool:
    """Whether no batch normalisation refuses a single row, which it takes if that is an image."""
    if not any(isinstance(layer, BatchNorm) for layer in body.modules()):
        return True
    try:
        with torch.no_grad():
            copy.deepcopy(body).train()(probe.rows[:1])
    except ValueError:
        return False
    return True


def sound_blocks(
    encoder: SphereEncoder, X: np.ndarray | Source, output: Output = SphereEncoder.forward
) -> Iterator[Tensor]:
    """Yield the embeddings of consecutive rows, all of them unit vectors, or zero as the body's.

    Those inside the ball are no longer than 1.

    Raises
    ------
    ValueError
        If an embedding is not: a user's module may overflow where training did not.
    """
    on_sphere = output is SphereEncoder.forward or encoder.on_sphere
    start = 0
    for block in embed_blocks(encoder, X, output):
        # Exact enough that one row of another length shows; the cheap look at all rows.
        exact = None if block.device.type == "mps" else torch.float64
        length = float(torch.linalg.vector_norm(block, dtype=exact))
        if not abs(length**2 - len(block)) < _SLACK:
            _check_rows(block, start, on_sphere)
        start += len(block)
        yield block


def _check_rows(block: Tensor, start: int, on_sphere: bool) -> None:
    """Name the first row, counted from ``start``, that is neither zero nor as long as it should."""
    length = torch.linalg.vector_norm(block, dim=1)
    near = length < 1 + _SLACK
    if on_sphere:
        near &= (length == 0) | (length > 1 - _SLACK)
    if not bool(near.all()):
        row = start + int((~near).nonzero()[0])
        raise ValueError(
            f"The encoder gives no unit vector for row {row}: its values are too large or too "
            "small for the module, or too far from those of the training. Scale or clip the "
            "features."
        )
