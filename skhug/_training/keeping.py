"""Whether a fit is kept in checkpoints."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from skhug._data.rows import Task
from skhug._training.continuing import Earlier
from skhug._training.state import Choice, TrainingState
from skhug.checkpoint import as_checkpoint

if TYPE_CHECKING:
    from skhug._training.resuming import Keeper

__all__ = ["NoKeeper", "make_keeper"]


class NoKeeper(nullcontext):
    """Stands in where no checkpoint is asked for."""

    done = False
    saved = None

    def __init__(self) -> None:
        super().__init__(self)
        self.seeds: list[int] = []

    def end_epoch(self, state: TrainingState, choice: Choice | None) -> None:
        """Do nothing."""


def make_keeper(
    checkpoint: Any, identity: dict[str, Any], task: Task, earlier: Earlier | None
) -> Keeper | NoKeeper:
    """Return what keeps a fit as a ``checkpoint`` parameter says.

    Parameters
    ----------
    checkpoint : str, path, Checkpoint or None
        The parameter.
    identity : dict of str
        What makes the fit this one beside its data: parameters, the estimator's class.
    task : Task
        What is learned.
    earlier : Earlier or None
        The model that the fit goes on from.
    """
    spec = as_checkpoint(checkpoint)
    if spec is None:
        return NoKeeper()
    # Here: a fit that keeps nothing needs none of what writes files.
    from skhug._training.resuming import Keeper, fingerprints

    return Keeper(spec, fingerprints(identity, task, earlier))
