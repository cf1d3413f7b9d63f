"""Hostile and odd rows, labels and weights, by name, and strategies that draw them.

A case is plain data, names of tables' entries and numbers: its repr is all that is needed to see
it again.
"""

import numpy as np
import pandas as pd
import torch
from hypothesis import strategies as st
from scipy.sparse import csr_array

SCALES = (1e-300, 1e-38, 1e-30, 1e-6, 1.0, 1e6, 1e30, 1e38, 1e300)
TOP = np.iinfo(np.int64).max
# In a table, what comes behind this key is to be refused.
UNUSABLE = "unusable"


def usable(table):
    return list(table)[: list(table).index(UNUSABLE)]


def unusable(table):
    return list(table)[list(table).index(UNUSABLE) + 1 :]


def usually(value, *others):
    return st.just(value) | st.sampled_from([value, *others])


# --- rows -------------------------------------------------------------------------------------

VALUES = {
    "normal": lambda rng, n, d: rng.standard_normal((n, d)),
    "heavy tails": lambda rng, n, d: rng.standard_t(1, (n, d)),
    "few values": lambda rng, n, d: rng.integers(0, 3, (n, d)).astype(float),
    "duplicated rows": lambda rng, n, d: rng.standard_normal((2, d))[rng.integers(0, 2, n)],
    "equal rows": lambda rng, n, d: np.repeat(rng.standard_normal((1, d)), n, axis=0),
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "mixed scales": lambda rng, n, d: (
        rng.standard_normal((n, d)) * 10.0 ** rng.integers(-30, 31, d)
    ),
    "one outlier": lambda rng, n, d: (
        rng.standard_normal((n, d)) + 1e9 * (np.arange(n) == 0)[:, None]
    ),
    "offset": lambda rng, n, d: 1e12 + rng.standard_normal((n, d)),
    "constant columns": lambda rng, n, d: rng.standard_normal((n, d)) * (np.arange(d) % 2) + 3,
}
DTYPES = ("float64", "float32", "float16", "int64", "int32", "int8", "uint8", "uint64", "bool")
LAYOUTS = {
    "C": np.ascontiguousarray,
    "F": np.asfortranarray,
    "reversed": lambda X: np.ascontiguousarray(X[::-1])[::-1],
    "strided": lambda X: np.repeat(X, 2, axis=0)[::2],
    "big-endian": lambda X: X.astype(X.dtype.newbyteorder(">")),
    "list": lambda X: X.tolist(),
    "object": lambda X: X.astype(object),
    "frame": lambda X: pd.DataFrame(X, columns=[f"c{i}" for i in range(X.shape[1])]),
    "tensor": lambda X: torch.from_numpy(X.copy()),
}
# What flat rows may have and images and embeddings not.
ROUGH = {
    "nan": lambda X: _with(X, np.nan),
    "sparse": lambda X: csr_array(X.astype(np.float64)),
}
SPOILT = {
    "nothing": lambda X: X,
    **ROUGH,
    "inf": lambda X: _with(X, np.inf),
    "no rows": lambda X: X[:0],
    "no columns": lambda X: X[:, :0],
    "one axis": lambda X: X[:, 0],
    "three axes": lambda X: X[:, :, None],
    "five axes": lambda X: X[:, :, None, None, None],
    "complex": lambda X: X + 1j,
    "strings": lambda X: X.astype(str).astype(object) + "x",
}


