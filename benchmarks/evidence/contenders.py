"""The contenders that the questions choose from: peers, ours, and scikit-learn's own."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from evidence import losses
from evidence.harness import OURS, Contender, Setting
from evidence.models import Budget, fit_hug, train_hug, train_peer
from skhug import MGD, MHE, MHS, Learned

# Learning rates and weight decays in the order in which they are tried.
RATES: dict[str, list[Setting]] = {
    network: [{"learning_rate": rate, "weight_decay": decay} for rate, decay in pairs]
    for network, pairs in {
        "mlp": [(3e-3, 2.0), (1e-3, 2.0), (1e-3, 0.3), (3e-3, 0.3), (1e-3, 0.01), (3e-3, 0.01)],
        "tables": [(3e-3, 0.5), (1e-3, 0.5), (1e-3, 0.01), (3e-3, 0.01)],
        "convnet": [(3e-3, 2.0), (3e-3, 0.5), (1e-3, 2.0), (1e-2, 0.5)],
    }.items()
}


def values(name: str, *several: Any) -> tuple[Setting, ...]:
    """Settings of one parameter."""
    return tuple({name: value} for value in several)


def peer(loss: type, family: str, own: tuple[Setting, ...] = ({},), **fixed: Any) -> Contender:
    """A peer's loss on the same network."""
    return Contender(partial(train_peer, loss, **fixed), family, own)


def hug(own: tuple[Setting, ...] = ({},), family: str = OURS, **fixed: Any) -> Contender:
    """HUGClassifier with some parameters fixed."""
    return Contender(partial(train_hug, **fixed), family, own)


def ours(own: tuple[Setting, ...] = ({},), **fixed: Any) -> Contender:
    """HUGClassifier in its default width, with its probabilities."""
    return Contender(partial(fit_hug, **fixed), OURS, own)


def estimator(make: Any, own: tuple[Setting, ...]) -> Contender:
    """An estimator of scikit-learn, which trains nothing of ours."""
    return Contender(partial(train_estimator, make), "scikit-learn", own, tunes_rates=False)


def train_estimator(
    make: Any, budget: Budget, X: np.ndarray, y: np.ndarray, seed: int, n_classes: int, **own: Any
) -> Any:
    """Fit what ``make`` returns."""
    return make(random_state=seed, **own).fit(X, y)


def scaled_mlp(**params: Any) -> Any:
    """scikit-learn's MLPClassifier behind a StandardScaler."""
    return make_pipeline(StandardScaler(), MLPClassifier(max_iter=500, **params))


CROSS_ENTROPY = {
    "cross-entropy": peer(losses.Softmax, "cross-entropy"),
    "label smoothing": peer(
        losses.LabelSmoothing, "cross-entropy", values("smoothing", 0.1, 0.2, 0.05)
    ),
}
NORMALISED = {
    "normalised softmax": peer(
        losses.NormalisedSoftmax, "normalised", values("temperature", 0.2, 0.1, 0.05)
    ),
    "ArcFace": peer(losses.ArcFace, "normalised", values("margin", 0.2, 0.1, 0.5)),
    "NTCE": peer(losses.NTCE, "normalised", values("temperature", 0.2, 0.1, 0.05)),
    "NONL": peer(losses.NONL, "normalised", values("temperature", 0.2, 0.1, 0.05)),
    "SupCon, nearest mean": peer(losses.SupCon, "others", values("temperature", 0.2, 0.1, 0.05)),
    "MSE to the simplex": peer(losses.SimplexMSE, "others"),
}
ROBUST = {
    "MAE": peer(losses.MeanAbsoluteError, "robust"),
    "generalised cross-entropy": peer(
        losses.GeneralisedCrossEntropy, "robust", values("q", 0.7, 0.4, 0.9)
    ),
    "symmetric cross-entropy": peer(
        losses.SymmetricCrossEntropy, "robust", values("a", 0.1, 0.5, 0.01)
    ),
}
_REPULSION = (1.0, 2.0, 0.5)
HUG = {
    "HUG mhe -1": hug(uniformity=MHE(s_within=-1.0)),
    "HUG mhe -2": hug(uniformity=MHE(s_within=-2.0)),
    "HUG mhe -4": hug(uniformity=MHE(s_within=-4.0)),
    "HUG mhs": hug(uniformity=MHS()),
    # With fixed proxies it is mhe -2: the determinant has no gradient there.
    "HUG mgd, learned, attached": hug(uniformity=MGD(), proxies=Learned()),
    "HUG mhe -2, repulsion": hug(
        values("uniformity", *(MHE(s_within=-2.0, repulsion=r) for r in _REPULSION))
    ),
    "HUG mhe -4, repulsion": hug(
        values("uniformity", *(MHE(s_within=-4.0, repulsion=r) for r in _REPULSION))
    ),
    "HUG mhe -2, learned, detached": hug(proxies=Learned(attached=False)),
    "HUG mhe -2, learned, attached": hug(values("alpha", 1.0, 0.3, 3.0), proxies=Learned()),
    "HUG mhe -2, learned, attached, repulsion": hug(
        values("uniformity", *(MHE(s_within=-2.0, repulsion=r) for r in _REPULSION)),
        proxies=Learned(),
    ),
}
SCIKIT_LEARN = {
    "MLPClassifier, scaled": estimator(
        scaled_mlp, ({}, {"alpha": 1e-2}, {"alpha": 1.0}, {"hidden_layer_sizes": (256, 128)})
    ),
    "RandomForest": estimator(
        RandomForestClassifier,
        ({}, {"min_samples_leaf": 3}, {"max_features": 0.5}, {"n_estimators": 300}),
    ),
    "HistGradientBoosting": estimator(
        HistGradientBoostingClassifier,
        (
            {},
            {"learning_rate": 0.05},
            {"max_leaf_nodes": 8},
            {"learning_rate": 0.05, "l2_regularization": 1.0},
        ),
    ),
}
