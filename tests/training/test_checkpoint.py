"""Checkpoints: when they are written, which file is whose, and disks that do not take them."""

import functools
import os
import resource
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch
from interruptions import Cut, assert_same_fit, cut_after, every_epoch, new, rows
from sklearn.model_selection import GridSearchCV

from skhug import MLP, Checkpoint
from skhug._saving import archive as _archive
from skhug._training import resuming as _resuming

# --- when it is written --------------------------------------------------------------------


def written(monkeypatch):
    """Collect the epochs at which a file is written."""
    epochs, write = [], _resuming.Keeper._write

    def spy(self):
        epochs.append(self._latest["epoch"])
        write(self)

    monkeypatch.setattr(_resuming.Keeper, "_write", spy)
    return epochs


def test_the_first_file_waits_for_no_seconds_and_others_for_both_intervals(tmp_path, monkeypatch):
    X, y = rows()
    epochs, clock = written(monkeypatch), [0.0]

    def seconds():  # one passes between two readings: after each epoch, and after each write
        clock[0] += 1
        return clock[0]

    monkeypatch.setattr(_resuming.time, "monotonic", seconds)
    for spec, expected in (
        (Checkpoint(tmp_path, every_seconds=0), [1, 2, 3, 4, 5, 6, 7, 8]),
        (Checkpoint(tmp_path, every_epochs=3, every_seconds=0), [3, 6]),
        (Checkpoint(tmp_path, every_seconds=2.5), [1, 4, 7]),
        (Checkpoint(tmp_path, every_seconds=1e9), [1]),
        (Checkpoint(tmp_path, every_epochs=3, every_seconds=1e9), [3]),
    ):
        new("kernel", checkpoint=spec).fit(X, y)
        assert epochs == expected, spec
        epochs.clear()


@pytest.mark.parametrize("as_path", [str, lambda path: path], ids=["string", "path"])
def test_a_folder_stands_for_the_default_and_is_left_as_it_was_passed(tmp_path, as_path):
    X, y = rows()
    folder = as_path(tmp_path / "new" / "folder")
    model = new("kernel", checkpoint=folder)
    with pytest.raises(Cut), cut_after(12):
        model.fit(X, y)
    assert model.checkpoint is folder
    assert len(os.listdir(folder)) == 1  # an error leaves the last whole epoch, whatever the clock
    assert_same_fit(model.fit(X, y), new("kernel").fit(X, y), X)
    assert model.checkpoint is folder


def test_ctrl_c_loses_no_whole_epoch(tmp_path):
    X, y = rows()
    with (
        pytest.warns(UserWarning, match="interrupted by the user"),
        cut_after(12, KeyboardInterrupt),
    ):
        model = new("early stopping", checkpoint=tmp_path).fit(X, y)
    assert model.n_iter_ == 2
    assert len(os.listdir(tmp_path)) == 1
    model.fit(X, y)
    assert_same_fit(model, new("early stopping").fit(X, y), X)
    assert os.listdir(tmp_path) == []


def test_ctrl_c_inside_a_write_loses_no_whole_epoch_either(tmp_path, monkeypatch):
    X, y = rows()
    sync, calls = _archive._sync, []

    def interrupted(descriptor):
        calls.append(descriptor)
        if len(calls) == 5:  # of the third file, before it has its name
            raise KeyboardInterrupt
        sync(descriptor)

    monkeypatch.setattr(_archive, "_sync", interrupted)
    with pytest.warns(UserWarning, match="interrupted by the user"):
        model = new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)
    ((path),) = tmp_path.iterdir()
    header, _ = _archive.read_archive(path, "checkpoint")
    assert dict(header["state"]["dict"])["epoch"] == model.n_iter_ == 3
    assert_same_fit(model.fit(X, y), new("kernel").fit(X, y), X)


def test_a_fit_that_goes_on_says_so(tmp_path, capsys):
    X, y = rows()
    for n_batches in (12, 10**9):
        model = new("kernel", checkpoint=tmp_path, verbose=1)
        try:
            with cut_after(n_batches):
                model.fit(X, y)
        except Cut:
            before = capsys.readouterr().out
    lines = capsys.readouterr().out.splitlines()
    assert "going on" not in before
    assert lines[0].startswith(f"going on after epoch 2, from {tmp_path}")
    assert lines[1].startswith("epoch 3 of 8, loss ")


