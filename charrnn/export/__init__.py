"""A model in forms that run without charrnn: a web page, an ONNX graph, a PyTorch module."""
