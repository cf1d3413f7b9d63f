"""Indexes of a gallery: what they find, and what they say where they cannot."""

import pickle
import sys

import numpy as np
import pytest
from sklearn.base import clone

from skhug.retrieval import ExactIndex, FaissIndex, Gallery, QuantizedIndex, UsearchIndex

RNG = np.random.default_rng(0)
CENTRES = RNG.standard_normal((40, 32))
ROWS = np.repeat(CENTRES, 25, 0) + 0.5 * RNG.standard_normal((1000, 32))
LABELS = np.repeat(np.arange(40), 25)
QUERIES = np.repeat(CENTRES, 5, 0) + 0.5 * RNG.standard_normal((200, 32))
# Specification, package that it needs, least recall of ten neighbours.
CASES = {
    "exact": (ExactIndex(), None, 1.0),
    "int8": (QuantizedIndex(8), None, 0.999),
    "int8 alone": (QuantizedIndex(8, rescore=1), None, 0.95),
    "binary": (QuantizedIndex(1, rescore=10), None, 0.85),
    "faiss": (FaissIndex(), "faiss", 1.0),
    "faiss graph": (FaissIndex("HNSW16", search="efSearch=128"), "faiss", 0.95),
    "faiss lists": (FaissIndex("IVF16,Flat", search="nprobe=8"), "faiss", 0.9),
    "faiss codes": (FaissIndex("SQ8", rescore=2), "faiss", 0.99),
    "usearch": (UsearchIndex(), "usearch", 0.95),
    "usearch bytes": (UsearchIndex("i8", rescore=4), "usearch", 0.95),
    "usearch halves": (UsearchIndex("f16"), "usearch", 0.95),
    "usearch bits": (UsearchIndex("b1", rescore=20), "usearch", 0.6),
}


@pytest.fixture(params=CASES)
def case(request):
    spec, package, least = CASES[request.param]
    if package:
        pytest.importorskip(package)
    return spec, least


def test_recall_and_neighbours_are_what_the_index_promises(case):
    spec, least = case
    gallery = Gallery(index=spec).fit(ROWS, LABELS)
    assert least <= gallery.index_recall(QUERIES) <= 1
    exact = Gallery().fit(ROWS, LABELS)
    (near, found), (nearest, places) = (g.kneighbors(QUERIES, 3) for g in (gallery, exact))
    same = found == places
    np.testing.assert_allclose(near[same], nearest[same], atol=1e-12)  # by the vectors, not codes
    assert (near >= nearest - 1e-12).all()
    assert (gallery.predict(QUERIES) == exact.predict(QUERIES)).mean() > 0.95


def test_rows_can_be_added_removed_and_searched_one_by_one(case):
    spec, least = case
    gallery = Gallery(index=spec).fit(ROWS[:700], LABELS[:700])
    for i in range(700, 710):
        gallery.partial_fit(ROWS[i : i + 1], LABELS[i : i + 1])
    gallery.partial_fit(ROWS[710:], LABELS[710:])
    gallery.remove(np.arange(0, 1000, 2))
    assert gallery.index_recall(QUERIES, 5) >= least - 0.05
    odd = np.arange(1, 1000, 2)
    found = [gallery.kneighbors(ROWS[i : i + 1], 1, return_distance=False)[0, 0] for i in odd[:40]]
    assert np.mean(gallery.ids_[found] == odd[:40]) > 0.9


def test_a_pickle_searches_again(case):
    spec, least = case
    gallery = pickle.loads(pickle.dumps(Gallery(index=spec).fit(ROWS, LABELS)))
    assert gallery.index_recall(QUERIES) >= least - 0.05


def test_index_recall_is_that_of_a_naive_count():
    gallery = Gallery(index=QuantizedIndex(1, rescore=1)).fit(ROWS, LABELS)
    z, q = (X / np.linalg.norm(X, axis=1, keepdims=True) for X in (ROWS, QUERIES))
    exact = np.argsort(-q @ z.T, 1)[:, :5]
    found = gallery.kneighbors(QUERIES, 5, return_distance=False)
    pairs = zip(exact, found, strict=True)
    expected = np.mean([len(set(a) & set(b)) / 5 for a, b in pairs])
    assert expected < 0.9
    assert gallery.index_recall(QUERIES, 5) == pytest.approx(expected, abs=1e-9)


