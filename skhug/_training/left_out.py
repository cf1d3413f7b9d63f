"""Rows that members of an ensemble leave out, seen by those that leave them out."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.linalg import vecdot

from skhug._data.folds import NO_FOLD
from skhug._data.rows import Rows
from skhug._device import to_tensor
from skhug._model.calibration import calibration_rows
from skhug._model.embedding import device_of, raw_blocks
from skhug._sparse import SparseRows
from skhug._training.objective import Objective

__all__ = ["LeftOut"]


class LeftOut:
    """Training rows, each embedded by the member that is not trained on it.

    Where there are many, they are a fixed draw. Of shards each process embeds its own, and has
    the points of all.

    Parameters
    ----------
    objective : Objective
        In training.
    rows : Rows
        All training rows, with weights that say what each counts in the loss.
    folds : ndarray of shape (n,)
        Which member leaves which out.

    Attributes
    ----------
    y, weight : Tensor of shape (n_left_out,)
        Of the rows, those of a fold side by side.
    """

    def __init__(self, objective: Objective, rows: Rows, folds: np.ndarray) -> None:
        self._objective = objective
        device, members = device_of(objective.encoder), range(objective.encoder.n_members)
        dtype = objective.proxies.dtype
        left_out = np.flatnonzero((folds != NO_FOLD) & (rows.weight > 0))
        drawn = left_out[calibration_rows(len(left_out), len(objective.proxies))]
        by_fold = [drawn[folds[drawn] == member] for member in members]
        self._rows = [self._prepared(rows.take(part)) for part in by_fold]
        self._shards, order = rows.shards, np.concatenate(by_fold)
        self.y = to_tensor(self._shards.join(rows.y[order]), device)
        weight = self._shards.join(rows.weight[order])
        self.weight = to_tensor(weight / weight.max(), device, dtype)

    @torch.no_grad()
    def _prepared(self, rows: Rows) -> list[Tensor | SparseRows]:
        encoder = self._objective.encoder
        if not len(rows.y):
            return []
        blocks = raw_blocks(rows.X, encoder.prepare.block_rows, device_of(encoder))
        return [encoder.prepare(block) for block in blocks]

    @torch.inference_mode()
    def embeddings(self) -> Tensor:
        """Return the points in the ball as of now, shape (n_left_out, n_components)."""
        encoder = self._objective.encoder
        training = encoder.training
        if changes := training and not self._objective.has_kernel:  # which has no layer to switch
            encoder.eval()
        points = [
            encoder.on_ball(network(block))
            for network, blocks in zip(encoder.body.networks, self._rows, strict=True)
            for block in blocks
        ]
        if changes:
            encoder.train()
        none = self._objective.proxies.new_zeros(0, encoder.n_components)
        return self._shards.join(torch.cat(points or [none]))

    @torch.inference_mode()
    def score(self) -> float:
        """Return minus the mean squared distance to the rows' own proxies.

        On the ball it estimates how good the probabilities are: it is the Brier score, up to
        a factor where the proxies are a simplex.
        """
        difference = self.embeddings() - self._objective.unit_proxies()[self.y]
        return -float(self.weight @ vecdot(difference, difference) / self.weight.sum())
