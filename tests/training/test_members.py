"""Several members: what each is trained on, which epoch is kept, what calibrates."""

from functools import partial

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.metrics import log_loss

from skhug import HUGClassifier, HUGEmbedder
from skhug._data.folds import assign_folds
from skhug._data.rows import Rows, Task
from skhug._defaults import resolve
from skhug._model.embedding import embed
from skhug._model.sphere_encoder import SphereEncoder
from skhug._sklearn import EpochCallbacks
from skhug._training.fit import Plan, fit
from skhug._training.keeping import NoKeeper
from skhug._training.left_out import LeftOut
from skhug._training.state import CycleEnds
from skhug.encoders import MLP
from skhug.optimizers import SCHEDULES
from skhug.optimizers._schedules import cycle_ends


def deal(X, y, encoder=None):
    prepared = (lambda X: encoder.prepare(torch.from_numpy(X)).numpy()) if encoder else np.asarray
    return assign_folds(Rows(X, y, np.ones(len(y))), 4, prepared)


SMALL = {"encoder": MLP((8,)), "max_epochs": 6, "random_state": 0}


@pytest.fixture(scope="module")
def noisy():
    """Two classes that overlap, and few rows."""
    return make_classification(
        400, 6, n_informative=3, n_redundant=0, flip_y=0.3, class_sep=0.7, random_state=0
    )


def run(X, y, folds, **parameters):
    """Fit with folds of one's own to the last epoch; return fitted attributes and the state."""
    model = HUGClassifier(**{**SMALL, **parameters})
    rows = Rows(X, y, np.ones(len(y)))
    task = Task(rows, None, np.unique(y))
    settings = resolve(model, rows, task.classes, 0)
    listen = partial(EpochCallbacks, model)
    plan = Plan(settings, task, model._goal, listen, known_end=False, deal=lambda *_: folds)
    return fit(plan, NoKeeper())


@pytest.mark.parametrize("class_weight", [None, "balanced", {0: 1.0, 1: 3.0}], ids=str)
@pytest.mark.parametrize("encoder", [MLP((8,)), MLP((8,), batch_norm=True)], ids=repr)
def test_a_member_learns_nothing_of_the_labels_that_it_leaves_out(noisy, class_weight, encoder):
    X, y = noisy
    folds = deal(X, y)
    changed = y.copy()
    changed[folds == 2] = y[folds == 2][::-1]  # as many of each class
    both = [
        run(X, labels, folds, class_weight=class_weight, encoder=encoder)[0]["module_"].body
        for labels in (y, changed)
    ]
    pairs = zip(*(body.networks for body in both), strict=True)
    assert [torch.equal(a[0].weight, b[0].weight) for a, b in pairs] == [False, False, True, False]


def test_rows_left_out_are_embedded_by_the_member_that_leaves_them_out(noisy):
    X, y = noisy
    folds = deal(X, y)
    fitted, state = run(X, y, folds)
    encoder, left_out = fitted["module_"], state.left_out
    z, order = left_out.embeddings(), np.argsort(folds, kind="stable")
    assert np.array_equal(left_out.y, y[order])
    prepared = encoder.prepare(torch.from_numpy(X[order]))
    for member, network in enumerate(encoder.body.networks):
        rows = folds[order] == member
        torch.testing.assert_close(z[rows], encoder.on_ball(network(prepared[rows])))
    distance = np.linalg.norm(z.numpy() - fitted["proxies_"][y[order]], axis=1)
    assert left_out.score() == pytest.approx(-np.mean(distance**2))


def test_rows_without_a_fold_are_not_among_those_left_out(noisy):
    X, y = noisy
    index = deal(X, y)
    index[:100] = -1
    _, state = run(X, y, index)
    assert len(state.left_out.y) == 300


def test_the_embedding_is_the_mean_of_the_members_on_the_ball(noisy):
    X, y = noisy
    model = HUGClassifier(**SMALL).fit(X, y)
    encoder = model.module_
    prepared = encoder.prepare(torch.from_numpy(X))
    z = torch.stack([encoder.on_ball(network(prepared)) for network in encoder.body.networks])
    torch.testing.assert_close(embed(encoder, X, SphereEncoder.ball), z.mean(0).detach())
    unit = torch.nn.functional.normalize(z.mean(0), dim=1).detach().numpy()
    np.testing.assert_allclose(model.transform(X), unit, atol=1e-12)


def test_an_embedder_has_one_network_unless_told_otherwise(noisy):
    parameters = {"max_epochs": 1, "random_state": 0}
    assert HUGEmbedder(**parameters).fit(*noisy).module_.n_members == 1
    assert HUGEmbedder(MLP((8,)), **parameters).fit(*noisy).module_.n_members == 1
    assert HUGEmbedder(MLP((8,), members=3), **parameters).fit(*noisy).module_.n_members == 3


