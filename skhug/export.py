"""Fitted models for other runtimes: pipelines as ONNX graphs, by way of skl2onnx.

A single estimator exports itself: :meth:`HUGClassifier.to_onnx <skhug.HUGClassifier.to_onnx>`.
For torch's own runtimes take its module, which holds the normalisation of the input::

    rows = torch.zeros(2, *model.input_shape_)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model.module_, (rows,), dynamic_shapes=({0: batch},))
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

from skhug._docs import public
from skhug._saving.onnx import (
    INPUT_DTYPES,
    OPSET,
    ServedClassifier,
    ServedEmbedder,
    import_optional,
    onnx_graph,
    onnx_labels,
    write_graph,
)
from skhug.classifier import HUGClassifier
from skhug.embedder import HUGEmbedder

__all__ = ["pipeline_to_onnx", "register_converters"]
__dir__ = public(globals())

# Version of the operators of scikit-learn's models that goes with OPSET.
_ML_OPSET = 3
_LABEL_TYPES = {
    "b": "BooleanTensorType",
    "i": "Int64TensorType",
    "f": "DoubleTensorType",
    "U": "StringTensorType",
}
_SERVED = {HUGClassifier: ServedClassifier, HUGEmbedder: ServedEmbedder}


def pipeline_to_onnx(pipeline: Any, X: Any, path: Any) -> None:
    """Write a fitted pipeline, or another meta-estimator of scikit-learn, as one ONNX graph.

    What is in front of an estimator of this library, or behind it, is converted by skl2onnx. The
    graph's inputs are skl2onnx's: ``X`` for an array, one for each column of a data frame. A
    classifier at the end of a pipeline has the outputs of its ``to_onnx``, ``label`` and
    ``probabilities`` first; an embedder has ``embedding``.

    Parameters
    ----------
    pipeline : estimator
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Some rows; only their dtype and columns matter.
    path : str or Path
        File to write.

    Raises
    ------
    ImportError
        If the extra is not installed: ``pip install 'skhug[onnx]'``.
    ValueError
        If skl2onnx cannot convert a step, or a classifier is a step in the middle.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from sklearn.decomposition import PCA
    >>> from sklearn.pipeline import make_pipeline
    >>> from skhug import HUGClassifier
    >>> from skhug.export import pipeline_to_onnx
    >>> X, y = load_iris(return_X_y=True)
    >>> model = make_pipeline(PCA(3), HUGClassifier(max_epochs=5, random_state=0)).fit(X, y)
    >>> pipeline_to_onnx(model, X, "iris.onnx")  # doctest: +SKIP
    """
    check_is_fitted(pipeline)
    before_last = getattr(pipeline, "steps", [])[:-1]
    if any(isinstance(step, HUGClassifier) for _, step in before_last):
        raise ValueError(
            "skl2onnx takes a classifier for the end of a pipeline, and a HUGClassifier hands its "
            "embeddings on here: put a HUGEmbedder in its place."
        )
    skl2onnx = import_optional("skl2onnx")
    register_converters()
    target = {"": OPSET, "ai.onnx.ml": _ML_OPSET}
    try:
        model = skl2onnx.to_onnx(pipeline, X[:1], target_opset=target)
    except RuntimeError as error:  # of a converter that is missing, or does a part of its work
        raise ValueError(
            f"skl2onnx cannot convert {type(pipeline).__name__}: {str(error).splitlines()[0]} "
            "Register a converter with skl2onnx.update_registered_converter, or transform "
            "outside the graph and export the last step alone by its to_onnx."
        ) from error
    write_graph(model, path)


def register_converters() -> None:
    """Teach skl2onnx the estimators of this library.

    For those who call ``skl2onnx.to_onnx`` themselves; :func:`pipeline_to_onnx` does it for you.

    Raises
    ------
    ImportError
        If the extra is not installed: ``pip install 'skhug[onnx]'``.

    Examples
    --------
    >>> from skhug.export import register_converters
    >>> register_converters()
    """
    register = import_optional("skl2onnx").update_registered_converter
    for estimator in _SERVED:
        register(estimator, _alias(estimator), _set_types, _convert, parser=_declare)


def _alias(estimator: type) -> str:
    return f"Skhug{estimator.__name__}"


def _declare(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare an operator whose outputs have the names that ``to_onnx`` gives them."""
    from skl2onnx.common.data_types import FloatTensorType

    operator = scope.declare_local_operator(_alias(type(model)), model)
    operator.inputs = inputs
    for name in _SERVED[type(model)].outputs:
        operator.outputs.append(scope.declare_local_variable(name, FloatTensorType()))
    return operator.outputs


def _set_types(operator: Any) -> None:
    """Set the types of the outputs; meta-estimators ask for the first ones only."""
    from skl2onnx.common import data_types

    model = operator.raw_operator
    n_classes, n_components = model.proxies_.shape
    of_label = getattr(data_types, _LABEL_TYPES[onnx_labels(model.classes_).dtype.kind])
    types = {
        "label": of_label([None]),
        "probabilities": data_types.FloatTensorType([None, n_classes]),
        "decision": data_types.FloatTensorType([None] + [n_classes] * (n_classes > 2)),
        "embedding": data_types.FloatTensorType([None, n_components]),
    }
    for variable, name in zip(operator.outputs, _SERVED[type(model)].outputs, strict=False):
        variable.type = types[name]


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Put the nodes of an estimator's graph into skl2onnx's, under names of their own."""
    served = operator.raw_operator._served()
    dtype, source = _rows(scope, operator, container)
    prefix = scope.get_unique_operator_name("Skhug") + "_"
    model = onnx_graph(served, dtype, container.target_opset)
    graph = import_optional("onnx.compose").add_prefix(model, prefix).graph
    container.add_node("Identity", [source], [f"{prefix}X"], op_version=16)
    container.initializers.extend(graph.initializer)
    container.nodes.extend(graph.node)
    container.node_domain_version_pair_sets.add(("", container.target_opset))
    for variable, name in zip(operator.outputs, served.outputs, strict=False):
        container.add_node("Identity", [prefix + name], [variable.full_name], op_version=16)


def _rows(scope: Any, operator: Any, container: Any) -> tuple[str, str]:
    """Return the dtype and the name of an operator's rows, brought together from its inputs."""
    from skl2onnx.common.data_types import guess_proto_type

    helper = import_optional("onnx").helper
    names, dtypes = [], []
    for variable in operator.inputs:
        names.append(variable.full_name)
        dtypes.append(str(helper.tensor_dtype_to_np_dtype(guess_proto_type(variable.type))))
    # As fit does: one of the dtypes that are kept as they are, else float64.
    dtype = dtypes[0] if len(set(dtypes)) == 1 and dtypes[0] in INPUT_DTYPES else "float64"
    for i, found in enumerate(dtypes):
        if found != dtype:
            cast = scope.get_unique_variable_name("cast")
            to = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
            container.add_node("Cast", [names[i]], [cast], to=to, op_version=13)
            names[i] = cast
    if len(names) > 1:
        joined = scope.get_unique_variable_name("joined")
        container.add_node("Concat", names, [joined], axis=1, op_version=13)
        names = [joined]
    return dtype, names[0]
