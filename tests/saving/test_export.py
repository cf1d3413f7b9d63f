"""Exported graphs compute what the estimators do."""

import sys

import numpy as np
import pytest
import torch
from onnx_graphs import EXTRA, assert_graph_equals, needs_onnx
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from skhug import MLP, ConvNet, HUGClassifier, HUGEmbedder, Nested, Pretrained, ResNet
from skhug._saving.onnx import onnx_labels
from skhug._saving.onnx_check import disagreement
from skhug.export import pipeline_to_onnx


def rows(X):
    return X


def images(X):
    return X.reshape(-1, 8, 8)


def colour_images(X):
    return np.stack([images(X), images(X) / 2, 16 - images(X)], axis=-1)


NAMES = np.array(["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"])
# Estimator, what its samples are made of a digit, their dtype, and the labels.
CASES = {
    "MLP": (HUGClassifier(max_epochs=5), rows, "float64", NAMES),
    "MLP with batch normalisation": (
        HUGEmbedder(MLP((64,), "silu", batch_norm=True, dropout=0.1), max_epochs=5),
        rows,
        "float32",
        np.arange(10),
    ),
    "nested proxies": (
        HUGEmbedder(MLP((16,)), n_components=8, proxies=Nested((2, 4)), max_epochs=2),
        rows,
        "float32",
        np.arange(10),
    ),
    "a module, two classes": (
        HUGClassifier(Pretrained(nn.Linear(64, 16), standardize=True, frozen=True), max_epochs=5),
        rows,
        "uint8",
        np.arange(10) > 4,
    ),
    "ConvNet": (
        HUGClassifier(ConvNet((8, 8)), max_epochs=3),
        images,
        "uint8",
        np.arange(10, dtype=np.int8),
    ),
    "ResNet": (
        HUGEmbedder(ResNet(width=4), max_epochs=2),
        colour_images,
        "float32",
        NAMES.astype(object),
    ),
}


@needs_onnx
@pytest.mark.usefixtures("random_states_untouched")
@pytest.mark.parametrize("case", CASES)
def test_graphs_equal_the_estimator_for_any_batch(digits, tmp_path, case):
    estimator, make, dtype, labels = CASES[case]
    X, y = make(digits[0][:300]).astype(dtype), labels[digits[1][:300]]
    model = clone(estimator).set_params(random_state=0).fit(X, y)
    path = tmp_path / "model.onnx"
    model.to_onnx(path, dtype=dtype)
    for n in (1, 2, 300):
        assert_graph_equals(path, model, X[:n])
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


@needs_onnx
@pytest.mark.filterwarnings("error:divide")
@pytest.mark.parametrize("value", [0, 7])
def test_images_that_never_varied_have_a_graph(tmp_path, value):
    X, y = np.full((20, 4, 4), value, np.float32), np.arange(20) % 2
    model = HUGEmbedder(ConvNet((4,)), max_epochs=1, random_state=0).fit(X, y)
    model.to_onnx(tmp_path / "model.onnx")
    assert_graph_equals(tmp_path / "model.onnx", model, X)


def test_labels_that_onnx_does_not_have_are_named():
    dates = np.array(["2020-01-01", "2021-01-01"], dtype="datetime64[D]")
    with pytest.raises(TypeError, match="fit on strings, integers, booleans or floats"):
        onnx_labels(dates)
    assert onnx_labels(NAMES.astype(object)).dtype.kind == "U"


@needs_onnx
def test_features_far_from_zero_keep_their_digits(tmp_path):
    rng = np.random.default_rng(0)
    X, y = 1.7e9 + rng.standard_normal((200, 3)), np.arange(200) % 2
    X[y == 1] += 5  # seconds since 1970: float32 would tell them to the next two minutes
    model = HUGClassifier(MLP((8,)), learning_rate=0.01, random_state=0).fit(X, y)
    assert model.score(X, y) > 0.99
    model.to_onnx(tmp_path / "model.onnx")
    assert_graph_equals(tmp_path / "model.onnx", model, X)


