"""TensorRT 10 and 11, and TensorRT-RTX: plans are built on the device that runs them."""
