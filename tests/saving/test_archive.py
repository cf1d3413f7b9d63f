"""Files of models and checkpoints: whole or refused, old or new but never half."""

import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import safetensors.numpy

from skhug._saving import archive as _archive
from skhug._saving.archive import FORMAT, pack, read_archive, replace_file, temporary_files, unpack

ARRAYS = {
    "a": np.arange(6.0).reshape(2, 3).T,  # not in C order
    "b": np.array(True),
    "c": np.empty((0, 3), dtype=np.uint8),
}
HEADER = {
    "text": 'quotes " and ' + "0" * 64 + ' "sha256":"' + "0" * 64 + '" and \ud800',
    "n": [1, 2.5],
}


def test_header_and_arrays_come_back():
    header, arrays = unpack(pack("model", HEADER, ARRAYS), "model")
    assert header == HEADER
    assert arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert arrays[name].shape == array.shape
        assert arrays[name].dtype == array.dtype
        assert np.array_equal(arrays[name], array)
    assert unpack(pack("model", {}, {}), "model") == ({}, {})


def test_other_tools_read_the_arrays():
    data = bytes(pack("model", HEADER, ARRAYS))
    assert np.array_equal(safetensors.numpy.load(data)["a"], ARRAYS["a"])


def test_every_byte_counts():
    """Each byte of a small file changed in one bit, and each of its beginnings."""
    data = pack("model", {"a": 1}, {"x": np.arange(3, dtype=np.uint8)})
    for i in range(len(data)):
        changed = bytearray(data)
        changed[i] ^= 1 << (i % 8)
        for broken in (bytes(changed), bytes(data[:i])):
            with pytest.raises(ValueError, match=r"pass one that|as it was written|update skhug"):
                unpack(broken, "model")
    with pytest.raises(ValueError, match="as it was written"):
        unpack(bytes(data) + b"\0", "model")


def foreign_files():
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("schema.json", "{}")
    array = io.BytesIO()
    np.save(array, np.arange(3))
    nested = b"[" * 100_000
    return {
        "empty": b"",
        "text": b"a,b\n1,2\n" * 100,
        "zeros": bytes(1000),
        "pickle": pickle.dumps({"a": 1}),
        "zip": archive.getvalue(),
        "npy": array.getvalue(),
        "safetensors": safetensors.numpy.save({"a": np.arange(3)}),
        "other metadata": safetensors.numpy.save({"a": np.arange(3)}, {"format": "pt"}),
        "endless length": b"\xff" * 8 + b"{}",
        "nested": len(nested).to_bytes(8, "little") + nested,
        "no object": (2).to_bytes(8, "little") + b"[]",
    }


@pytest.mark.parametrize("name", foreign_files())
def test_foreign_files_are_refused(name, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(foreign_files()[name])
    with pytest.raises(ValueError, match=r"file' cannot be loaded: it is no file of skhug's"):
        read_archive(path, "model")


def test_a_newer_format_is_named_and_so_is_another_kind(tmp_path, monkeypatch):
    path = tmp_path / "file"
    with monkeypatch.context() as patch:
        patch.setattr(_archive, "FORMAT", FORMAT + 1)
        path.write_bytes(pack("model", {}, {}))
    with pytest.raises(ValueError, match=f"version {FORMAT + 1} of the format.*up to {FORMAT}"):
        read_archive(path, "model")
    path.write_bytes(pack("checkpoint", {}, {}))
    with pytest.raises(ValueError, match="holds a checkpoint and no model"):
        read_archive(path, "model")
    with pytest.raises(FileNotFoundError):
        read_archive(tmp_path / "nothing", "model")


def test_every_version_up_to_now_has_a_reader():
    assert sorted(_archive._READERS) == list(range(1, FORMAT + 1))


def test_not_a_number_never_gets_into_a_header():
    with pytest.raises(ValueError, match="JSON"):
        pack("model", {"a": float("nan")}, {})


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, b"old")
    order = []
    sync, replace = _archive._sync, os.replace
    monkeypatch.setattr(_archive, "_sync", lambda fd: (order.append("sync"), sync(fd)))
    monkeypatch.setattr(os, "replace", lambda a, b: (order.append("rename"), replace(a, b)))
    replace_file(path, b"new")
    assert order == ["sync", "rename", "sync"]  # the content, then its name
    assert path.read_bytes() == b"new"

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(_archive, "_sync", fail)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, b"newest")
    assert path.read_bytes() == b"new"
    assert os.listdir(tmp_path) == ["file"]


def test_what_a_killed_process_left_is_found(tmp_path):
    path = tmp_path / "file"
    (tmp_path / ".file.0123abcd.tmp").touch()
    (tmp_path / ".other.0123abcd.tmp").touch()
    assert [p.name for p in temporary_files(path)] == [".file.0123abcd.tmp"]


def test_metadata_are_strings_as_the_format_asks():
    data = pack("model", HEADER, ARRAYS)
    length = int.from_bytes(data[:8], "little")
    metadata = json.loads(data[8 : 8 + length])["__metadata__"]
    assert metadata.keys() == {"skhug", "format", "sha256", "header"}
    assert {type(value) for value in metadata.values()} == {str}
