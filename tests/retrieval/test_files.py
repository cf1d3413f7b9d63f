"""Galleries in files: whole, without code, and never lost."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import skops.io
from sklearn.decomposition import PCA
from sklearn.frozen import FrozenEstimator
from torch import nn

import skhug
from skhug import MLP, HUGClassifier, HUGEmbedder
from skhug._saving.archive import pack, unpack
from skhug.persistence import trusted_types
from skhug.retrieval import FaissIndex, Gallery, Index


@pytest.fixture(scope="module")
def rows(digits):
    return digits[0][:200], digits[1][:200]


def quick(kind=HUGEmbedder, **parameters):
    return kind(**{"encoder": MLP((8,)), "max_epochs": 1, "random_state": 0, **parameters})


@pytest.mark.parametrize("kind", [HUGEmbedder, HUGClassifier])
@pytest.mark.parametrize("wrap", [lambda e: e, FrozenEstimator], ids=["bare", "frozen"])
def test_an_embedder_of_this_library_is_in_the_file(rows, tmp_path, kind, wrap):
    X, y = rows
    gallery = Gallery(wrap(quick(kind).fit(X, y)), threshold=0.2).fit(X, y)
    gallery.save(tmp_path / "gallery.skhug")
    loaded = skhug.load(tmp_path / "gallery.skhug", n_neighbors=3)
    assert type(loaded.embedder_) is type(gallery.embedder_)
    assert loaded.n_neighbors == 3
    np.testing.assert_array_equal(loaded.score_samples(X), gallery.score_samples(X))
    loaded.partial_fit(X[:1] * 2, [99])
    assert 99 in loaded.classes_


def test_another_embedder_is_passed_to_load(rows, tmp_path):
    X, y = rows
    for embedder in (PCA(5).fit(X), quick(encoder=nn.Linear(64, 9)).fit(X, y)):
        gallery = Gallery(embedder).fit(X, y)
        gallery.save(tmp_path / "gallery.skhug")
        with pytest.raises(ValueError, match=r"load\(path, embedder=...\). pickle and joblib"):
            skhug.load(tmp_path / "gallery.skhug")
        loaded = skhug.load(tmp_path / "gallery.skhug", embedder=embedder)
        np.testing.assert_array_equal(loaded.predict(X), gallery.predict(X))


@pytest.mark.parametrize(
    "labels",
    [np.array(["a", "bcd"]), np.array(["x", "yy"], object), np.array([3, -(1 << 40)]),
     np.array([1, 2], np.uint8)],
    ids=["strings", "objects", "integers", "small integers"],
)  # fmt: skip
def test_labels_and_ids_of_every_type_survive(tmp_path, labels):
    ids = ["first", "the second"]
    gallery = Gallery(threshold=0.5).fit([[1.0, 0], [0, 1]], labels, ids=ids)
    gallery.save(tmp_path / "gallery.skhug")
    loaded = skhug.load(tmp_path / "gallery.skhug")
    assert loaded.classes_.dtype == gallery.classes_.dtype
    assert loaded.labels_.tolist() == labels.tolist()
    assert loaded.ids_.tolist() == ids
    assert loaded.remove("first").classes_.tolist() == [labels[1]]


def test_an_index_of_another_library_is_built_from_the_vectors(rows, tmp_path):
    pytest.importorskip("faiss")
    X, y = rows
    gallery = Gallery(index=FaissIndex("HNSW8")).fit(X, y)
    gallery.save(tmp_path / "gallery.skhug")
    loaded = skhug.load(tmp_path / "gallery.skhug")
    assert repr(loaded) == repr(gallery)
    assert loaded.index_recall(X, 3) > 0.9


def test_an_index_of_the_users_own_is_refused_and_the_old_file_stays(rows, tmp_path):
    class Own(Index):
        def follow(self, live, vectors):
            return vectors

    path = tmp_path / "gallery.skhug"
    path.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"is none of skhug's own.*use pickle or joblib"):
        Gallery(index=Own()).fit(*rows).save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_empty_gallery_survives(tmp_path):
    Gallery().fit([[1.0, 0]], ["a"]).remove([0]).save(tmp_path / "gallery.skhug")
    loaded = skhug.load(tmp_path / "gallery.skhug").partial_fit([[1.0, 0]], ["b"])
    assert (loaded.ids_.tolist(), loaded.classes_.tolist()) == ([1], ["b"])


HOSTILE = {
    "a class of another module": (["class"], "os.system"),
    "a parameter of no gallery": (["parameters", "nonsense"], 1),
    "a parameter out of range": (["parameters", "threshold"], 7),
    "a method replaced": (["attributes", "predict"], 1),
    "an attribute missing": (["attributes"], {}),
    "an index of no kind": (["fitted_index"], ["os.system", {}]),
    "an index that is a call": (["index"], ["__import__", {"name": "os"}]),
    "rows that are text": (["rows"], ["a", "b", "c"]),
    "two columns of rows": (["rows"], []),
    "an embedder that is text": (["embedder"], "PCA"),
    "an embedder that is a gallery": (["embedder"], {"tree": {"class": "Gallery"}}),
    "more learned than rows": (["attributes", "_n_learned"], 1 << 40),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_what_does_not_fit_together_is_refused(rows, tmp_path, name):
    path = tmp_path / "gallery.skhug"
    Gallery().fit(*rows).save(path)
    header, arrays = unpack(path.read_bytes(), "model")
    (*parents, last), value = HOSTILE[name]
    node = header
    for parent in parents:
        node = node[parent]
    node[last] = value
    path.write_bytes(pack("model", header, arrays))
    with pytest.raises(ValueError, match=r"cannot be loaded: it |is not in the file"):
        skhug.load(path)


@pytest.mark.parametrize("change", ["code", "width", "NaN"])
def test_rows_that_do_not_fit_their_classes_are_refused(rows, tmp_path, change):
    path = tmp_path / "gallery.skhug"
    Gallery().fit(*rows).save(path)
    header, arrays = unpack(path.read_bytes(), "model")
    vectors, codes, _ = (arrays[column["array"]] for column in header["rows"])
    if change == "code":
        arrays[header["rows"][1]["array"]] = codes + np.int32(1000)
    elif change == "width":
        arrays[header["rows"][0]["array"]] = vectors[1:]
    else:
        arrays[header["rows"][0]["array"]] = vectors * np.float32(np.nan)
    path.write_bytes(pack("model", header, arrays))
    with pytest.raises(ValueError, match="cannot be loaded: it holds no gallery"):
        skhug.load(path)


def test_damage_is_found(rows, tmp_path):
    path = tmp_path / "gallery.skhug"
    Gallery().fit(*rows).save(path)
    data, rng = path.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(len(data), size=100):
        damaged = bytearray(data)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="cannot be loaded"):
            skhug.load(path)


def test_skops_keeps_a_gallery_without_code(rows):
    X, y = rows
    gallery = Gallery(index="binary").fit(X, y)
    loaded = skops.io.loads(skops.io.dumps(gallery), trusted=trusted_types())
    np.testing.assert_array_equal(loaded.predict(X), gallery.predict(X))
    assert loaded.partial_fit(X[:1], y[:1]).ids_[-1] == 200


SAVER = """
import sys, numpy as np
from skhug.retrieval import Gallery
path = sys.argv[1]
gallery = Gallery().fit(np.eye(300, dtype="float32"), np.arange(300))
print("ready", flush=True)
for i in range(10**6):
    gallery.partial_fit(np.eye(300, dtype="float32")[:1], [1000 + i]).save(path)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_process_killed_while_it_saves_leaves_a_gallery_that_loads(tmp_path):
    path, rng, seen = tmp_path / "gallery.skhug", np.random.default_rng(0), []
    environment = {**os.environ, "PYTHONPATH": str(Path(skhug.__file__).parents[1])}
    for _ in range(3):
        command = [sys.executable, "-c", SAVER, str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        process.stdout.readline()
        time.sleep(0.2 + rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        loaded = skhug.load(path)
        assert loaded.predict(np.eye(300)[5:7]).tolist() == [5, 6]
        seen.append(len(loaded.ids_))
    assert min(seen) > 300
