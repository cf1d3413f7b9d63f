"""Defaults that depend on the data, and parameters that have no effect."""

import contextlib
import subprocess
import sys
import warnings

import numpy as np
import pytest
from sklearn.datasets import make_circles
from sklearn.model_selection import GridSearchCV, train_test_split

from skhug import MHE, MLP, SGD, AdamW, HUGClassifier, HUGEmbedder, Learned, _parameters
from skhug._data.rows import Rows
from skhug._defaults import default_decay, resolve


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


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"encoder": "mlp", "uniformity": "mhs", "proxies": "learned", "optimizer": "sgd"},
        {"class_weight": "balanced", "track": ("nc", "separation"), "precision": "bfloat16"},
    ],
    ids=["defaults", "names", "more names"],
)
def test_a_fit_reads_strings_once(parameters):
    rows = Rows(np.random.default_rng(0).random((20, 3)), np.arange(20) % 4, np.ones(20))
    settings = resolve(HUGClassifier(**parameters), rows, np.arange(4), 0)
    strings = [name for name, value in settings._asdict().items() if isinstance(value, str)]
    assert strings == []
    assert all(map(callable, settings.track.values()))


# --- alpha beside fixed proxies ------------------------------------------------------------


@pytest.fixture
def nobody_told(monkeypatch):
    """Lines that were told already are told again."""
    monkeypatch.setattr(_parameters, "_told", set())


@contextlib.contextmanager
def told(times):
    """Expect so many warnings of an alpha without effect, and no other."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield caught
    assert [str(w.message).split(":")[0] for w in caught] == ["alpha has no effect"] * times
    assert all(w.filename == __file__ for w in caught)


@pytest.mark.usefixtures("nobody_told")
@pytest.mark.parametrize(
    ("parameters", "times"),
    [
        ({"alpha": 0.5}, 1),
        ({"alpha": 0, "uniformity": MHE(repulsion=1.0)}, 1),
        ({"alpha": 2, "proxies": np.eye(3)[:, :2] + 0.1}, 1),
        ({"alpha": 1}, 0),
        ({"beta": 2.0}, 0),
        ({"alpha": 0.5, "proxies": "learned"}, 0),
        ({"alpha": 0.5, "proxies": Learned(attached=False)}, 0),
    ],
    ids=str,
)
def test_alpha_beside_fixed_proxies_is_told_once_a_fit(Estimator, iris, parameters, times):
    with told(times):
        Estimator(max_epochs=2, random_state=0, **parameters).fit(*iris)
    with told(times):
        model = Estimator(random_state=0, **parameters).partial_fit(*iris)
    with told(0):
        model.partial_fit(*iris)


@pytest.mark.usefixtures("nobody_told")
def test_alpha_without_effect_is_told_once_in_a_search(iris):
    X, y = iris
    grid = {"alpha": [0.1, 1.0, 10.0], "beta": [0.5, 2.0]}
    with told(1):
        GridSearchCV(HUGClassifier(max_epochs=2, random_state=0), grid, cv=2).fit(X, y)


@pytest.mark.filterwarnings("ignore:alpha")
def test_alpha_without_effect_changes_nothing(iris):
    few, many = (
        HUGEmbedder(alpha=alpha, max_epochs=2, random_state=0, uniformity=MHE(repulsion=1.0))
        for alpha in (0.1, 10)
    )
    assert np.array_equal(few.fit_transform(*iris), many.fit_transform(*iris))


def test_alpha_without_effect_is_shown_once_under_pythons_own_filters():
    code = """
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from skhug import HUGClassifier
search = GridSearchCV(HUGClassifier(max_epochs=1), {"alpha": [0.1, 0.2, 0.3]}, cv=3)
search.fit(*load_iris(return_X_y=True))
"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr.count("alpha has no effect") == 1
