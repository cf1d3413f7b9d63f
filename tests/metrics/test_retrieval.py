"""Search with well-kept libraries: scikit-learn's neighbours and faiss on the embeddings."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.neighbors import KNeighborsClassifier, KNeighborsTransformer, NearestNeighbors
from sklearn.pipeline import make_pipeline

from skhug import HUGEmbedder
from skhug.metrics import recall_at_k


@pytest.fixture(scope="module")
def task(digits):
    X, y = digits
    embedder = HUGEmbedder(max_epochs=10, random_state=0).fit(X[:1200], y[:1200])
    return embedder, X[:1200], y[:1200], X[1200:], y[1200:]


@pytest.fixture(scope="module")
def recall(task):
    embedder, X, y, queries, labels = task
    gallery = {"gallery": embedder.transform(X), "gallery_labels": y}
    return recall_at_k(embedder.transform(queries), labels, k=5, **gallery)


def recall_of(neighbours, y, labels):
    return np.mean((y[neighbours] == labels[:, None]).any(1))


def test_nearest_neighbors_finds_what_the_metrics_count(task, recall):
    embedder, X, y, queries, labels = task
    index = NearestNeighbors(n_neighbors=5).fit(embedder.transform(X))
    neighbours = index.kneighbors(embedder.transform(queries), return_distance=False)
    assert recall_of(neighbours, y, labels) == pytest.approx(recall)
    assert recall > 0.8  # chance: 0.4


def test_faiss_finds_what_the_metrics_count(task, recall, tmp_path):
    faiss = pytest.importorskip("faiss")
    embedder, X, y, queries, labels = task
    gallery = embedder.transform(X).astype(np.float32)
    index = faiss.IndexFlatIP(gallery.shape[1])
    index.add(gallery)
    faiss.write_index(index, str(tmp_path / "index"))
    index = faiss.read_index(str(tmp_path / "index"))
    cosines, neighbours = index.search(embedder.transform(queries).astype(np.float32), 5)
    assert recall_of(neighbours, y, labels) == pytest.approx(recall)
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert cosines.max() <= 1 + 1e-5


def test_k_neighbors_classifier_ends_a_pipeline(task):
    _, X, y, queries, labels = task
    pipeline = make_pipeline(
        HUGEmbedder(max_epochs=10, random_state=0), KNeighborsClassifier(5, weights="distance")
    )
    assert pipeline.fit(X, y).score(queries, labels) > 0.8
    search = GridSearchCV(pipeline, {"kneighborsclassifier__n_neighbors": [1, 9]}, cv=2)
    assert search.fit(X, y).score(queries, labels) > 0.8


def test_k_neighbors_transformer_passes_a_graph_on(task):
    _, X, y, queries, labels = task
    embedder = HUGEmbedder(max_epochs=10, random_state=0)
    graph = make_pipeline(
        embedder,
        KNeighborsTransformer(n_neighbors=20, mode="distance"),
        KNeighborsClassifier(5, metric="precomputed"),
    ).fit(X, y)
    plain = make_pipeline(embedder, KNeighborsClassifier(5)).fit(X, y)
    assert graph[:-1].transform(queries).shape == (len(queries), len(X))
    assert np.mean(graph.predict(queries) == plain.predict(queries)) > 0.99
    assert graph.score(queries, labels) > 0.8


def test_unseen_classes_join_an_index_without_training(digits):
    X, y = digits
    seen = y < 8
    embedder = HUGEmbedder(max_epochs=10, random_state=0).fit(X[seen], y[seen])
    index = KNeighborsClassifier(1).fit(embedder.transform(X[::2]), y[::2])
    unseen = ~seen[1::2]
    assert index.score(embedder.transform(X[1::2][unseen]), y[1::2][unseen]) > 0.6  # chance: 0.1
