"""From raw rows on the device to what an encoder's body takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from skhug._data.expansion import Expand, ExpandedRows, scale_factors
from skhug._data.feature_scale import centre_and_scale
from skhug._data.image_layout import Layout, channel_statistics
from skhug._device import to_tensor
from skhug._distributed.group import ALONE, Alone
from skhug._sparse import SparseRows
from skhug._sphere import unit

__all__ = [
    "Cast",
    "Fill",
    "NormalizeImages",
    "Prepare",
    "Standardize",
    "Whiten",
    "may_overrun_memory",
    "prepare_images",
    "prepare_rows",
    "squeezed",
]

# Units from the centre beyond which all is equally far: its square is finite in float32.
_FAR = 1e15
# Units within which every standardised value is kept.
_LIMIT = 3.0
# Torch's layers for images that say whether they have a stride.
_CONVOLUTIONS = (nn.Conv2d, nn.ConvTranspose2d)


class Prepare(nn.Module):
    """Base of what takes raw rows on the device to what a body takes.

    Parameters
    ----------
    dtype : torch.dtype
        Of the computation.
    """

    # Whether training prepares batch by batch: rows in memory stay as small as they came.
    per_batch = False
    # Whether the body is given sparse rows as such.
    keeps_sparse = False
    # Rows to embed at once.
    block_rows = 2048
    # Whether NaN counts as a gap.
    takes_gaps = False

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def forward(self, X: Tensor) -> Tensor:
        """Return raw rows as the body takes them."""
        return self.normalize(self.arrange(X))

    def arrange(self, X: Tensor | SparseRows) -> Tensor:
        """Return raw rows in the shape that the body takes, their values as they are."""
        return X.to_dense() if isinstance(X, SparseRows) else X

    def normalize(self, X: Tensor) -> Tensor:
        """Return arranged rows in the units and the dtype that the body takes."""
        raise NotImplementedError

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor takes beside the dtype."""
        return {}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a prepared row."""
        return input_shape

    def suit(self, body: nn.Module) -> None:
        """Heed how the body needs its input to lie in memory; rows lie in one way alone."""


class Cast(Prepare):
    """Input of a module that normalises for itself: only the dtype changes."""

    def normalize(self, X: Tensor) -> Tensor:
        """Return X in the dtype of the computation."""
        return X.to(self.dtype)


class Fill(Prepare):
    """Input of a module that normalises for itself, levels and gaps as numbers.

    Parameters
    ----------
    value : Tensor of shape (width,)
        What fills a gap in each column of expanded rows.
    dtype : torch.dtype
        Of the computation.
    columns : dict of Tensor
        For :class:`~skhug._data.expansion.Expand`.
    """

    takes_gaps = True

    def __init__(self, value: Tensor, dtype: torch.dtype, columns: dict[str, Tensor]) -> None:
        super().__init__(dtype)
        self.register_buffer("value", value)
        self.expand = Expand(**columns)

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor takes beside the dtype."""
        return {"value": self.value, "columns": self.expand.arguments()}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a prepared row."""
        return (self.expand.width,)

    def normalize(self, X: Tensor) -> Tensor:
        """Return expanded rows without gaps in the dtype of the computation."""
        X = self.expand(X)
        return torch.where(X.isnan(), self.value.to(X), X).to(self.dtype)


class Standardize(Prepare):
    """Centres and scales features, puts gaps at the centre, then squeezes what is far out.

    ``z = (x - centre) * inverse_scale``, then ``z / sqrt(1 + (z / limit)^2)``, which leaves small
    z alone and keeps every value within ``limit`` (the smooth clipping of RealMLP, Holzmueller
    et al. 2024). The statistics are float64 buffers, so that differences are taken before
    precision is lost. With ``columns`` rows are expanded first, see
    :class:`~skhug._data.expansion.Expand`. All is multiplied by ``stretch`` in the end: the larger
    the inputs, the more sharply a network bends between them.
    """

    limit = _LIMIT
    stretch = 1.0  # pickles of earlier versions have none of their own
    takes_gaps = True

    def __init__(
        self,
        centre: Tensor,
        inverse_scale: Tensor,
        dtype: torch.dtype,
        columns: dict[str, Tensor] | None = None,
        stretch: float = 1.0,
    ) -> None:
        super().__init__(dtype)
        self.expand = Expand(**columns) if columns else None
        self.stretch = stretch
        self.register_buffer("centre", centre)
        self.register_buffer("inverse_scale", inverse_scale)
        # Statistics of features of a scale like 1e50 are none in float32.
        narrow = (statistic.float() for statistic in (centre, inverse_scale))
        self.narrows = all(
            bool((there.isfinite() & (there.bool() == here.bool())).all())
            for there, here in zip(narrow, (centre, inverse_scale), strict=True)
        )
        # A block stays in a core's cache, and is large enough for products at full speed.
        self.block_rows = min(2048, max(256, (1 << 18) // max(len(centre), 1)))

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor takes beside the dtype."""
        arguments = {"centre": self.centre, "inverse_scale": self.inverse_scale}
        if self.stretch != 1:  # a file without it opens in earlier versions
            arguments["stretch"] = self.stretch
        if self.expand is not None:
            arguments["columns"] = self.expand.arguments()
        return arguments

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a prepared row."""
        return input_shape if self.expand is None else (self.expand.width,)

    def normalize(self, X: Tensor) -> Tensor:
        """Return standardised features in the dtype of the computation, finite for any input."""
        centre, inverse_scale = self.centre, self.inverse_scale
        if self.expand is not None:
            X = self.expand(X)
        if X.dtype == torch.uint8:
            X = X.float()
        if X.dtype == torch.float32 and self.narrows:  # its differences are exact enough in float32
            centre, inverse_scale = centre.float(), inverse_scale.float()
        z = (X - centre).mul_(inverse_scale).to(self.dtype)
        if _all_near(z):
            z = _within_limit(z)
        else:
            z = squeezed(z.nan_to_num_(nan=0.0, posinf=_FAR, neginf=-_FAR))
        return z if self.stretch == 1 else z.mul_(self.stretch)


def _all_near(z: Tensor) -> bool:
    """Whether standardised values are known to be finite, and their squares too.

    For inference on the CPU the sum of the squares tells, in one pass in place of two that would
    change nothing. An accelerator would be waited for, and who traces has no values yet.
    """
    looks = z.device.type == "cpu" and torch.is_inference_mode_enabled() and z.numel() < 1 << 31
    if not looks or torch.compiler.is_compiling() or torch.jit.is_tracing():
        return False
    flat = z.reshape(-1)
    return bool(torch.dot(flat, flat) < _FAR**2)


def squeezed(z: Tensor) -> Tensor:
    """Return standardised values squeezed smoothly to within the limit; changes z in place."""
    return _within_limit(z.clamp_(-_FAR, _FAR))


def _within_limit(z: Tensor) -> Tensor:
    factor = torch.addcmul(z.new_ones(()), z, z, value=_LIMIT**-2).rsqrt_()
    # In place, but for autograd, which needs both of them later.
    return z * factor if factor.requires_grad else factor.mul_(z)


class Whiten(Prepare):
    """Centres vectors and, with a matrix, evens out how they vary: unit rows ``(x - shift) W``.

    Parameters
    ----------
    shift : Tensor of shape (n_features,)
        What rows are centred at, float64 where the device has it.
    dtype : torch.dtype
        Of the computation.
    matrix : Tensor of shape (n_features, width), optional
        W; without it rows are centred and keep their length.
    """

    def __init__(self, shift: Tensor, dtype: torch.dtype, matrix: Tensor | None = None) -> None:
        super().__init__(dtype)
        self.register_buffer("shift", shift)
        self.register_buffer("matrix", None if matrix is None else matrix.to(dtype))

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor takes beside the dtype."""
        shift = {"shift": self.shift}
        return shift if self.matrix is None else shift | {"matrix": self.matrix}

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a prepared row."""
        return input_shape if self.matrix is None else (self.matrix.shape[1],)

    def normalize(self, X: Tensor) -> Tensor:
        """Return centred rows, whitened and of unit length where there is a matrix."""
        centred = (X - self.shift).to(self.dtype)
        return centred if self.matrix is None else unit(centred @ self.matrix)


class NormalizeImages(Prepare):
    """Brings images into shape (batch, C, H, W) and normalises each channel.

    Parameters
    ----------
    image_shape : tuple of int
        Of an image as it lies in a row, for :class:`~skhug._data.image_layout.Layout`.
    mean, inverse_std : Tensor of shape (n_channels,)
        ``(x - mean) * inverse_std``, in the units of the raw values.
    dtype : torch.dtype
        Of the computation.
    """

    per_batch = True
    # Whether images may lie with the channels last in a CPU's memory, too.
    channels_last_on_cpu = True

    def __init__(
        self,
        image_shape: tuple[int, ...],
        mean: Tensor,
        inverse_std: Tensor,
        dtype: torch.dtype,
    ) -> None:
        super().__init__(dtype)
        self.layout = Layout(tuple(image_shape))
        _, height, width = self.layout.channels_first
        # A hidden layer is many times as large as the pixels; larger blocks leave a CPU's caches.
        self.block_rows = min(128, max(1, (1 << 20) // (height * width)))
        self.register_buffer("mean", mean.to(dtype))
        self.register_buffer("inverse_std", inverse_std.to(dtype))

    def arguments(self) -> dict[str, Any]:
        """Return what the constructor takes beside the dtype."""
        return {
            "image_shape": self.layout.shape,
            "mean": self.mean,
            "inverse_std": self.inverse_std,
        }

    def output_shape(self, input_shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a prepared image."""
        return self.layout.channels_first

    def arrange(self, X: Tensor | SparseRows) -> Tensor:
        """Return images as a view of shape (batch, C, H, W)."""
        return self.layout.to_channels_first(super().arrange(X))

    def normalize(self, X: Tensor) -> Tensor:
        """Return normalised images with the channels last in memory, where the body allows it.

        Convolutions keep the memory format of their input, and both a GPU's tensor cores and a
        CPU's kernels are faster with the channels last.
        """
        last = self.channels_last_on_cpu or X.device.type != "cpu"
        memory_format = torch.channels_last if last else torch.contiguous_format
        X = X.to(self.dtype, memory_format=memory_format)
        return (X - self.mean[:, None, None]) * self.inverse_std[:, None, None]

    def suit(self, body: nn.Module) -> None:
        """Put the channels first on a CPU where the body could not be trained otherwise."""
        self.channels_last_on_cpu = not may_overrun_memory(body)


