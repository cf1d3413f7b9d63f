"""HUGClassifier: the nearest proxy is the class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from skhug._base import _BaseHUG
from skhug._calibration import fit_concentration, log_probabilities
from skhug._data import Rows, calibration_rows
from skhug._device import to_numpy, to_tensor
from skhug._inference import device_of, embed, embed_blocks
from skhug._parameters import shares_parameters
from skhug._training import Objective
from skhug._validation import check_rows


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
    concentration_, softening_ : float
        Of the probabilities, ``p_c`` proportional to ``(d_c^2 + softening_)^-concentration_``
        with ``d_c`` the distance to proxy c. Fitted on the validation rows where there are
        some, else on the training rows; of many, on 4,194,304 / n_classes drawn at random, but
        at least 4,096.

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
        cosines = self._per_block(X, lambda cosines: cosines)
        if len(self.classes_) == 2:
            return (cosines[:, 1] - cosines[:, 0]) / 2
        return cosines

    def predict(self, X: Any) -> np.ndarray:
        """Return the class of the nearest proxy.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows with the features seen in fit.

        Returns
        -------
        labels : ndarray of shape (n_samples,)
            Taken from ``classes_``.
        """
        nearest = self._per_block(X, lambda cosines: cosines.argmax(1))
        return self.classes_[nearest]

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
        return np.exp(self.predict_log_proba(X))

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
        return self._per_block(
            X, lambda cosines: log_probabilities(cosines, self.concentration_, self.softening_)
        )

    def _per_block(self, X: Any, function: Callable[[Tensor], Tensor]) -> np.ndarray:
        """Join what a function makes of the cosines (block, n_classes), block by block."""
        check_is_fitted(self)
        X = check_rows(self, X)
        proxies = to_tensor(self.proxies_, device_of(self.module_))
        blocks = [to_numpy(function(z @ proxies.T)) for z in embed_blocks(self.module_, X)]
        return np.concatenate(blocks)

    def _fitted_extras(self, objective: Objective, held_out: Rows) -> dict[str, Any]:
        held_out = calibration_rows(held_out, len(objective.proxies))
        cosines = embed(objective.encoder, held_out.X) @ objective.unit_proxies().T
        y, weight = (to_tensor(a, cosines.device) for a in (held_out.y, held_out.weight))
        concentration, softening = fit_concentration(cosines, y, weight)
        return {"concentration_": concentration, "softening_": softening}

    def _validation_score(self, embeddings: Tensor, rows: Rows, proxies: Tensor) -> float:
        predicted = to_numpy((embeddings @ proxies.T).argmax(1))
        return float(np.average(predicted == rows.y, weights=rows.weight))
