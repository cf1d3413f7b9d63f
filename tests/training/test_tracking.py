"""Measures of geometry in history_."""

import numpy as np
import pytest
from sklearn.base import clone

from skhug import HUGClassifier, HUGEmbedder
from skhug._parameters import MEASURE_GROUPS
from skhug._training.tracking import SAMPLE_ROWS, sample_by_class
from skhug.metrics import neural_collapse_report


def largest_norm(embeddings, labels, proxies):
    assert len(embeddings) == len(labels)
    return embeddings.norm(dim=1).max()


def test_history_carries_what_is_tracked(Estimator, iris):
    track = ("nc", "separation", largest_norm)
    estimator = Estimator(max_epochs=5, track=track, random_state=0).fit(*iris)
    names = [*MEASURE_GROUPS["nc"], "separation", "largest_norm"]
    assert all(set(names) <= set(row) for row in estimator.history_)
    report = neural_collapse_report(estimator, *iris)  # all rows: fewer than the sample
    last = estimator.history_[-1]
    for name in names[:-1]:
        assert last[name] == pytest.approx(report[name], rel=1e-6), name
    assert last["largest_norm"] == pytest.approx(1)


def test_training_collapses_the_classes(digits):
    model = HUGClassifier(max_epochs=40, track=["cdnv"], random_state=0).fit(*digits)
    cdnv = [row["cdnv"] for row in model.history_]
    assert cdnv[-1] < cdnv[0] / 5


def test_tracking_changes_no_result(Estimator, iris):
    plain = Estimator(max_epochs=4, random_state=0).fit(*iris)
    tracked = Estimator(max_epochs=4, track=("nc",), random_state=0).fit(*iris)
    assert np.array_equal(plain.transform(iris[0]), tracked.transform(iris[0]))


def test_tracking_goes_with_validation_and_partial_fit(iris):
    X, y = iris
    embedder = HUGEmbedder(max_epochs=3, track=("cdnv",), early_stopping=True, random_state=0)
    assert {"cdnv", "validation_score"} <= set(embedder.fit(X, y).history_[-1])
    again = clone(embedder).partial_fit(X, y).partial_fit(X, y)
    assert ["cdnv" in row for row in again.history_] == [True, True]


@pytest.mark.parametrize(
    ("track", "message"),
    [
        (("ndc",), "track has 'ndc'.*nc, within_class_variability"),
        ((largest_norm, largest_norm), "two measures called 'largest_norm'"),
        (3, "'track' parameter"),
    ],
)
def test_wrong_names_are_explained(iris, track, message):
    with pytest.raises(ValueError, match=message):
        HUGClassifier(track=track).fit(*iris)


def test_the_sample_is_bounded_and_spread_over_classes():
    y = np.repeat([0, 1, 2], [5000, 5000, 30])
    sample = sample_by_class(y)
    assert np.bincount(y[sample]).tolist() == [682, 682, 30]
    assert len(set(sample)) == len(sample)
    many = np.arange(30_000) % 1000
    assert np.unique(np.bincount(many[sample_by_class(many)])).tolist() == [0, 8]
    assert len(sample_by_class(many)) == SAMPLE_ROWS[1]
    assert len(sample_by_class(y[3000:7000])) == 1000
    assert sorted(sample_by_class(y[:100])) == list(range(100))


def test_a_function_called_like_a_column_of_the_history_is_refused(iris):
    def loss(*_):
        return 5.0

    with pytest.raises(ValueError, match="rename it"):
        HUGClassifier(track=[loss]).fit(*iris)


def test_a_call_that_brings_one_class_measures_nothing(iris):
    X, y = iris
    model = HUGClassifier(track=["nc"], random_state=0)
    model.partial_fit(X[y == 0], y[y == 0], classes=np.unique(y))
    assert np.isnan(model.history_[-1]["cdnv"])
    assert np.isfinite(model.partial_fit(X, y).history_[-1]["cdnv"])
