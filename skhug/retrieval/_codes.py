"""Vectors in one byte or one bit a component, and back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from skhug._device import to_tensor
from skhug._sphere import unit
from skhug.retrieval._ranking import blocks

__all__ = ["CODINGS", "Coding"]


class Coding(NamedTuple):
    """How vectors become codes.

    ``learn(vectors)`` returns what is subtracted from all of them and from the queries, or None;
    ``encode(vectors, state)`` the codes; ``decode(codes, n_components)`` a tensor whose products
    with a query put rows in order.
    """

    learn: Callable[[np.ndarray], Any]
    encode: Callable[[np.ndarray, Any], np.ndarray]
    decode: Callable[[np.ndarray, int], Tensor]


def _to_bytes(vectors: np.ndarray, _: None) -> np.ndarray:
    codes = np.empty(vectors.shape, np.int8)
    for rows in blocks(*vectors.shape):
        block = vectors[rows]
        largest = np.abs(block).max(1, keepdims=True, initial=np.finfo(np.float32).tiny)
        np.rint(block * (127 / largest), casting="unsafe", out=codes[rows])
    return codes


def _from_bytes(codes: np.ndarray, n_components: int) -> Tensor:
    # The vectors are of length 1, and so their codes need no scale of their own.
    return unit(to_tensor(codes, torch.device("cpu"), torch.float32))


def _to_bits(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    codes = np.empty((len(vectors), -(-vectors.shape[1] // 8)), np.uint8)
    for rows in blocks(*vectors.shape):
        codes[rows] = np.packbits(vectors[rows] > centre, axis=1)
    return codes


def _from_bits(codes: np.ndarray, n_components: int) -> Tensor:
    # Zeros and ones in place of signs: products differ by what is the same for all rows.
    bits = np.unpackbits(codes, axis=1, count=n_components)
    return to_tensor(bits, torch.device("cpu"), torch.float32)


def _mean(vectors: np.ndarray) -> np.ndarray:
    return vectors.mean(0, dtype=np.float64).astype(np.float32)


# Bits a component to the coding.
CODINGS: dict[int, Coding] = {
    8: Coding(lambda vectors: None, _to_bytes, _from_bytes),
    1: Coding(_mean, _to_bits, _from_bits),
}
