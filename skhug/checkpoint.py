"""Checkpoints of a training run: where and how often."""

from __future__ import annotations

import os
from numbers import Integral, Real
from typing import Any

from skhug._configured import Configured, explained
from skhug._docs import public

__all__ = ["Checkpoint"]
__dir__ = public(globals())


class Checkpoint(Configured):
    """Keep training on disk, so that a fit that was cut off goes on where it stopped.

    The first file is written at the end of epoch ``every_epochs``, and another at the end of an
    epoch once both intervals have passed since the last one; what was trained after it is trained
    again. Each fit has a file of its own, named after a
    fingerprint of the estimator's parameters and the data, and removes it when it ends. The same
    fit started again finds it, and ends on the CPU with the weights, bit by bit, of one that was
    never cut off. Ctrl-C and errors leave the state of the last whole epoch. A search that is
    started again goes on with the fit that it was in and repeats those that had ended.

    Parameters
    ----------
    folder : str or path
        Where the files are; made if it is not there. If it cannot be written to, the fit warns
        once and goes on without.
    every_epochs : int, default=1
        Epochs between two files, at least 1.
    every_seconds : float, default=30.0
        Seconds between two files, 0 or more; the first does not wait for them.

    Notes
    -----
    The fingerprint reads all rows of up to 256 MiB (about a second); of more, or of rows that
    are streamed, their shape and dtype and some 1,000 rows spread over them; labels and weights
    whole. Functions count with their code, classes with their names: a change in a module's
    ``forward`` is not seen, so delete the folder after one. A torch module that is passed as the
    encoder counts with its weights: seed torch before you make it, so that the script makes the
    same one again. With ``random_state=None`` the seed that was drawn is in the file.

    A module's parameters and buffers and torch's random state are kept. What a module or an
    augmentation keeps elsewhere, in Python attributes or other libraries' generators, is not.

    A file holds three times the weights with AdamW, four times with ``early_stopping``. Training
    keeps as much in memory after every epoch, and three times as much while it writes.

    Examples
    --------
    >>> import tempfile
    >>> from sklearn.datasets import load_iris
    >>> from skhug import Checkpoint, HUGClassifier
    >>> folder = tempfile.mkdtemp()
    >>> model = HUGClassifier(checkpoint=Checkpoint(folder, every_seconds=5), max_epochs=3)
    >>> model.fit(*load_iris(return_X_y=True)).n_iter_
    3
    """

    @explained
    def __init__(
        self, folder: str | os.PathLike, every_epochs: int = 1, every_seconds: float = 30.0
    ) -> None:
        self.folder = folder
        self.every_epochs = every_epochs
        self.every_seconds = every_seconds


def as_checkpoint(value: Any) -> Checkpoint | None:
    """Return what a ``checkpoint`` parameter stands for: a folder is its default.

    Raises
    ------
    ValueError
        If an interval is out of its range.
    """
    if value is None:
        return None
    if not isinstance(value, Checkpoint):
        return Checkpoint(value)
    if not isinstance(value.every_epochs, Integral) or value.every_epochs < 1:
        raise ValueError(f"every_epochs={value.every_epochs!r}: pass a whole number, at least 1.")
    if not isinstance(value.every_seconds, Real) or not value.every_seconds >= 0:
        raise ValueError(f"every_seconds={value.every_seconds!r}: pass a number, 0 or more.")
    return value
