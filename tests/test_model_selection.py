"""StackedSearchCV gives GridSearchCV's results, whether it can stack the fits or not."""

import pickle
import warnings

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, FitFailedWarning
from sklearn.model_selection import GridSearchCV, GroupKFold, ShuffleSplit
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch.utils.data import DataLoader, TensorDataset

from skhug import MGD, MHE, MHS, MLP, SGD, HUGClassifier, HUGEmbedder
from skhug._training import fit as _fitting
from skhug.model_selection import StackedSearchCV, _ahead
from skhug.model_selection._ahead import Ahead, asked_first

SMALL = {"encoder": MLP((8,)), "batch_size": 32, "max_epochs": 4, "precision": "float64"}


@pytest.fixture
def stack_sizes(monkeypatch):
    """Sizes of the stacks that were trained."""
    sizes, train_stack = [], _ahead.train_stack

    def counted(replicas):
        sizes.append(len(replicas))
        train_stack(replicas)

    monkeypatch.setattr(_ahead, "train_stack", counted)
    return sizes


def search_both(estimator, grid, X, y, fit_params=None, **options):
    """Both searches, fitted; times apart, their results must be equal."""
    options = {"cv": 3, **options}
    stacked, plain = (S(clone(estimator), grid, **options).fit(X, y, **(fit_params or {}))
                      for S in (StackedSearchCV, GridSearchCV))  # fmt: skip
    assert stacked.cv_results_.keys() == plain.cv_results_.keys()
    for name, values in plain.cv_results_.items():
        if "score" in name and not name.endswith("_time"):
            np.testing.assert_allclose(stacked.cv_results_[name], values, rtol=1e-6, atol=1e-9)
    assert stacked.cv_results_["params"] == plain.cv_results_["params"]
    return stacked, plain


GRIDS = {
    "learning rates": {"learning_rate": [1e-3, 1e-2, 3e-2]},
    "weight decays": {"weight_decay": [0.1, 1.0, None]},
    "exponents": {"uniformity__s_within": [-1.0, -2, -3.5]},
    "measures": {"uniformity": [MHE(), MHS(), MGD(s_within=-1.0)], "learning_rate": [1e-3, 1e-2]},
    "beta": {"beta": [0.5, 1.0, 3.0]},
    "class weights": {"class_weight": [None, "balanced", {0: 3.0}]},
    "seeds": {"random_state": [0, 1, np.int64(2)]},
    "mixed": [{"learning_rate": [1e-2], "beta": [2.0]}, {"uniformity": ["mhs"]}],
}


@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS)
def test_results_equal_grid_search(grid, iris, stack_sizes):
    model = HUGClassifier(**SMALL, random_state=0)
    stacked, _ = search_both(model, grid, *iris, scoring="neg_log_loss", return_train_score=True)
    assert stack_sizes == [3 * len(stacked.cv_results_["params"])]


@pytest.mark.parametrize("optimizer", ["adamw", SGD()])
@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("hidden", [(), (8, 6)])
def test_stacked_fits_have_the_weights_of_single_fits(iris, hidden, n_components, optimizer):
    X, y = iris
    # Sizes of the data that differ by rows of the last batch, and seeds, rates and measures.
    jobs = [(149, 0, 1e-2, MHE()), (147, 1, 1e-2, MHS()), (150, 2, 2e-2, MHE())]
    models = [
        HUGClassifier(MLP(hidden), batch_size=32, max_epochs=5, precision="float64",
                      n_components=n_components, learning_rate=rate, uniformity=measure,
                      optimizer=optimizer, random_state=seed)
        for _, seed, rate, measure in jobs
    ]  # fmt: skip
    order = np.random.RandomState(0).permutation(150)
    rows = [order[:n] for n, *_ in jobs]
    singles = [clone(m).fit(X[i], y[i]) for m, i in zip(models, rows, strict=True)]
    weights = [np.linspace(1, 2, len(i)) for i in rows]
    weighted = [clone(m).fit(X[i], y[i], w) for m, i, w in zip(models, rows, weights, strict=True)]
    for expected, extra in (singles, [()] * 3), (weighted, [(w,) for w in weights]):
        fits = [lambda m=m, i=i, w=w: clone(m).fit(X[i], y[i], *w)
                for m, i, w in zip(models, rows, extra, strict=True)]  # fmt: skip
        ahead = Ahead(fits)
        with asked_first(ahead):
            fitted = [fit() for fit in fits]
        assert set(ahead.seconds) == {0, 1, 2}
        for one, other in zip(fitted, expected, strict=True):
            torch.testing.assert_close(one.module_.state_dict(), other.module_.state_dict())
            np.testing.assert_allclose(one.transform(X), other.transform(X), atol=1e-9)
            assert one.n_iter_ == other.n_iter_ == 5
            for row, same in zip(one.history_, other.history_, strict=True):
                assert row == pytest.approx(same, rel=1e-9)
            assert one.concentration_ == pytest.approx(other.concentration_, rel=1e-5)


