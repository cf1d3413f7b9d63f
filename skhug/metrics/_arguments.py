"""What users hand to the metrics, checked and taken to tensors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._labels import _kind_of, check_no_gaps, check_one_kind
from skhug._sparse import is_sparse


def as_points(points: Any, name: str) -> Tensor:
    """Return finite rows in at least float32, on the device they came on.

    Raises
    ------
    ValueError
        If they are sparse, not two-dimensional, empty or not finite.
    """
    if is_sparse(points):
        raise ValueError(
            f"{name} is sparse, and only the search for neighbours (retrieval_report, recall_at_k "
            "and their kind) and verification_report take sparse rows: pass what transform "
            "returns, or .toarray()."
        )
    if not isinstance(points, Tensor):
        points = torch.from_numpy(_as_numbers(points, name))
    points = points.detach()
    if points.is_complex():
        raise ValueError(f"{name} is complex: pass real numbers, such as its absolute values.")
    if not points.is_floating_point() and points.element_size() > 2 and points.device.type != "mps":
        points = points.double()  # float32 holds whole numbers up to 2^24 alone
    elif not points.is_floating_point() or points.dtype in (torch.float16, torch.bfloat16):
        points = points.float()
    if points.ndim != 2 or len(points) == 0:
        raise ValueError(f"{name} has shape {tuple(points.shape)}: pass (n_samples, n_components).")
    if not points.isfinite().all():
        raise ValueError(f"{name} has NaN or infinite values: remove those rows.")
    return points


def _as_numbers(points: Any, name: str) -> np.ndarray:
    """Return an array that torch takes, of numbers that came as objects too."""
    points = np.require(points, requirements=["C", "W"])
    if points.dtype.kind in "biufc":
        return points
    try:
        return points.astype(np.float64)  # as data frames of several dtypes are
    except (TypeError, ValueError):
        raise ValueError(
            f"{name} has dtype {points.dtype}, and not all of it are numbers: pass what transform "
            "returns."
        ) from None


def rescaled(*points: Tensor) -> tuple[Tensor, ...]:
    """Return points whose squares neither overflow nor vanish, all divided by one power of two.

    Those of an ordinary size, between 1e-9 and 1e9 at most, are returned as they are.
    """
    largest = max(max(map(abs, torch.stack(p.aminmax()).tolist())) for p in points)
    exponent = math.frexp(largest)[1]
    if largest == 0 or abs(exponent) <= 30:
        return points
    half = exponent // 2  # 2^-148 is no float32, and its root is
    return tuple(p * 2.0**-half * 2.0 ** (half - exponent) for p in points)


def as_labels(labels: Any, n: int, name: str) -> np.ndarray | Tensor:
    """Return n labels of one type, a Tensor where one was passed.

    Raises
    ------
    ValueError
        If there are not n of them, one is NaN or their types differ.
    """
    if not isinstance(labels, Tensor):
        if isinstance(labels, (list, tuple)):  # NumPy would turn [1, "a"] into strings
            check_one_kind(labels, name)
            check_no_gaps(labels, name)
        labels = np.asarray(labels)
    if tuple(labels.shape) == (n, 1):  # a data frame of one column
        labels = labels[:, 0]
    if tuple(labels.shape) != (n,):
        raise ValueError(
            f"{name} has shape {tuple(labels.shape)}: pass one label for each of {n} rows."
        )
    if isinstance(labels, np.ndarray):
        check_one_kind(labels, name)
        if labels.dtype == object:
            check_no_gaps(labels, name)
        if (labels != labels).any():
            raise ValueError(f"{name} has NaN: remove those rows.")
    elif (labels != labels).any():
        raise ValueError(f"{name} has NaN: remove those rows.")
    return labels


def as_weights(sample_weight: Any, n: int, device: torch.device) -> Tensor:
    """Return n non-negative weights, ones by default, in the widest float of the device."""
    dtype = torch.float32 if device.type == "mps" else torch.float64
    if sample_weight is None:
        return torch.ones(n, dtype=dtype, device=device)
    if not isinstance(sample_weight, Tensor):
        sample_weight = np.array(sample_weight, dtype=np.float64)
    weight = torch.as_tensor(sample_weight, dtype=dtype, device=device).detach()
    if weight.ndim == 0:  # as scikit-learn takes it
        weight = weight.expand(n)
    if weight.shape != (n,) or not ((weight >= 0) & weight.isfinite()).all():
        raise ValueError(f"sample_weight must be {n} non-negative numbers, one for each query.")
    largest = weight.max()
    return weight / largest if largest > 0 else weight  # sums of 1e308 overflow


def encode(labels: np.ndarray | Tensor) -> Tensor:
    """Number the labels from 0 in sorted order."""
    if isinstance(labels, Tensor):
        return torch.unique(labels, return_inverse=True)[1]
    return torch.from_numpy(np.unique(labels, return_inverse=True)[1])


def encode_together(a: np.ndarray | Tensor, b: np.ndarray | Tensor) -> tuple[Tensor, Tensor]:
    """Number two sets of labels alike.

    Raises
    ------
    ValueError
        If one has numbers and the other strings, which would never be equal.
    """
    a, b = (x.cpu().numpy() if isinstance(x, Tensor) else x for x in (a, b))
    kinds = [_kind_of(x[0]) for x in (a, b)]
    if kinds[0] != kinds[1]:
        raise ValueError(
            f"labels are {kinds[0]} and gallery_labels {kinds[1]}: pass labels of one type."
        )
    codes = encode(np.concatenate([a, b]))
    return codes[: len(a)], codes[len(a) :]
