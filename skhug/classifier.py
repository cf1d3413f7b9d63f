"""HUGClassifier: the nearest proxy is the class."""

from __future__ import annotations

from collections.abc import Callable
from operator import itemgetter
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skhug._base import _BaseHUG
from skhug._data.columns import as_array
from skhug._data.rows import Rows
from skhug._data.sources import labels_of
from skhug._data.validation import check_rows
from skhug._device import to_numpy, to_tensor
from skhug._docs import public
from skhug._model.calibration import (
    Falloff,
    calibration_rows,
    candidates,
    fit_falloff,
    log_probabilities,
    pull_of,
)
from skhug._model.embedding import device_of, embed, join
from skhug._model.nearest import decision, nearest, row_blocks
from skhug._parameters import shares_parameters
from skhug._saving.onnx import ServedClassifier
from skhug._training.fit import Task
from skhug._training.objective import Objective
from skhug._training.preflight import sound_blocks

__all__ = ["HUGClassifier"]
__dir__ = public(globals())


@shares_parameters
class HUGClassifier(ClassifierMixin, _BaseHUG):
    """Classifier that trains embeddings towards class proxies on the unit sphere.

    The Hyperspherical Uniformity Gap (HUG) keeps the classes' proxies apart and pulls each
    sample's embedding to its class's proxy; the predicted class is the nearest proxy.

    Parameters
    ----------
    {parameters}

    Attributes
    ----------
    {attributes}
    concentration_, softening_, cutoff_ : float
        Of the probabilities, ``p_c`` proportional to ``(d_c^2 + softening_)^-concentration_ *
        exp(-cutoff_ * d_c^4 / 4)`` with ``d_c`` the distance to proxy c. Fitted on the
        validation rows where there are some, else on the training rows, which tell less: there
        they stay nearer to values that suit most data. On a draw of rows, and of the classes
        far from a row, where there are many.

    See Also
    --------
    HUGEmbedder : The same training for retrieval, scored by retrieval.

    References
    ----------
    Liu, Yu, Weller and Schölkopf, "Generalizing and Decoupling Neural Collapse via
    Hyperspherical Uniformity Gap", ICLR 2023, arXiv 2303.06484.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.model_selection import train_test_split
    >>> from skhug import HUGClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
    >>> model = HUGClassifier(random_state=0).fit(X_train, y_train)
    >>> bool(model.score(X_test, y_test) > 0.9)
    True
    >>> model.transform(X_test).shape
    (38, 2)
    """

    _fitted_names = (*_BaseHUG._fitted_names, *(f"{name}_" for name in Falloff._fields))

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """Return the accuracy on rows with labels.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.
        y : array-like of shape (n_samples,), optional
            Their labels; a torch data set of (x, y) brings its own.
        sample_weight : array-like of shape (n_samples,), optional
            Weights of the rows.

        Returns
        -------
        accuracy : float
            Share of the rows whose class is predicted.
        """
        y, sample_weight = as_array(labels_of(X, y)), as_array(sample_weight)
        return super().score(X, y, sample_weight)

    def decision_function(self, X: Any) -> np.ndarray:
        """Return the cosines to the proxies.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        cosines : ndarray of shape (n_samples, n_classes), or (n_samples,) for two classes
            In [-1, 1]. For two classes, half of the second's cosine minus the first's.
        """
        return self._of_cosines(X, decision)

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the nearest proxy.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Taken from ``classes_``. Memory does not grow with the number of classes.
        """
        index = self._nearest(X, itemgetter(1))
        return self.classes_[index]

    def score_samples(self, X: Any) -> np.ndarray:
        """Return how near each row is to any class: low where it belongs to none of them.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        cosine : ndarray of shape (n_samples,)
            The largest cosine to a proxy, at most 1.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> from sklearn.metrics import roc_auc_score
        >>> from skhug import HUGClassifier
        >>> X, y = load_digits(return_X_y=True)
        >>> known = y < 6
        >>> model = HUGClassifier(max_epochs=10, random_state=0).fit(X[known], y[known])
        >>> bool(roc_auc_score(known, model.score_samples(X)) > 0.9)
        True
        """
        return self._nearest(X, itemgetter(0))

    def predict_proba(self, X: Any) -> np.ndarray:
        """Return the probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        probability : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``; rows sum to 1.
        """
        return self._of_cosines(X, lambda cosines: self._log_probabilities(cosines).exp())

    def predict_log_proba(self, X: Any) -> np.ndarray:
        """Return the logarithms of the classes' probabilities.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        log_probability : ndarray of shape (n_samples, n_classes)
            In the order of ``classes_``.
        """
        return self._of_cosines(X, self._log_probabilities)

    def _log_probabilities(self, cosines: Tensor) -> Tensor:
        return log_probabilities(cosines, self._falloff)

    @property
    def _falloff(self) -> Falloff:
        return Falloff(self.concentration_, self.softening_, self.cutoff_)

    def _of_cosines(self, X: Any, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Join what a function makes of the cosines (block, n_classes)."""
        X, proxies = self._checked(X)
        embeddings = sound_blocks(self.module_, X)
        parts = (part for z in embeddings for part in row_blocks(z, len(proxies)))
        return join((function(part @ proxies.T) for part in parts), len(X))

    def _nearest(self, X: Any, pick: Callable[[tuple[Tensor, Tensor]], Tensor]) -> np.ndarray:
        """Join what is picked of the nearest proxy's (cosine, index)."""
        X, proxies = self._checked(X)
        embeddings = sound_blocks(self.module_, X)
        return join((pick(nearest(z, proxies)) for z in embeddings), len(X))

    def _checked(self, X: Any) -> tuple[np.ndarray, Tensor]:
        check_is_fitted(self)
        X = check_rows(self, X)
        return X, to_tensor(self.proxies_, device_of(self.module_))

    def _fitted_extras(self, objective: Objective, task: Task) -> dict[str, Any]:
        trained_on = task.validation is None
        rows, proxies = task.rows if trained_on else task.validation, objective.unit_proxies()
        drawn = calibration_rows(len(rows.y), len(proxies))
        if len(drawn) < len(rows.y):
            rows = rows.take(drawn)
        embeddings = embed(objective.encoder, rows.X)
        y, weight = (to_tensor(a, embeddings.device) for a in (rows.y, rows.weight))
        falloff = fit_falloff(
            candidates(embeddings, proxies, y), weight, pull_of(len(drawn), trained_on)
        )
        return {f"{name}_": value for name, value in falloff._asdict().items()}

    def _served(self) -> ServedClassifier:
        return ServedClassifier(self.module_, self.proxies_, self.classes_, self._falloff)

    def _validation_score(self, embeddings: Tensor, rows: Rows, proxies: Tensor) -> float:
        predicted = to_numpy(nearest(embeddings, proxies)[1])
        return float(np.average(predicted == rows.y, weights=rows.weight))
