"""ONNX Runtime on the CPU: the engine that runs anywhere."""
