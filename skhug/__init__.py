"""Hyperspherical Uniformity Gap for scikit-learn: classifiers and embeddings on the sphere.

Names resolve on first access, so that ``import skhug`` loads neither torch nor scikit-learn.
"""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

from skhug._version import __version__

if TYPE_CHECKING:
    from skhug._distributed.starting import distributed
    from skhug.checkpoint import Checkpoint
    from skhug.classifier import HUGClassifier
    from skhug.embedder import HUGEmbedder
    from skhug.encoders import MLP, ConvNet, Pretrained, ResNet, Vectors
    from skhug.losses import MGD, MHE, MHS, HUGLoss
    from skhug.optimizers import SGD, AdamW
    from skhug.persistence import load
    from skhug.proxies import Learned, Nested
    from skhug.retrieval import Gallery
    from skhug.sampling import BalancedBatches

__all__ = [
    "MGD",
    "MHE",
    "MHS",
    "MLP",
    "SGD",
    "AdamW",
    "BalancedBatches",
    "Checkpoint",
    "ConvNet",
    "Gallery",
    "HUGClassifier",
    "HUGEmbedder",
    "HUGLoss",
    "Learned",
    "Nested",
    "Pretrained",
    "ResNet",
    "Vectors",
    "__version__",
    "distributed",
    "load",
]

_HOMES = {
    "HUGClassifier": "classifier",
    "HUGEmbedder": "embedder",
    "HUGLoss": "losses",
    "MHE": "losses",
    "MHS": "losses",
    "MGD": "losses",
    "MLP": "encoders",
    "ConvNet": "encoders",
    "Pretrained": "encoders",
    "ResNet": "encoders",
    "Vectors": "encoders",
    "Learned": "proxies",
    "Nested": "proxies",
    "BalancedBatches": "sampling",
    "Gallery": "retrieval",
    "AdamW": "optimizers",
    "SGD": "optimizers",
    "Checkpoint": "checkpoint",
    "distributed": "_distributed.starting",
    "load": "persistence",
}
_MODULES = (
    "augment",
    "checkpoint",
    "classifier",
    "embedder",
    "encoders",
    "export",
    "losses",
    "metrics",
    "model_selection",
    "novelty",
    "optimizers",
    "persistence",
    "plotting",
    "proxies",
    "retrieval",
    "sampling",
)


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(f"skhug.{_HOMES[name]}"), name)
    if name in _MODULES:
        return importlib.import_module(f"skhug.{name}")
    # With both, Python's traceback names the public name that is nearest.
    text = f"module 'skhug' has no attribute {name!r}"
    raise AttributeError(text, name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    dunder = {name for name in globals() if name.startswith("__")}
    return sorted({*dunder, *__all__, *_MODULES})
