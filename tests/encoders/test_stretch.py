"""Rows of many classes are doubled behind their scale, for several networks."""

import pickle

import numpy as np
import pytest
import torch

import skhug
from skhug import MLP, HUGClassifier
from skhug._data.prepare import Standardize


def rows_of(n_classes, n_each=40):
    rng = np.random.default_rng(0)
    y = np.repeat(np.arange(n_classes), n_each)
    return rng.normal(size=(n_classes, 3))[y] * 4 + rng.normal(size=(len(y), 3)), y


def short(**parameters):
    return HUGClassifier(max_epochs=2, random_state=0, **parameters)


def prepared(model, X):
    with torch.no_grad():
        return model.module_.prepare(torch.from_numpy(X))


@pytest.mark.parametrize(
    ("n_classes", "members", "stretch"), [(5, 4, 1.0), (6, 4, 2.0), (6, 1, 1.0)]
)
def test_many_classes_double_the_inputs_of_several_networks(n_classes, members, stretch):
    X, y = rows_of(n_classes)
    model = short(encoder=MLP((8,), members=members)).fit(X, y)
    prepare = model.module_.prepare
    plain = Standardize(prepare.centre, prepare.inverse_scale, prepare.dtype)
    torch.testing.assert_close(prepared(model, X), plain(torch.from_numpy(X)) * stretch)


def test_files_and_pickles_keep_the_stretch(tmp_path):
    X, y = rows_of(6)
    model = short().fit(X, y)
    expected = model.predict_proba(X)
    model.save(tmp_path / "model.skhug")
    for copy in (skhug.load(tmp_path / "model.skhug"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_allclose(copy.predict_proba(X), expected, rtol=1e-6, atol=1e-8)


def test_going_on_keeps_the_stretch():
    X, y = rows_of(6)
    warm = short(warm_start=True).fit(X, y)
    assert warm.fit(X * 10, y).module_.prepare.stretch == 2
    streamed = short().partial_fit(X[::2], y[::2], classes=np.arange(6))
    assert streamed.partial_fit(X[1::2], y[1::2]).module_.prepare.stretch == 2
