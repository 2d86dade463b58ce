"""CUDA's runtime library through ctypes: memory, streams, events and graphs, and no engine."""
