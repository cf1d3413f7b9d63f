"""Estimators in files: everything comes back, nothing is executed, nothing is silently wrong."""

import json
import os
import pickle
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from torch import nn

import skhug
from skhug import (
    MHE,
    MLP,
    BalancedBatches,
    ConvNet,
    HUGClassifier,
    Learned,
    Pretrained,
    augment,
)
from skhug.encoders import Encoder

VERSION_1 = Path(__file__).parent / "data" / "model_v1.skhug"


def quick(Estimator=HUGClassifier, **parameters):
    return Estimator(**{"max_epochs": 3, "random_state": 0, "encoder": MLP((5,)), **parameters})


def saved_and_loaded(estimator, folder, **parameters):
    estimator.save(folder / "model.skhug")
    return skhug.load(folder / "model.skhug", **parameters)


def outputs(estimator, X):
    names = ("transform", "predict", "predict_proba", "decision_function", "score_samples")
    return [getattr(estimator, name)(X) for name in names if hasattr(estimator, name)]


def assert_same_outputs(one, other, X):
    for a, b in zip(outputs(one, X), outputs(other, X), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def test_a_loaded_estimator_is_the_saved_one(Estimator, iris, tmp_path):
    X, y = iris
    frame = pd.DataFrame(X, columns=list("abcd"))
    estimator = quick(
        Estimator,
        uniformity=MHE(s_within=-1.0),
        proxies=Learned(learning_rate=0.01),
        class_weight={0: 1.0, 1: 2.0, 2: 1.0},
        early_stopping=True,
        track=["cdnv"],
        random_state=np.random.RandomState(0),
    ).set_output(transform="pandas")
    estimator.fit(frame, y)
    loaded = saved_and_loaded(estimator, tmp_path)
    assert type(loaded) is Estimator
    seeds = loaded.random_state.randint(9, size=9), estimator.random_state.randint(9, size=9)
    assert np.array_equal(*seeds)
    one, other = (clone(e).set_params(random_state=0) for e in (loaded, estimator))
    assert repr(one) == repr(other)
    assert loaded.class_weight == estimator.class_weight
    assert loaded.history_ == estimator.history_
    assert loaded.feature_names_in_.tolist() == list("abcd")
    fitted = {n for n in vars(estimator) if n.endswith("_") and not n.startswith("_")}
    assert {n for n in vars(loaded) if n.endswith("_") and not n.startswith("_")} == fitted
    for name in fitted - {"module_", "feature_names_in_", "proxies_", "classes_"}:
        assert getattr(loaded, name) == getattr(estimator, name)
        assert type(getattr(loaded, name)) is type(getattr(estimator, name))
    pd.testing.assert_frame_equal(loaded.transform(frame), estimator.transform(frame))
    with pytest.raises(ValueError, match=r"feature names.*\n.*\n- wrong"):
        loaded.transform(frame.rename(columns={"a": "wrong"}))


LABELS = {
    "strings": np.array(["a", "bcd", "ef"]),
    "objects": np.array(["x", "yy", "z"], dtype=object),
    "integers": np.array([-3, 0, 1 << 40]),
    "small integers": np.array([3, 4, 5], dtype=np.int8),
    "whole floats": np.array([1.0, 2.0, -3.0]),
    "booleans": np.array([False, True, True]),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels_of_every_type_survive(iris, tmp_path, name):
    X, y = iris
    labels = LABELS[name][y]
    estimator = quick().fit(X, labels)
    loaded = saved_and_loaded(estimator, tmp_path)
    assert loaded.classes_.dtype == estimator.classes_.dtype
    assert loaded.classes_.tolist() == estimator.classes_.tolist()
    assert [type(c) for c in loaded.classes_] == [type(c) for c in estimator.classes_]
    assert_same_outputs(loaded, estimator, X)


def test_categories_survive(iris, tmp_path):
    X, y = iris
    estimator = quick().fit(X, pd.Series(y).map({0: "low", 1: "mid", 2: "high"}).astype("category"))
    loaded = saved_and_loaded(estimator, tmp_path)
    assert loaded.classes_.tolist() == ["high", "low", "mid"]
    assert_same_outputs(loaded, estimator, X)


@pytest.mark.parametrize("precision", ["float32", "float64"])
@pytest.mark.parametrize(
    "encoder",
    ["mlp", MLP((4, 4), batch_norm=True, dropout=0.1), MLP((), standardize=False)],
    ids=str,
)
def test_built_in_encoders_for_rows_come_back(iris, tmp_path, encoder, precision):
    estimator = quick(encoder=encoder, precision=precision).fit(*iris)
    loaded = saved_and_loaded(estimator, tmp_path)
    assert_same_outputs(loaded, estimator, iris[0])
    assert repr(loaded.module_) == repr(estimator.module_)
    assert not loaded.module_.training


def test_encoders_of_images_come_back_with_all_that_was_set(digits, tmp_path):
    X, y = digits[0][:200].astype(np.uint8), digits[1][:200]
    estimator = quick(
        encoder=ConvNet([4, 4], image_shape=(1, 8, 8)),
        augment=augment.Compose([augment.RandomCrop(1), augment.Cutout(2)]),
        batch_sampler=BalancedBatches(4, 3),
    ).fit(X, y)
    loaded = saved_and_loaded(estimator, tmp_path)
    assert_same_outputs(loaded, estimator, X)
    assert repr(loaded) == repr(estimator)


# --- going on ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "optimizer",
    ["adamw", "sgd", partial(torch.optim.RMSprop, alpha=0.9)],
    ids=["adamw", "sgd", "torch"],
)
def test_partial_fit_goes_on_as_if_nothing_had_been(Estimator, iris, tmp_path, optimizer):
    X, y = iris

    def calls(estimator, n):
        for _ in range(n):
            estimator.partial_fit(X, y)
        return estimator

    whole = calls(quick(Estimator, optimizer=optimizer), 4)
    half = calls(quick(Estimator, optimizer=optimizer), 2)
    plain = half.set_params(optimizer="adamw")  # of a partial no file can be made
    loaded = saved_and_loaded(plain, tmp_path, optimizer=optimizer)
    assert_same_outputs(calls(loaded, 2), whole, X)
    assert loaded.history_ == whole.history_


def test_a_warm_start_goes_on_from_the_file(iris, tmp_path):
    estimator = quick(warm_start=True).fit(*iris)
    loaded = saved_and_loaded(estimator, tmp_path)
    assert_same_outputs(loaded.fit(*iris), estimator.fit(*iris), iris[0])


# --- modules of the user's own -------------------------------------------------------------


class Net(nn.Module):
    """A module with a random projection that its state does not hold."""

    def __init__(self, activation=torch.relu, width=6):
        super().__init__()
        self.register_buffer("projection", torch.randn(4, 8), persistent=False)
        self.norm = nn.BatchNorm1d(8)
        self.linear = nn.Linear(8, width)
        self.activation = activation

    def forward(self, X):
        return self.linear(self.activation(self.norm(X @ self.projection)))


class NetSpec(Encoder):
    def build(self, input_shape, n_components):
        return Net(width=n_components)


OWN = {
    "module": (Net(), lambda: Net()),
    "callable": (lambda shape, n: Net(width=6), lambda: lambda shape, n: Net(width=6)),
    "specification": (NetSpec(), NetSpec),
    "pretrained": (Pretrained(Net(), frozen=True), lambda: Pretrained(Net(), frozen=True)),
    "lazy": (
        nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3)),
        lambda: nn.Sequential(nn.LazyLinear(8), nn.Tanh(), nn.LazyLinear(3)),
    ),
}