@pytest.mark.parametrize("Kind", [HUGClassifier, HUGEmbedder])
def test_the_epoch_that_was_best_for_the_rows_left_out_is_kept(Kind, noisy):
    X, y = noisy
    model = Kind(MLP((64, 64), members=4), max_epochs=45, random_state=0).fit(X, y)
    scores = [row["left_out_score"] for row in model.history_ if "left_out_score" in row]
    assert scores[-1] < max(scores)  # it went on after the best
    objective = type(
        "", (), {"encoder": model.module_, "proxies": torch.from_numpy(model.proxies_)}
    )
    objective.unit_proxies = lambda: objective.proxies
    rows = Rows(X, y, np.ones(len(y)))
    assert LeftOut(objective, rows, deal(X, y, model.module_)).score() == pytest.approx(max(scores))


def test_training_stops_where_a_cycle_made_it_no_better(noisy):
    model = HUGClassifier(MLP((64, 64)), max_epochs=400, learning_rate=1e-2, random_state=0)
    assert model.fit(*noisy).n_iter_ in cycle_ends(400, 7)[1:-1]


def test_rows_left_out_are_scored_where_the_learning_rate_does_not_rise(noisy):
    X, y = noisy
    model = HUGClassifier(MLP((8,)), batch_size=8, max_epochs=31, random_state=0).fit(X, y)
    scored = {row["epoch"] for row in model.history_ if "left_out_score" in row}
    of_whole_run = {1, 3, 6, 7, *range(11, 16), *range(23, 32)}
    assert scored == {epoch for epoch in of_whole_run if epoch <= model.n_iter_}
    steady = HUGClassifier(MLP((8,)), schedule="constant", max_epochs=3).fit(X, y)
    assert all("left_out_score" in row for row in steady.history_)


def test_the_end_of_a_cycle_is_compared_with_the_one_before():
    class State:
        epoch = 0

        def snapshot(self, into):
            return self.epoch

    state, choice = State(), CycleEnds((2, 5))
    stops = []
    for state.epoch, score in enumerate([-3.0, -2.0, -1.0, -1.5, -2.1, -0.5], start=1):
        stops.append(choice.update(score, state))
    assert stops == [False, False, False, False, True, False]
    assert (choice.best, choice.best_score) == (6, -0.5)


def test_cycles_rise_and_fall_and_double():
    factor = [SCHEDULES["cycles"](step / 3100) for step in range(3101)]
    assert min(factor) >= 0
    assert max(factor) <= 1
    assert [step for step in range(3101) if factor[step] < 1e-9] == [0, 100, 300, 700, 1500, 3100]
    assert cycle_ends(31, 50) == [1, 3, 7, 15, 31]
    assert cycle_ends(310, 5) == [10, 30, 70, 150, 310]


def test_short_cycles_are_not_judged_by():
    assert cycle_ends(310, 1) == [150, 310]
    assert cycle_ends(8, 5) == []
    assert cycle_ends(1, 100) == [1]


def test_probabilities_of_few_noisy_rows_mean_something(noisy):
    X, y = noisy
    train, test = slice(0, 200), slice(200, None)
    base_rate = log_loss(y[test], np.full(200, y[train].mean()))
    loss = {}
    for members in (1, 4):
        model = HUGClassifier(MLP(members=members), random_state=0).fit(X[train], y[train])
        probability = model.predict_proba(X[test])
        loss[members] = log_loss(y[test], probability)
    assert loss[4] < base_rate
    assert loss[4] < loss[1]
    assert abs(probability.max(1).mean() - model.score(X[test], y[test])) < 0.12


def test_rows_count_alike_and_balanced_classes_do():
    random = np.random.default_rng(0)
    y = (random.random(1500) < 0.1).astype(int)
    X = random.standard_normal((1500, 2)) + y[:, None]
    alike = HUGClassifier(random_state=0).fit(X, y)
    balanced = clone(alike).set_params(class_weight="balanced").fit(X, y)
    assert alike.predict_proba(X)[:, 1].mean() == pytest.approx(0.1, abs=0.03)
    assert alike.predict(X).mean() < 0.1
    assert balanced.predict(X).mean() > 0.2


def test_balanced_classes_make_up_for_the_batches_that_a_member_sees():
    y = np.repeat([0, 1], [990, 10])
    rows = Rows(np.arange(1000.0)[:, None], y, np.ones(1000))
    model = HUGClassifier(MLP(members=4), class_weight="balanced", batch_size=64)
    weight = resolve(model, rows, np.unique(y), 0).class_weight
    occurs = 1 - (1 - np.array([0.99, 0.01])) ** 48  # three quarters of a batch
    np.testing.assert_allclose(weight, 1 / occurs / np.mean(1 / occurs))


