"""Sound numbers: refused before training, restored after divergence, checked at transform."""

import warnings

import numpy as np
import pytest
import torch
from sklearn.exceptions import ConvergenceWarning
from torch import nn

from skhug import MHE, MLP, HUGClassifier
from skhug.encoders import ConvNet
from skhug.optimizers import SGD, AdamW


@pytest.fixture
def data():
    rng = np.random.default_rng(0)
    return rng.standard_normal((40, 4)), np.arange(40) % 3


def linear(shape, n_components):
    return nn.Linear(shape[0], n_components)


def assert_sound(model, X):
    assert all(t.isfinite().all() for t in model.module_.state_dict().values())
    Z = model.transform(X)
    np.testing.assert_allclose(np.linalg.norm(Z.astype(float), axis=1), 1, atol=1e-5)


DIVERGING = {
    "learning rate": {"learning_rate": 1e6},
    "learning rate of SGD": {"optimizer": SGD(), "learning_rate": 1e6, "weight_decay": 1.0},
    "weight decay": {"learning_rate": 1.0, "weight_decay": 1e6},
    "torch's optimizer": {"optimizer": torch.optim.SGD, "learning_rate": 1e30},
    "learned": {"proxies": "learned", "learning_rate": 1e30},
    "alpha": {"proxies": "learned", "alpha": 1e35, "optimizer": SGD(), "learning_rate": 1e6},
}


@pytest.mark.parametrize("encoder", [MLP((8, 8)), MLP((8,), batch_norm=True), linear])
@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("name", DIVERGING)
def test_divergence_gives_back_weights_that_embed(Estimator, data, name, dtype, encoder):
    X, y = data[0].astype(dtype), data[1]
    model = Estimator(
        encoder, precision="float32", max_epochs=40, batch_size=4, random_state=0, **DIVERGING[name]
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        assert_sound(model.fit(X, y), X)


def test_a_divergence_names_the_product_that_is_too_large(Estimator, data):
    rates = {"learning_rate": 1.0, "weight_decay": 1e6, "schedule": "constant"}
    model = Estimator(MLP((8,)), batch_size=8, max_epochs=5, random_state=0, **rates)
    with pytest.warns(ConvergenceWarning, match=r"Lower weight_decay or learning_rate, .*1e\+06"):
        model.fit(*data)
    assert model.n_iter_ < 5


class Breaking(AdamW):
    """Writes one infinity after so many steps, which no loss of the epoch has seen."""

    after, error = 20, None

    def step(self, segment, state, learning_rate, count):
        super().step(segment, state, learning_rate, count)
        if count == self.after:
            segment.values[-1] = torch.inf
            if self.error is not None:
                raise self.error


@pytest.mark.parametrize("encoder", [MLP((8,)), linear])
def test_a_weight_that_is_not_finite_ends_training_by_the_end_of_the_epoch(data, encoder):
    params = {"batch_size": 4, "schedule": "constant", "random_state": 0}
    model = HUGClassifier(encoder, optimizer=Breaking(), max_epochs=9, **params)
    with pytest.warns(ConvergenceWarning, match="epoch 2"):  # 10 steps each
        model.fit(*data)
    assert np.isfinite([row["loss"] for row in model.history_]).all()
    one = HUGClassifier(encoder, optimizer="adamw", max_epochs=1, **params).fit(*data)
    assert np.array_equal(model.transform(data[0]), one.transform(data[0]))


def test_ctrl_c_in_the_middle_of_a_divergence_gives_back_finite_weights(data):
    class Interrupted(Breaking):
        error = KeyboardInterrupt()

    model = HUGClassifier(MLP((8,)), optimizer=Interrupted(), batch_size=4, random_state=0)
    with pytest.warns(UserWarning, match="interrupted"):
        model.fit(*data)
    assert_sound(model, data[0])


def test_a_call_that_diverges_leaves_no_trace_in_the_next(Estimator, data):
    X, y = data
    plain = Estimator(MLP((8,)), random_state=0).partial_fit(X, y)
    shaken = Estimator(MLP((8,)), random_state=0).partial_fit(X, y)
    shaken.set_params(learning_rate=1e200)
    with pytest.warns(ConvergenceWarning):
        shaken.partial_fit(X, y)
    shaken.set_params(learning_rate=plain.learning_rate)
    a, b = (model.partial_fit(X, y).transform(X) for model in (plain, shaken))
    assert np.array_equal(a, b)


def test_a_buffer_that_is_infinite_on_purpose_is_no_divergence(data):
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 2)
            self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))

        def forward(self, X):
            return self.linear(X) * (1 + self.mask.exp())

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert HUGClassifier(Masked(), max_epochs=3, random_state=0).fit(*data).n_iter_ == 3