def test_full_batches_stack_too(iris, stack_sizes):
    model = HUGClassifier(**{**SMALL, "batch_size": 1000}, random_state=0)
    search_both(model, {"beta": [1, 2]}, *iris)
    assert stack_sizes == [6]


def test_each_shape_is_a_stack_of_its_own(iris, stack_sizes):
    grid = {"encoder__hidden_layer_sizes": [(4,), (8, 4)], "learning_rate": [1e-3, 1e-2]}
    search_both(HUGClassifier(**SMALL, random_state=0), grid, *iris)
    assert stack_sizes == [6, 6]


ALONE = {
    "dropout": {"encoder": MLP((8,), dropout=0.1)},
    "batch normalisation": {"encoder": MLP((8,), batch_norm=True)},
    "a module": {"encoder": torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ELU())},
    "learned proxies": {"proxies": "learned"},
    "early stopping": {"early_stopping": True},
    "a measure with repulsion": {"uniformity": MHE(repulsion=1.0)},
    "a RandomState": {"random_state": np.random.RandomState(0)},
}


@pytest.mark.parametrize("parameters", ALONE.values(), ids=ALONE)
def test_what_cannot_be_stacked_is_fitted_alone(parameters, iris, stack_sizes):
    model = HUGClassifier(**SMALL, random_state=0).set_params(**parameters)
    search_both(model, {"learning_rate": [1e-3, 1e-2]}, *iris)
    assert stack_sizes == []


def test_a_candidate_that_cannot_be_stacked_leaves_the_others_together(iris, stack_sizes):
    grid = {"proxies": ["optimal", "learned"], "learning_rate": [1e-3, 1e-2]}
    search_both(HUGClassifier(**SMALL, random_state=0), grid, *iris)
    assert stack_sizes == [6]


def test_plans_of_limited_size_give_the_same_results(iris, stack_sizes, monkeypatch):
    monkeypatch.setattr(_ahead, "_WEIGHTS", 200)
    model = HUGClassifier(**SMALL, random_state=0)
    search_both(model, {"learning_rate": [1e-3, 3e-3, 1e-2]}, *iris)
    assert len(stack_sizes) > 1


def test_several_scores_refit_by_one(iris):
    scoring = {"accuracy": "accuracy", "loss": "neg_log_loss"}
    model = HUGClassifier(**SMALL, random_state=0)
    options = {"scoring": scoring, "refit": "loss"}
    stacked, plain = search_both(model, {"beta": [1, 2]}, *iris, **options)
    assert stacked.best_params_ == plain.best_params_
    assert stacked.best_score_ == pytest.approx(plain.best_score_)
    assert stacked.scorer_.keys() == scoring.keys()
    assert stacked.multimetric_


def test_scoring_may_be_a_callable(iris):
    def spread(estimator, X, y):
        assert isinstance(estimator, HUGClassifier)
        return float(estimator.transform(X).std())

    search_both(HUGClassifier(**SMALL, random_state=0), {"beta": [1, 2]}, *iris, scoring=spread)


