"""A gallery of named vectors: who is nearest, who comes and goes, who is a stranger."""

import copy
import pickle
import sys
from collections import Counter

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.exceptions import NotFittedError
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.frozen import FrozenEstimator
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_score
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

import skhug
from skhug import ConvNet, HUGClassifier, HUGEmbedder
from skhug.retrieval import Gallery, Index


@pytest.fixture(scope="module")
def rows(digits):
    return digits[0][:600], digits[1][:600], digits[0][600:800], digits[1][600:800]


@pytest.fixture(scope="module")
def trained(digits):
    return HUGEmbedder(max_epochs=3, random_state=0).fit(digits[0][:600], digits[1][:600])


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def state_of(gallery):
    return (
        gallery.vectors_.tolist(),
        gallery.labels_.tolist(),
        gallery.ids_.tolist(),
        gallery.classes_.tolist(),
        gallery.threshold_,
    )


# --- scikit-learn's conventions -----------------------------------------------------------------


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("parameters", [{}, {"n_neighbors": 5}, {"index": "int8"}], ids=str)
def test_every_check_of_scikit_learn_passes(parameters):
    results = check_estimator(Gallery(**parameters), on_fail=None, on_skip=None)
    outcomes = {r["check_name"]: r for r in results if r["status"] != "passed"}
    assert set(outcomes) <= {"check_array_api_input"}, outcomes
    assert Counter(r["status"] for r in results)["passed"] > 50


def test_it_is_searched_over_as_the_last_step_of_a_pipeline(rows):
    X, y, *_ = rows
    pipeline = make_pipeline(StandardScaler(), Gallery())
    grid = {"gallery__n_neighbors": [1, 5], "gallery__index": ["exact", "int8"]}
    search = GridSearchCV(pipeline, grid, cv=3).fit(X, y)
    assert search.best_score_ > 0.7


def test_a_search_trains_an_embedder_on_each_fold_and_reaches_its_parameters(rows):
    X, y, *_ = rows
    fitted = []

    class Spy(PCA):
        def fit_transform(self, X, y=None):
            fitted.append((self.n_components, len(X)))
            return super().fit_transform(X, y)

        def fit(self, X, y=None):
            fitted.append((self.n_components, len(X)))
            return super().fit(X, y)

    grid = {"embedder__n_components": [2, 16]}
    search = GridSearchCV(Gallery(Spy()), grid, cv=StratifiedKFold(3)).fit(X, y)
    assert search.best_params_ == {"embedder__n_components": 16}
    assert Counter(fitted) == {(2, 400): 3, (16, 400): 3, (16, 600): 1}


def test_a_frozen_embedder_keeps_its_training_in_cross_validation(rows, trained):
    X, y, *_ = rows
    frozen = clone(Gallery(FrozenEstimator(trained))).fit(X, y)
    assert frozen.embedder_.estimator is trained
    assert cross_val_score(Gallery(FrozenEstimator(trained)), X, y, cv=3).min() > 0.7


def test_index_parameters_can_be_set_through_a_shorthand():
    gallery = Gallery(index="int8").set_params(index__rescore=9)
    assert (gallery.index.bits, gallery.index.rescore) == (8, 9)
    with pytest.raises(ValueError, match="index"):
        Gallery(index="nonsense").set_params(index__rescore=9)


def test_misspelt_names_and_values_are_told():
    with pytest.raises(TypeError, match="Did you mean n_neighbors"):
        Gallery(n_neighbours=3)
    with pytest.raises(ValueError, match="Did you mean index='exact'"):
        Gallery(index="Exact").fit([[1.0, 0.0]], [0])


def test_nothing_is_answered_before_fit():
    for method in ("predict", "predict_proba", "score_samples", "kneighbors", "remove"):
        with pytest.raises(NotFittedError):
            getattr(Gallery(), method)([[1.0, 0.0]])


# --- search --------------------------------------------------------------------------------------


def test_neighbours_are_those_of_a_naive_search(rows):
    X, y, queries, _ = rows
    distance, index = Gallery().fit(X, y).kneighbors(queries, 7)
    expected = 1 - unit(queries) @ unit(X).T
    np.testing.assert_allclose(distance, np.sort(expected, 1)[:, :7], atol=1e-6)
    np.testing.assert_allclose(
        np.take_along_axis(expected, index, 1), np.sort(expected, 1)[:, :7], atol=1e-6
    )
    theirs = NearestNeighbors(n_neighbors=7, metric="cosine").fit(X)
    assert (index == theirs.kneighbors(queries, return_distance=False)).mean() > 0.99


