"""From an estimator's parameters and data to an objective ready to train."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from sklearn.base import clone
from sklearn.utils.class_weight import compute_class_weight
from torch import Tensor

from skhug._device import to_tensor
from skhug._parameters import default_components, expand
from skhug._scaling import centre_and_scale
from skhug._training import Objective
from skhug.encoders import (
    Cast,
    Encoder,
    SphereEncoder,
    Standardize,
    build_body,
    output_width,
)
from skhug.losses import MHE, MHS, HUGLoss
from skhug.proxies import Learned, optimal_proxies, random_proxies


def class_weights(class_weight: Any, y: np.ndarray, weight: np.ndarray, classes: Any) -> np.ndarray:
    """Return the weights of the classes' means, of mean 1.

    They act between class means: a weight inside a class's own mean would cancel.
    """
    if isinstance(class_weight, str):  # "balanced", by the weights and not the rows
        values = 1 / np.maximum(np.bincount(y, weight, len(classes)), np.finfo(float).tiny)
    else:
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
    encoder = expand("encoder", encoder)
    shape = X.shape[1:]
    width = default_components(n_classes) if n_components is None else n_components
    body = build_body(encoder, shape, width).to(device=device, dtype=dtype)
    if isinstance(encoder, Encoder):
        prepare = _standardize(X, weight, device, dtype) if encoder.standardize else Cast(dtype)
        return SphereEncoder(prepare, body, shape, width, clone(encoder))
    given = output_width(body, to_tensor(X[:2], device, dtype))
    if n_components not in (None, given):
        raise ValueError(
            f"the encoder returns {given} columns and n_components={n_components}: give its "
            f"last layer {n_components} outputs, or leave n_components=None."
        )
    return SphereEncoder(Cast(dtype), body, shape, given)


def _standardize(
    X: np.ndarray, weight: np.ndarray, device: torch.device, dtype: torch.dtype
) -> Standardize:
    exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
    centre, scale = (to_tensor(s, device, exact) for s in centre_and_scale(X, weight))
    return Standardize(centre, torch.where(scale > 0, 1 / scale, 0), dtype)


def initial_proxies(
    proxies: Any, uniformity: Any, n_classes: int, n_components: int, seed: int
) -> Tensor:
    """Return the proxies that a ``proxies`` parameter fixes or starts from.

    Raises
    ------
    ValueError
        If an array of proxies has another shape, or a row that points nowhere.
    """
    proxies, uniformity = expand("proxies", proxies), expand("uniformity", uniformity)
    if isinstance(proxies, str):  # "optimal"
        by_separation = isinstance(uniformity, MHS)
        s = uniformity.s if isinstance(uniformity, MHE) else 2.0
        return optimal_proxies(
            n_classes, n_components, s, by_separation=by_separation, random_state=seed
        )
    if isinstance(proxies, Learned):
        return random_proxies(n_classes, n_components, random_state=seed)
    array = np.asarray(proxies, dtype=np.float64)
    if array.shape != (n_classes, n_components):
        raise ValueError(
            f"proxies has shape {array.shape}: pass one row for each of the {n_classes} classes "
            f"and one column for each of the {n_components} components."
        )
    if not (np.isfinite(array).all() and np.linalg.norm(array, axis=1).all()):
        raise ValueError("proxies must be finite and no row may be zero: it points nowhere.")
    return torch.as_tensor(array)


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
    parameter = next(encoder.parameters())
    return Objective(encoder, points.to(parameter), loss, learned)


def step_flops(objective: Objective, batch_size: int) -> float:
    """Floating-point operations of a training step, as for dense layers.

    Fixed proxies cost nothing: a step reads the rows' own.
    """
    fixed = 0 if objective.proxies.requires_grad else objective.proxies.numel()
    return 6.0 * batch_size * (sum(p.numel() for p in objective.parameters()) - fixed)
