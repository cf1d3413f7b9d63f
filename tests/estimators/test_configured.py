"""Pickles: they carry the version that wrote them, and say what to do where they do not fit."""

import copy
import io
import pickle
import warnings

import cloudpickle
import joblib
import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.exceptions import InconsistentVersionWarning
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from skhug import (
    MHE,
    MLP,
    AdamW,
    Checkpoint,
    HUGClassifier,
    HUGEmbedder,
    Learned,
    Vectors,
    __version__,
)
from skhug._configured import PICKLE_FORMAT
from skhug.augment import HorizontalFlip
from skhug.encoders import Encoder
from skhug.losses import Uniformity

# What a pickle of this format holds. Where this test fails, what pickles hold has changed: raise
# PICKLE_FORMAT, give the older format a reader, and change the names here.
SHARED = {
    *("module_", "proxies_", "classes_", "history_", "n_iter_", "loss_", "input_shape_"),
    *(
        "input_dtype_",
        "n_features_in_",
        "categories_",
        "class_shares_",
        "_progress",
        "_skhug_version",
        "_skhug_format",
    ),
}
OF_FORMAT_2 = {
    HUGClassifier: SHARED | {"power_", "floor_", "falloff_"},
    HUGEmbedder: SHARED,
}
MODULE_OF_FORMAT_2 = {
    *("input_shape", "n_components", "ball_softness", "precision", "prepare", "prepare_arguments"),
    *("spec", "weights"),
}


LEFT_OUT = ...


def quick(Estimator, **parameters):
    return Estimator(max_epochs=3, random_state=0, **parameters)


def rebuilt(thing, **changes):
    """Pickle and load, with another state; LEFT_OUT leaves a name out."""
    state = {**thing.__getstate__(), **changes}
    state = {name: value for name, value in state.items() if value is not LEFT_OUT}
    loaded = type(thing).__new__(type(thing))
    loaded.__setstate__(pickle.loads(pickle.dumps(state)))
    return loaded


def test_the_state_of_this_format_is_as_it_was(Estimator, iris):
    assert PICKLE_FORMAT == 2
    model = quick(Estimator).fit(*iris)
    state = model.__getstate__()
    assert state.keys() == OF_FORMAT_2[Estimator] | model.get_params(deep=False).keys()
    assert state["module_"].keys() == MODULE_OF_FORMAT_2
    assert (state["_skhug_version"], state["_skhug_format"]) == (__version__, 2)


TOOLS = {
    "pickle": lambda model: pickle.loads(pickle.dumps(model)),
    "oldest protocol": lambda model: pickle.loads(pickle.dumps(model, protocol=0)),
    "cloudpickle": lambda model: pickle.loads(cloudpickle.dumps(model)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}


@pytest.mark.parametrize("tool", TOOLS)
def test_copies_are_as_the_original_and_carry_no_stamp(Estimator, iris, tool):
    X, y = iris
    model = quick(Estimator, encoder=MLP((8,)), uniformity=MHE()).fit(X, y)
    loaded = TOOLS[tool](model)
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert vars(loaded).keys() - {"_progress"} == vars(model).keys() - {"_progress"}
    assert repr(loaded) == repr(model)
    stamps = [name for name in vars(loaded) if "skhug" in name]
    assert not stamps


def test_unfitted_estimators_and_specifications_survive(Estimator, tmp_path):
    for thing in (
        *(Estimator(), MLP((3,)), MHE(s=1.0), AdamW(), Learned(), HorizontalFlip()),
        Checkpoint("folder"),
    ):
        assert thing.__getstate__()["_skhug_version"] == __version__
        for tool in TOOLS.values():
            assert repr(tool(thing)) == repr(thing)
        joblib.dump(thing, tmp_path / "thing")
        assert repr(joblib.load(tmp_path / "thing")) == repr(thing)


@pytest.mark.parametrize("version", [LEFT_OUT, "0.0.1"])
def test_an_older_pickle_that_fits_is_loaded(Estimator, iris, version):
    X, y = iris
    model = quick(Estimator).fit(X, y)
    loaded = rebuilt(model, _skhug_version=version, _skhug_format=LEFT_OUT)
    assert np.array_equal(loaded.transform(X), model.transform(X))
    assert repr(rebuilt(MLP((5,)), _skhug_version=version, _skhug_format=LEFT_OUT)) == repr(
        MLP((5,))
    )


@pytest.mark.parametrize("version", ["0.0.1", LEFT_OUT])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"tol": LEFT_OUT}, "it has no tol"),
        ({"loss_": LEFT_OUT}, "it has no loss_"),
        ({"margin": 0.5}, "it has margin, which is no parameter now"),
        ({"module_": {"weights": {}}}, "KeyError"),
    ],
    ids=str,
)
def test_an_older_pickle_that_does_not_fit_says_which_version_wrote_it(
    Estimator, iris, version, changes, reason
):
    model = quick(Estimator).fit(*iris)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        rebuilt(model, _skhug_version=version, _skhug_format=LEFT_OUT, **changes)
    text = str(caught.value)
    released = version is not LEFT_OUT
    wrote = f"skhug {version}" if released else "a version of skhug before the first release"
    assert f"This {Estimator.__name__} was pickled by {wrote} and does not fit" in text
    assert reason in text
    assert "save(path), which skhug.load reads in later versions" in text


