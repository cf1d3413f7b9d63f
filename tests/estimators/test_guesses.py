"""Guesses at names and values: the error says what is meant, under the public class's name."""

import inspect

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline

import skhug
from skhug import (
    MGD,
    MHE,
    MHS,
    MLP,
    SGD,
    AdamW,
    BalancedBatches,
    Checkpoint,
    ConvNet,
    Gallery,
    HUGClassifier,
    HUGEmbedder,
    HUGLoss,
    Learned,
    Nested,
    Pretrained,
    ResNet,
    _guess_tables,
)
from skhug.augment import Affine, Compose, Cutout, HorizontalFlip, RandomCrop

CONFIGURED = [
    *(MGD, MHE, MHS, MLP, SGD, AdamW, BalancedBatches, Checkpoint, ConvNet, HUGClassifier),
    *(Gallery, HUGEmbedder, HUGLoss, Learned, Nested, Pretrained, ResNet),
    *(Affine, Compose, Cutout, HorizontalFlip, RandomCrop),
]

NAMES = [
    ("epochs", "Did you mean max_epochs?"),
    ("n_epochs", "Did you mean max_epochs?"),
    ("max_iter", "Did you mean max_epochs?"),
    ("lr", "Did you mean learning_rate?"),
    ("seed", "Did you mean random_state?"),
    ("embedding_dim", "Did you mean n_components?"),
    ("n_dims", "Did you mean n_components?"),
    ("loss", "Did you mean uniformity?"),
    ("hidden_layer_sizes", "encoder=MLP(hidden_layer_sizes=...)"),
    ("dropout", "encoder=MLP(dropout=...)"),
    ("activation", "encoder=MLP(activation=...)"),
    ("momentum", "optimizer=SGD(momentum=...)"),
    ("margin", "uniformity=MHE(repulsion=...)"),
    ("matryoshka_dims", "proxies=Nested(prefixes=...)"),
    ("n_jobs", "GridSearchCV(..., n_jobs=n)"),
    ("alhpa", "Did you mean alpha?"),
    ("nonsense", "There are: encoder, n_components,"),
]


@pytest.mark.parametrize(("name", "meant"), NAMES)
def test_a_guessed_parameter_gets_the_one_that_is_meant(Estimator, name, meant):
    with pytest.raises(TypeError) as caught:
        Estimator(**{name: 1})
    text = str(caught.value)
    assert text.startswith(f"{Estimator.__name__} has no parameter {name!r}. ")
    assert meant in text


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: MLP(hidden_layers=(5,)), "MLP has no parameter 'hidden_layers'. Did you mean hid"),
        (lambda: ConvNet(hidden_layer_sizes=5), "ConvNet has no .* Did you mean widths?"),
        (lambda: ResNet(n_layers=18), "ResNet has no .* Did you mean depth?"),
        (lambda: Pretrained(backbone=1), "Pretrained has no .* Did you mean module?"),
        (lambda: Pretrained(), "Pretrained: missing a required argument: 'module'"),
        (lambda: MHE(s_between=1), "MHE has no parameter 's_between'. Did you mean s?"),
        (lambda: MHS(tau=1), "MHS has no .* Did you mean temperature?"),
        (lambda: MGD(alpha=1), "MGD has no .* parameter of the estimator and of HUGLoss"),
        (lambda: MHE(temperature=1), "MHE has no .* There are: s, s_within"),
        (lambda: HUGLoss(margin=1), r"HUGLoss has no .* HUGLoss\(MHE\(repulsion=...\)\)"),
        (lambda: AdamW(lr=1), "AdamW has no .* of the estimator, learning_rate"),
        (lambda: SGD(weight_decay=1), "SGD has no .* of the estimator, weight_decay"),
        (lambda: Learned(lr=1), "Learned has no .* Did you mean learning_rate?"),
        (lambda: Checkpoint(path="x"), "Checkpoint has no .* Did you mean folder?"),
        (lambda: BalancedBatches(n_classes=1), "BalancedBatches has no .* Did you mean classes?"),
        (lambda: RandomCrop(paddings=1), "RandomCrop has no .* Did you mean padding?"),
        (lambda: HUGClassifier("mlp", 8), r"only encoder, .* HUGClassifier\(..., verbose=...\)"),
    ],
)
def test_specifications_explain_their_names_too(make, text):
    with pytest.raises(TypeError, match=text):
        make()