def may_overrun_memory(body: nn.Module) -> bool:
    """Return whether training on images with the channels last may write where it must not.

    On processors with AVX2 and without AVX-512, oneDNN's gradient of the weights of a 1x1
    convolution of fewer than 8 input channels, or of a transposed one of fewer than 8 output
    channels, with a stride, writes past its workspace (uxlfoundation/oneDNN#6035): the process
    ends, or hangs, or the gradient is wrong. All processors get the same, so that they compute
    alike. The weights tell, since functions and parametrized layers have them too; only of torch's
    own layers is it known that they have no stride.
    """
    return any(
        parameter.ndim == 4 and parameter.shape[1] < 8 and parameter.shape[2:] == (1, 1)
        for layer in body.modules()
        if not (isinstance(layer, _CONVOLUTIONS) and set(layer.stride) == {1})
        for parameter in layer.parameters(recurse=False)
    )


def prepare_rows(
    X: np.ndarray,
    weight: np.ndarray,
    standardize: Any,
    device: torch.device,
    dtype: torch.dtype,
    shards: Alone = ALONE,
    expand: Expand | None = None,
    stretch: float = 1.0,
) -> Prepare:
    """Return what prepares flat rows, with statistics of these; ``standardize`` as in Encoder."""
    columns = None if expand is None else expand.arguments()
    if standardize is False and columns is None:
        prepare = Cast(dtype)
    elif standardize in (False, True):
        exact = torch.float32 if device.type == "mps" else torch.float64  # MPS has no float64
        rows = X if expand is None else ExpandedRows(X, expand)
        centre, scale = centre_and_scale(rows, weight, shards)
        scale = scale * scale_factors(expand)
        centre, scale = (to_tensor(statistic, device, exact) for statistic in (centre, scale))
        if standardize:
            inverse = torch.where(scale > 0, 1 / scale, 0)
            prepare = Standardize(centre, inverse, dtype, columns, stretch).to(device)
        else:
            prepare = Fill(centre, dtype, columns).to(device)
    else:
        raise ValueError(
            f"standardize={standardize!r} is per channel of images, and X has flat rows: pass "
            "True or False, or say how to read a row by image_shape."
        )
    prepare.per_batch = X.dtype == np.uint8
    return prepare


def prepare_images(
    X: np.ndarray,
    weight: np.ndarray,
    layout: Layout,
    standardize: Any,
    dtype: torch.dtype,
    shards: Alone = ALONE,
) -> NormalizeImages:
    """Return what prepares images, with statistics of these; ``standardize`` as in Encoder."""
    channels = layout.channels_first[0]
    if standardize is True:
        mean, std = channel_statistics(X, weight, layout, shards)
    elif standardize is False:
        mean, std = np.zeros(channels), np.ones(channels)
    else:
        mean, std = (np.asarray(a, dtype=np.float64) for a in standardize)
        if not mean.shape == std.shape == (channels,) or not np.all(std > 0):
            raise ValueError(
                f"standardize={standardize!r}: pass (mean, std) with {channels} number"
                f"{'s' * (channels > 1)} each, one per channel, the deviations above 0."
            )
    inverse = np.divide(1.0, std, out=np.zeros_like(std), where=std > 0)
    return NormalizeImages(layout.shape, torch.as_tensor(mean), torch.as_tensor(inverse), dtype)
