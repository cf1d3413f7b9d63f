"""What both estimators do in fit, partial_fit and transform."""

import functools
import pickle
import re
import signal
import threading
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.datasets import make_blobs, make_classification
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from skhug import (
    MHE,
    MLP,
    SGD,
    AdamW,
    BalancedBatches,
    ConvNet,
    HUGClassifier,
    HUGEmbedder,
    Learned,
    ResNet,
    load,
)
from skhug._parameters import SHORTHANDS
from skhug.augment import HorizontalFlip
from skhug.losses import hyperspherical_energy
from skhug.proxies import simplex


def quick(Estimator, **parameters):
    return Estimator(**{"max_epochs": 5, "random_state": 0, **parameters})


def weights_of(estimator):
    return torch.cat([p.detach().reshape(-1) for p in estimator.module_.parameters()])


# --- reproducibility ---


@pytest.mark.usefixtures("random_states_untouched")
@pytest.mark.parametrize("encoder", ["mlp", MLP((8,), dropout=0.3, batch_norm=True)], ids=str)
def test_two_fits_with_one_random_state_are_bit_identical(Estimator, digits, encoder):
    first, second = (
        quick(Estimator, encoder=encoder, proxies="learned").fit(*digits) for _ in range(2)
    )
    assert torch.equal(weights_of(first), weights_of(second))
    assert np.array_equal(first.proxies_, second.proxies_)
    assert first.history_ == second.history_
    other = quick(Estimator, encoder=encoder, random_state=1).fit(*digits)
    assert not torch.equal(weights_of(first), weights_of(other))


@pytest.mark.usefixtures("random_states_untouched")
def test_global_random_states_are_untouched_without_a_random_state(Estimator, iris):
    quick(Estimator, random_state=None, encoder=MLP((8,), dropout=0.5)).fit(*iris).transform(
        iris[0]
    )


@pytest.mark.usefixtures("two_threads")
def test_fit_leaves_the_number_of_threads(Estimator, iris):
    quick(Estimator).fit(*iris)
    assert torch.get_num_threads() == 2


def test_fits_in_threads_equal_fits_one_by_one(Estimator, iris):
    expected = [weights_of(quick(Estimator, random_state=s).fit(*iris)) for s in range(4)]
    got = [None] * 4

    def fit(s):
        got[s] = weights_of(quick(Estimator, random_state=s).fit(*iris))

    threads = [threading.Thread(target=fit, args=(s,)) for s in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(a, b) for a, b in zip(got, expected, strict=True))


# --- embeddings ---


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_embeddings_are_unit_vectors_in_the_dtype_of_the_input(Estimator, iris, dtype):
    X, y = iris
    z = quick(Estimator, n_components=3).fit(X.astype(dtype), y).transform(X.astype(dtype))
    assert z.shape == (150, 3)
    assert z.dtype == dtype
    np.testing.assert_allclose(np.linalg.norm(z, axis=1), 1, rtol=1e-6)


def test_large_float64_input_is_computed_in_float32(Estimator):
    X, y = make_classification(1100, 100, random_state=0)
    assert quick(Estimator, max_epochs=1).fit(X, y).transform(X[:3]).dtype == np.float32
    exact = quick(Estimator, max_epochs=1, precision="float64").fit(X, y)
    assert exact.transform(X[:3]).dtype == np.float64


def test_one_component_separates_two_classes():
    X, y = make_blobs(80, centers=[[0, 0], [4, 4]], random_state=0)
    model = HUGClassifier(n_components=1, max_epochs=50, random_state=0).fit(X, y)
    assert set(np.unique(model.transform(X))) <= {-1.0, 1.0}
    assert model.score(X, y) > 0.95


def test_inputs_are_standardised_by_the_training_data(Estimator, iris):
    X, y = iris
    scale, shift = np.array([1e-6, 1.0, 1e6, 1e3]), np.array([1e3, 0.0, -1e9, 5.0])
    plain = quick(Estimator, max_epochs=20).fit(X, y).transform(X)
    moved = quick(Estimator, max_epochs=20).fit(X * scale + shift, y).transform(X * scale + shift)
    np.testing.assert_allclose(moved, plain, atol=1e-3)


