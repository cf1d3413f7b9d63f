"""Where and in what precision to compute, and the crossings between NumPy and the device."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from sklearn.utils import check_random_state
from torch import Tensor

# float64 input is computed in float64 up to this many elements, beyond it in float32.
FLOAT64_ELEMENTS = 100_000
# Floating-point operations of a training step below which a second thread costs more than it gives.
_SINGLE_THREAD_FLOPS = 1e8

PRECISIONS = {"float32": torch.float32, "float64": torch.float64}

# torch's global random state belongs to the process: one fit at a time uses it.
_PROCESS_LOCK = threading.RLock()


def resolve_device(device: str | torch.device) -> torch.device:
    """Return the device to compute on: "auto" is cuda, then mps, then cpu."""
    if isinstance(device, torch.device) or device != "auto":
        try:
            return torch.device(device)
        except RuntimeError as error:
            raise ValueError(
                f"device={device!r} is no torch device: pass 'auto', 'cpu', 'cuda' or 'cuda:0'."
            ) from error
    if torch.cuda.is_available():
        return torch.device("cuda")
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


def resolve_dtype(precision: str, X: np.ndarray, device: torch.device) -> torch.dtype:
    """Return the dtype to compute in; see the ``precision`` parameter of the estimators."""
    if precision != "auto":
        return PRECISIONS[precision]
    small = math.prod(X.shape) <= FLOAT64_ELEMENTS
    if X.dtype == np.float64 and small and device.type != "mps":  # MPS has no float64
        return torch.float64
    return torch.float32


def draw_seed(random_state: int | np.random.RandomState | None) -> int:
    """Return a seed from a ``random_state`` parameter; None never touches NumPy's global state."""
    if random_state is None:
        return int(np.random.default_rng().integers(2**31))
    return int(check_random_state(random_state).randint(2**31))


def to_tensor(array: np.ndarray, device: torch.device, dtype: torch.dtype | None = None) -> Tensor:
    """Take an array to the device, without a copy where none is needed.

    The one crossing from NumPy. Fortran order and negative strides become C order; a read-only
    array is copied, since torch cannot promise not to write to it.
    """
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


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Seed torch's global generators inside, and leave them as they were.

    Initialisation, dropout and users' modules draw from the global generators, which belong to
    the process: threaded fits take turns.
    """
    devices = [device] if device.type == "cuda" else []
    with _PROCESS_LOCK, torch.random.fork_rng(devices):
        torch.manual_seed(seed)
        yield


@contextmanager
def threads_for(flops: float, device: torch.device) -> Iterator[None]:
    """Use one thread where a step of so many operations is small, as many as torch has elsewhere.

    Two threads on a step of microseconds spend their time waiting for each other.
    """
    before = torch.get_num_threads()
    single = device.type != "cpu" or flops < _SINGLE_THREAD_FLOPS
    torch.set_num_threads(1 if single else before)
    try:
        yield
    finally:
        torch.set_num_threads(before)
