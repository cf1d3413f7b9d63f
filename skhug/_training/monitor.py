"""What happens between epochs: validation, early stopping, printing, callbacks."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from skhug._sklearn import EpochCallbacks
from skhug._training.state import Patience, TrainingState


@dataclass
class Monitor:
    """Listens to a training run and says when to stop.

    Parameters
    ----------
    callbacks : EpochCallbacks
        scikit-learn's callbacks.
    fitted : callable
        Returns the fitted attributes as of now.
    score : callable or None
        Returns the validation score as of now.
    track : callable
        Returns measures of geometry by name, as of now.
    patience : Patience or None
        Early stopping on that score.
    verbose : bool
        Whether to print one line per epoch.
    max_epochs : int or None
        Epochs at most, for that line; None where nobody knows.
    keep : callable
        Takes the state and the patience, to write them to disk.
    """

    callbacks: EpochCallbacks
    fitted: Callable[[], dict[str, Any]]
    score: Callable[[], float] | None
    track: Callable[[], dict[str, float]]
    patience: Patience | None
    verbose: bool
    max_epochs: int | None
    keep: Callable[[TrainingState, Patience | None], None]
    started: float = field(default_factory=time.monotonic)

    def end_epoch(self, state: TrainingState) -> bool:
        """Complete the epoch's row of the history; true if training should stop."""
        row, stop = state.history[-1], False
        row.update(self.track())
        if self.score is not None:
            row["validation_score"] = self.score()
            if self.patience is not None:
                stop = self.patience.update(row["validation_score"], state)
        if self.verbose:
            print(self._line(row))
        stop = self.callbacks.end_epoch(self.fitted) or stop
        if not stop:
            self.keep(state, self.patience)
        return stop

    def _line(self, row: dict[str, float]) -> str:
        """Return "epoch 3 of 20", the row's other columns and the seconds since the fit began."""
        total = "" if self.max_epochs is None else f" of {self.max_epochs}"
        columns = [f"{name} {value:.6g}" for name, value in row.items()]
        columns[0] += total
        return ", ".join([*columns, f"{time.monotonic() - self.started:.1f} s"])

    def end_fit(self, state: TrainingState) -> None:
        """Put the best weights back and tell the callbacks."""
        if self.patience is not None and self.patience.best is not None:
            state.restore(self.patience.best)
        self.callbacks.end_fit(self.fitted)