def test_heavy_tails_and_constant_features_do_no_harm():
    lost = []
    for seed in range(3):
        X, y = make_classification(600, 8, n_informative=6, random_state=seed)
        heavy = np.column_stack([np.sign(X) * np.exp(2 * np.abs(X)), np.full(600, 3.0)])
        model = HUGClassifier(max_epochs=30, random_state=seed)
        plain, odd = (model.fit(A[:400], y[:400]).score(A[400:], y[400:]) for A in (X, heavy))
        lost.append(plain - odd)
    assert np.mean(lost) < 0.15  # 0.04 is usual, 0.4 were chance


# --- labels, weights, wrong input ---


@pytest.mark.parametrize(
    "convert",
    [
        lambda y: np.array(["setosa", "versicolor", "virginica"])[y],
        lambda y: y * 1000 - 7,
        lambda y: y.astype(float),
        lambda y: pd.Series(np.array(list("abc"))[y]).astype("category"),
        lambda y: np.array(list("abc"), dtype=object)[y],
    ],
    ids=["str", "int", "float", "category", "object"],
)
def test_labels_of_any_kind_train_alike(iris, convert):
    X, y = iris
    plain = quick(HUGClassifier).fit(X, y)
    model = quick(HUGClassifier).fit(X, convert(y))
    assert torch.equal(weights_of(model), weights_of(plain))
    assert np.array_equal(model.predict(X), model.classes_[plain.predict(X)])


def test_booleans_are_labels(iris):
    X, y = iris
    assert quick(HUGClassifier, max_epochs=50).fit(X, y == 0).predict(X).dtype == bool


def test_integer_weights_equal_repeated_rows(Estimator, iris):
    X, y = iris[0][::5], iris[1][::5]
    weight = np.arange(30) % 4
    # Members leave out single rows of those that are repeated, and a weighted one as a whole.
    parameters = {"encoder": MLP(members=1), "batch_size": 100, "random_state": 0}
    weighted = Estimator(**parameters).fit(X, y, sample_weight=weight)
    repeated = Estimator(**parameters).fit(X.repeat(weight, 0), y.repeat(weight))
    np.testing.assert_allclose(weighted.transform(X), repeated.transform(X), rtol=1e-6, atol=1e-9)


def test_class_weight_moves_the_boundary():
    X, y = make_blobs(300, centers=[[0, 0], [1, 1]], random_state=0)
    first, second = (
        HUGClassifier(class_weight=w, max_epochs=50, random_state=0).fit(X, y).predict(X).mean()
        for w in ({0: 10, 1: 1}, {0: 1, 1: 10})
    )
    assert first < 0.35
    assert second > 0.65


def test_balanced_classes_find_the_rows_of_the_smaller():
    X, y = make_blobs([30, 300], centers=[[0, 0], [1.5, 1.5]], random_state=0)
    model = HUGClassifier(class_weight="balanced", max_epochs=30, random_state=0)
    recall = model.fit(X, y).predict(X)[y == 0]
    assert np.mean(recall == 0) > 0.75


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X, y, w: (np.where(X > 7, np.inf, X), y, w), "infinity"),
        (lambda X, y, w: (X, np.zeros(150), w), "1 class"),
        (lambda X, y, w: (X, X[:, 0], w), "continuous"),
        (lambda X, y, w: (X, np.eye(3)[y].astype(int), w), "1d array"),
        (lambda X, y, w: (X, y[:-1], w), "inconsistent"),
        (lambda X, y, w: (X[:, 0], y, w), "Reshape your data"),
        (lambda X, y, w: (X, y, -w), "[Nn]egative"),
        (lambda X, y, w: (X, y, w * 0), "zero"),
        (lambda X, y, w: (X, y, w[:5]), "sample_weight"),
        (lambda X, y, w: (X, np.where(y == 0, np.nan, y), w), "NaN"),
        (lambda X, y, w: (X[:0], y[:0], w[:0]), "0 sample"),
    ],
)
def test_wrong_data_is_explained_and_a_fitted_model_survives(Estimator, iris, change, message):
    X, y = iris
    estimator = quick(Estimator).fit(X, y)
    before = estimator.transform(X)
    with pytest.raises(ValueError, match=message):
        estimator.fit(*change(X, y, np.ones(150)))
    assert np.array_equal(estimator.transform(X), before)


