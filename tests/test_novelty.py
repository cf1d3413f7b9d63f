"""Rows of known classes are told from others by the last hidden layer."""

import pickle

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import NotFittedError
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.utils.estimator_checks import check_estimator
from torch import nn

from skhug import MLP, ConvNet, HUGClassifier, HUGEmbedder, Pretrained
from skhug.encoders._probing import into_last_layer
from skhug.novelty import KnownClasses

X, Y = load_digits(return_X_y=True)
KNOWN = Y < 7


def quick(encoder="auto", **parameters):
    return HUGClassifier(encoder, max_epochs=2, random_state=0, **parameters)


@pytest.fixture(scope="module")
def model():
    return quick(MLP((16, 8), members=2)).fit(X[KNOWN], Y[KNOWN])


def hidden(model, rows):
    """What a perceptron's last layer takes, by hand."""
    prepared = model.module_.prepare(torch.from_numpy(rows))
    with torch.no_grad():
        parts = [network[:-1](prepared).numpy() for network in model.module_.body.networks]
    return np.hstack([part / np.linalg.norm(part, axis=1, keepdims=True) for part in parts])


def test_the_score_is_minus_the_mahalanobis_distance_to_the_nearest_class(model):
    rows, y = X[KNOWN], Y[KNOWN]
    points = hidden(model, rows).astype(float)
    means = {label: points[y == label].mean(0) for label in set(y)}
    covariance = np.zeros((16, 16))
    for point, label in zip(points, y, strict=True):
        away = point - means[label]
        covariance += np.outer(away, away) / len(y)
    covariance += 1e-3 * np.trace(covariance) / 16 * np.eye(16)
    inverse = np.linalg.inv(covariance)
    expected = [
        -min(np.sqrt((p - m) @ inverse @ (p - m)) for m in means.values())
        for p in hidden(model, X[:40])
    ]
    scores = KnownClasses(model).fit(rows, y).score_samples(X[:40])
    np.testing.assert_allclose(scores, expected, rtol=1e-3)


def test_unknown_digits_are_told_better_than_by_the_nearest_proxy():
    model = HUGClassifier(max_epochs=20, random_state=0)
    train = KNOWN & (np.arange(len(Y)) % 4 > 0)
    novelty = KnownClasses(model).fit(X[train], Y[train])
    rows = ~train
    area = roc_auc_score(KNOWN[rows], novelty.score_samples(X[rows]))
    plain = roc_auc_score(KNOWN[rows], novelty.estimator_.score_samples(X[rows]))
    assert area > 0.94
    assert area > plain


def test_rows_not_trained_on_set_the_threshold(model):
    rows = X[KNOWN]
    novelty = KnownClasses(model, contamination=0.2).fit(rows[::2], Y[KNOWN][::2], X_val=rows[1::2])
    verdicts = novelty.predict(rows[1::2])
    assert set(verdicts) == {-1, 1}
    assert np.mean(verdicts == -1) == pytest.approx(0.2, abs=0.01)
    decision = novelty.decision_function(X)
    np.testing.assert_array_equal(decision < 0, novelty.predict(X) == -1)
    np.testing.assert_allclose(decision, novelty.score_samples(X) - novelty.offset_)


def test_a_fitted_estimator_is_taken_as_it_is_and_a_frozen_one_survives_a_clone(model):
    assert KnownClasses(model).fit(X[KNOWN], Y[KNOWN]).estimator_ is model
    frozen = clone(KnownClasses(FrozenEstimator(model)))
    assert frozen.fit(X[KNOWN], Y[KNOWN]).estimator_ is model
    copied = clone(KnownClasses(model)).fit(X[KNOWN], Y[KNOWN])
    assert copied.estimator_ is not model
    assert not hasattr(copied.estimator, "module_")


def test_a_pickle_gives_the_same_scores(model):
    novelty = KnownClasses(model).fit(X[KNOWN], Y[KNOWN])
    again = pickle.loads(pickle.dumps(novelty))
    np.testing.assert_array_equal(again.score_samples(X), novelty.score_samples(X))
    assert again.offset_ == novelty.offset_


