"""HUGEmbedder: embeddings for retrieval, of classes seen in training or not."""

from __future__ import annotations

from typing import Any

import numpy as np
from torch import Tensor

from skhug._base import _BaseHUG
from skhug._data.rows import Rows
from skhug._docs import public
from skhug._parameters import shares_parameters
from skhug.metrics import mean_average_precision_at_r

__all__ = ["HUGEmbedder"]
__dir__ = public(globals())


@shares_parameters
class HUGEmbedder(_BaseHUG):
    """Embedder that trains unit vectors for retrieval.

    Training is that of :class:`HUGClassifier`; what differs is what counts as good: the mean
    average precision at R of rows searched among themselves, which needs no proxies and so
    works for classes never seen in training.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}

    See Also
    --------
    HUGClassifier : The same training for classification.
    skhug.metrics : Measures of retrieval and of geometry.
    skhug.model_selection.retrieval_scorer : Scores for grid searches, on unseen classes too.

    Notes
    -----
    Embeddings are unit vectors: nearest by distance is nearest by cosine, and any index takes
    them. ``NearestNeighbors`` and, where ``transform`` ends a pipeline, ``KNeighborsClassifier``
    or ``KNeighborsTransformer`` search exactly; with faiss, ``IndexFlatIP`` on
    ``embeddings.astype("float32")`` does, and its other indexes approximately. New classes join
    the index without training.

    References
    ----------
    Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
    Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.

    Examples
    --------
    >>> from sklearn.datasets import load_digits
    >>> from sklearn.neighbors import NearestNeighbors
    >>> from skhug import HUGEmbedder
    >>> X, y = load_digits(return_X_y=True)
    >>> embedder = HUGEmbedder(max_epochs=5, random_state=0).fit(X[:1200], y[:1200])
    >>> index = NearestNeighbors().fit(embedder.transform(X[:1200]))
    >>> found = index.kneighbors(embedder.transform(X[1200:]), 1, return_distance=False)[:, 0]
    >>> bool((y[found] == y[1200:]).mean() > 0.9)
    True
    >>> bool(embedder.score(X[1200:], y[1200:]) > 0.8)  # mean average precision at R
    True
    """

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """Return the mean average precision at R of X searched in itself.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows; each is a query against all the others.
        y : array-like of shape (n_samples,)
            Their labels, of any classes. Rows without another of their class are left out.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the queries.

        Returns
        -------
        score : float
            Between 0 and 1 (Musgrave et al. 2020).

        Raises
        ------
        ValueError
            If no row has another of its class to find, or all are of one class.
        """
        return mean_average_precision_at_r(self.transform(X), y, sample_weight=sample_weight)

    def _encode_validation_labels(self, y: np.ndarray, classes: np.ndarray) -> np.ndarray:
        return np.unique(y, return_inverse=True)[1]  # may be classes never trained on

    def _check_scorable(self, y: np.ndarray) -> None:
        if np.bincount(y).max() < 2:
            raise ValueError(
                f"None of the {len(y)} validation rows has another of its class to find, so that "
                "retrieval has no score: raise validation_fraction, or pass X_val and y_val with "
                "two rows or more of a class."
            )
        if np.count_nonzero(np.bincount(y)) < 2:
            raise ValueError(
                f"The {len(y)} validation rows are of one class, so that any embedding would "
                "score 1: raise validation_fraction, or pass X_val and y_val with rows of two "
                "classes or more."
            )

    def _validation_score(self, embeddings: Tensor, rows: Rows, proxies: Tensor) -> float:
        return mean_average_precision_at_r(embeddings, rows.y, sample_weight=rows.weight)
