"""Several processes that make one fit: what they tell one another, and what becomes of the lost."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from skhug._device import to_numpy, to_tensor
from skhug._distributed.group import ALONE, Alone, Value, ValuesOfRows, seed_of
from skhug._torch import default_store

__all__ = ["SHARDED", "Group", "joined"]

# Whether processes pass shards of the rows; set by skhug.distributed.
SHARDED: ContextVar[bool] = ContextVar("skhug-sharded", default=False)
# Seconds that a process waits for the others to say that they are alive, once one is lost.
_GRACE = 15.0
# Bytes of a tensor that is copied beside others, to be summed with them: a message takes longer.
_COPIED = 1 << 21
# One joined fit at a time: those of two threads would answer each other's messages.
_FIT = threading.Lock()
# A child that was forked holds its parent's connections and must not use them.
_forked = False


def _note_fork() -> None:
    global _FIT, _forked
    _FIT, _forked = threading.Lock(), True


if hasattr(os, "register_at_fork"):  # Windows does not fork
    os.register_at_fork(after_in_child=_note_fork)


class Lost(RuntimeError):
    """A message was not answered."""


class Group(Alone):
    """The processes of torch.distributed, for one fit.

    It has connections of its own, so that a process that fails can close them: the others notice
    at once. What lies on the CPU goes through these, by gloo, and what lies on another device
    through the group that is the default.

    Parameters
    ----------
    sharded : bool
        Whether the rows of each process are a shard of all.
    """

    def __init__(self, sharded: bool) -> None:
        self.rank, self.size, self.sharded = dist.get_rank(), dist.get_world_size(), sharded
        self._own = dist.new_group(backend="gloo")
        self._store = dist.PrefixStore(self.first(lambda: uuid4().hex), default_store())

    @property
    def shards(self) -> Alone:
        """Who holds other rows: nobody where all processes have the same."""
        return self if self.sharded else ALONE

    @property
    def copies(self) -> Alone:
        """Who has the same rows, so that one process can answer for all."""
        return ALONE if self.sharded else self

    def first(self, make: Callable[[], Value]) -> Value:
        """Return what the first process makes; the others do not call it."""
        held = [make() if self.leads else None]
        self._call(dist.broadcast_object_list, held, src=0, group=self._own)
        return held[0]

    def gather(self, value: Value) -> list[Value]:
        """Return the values of all processes, in their order."""
        values = [None] * self.size
        self._call(dist.all_gather_object, values, value, group=self._own)
        return values

    def total(self, array: np.ndarray) -> np.ndarray:
        """Return the sum of all processes' arrays of one shape."""
        return self.sum_(torch.from_numpy(np.array(array, order="C"))).numpy()

    def sum_(self, tensor: Tensor) -> Tensor:
        """Add the other processes' tensors to this one."""
        self._call(dist.all_reduce, tensor, group=self._on(tensor))
        return tensor

    def same_(self, tensors: Iterable[Tensor]) -> None:
        """Give tensors the values that they have in the first process."""
        for tensor in (tensor.detach() for tensor in tensors if tensor.numel()):
            whole = tensor.contiguous()
            raw = whole.reshape(-1).view(torch.uint8)  # gloo does not send every dtype
            self._call(dist.broadcast, raw, src=0, group=self._on(tensor))
            if whole.data_ptr() != tensor.data_ptr():
                tensor.copy_(whole)

    def join(self, rows: ValuesOfRows) -> ValuesOfRows:
        """Return all processes' rows, one after another."""
        if isinstance(rows, Tensor):
            return to_tensor(self.join(to_numpy(rows)), rows.device)
        return np.concatenate(self.gather(rows))

    def summing(self, gradients: Callable[..., Any], flat: list[Tensor]) -> Callable[..., Any]:
        """Return a function of a batch's part after which ``flat`` holds sums over all parts."""
        messages = _in_few_messages(flat)

        def of_all(X: Tensor, y: Tensor, coef: Tensor) -> Any:
            terms = gradients(X, y, coef)
            for tensors in messages:
                self._sum_together(tensors)
            return terms

        return of_all

    def _sum_together(self, tensors: list[Tensor]) -> None:
        """Add the other processes' tensors to these, of one dtype, by one message."""
        if len(tensors) == 1:
            self.sum_(tensors[0])
            return
        whole = self.sum_(torch.cat([tensor.reshape(-1) for tensor in tensors]))
        parts = whole.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    @contextmanager
    def interrupts(self) -> Iterator[Callable[[], None]]:
        """Yield what raises KeyboardInterrupt in all processes after Ctrl-C in one.

        Until then Ctrl-C waits: who left in an epoch would leave the others waiting.
        """
        seen: list[int] = []
        agreed: list[bool] = []

        def check() -> None:
            if self.any(bool(seen)):
                agreed.append(True)
                raise KeyboardInterrupt

        try:
            with _noted(signal.SIGINT, seen.append):
                yield check
        except KeyboardInterrupt:
            if agreed:
                raise
            raise RuntimeError(
                "Interrupted in the middle of an epoch: the other processes stop as well."
            ) from None

    def draw_apart(self, seed: int, epoch: int) -> None:
        """Let what is drawn in training by torch's global generator differ between processes."""
        torch.manual_seed(seed_of(seed, epoch, self.rank))

    def failed(self, error: BaseException) -> BaseException:
        """Tell the others of an error of this process; return what is to be raised."""
        lost = isinstance(error, Lost)
        if lost:  # what it was raised from holds the connections
            for raised in (error, error.__cause__):
                traceback.clear_frames(raised.__traceback__)
        with suppress(RuntimeError):
            self._store.set(f"end{self.rank}", "" if lost else f"{type(error).__name__}: {error}")
        self.close()
        return RuntimeError(self._who_is_lost()) if lost else error

    def close(self) -> None:
        """Close this fit's connections."""
        own, self._own = self._own, None
        if own is not None and dist.is_initialized():
            with suppress(RuntimeError, ValueError):
                dist.destroy_process_group(own)

    def _on(self, tensor: Tensor) -> Any:
        return self._own if tensor.device.type == "cpu" else dist.group.WORLD

    def _call(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        try:
            function(*args, **options)
        except RuntimeError as error:
            raise Lost(str(error)) from error

    def _who_is_lost(self) -> str:
        """Return what became of the others: those that are alive come to say so."""
        last = time.monotonic() + _GRACE
        others = [rank for rank in range(self.size) if rank != self.rank]
        try:
            ends = {rank: self._end_of(rank, last) for rank in others}
        except RuntimeError:
            ends = {0: None}  # who keeps the notes, unless torchrun itself does
        failed = [f"rank {rank} ended with {text}" for rank, text in ends.items() if text]
        silent = [f"rank {rank}" for rank, text in ends.items() if text is None]
        where = f"rank {self.rank} of {self.size} processes stops"
        if failed:
            return f"Another process failed, and {where}: {'; '.join(failed)}."
        names = ", ".join(silent) or "a process"
        return (
            f"The connection to {names} is lost, and {where}: that process was killed, or its "
            "machine cannot be reached. Start all of them again; with checkpoint= the fit goes on "
            "from its last epoch on disk."
        )

    def _end_of(self, rank: int, last: float) -> str | None:
        """Return the error of a process, "" of one that lost others, None of one that is silent."""
        key = [f"end{rank}"]
        while True:
            if self._store.check(key):
                return self._store.get(key[0]).decode()
            if time.monotonic() > last:
                return None
            time.sleep(0.05)


def _in_few_messages(flat: list[Tensor]) -> list[list[Tensor]]:
    """Return tensors in groups, each to be summed by one message: small ones of a kind together."""
    groups: dict[Any, list[Tensor]] = {}
    for i, tensor in enumerate(flat):
        small = tensor.nbytes <= _COPIED
        groups.setdefault((tensor.dtype, tensor.device) if small else i, []).append(tensor)
    return list(groups.values())


@contextmanager
def _noted(number: int, note: Callable[[int], Any]) -> Iterator[None]:
    """Take note of a signal once, in place of Python's own handler; the next one is as ever."""
    here = threading.current_thread() is threading.main_thread()
    if not here or signal.getsignal(number) is not signal.default_int_handler:
        yield
        return

    def handle(number: int, frame: Any) -> None:
        signal.signal(number, signal.default_int_handler)
        note(number)

    signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, signal.default_int_handler)


def _others() -> bool:
    ready = dist.is_available() and dist.is_initialized() and not _forked
    return ready and dist.get_world_size() > 1


@contextmanager
def joined() -> Iterator[Alone]:
    """Yield the group of this fit: the processes of torch.distributed, where it is initialised.

    Raises
    ------
    RuntimeError
        If another process fails or is lost, and if this one is in a joined fit already.
    """
    if not _others():
        yield ALONE
        return
    if not _FIT.acquire(blocking=False):
        raise RuntimeError(
            "This process is in a fit that several processes make together, and cannot join "
            "another one meanwhile: fit one after the other, n_jobs=None in a search."
        )
    try:
        group = Group(SHARDED.get())
        try:
            yield group
        except BaseException as error:
            told = group.failed(error)
            if told is error:
                raise
            raise told from error
        finally:
            group.close()
    finally:
        _FIT.release()
