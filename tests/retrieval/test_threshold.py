"""Thresholds for strangers: the best of all there are, and warnings where they say little."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer

from skhug import HUGClassifier
from skhug.retrieval import Gallery
from skhug.retrieval._threshold import choose_threshold

SCORES = st.lists(
    st.tuples(st.sampled_from([-0.5, 0.1, 0.2, 0.3, 0.9]), st.booleans(), st.booleans()),
    min_size=2,
    max_size=12,
)


def naive(scores, known, right, threshold):
    """Return F1, accuracy, false accept rate by counting."""
    accepted = scores >= threshold
    hits = (accepted & right).sum()
    precision = hits / accepted.sum() if accepted.any() else 0.0
    recall = hits / known.sum()
    f1 = 2 * precision * recall / (precision + recall) if hits else 0.0
    told = (accepted & right) | (~accepted & ~known)
    return f1, told.mean(), (accepted & ~known).sum() / (~known).sum()


@settings(deadline=None, max_examples=40)
@given(SCORES)
def test_no_threshold_is_better_than_the_one_chosen(rows):
    scores, known, right = (np.array(column) for column in zip(*rows, strict=True))
    known[:2] = True, False
    right &= known
    candidates = np.r_[-1, np.unique(scores), 1]
    for place, strategy in enumerate(["f1", "accuracy"]):
        best, figures = choose_threshold(scores, known, right, strategy, 0.1)
        values = [naive(scores, known, right, t)[place] for t in candidates]
        got = naive(scores, known, right, best)
        assert got[place] == pytest.approx(max(values))
        assert figures["f1"] == pytest.approx(got[0])
        assert figures["accuracy"] == pytest.approx(got[1])
        assert figures["false_accept_rate"] == pytest.approx(got[2])
    for rate in (0.0, 0.3, 0.99):
        best, _ = choose_threshold(scores, known, right, "max_far", rate)
        accepted = (scores >= best).sum()
        allowed = [t for t in candidates if naive(scores, known, right, t)[2] <= rate]
        assert naive(scores, known, right, best)[2] <= rate
        assert accepted == max((scores >= t).sum() for t in allowed)


def test_neighbours_among_floats_are_told_apart():
    low = 0.5
    scores = np.array([np.nextafter(low, 1), low])
    best, _ = choose_threshold(scores, np.array([True, False]), np.array([True, False]), "f1", 0)
    assert (scores >= best).tolist() == [True, False]


@pytest.fixture(scope="module")
def split(digits):
    """Rows of a gallery of digits below 7, and others of all digits."""
    X, y = digits
    own = np.flatnonzero(y[:900] < 7)
    return X[own], y[own], X[900:], y[900:]


def test_a_calibrated_gallery_refuses_strangers(split):
    X, y, rest, labels = split
    half = len(rest) // 2
    gallery = Gallery().fit(X, y)
    assert (gallery.predict(rest) >= 0).all()
    gallery.calibrate_threshold(rest[:half], labels[:half], "max_far", max_far=0.05)
    predicted, known = gallery.predict(rest[:half]), labels[:half] < 7
    calibration = gallery.calibration_
    assert calibration["false_accept_rate"] == (predicted[~known] != -1).mean() <= 0.05
    assert calibration["identified"] == (predicted == labels[:half])[known].mean()
    assert (calibration["n_known"], calibration["n_strangers"]) == (known.sum(), (~known).sum())
    truth = np.where(labels[half:] < 7, labels[half:], -1)
    assert gallery.score(rest[half:], truth) > Gallery().fit(X, y).score(rest[half:], truth)
    gallery.partial_fit(rest[:1], [9])
    assert gallery.threshold_ is not None
    assert gallery.fit(X, y).threshold_ is None


def test_strangers_may_bear_the_label_of_strangers(split):
    X, y, rest, labels = split
    named = np.where(labels < 7, labels.astype(str), "unknown")
    strings = Gallery().fit(X, y.astype(str)).calibrate_threshold(rest, named)
    numbers = Gallery().fit(X, y).calibrate_threshold(rest, labels)
    assert strings.threshold_ == numbers.threshold_


def test_more_neighbours_decide_who_is_right(split):
    X, y, rest, labels = split
    gallery = Gallery(n_neighbors=5, temperature=1.0).fit(X, y).calibrate_threshold(rest, labels)
    known = labels < 7
    assert gallery.calibration_["identified"] == pytest.approx(
        (gallery.predict(rest) == labels)[known].mean()
    )


def test_rows_that_say_nothing_of_strangers_are_refused(split):
    X, y, rest, labels = split
    gallery = Gallery().fit(X, y)
    for mask, what in ((labels < 7, "a stranger"), (labels >= 7, "a class of the gallery")):
        with pytest.raises(ValueError, match=f"No row is of {what}"):
            gallery.calibrate_threshold(rest[mask], labels[mask])
    strangers = rest[labels >= 7], labels[labels >= 7]
    own = np.r_[X, strangers[0]], np.r_[y, strangers[1]]
    with pytest.raises(ValueError, match="are the gallery's own, and find themselves"):
        gallery.calibrate_threshold(*own)
    with pytest.raises(ValueError, match=r"strategy='best'.*: pass one of 'f1'"):
        gallery.calibrate_threshold(rest, labels, "best")
    assert gallery.threshold_ is None


def test_rows_that_say_little_are_warned_of(split):
    X, y, rest, labels = split
    gallery = Gallery().fit(X, y)
    with pytest.warns(UserWarning, match="1 of .* known rows are equal to rows of the gallery"):
        gallery.calibrate_threshold(np.r_[rest, X[:1]], np.r_[labels, y[:1]])
    few = np.r_[np.flatnonzero(labels < 7), np.flatnonzero(labels == 8)[:5]]
    with pytest.warns(UserWarning, match="5 strangers cannot tell a false accept rate of 0.01"):
        gallery.calibrate_threshold(rest[few], labels[few], "max_far")


def test_strangers_that_the_embedder_was_trained_on_are_warned_of(digits, split):
    X, y, rest, labels = split
    everyone = HUGClassifier(max_epochs=2, random_state=0).fit(*digits)
    wrapped = (everyone, FrozenEstimator(everyone), make_pipeline(Normalizer(), everyone))
    for embedder in wrapped:
        gallery = Gallery(embedder).fit(X, y)
        with pytest.warns(UserWarning, match="trained on 3 of the strangers' classes, such as 7"):
            gallery.calibrate_threshold(rest, labels)
    some = HUGClassifier(max_epochs=2, random_state=0).fit(X, y)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Gallery(some).fit(X, y).calibrate_threshold(rest, labels)