IMAGES = X.reshape(-1, 8, 8).astype(np.float32)
UNIT = (X / np.linalg.norm(X, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize(
    ("estimator", "rows"),
    [
        (quick(ConvNet((8, 8))), IMAGES),
        (quick(Pretrained(nn.Sequential(nn.Flatten(), nn.Linear(64, 8)), frozen=True)), IMAGES),
        (quick("vectors"), UNIT),
        (quick(MLP(())), X),
        (quick(MLP((8,))), sparse.csr_array(np.tile(X, 9))),
        (HUGEmbedder(MLP((8,)), max_epochs=2, random_state=0), X),
        (quick(nn.Sequential(nn.Linear(64, 6), nn.Tanh())), X.astype(np.float32)),
    ],
    ids=["images", "frozen", "vectors", "linear", "sparse", "embedder", "no linear layer last"],
)
def test_any_encoder_has_a_layer_to_look_at(estimator, rows):
    rows, y = rows[:300], Y[:300]
    scores = KnownClasses(estimator).fit(rows, y).score_samples(rows[:20])
    assert scores.shape == (20,)
    assert np.isfinite(scores).all()
    assert scores.max() <= 0


def test_what_the_last_layer_takes_is_found_behind_other_layers():
    rows = torch.randn(3, 4)
    head = nn.Linear(5, 2)
    trunk = nn.Sequential(nn.Linear(4, 5), nn.ReLU())
    torch.testing.assert_close(into_last_layer(nn.Sequential(trunk, head), rows), trunk(rows))
    ends_in_another = nn.Sequential(trunk, head, nn.Tanh())
    torch.testing.assert_close(into_last_layer(ends_in_another, rows), ends_in_another(rows))
    assert not head._forward_hooks


def test_one_row_a_class_has_distances(model):
    rows = np.unique(Y[KNOWN], return_index=True)[1]
    novelty = KnownClasses(model).fit(X[KNOWN][rows], Y[KNOWN][rows])
    np.testing.assert_allclose(novelty.score_samples(X[KNOWN][rows]), 0, atol=1e-3)
    assert np.isfinite(novelty.score_samples(X)).all()


def test_what_cannot_be_done_is_said(model):
    with pytest.raises(TypeError, match="pass a HUGClassifier or a HUGEmbedder"):
        KnownClasses(LogisticRegression()).fit(X, Y)
    for share in (0, 0.6, "auto"):
        with pytest.raises(ValueError, match="pass a share above 0"):
            KnownClasses(model, contamination=share).fit(X, Y)
    with pytest.raises(ValueError, match="y is None"):
        KnownClasses(model).fit(X)
    with pytest.raises(ValueError, match="pass one for each row"):
        KnownClasses(model).fit(X, Y[:-1])
    with pytest.raises(NotFittedError):
        KnownClasses(model).predict(X)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_check_of_scikit_learn_passes():
    novelty = KnownClasses(HUGClassifier(max_epochs=2, random_state=0))
    results = check_estimator(novelty, on_fail=None, on_skip=None)
    assert not {r["check_name"]: repr(r["exception"]) for r in results if r["status"] == "failed"}


def test_a_fit_that_fails_leaves_what_was_fitted(model):
    novelty = KnownClasses(model)
    with pytest.raises(ValueError, match="features"):
        novelty.fit(X[KNOWN], Y[KNOWN], X_val=X[:, :9])
    with pytest.raises(NotFittedError):
        novelty.predict(X)
    expected = novelty.fit(X[KNOWN], Y[KNOWN]).decision_function(X[:9])
    with pytest.raises(ValueError, match="features"):
        novelty.fit(X[KNOWN][::2], Y[KNOWN][::2], X_val=X[:, :9])
    np.testing.assert_array_equal(novelty.decision_function(X[:9]), expected)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, "a"], "y mix numbers and strings"),
        ([None, None], "y have gaps"),
        (np.array([1, np.nan]), "y have gaps"),
    ],
    ids=["two kinds", "None", "NaN"],
)
def test_labels_that_are_no_classes_are_refused(model, labels, message):
    with pytest.raises(ValueError, match=message):
        KnownClasses(model).fit(X[:2], labels)