def test_unfitted_estimators_say_so(Estimator, iris):
    methods = ["transform", "predict", "predict_proba", "decision_function", "score"]
    for method in methods:
        if hasattr(Estimator, method):
            arguments = iris if method == "score" else iris[:1]
            with pytest.raises(NotFittedError):
                getattr(Estimator(), method)(*arguments)


@pytest.mark.parametrize(
    ("parameters", "error", "message"),
    [
        ({"alpha": -1.0}, ValueError, "alpha"),
        ({"uniformity": "max"}, ValueError, "uniformity"),
        ({"proxies": np.ones((2, 2))}, ValueError, "each of the 3 classes"),
        ({"proxies": np.zeros((3, 2))}, ValueError, "points nowhere"),
        ({"encoder": MLP}, TypeError, r"pass MLP\(\)"),
        ({"encoder": MLP((0,))}, ValueError, "above 0"),
        ({"encoder": lambda shape, d: None}, TypeError, "returns a torch.nn.Module"),
        ({"encoder": torch.nn.Linear(4, 7), "n_components": 3}, ValueError, "7 columns"),
        ({"encoder": torch.nn.Linear(9, 7)}, ValueError, "failed on rows of shape"),
        ({"device": "tpu9000"}, ValueError, "no torch device"),
        ({"class_weight": {0: -1}}, ValueError, "class_weight"),
        ({"uniformity": MHE(s_within=1.0)}, ValueError, "below 0"),
    ],
)
def test_wrong_parameters_are_explained(Estimator, iris, parameters, error, message):
    with pytest.raises(error, match=message):
        quick(Estimator, **parameters).fit(*iris)


# --- encoders, proxies, optimizers ---


def test_a_module_is_copied_and_its_width_taken(Estimator, iris):
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5))
    before = module[0].weight.clone()
    estimator = quick(Estimator, encoder=module).fit(*iris)
    assert estimator.transform(iris[0]).shape == (150, 5)
    assert torch.equal(module[0].weight, before)
    assert not torch.equal(estimator.module_.body[0].weight, before)


def test_a_callable_builds_the_module(Estimator, iris):
    def build(input_shape, n_components):
        return torch.nn.Linear(input_shape[0], n_components)

    assert quick(Estimator, encoder=build, n_components=4).fit(*iris).proxies_.shape == (3, 4)


def test_frozen_parameters_stay(Estimator, iris):
    module = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 5))
    module[0].requires_grad_(False)
    body = quick(Estimator, encoder=module).fit(*iris).module_.body
    assert torch.equal(body[0].weight.float(), module[0].weight)
    assert not torch.equal(body[2].weight.float(), module[2].weight)


@pytest.mark.parametrize(
    "encoder",
    [torch.nn.Identity(), torch.nn.Flatten(), torch.nn.Linear(4, 3).requires_grad_(False)],
    ids=["identity", "flatten", "frozen"],
)
def test_proxies_alone_are_trained_where_the_encoder_has_nothing_to_train(
    Estimator, iris, encoder, tmp_path
):
    X, y = iris
    parameters = {"encoder": encoder, "proxies": "learned", "random_state": 0}
    model = quick(Estimator, **parameters, warm_start=True, checkpoint=tmp_path).fit(X, y)
    before = model.proxies_
    if len(list(encoder.parameters())) == 0:
        unit = X / np.linalg.norm(X, axis=1, keepdims=True)
        np.testing.assert_allclose(model.transform(X), unit, rtol=1e-6)
    assert not np.allclose(model.fit(X, y).proxies_, before)
    copied = pickle.loads(pickle.dumps(model))
    assert np.array_equal(copied.transform(X), model.transform(X))
    quick(Estimator, **parameters).partial_fit(X, y).partial_fit(X, y)
    with pytest.raises(ValueError, match=r"nothing to train.*Set proxies='learned'"):
        quick(Estimator, encoder=encoder).fit(X, y)


