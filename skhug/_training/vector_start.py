"""What a head on vectors starts from: a closed form of all rows."""

from __future__ import annotations

from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from sklearn.base import clone
from torch import Tensor

from skhug._data.class_moments import FoldMoments
from skhug._data.folds import NO_FOLD, deal_folds
from skhug._data.prepare import Whiten
from skhug._data.rows import Rows
from skhug._defaults import Settings
from skhug._device import to_numpy, to_tensor
from skhug._model.contrast import choose_strength, contrast
from skhug._model.discriminant import (
    SHRINKAGES,
    Discriminant,
    choose,
    discriminant,
    typical,
)
from skhug._model.held_out_classes import (
    RECIPES,
    USUAL,
    HeldOut,
    choose_recipe,
    deal_classes,
    hold_out,
)
from skhug._model.refinement import refined
from skhug._model.sphere_encoder import SphereEncoder
from skhug._model.whitening import Recipe, Whitening
from skhug._parameters import SHORTHANDS
from skhug._training.seen_vectors import KeptRows, SeenVectors
from skhug.losses._coefficients import row_coefficients

__all__ = ["VectorStart"]

# Folds of the rows. Of fewer than so many, repeated ones are one: with weights or repeated they
# choose alike.
_FOLDS, _FEW_ROWS = 10, 200
# Rows that are kept to choose by, at most: so many, of so many numbers, with so many scores; and
# of them those that are left out in turn.
_ROWS, _VALUES, _SCORES = 16384, 1 << 24, 1 << 21
_LEFT_OUT, _LEFT_OUT_VALUES = 4096, 1 << 22
# A discriminant is refined by so many products of a row's values with classes at most, where these
# are so many rows of each class.
_PRODUCTS, _ROWS_A_CLASS = 1 << 28, 4
# Numbers in the sums of all folds: 256 MiB.
_NUMBERS = 1 << 25
# How far squares of centred proxies may be from those of a tight frame.
_TIGHT = 1e-9


