"""How a question is asked: trials, their cache, tuning with equal effort, statistics, reports.

A *contender* is a way to train with the settings of its own that it may choose from. A *trial*
trains one contender on one task with one seed and measures it. Every contender of a question gets
the same number of trials to choose its settings, on validation rows set aside from the training
rows; only the chosen setting ever sees the test rows, with every seed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from common import RESULTS, as_table, mean_and_error, show, write
from joblib import Memory, Parallel, delayed
from scipy import stats

from evidence.data import Split, Task, load
from evidence.models import Budget

Setting = dict[str, Any]
Measure = Callable[[Any, Split], dict[str, float]]
# Of each contender, its measures on the test rows: an array over the seeds each.
Final = dict[str, dict[str, np.ndarray]]
OURS = "HUG"  # the family


class Contender(NamedTuple):
    """A way to train, its family, and what it chooses its settings from.

    ``train(budget, X, y, seed, n_classes, **setting)`` returns what has ``predict(X)``: a function
    of a module, or a partial of one, by which the cache knows it. ``own`` are the settings of its
    own; learning rates and weight decays are the question's.
    """

    train: Callable[..., Any]
    family: str
    own: tuple[Setting, ...] = ({},)
    tunes_rates: bool = True


class Trial(NamedTuple):
    """One training and what it is measured on: the validation rows, a share, or the test (0)."""

    train: Callable[..., Any]
    setting: Setting
    task: Task
    budget: Budget
    seed: int
    validation: float


def accuracy(model: Any, split: Split) -> dict[str, float]:
    """Share of the test rows whose class is found."""
    return {"accuracy": float(np.mean(model.predict(split.X_test) == split.y_test))}


def run_trial(trial: Trial, measure: Measure, folder: Path | None) -> dict[str, float]:
    """Train and measure; what the cache keeps."""
    torch.set_num_threads(1)
    split = load(folder, trial.task, trial.validation)
    model = trial.train(
        trial.budget, split.X, split.y, trial.seed, split.n_classes, **trial.setting
    )
    return measure(model, split)


class Lab:
    """Runs trials: in parallel, one thread each, and from the cache where they are known.

    The cache goes by names and settings, and not by code: empty it after a change of a loss.
    ``measure`` is a function of a module, for the same reason.

    Parameters
    ----------
    folder : Path or None
        Where ``mnist.npz`` and ``cifar10.npz`` lie; without it they come from OpenML.
    cache : Path or None
        Keeps the finished trials.
    jobs : int
        Trials at once.
    quick : bool
        Whether a question should take minutes: fewer rows, contenders and seeds, as it sees fit.
    figures : Path or None
        Where pictures go; without it there are none.
    contenders : sequence of str or None
        Those that are measured by a question that can keep the others' figures; without it all.
    """

    validation = 0.2

    def __init__(
        self,
        folder: Path | None,
        cache: Path | None,
        jobs: int,
        quick: bool,
        figures: Path | None = None,
        contenders: Sequence[str] | None = None,
    ) -> None:
        self.folder, self.jobs, self.quick, self.figures = folder, jobs, quick, figures
        self.contenders = contenders
        self.cache = Memory(cache, verbose=0).cache
        self._run = self.cache(run_trial, ignore=["folder"])

    def run(self, trials: Iterable[Trial], measure: Measure = accuracy) -> list[dict[str, float]]:
        """Return what each trial measured."""
        return Parallel(n_jobs=self.jobs, batch_size=1)(
            delayed(self._run)(trial, measure, self.folder) for trial in trials
        )

    def tune(
        self,
        contenders: dict[str, Contender],
        task: Task,
        budget: Budget,
        rates: list[Setting],
        n_trials: int,
        measure: Measure = accuracy,
    ) -> dict[str, tuple[float, Setting]]:
        """Return each contender's best validation score and the setting that had it.

        First its own settings at the first of ``rates``, then, for the best of them, further
        rates, ``n_trials`` in all. The score is the first that ``measure`` returns.
        """
        first, later = rates[0], rates[1:]

        def score(settings: dict[str, list[Setting]]) -> dict[str, list[tuple[float, Setting]]]:
            jobs = [(name, s) for name, several in settings.items() for s in several]
            trials = [
                Trial(contenders[n].train, s, task, budget, 0, self.validation) for n, s in jobs
            ]
            scored = {name: [] for name in settings}
            for (name, s), found in zip(jobs, self.run(trials, measure), strict=True):
                scored[name].append((next(iter(found.values())), s))
            return scored

        def beside(contender: Contender, rate: Setting, own: Setting) -> Setting:
            return {**rate, **own} if contender.tunes_rates else own

        begun = score(
            {n: [beside(c, first, own) for own in c.own[:n_trials]] for n, c in contenders.items()}
        )
        rest = {}
        for name, contender in contenders.items():
            if contender.tunes_rates:
                left = later[: n_trials - len(begun[name])]
                best = _best(begun[name])[1]
                rest[name] = [{**best, **rate} for rate in left]
        for name, more in score(rest).items():
            begun[name] += more
        return {name: _best(scored) for name, scored in begun.items()}

    def final(
        self,
        contenders: dict[str, Contender],
        chosen: dict[str, Setting],
        task: Task,
        budget: Budget,
        seeds: Iterable[int],
        measure: Measure = accuracy,
    ) -> Final:
        """Return each contender's measures on the test rows, an array over the seeds each."""
        seeds = list(seeds)
        trials = [
            Trial(contenders[name].train, setting, task, budget, seed, 0.0)
            for name, setting in chosen.items()
            for seed in seeds
        ]
        found = self.run(trials, measure)
        return {
            name: {k: np.array([f[k] for f in part]) for k in part[0]}
            for i, name in enumerate(chosen)
            for part in [found[i * len(seeds) : (i + 1) * len(seeds)]]
        }


