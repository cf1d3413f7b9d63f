"""Models and training states outside the process: files, pickles, ONNX graphs."""
