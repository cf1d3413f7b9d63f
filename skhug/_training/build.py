"""From an estimator's parameters and data to an objective ready to train."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor, nn

from skhug._data.feature_scale import centre_and_scale
from skhug._data.image_layout import Layout, channel_statistics
from skhug._data.prepare import Cast, NormalizeImages, Prepare, Standardize
from skhug._data.rows import Rows
from skhug._device import to_numpy, to_tensor
from skhug._model.calibration import calibration_rows
from skhug._model.embedding import device_of, raw_blocks
from skhug._model.sphere_encoder import SphereEncoder
from skhug._parameters import default_components, expand, expand_encoder
from skhug._sphere import unit
from skhug._training.objective import Objective
from skhug.encoders import Encoder
from skhug.encoders._encoder import build_body, checked_softness
from skhug.encoders._pretrained import BUILT_IN_ENCODERS
from skhug.encoders._probing import evaluate, output_width
from skhug.losses import MHE, MHS, HUGLoss
from skhug.proxies import Learned, optimal_proxies, random_proxies
from skhug.proxies._assignment import MOST_CLASSES, similar_to_near

# Features that tell which classes are alike.
_CENTRE_FEATURES = 4096


def class_weights(
    class_weight: Any, y: np.ndarray, weight: np.ndarray, classes: Any, drawn: int
) -> np.ndarray:
    """Return the weights of the classes' means, of mean 1.

    They act between class means: a weight inside a class's own mean would cancel. ``"balanced"``
    makes up for the batches of ``drawn`` rows in which a class does not occur; 0 is for batches
    that know of the classes.
    """
    if isinstance(class_weight, str):  # "balanced", by the weights and not the rows
        total = np.bincount(y, weight, len(classes))
        known = total > 1e-300 * total.max()  # declared classes may have no row yet
        values = np.where(known, 1.0, 0.0)
        if drawn:
            # 1 - (1 - share)^drawn, exact for the smallest shares too.
            share = np.minimum(total / total.sum(), 1 - 1e-12)
            occurs = -np.expm1(drawn * np.log1p(-share))
            np.divide(values, occurs, out=values, where=known)
        return values / values[known].mean()
    values = compute_class_weight(class_weight, classes=classes, y=classes[y])
    if not (np.all(values >= 0) and values.sum() > 0):
        raise ValueError(
            f"class_weight={class_weight!r}: weights must be 0 or more, one of them above 0."
        )
    return values / values.mean()


def build_encoder(
    encoder: Any,
    n_components: int | None,
    n_classes: int,
    X: np.ndarray,
    weight: np.ndarray,
    device: torch.device,
    dtype: torch.dtype,
) -> SphereEncoder:
    """Return the module of an ``encoder`` parameter on its device, weights newly drawn.

    Raises
    ------
    ValueError
        If the module's output does not fit ``n_components``.
    """
    shape, spec = X.shape[1:], None
    encoder = expand_encoder(encoder, shape)
    if isinstance(encoder, Encoder):
        spec = encoder
    layout = Layout.of_rows(shape, spec.image_shape if spec else None)
    standardize = spec.standardize if spec else False
    width = default_components(n_classes) if n_components is None else n_components
    taken = layout.channels_first if layout else shape
    body = build_body(encoder, taken, width)
    body = body.to(device=device, dtype=dtype)
    if layout is None:
        prepare = _prepare_rows(X, weight, standardize, device, dtype)
    else:
        prepare = _prepare_images(X, weight, layout, standardize, dtype).to(device)
    if spec is None:
        with torch.no_grad():
            width = output_width(body, prepare(to_tensor(X[:2], device)))
        if n_components not in (None, width):
            raise ValueError(
                f"the encoder returns {width} columns and n_components={n_components}: wrap it "
                f"as Pretrained(module), which gives it a last layer of {n_components} outputs, "
                "or leave n_components=None."
            )
    rebuilt = clone(spec) if type(spec) in BUILT_IN_ENCODERS else None
    softness = checked_softness(spec, taken) if spec else 0.0
    return SphereEncoder(prepare, body, shape, width, rebuilt, softness)


def _prepare_rows(
    X: np.ndarray, weight: np.ndarray, standardize: Any, device: torch.device, dtype: torch.dtype
) -> Prepare:
    if standardize is False:
        prepare = Cast(dtype)
    elif standardize is True:
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        centre, scale = (to_tensor(s, device, exact) for s in centre_and_scale(X, weight))
        prepare = Standardize(centre, torch.where(scale > 0, 1 / scale, 0), dtype)
    else:
        raise ValueError(
            f"standardize={standardize!r} is per channel of images, and X has flat rows: pass "
            "True or False, or say how to read a row by image_shape."
        )
    prepare.per_batch = X.dtype == np.uint8
    return prepare


def _prepare_images(
    X: np.ndarray, weight: np.ndarray, layout: Layout, standardize: Any, dtype: torch.dtype
) -> NormalizeImages:
    channels = layout.channels_first[0]
    if standardize is True:
        mean, std = channel_statistics(X, weight, layout)
    elif standardize is False:
        mean, std = np.zeros(channels), np.ones(channels)
    else:
        mean, std = (np.asarray(a, dtype=np.float64) for a in standardize)
        if not mean.shape == std.shape == (channels,) or not np.all(std > 0):
            raise ValueError(
                f"standardize={standardize!r}: pass (mean, std) with {channels} number"
                f"{'s' * (channels > 1)} each, one a channel, the deviations above 0."
            )
    inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return NormalizeImages(layout.shape, torch.as_tensor(mean), torch.as_tensor(inverse), dtype)


def initial_proxies(
    proxies: Any, uniformity: Any, n_classes: int, encoder: SphereEncoder, rows: Rows, seed: int
) -> Tensor:
    """Return the proxies that a ``proxies`` parameter fixes or starts from, for these rows.

    Raises
    ------
    ValueError
        If an array of proxies has another shape, or a row that points nowhere.
    """
    proxies, uniformity = expand("proxies", proxies), expand("uniformity", uniformity)
    n_components = encoder.n_components
    if isinstance(proxies, str):  # "optimal"
        by_separation = isinstance(uniformity, MHS)
        s = uniformity.s if isinstance(uniformity, MHE) else 2.0
        points = optimal_proxies(
            n_classes, n_components, s, by_separation=by_separation, random_state=seed
        )
        return place_classes(points, encoder, rows, seed)
    if isinstance(proxies, Learned):
        return random_proxies(n_classes, n_components, random_state=seed)
    array = np.asarray(proxies, dtype=np.float64)
    if array.shape != (n_classes, n_components):
        raise ValueError(
            f"proxies has shape {array.shape}: pass one row for each of the {n_classes} classes "
            f"and one column for each of the {n_components} components."
        )
    if not (np.isfinite(array).all() and array.any(axis=1).all()):
        raise ValueError("proxies must be finite and no row may be zero: it points nowhere.")
    # Each by its largest number first: squares of 1e-200 or 1e200 are none.
    return unit(torch.as_tensor(array / np.abs(array).max(axis=1, keepdims=True)))


def place_classes(points: Tensor, encoder: SphereEncoder, rows: Rows, seed: int) -> Tensor:
    """Return the points in an order in which classes with similar rows get near ones.

    Nothing changes where all orders are alike, as those of the simplex, or too many.
    """
    n_classes, n_components = points.shape
    if not n_components + 1 < n_classes <= MOST_CLASSES:
        return points
    with np.errstate(over="ignore", invalid="ignore"):
        centres = class_centres(encoder, rows, n_classes)
    if not np.isfinite(centres).all():  # a module that takes rows as they are, of 1e308
        return points
    return points[torch.from_numpy(similar_to_near(to_numpy(points), centres, seed))]


def class_centres(encoder: SphereEncoder, rows: Rows, n_classes: int) -> np.ndarray:
    """Return the mean of each class's prepared rows, flat; without rows, the mean of the others.

    They are means over a fixed draw where there are many rows, and of every few features where
    there are many of these.
    """
    drawn = calibration_rows(len(rows.y), n_classes)
    if len(drawn) < len(rows.y):
        rows = rows.take(drawn)
    weight = rows.weight / rows.weight.max()
    count = np.bincount(rows.y, weight, minlength=n_classes)
    total, start = 0.0, 0
    for raw in raw_blocks(rows.X, encoder.prepare.block_rows, device_of(encoder)):
        with torch.no_grad():
            prepared = encoder.prepare(raw).flatten(1)
        prepared = prepared[:, :: math.ceil(prepared.shape[1] / _CENTRE_FEATURES)]
        block = slice(start, start + len(prepared))
        share = np.zeros((n_classes, len(prepared)))
        share[rows.y[block], np.arange(len(prepared))] = weight[block]
        total = total + share @ to_numpy(prepared).astype(np.float64)
        start += len(prepared)
    known = count > 0
    means = total / np.where(known, count, 1)[:, None]
    means[~known] = means[known].mean(0)
    return means


def build_objective(
    encoder: SphereEncoder,
    points: Tensor,
    proxies: Any,
    uniformity: Any,
    alpha: float,
    beta: float,
) -> Objective:
    """Join encoder, proxies and loss."""
    proxies = expand("proxies", proxies)
    learned = isinstance(proxies, Learned)
    loss = HUGLoss(
        expand("uniformity", uniformity), alpha, beta, attached=learned and proxies.attached
    )
    points = points.to(device_of(encoder), encoder.prepare.dtype)
    return Objective(encoder, points, loss, learned)


def step_flops(objective: Objective, batch_size: int) -> float:
    """Floating-point operations of a training step: three times those of the forward pass.

    Every weight counts once a row, and those of a convolution once a position. Fixed proxies
    cost nothing: a step reads the rows' own.
    """
    fixed = 0 if objective.proxies.requires_grad else objective.proxies.numel()
    weights = sum(p.numel() for p in objective.parameters()) - fixed
    return 6.0 * batch_size * (weights + _repeated_weights(objective.encoder))


_CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)


def _repeated_weights(encoder: SphereEncoder) -> int:
    """Multiplications a row that convolutions add to one for each of their weights."""
    layers = [m for m in encoder.body.modules() if isinstance(m, _CONVOLUTIONS)]
    if not layers:
        return 0
    added: list[int] = []
    handles = [
        layer.register_forward_hook(
            lambda layer, _, out: added.append(layer.weight.numel() * (out[0, 0].numel() - 1))
        )
        for layer in layers
    ]
    shape = encoder.prepare.output_shape(encoder.input_shape)
    row = torch.zeros(1, *shape, device=device_of(encoder), dtype=encoder.prepare.dtype)
    try:
        evaluate(encoder.body, row)
    finally:
        for handle in handles:
            handle.remove()
    return sum(added)