class _Search(NamedTuple):
    """The closed form of search, and what it was chosen by, empty where no class is held out."""

    whitening: Whitening
    recipe: Recipe
    held_out: list[HeldOut]


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
    before : SeenVectors, optional
        Of earlier calls of partial_fit, or of a fit.

    Raises
    ------
    ValueError
        If the rows or the parameters do not suit the encoder.
    """

    def __init__(
        self, settings: Settings, rows: Rows, n_classes: int, before: SeenVectors | None = None
    ) -> None:
        spec = settings.encoder
        if rows.expand is not None:
            raise ValueError(
                "Vectors takes rows of numbers, and X has NaN for gaps, or columns of levels: "
                "impute and encode them in front, or pass encoder='mlp', which takes them."
            )
        if rows.shards.size > 1:
            raise ValueError(
                "Vectors are solved for all rows at once, and each process has a shard: give every "
                "process all rows, a memory map for instance, with sharded=False; or pass "
                "encoder='mlp'."
            )
        self.settings, self.spec, self.rows = settings, spec, rows
        weight = settings.counts(rows)
        if settings.coefficients is not row_coefficients:  # classes alike, whatever came before
            weight = weight * (rows.weight.sum() / weight.sum())
        self.counted, width = rows._replace(weight=weight), rows.X.shape[1]
        # A stream keeps the map of its first call.
        unset = spec.strength is None and settings.max_epochs == 0
        self._chooses_strength = unset and before is None
        # Even a given shrinkage has its sharpness.
        chooses = spec.head == "discriminant"
        most = min(_ROWS, _VALUES // width, _SCORES // n_classes) if chooses else 0
        self.seen = SeenVectors.of(self.counted, rows.weight, n_classes, most, before)
        self.moments = self.seen.sums.moments()
        known = 0 if before is None else before.sums.weight
        self.new_classes = (known == 0) & (self.seen.sums.weight > 0) & (before is not None)
        self.chosen, self.change = self._choice() if chooses else (None, None)
        self.seen = self.seen.choosing(self.chosen, self.change)

    @cached_property
    def _search(self) -> _Search:
        """The closed form for search: what is given stands, the rest is chosen."""
        values = ((name, getattr(self.spec, name)) for name in Recipe._fields)
        given = {name: float(value) for name, value in values if value is not None}
        recipe, held_out = USUAL._replace(**given), []
        if len(given) < len(Recipe._fields) or self._chooses_strength:
            held_out = self._held_out()
        if len(given) < len(Recipe._fields) and held_out:
            others = list(dict.fromkeys(other._replace(**given) for other in RECIPES))
            recipe = choose_recipe(held_out, recipe, others)
        return _Search(Whitening(self.moments), recipe, held_out)

    def _held_out(self) -> list[HeldOut]:
        """Return folds of the classes, none where classes are too few or sums too large."""
        sums, rows = self.seen.sums, self.counted
        n_classes, width = sums.sums.shape
        folds = deal_classes(np.bincount(rows.y, minlength=n_classes))
        room = _NUMBERS // (width * (width + n_classes))
        if folds is None or folds.max() > room:
            return []
        moments = FoldMoments.of(
            rows.X, rows.y, rows.weight, n_classes, folds[rows.y], self.rows.weight, sums
        )
        return hold_out(moments, rows, folds)

    def encoder(self) -> SphereEncoder:
        """Return the module: rows centred and, for search, whitened; the body is at zero."""
        settings, width = self.settings, self.settings.n_components
        shape = self.rows.X.shape[1:]
        centre, matrix, spec = self.moments.centre, None, self.spec
        device, dtype = settings.device, settings.dtype
        if spec.head == "search":
            if width > shape[0]:
                raise ValueError(
                    f"n_components={width}, and the vectors have {shape[0]} values: pass at most "
                    "so many, or None for all of them."
                )
            whitening, recipe, _ = self._search
            matrix = to_tensor(whitening.matrix(recipe, width), device, dtype)
            centre = whitening.centre(recipe)
            spec = clone(spec).set_params(**recipe._asdict())
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        prepare = Whiten(to_tensor(centre, device, exact), dtype, matrix)
        prepare.per_batch = self.rows.X.dtype == np.uint8
        body = spec.build(prepare.output_shape(shape), width).to(device=device, dtype=dtype)
        rebuilt = spec if type(spec) in SHORTHANDS["encoder"].values() else None
        return SphereEncoder(prepare, body, shape, width, rebuilt)

    def draw_nearer(self, encoder: SphereEncoder) -> None:
        """Set the map of search, where nothing is to be trained and classes held out gain by it.

        Parameters
        ----------
        encoder : SphereEncoder
            Of :meth:`encoder`; that of the discriminant stays as it is.
        """
        if self.spec.head != "search" or self.settings.max_epochs > 0:
            return
        whitening, recipe, held_out = self._search
        rows, width = self.counted, encoder.n_components
        strength = self.spec.strength
        if strength is None:
            strength = choose_strength(held_out, rows, recipe, width) if held_out else 0.0
        held_out.clear()  # decompositions of wide rows are large, and have done their part
        able = np.flatnonzero(np.bincount(rows.y) > 1)
        if strength == 0 or len(able) < 2:
            return
        with torch.no_grad():
            encoder.body.weight.copy_(
                torch.from_numpy(contrast(whitening, rows, able, recipe, width))
            )
        _set_strength(encoder, float(strength))

    def continued(self, module: SphereEncoder) -> SphereEncoder:
        """Return :meth:`encoder` with what training learned of a fitted module.

        Leading directions have no sign of their own, and like ones no order: they are turned as
        near to the former as they come, which the map was learned on.
        """
        encoder = self.encoder()
        if self.spec.head == "search":
            former, matrix = module.prepare.matrix, encoder.prepare.matrix
            with torch.no_grad():
                if former.shape[0] > former.shape[1]:
                    left, _, right = torch.linalg.svd(matrix.T @ former, full_matrices=False)
                    matrix.copy_(matrix @ (left @ right))
                encoder.body.weight.copy_(module.body.weight)
            if self.spec.strength is None and module.spec and module.spec.strength is not None:
                _set_strength(encoder, module.body.strength)
        return encoder

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
        weights, bias = discriminant(self.moments, self.chosen or self._guess())
        if self.change is not None:
            added = self.change[:, :-1]
            weights, bias = weights + added, bias + self.change[:, -1] + added @ self.moments.centre
        inverse = _inverse(to_numpy(proxies).astype(np.float64))
        weights, bias = inverse @ (weights - weights.mean(0)), inverse @ (bias - bias.mean())
        with torch.no_grad():
            encoder.body.weight.copy_(torch.from_numpy(weights))
            encoder.body.bias.copy_(torch.from_numpy(bias))
        # Outputs of a usual length lie halfway between the middle of the ball and the sphere.
        spread = np.sum((weights @ self.moments.total) * weights) + bias @ bias
        encoder.softness = float(spread) or 1.0

    def _guess(self) -> Discriminant:
        """Return what is taken where no row is left out."""
        found = typical(self.moments)
        given = self.spec.shrinkage
        return found if given is None else found._replace(shrinkage=float(given))

    def _choice(self) -> tuple[Discriminant | None, np.ndarray | None]:
        """Return what rows left out choose, of now or of before, if these were more."""
        given, seen = self.spec.shrinkage, self.seen
        if seen.chosen is not None and len(seen.kept.y) < seen.chosen_by:
            if given is None:
                return seen.chosen, seen.change
            return seen.chosen._replace(shrinkage=float(given)), None
        n_classes = len(seen.sums.weight)
        kept = seen.kept.different() if len(seen.kept.y) < _FEW_ROWS else seen.kept
        folds = _deal(kept, n_classes)
        if folds is None:
            return seen.chosen, seen.change
        at = folds != NO_FOLD
        X, y, weight, count, _ = (a[at] for a in kept)
        X = np.asarray(X, np.float64)
        moments = FoldMoments.of(X, y, weight, n_classes, folds[at], count, seen.sums)
        shrinkages = SHRINKAGES if given is None else (float(given),)
        chosen = choose(moments, X, y, weight, folds[at], shrinkages)
        return chosen, self._refined(moments, chosen, kept, folds) if given is None else None

    @staticmethod
    def _refined(
        moments: FoldMoments, chosen: Discriminant, kept: KeptRows, folds: np.ndarray
    ) -> np.ndarray | None:
        """Return what is added to the discriminant where rows are many enough to tell."""
        n_classes, width = moments.total.sums.shape
        some = kept.places(_PRODUCTS // (n_classes * width))
        if len(some) < max(_FEW_ROWS, _ROWS_A_CLASS * n_classes):
            return None
        X = np.asarray(kept.X[some])
        X = X if X.dtype == np.float64 else X.astype(np.float32, copy=False)
        return refined(moments, chosen, X, kept.y[some], kept.weight[some], folds[some])


def _set_strength(encoder: SphereEncoder, strength: float) -> None:
    encoder.body.strength = strength
    if encoder.spec is not None:
        encoder.spec.set_params(strength=strength)


def _inverse(points: np.ndarray) -> np.ndarray:
    """Return what makes features of scores, (n_components, n_classes): products give them back."""
    points = points - points.mean(0)
    squares = points.T @ points
    scale = np.trace(squares) / len(squares)
    if scale and np.abs(squares / scale - np.eye(len(squares))).max() < _TIGHT:
        return points.T / scale  # of a simplex: no decomposition of many classes
    return np.linalg.pinv(points)


def _deal(kept: KeptRows, n_classes: int) -> np.ndarray | None:
    """Return the fold of each row, none of most where rows are many; None if none is left out."""
    width = kept.X.shape[1]
    most = min(_FOLDS, _NUMBERS // (width * (width + n_classes)))
    some = kept.places(min(_LEFT_OUT, _LEFT_OUT_VALUES // width))
    if most < 2 or not len(some):
        return None
    rows = Rows(kept.X[some], kept.y[some], kept.weight[some])
    dealt = deal_folds(rows, most, lambda X: X)
    if dealt is None:
        return None
    folds = np.full(len(kept.y), NO_FOLD)
    folds[some] = dealt
    return folds