REFUSED = {
    "rows beyond the module": ({"encoder": linear}, 1e30, "nothing finite in float32.*Standard"),
    "energy of fixed proxies": (
        {"uniformity": MHE(s=20), "n_components": 1},
        1.0,
        "not finite in float32.*n_components",
    ),
    "a number that float32 has not": (
        {"alpha": 1e300, "proxies": "learned"},
        1.0,
        "alpha=1e.300 is infinite in float32",
    ),
    "batches of one row": (
        {"encoder": MLP((8,), batch_norm=True), "batch_size": 1},
        1.0,
        "raise batch_size",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_trained_is_refused_before_it(Estimator, data, name):
    params, scale, message = REFUSED[name]
    X = (data[0] * scale).astype(np.float32)
    steps = []

    def schedule(done):
        steps.append(done)
        return 1.0

    with pytest.raises(ValueError, match=f"(?s){message}"):
        Estimator(schedule=schedule, random_state=0, **params).fit(X, data[1])
    assert steps == []


def test_an_image_has_pixels_enough_for_batch_normalisation(Estimator):
    X, y = np.random.default_rng(0).random((6, 8, 8)), np.arange(6) % 2
    model = Estimator(ConvNet((2,)), batch_size=1, max_epochs=1, random_state=0)
    assert_sound(model.fit(X, y), X)


def test_a_row_that_the_module_cannot_embed_is_named(data):
    X, y = data
    model = HUGClassifier(linear, precision="float32", max_epochs=2, random_state=0).fit(X, y)
    odd = X.copy()
    odd[3, 0] = 1e300
    for method in (model.transform, model.predict, model.predict_proba, model.score_samples):
        with pytest.raises(ValueError, match="row 3"):
            method(odd)


def test_one_row_too_long_to_measure_among_many_is_named(data):
    X, y = data
    model = HUGClassifier(linear, max_epochs=2, random_state=0).fit(X, y)
    many = np.repeat(X, 50, axis=0)
    many[1_234] = 1e300  # finite after the module, and its square is not
    with pytest.raises(ValueError, match="row 1234"):
        model.transform(many)


def test_a_row_just_too_long_for_float32_is_named(data):
    X, y = data
    module = nn.Linear(4, 4, bias=False)
    nn.init.eye_(module.weight)
    model = HUGClassifier(
        module, precision="float32", max_epochs=1, learning_rate=1e-30, random_state=0
    ).fit(X, y)
    rows = np.full((3, 4), 2e38, dtype=np.float32)  # finite, and of length 4e38
    with pytest.raises(ValueError, match="row 0"):
        model.transform(rows)


def test_a_row_that_the_module_maps_to_zero_stays_zero(data):
    X, y = data
    model = HUGClassifier(nn.Linear(4, 2, bias=False), max_epochs=2, random_state=0).fit(X, y)
    assert np.array_equal(model.transform(np.zeros((2, 4))), np.zeros((2, 2)))
    np.testing.assert_allclose(model.predict_proba(np.zeros((2, 4))).sum(1), 1)


@pytest.mark.parametrize("scale", [1e-300, 1e-30, 1e30, 1e300])
def test_rows_of_any_scale_train_alike(Estimator, data, scale):
    X, y = data
    a, b = (
        Estimator(MLP((8,)), max_epochs=3, random_state=0).fit(rows, y).transform(rows)
        for rows in (X, X * scale)
    )
    np.testing.assert_allclose(a, b, atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_built_in_encoders_embed_any_finite_row(Estimator, data, dtype):
    model = Estimator(MLP((8,)), max_epochs=2, random_state=0)
    for X in (data[0], np.column_stack([data[0][:, :3] * 1e200, np.full(40, 1e300)])):
        model.fit(X, data[1])
        top = np.finfo(dtype).max
        assert_sound(model, np.outer([top, -top, 1e30, 1e-30, 0], [1, -1, 1, -1]).astype(dtype))


@pytest.mark.parametrize("scale", [1e-308, 1e308])
def test_weights_of_any_scale_train_alike(Estimator, data, scale):
    X, y = data
    X = X.astype(np.float32)
    a, b = (
        Estimator(MLP((8,)), max_epochs=3, random_state=0, class_weight="balanced")
        .fit(X, y, sample_weight=np.full(40, weight))
        .transform(X)
        for weight in (1.0, scale)
    )
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_weights_that_vanish_beside_others_are_ignored(Estimator, data):
    X, y = data
    weight = np.where(np.arange(40) < 6, 1.0, 1e-200)
    model = Estimator(MLP((8,)), precision="float32", batch_size=4, max_epochs=2, random_state=0)
    assert np.isfinite(model.fit(X, y, sample_weight=weight).loss_)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_given_proxies_of_any_length_are_directions(Estimator, data, scale):
    proxies = np.array([[1.0, 0.0], [0.0, -2.0], [-1.0, 1.0]])
    model = Estimator(MLP((8,)), proxies=scale * proxies, max_epochs=1, random_state=0)
    expected = proxies / np.linalg.norm(proxies, axis=1, keepdims=True)
    np.testing.assert_allclose(model.fit(*data).proxies_, expected, atol=1e-6)


def test_five_thousand_classes_train():
    X = np.random.default_rng(0).standard_normal((5_000, 3)).astype(np.float32)
    model = HUGClassifier(MLP((4,)), uniformity="mgd", max_epochs=1, random_state=0)
    model.fit(X, np.arange(5_000))
    assert_sound(model, X)
    np.testing.assert_allclose(model.predict_proba(X[:9]).sum(1), 1, rtol=1e-4)
