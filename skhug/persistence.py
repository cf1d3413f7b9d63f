"""Fitted estimators in files: ``estimator.save(path)`` and :func:`load`."""

from __future__ import annotations

import os
from typing import Any

from skhug._docs import public
from skhug._saving.models import load_model
from skhug.classifier import HUGClassifier
from skhug.embedder import HUGEmbedder

__all__ = ["load"]
__dir__ = public(globals())

_KINDS = {kind.__name__: kind for kind in (HUGClassifier, HUGEmbedder)}


def load(path: str | os.PathLike, **parameters: Any) -> HUGClassifier | HUGEmbedder:
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
        gets the weights in the file.

    Returns
    -------
    estimator : HUGClassifier or HUGEmbedder
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
    return load_model(path, _KINDS, parameters)
