"""The file format of models and checkpoints: arrays and JSON, checked as a whole, no code.

A file is a safetensors file, so that other tools read its arrays too. Its metadata holds a JSON
header, the version of the format and a SHA-256 of all bytes of the file, taken with zeros in the
checksum's own place.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import secrets
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

__all__ = ["FORMAT", "pack", "read_archive", "replace_file", "temporary_files", "unpack"]

# Raised with every change after which older versions of skhug would misread a file.
FORMAT = 2
_NO_CHECKSUM = "0" * 64
# Quotes inside the JSON header are escaped, so that this occurs nowhere else.
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
# What parsers raise for bytes that are not what they should be.
_MALFORMED = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError)


def pack(kind: str, header: Any, arrays: dict[str, np.ndarray]) -> bytearray:
    """Return the bytes of a file.

    Parameters
    ----------
    kind : str
        What it holds; a reader asks for it.
    header : object
        Anything that JSON holds.
    arrays : dict of ndarray
        Of numbers or booleans.
    """
    metadata = {
        "skhug": kind,
        "format": str(FORMAT),
        "sha256": _NO_CHECKSUM,
        "header": json.dumps(header, allow_nan=False),
    }
    data = bytearray(save({k: np.asarray(a, order="C") for k, a in arrays.items()}, metadata))
    start, stop = _CHECKSUM.search(data).span(1)
    data[start:stop] = hashlib.sha256(data).hexdigest().encode()
    return data


def unpack(data: bytes, kind: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Return header and arrays of :func:`pack`, of this version of the format or an older one.

    Raises
    ------
    ValueError
        If the bytes are anything else, or not all as they were written, with what to do.
    """
    try:
        length = 8 + int.from_bytes(data[:8], "little")
        metadata = json.loads(data[8:length])["__metadata__"]
        found, version = metadata["skhug"], int(metadata["format"])
    except _MALFORMED:
        raise ValueError(
            "it is no file of skhug's, or its beginning is damaged: pass one that "
            "estimator.save(path) wrote."
        ) from None
    if version not in _READERS:
        raise ValueError(
            f"it has version {version} of the format, and this version of skhug reads up to "
            f"{FORMAT}: update skhug."
        )
    try:
        header, arrays = _READERS[version](data, length, metadata)
    except _MALFORMED as error:
        raise ValueError(
            f"it is not as it was written ({error}): take another copy of the file, or save the "
            "model again."
        ) from None
    if found != kind:
        raise ValueError(f"it holds a {found} and no {kind}: pass the file of a {kind}.")
    return header, arrays


def _read_2(data: bytes, length: int, metadata: Any) -> tuple[Any, dict[str, np.ndarray]]:
    places = [match.span(1) for match in _CHECKSUM.finditer(data, 0, length)]
    if len(places) != 1:
        raise ValueError("no checksum")
    ((start, stop),) = places
    view = memoryview(data)
    digest = hashlib.sha256(view[:start])
    digest.update(_NO_CHECKSUM.encode())
    digest.update(view[stop:])
    if digest.hexdigest() != bytes(view[start:stop]).decode():
        raise ValueError("its checksum is another")
    return json.loads(metadata["header"]), load(bytes(data))


def _read_1(data: bytes, length: int, metadata: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Read a file whose classifier's probabilities had no cut-off yet."""
    header, arrays = _read_2(data, length, metadata)
    if header.get("class") == "HUGClassifier":
        header["attributes"]["cutoff_"] = 0.0
    return header, arrays


# Version of the format to what reads it: (all bytes, length of the head, metadata).
_READERS = {1: _read_1, 2: _read_2}


def read_archive(path: str | os.PathLike, kind: str) -> tuple[Any, dict[str, np.ndarray]]:
    """Return header and arrays of a file.

    Raises
    ------
    OSError
        If the file cannot be read.
    ValueError
        If it is no such file or was damaged.
    """
    try:
        return unpack(Path(path).read_bytes(), kind)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r} cannot be loaded: {error}") from None


def replace_file(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all: until the new one is on disk, the old one stays.

    Raises
    ------
    OSError
        If it cannot be written; nothing is left behind then.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            _sync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _sync_folder(path.parent)


def temporary_files(path: Path) -> list[Path]:
    """Return what processes killed inside :func:`replace_file` of this path have left."""
    return list(path.parent.glob(f".{path.name}.*.tmp"))


def _sync(descriptor: int) -> None:
    os.fsync(descriptor)


def _sync_folder(folder: Path) -> None:
    """Make a file's new name last through a loss of power, where the system can."""
    with suppress(OSError):  # Windows opens no folders
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            _sync(descriptor)
        finally:
            os.close(descriptor)
