"""HUGEmbedder: scored by retrieval, searched by other libraries' indexes."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline

from skhug import HUGEmbedder
from skhug.metrics import mean_average_precision_at_r


def test_score_is_map_at_r_of_the_embeddings(digits):
    X, y = digits
    embedder = HUGEmbedder(max_epochs=5, random_state=0).fit(X[:900], y[:900])
    expected = mean_average_precision_at_r(embedder.transform(X[900:]), y[900:])
    assert embedder.score(X[900:], y[900:]) == expected
    assert expected > mean_average_precision_at_r(X[900:], y[900:])


def test_score_takes_classes_never_seen_and_weights(digits):
    X, y = digits
    embedder = HUGEmbedder(max_epochs=2, random_state=0).fit(X[y < 7], y[y < 7])
    unseen = y >= 7
    weight = np.where(y[unseen] == 8, 0.0, 1.0)
    weighted = embedder.score(X[unseen], y[unseen], sample_weight=weight)
    assert 0 < weighted != embedder.score(X[unseen], y[unseen])


def test_fit_transform_equals_fit_then_transform(digits):
    X, y = digits
    embedder = HUGEmbedder(max_epochs=2, random_state=0)
    assert np.array_equal(embedder.fit_transform(X, y), embedder.fit(X, y).transform(X))


def test_labels_are_required(digits):
    with pytest.raises(ValueError, match="requires y"):
        HUGEmbedder().fit(digits[0], None)


def test_nearest_neighbours_of_scikit_learn_take_the_embeddings(digits):
    X, y = digits
    embedder = HUGEmbedder(max_epochs=10, random_state=0)
    pipeline = make_pipeline(embedder, KNeighborsClassifier(3)).fit(X[:900], y[:900])
    assert pipeline.score(X[900:], y[900:]) > 0.9
    gallery = pipeline[0].transform(X)
    nearest = NearestNeighbors(n_neighbors=1).fit(gallery).kneighbors(gallery[:5])[1]
    assert nearest.ravel().tolist() == list(range(5))


def test_validation_rows_without_a_pair_are_refused_before_training(iris):
    X, y = iris
    steps = []
    embedder = HUGEmbedder(early_stopping=True, schedule=lambda done: steps.append(done) or 1.0)
    with pytest.raises(ValueError, match="raise validation_fraction"):
        embedder.fit(X[::5], y[::5])  # a tenth of 30 rows is one a class
    with pytest.raises(ValueError, match="two rows or more of a class"):
        embedder.fit(X, y, X_val=X[::50], y_val=y[::50])
    assert steps == []
