"""What must hold of a hostile case.

It *works*, is *stopped* (training diverged, the last finite weights are back) or is *refused*
before training by a ValueError or TypeError raised on purpose; anything else is an error here.
"""

import math
import pickle
import traceback
import warnings
from typing import NamedTuple

import numpy as np
import torch
from hostile_cases import ARRANGEMENTS, GEOMETRY, POINTS, RETRIEVAL, Counted, make_estimator
from hostile_data import TOP, make_labels, make_rows, make_weight
from sklearn.exceptions import ConvergenceWarning

from skhug import HUGClassifier, metrics


class Result(NamedTuple):
    """What became of a case, and what was said."""

    outcome: str  # "worked", "stopped" or "refused"
    message: str
    value: object = None


def attempt(call):
    """Make a call that may train; return its Result."""
    Counted.steps, refusal = 0, None
    with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
        warnings.simplefilter("always")
        try:
            value = call()
        except (TypeError, ValueError) as error:
            refusal = error
    if refusal is not None:
        check_refusal(refusal)
        assert Counted.steps == 0, f"refused after training had begun: {refusal}"
        return Result("refused", str(refusal))
    diverged = [w for w in caught if issubclass(w.category, ConvergenceWarning)]
    assert all("Lower" in str(warning.message) for warning in diverged)
    return Result("stopped" if diverged else "worked", str(diverged[:1]), value)


def check_refusal(error):
    """An error must be raised on purpose, in words: by skhug or scikit-learn.

    What scikit-learn passes on from NumPy's conversions is as good as its own.
    """
    frames = traceback.extract_tb(error.__traceback__)
    last = [f for f in frames if "/skhug/" in f.filename or "/sklearn/" in f.filename][-1:]
    broken = isinstance(error.__cause__, NameError | AttributeError)  # in the case itself
    deliberate = (
        last and not broken and (last == frames[-1:] or "/sklearn/utils/" in last[0].filename)
    )
    if not deliberate or len(str(error).split()) < 4:
        raise AssertionError(f"no deliberate refusal: {error!r}") from error


def run_fit(case):
    """Fit as the case says and check the result."""
    X, y, weight = make_rows(case), make_labels(case), make_weight(case)
    before = pickle.dumps(X)
    result = attempt(lambda: make_estimator(case).fit(X, y, sample_weight=weight))
    assert pickle.dumps(X) == before, "fit changed X"
    if result.value is not None:
        assert check_fitted(result.value, X) or (raw_norm(result.value, X) < 1e-150).any()
        for odd in odd_rows(result.value.input_shape_):
            check_fitted(result.value, odd)
    return result


@np.errstate(all="ignore")
def run_calls(case):
    """Call partial_fit as often as the case says and check the model each time."""
    X, y = make_rows({**case, "n": 40, "layout": "C"}), make_labels({**case, "n": 40})
    model, classes, outcome = make_estimator(case), np.unique(y), "worked"
    weight = make_weight({**case, "n": 40})
    for n, scale in case["calls"]:
        parts = (None if w is None or np.isscalar(w) else w[:n] for w in (X * scale, y, weight))
        rows, labels, weights = parts
        result = attempt(
            lambda rows=rows, labels=labels, weights=weights: model.partial_fit(
                rows, labels, classes=classes, sample_weight=weights
            )
        )
        if result.outcome == "refused":
            return result
        outcome = result.outcome if result.outcome == "stopped" else outcome
        check_fitted(model, rows)
    return Result(outcome, "")


def odd_rows(shape):
    """Yield rows to predict on that no training set has seen."""
    for dtype in (np.float32, np.float64):
        top, least = np.finfo(dtype).max, np.finfo(dtype).smallest_subnormal
        for values in ([0, 1e30, -1e30, 1e-30], [top, -top, least]):
            yield np.stack([np.full(shape, value, dtype=dtype) for value in values])
    yield np.full((2, *shape), 255, dtype=np.uint8)
    yield np.full((1, *shape), TOP)


