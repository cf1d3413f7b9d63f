"""A frozen backbone, run once: what is left of a fit is that of its head on features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain
from tempfile import TemporaryFile, gettempdir
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from skhug._data.placement import Augment, prepare_batch
from skhug._data.rows import Rows, Task
from skhug._data.sources import Source, is_large, open_rows, take
from skhug._defaults import Settings
from skhug._device import to_numpy
from skhug._model.embedding import device_of, embed_blocks, join
from skhug._model.sphere_encoder import HeadEncoder, SphereEncoder
from skhug._process import threads_for

__all__ = ["Stage", "stage_of"]


class Stage(NamedTuple):
    """What is trained on what: an encoder on raw rows, or its head on a backbone's features.

    ``shown`` are the rows of the epochs, (views * n, ...), to be changed by ``augment``; those
    of ``task`` are the same as they are.
    """

    encoder: SphereEncoder
    task: Task
    shown: np.ndarray | Source
    augment: Augment | None


def stage_of(settings: Settings, task: Task, encoder: SphereEncoder) -> Stage:
    """Return what is left to do behind a frozen backbone, or all where it cannot be run before.

    The one place that decides. Rows of validation go through the backbone once as well.

    Raises
    ------
    ValueError
        If the backbone gives anything that is not finite.
    OSError
        If there is no room for a file of features.
    """
    rows, validation = task.rows, task.validation
    n, n_views = len(rows.y), _views(settings, rows, encoder)
    if not n_views:
        return Stage(encoder, task, rows.X, settings.augment)
    encoder.eval()
    block = encoder.prepare.block_rows
    with threads_for(2.0 * block * encoder.weights_a_row, device_of(encoder)):
        shown = plain = _keep(_passes(encoder, rows.X, settings, n_views), n_views * n)
        if settings.augment is not None:
            plain = _keep(_features(encoder, rows.X), n)
        elif n_views > 1:
            plain = take(shown, np.arange(n))
        if validation is not None:
            features = _keep(_features(encoder, validation.X), len(validation.y))
            validation = _with_features(validation, features)
    task = task._replace(rows=_with_features(rows, plain), validation=validation)
    return Stage(HeadEncoder(encoder), task, shown, None)


def _views(settings: Settings, rows: Rows, encoder: SphereEncoder) -> int:
    """Return how often training rows go through a frozen backbone before the first epoch.

    Once if an epoch sees what the one before saw; never if every epoch is to see something new.
    """
    if not encoder.frozen:
        return 0
    if settings.augment is None and not getattr(rows.X, "changes", False):
        return 1
    return min(settings.views or 0, settings.max_epochs)


def _with_features(rows: Rows, features: np.ndarray | Source) -> Rows:
    return rows._replace(X=features, expand=None)


def _passes(
    encoder: SphereEncoder, X: np.ndarray | Source, settings: Settings, n_views: int
) -> Iterator[Tensor]:
    """Yield the features of so many passes over training rows, changed as in training."""
    # Seeded anew, so that a fit that goes on from a checkpoint sees the same views.
    generator = torch.Generator().manual_seed(settings.seed)
    passes = (_features(encoder, X, settings.augment, generator) for _ in range(n_views))
    return chain.from_iterable(passes)


def _features(
    encoder: SphereEncoder,
    X: np.ndarray | Source,
    augment: Augment | None = None,
    generator: torch.Generator | None = None,
) -> Iterator[Tensor]:
    """Yield what a backbone makes of consecutive rows."""
    prepare = partial(prepare_batch, encoder.prepare, augment)
    start = 0
    blocks = embed_blocks(encoder, X, lambda _, raw: encoder.body.backbone(prepare(raw, generator)))
    for block in blocks:
        finite = block.isfinite().flatten(1).all(1)
        if not bool(finite.all()):
            dtype = str(block.dtype).removeprefix("torch.")
            raise ValueError(
                f"The frozen module gives nothing finite in {dtype} for row "
                f"{start + int((~finite).nonzero()[0])}: scale the features, for instance with "
                "StandardScaler in a Pipeline, or set precision='float64'."
            )
        start += len(block)
        yield block


def _keep(blocks: Iterable[Tensor], n_rows: int) -> np.ndarray | Source:
    """Return rows that come in blocks as one: in memory or, if there are many, in a file."""
    blocks = iter(blocks)
    first = next(blocks)
    blocks = chain([first], blocks)
    if not is_large(n_rows * first[0].nbytes):
        return join(blocks, n_rows)
    try:
        return _in_a_file(blocks, (n_rows, *first.shape[1:]))
    except OSError as error:
        gib = n_rows * first[0].nbytes / 2**30
        raise OSError(
            f"The features of the frozen module are {gib:.2g} GiB, and {gettempdir()!r} does not "
            f"take them ({error}): set the environment variable TMPDIR to another folder."
        ) from error


def _in_a_file(blocks: Iterable[Tensor], shape: tuple[int, ...]) -> Source:
    """Write blocks of rows to a file without a name, which is gone with the last look at it.

    They are written and then mapped: a full disk is an error then, and not the process's end.
    """
    with TemporaryFile() as file:
        for block in blocks:
            array = np.ascontiguousarray(to_numpy(block))
            file.write(array)
        file.flush()
        return open_rows(np.memmap(file, array.dtype, "r", shape=shape))
