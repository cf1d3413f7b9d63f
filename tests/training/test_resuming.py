"""Interrupted fits: they go on where they stopped and end as if nothing had been."""

import os

import numpy as np
import pytest
import torch
from interruptions import (
    CASES,
    Cut,
    Items,
    assert_same_fit,
    cut_after,
    every_epoch,
    fit_with_cuts,
    new,
    rows,
)

from skhug import HUGClassifier, HUGEmbedder
from skhug._data import sources as _sources
from skhug._saving import archive as _archive


@pytest.mark.parametrize("name", CASES)
def test_a_fit_cut_off_three_times_ends_as_one_that_was_not(Estimator, name, tmp_path):
    X, y = CASES[name][1]()
    whole = new(name, Estimator).fit(X, y)
    cuts = (3, 2, 2) if name == "one batch" else (7, 8, 9)
    resumed, hit = fit_with_cuts(name, tmp_path, X, y, Estimator, cuts)
    assert hit == 3
    assert_same_fit(resumed, whole, X)
    assert os.listdir(tmp_path) == []


def test_nothing_is_trained_twice_but_the_epoch_that_was_cut(tmp_path):
    X, y = rows()  # five batches an epoch, eight epochs
    for n_batches, left in ((12, 2), (15, 5), (14, 7)):
        with pytest.raises(Cut), cut_after(n_batches):
            new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)
        ((path),) = tmp_path.iterdir()
        header, _ = _archive.read_archive(path, "checkpoint")
        assert dict(header["state"]["dict"])["epoch"] == left
    with cut_after(5):  # the last epoch, and not a batch more
        new("kernel", checkpoint=every_epoch(tmp_path)).fit(X, y)


def test_streamed_rows_go_on(tmp_path, monkeypatch):
    X, y = rows()
    monkeypatch.setattr(_sources, "RESIDENT_BYTES", 100)
    np.save(tmp_path / "X.npy", X)
    memory_map = np.load(tmp_path / "X.npy", mmap_mode="r")
    for data, labels in ((memory_map, y), (Items(X, y), None)):
        whole = new("early stopping").fit(data, labels)
        resumed, hit = fit_with_cuts("early stopping", tmp_path / "kept", data, labels)
        assert hit == 3
        assert_same_fit(resumed, whole, X)


def test_validation_data_and_weights_go_on(tmp_path):
    X, y = rows()
    fit = {"sample_weight": 1 + np.arange(len(y)) % 3, "X_val": X[::3], "y_val": y[::3]}
    whole = new("kernel").fit(X, y, **fit)
    resumed, hit = fit_with_cuts("kernel", tmp_path, X, y, **fit)
    assert hit == 3
    assert_same_fit(resumed, whole, X)


def test_a_warm_start_goes_on(tmp_path):
    X, y = rows()
    whole = new("kernel", warm_start=True).fit(X, y)
    resumed = new("kernel", warm_start=True, checkpoint=every_epoch(tmp_path)).fit(X, y)
    whole.fit(X, y)
    with pytest.raises(Cut), cut_after(12):
        resumed.fit(X, y)
    with cut_after(30):  # six of eight epochs
        resumed.fit(X, y)
    assert_same_fit(resumed, whole, X)


def test_without_a_seed_the_one_that_was_drawn_goes_on(tmp_path):
    X, y = rows()
    more = {"random_state": None, "early_stopping": True, "n_iter_no_change": 99}

    def epochs(model):
        return [{name: row[name] for name in ("loss", "validation_score")} for row in model]

    with pytest.raises(Cut), cut_after(12):
        new("kernel", checkpoint=every_epoch(tmp_path), **more).fit(X, y)
    ((path),) = tmp_path.iterdir()
    header, _ = _archive.read_archive(path, "checkpoint")
    split, seed = header["seeds"]
    assert split != seed
    resumed = new("kernel", checkpoint=every_epoch(tmp_path), **more).fit(X, y)

    class Drawn(np.random.RandomState):
        """Draws these two seeds."""

        seeds = iter((split, seed))

        def randint(self, *args, **kwargs):
            return next(self.seeds)

    whole = new("kernel", **{**more, "random_state": Drawn()}).fit(X, y)
    assert epochs(resumed.history_) == epochs(whole.history_)
    assert_same_fit(resumed, whole, X)


def test_a_fit_cut_off_after_its_last_epoch_trains_no_more(tmp_path):
    X, y = rows()

    def fail(*args):
        raise Cut

    model = new("early stopping", n_iter_no_change=99, checkpoint=tmp_path)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(HUGClassifier._goal), "fitted_attributes", fail)
        with pytest.raises(Cut):
            model.fit(X, y)
    with cut_after(0):
        model = new("early stopping", n_iter_no_change=99, checkpoint=tmp_path).fit(X, y)
    assert_same_fit(model, new("early stopping", n_iter_no_change=99).fit(X, y), X)


@pytest.mark.usefixtures("random_states_untouched")
def test_going_on_leaves_the_global_random_states_alone(tmp_path):
    X, y = rows()
    for n_batches in (12, 10**9):
        with torch.random.fork_rng():
            model = new("dropout", checkpoint=every_epoch(tmp_path))
        try:
            with cut_after(n_batches):
                model.fit(X, y)
        except Cut:
            continue


def test_embedders_keep_their_best_score(tmp_path):
    X, y = rows()
    more = {"early_stopping": True, "n_iter_no_change": 2, "max_epochs": 30}

    def make(**checkpoint):
        return new("kernel", HUGEmbedder, **more, **checkpoint)

    whole = make().fit(X, y)
    assert whole.n_iter_ < 30
    for n_batches in (4, 9, 9, 9, 10**9):
        resumed = make(checkpoint=every_epoch(tmp_path))
        try:
            with cut_after(n_batches):
                resumed.fit(X, y)
        except Cut:
            continue
        break
    assert_same_fit(resumed, whole, X)
