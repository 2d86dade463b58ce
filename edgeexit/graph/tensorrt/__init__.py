"""What TensorRT would refuse or misread in a graph, found before any tool of its own."""