def test_codes_take_a_quarter_and_a_thirty_second_of_the_bytes():
    for bits, share in ((8, 4), (1, 32)):
        gallery = Gallery(index=QuantizedIndex(bits), storage="disk").fit(ROWS, LABELS)
        assert gallery._live.nbytes * share == gallery.vectors_.nbytes == 1000 * 32 * 4


def test_rescoring_finds_more():
    recalls = [
        Gallery(index=QuantizedIndex(1, rescore=m)).fit(ROWS, LABELS).index_recall(QUERIES)
        for m in (1, 4, 100)
    ]
    assert recalls[0] < recalls[1] < recalls[2] == 1


def test_a_constant_shift_of_all_rows_leaves_bits_that_tell_them_apart():
    shifted = Gallery(index=QuantizedIndex(1, rescore=10)).fit(ROWS + 20, LABELS)
    assert shifted.index_recall(QUERIES + 20) > 0.8


def test_bits_and_lists_are_learned_anew_when_the_rows_have_doubled():
    pytest.importorskip("faiss")
    for spec in (QuantizedIndex(1), FaissIndex("IVF4,Flat")):
        gallery = Gallery(index=spec).fit(ROWS[:200], LABELS[:200])
        learned = []
        for i in range(200, 1000, 100):
            gallery.partial_fit(ROWS[i : i + 100], LABELS[i : i + 100])
            learned.append(gallery._live.n_learned)
        assert learned == [200, 200, 500, 500, 500, 500, 500, 500]


def test_what_a_library_refuses_is_told_with_its_parameter():
    pytest.importorskip("faiss")
    with pytest.raises(ValueError, match=r"faiss cannot make FaissIndex\(factory='Nonsense'\)"):
        Gallery(index=FaissIndex("Nonsense")).fit(ROWS, LABELS)
    with pytest.raises(ValueError, match="needs more rows than it has lists"):
        Gallery(index=FaissIndex("IVF64,Flat")).fit(ROWS[:10], LABELS[:10])
    gallery = Gallery(index=FaissIndex("IVF4,Flat")).fit(ROWS[:100], LABELS[:100])
    with pytest.raises(ValueError, match=r"bits=4\): pass 8 or 1"):
        gallery.set_params(index=QuantizedIndex(4)).fit(ROWS, LABELS)
    assert len(gallery.ids_) == 100
    assert gallery.index_recall(QUERIES) > 0.2


def test_usearch_names_the_types_that_it_takes():
    pytest.importorskip("usearch")
    with pytest.raises(ValueError, match=r"dtype='f8'\): pass 'f32'"):
        Gallery(index=UsearchIndex("f8")).fit(ROWS, LABELS)


@pytest.mark.parametrize("package", ["faiss", "usearch"])
def test_a_package_that_is_missing_is_named_with_its_extra(package, monkeypatch):
    for name in (package, f"{package}.index"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=rf"pip install 'skhug\[{package}\]'"):
        Gallery(index=package).fit(ROWS, LABELS)


def test_an_index_that_failed_half_way_is_built_anew(monkeypatch):
    pytest.importorskip("faiss")
    gallery = Gallery(index="faiss").fit(ROWS[:100], LABELS[:100])
    follow = FaissIndex.follow

    def stopped(self, live, vectors):
        follow(self, live, vectors)  # the rows are in, and the gallery does not hear of it
        raise KeyboardInterrupt

    monkeypatch.setattr(FaissIndex, "follow", stopped)
    with pytest.raises(KeyboardInterrupt):
        gallery.partial_fit(-ROWS[:5], [99] * 5)
    monkeypatch.undo()
    assert gallery.predict(-ROWS[:5]).max() < 99
    gallery.partial_fit(ROWS[100:200], LABELS[100:200])
    np.testing.assert_array_equal(gallery.predict(ROWS[:200]), LABELS[:200])


def test_specifications_are_cloned_and_shown():
    for spec, *_ in CASES.values():
        assert repr(clone(spec)) == repr(spec)
        assert clone(Gallery(index=spec)).index.get_params() == spec.get_params()