def test_a_subclass_answers_under_its_own_name():
    class Mine(HUGClassifier):
        pass

    with pytest.raises(TypeError, match=r"^Mine has no parameter 'lr'. Did you mean learning_rate"):
        Mine(lr=1)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("sample_weights", "fit has no argument 'sample_weights'. Did you mean sample_weight"),
        ("validation_data", "Pass X_val=... and y_val"),
        ("epochs", "parameter of the estimator, max_epochs"),
    ],
)
def test_arguments_of_fit_are_explained(Estimator, iris, name, text):
    with pytest.raises(TypeError, match=f"^{Estimator.__name__}.*{text}"):
        Estimator().fit(*iris, **{name: 1})


def test_set_params_and_searches_say_what_is_meant(Estimator, iris):
    text = f"Invalid parameter 'lr' for estimator {Estimator.__name__}.*Did you mean learning_rate?"
    with pytest.raises(ValueError, match=text):
        Estimator().set_params(lr=1)
    for model, name in (
        (Estimator(max_epochs=1), "lr"),
        (make_pipeline(Estimator(max_epochs=1)), f"{Estimator.__name__.lower()}__lr"),
    ):
        with pytest.raises(ValueError, match=text):
            GridSearchCV(model, {name: [1.0]}, cv=2).fit(*iris)
    with pytest.raises(ValueError, match=r"estimator MLP.*Did you mean hidden_layer_sizes\?"):
        Estimator().set_params(encoder__hidden=1)
    with pytest.raises(ValueError, match=r"estimator AdamW.*of the estimator, learning_rate"):
        Estimator().set_params(optimizer__lr=1)


def test_a_nested_name_of_what_has_no_parameters_says_which_object_has_it():
    with pytest.raises(ValueError, match=r"pass proxies=Learned\(learning_rate=...\)"):
        HUGClassifier().set_params(proxies__learning_rate=1)
    with pytest.raises(ValueError, match="Set encoder to an object that has 'width' first"):
        HUGClassifier(torch.nn.Linear(4, 2)).set_params(encoder__width=1)


VALUES = [
    ("uniformity", "MHE", "Did you mean uniformity='mhe'?"),
    ("uniformity", "MHE ", "Did you mean uniformity='mhe'?"),
    ("uniformity", "energy", "Pass uniformity='mhe'."),
    ("uniformity", MHE, "Pass an instance, uniformity=MHE()."),
    ("optimizer", "adam", "Pass optimizer='adamw'."),
    ("optimizer", "SGD", "Did you mean optimizer='sgd'?"),
    ("optimizer", "rmsprop", "Pass optimizer=torch.optim.RMSprop."),
    ("encoder", "cnn", "Pass encoder='convnet'."),
    ("encoder", "ResNet-18", "Pass encoder=ResNet(depth=18), 34 or 50."),
    ("encoder", (100,), "Pass encoder=MLP(hidden_layer_sizes=(100,))."),
    ("checkpoint", True, "Pass checkpoint='checkpoints', a folder."),
    ("checkpoint", 3, "Pass checkpoint='checkpoints'."),
    ("device", "gpu", "Pass device='cuda', or 'auto'."),
    ("device", "CPU", "Did you mean device='cpu'?"),
    ("device", 0, "Pass device='cuda:0'."),
    ("proxies", "fixed", "Pass proxies='optimal'."),
    ("proxies", "simplex", "Pass proxies='optimal', which is the simplex wherever it fits."),
    ("proxies", "optimum", "Did you mean proxies='optimal'?"),
    ("schedule", "constant ", "Did you mean schedule='constant'?"),
    ("schedule", None, "Pass schedule='constant'."),
    ("batch_size", -1, "Pass batch_size=len(X), for all rows in one batch, or 'auto'."),
    ("batch_size", 32.0, "Did you mean batch_size=32?"),
    ("n_components", "auto", "Pass n_components=None."),
    ("n_components", "8", "Did you mean n_components=8?"),
    ("class_weight", "balanced_subsample", "Pass class_weight='balanced'."),
    ("class_weight", [1, 2, 3], "Pass class_weight={label: weight, ...}, a dict"),
    ("precision", "fp16", "Pass precision='bfloat16'."),
    ("precision", "half", "Pass precision='bfloat16'."),
    ("precision", 16, "Pass precision='bfloat16'."),
    ("precision", torch.float64, "Pass precision='float64'."),
    ("augment", "flip", "Pass augment=skhug.augment.HorizontalFlip()."),
    ("batch_sampler", "balanced", "Pass batch_sampler=BalancedBatches("),
    ("random_state", "0", "Did you mean random_state=0?"),
    ("random_state", np.random.default_rng(0), "scikit-learn takes no Generator."),
    ("learning_rate", "1e-3", "Did you mean learning_rate=0.001?"),
    ("max_epochs", None, "Pass max_epochs='auto'."),
    ("early_stopping", 5, "n_iter_no_change=10 epochs of patience."),
    ("track", "ncc", "Did you mean nc"),
    ("track", ["equi_norm"], "Did you mean equinorm?"),
]