def test_a_classifier_without_its_calibration_does_not_load(iris):
    with pytest.raises(ValueError, match="it has no floor_"):
        rebuilt(quick(HUGClassifier).fit(*iris), floor_=LEFT_OUT, _skhug_version="0.0.1")


def test_format_1_knew_single_networks_and_directions_alone(iris):
    X, y = iris
    model = quick(HUGClassifier, encoder=MLP((5,), members=1)).fit(X, y)
    state = model.__getstate__()
    module = {**state["module_"], "softness": state["module_"]["ball_softness"]}
    del module["ball_softness"]
    changes = {"module_": module, "concentration_": 0.5, "softening_": 1e-3, "cutoff_": 1.5}
    changes |= {"power_": LEFT_OUT, "floor_": LEFT_OUT, "falloff_": LEFT_OUT, "_skhug_format": 1}
    loaded = rebuilt(model, **changes)
    np.testing.assert_allclose(loaded.transform(X), model.transform(X), atol=1e-12)
    cosines = loaded.transform(X) @ loaded.proxies_.T
    np.testing.assert_allclose(loaded.decision_function(X), cosines, atol=1e-12)
    squared = 2 - 2 * cosines
    p = (squared + 1e-3) ** -0.5 * np.exp(-1.5 * squared**2 / 4)
    np.testing.assert_allclose(loaded.predict_proba(X), p / p.sum(1, keepdims=True), rtol=1e-6)
    with pytest.raises(ValueError, match="it has no softening_"):
        rebuilt(model, **{**changes, "softening_": LEFT_OUT})
    loaded.partial_fit(X, y)
    assert hasattr(loaded, "power_")
    assert not {"concentration_", "softening_", "cutoff_"} & set(vars(loaded))
    assert rebuilt(MLP((5,)), members=LEFT_OUT, _skhug_format=1).members == 1


def test_a_specification_of_another_version_says_so():
    state = {"activation": "gelu", "hidden_layer_sizes": (5,)}
    with pytest.raises(ValueError, match=r"This MLP .*has no batch_norm, dropout, members, s"):
        MLP.__new__(MLP).__setstate__(state)


@pytest.mark.parametrize("thing", [HUGClassifier(), HUGEmbedder(), MLP(), MHE()], ids=repr)
def test_a_newer_pickle_names_the_version_to_update_to(thing):
    text = (
        f"This {type(thing).__name__} was pickled by skhug 9.1 .state format {PICKLE_FORMAT + 1}."
        f".*skhug {__version__} reads formats up to {PICKLE_FORMAT}: update skhug to 9.1"
    )
    with pytest.raises(ValueError, match=text):
        rebuilt(thing, _skhug_version="9.1", _skhug_format=PICKLE_FORMAT + 1)


