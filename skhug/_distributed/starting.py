"""Whether this process fits together with others."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["distributed"]


@contextmanager
def distributed(sharded: bool = False) -> Iterator[None]:
    """Fit together with the other processes that ``torchrun`` started.

    Inside, ``fit`` divides every batch among all processes, each of which calls it, and all end
    with the same fitted estimator. Where ``torch.distributed`` is initialised already, by Ray
    Train, Accelerate, Lightning or Spark, ``fit`` joins without this context; it is needed for
    ``sharded=True`` then. Started without ``torchrun``, it does nothing.

    The process group is made by the variables that ``torchrun`` sets, by nccl where there is CUDA,
    each process on ``cuda:LOCAL_RANK``, else by gloo. What was made here is destroyed at the end,
    and nothing else.

    Parameters
    ----------
    sharded : bool, default=False
        False: every process passes the same rows. True: every process passes rows of its own, a
        shard; classes, statistics of the inputs, class weights and the calibration are those of
        all shards together.

    Raises
    ------
    RuntimeError
        If torchrun's variables are there and the processes cannot find one another.

    See Also
    --------
    HUGClassifier.fit : What joins.

    Examples
    --------
    A script for ``torchrun --nproc-per-node 2 script.py``, which runs as it is in one process:

    >>> import skhug
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> with skhug.distributed():
    ...     model = skhug.HUGClassifier(max_epochs=5, random_state=0).fit(X, y)
    >>> model.n_iter_
    5
    """
    import torch
    import torch.distributed as dist

    from skhug._distributed.joined import SHARDED

    makes = dist.is_available() and not dist.is_initialized() and "LOCAL_RANK" in os.environ
    if makes:
        on_cuda = torch.cuda.is_available() and dist.is_nccl_available()
        if on_cuda:
            torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        dist.init_process_group("cpu:gloo,cuda:nccl" if on_cuda else "gloo")
    before = SHARDED.set(bool(sharded))
    try:
        yield
    finally:
        SHARDED.reset(before)
        if makes and dist.is_initialized():
            dist.destroy_process_group()