@pytest.mark.parametrize(
    ("spec", "match"),
    [
        ({"every_epochs": 0}, "every_epochs=0: pass a whole number"),
        ({"every_epochs": 1.5}, "every_epochs=1.5"),
        ({"every_seconds": -1}, "every_seconds=-1: pass a number"),
        ({"every_seconds": float("nan")}, "every_seconds=nan"),
        ({"every_seconds": "1"}, "every_seconds='1'"),
    ],
)
def test_intervals_out_of_range_are_refused(tmp_path, spec, match):
    with pytest.raises(ValueError, match=match):
        new("kernel", checkpoint=Checkpoint(tmp_path, **spec)).fit(*rows())
    with pytest.raises(ValueError, match="checkpoint"):
        new("kernel", checkpoint=3).fit(*rows())


# --- which file ----------------------------------------------------------------------------


def leave_checkpoint(folder, X, y, **more):
    with pytest.raises(Cut), cut_after(12):
        new("kernel", checkpoint=every_epoch(folder), **more).fit(X, y)
    return max(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns)


def test_other_parameters_and_data_have_files_of_their_own(tmp_path):
    X, y = rows()
    for more in ({}, {"learning_rate": 0.01}, {"max_epochs": 9}, {"encoder": MLP((9,))}):
        leave_checkpoint(tmp_path, X, y, **more)
    leave_checkpoint(tmp_path, X + 1e-9, y)
    leave_checkpoint(tmp_path, X, (y + 1) % 5)
    assert len(os.listdir(tmp_path)) == 6
    leave_checkpoint(tmp_path, X, y, verbose=1)  # changes nothing
    assert len(os.listdir(tmp_path)) == 6


@pytest.mark.parametrize(
    ("changed", "match"),
    [
        ({"learning_rate": 0.01}, "another fit, with another learning_rate:"),
        ({"beta": 2.0, "tol": 0.1}, "another beta, another tol:"),
        ({"X": 1.0}, "with another X:"),
        ({"y": 1}, "with another y:"),
    ],
)
def test_a_checkpoint_of_another_fit_is_refused_with_the_reason(tmp_path, changed, match):
    X, y = rows()
    own = leave_checkpoint(tmp_path, X, y)
    changed = dict(changed)
    other_X, other_y = X + changed.pop("X", 0), (y + changed.pop("y", 0)) % 5
    (tmp_path / "other").mkdir()
    leave_checkpoint(tmp_path / "other", other_X, other_y, **changed).replace(own)
    before = own.read_bytes()
    with pytest.raises(ValueError, match=match + ".*delete the file"):
        new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)
    assert own.read_bytes() == before


@pytest.mark.parametrize("damage", ["cut", "flipped", "empty", "model", "other content"])
def test_a_damaged_checkpoint_is_left_aside_with_a_warning(tmp_path, damage):
    X, y = rows()
    path = leave_checkpoint(tmp_path, X, y)
    data = bytearray(path.read_bytes())
    if damage == "cut":
        del data[-100:]
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
    elif damage == "empty":
        data.clear()
    path.write_bytes(data)
    if damage == "model":
        new("kernel").fit(X, y).save(path)
    if damage == "other content":
        path.write_bytes(_archive.pack("checkpoint", {"parts": {}}, {}))
    with pytest.warns(RuntimeWarning, match=r"left aside \(.*from the beginning"):
        model = new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)
    assert_same_fit(model, new("kernel").fit(X, y), X)