def test_a_pickle_of_another_version_and_this_format_is_loaded(Estimator, iris):
    X, y = iris
    model = quick(Estimator).fit(X, y)
    loaded = rebuilt(model, _skhug_version="9.1")
    assert np.array_equal(loaded.transform(X), model.transform(X))


@pytest.mark.parametrize("thing", [HUGClassifier(), MLP()], ids=repr)
@pytest.mark.parametrize("written", ["x", -1, 1.0, True, b""], ids=repr)
def test_garbage_in_place_of_the_format_is_called_so(thing, written):
    with pytest.raises(ValueError, match=r"This is no state of a .* another copy"):
        rebuilt(thing, _skhug_format=written)


@pytest.mark.parametrize("state", [[], "x", 3, (1, 2)], ids=repr)
def test_garbage_in_place_of_the_state_is_called_so(Estimator, state):
    for kind in (Estimator, MLP):
        with pytest.raises(ValueError, match=f"This is no state of a {kind.__name__}"):
            kind.__new__(kind).__setstate__(state)


def test_a_failed_load_leaves_the_state_as_it_was(Estimator, iris):
    state = quick(Estimator).fit(*iris).__getstate__()
    before = set(state)
    Estimator.__new__(Estimator).__setstate__(state)
    with pytest.raises(ValueError, match="does not fit"):
        Estimator.__new__(Estimator).__setstate__({**state, "module_": 3})
    assert set(state) == before


class Mine(HUGClassifier):
    """A user's own estimator, with an attribute of its own."""


class Wide(Encoder):
    def __init__(self, width=3):
        self.width = width

    def build(self, input_shape, n_components):
        return torch.nn.Linear(*input_shape, n_components)


class Flat(Uniformity):
    def __init__(self, s_within=-2.0):
        self.s_within = s_within

    def between(self, proxies):
        return proxies.sum() * 0


def test_users_own_classes_are_pickled_with_what_they_hold(iris):
    X, y = iris
    model = Mine(Wide(4), uniformity=Flat(), max_epochs=2, random_state=0).fit(X, y)
    model.note = "kept"
    model.encoder.cache = [1]
    loaded = pickle.loads(pickle.dumps(model))
    assert (loaded.note, loaded.encoder.cache) == ("kept", [1])
    assert np.array_equal(loaded.predict(X), model.predict(X))
    assert clone(loaded).encoder.width == 4


def test_scikit_learn_still_warns_of_its_own_versions(Estimator, iris):
    pipeline = make_pipeline(StandardScaler(), quick(Estimator)).fit(*iris)
    data = pickle.dumps(pipeline)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pickle.loads(data)
    state = pipeline[0].__getstate__()
    with pytest.warns(InconsistentVersionWarning, match="StandardScaler from version 1.0"):
        StandardScaler.__new__(StandardScaler).__setstate__({**state, "_sklearn_version": "1.0"})
    file = io.BytesIO(data.replace(b"_sklearn_version", b"_sklearn_versio_"))
    with pytest.warns(InconsistentVersionWarning):
        assert pickle.load(file).transform(iris[0]).shape[0] == len(iris[0])


@pytest.mark.parametrize("written", [1, 2])
@pytest.mark.parametrize(
    ("thing", "name", "value"),
    [(Learned(learning_rate=0.1), "momentum", None), (Vectors(), "novelty", float("inf"))],
    ids=["Learned", "Vectors"],
)
def test_pickles_of_before_a_parameter_was_added_are_read(thing, name, value, written):
    loaded = rebuilt(thing, **{name: LEFT_OUT}, _skhug_format=written)
    assert loaded.get_params() == {**thing.get_params(), name: value}
    assert name in repr(loaded) or value is None


def test_a_model_whose_proxies_know_no_momentum_goes_on(iris):
    model = HUGClassifier(proxies=Learned(), max_epochs=1, random_state=0).fit(*iris)
    del model.proxies.__dict__["momentum"]  # as pickles have it from before there was one
    loaded = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(loaded.transform(iris[0]), model.transform(iris[0]))
    assert repr(clone(loaded).fit(*iris).partial_fit(*iris).proxies) == "Learned()"
