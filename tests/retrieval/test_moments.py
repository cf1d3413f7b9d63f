"""A gallery at a moment: what it answers while it changes, and where rows tie."""

import numpy as np
import pytest
import torch

from skhug.retrieval import Gallery, _indexes, _libraries

ROWS = np.random.default_rng(0).standard_normal((60, 6))
NAMES = np.array([f"m{i:02d}" for i in range(60)])
LIVE = {
    "exact": _indexes._Scan,
    "int8": _indexes._Codes,
    "faiss": _libraries._Faiss,
    "usearch": _libraries._Usearch,
}


@pytest.mark.parametrize("index", LIVE)
@pytest.mark.parametrize("first", [True, False], ids=["before the search", "after it"])
@pytest.mark.parametrize("change", ["adds", "removes"])
def test_a_query_is_answered_by_what_was_there_when_it_came(index, first, change, monkeypatch):
    pytest.importorskip(index) if index in ("faiss", "usearch") else None
    gallery = Gallery(index=index, n_neighbors=3).fit(ROWS, NAMES)
    asked = gallery.predict(ROWS), gallery.predict_proba(ROWS), gallery.kneighbors(ROWS)[1]
    search, due = LIVE[index].search, []

    def meanwhile():
        if due and change == "adds":  # labels before and behind those there, and equal rows
            gallery.partial_fit(ROWS, np.char.add(due.pop(), NAMES))
        elif due:
            gallery.remove(gallery.ids_[: len(due.pop())])

    def searched(self, queries, k):
        if first:
            meanwhile()
        found = search(self, queries, k)
        meanwhile()
        return found

    monkeypatch.setattr(LIVE[index], "search", searched)
    for call, expected in zip(
        (gallery.predict, gallery.predict_proba, lambda X: gallery.kneighbors(X)[1]),
        asked,
        strict=True,
    ):
        gallery.fit(ROWS, NAMES)
        due.append("a")
        np.testing.assert_array_equal(call(ROWS), expected)
        assert not due
        assert len(gallery.ids_) == (120 if change == "adds" else 59)


@pytest.mark.parametrize("index", ["int8", "faiss", "usearch"])
def test_rows_of_a_call_cut_off_after_the_index_took_them_are_not_searched(index, monkeypatch):
    pytest.importorskip(index) if index in ("faiss", "usearch") else None
    gallery = Gallery(index=index).fit(ROWS[:50], NAMES[:50])
    rows, live = gallery._rows, gallery._live
    gallery.partial_fit(-ROWS[:5], ["lost"] * 5)
    gallery.__dict__.update(Gallery(index=index).fit(ROWS[:50], NAMES[:50]).__dict__)
    gallery.__dict__.update(_rows=rows, _live=live)  # as a call leaves it that ends in between
    np.testing.assert_array_equal(gallery.predict(ROWS[:50]), NAMES[:50])
    gallery.partial_fit(ROWS[50:], NAMES[50:])
    np.testing.assert_array_equal(gallery.predict(ROWS), NAMES)
    assert gallery.index_recall(ROWS, 1) == 1


def test_of_any_number_of_equal_rows_the_first_are_nearest():
    rows = np.repeat(ROWS[:2], 300, axis=0)
    shuffled = np.random.default_rng(1).permutation(600)
    places = np.flatnonzero(shuffled < 300)  # where the first of the two is
    gallery = Gallery().fit(rows[shuffled], np.arange(600))
    for n_queries in (1, 7):
        _, index = gallery.kneighbors(np.repeat(ROWS[:1], n_queries, axis=0), 5)
        assert index.tolist() == [places[:5].tolist()] * n_queries
    _, index = gallery.kneighbors(np.zeros((1, 6)), 5)
    assert index.tolist() == [[0, 1, 2, 3, 4]]


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_tensors_are_rows_whatever_their_dtype_and_gradient(dtype):
    tensor = torch.tensor(ROWS, dtype=dtype, requires_grad=True)
    gallery = Gallery().fit(tensor, NAMES).partial_fit(tensor, NAMES)
    np.testing.assert_array_equal(gallery.predict(tensor), NAMES)
    np.testing.assert_array_equal(gallery.predict(ROWS), NAMES)
