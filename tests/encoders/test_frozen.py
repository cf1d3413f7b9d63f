"""A frozen backbone: run once over the rows, and fitted as if it had run in every epoch."""

import gc
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset

from skhug import (
    BalancedBatches,
    Checkpoint,
    HUGClassifier,
    HUGEmbedder,
    Learned,
    Pretrained,
)
from skhug._data import sources
from skhug._training import frozen
from skhug.augment import HorizontalFlip
from tests._helpers.interruptions import Cut, assert_same_fit, cut_after


class Counted(nn.Module):
    """A small network for images that counts the rows which it has seen."""

    rows = 0

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.layers = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.Dropout(0.5), nn.GELU(),
            nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(24, 12),
        )  # fmt: skip

    def forward(self, X):
        Counted.rows += len(X)
        return self.layers(X)


class Items(Dataset):
    """A torch data set of (x, y)."""

    def __init__(self, X, y):
        self.X, self.y = X, y

    def __len__(self):
        return len(self.X)

    def __getitem__(self, i):
        return self.X[i], self.y[i]


@pytest.fixture
def images(digits):
    X, y = digits
    return X[:150].reshape(-1, 8, 8).astype(np.uint8), y[:150]


@pytest.fixture
def more(digits):
    X, y = digits
    return X[150:210].reshape(-1, 8, 8).astype(np.uint8), y[150:210]


def model_of(Estimator=HUGClassifier, views=None, **parameters):
    encoder = Pretrained(Counted(), frozen=True, standardize=True, views=views)
    settings = {"max_epochs": 6, "batch_size": 32, "random_state": 0, "precision": "float64"}
    return Estimator(encoder, **{**settings, **parameters})


def rows_seen(fit):
    """Rows that went through the backbone in a fit, beside the few that it is probed with."""
    Counted.rows = 0
    fit()
    return Counted.rows // 10 * 10


def every_epoch(patch):
    """Let the backbone run in every epoch, as a backbone that is trained does."""
    patch.setattr(frozen, "_views", lambda *_: 0)


CASES = {
    "defaults": {},
    "embedder": {"Estimator": HUGEmbedder},
    "one batch": {"batch_size": 1000},
    "learned proxies": {"proxies": Learned()},
    "torch's optimizer": {"optimizer": torch.optim.RMSprop},
    "balanced batches": {"batch_sampler": BalancedBatches(5, 4)},
    "balanced weights": {"class_weight": "balanced"},
    "early stopping": {"early_stopping": True, "n_iter_no_change": 2},
    "tracking": {"track": ["nc"]},
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("place", ["memory", "file"])
def test_a_backbone_that_runs_once_gives_what_one_in_every_epoch_gives(
    name, place, images, more, monkeypatch
):
    X_val, y_val = more
    validation = {} if name == "early stopping" else {"X_val": X_val, "y_val": y_val}
    with monkeypatch.context() as patch:
        every_epoch(patch)
        then = model_of(**CASES[name]).fit(*images, **validation)
    if place == "file":
        monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    now = model_of(**CASES[name]).fit(*images, **validation)
    assert [row.keys() for row in now.history_] == [row.keys() for row in then.history_]
    for one, other in zip(now.history_, then.history_, strict=True):
        assert one == pytest.approx(other, rel=1e-8, abs=1e-10)
    np.testing.assert_allclose(now.transform(X_val), then.transform(X_val), atol=1e-9)
    np.testing.assert_allclose(now.proxies_, then.proxies_, atol=1e-9)
    if name != "embedder":
        np.testing.assert_allclose(now.predict_proba(X_val), then.predict_proba(X_val), atol=1e-7)
    assert not any(part.training for part in now.module_.modules())


def test_every_row_goes_through_the_backbone_once(images, more):
    model = model_of(track=["nc"])
    assert rows_seen(lambda: model.fit(*images, X_val=more[0], y_val=more[1])) == 150 + 60
    assert rows_seen(lambda: model_of(early_stopping=True).fit(*images)) == 150


def test_weights_and_gaps_of_flat_rows_are_as_they_were(monkeypatch):
    rng = np.random.default_rng(0)
    y, weight = np.arange(90) % 3, rng.uniform(size=90)
    X = rng.standard_normal((90, 4)) + y[:, None]
    X[::7, 1] = np.nan  # which makes one column more
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.Tanh())
    encoder = Pretrained(module, frozen=True, standardize=True)
    model = HUGClassifier(encoder, max_epochs=4, random_state=0)
    now = model.fit(X, y, weight).predict_proba(X)
    every_epoch(monkeypatch)
    np.testing.assert_allclose(model.fit(X, y, weight).predict_proba(X), now, atol=1e-7)


