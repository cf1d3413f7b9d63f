"""Row coefficients that make a weighted sum a mean over classes of means over their rows."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["as_indices", "class_mean_coefficients", "epoch_coefficients", "row_coefficients"]

_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)


def class_mean_coefficients(
    labels: Tensor,
    sample_weight: Tensor | None = None,
    class_weight: Tensor | None = None,
    n_classes: int | None = None,
) -> Tensor:
    """Row coefficients whose weighted sum is a mean over classes of means over their rows.

    Parameters
    ----------
    labels : Tensor of shape (batch,)
        Class of each row, integers.
    sample_weight : Tensor of shape (batch,), optional
        Weights inside a class's mean, non-negative. A class with no weight is absent.
    class_weight : Tensor of shape (n_classes,), optional
        Weights of the classes' means, of mean 1; ones by default.
    n_classes : int, optional
        Number of classes, which makes it faster where they are few.

    Returns
    -------
    coef : Tensor of shape (batch,)
        ``coef_i = class_weight_{y_i} w_i / (sum of w over the class of i) / (classes present)``,
        in the dtype of ``sample_weight`` (float32 without). Cost and memory do not depend on
        the number of classes, and nothing waits for the device.

    Raises
    ------
    TypeError, ValueError
        If ``labels`` are no integers; on the CPU, if one is none of ``n_classes``.

    Examples
    --------
    >>> import torch
    >>> from skhug.losses import class_mean_coefficients
    >>> class_mean_coefficients(torch.tensor([0, 0, 7]))
    tensor([0.2500, 0.2500, 0.5000])
    """
    labels = as_indices(labels, "labels", n_classes)
    if sample_weight is None:
        sample_weight = torch.ones(labels.shape, device=labels.device)
    totals = _class_totals(labels, sample_weight, n_classes)
    share = sample_weight / totals.clamp_min_(torch.finfo(totals.dtype).tiny)
    # The rows' shares of a class that is present add up to 1.
    coef = share / share.sum().clamp_min_(torch.finfo(share.dtype).tiny)
    return coef if class_weight is None else coef * class_weight[labels]


def as_indices(labels: Tensor, name: str, n_classes: int | None) -> Tensor:
    """Return integers as int64; those on the CPU are known to be below ``n_classes``.

    On an accelerator their range is left to torch, whose kernels assert it: to look would wait
    for the device in every batch.

    Raises
    ------
    TypeError, ValueError
        If they are no integers, or one is none of the classes.
    """
    kind = getattr(labels, "dtype", None)
    if not isinstance(labels, Tensor) or kind not in _INTEGERS:
        what = f"of dtype {kind}" if isinstance(labels, Tensor) else f"a {type(labels).__name__}"
        raise TypeError(
            f"{name} are {what}: pass an integer tensor with the index of each row's class, for "
            "instance labels.long()."
        )
    looks = labels.device.type == "cpu" and labels.numel() and not torch.compiler.is_compiling()
    if looks and n_classes is not None:
        low, high = (int(end) for end in labels.aminmax())
        if low < 0 or high >= n_classes:
            raise ValueError(
                f"{name} are from {low} to {high}, and there are {n_classes} classes: number them "
                f"from 0 to {n_classes - 1}, for instance by torch.unique(labels, "
                "return_inverse=True)[1], or leave rows without a class out."
            )
    return labels.long()


def _class_totals(labels: Tensor, weight: Tensor, n_classes: int | None) -> Tensor:
    """Each row's sum of weights over its class."""
    if n_classes is None or n_classes > 8 * len(labels):  # number the classes of this batch
        ordered, order = labels.sort()
        starts = torch.zeros_like(ordered)
        starts[1:] = ordered[1:] != ordered[:-1]
        labels, n_classes = torch.empty_like(order).index_copy_(0, order, starts.cumsum(0)), None
    totals = weight.new_zeros(n_classes or len(labels)).index_add_(0, labels, weight)
    return totals.index_select(0, labels)


def epoch_coefficients(
    batch: Tensor, y: Tensor, weight: Tensor, class_weight: Tensor, n_batches: int
) -> Tensor:
    """Coefficients of all batches of an epoch in one pass.

    As :func:`skhug.losses.class_mean_coefficients` batch by batch, at a fraction of its calls.

    Parameters
    ----------
    batch, y : Tensor of shape (n,)
        Number of each row's batch, and its class.
    weight : Tensor of shape (n,) or (n, members)
        Of the rows; those of several members are columns.
    class_weight : Tensor of shape (n_classes,)
        Of the classes' means.
    n_batches : int
        In the epoch.

    Returns
    -------
    coef : Tensor
        In the shape of ``weight``.
    """
    if weight.ndim > 1:
        columns = weight.unbind(1)
        each = [epoch_coefficients(batch, y, w, class_weight, n_batches) for w in columns]
        return torch.stack(each, 1)
    group, n_groups = batch * len(class_weight) + y, n_batches * len(class_weight)
    if n_groups > 4 * len(y):  # mostly empty: number those that occur
        ordered, rank = group.sort()
        steps = torch.zeros_like(ordered)
        steps[1:] = ordered[1:] != ordered[:-1]
        group = torch.empty_like(rank).index_copy_(0, rank, steps.cumsum(0))
        n_groups = len(y)
    totals = weight.new_zeros(n_groups).index_add_(0, group, weight)
    # A class counts as present once: each of its rows adds its share. Weights may vanish beside
    # others, and a batch may then have none.
    tiny = torch.finfo(weight.dtype).tiny
    share = weight / totals.clamp_min_(tiny)[group]
    present = weight.new_zeros(n_batches).index_add_(0, batch, share).clamp_min_(tiny)
    return share * class_weight[y] / present[batch]


def row_coefficients(
    batch: Tensor, y: Tensor, weight: Tensor, class_weight: Tensor, n_batches: int
) -> Tensor:
    """Coefficients of all batches of an epoch in which rows count alike, but for their weights.

    A weight counts beside the mean of all weights of the epoch, and not of the batch: a batch of
    light rows counts little. Parameters and shapes as for :func:`epoch_coefficients`.
    """
    factor = class_weight[y]
    value = weight * (factor if weight.ndim == 1 else factor[:, None])
    # Counted in whole numbers: float32 counts to 2^24.
    rows = torch.zeros(n_batches, dtype=batch.dtype, device=batch.device)
    size = rows.index_add_(0, batch, torch.ones_like(batch)).to(value.dtype)[batch]
    mean = value.mean(0).clamp_min_(torch.finfo(value.dtype).tiny)
    return value / mean / (size if weight.ndim == 1 else size[:, None])