@np.errstate(all="ignore")
def check_fitted(model, X):
    """Weights are finite and outputs are what they should be; false if the rows are refused."""
    for name, tensor in model.module_.state_dict().items():
        assert tensor.isfinite().all(), f"{name} is not finite"
    assert np.isfinite(model.proxies_).all()
    np.testing.assert_allclose(np.linalg.norm(model.proxies_, axis=1), 1, atol=1e-5)
    result = attempt(lambda: model.transform(X))
    if result.outcome == "refused":
        return False
    Z = result.value
    assert Z.shape == (len(X), model.proxies_.shape[1])
    assert np.isfinite(Z).all(), "an embedding is not finite"
    norm = np.linalg.norm(Z.astype(np.float64), axis=1)
    short = ~np.isclose(norm, 1, atol=1e-5)
    assert not short.any() or (raw_norm(model, X)[short] < 1e-37).all(), f"lengths {norm[short]}"
    if isinstance(model, HUGClassifier):
        check_classifier(model, X)
    return True


def as_array(X):
    return X.numpy() if isinstance(X, torch.Tensor) else X


@torch.no_grad()
def raw_norm(model, X):
    """Length of what the body gives: zero has no direction, nor have members that cancel out."""
    X = np.array(as_array(X))
    X = X if X.dtype in (np.float64, np.float32, np.uint8) else X.astype(np.float64)
    encoder = model.module_
    with torch.no_grad():
        features = encoder.body(encoder.prepare(torch.from_numpy(X)))
        points = features if features.ndim == 2 else encoder.on_ball(features).mean(0)
    return points.double().norm(dim=1).numpy()


def check_classifier(model, X):
    predicted, proba = model.predict(X), model.predict_proba(X)
    assert np.isin(predicted, model.classes_).all()
    assert np.isfinite(proba).all()
    assert ((proba >= 0) & (proba <= 1)).all()
    np.testing.assert_allclose(proba.sum(1), 1, rtol=1e-4)
    assert np.isfinite(model.decision_function(X)).all()
    cosine = model.score_samples(X)
    assert np.isfinite(cosine).all()
    assert (np.abs(cosine) <= 1 + 1e-5).all()


@np.errstate(all="ignore")
def run_measure(case):
    """Call a metric: its value must be in range, and the same at an ordinary scale."""
    result = attempt(lambda: measure(case))
    if result.outcome == "refused":
        return result
    value, name = result.value, case["function"]
    if name in RETRIEVAL:
        assert 0 <= value <= 1
    elif name in POINTS or apart(make_rows(case), make_labels(case)):
        assert math.isfinite(value)
    exact = case["dtype"] in ("float32", "float64") and 1e-30 <= case["scale"] <= 1e30
    if exact and case["values"] == "normal":
        np.testing.assert_allclose(value, measure({**case, "scale": 1.0}), rtol=1e-3, atol=1e-5)
    return result


def measure(case):
    name, labels = case["function"], {"labels": make_labels(case)}
    rest = {"metric": case["metric"], "sample_weight": make_weight(case)}
    more = labels | rest if name in RETRIEVAL else labels if name in GEOMETRY else {}
    return getattr(metrics, name)(make_rows(case), **more)


def apart(X, y):
    """Whether no two class means coincide, where geometry has no value by its documentation."""
    X, y = np.array(as_array(X), dtype=np.float64), np.asarray(y).ravel()
    X = X / np.abs(X).max()
    means = np.array([X[y == label].mean(0) for label in np.unique(y)])
    distance = np.linalg.norm(means[:, None] - means, axis=2)
    return bool((distance + np.eye(len(means)) > 1e-6).all())


def run_arrangement(case):
    """Ask for points on the sphere: they are finite and of length 1."""
    function = ARRANGEMENTS[case["function"]]
    result = attempt(lambda: function(case["n"], case["d"], case["s"]))
    if result.outcome != "refused":
        points = result.value
        assert points.shape == (case["n"], case["d"])
        torch.testing.assert_close(points.norm(dim=1), torch.ones(len(points)).double())
    return result