def shortly(value):
    """A value for a test's name, the same in every process."""
    return repr(value).partition(" at 0x")[0][:24]


@pytest.mark.parametrize(("name", "value", "meant"), VALUES, ids=shortly)
def test_a_guessed_value_gets_the_one_that_is_meant(iris, name, value, meant):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        HUGClassifier(**{"max_epochs": 1, name: value}).fit(*iris)
    assert meant in str(caught.value)


@pytest.mark.parametrize(
    ("encoder", "text"),
    [
        (MLP(activation="ReLU"), "Did you mean relu?"),
        (MLP("128"), "such as \\(256, 128\\)"),
        (MLP((5.0,)), "whole numbers above 0"),
        (MLP(None), "\\(\\) for none"),
        (MLP(dropout="0.1"), "a share in"),
        (MLP(batch_norm="no"), "True or False"),
        (ConvNet(64), "one or more whole numbers"),
        (ConvNet(readout="averaged"), "Did you mean average?"),
        (ConvNet(n_pools=1.5), "a whole number"),
        (ResNet("18"), "one of the numbers 18, 34, 50"),
        (ResNet(width=8.0), "a whole number of channels"),
    ],
    ids=repr,
)
def test_values_of_encoders_are_explained(encoder, text):
    shape = (4,) if isinstance(encoder, MLP) else (1, 8, 8)
    with pytest.raises(ValueError, match=text):
        encoder.build(shape, 2)


def test_arrays_of_sizes_are_sizes():
    assert MLP(np.array([8, 4]), members=1).build((4,), 2)[0].out_features == 8


def test_one_name_or_function_is_tracked_without_a_list(iris):
    def radius(embeddings, labels, proxies):
        return embeddings.norm(dim=1).mean()

    for track in ("equinorm", radius, ["equinorm", radius]):
        model = HUGClassifier(max_epochs=1, track=track, random_state=0).fit(*iris)
        assert len({"equinorm", "radius"} & set(model.history_[0])) == 1 + isinstance(track, list)


def owners():
    for kind in [*CONFIGURED, HUGClassifier.fit]:
        names = ["fit"] if kind is HUGClassifier.fit else [k.__name__ for k in kind.__mro__]
        yield names, set(inspect.signature(kind).parameters)


def test_the_tables_name_what_there_is_and_guess_what_there_is_not():
    for owner, table in _guess_tables.NAMES.items():
        known = [parameters for names, parameters in owners() if owner in names]
        assert known, owner
        for meant, guesses in table.items():
            assert " " in meant or meant in set.union(*known), (owner, meant)
            assert not set(guesses.split()) & set.intersection(*known), (owner, guesses)
        listed = " ".join(table.values()).split()
        assert len(listed) == len(set(listed)), owner
    parameters = HUGClassifier().get_params(deep=False)
    assert _guess_tables.VALUES.keys() <= parameters.keys()


@pytest.mark.parametrize("kind", CONFIGURED, ids=lambda kind: kind.__name__)
def test_explained_classes_keep_their_signature_and_clone(kind):
    parameters = inspect.signature(kind).parameters
    assert "self" not in parameters
    assert not any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if kind.__name__ not in ("HUGLoss", "Nested", "Pretrained", "Compose", "Checkpoint"):
        assert clone(kind()).get_params().keys() >= parameters.keys()


@pytest.mark.parametrize(
    "name", ["skhug", *(f"skhug.{m}" for m in [*skhug._MODULES, "uniformity"])]
)
def test_dir_shows_public_names_alone(name):
    module = __import__(name, fromlist=["*"])
    shown = {n for n in dir(module) if not (n.startswith("__") and n.endswith("__"))}
    public = {n for n in module.__all__ if not n.startswith("__")}
    assert shown == public | set(skhug._MODULES if name == "skhug" else ())
    assert {"__all__", "__doc__", "__name__"} <= set(dir(module))