def test_images_may_be_flattened_alone(Estimator):
    images = np.random.default_rng(0).random((40, 4, 4)).astype(np.float32)
    model = quick(Estimator, encoder=torch.nn.Flatten(), proxies="learned")
    assert model.fit(images, np.arange(40) % 2).transform(images).shape == (40, 16)


def test_fixed_proxies_stay_and_learned_ones_move(Estimator, iris):
    given = simplex(3, 2).numpy()[::-1].copy()
    np.testing.assert_allclose(quick(Estimator, proxies=given).fit(*iris).proxies_, given)
    np.testing.assert_allclose(
        quick(Estimator).fit(*iris).proxies_, simplex(3, 2).numpy(), atol=1e-12
    )
    slow, fast = (
        quick(Estimator, proxies=Learned(learning_rate=rate)).fit(*iris).proxies_
        for rate in (1e-12, 0.1)
    )
    assert np.abs(slow - fast).max() > 0.1
    np.testing.assert_allclose(np.linalg.norm(fast, axis=1), 1)


def test_learned_proxies_find_the_simplex(iris):
    model = HUGClassifier(proxies=Learned(attached=False, learning_rate=0.2), random_state=0)
    energy = hyperspherical_energy(torch.from_numpy(model.fit(*iris).proxies_))
    # Flat around its least, which few seeds reach to the last digit.
    assert energy.item() == pytest.approx(hyperspherical_energy(simplex(3, 2)).item(), rel=0.02)


@pytest.mark.parametrize("uniformity", ["mhe", "mhs", "mgd", MHE(repulsion=1.0)], ids=str)
@pytest.mark.parametrize("proxies", ["optimal", "learned"])
def test_every_measure_learns(iris, uniformity, proxies):
    model = HUGClassifier(uniformity=uniformity, proxies=proxies, max_epochs=100, random_state=0)
    assert model.fit(*iris).score(*iris) > 0.75  # two of the three classes told apart: 0.67


@pytest.mark.parametrize(
    "optimizer",
    ["sgd", SGD(momentum=0.5), functools.partial(torch.optim.RMSprop, lr=1e-3)],
    ids=str,
)
def test_other_optimizers_learn(iris, optimizer):
    model = HUGClassifier(
        optimizer=optimizer, learning_rate=0.05, schedule="linear", max_epochs=100, random_state=0
    )
    assert model.fit(*iris).score(*iris) > 0.75  # two of the three classes told apart: 0.67


# --- the course of training ---


def test_history_has_a_row_an_epoch(Estimator, iris):
    X, y = iris
    estimator = quick(Estimator, alpha=0.5, beta=2.0, proxies="learned")
    estimator.fit(X, y, X_val=X[::7], y_val=y[::7])
    assert [row["epoch"] for row in estimator.history_] == [1, 2, 3, 4, 5]
    row = estimator.history_[-1]
    assert row["loss"] == pytest.approx(0.5 * row["between"] + 2 * row["within"], rel=1e-5)
    assert row["validation_score"] == pytest.approx(estimator.score(X[::7], y[::7]))
    assert estimator.loss_ == row["loss"]
    assert estimator.n_iter_ == 5


def test_early_stopping_keeps_the_best_epoch(Estimator, digits):
    X, y = digits
    rng = np.random.default_rng(0)
    noisy = np.where(rng.random(len(y)) < 0.3, rng.integers(10, size=len(y)), y)
    estimator = Estimator(
        early_stopping=True, n_iter_no_change=3, max_epochs=60, learning_rate=5e-3, random_state=0
    ).fit(X[:900], noisy[:900], X_val=X[900:], y_val=y[900:])
    scores = [row["validation_score"] for row in estimator.history_]
    assert len(scores) < 60
    assert len(scores) == np.argmax(scores) + 1 + estimator.n_iter_no_change
    assert estimator.score(X[900:], y[900:]) == pytest.approx(max(scores))


def test_early_stopping_sets_rows_aside(Estimator, iris):
    estimator = quick(Estimator, early_stopping=True, validation_fraction=0.2).fit(*iris)
    assert all("validation_score" in row for row in estimator.history_)


