"""Exported graphs compute what the estimators do."""

import importlib.util
import sys

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin, clone
from sklearn.compose import make_column_transformer
from sklearn.decomposition import PCA
from sklearn.ensemble import VotingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from torch import nn

from skhug import MLP, ConvNet, HUGClassifier, HUGEmbedder, Pretrained, ResNet
from skhug._saving.onnx import onnx_labels
from skhug.export import pipeline_to_onnx, register_converters

EXTRA = ("onnx", "onnxruntime", "onnxscript", "skl2onnx")
needs_onnx = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in EXTRA),
    reason="the extra onnx is not installed",
)
OUTPUTS = {
    "label": "predict",
    "probabilities": "predict_proba",
    "decision": "decision_function",
    "embedding": "transform",
}


def run_graph(path, inputs):
    """Outputs by name of a graph for named inputs."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options)
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, inputs), strict=True))


def assert_graph_equals(path, model, X, inputs=None):
    """Check all outputs of a graph against the methods that they are named for."""
    outputs = run_graph(path, {"X": X} if inputs is None else inputs)
    final = model[-1] if hasattr(model, "steps") else model
    expected_names = OUTPUTS if isinstance(final, HUGClassifier) else ["embedding"]
    assert list(outputs) == list(expected_names)
    for name, output in outputs.items():
        expected = getattr(model, OUTPUTS[name])(X)
        assert output.shape == expected.shape
        if name == "label":
            assert np.array_equal(output.astype(expected.dtype), expected)
        else:
            assert output.dtype == np.float32
            np.testing.assert_allclose(output, expected, rtol=0, atol=1e-5)


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


# --- pipelines, by way of skl2onnx ---


@needs_onnx
@pytest.mark.parametrize(("kind", "dtype"), [(HUGClassifier, "float64"), (HUGEmbedder, "float32")])
def test_preprocessing_comes_along(iris, tmp_path, kind, dtype):
    X, y = iris[0].astype(dtype), iris[1]
    model = make_pipeline(StandardScaler(), PCA(3), kind(MLP((16,)), max_epochs=5, random_state=0))
    pipeline_to_onnx(model.fit(X, y), X, tmp_path / "model.onnx")
    for n in (1, 150):
        assert_graph_equals(tmp_path / "model.onnx", model, X[:n])


@needs_onnx
def test_columns_of_a_frame_become_inputs(iris, tmp_path):
    X, y = iris
    frame = pd.DataFrame(X[:, :2].astype(np.float32), columns=["length", "width"])
    frame["colour"] = np.array(["blue", "red", "white"])[np.arange(150) % 3]
    columns = make_column_transformer(
        (StandardScaler(), ["length", "width"]), (OneHotEncoder(sparse_output=False), ["colour"])
    )
    model = make_pipeline(columns, HUGClassifier(MLP((16,)), max_epochs=5, random_state=0))
    labels = np.array(["setosa", "versicolor", "virginica"])[y]
    pipeline_to_onnx(model.fit(frame, labels), frame, tmp_path / "model.onnx")
    inputs = {name: frame[[name]].to_numpy() for name in frame}
    assert_graph_equals(tmp_path / "model.onnx", model, frame, inputs)


@needs_onnx
def test_embeddings_may_go_on_to_another_model(iris, tmp_path):
    X, y = iris[0].astype(np.float32), iris[1]
    model = make_pipeline(HUGEmbedder(max_epochs=5, random_state=0), KNeighborsClassifier())
    pipeline_to_onnx(model.fit(X, y), X, tmp_path / "model.onnx")
    label = run_graph(tmp_path / "model.onnx", {"X": X})["output_label"]
    assert np.array_equal(label, model.predict(X))


@needs_onnx
@pytest.mark.slow
def test_a_vote_takes_label_and_probabilities(iris, tmp_path):
    X, y = iris[0].astype(np.float32), iris[1]
    members = [("hug", HUGClassifier(max_epochs=5, random_state=0)), ("lr", LogisticRegression())]
    model = VotingClassifier(members, voting="soft", flatten_transform=False).fit(X, y)
    register_converters()
    graph = importlib.import_module("skl2onnx").to_onnx(model, X[:1])  # its own choice of opset
    (tmp_path / "model.onnx").write_bytes(graph.SerializeToString())
    outputs = run_graph(tmp_path / "model.onnx", {"X": X})
    assert np.array_equal(next(iter(outputs.values())), model.predict(X))


@needs_onnx
def test_a_classifier_in_the_middle_is_refused(iris, tmp_path):
    model = make_pipeline(HUGClassifier(max_epochs=1), KNeighborsClassifier()).fit(*iris)
    with pytest.raises(ValueError, match="put a HUGEmbedder in its place"):
        pipeline_to_onnx(model, iris[0], tmp_path / "model.onnx")


class Doubled(TransformerMixin, BaseEstimator):
    """A transformer that nobody wrote a converter for."""

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        return 2 * X

    def __sklearn_is_fitted__(self):
        return True


@needs_onnx
@pytest.mark.parametrize("step", [FunctionTransformer(np.log1p), Doubled()], ids=str)
def test_a_step_without_a_converter_is_named(iris, tmp_path, step):
    model = make_pipeline(step, HUGClassifier(max_epochs=1)).fit(*iris)
    name = type(step).__name__
    with pytest.raises(ValueError, match=f"skl2onnx cannot convert .*{name}.*last step alone"):
        pipeline_to_onnx(model, iris[0], tmp_path / "model.onnx")


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
