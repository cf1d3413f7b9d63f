"""Defaults where many classes crowd in few dimensions, and where they do not."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs
from torch import nn

from skhug import MHE, MLP, ConvNet, HUGClassifier, HUGEmbedder, load
from skhug._data.rows import Rows
from skhug._defaults import resolve
from skhug._sparse import CompressedRows
from skhug.encoders._few_dimensions import are_crowded

CLASSES = 20


def blobs(n_features=5, n_classes=CLASSES):
    return make_blobs(20 * n_classes, n_features, centers=n_classes, random_state=0)


def settled(model, n_features=5, n_classes=CLASSES):
    """Softness and exponent that a model's parameters stand for."""
    y = np.arange(2 * n_classes) % n_classes
    X = np.random.default_rng(0).random((len(y), n_features))
    settings = resolve(model, Rows(X, y, np.ones(len(y))), np.arange(n_classes), 0)
    return settings.encoder.softness_for((n_features,)), settings.uniformity.s_within


@pytest.mark.parametrize(
    ("n_classes", "n_components", "crowded"),
    [
        (10, 9, False),
        (10, 3, False),
        (17, 4, True),
        (16, 4, False),
        (3, 1, False),  # the 0-sphere
        (9, 2, True),
        (50, 6, True),
        (242, 32, False),  # many, but in 32 dimensions hardly near
        (257, 16, True),
        (256, 16, False),
        (100_000, 128, False),
    ],
)
def test_classes_crowd_beyond_four_times_the_dimensions_if_these_are_few(
    n_classes, n_components, crowded
):
    assert are_crowded(n_classes, n_components) is crowded


@pytest.mark.parametrize("kind", [HUGClassifier, HUGEmbedder])
def test_crowded_classes_get_little_softness_and_the_plain_distance(kind):
    assert settled(kind(n_components=3)) == (1, -1)
    assert settled(kind(n_components=5)) == (100, -2)
    assert settled(kind()) == (100, -2)
    assert settled(kind(MLP(), n_components=3), n_features=64) == (0, -1)


def test_what_is_passed_stands_where_classes_crowd():
    crowded = {"n_components": 3}
    assert settled(HUGClassifier(MLP(softness=100.0), **crowded)) == (100, -1)
    assert settled(HUGClassifier(MLP(softness=0.0), **crowded)) == (0, -1)
    assert settled(HUGClassifier(uniformity="mhe", **crowded)) == (1, -2)
    assert settled(HUGClassifier(uniformity=MHE(s_within=-4.0), **crowded)) == (1, -4)


def test_an_encoder_that_says_how_soft_is_asked_where_classes_crowd():
    class Soft(MLP):
        def softness_for(self, input_shape):
            return 7.0

    assert settled(HUGClassifier(Soft(4), n_components=3)) == (7, -1)


def test_images_and_modules_keep_their_own():
    images = np.random.default_rng(0).random((2 * CLASSES, 4, 4))
    y = np.arange(2 * CLASSES) % CLASSES
    rows = Rows(images, y, np.ones(len(y)))
    settings = resolve(HUGClassifier(ConvNet((2,)), n_components=3), rows, np.arange(CLASSES), 0)
    assert (settings.encoder.softness, settings.uniformity.s_within) == (0, -1)
    given, own = (
        resolve(
            HUGClassifier(nn.Linear(5, 3), n_components=d),
            Rows(blobs()[0], blobs()[1], np.ones(20 * CLASSES)),
            np.arange(CLASSES),
            0,
        ).uniformity.s_within
        for d in (3, None)
    )
    assert given == own == -2  # whether or not its width is told


def test_sparse_rows_keep_their_own():
    y = np.arange(2 * CLASSES) % CLASSES
    rows = Rows(CompressedRows(sparse.csr_array(np.eye(len(y)))), y, np.ones(len(y)))
    settings = resolve(HUGClassifier(n_components=3), rows, np.arange(CLASSES), 0)
    assert (settings.encoder.softness, settings.uniformity.s_within) == (100, -2)


def test_a_model_of_crowded_classes_keeps_its_softness(tmp_path):
    X, y = blobs()
    model = HUGClassifier(MLP(8, members=2), n_components=3, max_epochs=1, random_state=0)
    model.fit(X, y)
    assert model.module_.softness == 1
    assert model.encoder.softness is None
    model.save(tmp_path / "model.skhug")
    again = load(tmp_path / "model.skhug")
    assert again.module_.softness == 1
    np.testing.assert_array_equal(again.predict_proba(X), model.predict_proba(X))
    assert again.set_params(warm_start=True).fit(X, y).module_.softness == 1
    assert model.partial_fit(X, y).module_.softness == 1


def test_a_stream_of_crowded_classes_goes_by_all_that_were_declared():
    X, y = blobs()
    model = HUGClassifier(MLP(8, members=1), n_components=3, max_epochs=1, random_state=0)
    few = y < 4  # four classes in three dimensions are not crowded
    model.partial_fit(X[few], y[few], classes=np.arange(CLASSES))
    assert model.module_.softness == 1
    assert model.partial_fit(X, y).module_.softness == 1


def test_a_fitted_softness_stands_where_training_goes_on():
    X, y = blobs()
    model = HUGClassifier(MLP(8, softness=100.0), n_components=3, max_epochs=1, warm_start=True)
    model.fit(X, y).set_params(encoder=MLP(8))
    assert model.fit(X, y).module_.softness == 100


def test_crowded_classes_are_told_apart():
    X, y = make_blobs(1200, 10, centers=30, cluster_std=2.0, random_state=0)
    new = np.arange(len(y)) % 2 == 1
    common = {"n_components": 3, "max_epochs": 30, "batch_size": 32, "random_state": 0}
    ours = HUGClassifier(MLP(64, members=1), **common)
    as_many_dimensions = HUGClassifier(
        MLP(64, members=1, softness=100.0), uniformity="mhe", **common
    )
    found, other = (
        m.fit(X[~new], y[~new]).score(X[new], y[new]) for m in (ours, as_many_dimensions)
    )
    assert found > other + 0.03
