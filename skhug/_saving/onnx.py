"""A fitted model as an ONNX graph: raw rows in, embeddings and decisions out."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from sklearn.utils.validation import check_is_fitted
from torch import Tensor, nn

from skhug._data.columns import numeric_rows
from skhug._model.nearest import decision
from skhug._model.sphere_encoder import SphereEncoder
from skhug._saving.onnx_check import (
    TOLERANCE,
    disagreement,
    import_optional,
    runtime_outputs,
    write_graph,
)
from skhug._sparse import as_scipy, is_sparse

__all__ = [
    "INPUT_DTYPES",
    "OPSET",
    "ServedClassifier",
    "ServedEmbedder",
    "check_opset",
    "onnx_graph",
    "onnx_labels",
    "save_onnx",
]

# What torch's exporter writes without converting.
OPSET = 20
# What it writes, converting or not, and onnxruntime loads.
_OPSETS = range(18, 24)
# Rows that a graph is tried on where none are passed.
_DRAWN_ROWS = 64
# What rows may come in: the dtypes that the estimators compute on as they are.
INPUT_DTYPES = {"float32": torch.float32, "float64": torch.float64, "uint8": torch.uint8}
# Squared norm below which a point counts as this long.
_LEAST = 1e-24
# Kinds of labels that ONNX has, and the NumPy dtype that stands for each.
_LABELS = {"b": np.bool_, "i": np.int64, "u": np.int64, "f": np.float64, "U": np.str_}


class ServedEmbedder(nn.Module):
    """What a graph computes of raw rows: unit embeddings.

    The body computes in float32, since onnxruntime has neither a convolution nor an error
    function in float64. The projection to the sphere and all that follows is in float64: it costs
    next to nothing, and distances near zero need the digits.

    Parameters
    ----------
    encoder : SphereEncoder
        Of the fitted estimator; copied to the CPU.
    """

    outputs: tuple[str, ...] = ("embedding",)
    # Labels that the first output is the index in.
    classes: np.ndarray | None = None

    def __init__(self, encoder: SphereEncoder) -> None:
        super().__init__()
        encoder = copy.deepcopy(encoder).cpu().eval()
        self.input_shape = encoder.input_shape
        self.prepare = type(encoder.prepare)(**encoder.prepare.arguments(), dtype=torch.float32)
        self.body = encoder.body.float()
        self.softness = encoder.softness

    def forward(self, X: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of their names."""
        return (F.normalize(self.ball(X), dim=1).float(),)

    def ball(self, X: Tensor) -> Tensor:
        """Return points inside the ball, in float64; see :class:`SphereEncoder`."""
        features = self.body(self.prepare(X)).double()
        squared = features.square().sum(-1, keepdim=True) + self.softness
        z = features / squared.clamp_min(_LEAST).sqrt()
        return z.mean(0) if z.ndim == 3 else z


class ServedClassifier(ServedEmbedder):
    """What a graph computes for a classifier: the embedding and what it is decided by.

    Parameters
    ----------
    encoder : SphereEncoder
        Of the fitted estimator; copied to the CPU.
    proxies : ndarray of shape (n_classes, n_components)
        Unit rows.
    classes : ndarray of shape (n_classes,)
        Labels.
    log_probabilities : callable
        From points in the ball and proxies.
    """

    # scikit-learn's converters give label and probabilities in this order too.
    outputs = ("label", "probabilities", "decision", "embedding")

    def __init__(
        self,
        encoder: SphereEncoder,
        proxies: np.ndarray,
        classes: np.ndarray,
        log_probabilities: Callable[[Tensor, Tensor], Tensor],
    ) -> None:
        super().__init__(encoder)
        self.classes = onnx_labels(classes)
        self.log_probabilities = log_probabilities
        self.register_buffer("proxies", torch.tensor(proxies, dtype=torch.float64))

    def forward(self, X: Tensor) -> tuple[Tensor, ...]:
        """Return the outputs in the order of their names; the label as its index."""
        z = self.ball(X)
        products = z @ self.proxies.T
        probabilities = self.log_probabilities(z, self.proxies).exp()
        embedding = F.normalize(z, dim=1)
        return (
            products.argmax(1),
            probabilities.float(),
            decision(products).float(),
            embedding.float(),
        )


def onnx_labels(classes: np.ndarray) -> np.ndarray:
    """Return labels of a kind that ONNX has."""
    strings = classes.dtype.kind == "O" and all(isinstance(c, str) for c in classes)
    kind = "U" if strings else classes.dtype.kind
    if kind not in _LABELS:
        raise TypeError(
            f"ONNX has no labels such as {classes[0]!r} of dtype {classes.dtype}: fit on strings, "
            "integers, booleans or floats."
        )
    return classes.astype(_LABELS[kind])


def check_opset(target: Any) -> int:
    """Return the version of ONNX's operators, given as skl2onnx's ``target_opset``.

    Raises
    ------
    ValueError
        If torch's exporter cannot write it.
    """
    opset = target.get("", OPSET) if isinstance(target, dict) else target
    if opset not in _OPSETS:
        raise ValueError(
            f"target_opset={opset}: the encoder is written in an opset from {_OPSETS[0]} to "
            f"{_OPSETS[-1]}: pass one of these, such as {OPSET}."
        )
    return opset