@pytest.mark.usefixtures("random_states_untouched")
@pytest.mark.parametrize("name", OWN)
def test_modules_of_the_users_own_get_their_weights_back(iris, tmp_path, name):
    with torch.random.fork_rng():
        encoder, again = OWN[name][0], OWN[name][1]()
    estimator = quick(encoder=encoder).fit(*iris)
    loaded = saved_and_loaded(estimator, tmp_path, encoder=again)
    assert loaded.encoder is again
    assert_same_outputs(loaded, estimator, iris[0])
    if name != "callable":  # pickle takes no lambda
        assert_same_outputs(pickled(loaded), estimator, iris[0])


def pickled(estimator):
    return pickle.loads(pickle.dumps(estimator))


def test_an_encoder_class_with_state_of_its_own_survives_pickling(iris):
    estimator = quick(encoder=NetSpec()).fit(*iris)
    assert_same_outputs(pickled(estimator), estimator, iris[0])


def test_a_module_that_is_not_there_or_not_the_same_is_refused(iris, tmp_path):
    path = tmp_path / "model.skhug"
    quick(encoder=Net()).fit(*iris).save(path)
    for parameters in ({}, {"encoder": "mlp"}):
        with pytest.raises(ValueError, match=r"module of its own, Net, .*load\(path, encoder="):
            skhug.load(path, **parameters)
    with pytest.raises(ValueError, match="does not take the weights in the file, those of Net"):
        skhug.load(path, encoder=Net(width=7))
    with pytest.raises(ValueError, match="computes something else"):
        skhug.load(path, encoder=Net(torch.tanh))