def _with(X, value):
    X = X.astype(np.float64)
    X[len(X) // 2, 0] = value
    return X


def make_rows(case):
    """Return X as a case says, in whatever container."""
    rng, shape = np.random.default_rng(case["seed"]), case.get("shape")
    d = case["d"] if shape is None else int(np.prod(shape))
    with np.errstate(all="ignore"):
        X = VALUES[case["values"]](rng, case["n"], d) * case["scale"]
        dtype = np.dtype(case["dtype"])
        if dtype.kind in "iu":  # integers as large as the type has
            info = np.iinfo(dtype)
            X = np.clip(X * (1 if abs(case["scale"]) < 1e30 else info.max), info.min, info.max)
        X = X.astype(dtype)
    X = SPOILT[case["spoilt"]](X if shape is None else X.reshape(len(X), *shape))
    if case["spoilt"] == "nothing":
        X = LAYOUTS[case["layout"]](X)
        if isinstance(X, np.ndarray):
            X.setflags(write=case["writeable"])
    return X


def rows():
    """Strategy of rows; most are usable."""
    return {
        "seed": st.integers(0, 999),
        "n": usually(12, 1, 2, 3, 5, 20, 30),
        "d": st.integers(1, 6),
        "values": st.sampled_from(list(VALUES)),
        "scale": st.sampled_from(SCALES) | st.just(1.0),
        "dtype": st.sampled_from(DTYPES) | st.sampled_from(["float64", "float32"]),
        "layout": st.sampled_from(list(LAYOUTS)) | st.just("C"),
        "writeable": st.booleans(),
        "spoilt": usually("nothing", "nan"),
    }


# --- labels and weights -----------------------------------------------------------------------

LABELS = {
    "integers": lambda c: c,
    "negative": lambda c: -c,
    "near overflow": lambda c: TOP - c,
    "unsigned": lambda c: np.iinfo(np.uint64).max - c.astype(np.uint64),
    "int8": lambda c: (c % 128).astype(np.int8),
    "strings": lambda c: np.array([f"ä{i}" for i in c], dtype="U8"),
    "objects": lambda c: np.array([f"class {i}" for i in c], dtype=object),
    "empty strings": lambda c: np.array(["" if i == 0 else str(i) for i in c], dtype=object),
    "booleans": lambda c: c > 0,
    "whole floats": lambda c: c.astype(float),
    "list": lambda c: c.tolist(),
    "series": lambda c: pd.Series(c),
    "categorical": lambda c: pd.Series([f"k{i}" for i in c]).astype("category"),
    "column": lambda c: c[:, None],
    "tensor": lambda c: torch.from_numpy(c.copy()),
    UNUSABLE: None,
    "fractions": lambda c: c + 0.5,
    "mixed": lambda c: np.array([i if j else str(i) for j, i in enumerate(c)], dtype=object),
    "none": lambda c: None,
    "nones": lambda c: np.array([i if j else None for j, i in enumerate(c)], dtype=object),
    "nan": lambda c: np.where(np.arange(len(c)) > 0, c, np.nan),
    "bytes": lambda c: np.array([b"x%d" % i for i in c]),
    "dates": lambda c: np.datetime64("2000-01-01") + c,
    "two columns": lambda c: np.stack([c, c], 1),
    "too few": lambda c: c[:-1],
}
CODES = {
    "balanced": lambda rng, n, k: np.arange(n) % k,
    "random": lambda rng, n, k: rng.integers(0, k, n),
    "a class with one member": lambda rng, n, k: np.where(np.arange(n) == 0, k, np.arange(n) % k),
    "one row a class": lambda rng, n, k: np.arange(n),
}
WEIGHTS = {
    "none": lambda rng, n: None,
    "ones": lambda rng, n: np.ones(n, dtype=int),
    "random": lambda rng, n: rng.random(n),
    "mostly zero": lambda rng, n: (np.arange(n) < max(n // 2, 1)).astype(float),
    "huge": lambda rng, n: np.full(n, 1e308),
    "tiny": lambda rng, n: np.full(n, 1e-308),
    "far apart": lambda rng, n: 10.0 ** rng.integers(-300, 300, n),
    "scalar": lambda rng, n: 2.0,
    "float16": lambda rng, n: rng.random(n).astype(np.float16),
    UNUSABLE: None,
    "zeros": lambda rng, n: np.zeros(n),
    "negative": lambda rng, n: -np.ones(n),
    "nan": lambda rng, n: np.full(n, np.nan),
    "infinite": lambda rng, n: np.full(n, np.inf),
    "too many": lambda rng, n: np.ones(n + 1),
    "strings": lambda rng, n: np.array(["a"] * n),
}


def make_labels(case):
    rng = np.random.default_rng(case["seed"] + 1)
    codes = CODES[case["codes"]](rng, case["n"], case["k"])
    return LABELS[case["labels"]](codes)


def make_weight(case):
    return WEIGHTS[case["weight"]](np.random.default_rng(case["seed"] + 2), case["n"])


def labels():
    return {
        "codes": st.sampled_from(list(CODES)),
        "k": usually(2, 3, 4, 9),
        "labels": usually("integers", *usable(LABELS)),
        "weight": usually("none", *usable(WEIGHTS)),
    }
