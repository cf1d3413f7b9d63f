"""scikit-learn's callbacks (1.9) on the estimators, alone and nested."""

import numpy as np
import pytest
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skhug import HUGClassifier, HUGEmbedder

callback = pytest.importorskip("sklearn.callback", reason="callbacks came with scikit-learn 1.9")


class Recorder:
    """Keeps what the hooks receive, and stops after some epochs."""

    def __init__(self, stop_after=None):
        self.stop_after = stop_after
        self.epochs, self.models, self.torn_down = [], [], False

    def setup(self, estimator, context):
        pass

    def on_fit_task_begin(self, estimator, context):
        pass

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator=None):
        if context.task_name != "epoch":
            return False
        self.epochs.append((len(X), len(y)))
        self.models.append(fitted_estimator)
        return len(self.epochs) == self.stop_after

    def teardown(self, estimator, context):
        self.torn_down = True


def test_hooks_see_every_epoch_and_a_model_of_that_epoch(Estimator, iris):
    X, y = iris
    recorder = Recorder()
    estimator = Estimator(max_epochs=4, random_state=0).set_callbacks(recorder).fit(X, y)
    assert recorder.epochs == [(150, 150)] * 4
    assert recorder.torn_down
    embeddings = [model.transform(X) for model in recorder.models]
    assert not np.array_equal(embeddings[0], embeddings[1])
    assert np.array_equal(embeddings[-1], estimator.transform(X))


def test_a_hook_that_returns_true_stops_the_fit(Estimator, iris):
    estimator = Estimator(max_epochs=50, random_state=0)
    assert estimator.set_callbacks(Recorder(stop_after=3)).fit(*iris).n_iter_ == 3


def test_callbacks_do_not_change_the_result(Estimator, iris):
    X, y = iris
    plain = Estimator(max_epochs=4, random_state=0).fit(X, y)
    watched = Estimator(max_epochs=4, random_state=0).set_callbacks(Recorder()).fit(X, y)
    assert np.array_equal(plain.transform(X), watched.transform(X))


def test_scoring_monitor_logs_every_epoch(iris):
    monitor = callback.ScoringMonitor(scoring=["accuracy", "neg_log_loss"])
    model = HUGClassifier(max_epochs=4, random_state=0).set_callbacks(monitor).fit(*iris)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == 4
    assert rows[-1]["accuracy"] == model.score(*iris)


def test_scoring_monitor_scores_an_embedder_by_retrieval(iris):
    monitor = callback.ScoringMonitor(scoring={"map": lambda model, X, y: model.score(X, y)})
    model = HUGEmbedder(max_epochs=2, random_state=0).set_callbacks(monitor).fit(*iris)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert rows[-1]["map"] == model.score(*iris)


def test_progress_bar_shows_epochs_in_a_pipeline_in_a_grid_search(iris, capsys):
    pytest.importorskip("rich")
    model = make_pipeline(StandardScaler(), HUGClassifier(max_epochs=3, random_state=0))
    search = GridSearchCV(model, {"hugclassifier__beta": [1.0, 2.0]}, cv=2)
    search.set_callbacks(callback.ProgressBar(max_propagation_depth=None)).fit(*iris)
    assert "HUGClassifier" in capsys.readouterr().out


def test_estimators_offer_what_scikit_learns_mixin_does(Estimator):
    names = {name for name in vars(callback.CallbackSupportMixin) if not name.startswith("__")}
    assert names
    assert all(callable(getattr(Estimator(), name, None)) for name in names)
    with pytest.raises(TypeError, match="callbacks must be instances"):
        Estimator().set_callbacks(1)