def test_an_embedder_validates_on_classes_never_seen(digits):
    X, y = digits
    seen = y < 6
    embedder = quick(HUGEmbedder).fit(X[seen], y[seen], X_val=X[~seen], y_val=y[~seen])
    assert embedder.history_[-1]["validation_score"] == embedder.score(X[~seen], y[~seen])
    with pytest.raises(ValueError, match="y_val has labels that are none of y"):
        quick(HUGClassifier).fit(X[seen], y[seen], X_val=X[~seen], y_val=y[~seen])


def test_validation_data_come_in_pairs(Estimator, iris):
    with pytest.raises(ValueError, match="Pass both"):
        quick(Estimator).fit(*iris, X_val=iris[0])


@pytest.fixture
def interruptible():
    """Ctrl-C raises KeyboardInterrupt, also where the tests run in the background."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_interrupt_leaves_a_usable_model(Estimator, digits):
    X, y = digits
    estimator = Estimator(schedule="constant", max_epochs=100_000, random_state=0)
    timer = threading.Timer(1.0, signal.raise_signal, [signal.SIGINT])
    timer.start()
    with pytest.warns(UserWarning, match="interrupted"):
        estimator.fit(X, y)
    assert 0 < estimator.n_iter_ < 100_000
    assert estimator.score(X, y) > 0.8


def test_divergence_keeps_the_last_finite_weights(Estimator, iris):
    def explode(module, _):
        if module.training:
            module.weight.data.mul_(1e200)

    def build(input_shape, n_components):
        module = torch.nn.Linear(input_shape[0], n_components)
        module.register_forward_pre_hook(explode)
        return module

    with pytest.warns(ConvergenceWarning, match="Lower learning_rate"):
        estimator = quick(Estimator, encoder=build).fit(*iris)
    assert weights_of(estimator).isfinite().all()


def test_warm_start_goes_on_and_says_when_it_cannot(Estimator, iris):
    X, y = iris
    estimator = quick(Estimator, warm_start=True).fit(X, y)
    first = estimator.loss_
    assert estimator.fit(X, y).loss_ < first
    with pytest.raises(ValueError, match="warm_start=False"):
        estimator.fit(X[y < 2], y[y < 2])
    with pytest.raises(ValueError, match="warm_start=False"):
        estimator.fit(X[:, :2], y)
    assert estimator.transform(X).shape == (150, 2)


def test_verbose_prints_a_line_an_epoch(Estimator, iris, capsys):
    quick(Estimator, verbose=1).fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == [f"epoch {k} of 5" for k in range(1, 6)]
    number = r"-?\d+(\.\d+)?(e-?\d+)?"
    columns = "".join(f", {name} {number}" for name in ("loss", "between", "within"))
    left_out = rf", left_out_score {number}" if Estimator is HUGClassifier else ""
    line = rf"epoch 1 of 5{columns}{left_out}, \d+\.\d s"
    assert re.fullmatch(line, lines[0])


def test_partial_fit_does_not_say_how_many_epochs_there_are(Estimator, iris, capsys):
    model = quick(Estimator, verbose=1)
    for _ in range(2):
        model.partial_fit(*iris)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["epoch 1", "epoch 2"]


# --- partial_fit ---


def test_partial_fit_learns_classes_that_arrive_later(digits):
    X, y = digits
    model = HUGClassifier(random_state=0)
    rng = np.random.default_rng(0)
    for step in range(60):
        shown = np.flatnonzero(y < (5 if step < 10 else 10))
        rows = rng.choice(shown, 300)
        model.partial_fit(X[rows], y[rows], classes=np.arange(10))
    assert model.n_iter_ == len(model.history_) == 60
    assert model.score(X, y) > 0.95


def test_partial_fit_goes_on_with_the_optimizers_state(Estimator, iris):
    X, y = iris
    parameters = {"encoder": MLP(members=1), "batch_size": 200}
    whole = quick(Estimator, max_epochs=4, schedule="constant", **parameters).fit(X, y)
    parts = quick(Estimator, **parameters)
    for _ in range(4):
        parts.partial_fit(X, y)
    np.testing.assert_allclose(weights_of(parts), weights_of(whole), rtol=1e-12)


def test_partial_fit_survives_a_pickle_in_between(Estimator, iris):
    import pickle

    X, y = iris
    straight = quick(Estimator).partial_fit(X, y).partial_fit(X, y)
    pickled = pickle.loads(pickle.dumps(quick(Estimator).partial_fit(X, y))).partial_fit(X, y)
    assert torch.equal(weights_of(straight), weights_of(pickled))


def test_partial_fit_refuses_what_was_not_declared(Estimator, iris):
    X, y = iris
    estimator = quick(Estimator).partial_fit(X[y < 2], y[y < 2])
    with pytest.raises(ValueError, match="declare all classes"):
        estimator.partial_fit(X, y)
    with pytest.raises(ValueError, match="classes differ"):
        estimator.partial_fit(X[y < 2], y[y < 2], classes=[0, 1, 2])
    with pytest.raises(ValueError, match="knows 1 class"):
        quick(Estimator).partial_fit(X[y == 0], y[y == 0])


def test_fit_emits_no_warning(Estimator, iris):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Estimator(random_state=0, max_epochs=3).fit(*iris)


def test_balanced_classes_may_have_no_row_yet(Estimator, digits):
    X, y = digits
    some = y < 5
    estimator = Estimator(class_weight="balanced", random_state=0)
    for _ in range(8):
        estimator.partial_fit(X[some], y[some], classes=np.arange(10))
    assert estimator.history_[-1]["within"] < 0.5 * estimator.history_[0]["within"]
    assert estimator.score(X[some], y[some]) > 0.8


def test_augmenting_in_place_leaves_the_users_rows_alone(Estimator, iris):
    X, y = iris
    before = X.copy()
    quick(Estimator, augment=lambda rows, _: rows.mul_(0.5), batch_size=len(X)).fit(X, y)
    np.testing.assert_array_equal(X, before)


@pytest.mark.parametrize("augment", [lambda X, _: X[:1], lambda X, _: X.numpy()])
def test_what_augment_returns_is_checked(Estimator, iris, augment):
    with pytest.raises(ValueError, match="same shape"):
        quick(Estimator, augment=augment).fit(*iris)


def test_a_partial_fit_that_fails_leaves_the_history_alone(Estimator, iris):
    calls = []

    def sometimes(*_):
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("no")
        return 0.0

    estimator = Estimator(track=[sometimes], random_state=0).partial_fit(*iris)
    with pytest.raises(RuntimeError, match="no"):
        estimator.partial_fit(*iris)
    estimator.partial_fit(*iris)
    assert [row["epoch"] for row in estimator.history_] == [1, 2]


def test_warm_start_refuses_another_number_of_components(Estimator, iris):
    estimator = quick(Estimator, warm_start=True).fit(*iris).set_params(n_components=3)
    with pytest.raises(ValueError, match="n_components=3"):
        estimator.fit(*iris)
    assert estimator.transform(iris[0]).shape[1] == 2


@pytest.mark.parametrize(
    "params",
    [{"optimizer": AdamW}, {"batch_sampler": BalancedBatches}, {"augment": HorizontalFlip}],
)
def test_a_class_in_place_of_its_instance_is_named(Estimator, iris, params):
    with pytest.raises(TypeError, match=r"is the class \w+: pass \w+\(\)"):
        quick(Estimator, **params).fit(*iris)


def test_a_name_and_what_is_nested_in_it_are_set_in_one_call(Estimator):
    model = Estimator().set_params(uniformity="mhs", uniformity__s_within=-3.0)
    assert repr(model.uniformity) == "MHS(s_within=-3.0)"
    given = MHE()
    model.set_params(uniformity=given, uniformity__s=1.0)
    assert model.uniformity is given


@pytest.mark.parametrize("name", SHORTHANDS)
def test_all_that_a_string_stands_for_can_be_saved(iris, tmp_path, name):
    for kind in SHORTHANDS[name].values():
        if kind in (ConvNet, ResNet):
            continue  # of images
        model = HUGClassifier(max_epochs=1, random_state=0, **{name: kind()}).fit(*iris)
        model.save(tmp_path / "m.skhug")
        loaded = load(tmp_path / "m.skhug")
        assert type(getattr(loaded, name)) is kind
        assert np.array_equal(loaded.predict(iris[0]), model.predict(iris[0]))