def test_clones_of_a_search_do_not_collide(tmp_path):
    X, y = rows()
    grid = {"learning_rate": [1e-3, 1e-2], "uniformity": ["mhe", "mhs"]}
    plain = GridSearchCV(new("kernel"), grid, cv=2, error_score="raise").fit(X, y)
    model = new("kernel", checkpoint=every_epoch(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    assert kept.best_params_ == plain.best_params_
    np.testing.assert_allclose(
        kept.cv_results_["mean_test_score"], plain.cv_results_["mean_test_score"], atol=1e-9
    )
    assert os.listdir(tmp_path) == []


def test_a_search_cut_off_goes_on_with_the_fit_that_it_was_in(tmp_path, monkeypatch):
    X, y = rows()
    grid = {"learning_rate": [1e-3, 1e-2]}
    model = new("kernel", checkpoint=every_epoch(tmp_path))
    with pytest.raises(Cut), cut_after(60):
        GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    assert len(os.listdir(tmp_path)) == 1
    loads, load = [], _resuming.Keeper._load

    def spy(self):
        loads.append(load(self))
        return loads[-1]

    monkeypatch.setattr(_resuming.Keeper, "_load", spy)
    GridSearchCV(model, grid, cv=2, error_score="raise").fit(X, y)
    assert sum(saved is not None for saved in loads) == 1


def test_partial_fit_writes_nothing(tmp_path):
    new("kernel", checkpoint=every_epoch(tmp_path)).partial_fit(*rows())
    assert os.listdir(tmp_path) == []


# --- where it cannot be written ------------------------------------------------------------


def fit_with_one_warning(folder, match):
    X, y = rows()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model = new("kernel", checkpoint=every_epoch(folder)).fit(X, y)
    assert len(caught) == 1
    assert caught[0].category is RuntimeWarning
    assert match in str(caught[0].message)
    assert_same_fit(model, new("kernel").fit(X, y), X)


def test_a_folder_that_cannot_be_made_costs_a_warning(tmp_path):
    (tmp_path / "file").touch()
    fit_with_one_warning(tmp_path / "file" / "folder", "Not a directory")
    fit_with_one_warning(tmp_path / "file", "Not a directory")


def test_a_full_disk_costs_a_warning_and_the_last_good_file_stays(tmp_path, monkeypatch):
    X, y = rows()
    path = leave_checkpoint(tmp_path, X, y)
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_archive, "_sync", full)
    with (
        pytest.warns(RuntimeWarning, match="No space left.*training goes on without"),
        pytest.raises(Cut),
        cut_after(12),
    ):
        new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == [path.name]
    fit_with_one_warning(tmp_path, "No space left")


def test_a_quota_of_the_system_costs_a_warning(tmp_path):
    """The kernel itself cuts the write: a child may write files of 2,000 bytes at most."""
    code = (
        "import sys, warnings\n"
        "import numpy as np\n"
        "from skhug import Checkpoint, HUGClassifier\n"
        "X, y = np.random.default_rng(0).standard_normal((50, 4)), np.arange(50) % 2\n"
        "with warnings.catch_warnings(record=True) as caught:\n"
        "    warnings.simplefilter('always')\n"
        "    checkpoint = Checkpoint(sys.argv[1], every_seconds=0)\n"
        "    HUGClassifier(max_epochs=5, random_state=0, checkpoint=checkpoint).fit(X, y)\n"
        "print(len(caught), caught[0].message)\n"
    )
    limit = functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (2000, 2000))
    run = subprocess.run(
        [sys.executable, "-B", "-c", code, str(tmp_path)],
        preexec_fn=limit,
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.startswith("1 The checkpoint could not be written")
    assert "File too large" in run.stdout
    assert os.listdir(tmp_path) == []


def test_an_optimizer_with_state_of_unknown_types_costs_a_warning(tmp_path):
    class Odd(torch.optim.SGD):
        def state_dict(self):
            return {**super().state_dict(), "odd": object()}

    X, y = rows()
    with pytest.warns(RuntimeWarning, match="could not be written.*of type object"):
        model = new("kernel", optimizer=Odd, checkpoint=every_epoch(tmp_path)).fit(X, y)
    assert model.n_iter_ == 8


def test_what_killed_processes_left_goes_with_the_checkpoint(tmp_path):
    X, y = rows()
    path = leave_checkpoint(tmp_path, X, y)
    (tmp_path / f".{path.name}.0123abcd.tmp").write_bytes(b"half")
    (tmp_path / "mine.txt").touch()
    new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)
    assert os.listdir(tmp_path) == ["mine.txt"]


def test_a_process_killed_in_its_second_epoch_leaves_the_first(tmp_path):
    code = (
        "import os, signal, sys\n"
        "import numpy as np\n"
        "from skhug import HUGClassifier\n"
        "calls = []\n"
        "def kill(embeddings, labels, proxies):\n"
        "    calls.append(0)\n"
        "    if len(calls) == 2:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return 0.0\n"
        "X, y = np.random.default_rng(0).standard_normal((50, 4)), np.arange(50) % 2\n"
        "HUGClassifier(max_epochs=5, track=kill, checkpoint=sys.argv[1]).fit(X, y)\n"
    )
    run = subprocess.run([sys.executable, "-B", "-c", code, str(tmp_path)])
    assert run.returncode == -9
    ((path),) = tmp_path.iterdir()
    header, _ = _archive.read_archive(path, "checkpoint")
    assert dict(header["state"]["dict"])["epoch"] == 1
