"""One multi-exit ONNX graph in, K stage graphs out. Needs onnx and onnx-ir."""
