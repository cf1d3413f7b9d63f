"""Model selection: search with the fits of one architecture trained together; scorers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sklearn.base import clone, is_classifier
from sklearn.model_selection import GridSearchCV, check_cv
from sklearn.pipeline import Pipeline
from torch.utils.data import DataLoader, Dataset

from skhug._base import _BaseHUG
from skhug._callbacks import has_callbacks
from skhug._configured import explained
from skhug._data.validation import select_fit_params, split_fold
from skhug._docs import public
from skhug.model_selection._ahead import Ahead, asked_first
from skhug.model_selection._scorers import retrieval_scorer

__all__ = ["StackedSearchCV", "retrieval_scorer"]
__dir__ = public(globals())


class StackedSearchCV(GridSearchCV):
    """Grid search that trains candidates and folds of one architecture as one stacked batch.

    A step on small matrices costs calls more than arithmetic; a stack makes each call once for
    all of its fits. Results equal those of :class:`~sklearn.model_selection.GridSearchCV` but
    for rounding. There is no ``n_jobs``: the work stays in one process.

    It pays for small networks: with one hidden layer of 100 units and batches of 32, 15 fits take
    0.4 times the processor's time of single ones. With layers of 256 and 128 units arithmetic
    dominates and nothing is gained; there, and where many cores are free, prefer
    ``GridSearchCV(n_jobs=...)``, whose workers cost their imports once.

    Fits are stacked where they share layers, batch size, epochs, schedule and optimizer, and the
    proxies are fixed. Learning rate, weight decay, ``beta``, the measure of uniformity,
    ``class_weight``, ``random_state`` and the data may differ. All others are trained one by
    one: user modules, dropout, batch normalisation, learned proxies, early stopping, callbacks,
    ``checkpoint``, ``track``, ``verbose`` estimators, a ``RandomState`` as ``random_state``.

    Parameters
    ----------
    estimator : HUGClassifier, HUGEmbedder or Pipeline
        What to fit. A pipeline's other steps are fitted twice for each fold and candidate, once
        to see what its HUG estimator will be given; ``memory`` avoids that. Any other
        estimator is searched as GridSearchCV does it.
    param_grid : dict or list of dict
        Names of parameters and the values to try.
    scoring : str, callable, list, tuple or dict, optional
        How to score held-out folds, as in GridSearchCV; by default the estimator's ``score``.
    refit : bool, str or callable, default=True
        Whether to fit the best candidate on all rows, or by which score.
    cv : int, splitter or iterable, optional
        Folds; 5 by default.
    verbose : int, default=0
        The higher, the more is printed.
    error_score : "raise" or number, default=nan
        Score of a fit that fails.
    return_train_score : bool, default=False
        Whether to score the training rows as well.

    Attributes
    ----------
    cv_results_ : dict of ndarray
        Scores, times and ranks by candidate. ``mean_fit_time`` shares a stack's time equally
        among its fits.
    best_estimator_ : estimator
        Refitted on all rows.
    best_params_ : dict
        Parameters of the best candidate.
    best_score_ : float
        Its mean score over the folds.
    best_index_ : int
        Its place in ``cv_results_``.
    scorer_ : callable or dict
        What scored.
    n_splits_ : int
        Folds.
    refit_time_ : float
        Seconds of the last fit.
    multimetric_ : bool
        Whether several scores were computed.

    See Also
    --------
    sklearn.model_selection.GridSearchCV : The same search, fit by fit, in several processes.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from skhug import HUGClassifier
    >>> from skhug.model_selection import StackedSearchCV
    >>> X, y = load_iris(return_X_y=True)
    >>> model = HUGClassifier(max_epochs=20, random_state=0)
    >>> search = StackedSearchCV(model, {"learning_rate": [1e-4, 1e-3, 1e-2]}, cv=3).fit(X, y)
    >>> len(search.cv_results_["params"])
    3
    >>> bool(search.best_score_ > 0.9)
    True
    """

    @explained
    def __init__(
        self,
        estimator: Any,
        param_grid: dict[str, Any] | list[dict[str, Any]],
        *,
        scoring: Any = None,
        refit: Any = True,
        cv: Any = None,
        verbose: int = 0,
        error_score: float | str = np.nan,
        return_train_score: bool = False,
    ) -> None:
        super().__init__(
            estimator,
            param_grid,
            scoring=scoring,
            n_jobs=1,  # stacks are trained in this process
            refit=refit,
            cv=cv,
            verbose=verbose,
            error_score=error_score,
            return_train_score=return_train_score,
        )

    def fit(self, X: Any, y: Any = None, **params: Any) -> StackedSearchCV:
        """Search the grid, then fit the best candidate on all rows.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
            Rows.
        y : array-like of shape (n_samples,), optional
            Class labels; needed but for scorers of your own.
        **params : dict
            Passed to ``fit`` of the estimator, as ``sample_weight``, and to the splitter, as
            ``groups``.

        Returns
        -------
        self : StackedSearchCV

        Raises
        ------
        TypeError
            If ``X`` is a torch data set: a search cuts rows and labels into folds.
        """
        if isinstance(X, Dataset | DataLoader):
            raise TypeError(
                f"X is a {type(X).__name__}, and a search cuts rows and labels into folds by "
                "index: pass X and y as arrays, for instance memory maps where they are large, or "
                "fit the estimator itself on the data set."
            )
        self._params = params  # scikit-learn does not hand them to _run_search
        if isinstance(self.cv, Iterator):  # read once, and asked for folds twice
            self.cv = list(self.cv)
        try:
            return super().fit(X, y, **params)
        finally:
            self.__dict__.pop("_params", None)
            self.__dict__.pop("_ahead", None)

    def _run_search(
        self, evaluate_candidates: Callable[..., Any], *, callback_ctx: Any = None
    ) -> None:
        # scikit-learn < 1.9 has no callbacks.
        context = {} if callback_ctx is None else {"callback_ctx": callback_ctx}

        def evaluate(candidates: Any, **options: Any) -> Any:
            candidates, splits = list(candidates), _Splits(self.cv, is_classifier(self.estimator))
            # Callbacks want to see each fit's epochs: nothing is trained ahead then.
            jobs = () if has_callbacks(self) else self._jobs(candidates, splits)
            self._ahead = Ahead(jobs)
            with asked_first(self._ahead):
                return evaluate_candidates(candidates, cv=splits, **options)

        super()._run_search(evaluate, **context)

    def _jobs(
        self, candidates: list[dict[str, Any]], splits: _Splits
    ) -> Iterator[Callable[[], object]]:
        """Yield the fits that scikit-learn is about to make, in its order."""
        X, y = splits.data
        params = select_fit_params(X, params=self._params)
        fit_params = self._get_routed_params_for_fit(params).estimator.fit
        for parameters in candidates:
            for train, _ in splits.indices:

                def job(parameters: Any = parameters, train: Any = train) -> object:
                    # As scikit-learn does: parameters may be estimators themselves.
                    parameters = clone(parameters, safe=False)
                    estimator = clone(self.estimator).set_params(**parameters)
                    if not _trains_here(estimator):
                        return None
                    rows, labels = split_fold(estimator, X, y, train)
                    selected = select_fit_params(X, params=fit_params, indices=train)
                    return estimator.fit(rows, labels, **selected)

                yield job

    def _format_results(
        self, candidate_params: Any, n_splits: int, out: Any, more_results: Any = None
    ) -> dict[str, Any]:
        for job, seconds in self._ahead.seconds.items():
            out[job]["fit_time"] += seconds
        return super()._format_results(candidate_params, n_splits, out, more_results)


class _Splits:
    """A splitter that keeps what it was given and what it made of it, for fits made in advance."""

    def __init__(self, cv: Any, classifier: bool) -> None:
        self._cv = cv
        self._classifier = classifier

    def split(self, X: Any, y: Any = None, **params: Any) -> list[tuple[Any, Any]]:
        """Return the folds, and remember them."""
        self.data = X, y
        cv = check_cv(self._cv, y, classifier=self._classifier)
        self.indices = list(cv.split(X, y, **params))
        return self.indices


def _trains_here(estimator: Any) -> bool:
    """Whether an estimator's fit reaches a HUG estimator's at once."""
    steps = [step for _, step in estimator.steps] if isinstance(estimator, Pipeline) else []
    return any(isinstance(step, _BaseHUG) for step in [estimator, *steps])