def test_parts_and_warm_starts_go_on_as_they_did(images, more, monkeypatch):
    def outputs():
        part = model_of()
        for X, y in (images, more, images):
            part.partial_fit(X, y, classes=range(10))
        warm = model_of(warm_start=True).fit(*images).fit(*images)
        return [part.transform(more[0]), warm.transform(more[0])]

    now = outputs()
    every_epoch(monkeypatch)
    for one, other in zip(now, outputs(), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


@pytest.mark.parametrize("views", [None, 2])
def test_a_fit_that_is_cut_off_ends_as_one_that_is_not(views, images, tmp_path):
    parameters = {"views": views, "augment": HorizontalFlip() if views else None}
    whole = model_of(**parameters).fit(*images)
    cut = model_of(**parameters, checkpoint=Checkpoint(tmp_path, every_seconds=0))
    with pytest.raises(Cut), cut_after(12):
        cut.fit(*images)
    assert list(tmp_path.iterdir())
    cut.fit(*images)
    assert_same_fit(cut, whole, images[0])
    assert not list(tmp_path.iterdir())


def test_a_fitted_model_is_saved_whole(images):
    model = model_of().fit(*images)
    again = pickle.loads(pickle.dumps(model))
    assert np.array_equal(again.transform(images[0]), model.transform(images[0]))
    assert again.module_.body.backbone.layers[0].weight.shape == (6, 1, 3, 3)
    assert np.isclose(model.score(*images), np.mean(model.predict(images[0]) == images[1]))


# --- rows that change ---------------------------------------------------------------------


def test_augmented_rows_go_through_the_backbone_in_every_epoch_unless_views_are_asked_for(images):
    augmented = {"augment": HorizontalFlip()}
    assert rows_seen(lambda: model_of(**augmented).fit(*images)) == 7 * 150  # calibration too
    assert rows_seen(lambda: model_of(views=2, **augmented).fit(*images)) == 3 * 150
    assert rows_seen(lambda: model_of(views=99, **augmented).fit(*images)) == 7 * 150
    with_views = model_of(views=2, **augmented)
    assert rows_seen(lambda: with_views.partial_fit(*images)) == 2 * 150


def test_epochs_take_the_views_in_turn(images):
    seen = []

    def brighter(X, generator):
        second = sum(seen) >= 150
        seen.append(len(X))
        return X + 50 * second

    def losses(**parameters):
        seen.clear()
        model = model_of(learning_rate=1e-12, max_epochs=4, **parameters).fit(*images)
        return [row["loss"] for row in model.history_]

    for batch_size in (30, 1000):  # batches of one size: a row counts the same in each
        plain = losses(batch_size=batch_size)
        both = losses(views=2, augment=brighter, batch_size=batch_size)
        assert sum(seen) == 300
        assert both[0] == pytest.approx(both[2])
        assert both[1] == pytest.approx(both[3])
        assert both[0] != pytest.approx(both[1])
        assert both[0] == pytest.approx(plain[0])


def test_a_data_set_may_draw_its_items_anew_and_is_read_once_if_told_so(images):
    items = Items(*images)
    assert rows_seen(lambda: model_of().fit(items)) == 7 * 150
    once = model_of(views=1)
    assert rows_seen(lambda: once.fit(items)) == 150
    np.testing.assert_allclose(
        once.transform(images[0]), model_of().fit(*images).transform(images[0]), atol=1e-9
    )
    assert rows_seen(lambda: model_of(views=2).fit(items)) == 300


@pytest.mark.parametrize("views", [0, -1, 1.5, "2"])
def test_views_are_a_whole_number_above_zero(views, images):
    with pytest.raises(ValueError, match=r"views=.*whole number above 0"):
        model_of(views=views).fit(*images)


# --- where features lie -------------------------------------------------------------------


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads Linux's list of mappings")
@pytest.mark.parametrize("error", [None, Cut, KeyboardInterrupt], ids=str)
def test_the_file_of_features_is_gone_with_the_fit(error, images, tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    opened, during = frozen.TemporaryFile, []

    def noted():
        file = opened()
        during.append(Path(f"/proc/self/fd/{file.fileno()}").resolve())
        return file

    monkeypatch.setattr(frozen, "TemporaryFile", noted)
    fit = model_of().fit
    if error is None:
        fit(*images)
    elif error is Cut:
        with pytest.raises(Cut), cut_after(8, error):
            fit(*images)
    else:
        with pytest.warns(UserWarning, match="interrupted"), cut_after(8, error):
            fit(*images)
    gc.collect()
    assert [path.parent for path in during] == [tmp_path]
    assert not list(tmp_path.iterdir())
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()


def test_a_full_disk_is_told_and_what_helps(images, monkeypatch):
    class Full:
        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def write(self, _):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(sources, "RESIDENT_BYTES", 0)
    monkeypatch.setattr(frozen, "TemporaryFile", Full)
    with pytest.raises(OSError, match=r"No space left.*TMPDIR"):
        model_of().fit(*images)


def test_what_is_not_finite_is_refused_with_its_row(images):
    X = images[0].astype(np.float32)
    X[77] = 3e38
    model = model_of(precision="float32")
    model.set_params(encoder__standardize=False)
    model.encoder.module.layers[0].weight.data.mul_(100)
    with pytest.raises(ValueError, match="nothing finite in float32 for row 77"):
        model.fit(X, images[1])