def test_more_rows_than_a_block_are_searched_as_few(rows, monkeypatch):
    X, y, queries, _ = rows
    expected = Gallery().fit(X, y).kneighbors(queries, 5)
    monkeypatch.setattr("skhug.retrieval._indexes._CHUNK_ROWS", 64)
    monkeypatch.setattr("skhug.retrieval._indexes._BLOCK_ELEMENTS", 1000)
    monkeypatch.setattr("skhug.retrieval._ranking._BLOCK_ELEMENTS", 5000)
    found = Gallery().fit(X, y).kneighbors(queries, 5)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_array_equal(found[0], expected[0])


def test_of_equal_rows_the_first_is_first():
    gallery = Gallery().fit([[1.0, 0], [2.0, 0], [0, 1.0], [3.0, 0]], ["a", "b", "c", "d"])
    assert gallery.kneighbors([[5.0, 0]], 3, return_distance=False).tolist() == [[0, 1, 3]]
    assert gallery.predict([[5.0, 0]]).tolist() == ["a"]


def test_a_row_of_zeros_is_near_to_nothing():
    gallery = Gallery(threshold=0.5).fit([[0.0, 0], [1, 0]], [0, 1])
    assert gallery.predict([[0.0, 0], [3, 0]]).tolist() == [-1, 1]
    assert gallery.score_samples([[0.0, 0]]).tolist() == [0]


def test_several_neighbours_vote_by_their_nearness(rows):
    X, y, queries, _ = rows
    gallery = Gallery(n_neighbors=5, temperature=0.1).fit(X, y)
    distance, index = gallery.kneighbors(queries)
    weight = np.exp((1 - distance) / 0.1)
    pairs = list(zip(weight, index, strict=True))
    expected = np.array([[w[y[i] == c].sum() / w.sum() for c in range(10)] for w, i in pairs])
    np.testing.assert_allclose(gallery.predict_proba(queries), expected, atol=1e-12)
    np.testing.assert_array_equal(gallery.predict(queries), expected.argmax(1))
    even = Gallery(n_neighbors=5, temperature=1e6).fit(X, y)
    peer = KNeighborsClassifier(5, metric="cosine").fit(X, y)
    np.testing.assert_allclose(even.predict_proba(queries), peer.predict_proba(queries), atol=1e-5)


def test_a_gallery_of_fewer_rows_than_neighbours_lets_all_vote():
    gallery = Gallery(n_neighbors=5).fit([[1.0, 0], [0, 1]], [0, 1])
    assert gallery.predict([[1.0, 0.1]]).tolist() == [0]
    with pytest.raises(ValueError, match="n_neighbors=5: pass a whole number from 1 to 2"):
        gallery.kneighbors([[1.0, 0]])


