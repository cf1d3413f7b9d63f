"""Where and in what precision to compute, and the crossings between NumPy and the device."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._guesses import advice_on_value
from skhug._sparse import CompressedRows, SparseRows

# float64 input is computed in float64 up to this many elements, beyond it in float32.
FLOAT64_ELEMENTS = 4_000
# Operations of a step below which a GPU spends it on launching kernels, and above on products.
LAUNCH_BOUND_FLOPS = 1e10
# Precision to the dtype of parameters and outputs: bfloat16 is for products in training only.
PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.float32,
    "float64": torch.float64,
}

# What a device is usually called.
_DEVICES = ("auto", "cpu", "cuda", "mps")


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device to compute on: "auto" is cuda, then mps, then cpu.

    Raises
    ------
    ValueError
        If it is no torch device, or this machine has none such.
    """
    if isinstance(device, str) and device == "auto":
        return torch.device(next(iter(_accelerators()), "cpu"))
    try:
        resolved = torch.device(device)
    except RuntimeError as error:
        raise ValueError(
            f"device={device!r} is no torch device: pass 'auto', 'cpu', 'cuda' or 'cuda:0'. "
            + advice_on_value("device", device, _DEVICES.__contains__, _DEVICES)
        ) from error
    try:
        torch.empty(0, device=resolved)
    except (AssertionError, NotImplementedError, RuntimeError) as error:
        there = ", ".join(map(repr, ["cpu", *_accelerators()]))
        raise ValueError(
            f"device={str(device)!r} is not available here: pass 'auto' or one of {there}. torch "
            f"{torch.__version__} says: {error}"
        ) from error
    return resolved


def _accelerators() -> list[str]:
    """Names of the devices that torch can use beside the CPU, best first."""
    names = ["cuda"] if torch.cuda.is_available() else []
    names += [f"cuda:{i}" for i in range(torch.cuda.device_count())] if names else []
    return names + ["mps"] * torch.backends.mps.is_available()


def resolve_dtype(
    precision: str, X: np.ndarray, device: torch.device, n_rows: int | None = None
) -> torch.dtype:
    """Return the dtype of parameters and outputs; see the ``precision`` of the estimators.

    ``n_rows`` are those of all processes, where X is a shard.
    """
    if precision != "auto":
        return PRECISIONS[precision]
    small = (n_rows or X.shape[0]) * math.prod(X.shape[1:]) <= FLOAT64_ELEMENTS
    if X.dtype == np.float64 and small and device.type != "mps":  # MPS has no float64
        return torch.float64
    return torch.float32


def has_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 at its full speed."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= (8, 0)


def allows_tf32(precision: str) -> bool:
    """Whether a ``precision`` lets products be rounded to TF32, the factors to 10 bits.

    ``"float32"`` and ``"float64"`` mean what they say.
    """
    return precision in ("auto", "bfloat16")


@contextmanager
def tf32(allowed: bool, device: torch.device) -> Iterator[None]:
    """Allow or forbid TF32 inside, and leave torch's settings as they were."""
    if device.type != "cuda":
        yield
        return
    before = list(_read_tf32_settings())
    torch.backends.cuda.matmul.allow_tf32 = allowed
    torch.backends.cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        for place, name, value in before:
            setattr(place, name, value)


def _read_tf32_settings() -> Iterator[tuple[Any, str, Any]]:
    """Yield (where, name, value): the flags, then the finer names that torch has since 2.9."""
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    places = [(matmul, "allow_tf32"), (cudnn, "allow_tf32")]
    if hasattr(cudnn, "conv"):
        places += [(place, "fp32_precision") for place in (matmul, cudnn.conv, cudnn.rnn)]
    for place, name in places:
        # A flag cannot be read where the finer names were set to what it cannot express.
        with suppress(RuntimeError):
            yield place, name, getattr(place, name)


def to_tensor(array: Any, device: torch.device, dtype: torch.dtype | None = None) -> Any:
    """Take an array to the device, without a copy where none is needed.

    The one crossing from NumPy. Fortran order and negative strides become C order; a read-only
    array is copied, since torch cannot promise not to write to it. Compressed rows become
    :class:`~skhug._sparse.SparseRows`, all else a tensor.
    """
    if isinstance(array, CompressedRows):
        values, *places = array.parts
        places = (to_tensor(part, device, torch.int64) for part in places)
        return SparseRows(to_tensor(values, device), *places, array.shape[1])
    array = np.ascontiguousarray(array)
    if not array.flags.writeable:
        array = array.copy()
    return torch.from_numpy(array).to(device=device, dtype=dtype)


def to_numpy(tensor: Tensor) -> np.ndarray:
    """Bring a tensor back: the one crossing to NumPy."""
    return tensor.detach().cpu().numpy()


def free_memory(device: torch.device) -> None:
    """Give back what torch's allocator keeps for later."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