def test_early_stopping_goes_by_the_validation_rows(noisy):
    X, y = noisy
    model = HUGClassifier(**SMALL, early_stopping=True, n_iter_no_change=2).fit(X, y)
    assert {"validation_score", "left_out_score"} < model.history_[-1].keys()
    scores = [row["validation_score"] for row in model.history_]
    assert model.n_iter_ <= int(np.argmax(scores)) + 1 + 2
    watched = HUGClassifier(**SMALL).fit(X[:300], y[:300], X_val=X[300:], y_val=y[300:])
    plain = HUGClassifier(**SMALL).fit(X[:300], y[:300])
    assert np.array_equal(watched.transform(X), plain.transform(X))  # they change no weight
    assert watched.power_ != plain.power_  # and calibrate


def test_single_rows_of_all_classes_train_without_folds():
    X = np.eye(30)
    model = HUGClassifier(**SMALL).fit(X, np.arange(30))
    assert "left_out_score" not in model.history_[-1]
    assert len(model.predict_proba(X)) == 30


def test_rows_left_out_that_count_nothing_say_nothing():
    X, y = np.eye(30), np.array([0] * 29 + [1])  # the only row of its class is left out by nobody
    model = HUGClassifier(**SMALL, class_weight={0: 0.0, 1: 1.0}).fit(X, y)
    assert "left_out_score" not in model.history_[-1]
    assert np.isfinite(model.predict_proba(X)).all()


def test_one_member_is_trained_on_all_rows(noisy):
    model = HUGClassifier(MLP((8,), members=1), max_epochs=3, random_state=0).fit(*noisy)
    assert "left_out_score" not in model.history_[-1]
    assert model.n_iter_ == 3


@pytest.mark.parametrize("members", [0, -1, 1.5, "four"])
def test_a_wrong_number_of_members_is_named(members, noisy):
    with pytest.raises(ValueError, match="members="):
        HUGClassifier(MLP(members=members)).fit(*noisy)


def test_rows_of_many_features_have_one_network_by_default():
    assert MLP().members_for((511,)) == 4
    assert MLP().members_for((512,)) == 1
    assert MLP(members=2).members_for((512,)) == 2


def test_a_grid_reaches_the_members(noisy):
    model = HUGClassifier(max_epochs=2).set_params(encoder__members=2).fit(*noisy)
    assert len(model.module_.body) == 2


def test_partial_fit_calibrates_on_rows_that_members_left_out(noisy):
    X, y = noisy
    model = HUGClassifier(random_state=0)
    for _ in range(60):
        model.partial_fit(X[:200], y[:200])
    probability = model.predict_proba(X[200:])
    assert log_loss(y[200:], probability) < log_loss(y[200:], np.full(200, y[:200].mean())) + 0.05


def test_a_stream_of_few_different_rows_is_as_sure_as_it_may_be():
    X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])[np.arange(400) % 4]
    y = (X[:, 0] != X[:, 1]).astype(int)
    model = HUGClassifier(random_state=0)
    for _ in range(60):
        model.partial_fit(X, y)
    assert model.predict_proba(X)[np.arange(400), y].min() > 0.9


class Bent(MLP):
    """Builds one network, whatever ``members`` says."""

    def build(self, input_shape, n_components):
        return torch.nn.Sequential(
            torch.nn.Linear(*input_shape, 8), torch.nn.ReLU(), torch.nn.Linear(8, n_components)
        )


class Wrapped(MLP):
    """Puts the members into another module."""

    def build(self, input_shape, n_components):
        return torch.nn.Sequential(super().build(input_shape, n_components), torch.nn.Identity())


@pytest.mark.parametrize(
    "encoder",
    [Bent(), Wrapped((8,)), MLP((8,)).build((6,), 2), lambda s, n: MLP((8,)).build(s, n)],
    ids=["one network", "wrapped", "module", "callable"],
)
def test_how_many_members_there_are_is_asked_of_the_module(encoder, noisy):
    X, y = noisy
    model = HUGClassifier(encoder, max_epochs=3, random_state=0).fit(X, y)
    assert model.predict_proba(X).shape == (400, 2)
    assert model.transform(X).shape == (400, 2)


def test_validation_rows_that_count_nothing_calibrate_nothing():
    X, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    weights = {"class_weight": {0: 0.0, 1: 1.0, 2: 1.0}}
    model = HUGClassifier(**SMALL, **weights).fit(X, y, X_val=X[y == 0], y_val=y[y == 0])
    plain = HUGClassifier(**SMALL, **weights).fit(X, y)
    assert model.power_ == plain.power_
