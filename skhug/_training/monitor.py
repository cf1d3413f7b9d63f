"""What happens between epochs: validation, early stopping, printing, callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from skhug._distributed.group import ALONE, Alone
from skhug._sklearn import EpochCallbacks
from skhug._training.state import Choice, TrainingState


@dataclass
class Monitor:
    """Listens to a training run and says when to stop.

    Parameters
    ----------
    callbacks : EpochCallbacks
        scikit-learn's callbacks.
    fitted : callable
        Returns the fitted attributes as of now.
    scores : dict of str to callable
        Return scores as of now, or None, by their columns of the history.
    track : callable
        Returns measures of geometry by name, as of now.
    choice : Choice or None
        Keeps the best epoch, and stops, by one of these scores if it is there.
    verbose : bool
        Whether to print one line per epoch.
    max_epochs : int or None
        Epochs at most, for that line; None where nobody knows.
    keep : callable
        Takes the state and the choice, to write them to disk.
    seed : int
        Of the training.
    group : Alone
        The processes that make the fit: the callbacks are those of the first.
    """

    callbacks: EpochCallbacks
    fitted: Callable[[], dict[str, Any]]
    scores: dict[str, Callable[[], float | None]]
    track: Callable[[], dict[str, float]]
    choice: Choice | None
    verbose: bool
    max_epochs: int | None
    keep: Callable[[TrainingState, Choice | None], None]
    seed: int = 0
    group: Alone = ALONE
    started: float = field(default_factory=time.monotonic)

    def weigh_start(self, state: TrainingState) -> None:
        """Let the weights that training starts from be chosen, where validation rows choose."""
        if self.choice is not None and self.choice.by in self.scores:
            self.choice.update(self.scores[self.choice.by](), state)

    def begin_epoch(self, state: TrainingState) -> None:
        """Tell the callbacks, and let dropout differ between processes."""
        self.callbacks.begin_epoch()
        self.group.draw_apart(self.seed, state.epoch)

    def end_epoch(self, state: TrainingState) -> bool:
        """Complete the epoch's row of the history; true if training should stop."""
        row, stop = state.history[-1], False
        row.update(self.track())
        scores = {name: score() for name, score in self.scores.items()}
        row.update({name: score for name, score in scores.items() if score is not None})
        if self.choice is not None and self.choice.by in row:
            stop = self.choice.update(row[self.choice.by], state)
        if self.verbose:
            print(self._line(row))
        stop = self.group.first(lambda: self.callbacks.end_epoch(self.fitted)) or stop
        if not stop:
            self.keep(state, self.choice)
        return stop

    def _line(self, row: dict[str, float]) -> str:
        """Return "epoch 3 of 20", the row's other columns and the seconds since the fit began."""
        total = "" if self.max_epochs is None else f" of {self.max_epochs}"
        columns = [f"{name} {value:.6g}" for name, value in row.items()]
        columns[0] += total
        return ", ".join([*columns, f"{time.monotonic() - self.started:.1f} s"])

    def end_fit(self, state: TrainingState) -> None:
        """Put the best weights back and tell the callbacks."""
        if self.choice is not None and self.choice.best is not None:
            state.restore(self.choice.best)
        self.callbacks.end_fit(self.fitted)