class Half(Index):
    """Finds only the first half of what it is asked for, as a graph may."""

    def follow(self, live, vectors):
        self.vectors = vectors
        return self

    def __len__(self):
        return len(self.vectors)

    def search(self, queries, k):
        found = np.argsort(-queries @ self.vectors.T, 1)[:, :k]
        found[:, (k + 1) // 2 :] = -1
        return found


def test_what_an_index_does_not_find_is_searched_exactly(rows):
    X, y, queries, _ = rows
    found = Gallery(index=Half()).fit(X, y).kneighbors(queries, 4)
    np.testing.assert_array_equal(found[1], Gallery().fit(X, y).kneighbors(queries, 4)[1])


# --- embedders -----------------------------------------------------------------------------------


def test_a_fitted_embedder_is_used_as_it_is_and_another_is_copied(rows, trained):
    X, y, queries, labels = rows
    kept = Gallery(trained).fit(X, y)
    assert kept.embedder_ is trained
    np.testing.assert_allclose(kept.vectors_, trained.transform(X), atol=1e-6)
    template = HUGClassifier(max_epochs=2, random_state=0)
    made = Gallery(template).fit(X, y)
    assert made.embedder_ is not template
    assert not hasattr(template, "module_")
    assert made.score(queries, labels) > 0.8
    assert made.n_features_in_ == 64


def test_adding_rows_does_not_train(rows, trained):
    X, y, *_ = rows
    gallery = Gallery(HUGEmbedder(max_epochs=1, random_state=0)).fit(X[y < 8], y[y < 8])
    before, embedder = gallery.vectors_.copy(), gallery.embedder_
    gallery.partial_fit(X[y == 9], y[y == 9])
    assert gallery.embedder_ is embedder
    np.testing.assert_array_equal(gallery.vectors_[: len(before)], before)


def test_texts_go_through_a_pipeline():
    texts = ["red apple pie", "green apple", "fast blue car", "slow car"]
    embedder = make_pipeline(TfidfVectorizer(), TruncatedSVD(3, random_state=0))
    gallery = Gallery(embedder).fit(texts, ["fruit", "fruit", "car", "car"])
    assert gallery.predict(["an apple", "my car"]).tolist() == ["fruit", "car"]
    with pytest.raises(ValueError, match="sparse rows, and a gallery keeps dense"):
        Gallery(TfidfVectorizer()).fit(texts, [0, 0, 1, 1])


def test_images_and_names_of_columns_are_the_embedders(digits, rows):
    X, y, *_ = rows
    images = X.reshape(-1, 8, 8).astype(np.uint8)
    gallery = Gallery(HUGEmbedder(ConvNet((4,)), max_epochs=1, random_state=0)).fit(
        images[:40], y[:40]
    )
    assert gallery.predict(images[:3]).shape == (3,)
    frame = pd.DataFrame(X[:, :3], columns=list("abc"))
    named = Gallery().fit(frame, y)
    assert named.feature_names_in_.tolist() == list("abc")
    scaled = Gallery(StandardScaler()).fit(frame, y)
    assert scaled.feature_names_in_.tolist() == list("abc")
    scaled.set_params(embedder=None).fit(X, y)
    assert not hasattr(scaled, "feature_names_in_")


def test_an_embedder_of_another_width_is_refused(rows, trained):
    X, y, *_ = rows
    gallery = Gallery(PCA(5).fit(X)).fit(X, y)
    gallery.embedder_ = trained
    with pytest.raises(ValueError, match="9 components and the gallery's vectors have 5"):
        gallery.predict(X)


# --- rows come and go ----------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["exact", "int8", "binary"])
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_rows_that_come_one_by_one_are_found_as_those_that_came_at_once(rows, index, storage):
    X, y, queries, _ = rows
    names = np.array([f"digit {label}" for label in y])
    grown = Gallery(index=index, storage=storage)
    for i in range(100):
        grown.partial_fit(X[i : i + 1], names[i : i + 1])
    grown.partial_fit(X[100:], names[100:])
    whole = Gallery(index=index).fit(X, names)
    assert state_of(grown) == state_of(whole)
    agree = grown.predict(queries) == whole.predict(queries)
    assert agree.mean() > (0.97 if index == "binary" else 0.999)  # learned from other rows


def test_removed_rows_are_gone_with_their_classes(rows):
    X, y, queries, _ = rows
    gallery = Gallery().fit(X, y)
    gallery.remove(gallery.ids_[gallery.labels_ == 0]).remove(1)
    keep = (y != 0) & (np.arange(600) != 1)
    rest = Gallery().fit(X[keep], y[keep], ids=np.flatnonzero(keep))
    assert state_of(gallery) == state_of(rest)
    np.testing.assert_array_equal(gallery.predict(queries), rest.predict(queries))
    gallery.partial_fit(X[:1], y[:1])  # zero comes back, under an id that no row ever had
    assert gallery.ids_[-1] == 600
    assert 0 in gallery.classes_
    assert gallery.predict(X[:1]).tolist() == [0]


def test_an_emptied_gallery_takes_rows_again():
    gallery = Gallery(threshold=0.5).fit([[1.0, 0]], ["a"])
    gallery.remove([0])
    assert gallery.classes_.tolist() == []
    with pytest.raises(ValueError, match="The gallery is empty: add rows"):
        gallery.predict([[1.0, 0]])
    gallery.partial_fit([[0, 1.0]], ["b"])
    assert gallery.predict([[0, 2.0], [1, 0]]).tolist() == ["b", "unknown"]
    assert gallery.ids_.tolist() == [1]


WRONG = {
    "NaN": ([[np.nan, 1.0]], ["c"], {}, "NaN"),
    "another width": ([[1.0, 2, 3]], ["c"], {}, "features"),
    "labels of another kind": ([[1.0, 2]], [3], {}, "numbers and the gallery's labels are strings"),
    "more labels": ([[1.0, 2]], ["c", "d"], {}, "inconsistent numbers"),
    "an id that is there": ([[1.0, 2]], ["c"], {"ids": ["y"]}, "'y', which a row"),
    "no id": ([[1.0, 2]], ["c"], {}, "ids are strings"),
    "ids of another kind": ([[1.0, 2]], ["c"], {"ids": [5]}, "of the same kind"),
    "an id twice": ([[1.0, 2]] * 2, ["c", "c"], {"ids": ["v", "v"]}, "'v' twice"),
    "the label of strangers": ([[1.0, 2]], ["unknown"], {"ids": ["v"]}, "is a class"),
}


@pytest.mark.parametrize("name", WRONG)
@pytest.mark.parametrize("index", ["exact", "int8"])
def test_a_call_that_fails_changes_nothing(name, index):
    X, y, options, message = WRONG[name]
    gallery = Gallery(index=index, threshold=0.3).fit(
        [[1.0, 0], [0, 1.0]], ["a", "b"], ids=["x", "y"]
    )
    before = state_of(gallery)
    with pytest.raises(ValueError, match=message):
        gallery.partial_fit(X, y, **options)
    assert state_of(gallery) == before
    assert gallery.predict([[1.0, 0.1], [0.1, 1]]).tolist() == ["a", "b"]
    gallery.partial_fit([[-1.0, 0]], ["c"], ids=["z"])
    assert gallery.predict([[-1.0, 0.1]]).tolist() == ["c"]


def test_a_fit_that_fails_keeps_what_was_there(rows):
    X, y, *_ = rows
    gallery = Gallery().fit(pd.DataFrame(X[:, :2], columns=["a", "b"]), y)
    before = state_of(gallery)
    with pytest.raises(ValueError, match="ids have shape"):
        gallery.fit(X, y, ids=[1, 2])
    assert state_of(gallery) == before
    assert gallery.feature_names_in_.tolist() == ["a", "b"]
    assert gallery.n_features_in_ == 2


def test_ids_that_no_row_has_are_named_and_nothing_is_removed():
    gallery = Gallery().fit([[1.0, 0], [0, 1]], [0, 1])
    for ids in ([0, 7], "x"):
        with pytest.raises(ValueError, match="has no row with id"):
            gallery.remove(ids)
    assert len(gallery.ids_) == 2


@pytest.mark.parametrize("index", ["exact", "int8", "binary"])
def test_an_interrupt_at_any_line_leaves_the_old_or_the_new_gallery(rows, index):
    X, y, queries, _ = rows
    start = Gallery(index=index).fit(X[:40], y[:40])
    after = copy.deepcopy(start).partial_fit(X[40:60], y[40:60])
    outcomes = Counter()
    for line in range(3, 400, 19):
        gallery, left = copy.deepcopy(start), [line]

        def interrupt(frame, event, argument, left=left):
            if "skhug/retrieval" not in frame.f_code.co_filename.replace("\\", "/"):
                return None
            left[0] -= 1
            if left[0] < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
            return interrupt

        sys.settrace(interrupt)
        try:
            gallery.partial_fit(X[40:60], y[40:60])
            outcomes["finished"] += 1
        except KeyboardInterrupt:
            outcomes["interrupted"] += 1
        finally:
            sys.settrace(None)
        assert state_of(gallery) in (state_of(start), state_of(after))
        if state_of(gallery) == state_of(start):
            gallery.partial_fit(X[40:60], y[40:60])
        np.testing.assert_array_equal(gallery.predict(queries), after.predict(queries))
    assert outcomes["interrupted"] > 3


@pytest.mark.parametrize("index", ["exact", "int8"])
def test_a_copy_and_its_original_grow_apart(index):
    one = Gallery(index=index).fit(np.eye(3), [0, 1, 2])
    one.partial_fit([[-1.0, 0, 0]], [0])  # there is room for more now
    other = copy.copy(one)
    one.partial_fit([[1.0, 1, 0]], [3])
    other.partial_fit([[0, 1.0, 1]], [4])
    for gallery, row, label in ((one, [1.0, 1, 0], 3), (other, [0, 1.0, 1], 4)):
        assert gallery.predict([row]).tolist() == [label]
        assert gallery.classes_.tolist() == [0, 1, 2, label]
        np.testing.assert_allclose(gallery.vectors_[-1], np.array(row) / 2**0.5, rtol=1e-6)


def test_what_is_shown_cannot_be_written_to(rows):
    gallery = Gallery().fit(rows[0], rows[1])
    for shown in (gallery.vectors_, gallery.ids_):
        with pytest.raises(ValueError, match="read-only"):
            shown[0] = 0


def test_a_single_row_costs_no_copy_of_the_others():
    rng = np.random.default_rng(0)
    gallery = Gallery().fit(rng.standard_normal((1000, 8)), np.arange(1000))
    buffers = set()
    for i in range(300):
        gallery.partial_fit(rng.standard_normal((1, 8)), [i])
        buffers.add(gallery._rows.vectors._buffer.ctypes.data)
    assert len(buffers) == 1


# --- labels ---------------------------------------------------------------------------------------

LABELS = {
    "integers": (np.array([3, 5]), -1, np.int64),
    "small integers": (np.array([3, 5], np.uint8), -1, np.int16),
    "largest integers": (np.array([3, 2**63], np.uint64), -1, object),
    "strings": (np.array(["a", "b"]), "unknown", np.dtype("U7")),
    "objects": (np.array(["a", "b"], object), "unknown", object),
    "floats": (np.array([1.0, 2.0]), -1.0, np.float64),
}


@pytest.mark.parametrize("name", LABELS)
def test_strangers_get_a_label_that_the_dtype_holds(name):
    labels, unknown, dtype = LABELS[name]
    gallery = Gallery(threshold=0.9).fit([[1.0, 0], [0, 1.0]], labels)
    predicted = gallery.predict([[1.0, 0.01], [1, 1]])
    assert predicted.dtype == dtype
    assert predicted.tolist() == [labels.tolist()[0], unknown]
    assert Gallery().fit([[1.0, 0], [0, 1.0]], labels).predict([[1.0, 0]]).dtype == labels.dtype


def test_labels_of_strangers_that_cannot_be_are_refused():
    X = [[1.0, 0], [0, 1.0]]
    assert Gallery().fit(X, [-1, 1]).predict([[1.0, 0]]).tolist() == [-1]
    with pytest.raises(ValueError, match="unknown_label=-1 is a class of the gallery"):
        Gallery(threshold=0.5).fit(X, [-1, 1])
    with pytest.raises(ValueError, match="is strings and the labels are numbers"):
        Gallery(threshold=0.5, unknown_label="who").fit(X, [0, 1])
    with pytest.raises(ValueError, match="booleans, which leave none for strangers"):
        Gallery(threshold=0.5).fit(X, [False, True])
    own = Gallery(threshold=0.9, unknown_label=99).fit(X, [-1, 1])
    assert own.predict([[1.0, 1]]).tolist() == [99]


def test_a_longer_label_that_comes_later_is_not_cut():
    gallery = Gallery().fit([[1.0, 0]], ["a"], ids=["x"])
    gallery.partial_fit([[0, 1.0]], ["a much longer name"], ids=["a much longer id"])
    assert gallery.predict([[0, 1.0]]).tolist() == ["a much longer name"]
    assert gallery.ids_.tolist() == ["x", "a much longer id"]


# --- outside the process --------------------------------------------------------------------------


@pytest.mark.parametrize("index", ["exact", "int8", "binary"])
@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_file_and_a_pickle_bring_back_the_gallery(rows, tmp_path, index, storage):
    X, y, queries, labels = rows
    gallery = Gallery(index=index, storage=storage, n_neighbors=3).fit(X[:300], y[:300])
    gallery.partial_fit(X[300:], y[300:]).remove([3])
    gallery.calibrate_threshold(
        np.r_[queries, np.abs(np.random.default_rng(0).standard_normal((20, 64)))],
        np.r_[labels, np.full(20, 77)],
    )
    gallery.save(tmp_path / "gallery.skhug")
    for again in (skhug.load(tmp_path / "gallery.skhug"), pickle.loads(pickle.dumps(gallery))):
        assert state_of(again) == state_of(gallery)
        assert repr(again) == repr(gallery)
        assert again.calibration_ == gallery.calibration_
        np.testing.assert_array_equal(again.predict(queries), gallery.predict(queries))
        np.testing.assert_array_equal(again.predict_proba(queries), gallery.predict_proba(queries))
        again.partial_fit(X[3:4], y[3:4])
        assert again.ids_[-1] == 600
