"""What a head on vectors starts from: a closed form of all rows."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from skhug._data.class_moments import FoldMoments
from skhug._data.folds import NO_FOLD, assign_folds, deal_shard
from skhug._data.prepare import Whiten
from skhug._data.rows import Rows
from skhug._defaults import Settings
from skhug._device import to_numpy, to_tensor
from skhug._model.calibration import calibration_rows
from skhug._model.discriminant import (
    SHRINKAGES,
    Discriminant,
    choose,
    discriminant,
    typical,
    whitening,
)
from skhug._model.sphere_encoder import SphereEncoder
from skhug._parameters import SHORTHANDS

__all__ = ["VectorStart"]

# Folds of the rows, and of fewer than so many rows.
_FOLDS, _FOLDS_OF_FEW, _FEW_ROWS = 10, 5, 50
# Numbers in the sums of all classes and folds: 256 MiB.
_NUMBERS = 1 << 25
# Of search where nothing is given.
_SHRINKAGE = 0.1


class VectorStart:
    """The closed form that an encoder for vectors starts from.

    Parameters
    ----------
    settings : Settings
        With :class:`~skhug.encoders.Vectors` as the encoder, its head settled.
    rows : Rows
        To train on.
    n_classes : int
        Of them.

    Raises
    ------
    ValueError
        If the rows or the parameters do not suit the encoder.
    """

    def __init__(self, settings: Settings, rows: Rows, n_classes: int) -> None:
        spec = settings.encoder
        if rows.expand is not None:
            raise ValueError(
                "Vectors takes rows of numbers, and X has gaps or columns of levels: impute and "
                "encode them in front, or pass encoder='mlp', which takes them."
            )
        self.settings, self.spec = settings, spec
        self.rows = rows._replace(weight=settings.counts(rows))
        self.folds = self._deal(n_classes) if self._chooses else np.zeros(len(rows.y), np.int64)
        # An integer weight is as many rows, whatever it was divided by.
        count = rows.weight / min(rows.shards.gather(rows.weight.min()))
        self.moments = FoldMoments.of(
            rows.X, rows.y, self.rows.weight, n_classes, self.folds, count, rows.shards
        )

    @property
    def _chooses(self) -> bool:
        """Whether rows are left out: even a given shrinkage has its sharpness."""
        return self.spec.head == "discriminant"

    def _deal(self, n_classes: int) -> np.ndarray:
        """Return the fold of each row from 1; 0 is of rows that are never left out."""
        rows = self.rows
        most = _FOLDS if rows.n_all >= _FEW_ROWS else _FOLDS_OF_FEW
        width = rows.X.shape[1]
        most = min(most, _NUMBERS // (width * (width + n_classes)))
        deal = assign_folds if rows.shards.size == 1 else deal_shard
        folds = deal(rows, most, lambda X: X) if most > 1 else None
        return np.zeros(len(rows.y), np.int64) if folds is None else folds - NO_FOLD

    def encoder(self) -> SphereEncoder:
        """Return the module: rows centred and, for search, whitened; the body is at zero."""
        settings, width = self.settings, self.settings.n_components
        shape = self.rows.X.shape[1:]
        moments, matrix = self.moments.without(), None
        device, dtype = settings.device, settings.dtype
        if self.spec.head == "search":
            if width > shape[0]:
                raise ValueError(
                    f"n_components={width}, and the vectors have {shape[0]} values: pass at most "
                    "so many, or None for all of them."
                )
            shrinkage = _SHRINKAGE if self.spec.shrinkage is None else float(self.spec.shrinkage)
            matrix = whitening(moments, shrinkage, float(self.spec.power), width)
            matrix = to_tensor(matrix, device, dtype)
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        prepare = Whiten(to_tensor(moments.centre, device, exact), dtype, matrix)
        prepare.per_batch = self.rows.X.dtype == np.uint8
        body = self.spec.build(prepare.output_shape(shape), width).to(device=device, dtype=dtype)
        rebuilt = self.spec if type(self.spec) in SHORTHANDS["encoder"].values() else None
        return SphereEncoder(prepare, body, shape, width, rebuilt)

    def aim(self, encoder: SphereEncoder, proxies: Tensor) -> None:
        """Set the discriminant's weights, so that products with the proxies are its scores.

        Of a simplex, and of all proxies that lie as freely, they are up to what is common to the
        classes, which decides nothing. Of proxies in fewer dimensions they come as near as they
        can.

        Parameters
        ----------
        encoder : SphereEncoder
            Of :meth:`encoder`; that of search stays as it is.
        proxies : Tensor of shape (n_classes, n_components)
            Unit rows.
        """
        if self.spec.head == "search":
            return
        moments, chosen = self.moments.without(), self._chosen()
        weights, bias = discriminant(moments, chosen.shrinkage)
        weights, bias = chosen.sharpness * weights, chosen.sharpness * bias
        bias = bias + np.log(moments.shares)
        points = to_numpy(proxies).astype(np.float64)
        inverse = np.linalg.pinv(points - points.mean(0))
        weights, bias = inverse @ (weights - weights.mean(0)), inverse @ (bias - bias.mean())
        with torch.no_grad():
            encoder.body.weight.copy_(torch.from_numpy(weights))
            encoder.body.bias.copy_(torch.from_numpy(bias))
        # Outputs of a usual length lie halfway between the middle of the ball and the sphere.
        spread = np.einsum("kd,de,ke->", weights, moments.total, weights) + bias @ bias
        encoder.softness = float(spread) or 1.0

    def _chosen(self) -> Discriminant:
        given = self.spec.shrinkage
        guess = typical(self.rows.X.shape[1])
        if given is not None:
            guess = guess._replace(shrinkage=float(given))
        shards, left_out = self.rows.shards, np.flatnonzero(self.folds)
        n_left_out = shards.count(len(left_out))
        if not n_left_out:
            return guess
        drawn = calibration_rows(n_left_out, self.moments.weight.shape[1])
        drawn = left_out[shards.own(drawn, len(left_out))]
        some = self.rows.take(drawn)
        shrinkages = SHRINKAGES if given is None else (guess.shrinkage,)
        told = np.asarray(some.X[:], np.float64), some.y, some.weight, self.folds[drawn]
        return choose(self.moments, *map(shards.join, told), shrinkages)