def _best(scored: list[tuple[float, Setting]]) -> tuple[float, Setting]:
    """The first of the best."""
    return max(scored, key=lambda pair: pair[0])


def finalists(
    tuned: dict[str, tuple[float, Setting]], contenders: dict[str, Contender], a_family: int
) -> dict[str, Setting]:
    """Return the settings of the best few contenders of each family, in the table's order."""
    kept = set()
    for family in {contenders[name].family for name in tuned}:
        members = [name for name in tuned if contenders[name].family == family]
        kept |= set(sorted(members, key=lambda name: -tuned[name][0])[:a_family])
    return {name: setting for name, (_, setting) in tuned.items() if name in kept}


def paired(ours: np.ndarray, peer: np.ndarray) -> dict[str, float]:
    """Mean difference of paired values, and the p of a two-sided paired t-test."""
    difference = np.asarray(ours) - np.asarray(peer)
    if np.ptp(difference) == 0:  # a t-test has nothing to divide by
        return {"difference": float(difference.mean()), "p": float(difference[0] == 0)}
    p = stats.ttest_rel(ours, peer).pvalue
    return {"difference": float(difference.mean()), "p": float(p)}


def beside(ours: np.ndarray, peer: np.ndarray) -> str:
    """A paired difference in words: by how much, and whether chance explains it."""
    test = paired(ours, peer)
    found = "better" if test["difference"] > 0 else "worse"
    word = found if test["p"] < 0.05 else "level"
    return f"{test['difference']:+.4f} (p {test['p']:.2g}, {word})"


class Table(NamedTuple):
    """A table of the report: a title, what it says, and cells."""

    title: str
    text: str
    header: list[str]
    rows: list[list[str]]

    def markdown(self) -> str:
        """Return the table under its title."""
        return f"### {self.title}\n\n{self.text}\n\n{as_table(self.header, self.rows)}"


def best_peer(final: Final, contenders: dict[str, Contender]) -> str:
    """Return the contender of another family than ours with the best mean on the test rows."""
    peers = [name for name in final if contenders[name].family != OURS]
    return max(peers, key=lambda name: _first(final[name]).mean())


def comparison(
    title: str, text: str, final: Final, chosen: dict[str, Setting], reference: str
) -> Table:
    """Return a table of contenders, best first: measures, difference to one of them, settings."""
    rows = [
        [
            name,
            *(show(mean_and_error(values)) for values in final[name].values()),
            "" if name == reference else beside(_first(final[name]), _first(final[reference])),
            in_words(chosen[name]),
        ]
        for name in sorted(final, key=lambda name: -_first(final[name]).mean())
    ]
    measures = next(iter(final.values()))
    return Table(title, text, ["contender", *measures, f"beside {reference}", "setting"], rows)


def by_condition(
    title: str,
    text: str,
    finals: dict[str, Final],
    chosen: dict[str, Setting],
    main: str,
    contenders: dict[str, Contender],
) -> Table:
    """Return a table of the first measure with a column a condition, best first in one of them.

    There every contender stands beside the best peer.
    """
    reference = best_peer(finals[main], contenders)
    best = _first(finals[main][reference])
    rows = []
    for name in sorted(chosen, key=lambda name: -_first(finals[main][name]).mean()):
        measured = [final.get(name) for final in finals.values()]  # only the best are everywhere
        cells = [show(mean_and_error(_first(m))) if m else "" for m in measured]
        stands = "" if name == reference else beside(_first(finals[main][name]), best)
        rows.append([name, *cells, stands, in_words(chosen[name])])
    header = ["contender", *finals, f"{main}, beside {reference}", "setting"]
    return Table(title, text, header, rows)


def _first(measured: dict[str, np.ndarray]) -> np.ndarray:
    return next(iter(measured.values()))


def in_words(setting: Setting) -> str:
    """Return a setting as a table shows it."""
    return ", ".join(f"{k} {_short(v)}" for k, v in setting.items()) or "defaults"


def _short(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def as_json(final: Final, chosen: dict[str, Setting]) -> dict[str, dict[str, Any]]:
    """Return every contender's measures, seed by seed and in the mean, and its setting."""
    return {
        name: {
            "setting": {k: _plain(v) for k, v in chosen[name].items()},
            **{m: {**mean_and_error(v), "seeds": v.tolist()} for m, v in measured.items()},
        }
        for name, measured in final.items()
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def publish(lab: Lab, question: str, tables: list[Table], results: dict[str, Any]) -> None:
    """Print the tables and write them beside the figures: ``evidence_QUESTION.md`` and ``.json``.

    A quick run has files of its own.
    """
    name = _file(lab, question)
    text = "\n".join(table.markdown() for table in tables)
    print(text)
    write(name, results, text)


def published(lab: Lab, question: str) -> dict[str, Any]:
    """Return the results of the run before; nothing where there was none."""
    path = RESULTS / f"{_file(lab, question)}.json"
    return json.loads(path.read_text())["results"] if path.exists() else {}


def _file(lab: Lab, question: str) -> str:
    return f"evidence_{question}" + "_quick" * lab.quick