def test_modules_that_take_no_probe_or_answer_at_random_are_loaded_all_the_same(iris, tmp_path):
    class Picky(Net):
        def forward(self, X):
            if len(X) == 4 and not self.training and bool(((X == 0) | (X == 1)).all()):
                raise ValueError("not these")
            return super().forward(X)

    class Noisy(Net):
        def forward(self, X):
            return super().forward(X) + 1e-3 * torch.randn(len(X), 6).to(X)

    for kind in (Picky, Noisy):
        estimator = quick(encoder=kind()).fit(*iris)
        loaded = saved_and_loaded(estimator, tmp_path, encoder=kind())
        assert torch.equal(loaded.module_.body.linear.weight, estimator.module_.body.linear.weight)


# --- what cannot be saved ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("augment", lambda X, generator: X),
        ("schedule", lambda done: 1.0),
        ("track", [lambda z, y, p: 0.0]),
        ("optimizer", torch.optim.Adam),
    ],
)
def test_functions_are_refused_with_a_way_out(iris, tmp_path, name, value):
    path = tmp_path / "model.skhug"
    estimator = quick(**{name: value}).fit(*iris)
    with pytest.raises(ValueError, match=rf"parameter {name} .*pickle.*set_params\({name}="):
        estimator.save(path)
    assert not path.exists()
    default = HUGClassifier().get_params()[name]
    loaded = saved_and_loaded(estimator.set_params(**{name: default}), tmp_path, **{name: value})
    assert getattr(loaded, name) is value
    assert_same_outputs(loaded, estimator, iris[0])


def test_only_fitted_estimators_of_skhugs_own_are_saved(iris, tmp_path):
    class Mine(HUGClassifier):
        pass

    with pytest.raises(NotFittedError):
        HUGClassifier().save(tmp_path / "model.skhug")
    with pytest.raises(TypeError, match="could not make a Mine"):
        quick(Mine).fit(*iris).save(tmp_path / "model.skhug")


def test_unknown_parameters_are_refused_at_load(iris, tmp_path):
    with pytest.raises(ValueError, match="Invalid parameter 'nonsense'"):
        saved_and_loaded(quick().fit(*iris), tmp_path, nonsense=1)
    assert saved_and_loaded(quick().fit(*iris), tmp_path, device="cuda").device == "cuda"


def test_a_strangers_file_chooses_no_folder_to_write_to(iris, tmp_path):
    estimator = quick(checkpoint=str(tmp_path)).fit(*iris)
    assert saved_and_loaded(estimator, tmp_path).checkpoint is None


# --- files of older versions ---------------------------------------------------------------


def test_a_file_of_format_1_still_gives_its_predictions(iris):
    """Written once and kept; its predictions on every 15th flower are in a JSON file beside it."""
    expected = json.loads(VERSION_1.with_suffix(".json").read_text())
    model = skhug.load(VERSION_1)
    X = iris[0][::15]
    assert model.predict(X).tolist() == expected["predict"]
    np.testing.assert_allclose(model.predict_proba(X), expected["predict_proba"], atol=1e-6)


def test_saving_replaces_a_file_as_a_whole(iris, tmp_path, monkeypatch):
    path = tmp_path / "model.skhug"
    estimator = quick().fit(*iris)
    estimator.save(path)
    before = path.read_bytes()

    def fail(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("skhug._saving.archive._sync", fail)
    with pytest.raises(OSError, match="No space"):
        estimator.save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["model.skhug"]