def test_the_best_estimator_is_refitted_and_used(iris):
    X, y = iris
    model = HUGClassifier(**SMALL, random_state=0)
    stacked, plain = search_both(model, {"learning_rate": [1e-4, 1e-2]}, X, y)
    assert stacked.best_index_ == plain.best_index_
    assert stacked.n_splits_ == 3
    assert stacked.refit_time_ > 0
    np.testing.assert_array_equal(stacked.predict(X), plain.predict(X))
    np.testing.assert_array_equal(stacked.transform(X), plain.transform(X))
    assert stacked.score(X, y) == plain.score(X, y)
    assert not hasattr(StackedSearchCV(model, {}, refit=False).fit(X, y), "best_estimator_")


def test_groups_reach_the_splitter(digits, stack_sizes):
    X, y = digits[0][:300], digits[1][:300]
    model = HUGEmbedder(**SMALL, n_components=6, random_state=0)
    fit_params = {"groups": y // 2}
    search_both(model, {"learning_rate": [1e-3, 1e-2]}, X, y, fit_params, cv=GroupKFold(3))
    assert sum(stack_sizes) == 6  # folds with other classes, and of other sizes


def test_sample_weights_reach_the_fits(iris, stack_sizes):
    weight = np.linspace(0, 1, 150)  # one of them zero
    model = HUGClassifier(**SMALL, random_state=0)
    search_both(model, {"beta": [1, 2]}, *iris, {"sample_weight": weight})
    assert sum(stack_sizes) == 6


def test_folds_drawn_anew_are_those_that_were_trained(iris, monkeypatch):
    def train(*args, **kwargs):
        raise AssertionError("a fit was trained alone")

    monkeypatch.setattr(_fitting, "train", train)
    options = {"cv": ShuffleSplit(3, test_size=0.3), "refit": False, "error_score": "raise"}
    model = HUGClassifier(**SMALL)  # neither folds nor fits have a seed
    search = StackedSearchCV(model, {"beta": [1, 2]}, **options).fit(*iris)
    assert np.all(search.cv_results_["mean_fit_time"] > 0)


def test_folds_may_come_from_an_iterator(iris, stack_sizes):
    X, y = iris
    folds = list(ShuffleSplit(3, random_state=0).split(X))
    model, grid = HUGClassifier(**SMALL, random_state=0), {"beta": [1, 2]}
    search = StackedSearchCV(model, grid, cv=iter(folds), refit=False).fit(X, y)
    assert stack_sizes == [6]
    expected = GridSearchCV(model, grid, cv=folds, refit=False).fit(X, y)
    np.testing.assert_array_equal(
        search.cv_results_["mean_test_score"], expected.cv_results_["mean_test_score"]
    )


@pytest.mark.parametrize("last", [HUGClassifier, HUGEmbedder])
def test_pipelines_are_stacked(iris, stack_sizes, last):
    tail = [] if last is HUGClassifier else [KNeighborsClassifier()]
    pipeline = make_pipeline(StandardScaler(), last(**SMALL, random_state=0), *tail)
    grid = {f"{last.__name__.lower()}__learning_rate": [1e-3, 1e-2]}
    search_both(pipeline, grid, *iris)
    assert stack_sizes == [6]


def test_other_estimators_are_searched_as_ever(iris):
    search_both(KNeighborsClassifier(), {"n_neighbors": [1, 5]}, *iris)


FAILING = {
    "when it starts": {"encoder__hidden_layer_sizes": [(8,), (0,), (6,)]},
    "in a step": {"uniformity__s_within": [-1.0, 1.0, -2.0]},
    "before it starts": {"learning_rate": [1e-3, -1.0, 1e-2]},
}


@pytest.mark.parametrize("grid", FAILING.values(), ids=FAILING)
def test_a_fit_that_fails_gets_the_error_score_and_no_other(grid, iris):
    model = HUGClassifier(**SMALL, random_state=0)
    with pytest.warns(FitFailedWarning, match="3 fits failed"):
        stacked, _ = search_both(model, grid, *iris, error_score=-1.0)
    assert (stacked.cv_results_["mean_test_score"] == -1).tolist() == [False, True, False]
    with pytest.raises(ValueError, match=r"hidden_layer_sizes|s_within|learning_rate"):
        StackedSearchCV(model, grid, cv=3, error_score="raise").fit(*iris)


def test_a_fit_that_diverges_ends_as_it_would_alone(iris, stack_sizes):
    model = HUGClassifier(**SMALL, optimizer="sgd", random_state=0)
    grid = {"learning_rate": [1e-2, 1e300]}
    with pytest.warns(ConvergenceWarning, match="diverged"):
        search_both(model, grid, *iris)
    assert stack_sizes == [6]


def test_nothing_warns_twice(iris):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        StackedSearchCV(HUGClassifier(**SMALL), {"beta": [1, 2]}, cv=2).fit(*iris)
    assert not caught


def test_random_states_stay_as_they_were(iris, random_states_untouched):
    StackedSearchCV(HUGClassifier(**SMALL), {"beta": [1, 2]}, cv=2).fit(*iris)


def test_it_is_an_estimator(iris):
    search = StackedSearchCV(HUGClassifier(**SMALL), {"beta": [1, 2]}, cv=2, error_score="raise")
    copy = clone(search).set_params(estimator__learning_rate=0.1, cv=3)
    assert copy.get_params()["estimator__learning_rate"] == 0.1
    assert "n_jobs" not in copy.get_params()
    copy.fit(*iris)
    again = pickle.loads(pickle.dumps(copy))
    np.testing.assert_array_equal(again.predict(iris[0]), copy.predict(iris[0]))
    assert not [name for name in vars(copy) if name.startswith("_") and name != "_checked_cv_orig"]


@pytest.mark.parametrize("listens", ["estimator", "search"])
def test_callbacks_see_every_epoch(iris, stack_sizes, listens):
    pytest.importorskip("sklearn.callback", reason="scikit-learn < 1.9")
    epochs = []

    class Count:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...

        def on_fit_task_begin(self, estimator, context, **data):
            epochs.append(context.task_name == "epoch")

        def on_fit_task_end(self, estimator, context, **data): ...

    class Propagated(Count):
        max_propagation_depth = None

    model = HUGClassifier(**SMALL, random_state=0)
    search = StackedSearchCV(model, {"beta": [1, 2]}, cv=2, refit=False)
    if listens == "estimator":
        model.set_callbacks(Count())
    else:
        search.set_callbacks(Propagated())
    search.fit(*iris)
    assert stack_sizes == []
    assert sum(epochs) == 4 * SMALL["max_epochs"]


def test_proxies_of_any_array_type_are_searched(iris):
    X, y = iris
    proxies = torch.eye(3)
    search = StackedSearchCV(
        HUGClassifier(n_components=3, proxies=proxies, max_epochs=5, random_state=0),
        {"learning_rate": [1e-3, 1e-2]},
        cv=2,
        error_score="raise",
    )
    assert search.fit(X, y).best_score_ > 0.5


def test_tracked_measures_are_there_when_a_fold_is_scored(iris):
    search = StackedSearchCV(
        HUGClassifier(max_epochs=2, track=["cdnv"], random_state=0),
        {"learning_rate": [1e-3, 1e-2]},
        cv=2,
        scoring=lambda estimator, X, y: -estimator.history_[-1]["cdnv"],
        error_score="raise",
    )
    assert np.isfinite(search.fit(*iris).best_score_)


@pytest.mark.parametrize("wrap", [lambda data: data, DataLoader])
def test_a_data_set_cannot_be_cut_into_folds(wrap):
    data = TensorDataset(torch.zeros(8, 2), torch.arange(8) % 2)
    with pytest.raises(TypeError, match="pass X and y as arrays"):
        StackedSearchCV(HUGClassifier(), {"beta": [1.0]}).fit(wrap(data))
