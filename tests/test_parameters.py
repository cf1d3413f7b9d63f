"""Defaults that depend on the data."""

import pytest
from sklearn.datasets import make_circles
from sklearn.model_selection import train_test_split

from skhug import MLP, SGD, AdamW, HUGClassifier
from skhug._parameters import default_decay


@pytest.mark.parametrize(
    ("row_shape", "share"), [((2,), 0.25), ((255,), 0.25), ((256,), 1.0), ((1, 8, 8), 1.0)], ids=str
)
def test_weights_decay_less_where_rows_have_few_features(row_shape, share):
    for optimizer in (AdamW(), SGD()):
        assert default_decay(optimizer, row_shape) == share * optimizer.default_weight_decay


def test_an_optimizer_without_a_decay_of_its_own_gets_none():
    assert default_decay(lambda parameters: None, (3,)) is None


def test_the_defaults_tell_a_ring_from_its_inside():
    X, y = make_circles(800, noise=0.15, factor=0.5, random_state=0)
    X_train, X_test, y_train, y_test = train_test_split(X, y, random_state=0)
    assert HUGClassifier(random_state=0).fit(X_train, y_train).score(X_test, y_test) > 0.9
    linear = HUGClassifier(MLP(()), random_state=0).fit(X_train, y_train)
    assert linear.score(X_test, y_test) < 0.7
