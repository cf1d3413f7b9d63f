"""Going on from a fitted module with other rows: what must agree, and the input's statistics."""

from __future__ import annotations

import copy
from typing import Any, NamedTuple, get_args

import numpy as np
import torch
from torch import Tensor

from skhug._data.expansion import ExpandedRows, scale_factors
from skhug._data.feature_scale import FeatureSummary, centre_and_scale
from skhug._data.image_layout import ChannelSummary, channel_statistics
from skhug._data.prepare import NormalizeImages, Prepare, Standardize
from skhug._data.rows import Rows, Task
from skhug._data.sparse_prepare import ScaleSummary, SparseScale
from skhug._data.sparse_rows import dense_blocks
from skhug._device import to_numpy, to_tensor
from skhug._model.embedding import device_of
from skhug._model.sphere_encoder import SphereEncoder
from skhug._training.seen_vectors import KeptRows, SeenVectors
from skhug.encoders import Encoder, Vectors
from skhug.proxies._phase_code import CodedProxies, PhaseCode

__all__ = ["Earlier", "continued_encoder", "pack_summary", "running_summary", "summary_of"]

Summary = FeatureSummary | ChannelSummary | ScaleSummary
# Images that the statistics of a model count for where nothing is known of their number.
_ASSUMED_IMAGES = 2048


class Earlier(NamedTuple):
    """What a fit goes on from: a fitted model and, after partial_fit, the run's progress.

    Inputs are standardised by ``summary`` from now on, or by the rows of the fit without one.
    ``kept`` are rows of earlier calls that a head on vectors chooses by.
    """

    module: SphereEncoder
    proxies: np.ndarray | CodedProxies
    classes: np.ndarray
    progress: dict[str, Any] | None = None
    summary: Summary | None = None
    kept: KeptRows | None = None

    @property
    def points(self) -> Tensor | PhaseCode:
        """The proxies as training takes them, in memory that no other model shares."""
        if isinstance(self.proxies, CodedProxies):
            return self.proxies.on(device_of(self.module))
        return torch.from_numpy(self.proxies.copy())

    @property
    def seen(self) -> SeenVectors | None:
        """What is kept of vectors that came before."""
        saved = (self.progress or {}).get("vectors")
        return None if saved is None else SeenVectors.unpacked(saved, self.kept)

    def check_stream(self) -> None:
        """Refuse to add rows to a closed form whose sums are not known.

        Raises
        ------
        ValueError
            With what to do.
        """
        if isinstance(self.module.spec, Vectors) and self.seen is None:
            raise ValueError(
                "The fitted head on vectors is a closed form, and sums of its rows were not kept: "
                "fit keeps up to 4,194,304 numbers, and files of earlier versions have none. "
                "Begin a new model with partial_fit, or fit all rows anew."
            )

    def check(self, task: Task, n_components: int | None) -> None:
        """Refuse rows or parameters that the fitted model does not suit.

        Raises
        ------
        ValueError
            With what differs.
        """
        cure = "Set warm_start=False to fit a new model."
        if not np.array_equal(task.classes, self.classes):
            raise ValueError(
                f"warm_start: y has the classes {task.classes!r} and the fitted model "
                f"{self.classes!r}. {cure}"
            )
        if task.rows.X.shape[1:] != self.module.input_shape:
            raise ValueError(
                f"warm_start: rows have shape {task.rows.X.shape[1:]} and the fitted model takes "
                f"{self.module.input_shape}. {cure}"
            )
        if n_components not in (None, self.module.n_components):
            raise ValueError(
                f"warm_start: n_components={n_components} and the fitted model has "
                f"{self.module.n_components}. {cure}"
            )


def continued_encoder(earlier: Earlier, spec: Any, rows: Rows) -> SphereEncoder:
    """Return a copy of the fitted module: a fit that fails leaves the model as it was.

    The weights stay as they are: taking the change of the input's statistics back in the first
    layer made streams no better.

    Parameters
    ----------
    earlier : Earlier
        The fitted model.
    spec : Encoder, module or callable
        The encoder as the parameters have it now, which says whether to standardise.
    rows : Rows
        To train on.
    """
    encoder = copy.deepcopy(earlier.module)
    if _follows_rows(spec, encoder):
        summary = earlier.summary
        statistics = (
            _statistics_of(encoder.prepare, rows) if summary is None else summary.centre_and_scale()
        )
        encoder.prepare = _standardized_by(encoder.prepare, *statistics, rows.X.dtype)
        encoder.prepare.suit(encoder.body)
    return encoder


def _follows_rows(spec: Any, encoder: SphereEncoder) -> bool:
    """Whether inputs are standardised by statistics of the rows."""
    by_rows = isinstance(spec, Encoder) and spec.standardize is True
    return by_rows and isinstance(encoder.prepare, (Standardize, SparseScale, NormalizeImages))


def summary_of(spec: Any, encoder: SphereEncoder, rows: Rows, seed: int) -> Summary | None:
    """Return what :func:`running_summary` starts from; None where rows are not standardised."""
    if not _follows_rows(spec, encoder):
        return None
    if isinstance(encoder.prepare, NormalizeImages):
        return ChannelSummary.of(dense_blocks(rows.X), rows.weight, encoder.prepare.layout)
    if isinstance(encoder.prepare, SparseScale):
        return ScaleSummary.of(rows.X, rows.weight)
    return FeatureSummary.of(_expanded(encoder.prepare, rows), rows.weight, seed)


