"""Fitted estimators in files: ``estimator.save(path)``, :func:`load`; pipelines by skops."""

from __future__ import annotations

import os
from typing import Any

from skhug._docs import public
from skhug._saving.archive import read_archive
from skhug._saving.json_codec import PLAIN_KINDS
from skhug._saving.models import KIND, estimator_of
from skhug.classifier import HUGClassifier
from skhug.embedder import HUGEmbedder
from skhug.retrieval import ExactIndex, FaissIndex, Gallery, QuantizedIndex, UsearchIndex
from skhug.retrieval._files import gallery_of

__all__ = ["load", "trusted_types"]
__dir__ = public(globals())

_KINDS = {kind.__name__: kind for kind in (HUGClassifier, HUGEmbedder, Gallery)}
# Classes of which a file has another form than the estimators' own, and what reads it.
_READERS = {"Gallery": gallery_of}
_INDEXES = (ExactIndex, FaissIndex, QuantizedIndex, UsearchIndex)


def load(path: str | os.PathLike, **parameters: Any) -> HUGClassifier | HUGEmbedder | Gallery:
    """Return the fitted estimator that ``estimator.save(path)`` wrote.

    The file is data: arrays and JSON under a checksum. Nothing in it is executed, whoever wrote
    it, and only skhug's own classes are made from it. The checksum finds damage; it is no
    signature and does not say who wrote the file.

    Parameters
    ----------
    path : str or path
        The file.
    **parameters : dict
        Parameters to set in place of those in the file, as in ``set_params``. ``encoder=`` is
        needed where the encoder was the user's own: what had been passed to the estimator, a
        module with any weights, a callable or an encoder specification. It is built anew and
        gets the weights in the file. Of a gallery ``embedder=`` is needed, fitted, where its own
        was not of this library's.

    Returns
    -------
    estimator : HUGClassifier, HUGEmbedder or Gallery
        On the CPU, with the same predictions. ``partial_fit`` and ``fit`` with
        ``warm_start=True`` go on from there.

    Raises
    ------
    ValueError
        If it is no such file, was damaged or comes from a newer version of skhug; if an encoder
        is needed, or the one passed does not compute what the saved one did.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import numpy as np
    >>> import skhug
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = skhug.HUGClassifier(max_epochs=3, random_state=0).fit(X, y)
    >>> path = Path(tempfile.mkdtemp()) / "iris.skhug"
    >>> model.save(path)
    >>> bool(np.array_equal(skhug.load(path).predict_proba(X), model.predict_proba(X)))
    True
    """
    header, arrays = read_archive(path, KIND)
    name = header.get("class") if isinstance(header, dict) else None
    read = _READERS.get(name, estimator_of) if isinstance(name, str) else estimator_of
    return read(path, header, arrays, _KINDS, parameters)


def trusted_types() -> list[str]:
    """Return the names of this library's classes that a file of skops may hold.

    A pipeline is kept without code by `skops <https://skops.readthedocs.io>`_, which makes of a
    file only what it knows of scikit-learn and what it is told to trust. All of these classes
    store numbers, text and one another; loading them runs nothing that a file brings. Modules and
    functions of your own are not among them.

    Returns
    -------
    names : list of str
        For ``skops.io.load(file, trusted=...)``.

    See Also
    --------
    load : The file of an estimator alone, which needs no list.

    Examples
    --------
    >>> import skops.io
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> from skhug import HUGClassifier
    >>> from skhug.persistence import trusted_types
    >>> X, y = load_iris(return_X_y=True)
    >>> pipeline = make_pipeline(StandardScaler(), HUGClassifier(max_epochs=3)).fit(X, y)
    >>> data = skops.io.dumps(pipeline)
    >>> skops.io.loads(data, trusted=trusted_types()).score(X, y) == pipeline.score(X, y)
    True
    """
    kinds = (*_KINDS.values(), *_INDEXES, *PLAIN_KINDS.values())
    return sorted(f"{kind.__module__}.{kind.__qualname__}" for kind in kinds)
