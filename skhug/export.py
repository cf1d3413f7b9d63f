"""Fitted models for other runtimes: pipelines as ONNX graphs, by way of skl2onnx.

A single estimator exports itself: :meth:`HUGClassifier.to_onnx <skhug.HUGClassifier.to_onnx>`.
For torch's own runtimes take its module, which holds the normalisation of the input::

    rows = torch.zeros(2, *model.input_shape_)
    batch = torch.export.Dim("batch")
    program = torch.export.export(model.module_, (rows,), dynamic_shapes=({0: batch},))
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from skhug._docs import public
from skhug._saving.onnx import (
    INPUT_DTYPES,
    OPSET,
    ServedClassifier,
    ServedEmbedder,
    check_numbers_alone,
    check_opset,
    onnx_graph,
    onnx_labels,
)
from skhug._saving.onnx_check import (
    TOLERANCE,
    disagreement,
    import_optional,
    runtime_outputs,
    write_graph,
)
from skhug._saving.onnx_inputs import Column, columns_of, converted_types, put_in_front
from skhug._saving.onnx_options import wishes_for_scores
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
# What skl2onnx's own converters of classifiers take, and one that asks for all four outputs.
_OPTIONS = {
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
    "all_outputs": [False, True],
}
_SERVED = {HUGClassifier: ServedClassifier, HUGEmbedder: ServedEmbedder}


def pipeline_to_onnx(pipeline: Any, X: Any, path: Any) -> None:
    """Write a fitted pipeline, or another meta-estimator of scikit-learn, as one ONNX graph.

    What is in front of an estimator of this library, or behind it, is converted by skl2onnx. The
    graph is run by onnxruntime on ``X`` and written only if it decides as the pipeline does. Its
    inputs are ``X`` for an array, one of shape (batch, 1) for each column of a data frame, of the
    dtypes of ``X``; a gap in text is ``""``. A classifier at the end of a pipeline has the outputs
    of its ``to_onnx``, ``label`` and ``probabilities`` first; an embedder has ``embedding``.

    Parameters
    ----------
    pipeline : estimator
        Fitted.
    X : array-like of shape (n_samples, n_features)
        Rows to compare on, some hundred with all that occurs: gaps, rare categories, far values.
    path : str or Path
        File to write.

    Raises
    ------
    ImportError
        If the extra is not installed: ``pip install 'skhug[onnx]'``.
    ValueError
        If skl2onnx cannot convert a step, a classifier is a step in the middle, or the graph
        decides otherwise. What was at the path stays.

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
    for name in ("skl2onnx", "onnxruntime"):
        import_optional(name)
    register_converters()
    columns = columns_of(X)
    model, why = _converted(pipeline, X, columns, None)
    if model is None and any(column.kind not in ("float32", "str") for column in columns):
        # onnxruntime lacks some operators for other dtypes, and skl2onnx mixes them up.
        model, why = _converted(pipeline, X, columns, "float32")
    if model is None:
        raise why
    write_graph(model, path)


def _converted(
    pipeline: Any, X: Any, columns: list[Column], numbers: str | None
) -> tuple[Any, ValueError | None]:
    """Return a graph that decides as the pipeline does, or else None and what is wrong with it."""
    kind = type(pipeline).__name__
    try:
        model = _skl2onnx_graph(pipeline, converted_types(columns, numbers))
        put_in_front(model, columns, numbers)
    except ImportError:
        raise
    except Exception as error:  # whatever a converter runs into that does a part of its work
        first = (str(error).splitlines() or [type(error).__name__])[0]
        return None, ValueError(
            f"skl2onnx cannot convert {kind}: {first} Register a converter with "
            "skl2onnx.update_registered_converter, or transform outside the graph and export the "
            "last step alone by its to_onnx."
        )
    try:
        outputs = runtime_outputs(model, {c.name: c.values for c in columns})
    except ValueError as error:
        return None, ValueError(
            f"skl2onnx's graph of {kind} does not run, of columns {_listed(columns)}: {error} "
            "Cast these to float32 or text before fit, or export the last step alone."
        )
    differs = disagreement(pipeline, X, outputs)
    if differs is None:
        return model, None
    return None, ValueError(
        f"skl2onnx's graph of {kind} decides otherwise than the estimator, by more than "
        f"{TOLERANCE}: {differs}. No file was written: export the models inside one by one."
    )


def _listed(columns: list[Column]) -> str:
    shown = ", ".join(f"{c.name!r} ({c.kind})" for c in columns[:10])
    return shown + ", ..." * (len(columns) > 10)


