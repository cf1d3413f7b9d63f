"""What a gallery is handed by mistake: told at once and by name, and nothing is lost."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.decomposition import TruncatedSVD

import skhug
from skhug.retrieval import FaissIndex, Gallery, QuantizedIndex, UsearchIndex

X = np.random.default_rng(0).standard_normal((40, 6))
y = np.arange(40) % 4


def filled(**parameters):
    return Gallery(**parameters).fit(X, y)


@pytest.mark.parametrize("scale", [1e300, 1e155, 1e-160, 1e-300, 1e-310])
def test_the_length_of_rows_never_counts(scale):
    gallery = Gallery().fit(X * scale, y)
    np.testing.assert_allclose(gallery.vectors_, filled().vectors_, atol=1e-6)
    lengths = 10.0 ** np.linspace(-300, 300, 40)[:, None]
    np.testing.assert_allclose(gallery.score_samples(X * lengths), 1, atol=1e-6)


@pytest.mark.parametrize("ids", [np.array([1, 2**63], np.uint64), [2**63 - 1, 1]])
def test_ids_that_would_turn_into_others_are_refused(ids):
    with pytest.raises(ValueError, match=r"pass integers below 2\^63"):
        filled().partial_fit(X[:2], y[:2], ids=ids)


def test_ids_end_with_an_error_and_not_with_fractions():
    gallery = Gallery().fit(X[:1], y[:1], ids=[2**63 - 3])
    gallery.partial_fit(X[:1], y[:1])
    with pytest.raises(ValueError, match="No integers below"):
        gallery.partial_fit(X[:1], y[:1])
    assert gallery.ids_.tolist() == [2**63 - 3, 2**63 - 2]


def test_ids_to_remove_come_in_any_collection():
    for ids in ([1, 2], {1, 2}, range(1, 3), pd.Series([1, 2], dtype=object)):
        assert len(filled().remove(ids).ids_) == 38
    for ids in ([1, "a"], np.array([1, "a"], object)):
        with pytest.raises(ValueError, match="mix numbers and strings"):
            filled().remove(ids)


@pytest.mark.parametrize(
    "labels", [[None] * 40, pd.Series([None] + ["a"] * 39, dtype="string")], ids=["None", "NA"]
)
def test_labels_with_gaps_are_told(labels):
    with pytest.raises(ValueError, match="y have gaps"):
        Gallery().fit(X, labels)


@pytest.mark.parametrize(
    ("name", "value"),
    [("n_neighbors", 0), ("n_neighbors", 2.5), ("temperature", 0), ("storage", "nowhere")],
)
def test_parameters_set_amiss_after_fit_are_told_and_lose_nothing(name, value, tmp_path):
    gallery = filled().set_params(**{name: value})
    for call in (gallery.predict, gallery.predict_proba):
        with pytest.raises(ValueError, match=f"'{name}' parameter of Gallery"):
            call(X)
    with pytest.raises(ValueError, match=f"'{name}' parameter of Gallery"):
        gallery.save(tmp_path / "gallery.skhug")
    default = getattr(Gallery(), name)
    again = pickle.loads(pickle.dumps(gallery)).set_params(**{name: default})
    again.save(tmp_path / "gallery.skhug")
    loaded = skhug.load(tmp_path / "gallery.skhug")
    np.testing.assert_array_equal(loaded.predict(X), y)


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (QuantizedIndex(rescore=0), "rescore=0: pass a whole number"),
        (QuantizedIndex([8]), "pass 8 or 1"),
        (FaissIndex(rescore=0), "rescore=0: pass a whole number"),
        (UsearchIndex(rescore=1.5), "rescore=1.5: pass a whole number"),
        (QuantizedIndex, r"is a class: pass an object, QuantizedIndex\(\)"),
    ],
    ids=str,
)
def test_an_index_that_cannot_search_is_refused_by_fit(index, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Gallery(index=index).fit(X, y)


def test_numbers_out_of_range_are_told_by_name():
    for k in (0, 1.5, 41):
        with pytest.raises(ValueError, match=f"k={k}: pass a whole number from 1 to 40"):
            filled().index_recall(X, k)
    with pytest.raises(ValueError, match="max_queries=0: pass"):
        filled().index_recall(X, max_queries=0)
    for arguments in ((["f1"],), ("max_far",)):
        with pytest.raises(ValueError, match="max_far='low': pass one of"):
            filled().calibrate_threshold(-X, y, *arguments, max_far="low")


def test_an_empty_gallery_says_that_it_is_empty():
    gallery = filled()
    gallery.remove(gallery.ids_)
    for call in (gallery.predict, gallery.kneighbors, gallery.index_recall):
        with pytest.raises(ValueError, match="The gallery is empty"):
            call(X)


def test_recall_is_measured_on_sparse_rows_too():
    gallery = Gallery(TruncatedSVD(4, random_state=0), index="int8")
    rows = sparse.csr_array(np.abs(X))
    recall = gallery.fit(rows, y).index_recall(rows, 3)
    assert recall == gallery.index_recall(rows.toarray(), 3)


def test_rows_without_labels_are_refused_by_name():
    for call in (filled().partial_fit, Gallery(TruncatedSVD(2)).fit):
        with pytest.raises(ValueError, match="y is None, and a gallery requires y"):
            call(X, None)
