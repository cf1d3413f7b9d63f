"""What the tests of exported graphs share."""

import importlib.util

import numpy as np
import pytest

from skhug import HUGClassifier

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