def _skl2onnx_graph(pipeline: Any, types: list[tuple[str, Any]]) -> Any:
    """Return skl2onnx's graph, with arrays for outputs."""
    last = pipeline
    while isinstance(last, Pipeline):
        last = last[-1]
    options = {id(last): {"zipmap": False}} if is_classifier(last) else {}
    if isinstance(last, HUGClassifier):
        options = {id(last): {"zipmap": False, "all_outputs": True}}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of skl2onnx about itself
        return import_optional("skl2onnx").to_onnx(
            pipeline,
            initial_types=types,
            target_opset={"": OPSET, "ai.onnx.ml": _ML_OPSET},
            options=wishes_for_scores(pipeline, HUGClassifier) | options,
        )


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
    for estimator, parser, options in (
        (HUGClassifier, _declare_classifier, _OPTIONS),
        (HUGEmbedder, _declare_all, None),
    ):
        alias = _alias(estimator)
        register(estimator, alias, _set_types, _convert, parser=parser, options=options)


def _alias(estimator: type) -> str:
    return f"Skhug{estimator.__name__}"


def _declare_classifier(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare label and probabilities as skl2onnx's classifiers do, or all outputs if asked to."""
    check_opset(scope.target_opset)
    if scope.get_options(model, {"all_outputs": False})["all_outputs"]:
        return _declare_all(scope, model, inputs)
    parse = import_optional("skl2onnx._parse")._parse_sklearn_classifier
    return parse(scope, model, inputs, custom_parsers)


def _declare_all(scope: Any, model: Any, inputs: Any, custom_parsers: Any = None) -> Any:
    """Declare an operator whose outputs have the names that ``to_onnx`` gives them."""
    from skl2onnx.common.data_types import FloatTensorType

    check_opset(scope.target_opset)
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
    alone = len(operator.outputs) > 2
    of_scores = data_types.FloatTensorType if alone else _type_of_scores(operator)
    types = {
        "label": of_label([None]),
        "probabilities": of_scores([None, n_classes]),
        "decision": data_types.FloatTensorType([None] + [n_classes] * (n_classes > 2)),
        "embedding": data_types.FloatTensorType([None, n_components]),
    }
    for variable, name in zip(operator.outputs, _SERVED[type(model)].outputs, strict=False):
        variable.type = types[name]


def _type_of_scores(operator: Any) -> type:
    """Return the type of scores that other converters expect: that of the rows, if floats."""
    from skl2onnx.common import data_types

    return type(data_types.guess_tensor_type(operator.inputs[0].type))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Put the nodes of an estimator's graph into skl2onnx's, under names of their own."""
    estimator = operator.raw_operator
    opset = check_opset(container.target_opset)
    options = _asked(estimator, container)
    check_numbers_alone(estimator)
    served = estimator._served()
    dtype, source = _rows(scope, operator, container)
    prefix = scope.get_unique_operator_name("Skhug") + "_"
    model = onnx_graph(served, dtype, opset)
    graph = import_optional("onnx.compose").add_prefix(model, prefix).graph
    container.add_node("Identity", [source], [f"{prefix}X"], op_version=16)
    container.initializers.extend(graph.initializer)
    container.nodes.extend(graph.node)
    container.node_domain_version_pair_sets.add(("", container.target_opset))
    names = {name: prefix + name for name in served.outputs}
    if options.get("raw_scores"):
        names["probabilities"] = _both_scores(scope, estimator, names["decision"], container)
    for variable, name in zip(operator.outputs, served.outputs, strict=False):
        _hand_over(names[name], variable, name, container)


def _asked(estimator: Any, container: Any) -> dict[str, Any]:
    """Return the options of a classifier that its nodes depend on."""
    if not isinstance(estimator, HUGClassifier):
        return {}
    options = container.get_options(estimator, {"raw_scores": False, "nocl": False})
    if options["nocl"]:
        raise RuntimeError("Option 'nocl' is not implemented for HUGClassifier.")
    return options


def _both_scores(scope: Any, estimator: Any, decision: str, container: Any) -> str:
    """Return the scores as skl2onnx has them: of two classes minus the score, and the score."""
    if len(estimator.classes_) > 2:
        return decision
    helper = import_optional("onnx").helper
    column, minus, both, axis = map(
        scope.get_unique_variable_name, ("column", "minus", "both", "axis")
    )
    container.initializers.append(helper.make_tensor(axis, 7, [1], [1]))
    container.add_node("Unsqueeze", [decision, axis], [column], op_version=13)
    container.add_node("Neg", [column], [minus], op_version=13)
    container.add_node("Concat", [minus, column], [both], axis=1, op_version=13)
    return both


def _hand_over(found: str, variable: Any, name: str, container: Any) -> None:
    """Give a node's output the name of a variable, and scores its dtype."""
    from skl2onnx.common.data_types import guess_proto_type

    if name == "probabilities":
        to = guess_proto_type(variable.type)
        container.add_node("Cast", [found], [variable.full_name], to=to, op_version=13)
    else:
        container.add_node("Identity", [found], [variable.full_name], op_version=16)


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
