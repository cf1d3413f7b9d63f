"""Damaged and crafted files of models: refused, and nothing in them is executed."""

import pickle
import subprocess
import sys

import numpy as np
import pytest

import skhug
from skhug import MLP, HUGClassifier
from skhug._saving.archive import pack, unpack


@pytest.fixture(scope="module")
def model_bytes(iris, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.skhug"
    HUGClassifier(MLP((5,)), max_epochs=3, random_state=0).fit(*iris).save(path)
    return path.read_bytes()


def mutated(data, rng):
    """One of: bits flipped, bytes written over, cut, lengthened, a piece moved, swapped cases."""
    data = bytearray(data)
    kind = rng.integers(6)
    i, j = sorted(rng.integers(len(data), size=2))
    if kind == 0:
        for k in rng.integers(len(data), size=rng.integers(1, 9)):
            data[k] ^= 1 << rng.integers(8)
    elif kind == 1:
        data[i : i + 8] = rng.bytes(8)
    elif kind == 2:
        del data[i:]
    elif kind == 3:
        data += rng.bytes(int(rng.integers(1, 64)))
    elif kind == 4:
        del data[i : max(j, i + 1)]
    else:
        head = int(rng.integers(8, 2000))
        data[head : head + 8] = data[head : head + 8].swapcase()
    return bytes(data)


def test_a_thousand_damaged_files_are_all_refused(model_bytes, tmp_path):
    rng, path, refused = np.random.default_rng(0), tmp_path / "model.skhug", 0
    while refused < 1000:
        data = mutated(model_bytes, rng)
        if data == model_bytes:
            continue
        path.write_bytes(data)
        with pytest.raises(ValueError, match=r"cannot be loaded: it .*: "):
            skhug.load(path)
        refused += 1


def crafted(model_bytes, place, value):
    """The file of a model with a valid checksum and one entry of its header changed."""
    header, arrays = unpack(model_bytes, "model")
    *parents, last = place
    node = header
    for name in parents:
        node = node[name]
    node[last] = value
    return bytes(pack("model", header, arrays))


def entry(header_module, name):
    """The place of an entry of the module's dict."""
    return next(i for i, (key, _) in enumerate(header_module["dict"]) if key == name)


HOSTILE = {
    "class of another module": (["class"], "os.system"),
    "class that is a list": (["class"], ["HUGClassifier"]),
    "parameter that is a call": (["parameters", "encoder"], {"object": ["system", {"dict": []}]}),
    "parameter of no estimator": (["parameters", "nonsense"], 1),
    "method replaced": (["attributes", "predict"], 1),
    "dunder": (["attributes", "__class__"], "x"),
    "private": (["attributes", "_a_"], 1),
    "module replaced": (["attributes", "module_"], 1),
    "too few proxies": (["attributes", "proxies_"], {"objects": []}),
    "no attributes": (["attributes"], {}),
    "no module": (["module"], None),
    "pickle in a string": (["module"], pickle.dumps(print).decode("latin1")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_crafted_files_with_valid_checksums_are_refused(model_bytes, tmp_path, name):
    path = tmp_path / "model.skhug"
    path.write_bytes(crafted(model_bytes, *HOSTILE[name]))
    with pytest.raises(ValueError, match="holds no model that this version of skhug knows"):
        skhug.load(path)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("prepare", "SphereEncoder"),
        ("precision", "float8"),
        ("n_components", 10**12),
        ("n_components", -1),
        ("input_shape", {"tuple": [10**12]}),
        ("spec", {"object": ["MLP", {"dict": [["hidden_layer_sizes", [10**9, 10**9]]]}]}),
        ("spec", {"object": ["MLP", {"dict": [["hidden_layer_sizes", [10**30]]]}]}),
        (
            "spec",
            {"object": ["MLP", {"dict": [["activation", "tanh"], ["hidden_layer_sizes", 5]]}]},
        ),
        ("spec", {"object": ["ResNet", {"dict": []}]}),
        ("spec", 5),
        ("state", {"dict": []}),
        ("probe", {"tensor": {"array": "0"}}),
    ],
)
def test_crafted_modules_are_refused_and_allocate_nothing(model_bytes, tmp_path, name, value):
    header, _ = unpack(model_bytes, "model")
    place = ["module", "dict", entry(header["module"], name), 1]
    path = tmp_path / "model.skhug"
    path.write_bytes(crafted(model_bytes, place, value))
    with pytest.raises(ValueError, match=r"cannot be loaded|computes something else"):
        skhug.load(path)


def test_loading_imports_no_pickle_machinery_and_runs_nothing(model_bytes, tmp_path):
    """A file from anywhere is read in a process whose means of running code raise."""
    path = tmp_path / "model.skhug"
    path.write_bytes(model_bytes)
    code = (
        "import sys, skhug, torch\n"
        "skhug.HUGClassifier\n"
        "skhug.load\n"
        "import os, pickle, subprocess, builtins\n"
        "def refuse(event, args):\n"
        "    if event in ('os.system', 'subprocess.Popen', 'pickle.find_class', 'os.exec',\n"
        "                 'os.posix_spawn', 'socket.connect'):\n"
        "        raise SystemExit(f'{event} {args}')\n"
        "import sklearn.utils._metadata_requests\n"
        "sys.addaudithook(refuse)\n"
        "print(type(skhug.load(sys.argv[1])).__name__)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False
    )
    assert run.stdout.split() == ["HUGClassifier"], run.stderr
