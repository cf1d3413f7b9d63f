"""An interrupted fit's state on disk: written between epochs, found by the same fit."""

from __future__ import annotations

import math
import os
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from skhug._data.rows import Task
from skhug._saving.archive import pack, read_archive, replace_file, temporary_files
from skhug._saving.fingerprint import fingerprint, fingerprint_rows
from skhug._saving.json_codec import decode, encode, map_leaves
from skhug._saving.modules import full_state, load_full_state
from skhug._training.continuing import Earlier
from skhug._training.state import Choice, TrainingState
from skhug._version import __version__
from skhug.checkpoint import Checkpoint

__all__ = ["Keeper", "capture", "fingerprints", "restore"]

_KIND = "checkpoint"
# Parameters that change nothing in what is fitted.
_WITHOUT_EFFECT = ("checkpoint", "verbose")


def capture(state: TrainingState, choice: Choice | None) -> dict[str, Any]:
    """Return copies of all that a run needs to go on after an epoch, on their device."""
    device = state.objective.proxies.device
    on_cuda = device.type == "cuda"
    tree = {
        **state.progress(),
        "model": full_state(state.objective),
        "random": torch.get_rng_state(),
        "cuda_random": torch.cuda.get_rng_state(device) if on_cuda else None,
        "choice": None if choice is None else vars(choice),
    }
    return map_leaves(tree, Tensor, lambda tensor: tensor.detach().clone())


def restore(saved: dict[str, Any], state: TrainingState, choice: Choice | None) -> None:
    """Bring a new state to where :func:`capture` was called, torch's random state too."""
    state.resume(saved)
    device = state.objective.proxies.device
    with torch.no_grad():
        load_full_state(state.objective, saved["model"])
    if choice is not None:
        vars(choice).update(saved["choice"])
    torch.set_rng_state(saved["random"])
    if saved["cuda_random"] is not None:
        torch.cuda.set_rng_state(saved["cuda_random"], device)


class Keeper:
    """Keeps one fit's checkpoint: a context in which it trains.

    ``saved`` is the state that the interrupted fit left, or None; ``seeds`` are those that it
    drew, and ``done`` is set once the fit came to its end.

    Parameters
    ----------
    spec : Checkpoint
        Where and how often.
    parts : dict of str
        Fingerprints of what makes the fit this one.
    """

    def __init__(self, spec: Checkpoint, parts: dict[str, str]) -> None:
        self._spec = spec
        self._parts = parts
        self.path = Path(spec.folder) / f"skhug-{fingerprint(parts)}.safetensors"
        self._latest: dict[str, Any] | None = None
        # The first file is written as soon as there is something to lose.
        self._written_epoch, self._written_at = 0, -math.inf
        self._warned = False
        self.saved: dict[str, Any] | None = None
        self.seeds: list[int] = []
        self.done = False

    def _load(self) -> dict[str, Any] | None:
        """Return the state that an interrupted fit left; None if there is none.

        Raises
        ------
        ValueError
            If the file is that of another fit.

        Warns
        -----
        RuntimeWarning
            If the file cannot be read or is damaged: training starts from the beginning, which
            comes to the same.
        """
        try:
            header, arrays = read_archive(self.path, _KIND)
            parts, seeds = header["parts"], header["seeds"]
            saved = decode(header["state"], arrays)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            self._warn(
                f"The checkpoint is left aside ({error}): training starts from the beginning"
            )
            return None
        self._check_parts(parts)
        self.seeds, self._written_epoch = seeds, saved["epoch"]
        self._written_at = time.monotonic()
        return saved

    def _check_parts(self, found: dict[str, str]) -> None:
        if found == self._parts:
            return
        names = sorted(found.keys() | self._parts.keys())
        others = [name for name in names if found.get(name) != self._parts.get(name)]
        raise ValueError(
            f"The checkpoint {str(self.path)!r} is that of another fit, with another "
            f"{', another '.join(others)}: delete the file, or use another folder."
        )

    def end_epoch(self, state: TrainingState, choice: Choice | None) -> None:
        """Take note of the state after an epoch, and write it if it is time."""
        self._latest = capture(state, choice)
        epochs, seconds = state.epoch - self._written_epoch, time.monotonic() - self._written_at
        if epochs >= self._spec.every_epochs and seconds >= self._spec.every_seconds:
            self._write()

    def __enter__(self) -> Keeper:
        self.saved = self._load()
        return self

    def __exit__(self, *_: object) -> None:
        """Remove the file if the fit is done; else see to it that its last whole epoch is there."""
        if self.done:
            self._remove()
        elif self._latest is not None and self._latest["epoch"] > self._written_epoch:
            self._write()

    def _remove(self) -> None:
        with suppress(OSError):
            for path in (self.path, *temporary_files(self.path)):
                path.unlink(missing_ok=True)

    def _write(self) -> None:
        arrays: dict[str, np.ndarray] = {}
        try:
            state = encode(self._latest, arrays)
            header = {"parts": self._parts, "seeds": self.seeds, "state": state}
            os.makedirs(self.path.parent, exist_ok=True)
            replace_file(self.path, pack(_KIND, header, arrays))
        except (OSError, TypeError) as error:  # no space; an optimizer's state of unknown types
            self._warn(f"The checkpoint could not be written ({error}): training goes on without")
        else:
            self._written_epoch = self._latest["epoch"]
        self._written_at = time.monotonic()

    def _warn(self, text: str) -> None:
        if not self._warned:
            warnings.warn(f"{text}.", RuntimeWarning, stacklevel=2)
        self._warned = True


def fingerprints(identity: dict[str, Any], task: Task, earlier: Earlier | None) -> dict[str, str]:
    """Return what makes a fit this one, part by part; see :func:`make_keeper`."""
    rows, validation, classes = task.rows, task.validation, task.classes
    parts = {
        **{name: fingerprint(value) for name, value in identity.items()},
        "version of skhug": __version__,
        "X": fingerprint_rows(rows.X),
        "y": fingerprint([classes, rows.y]),
        "sample_weight": fingerprint(rows.weight),
    }
    for name in _WITHOUT_EFFECT:
        parts.pop(name, None)
    if validation is not None:
        parts["X_val"] = fingerprint_rows(validation.X)
        parts["y_val"] = fingerprint([validation.y, validation.weight])
    if earlier is not None:
        parts["fitted model"] = fingerprint([full_state(earlier.module), earlier.proxies])
    return parts
