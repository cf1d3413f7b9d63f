"""What happens between epochs: validation, early stopping, printing, callbacks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from skhug._callbacks import EpochCallbacks
from skhug._training import Patience, TrainingState


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
        Whether to print a line an epoch.
    keep : callable
        Takes the state and the patience, to write them to disk.
    """

    callbacks: EpochCallbacks
    fitted: Callable[[], dict[str, Any]]
    score: Callable[[], float] | None
    track: Callable[[], dict[str, float]]
    patience: Patience | None
    verbose: bool
    keep: Callable[[TrainingState, Patience | None], None]

    def end_epoch(self, state: TrainingState) -> bool:
        """Complete the epoch's row of the history; true if training should stop."""
        row, stop = state.history[-1], False
        row.update(self.track())
        if self.score is not None:
            row["validation_score"] = self.score()
            if self.patience is not None:
                stop = self.patience.update(row["validation_score"], state)
        if self.verbose:
            print(", ".join(f"{name} {value:.6g}" for name, value in row.items()))
        stop = self.callbacks.end_epoch(self.fitted) or stop
        if not stop:
            self.keep(state, self.patience)
        return stop

    def end_fit(self, state: TrainingState) -> None:
        """Put the best weights back and tell the callbacks."""
        if self.patience is not None and self.patience.best is not None:
            state.restore(self.patience.best)
        self.callbacks.end_fit(self.fitted)