def check_numbers_alone(estimator: Any) -> None:
    """Refuse a model whose rows hold categories: its graph takes one array of numbers.

    Raises
    ------
    ValueError
        With the columns, and the pipeline that can be exported.
    """
    categories = getattr(estimator, "categories_", None)
    if categories is None:
        return
    names = getattr(estimator, "feature_names_in_", range(len(categories)))
    held = [name for name, levels in zip(names, categories, strict=True) if levels is not None]
    raise ValueError(
        f"Columns {held[:10]} hold categories, and a graph's input is one array of numbers: encode "
        "them in front, make_pipeline(make_column_transformer((OneHotEncoder(handle_unknown="
        f"'ignore'), [...]), remainder='passthrough'), {type(estimator).__name__}()), and export "
        "this by skhug.export.pipeline_to_onnx."
    )


def onnx_graph(served: ServedEmbedder, dtype: Any, opset: int = OPSET) -> Any:
    r"""Return the ``onnx.ModelProto`` of a served model.

    Its input is ``X`` of shape (batch, \*input_shape) for any batch of one row or more.

    Parameters
    ----------
    served : ServedEmbedder
        What to compute.
    dtype : str or dtype
        Of the rows: float32, float64 or uint8.
    opset : int
        Version of ONNX's operators.

    Raises
    ------
    ImportError
        If the extra ``onnx`` is not installed.
    ValueError
        If rows have another dtype, the opset cannot be written, or the encoder does what ONNX
        cannot express.
    """
    opset = check_opset(opset)
    onnx = import_optional("onnx")
    import_optional("onnxscript")
    name = str(np.dtype(dtype))
    if name not in INPUT_DTYPES:
        raise ValueError(f"dtype={name!r}: rows come as one of {', '.join(INPUT_DTYPES)}.")
    # Two rows: torch takes a size of one for a constant.
    rows = torch.zeros(2, *served.input_shape, dtype=INPUT_DTYPES[name])
    try:
        with _quiet(), torch.no_grad():
            program = torch.onnx.export(
                served,
                (rows,),
                input_names=["X"],
                output_names=list(served.outputs),
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                opset_version=opset,
                dynamo=True,
                verbose=False,
            )
    except ImportError as error:
        raise ImportError(
            f"torch {torch.__version__} needs another onnxscript: pip install -U onnxscript. "
            f"Importing it said: {error}"
        ) from error
    except Exception as error:
        raise ValueError(
            "torch could not export the encoder to ONNX. A module of your own must pass "
            "torch.export.export: no branches that depend on values, no loops over rows. torch "
            f"{torch.__version__} says: {error}"
        ) from error
    model = program.model_proto
    if served.classes is not None:
        _index_to_label(onnx, model.graph, served.classes)
    return model


def _index_to_label(onnx: Any, graph: Any, classes: np.ndarray) -> None:
    """Turn the first output, an index, into the label that it stands for."""
    label = graph.output[0]
    for node in graph.node:
        node.output[:] = ["index" if name == label.name else name for name in node.output]
    array = classes.astype(object) if classes.dtype.kind == "U" else classes
    labels = onnx.numpy_helper.from_array(array, "classes")
    graph.initializer.append(labels)
    graph.node.append(onnx.helper.make_node("Gather", ["classes", "index"], [label.name]))
    label.type.tensor_type.elem_type = labels.data_type


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what torch's exporter says about itself: absent packages, its own deprecations."""
    logger = logging.getLogger("torch.onnx")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


def _drawn(served: ServedEmbedder, dtype: Any) -> np.ndarray:
    """Return rows about the centre of those in fit, as far as the model knows it."""
    normal = np.random.default_rng(0).standard_normal((_DRAWN_ROWS, *served.input_shape))
    known = {name: np.asarray(v, "f8") for name, v in served.prepare.named_buffers()}
    if "inverse_scale" in known:  # of the numbers, and then of the columns that say where gaps are
        inverse = known["inverse_scale"][: normal.shape[1]]
        live = inverse != 0
        normal *= np.where(live, 1 / np.where(live, inverse, 1), 0)
        normal += known["centre"][: normal.shape[1]] if "centre" in known else 0.0
        gappy = known.get("expand.gaps", np.zeros(0)).astype(int)
        normal[::7, gappy] = np.nan
    elif "mean" in known:
        live = known["inverse_std"][known["inverse_std"] != 0]
        normal = known["mean"].mean() + (normal / live.mean() if live.size else 0 * normal)
    elif "shift" in known:
        normal += known["shift"]
    if np.dtype(dtype) == np.uint8:
        normal = normal.clip(0, 255)
    return normal.astype(dtype)


def _dense(X: Any) -> np.ndarray:
    """Return rows as an array: a graph takes no others."""
    return as_scipy(X).toarray() if is_sparse(X) else np.asarray(numeric_rows(X))


def save_onnx(estimator: Any, path: Any, X: Any, dtype: Any) -> None:
    """Write a fitted estimator as a graph; see the estimators' ``to_onnx``."""
    check_is_fitted(estimator)
    check_numbers_alone(estimator)
    served = estimator._served()
    # Models of files that an earlier version wrote do not know.
    dtype = dtype or getattr(estimator, "input_dtype_", estimator.proxies_.dtype)
    model = onnx_graph(served, dtype)
    rows = _drawn(served, dtype) if X is None else _dense(X).astype(dtype)
    with _quiet():  # of names, which these rows have not
        differs = disagreement(estimator, rows, runtime_outputs(model, {"X": rows}))
    if differs:
        raise ValueError(
            f"The graph computes something else than the estimator, by more than {TOLERANCE}: "
            f"{differs}. No file was written."
        )
    write_graph(model, path)