class Branching(nn.Module):
    """Does what no graph can."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 2)

    def forward(self, X):
        return self.linear(X) if X.sum() > 0 else -self.linear(X)


@needs_onnx
def test_a_module_that_is_no_graph_is_refused_and_the_last_file_kept(iris, tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an earlier model")
    model = HUGEmbedder(Branching(), max_epochs=1).fit(*iris)
    with pytest.raises(ValueError, match=r"could not export the encoder.*torch\.export"):
        model.to_onnx(path)
    assert path.read_bytes() == b"an earlier model"


@needs_onnx
def test_other_dtypes_are_refused(Estimator, iris, tmp_path):
    model = Estimator(max_epochs=1).fit(*iris)
    with pytest.raises(ValueError, match="dtype='int64': rows come as one of float32, float64"):
        model.to_onnx(tmp_path / "model.onnx", dtype=np.int64)


def test_unfitted_estimators_are_refused(Estimator, tmp_path):
    with pytest.raises(NotFittedError):
        Estimator().to_onnx(tmp_path / "model.onnx")
    with pytest.raises(NotFittedError):
        pipeline_to_onnx(make_pipeline(StandardScaler(), Estimator()), [[0.0]], "model.onnx")


def test_a_missing_extra_is_named(iris, tmp_path, monkeypatch):
    model = HUGEmbedder(max_epochs=1).fit(*iris)
    for name in EXTRA:
        monkeypatch.setitem(sys.modules, name, None)
    for export in (model.to_onnx, lambda path: pipeline_to_onnx(model, iris[0], path)):
        with pytest.raises(ImportError, match=r"needs \w+: pip install 'skhug\[onnx\]'"):
            export(tmp_path / "model.onnx")


@needs_onnx
def test_a_graph_takes_the_dtype_seen_in_fit(digits, tmp_path):
    X, y = images(digits[0][:200]).astype(np.uint8), digits[1][:200]
    model = HUGEmbedder(ConvNet((8, 8)), max_epochs=1, random_state=0).fit(X, y)
    model.to_onnx(tmp_path / "model.onnx")
    assert_graph_equals(tmp_path / "model.onnx", model, X)


@needs_onnx
@pytest.mark.parametrize("rows_given", [True, False])
def test_a_graph_that_computes_something_else_is_not_written(iris, tmp_path, rows_given):
    X, y = iris
    model, other = (HUGClassifier(max_epochs=3, random_state=i).fit(X, y) for i in (0, 1))
    path = tmp_path / "model.onnx"
    path.write_bytes(b"an earlier model")
    model._served = other._served
    match = r"something else than the estimator.* gives .* instead of .* for row"
    with pytest.raises(ValueError, match=match):
        model.to_onnx(path, X if rows_given else None)
    assert path.read_bytes() == b"an earlier model"
    assert [file.name for file in tmp_path.iterdir()] == ["model.onnx"]


def test_labels_whose_scores_differ_by_rounding_are_no_disagreement(iris):
    model = HUGClassifier(max_epochs=2, random_state=0).fit(*iris)
    tied = np.array([[0.5, 0.5 + 1e-7, 0.0]])
    model.decision_function = lambda X: tied
    model.predict = lambda X: np.array([1])
    assert disagreement(model, iris[0][:1], {"label": np.array([0])}) is None
    assert "100.0% of the labels" in disagreement(model, iris[0][:1], {"label": np.array([2])})


# --- torch.export ---


@pytest.mark.parametrize("encoder", [MLP((16,)), ConvNet((4, 4), image_shape=(8, 8))])
def test_torch_exports_the_module_with_its_normalisation(digits, tmp_path, encoder):
    X, y = digits[0][:300].astype(np.float32), digits[1][:300]
    model = HUGEmbedder(encoder, max_epochs=3, random_state=0).fit(X, y)
    rows = torch.zeros(2, *model.input_shape_)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model.module_, (rows,), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    loaded = torch.export.load(tmp_path / "model.pt2").module()
    for n in (1, 7, 300):
        embedded = loaded(torch.from_numpy(X[:n])).detach().numpy()
        np.testing.assert_allclose(embedded, model.transform(X[:n]), rtol=0, atol=1e-6)