def running_summary(earlier: Earlier, spec: Any, rows: Rows, seed: int) -> Summary | None:
    """Return the summary of these rows and of those that came before.

    Every call counts by its rows; weights act inside a call, as they do in training.

    Parameters
    ----------
    earlier : Earlier
        With the progress of the earlier calls, which holds their :func:`pack_summary`; where the
        model comes out of ``fit`` or of a file without it, its own statistics stand for them.
    spec : Encoder, module or callable
        As for :func:`continued_encoder`.
    rows : Rows
        Of this call.
    seed : int
        Of the draw of values to keep.
    """
    newer = summary_of(spec, earlier.module, rows, seed)
    if newer is None:
        return None
    saved = (earlier.progress or {}).get("summary")
    older = _assumed(earlier.module.prepare, newer) if saved is None else _unpack_summary(saved)
    return older.merged(newer, seed)


def _assumed(prepare: Prepare, newer: Summary) -> Summary:
    """Return a summary that the statistics of a model may have come from."""
    if isinstance(prepare, NormalizeImages):
        mean, std = _array(prepare.mean), _inverse(_array(prepare.inverse_std))
        return ChannelSummary(_ASSUMED_IMAGES, mean, std)
    if isinstance(prepare, SparseScale):
        return ScaleSummary.assumed(_inverse(_array(prepare.inverse_scale)), newer)
    centre, scale = _array(prepare.centre), _inverse(_array(prepare.inverse_scale))
    scale = scale / scale_factors(prepare.expand)
    return FeatureSummary.assumed(centre, scale, newer)


def pack_summary(summary: Summary | None) -> dict[str, Any] | None:
    """Return a summary as plain objects and CPU tensors."""
    if summary is None:
        return None
    cpu = torch.device("cpu")
    fields = summary._asdict().items()
    return {k: to_tensor(v, cpu) if isinstance(v, np.ndarray) else v for k, v in fields}


def _unpack_summary(saved: dict[str, Any]) -> Summary:
    fields = {k: to_numpy(v) if isinstance(v, Tensor) else v for k, v in saved.items()}
    kinds = {frozenset(kind._fields): kind for kind in get_args(Summary)}
    return kinds[frozenset(fields)](**fields)


def _statistics_of(prepare: Prepare, rows: Rows) -> tuple[np.ndarray, np.ndarray]:
    """Return centre and scale of rows, of the kind that goes with what prepares them."""
    if isinstance(prepare, NormalizeImages):
        return channel_statistics(dense_blocks(rows.X), rows.weight, prepare.layout)
    if isinstance(prepare, SparseScale):
        return ScaleSummary.of(rows.X, rows.weight).centre_and_scale()
    return centre_and_scale(_expanded(prepare, rows), rows.weight)


def _expanded(prepare: Standardize, rows: Rows) -> Any:
    """Return rows with the columns that statistics are of."""
    X = dense_blocks(rows.X)
    return X if prepare.expand is None else ExpandedRows(X, prepare.expand)


def _standardized_by(
    prepare: Prepare, centre: np.ndarray, scale: np.ndarray, dtype: np.dtype
) -> Prepare:
    """Return what standardises by new statistics; where the scale is 0, by those that were.

    Parameters
    ----------
    prepare : Prepare
        Of the fitted module.
    centre, scale : ndarray of shape (n_features,) or (n_channels,)
        Of the rows.
    dtype : dtype
        Of the rows.
    """
    if isinstance(prepare, NormalizeImages):
        mean, inverse = _where_varied(centre, scale, prepare.mean, prepare.inverse_std)
        return NormalizeImages(prepare.layout.shape, mean, inverse, prepare.dtype)
    if isinstance(prepare, SparseScale):
        old = prepare.inverse_scale
        _, inverse = _where_varied(centre, scale, torch.zeros_like(old), old)
        return SparseScale(inverse, prepare.dtype)
    kept = prepare.centre, prepare.inverse_scale
    arguments = prepare.arguments()
    scale = scale * scale_factors(prepare.expand)
    arguments["centre"], arguments["inverse_scale"] = _where_varied(centre, scale, *kept)
    standardize = Standardize(**arguments, dtype=prepare.dtype)
    standardize.per_batch = dtype == np.uint8
    return standardize


def _where_varied(
    centre: np.ndarray, scale: np.ndarray, old_centre: Tensor, old_inverse: Tensor
) -> list[Tensor]:
    device, varied = old_centre.device, scale > 0
    pairs = (centre, old_centre), (_inverse(scale), old_inverse)
    return [to_tensor(np.where(varied, new, _array(old)), device, old.dtype) for new, old in pairs]


def _array(statistic: Tensor) -> np.ndarray:
    return to_numpy(statistic).astype(np.float64)


def _inverse(values: np.ndarray) -> np.ndarray:
    """Return 1 / values, and 0 of 0."""
    return np.divide(1.0, values, out=np.zeros_like(values), where=values > 0)
