"""What `charrnn export --onnx` does: the graph is export/onnx_graph.py's."""

import os

from charrnn.cli.words import note


def export_onnx(checkpoint, outputs):
    """Write a Checkpoint as the ONNX graph that Outputs name, and say what is in the file."""
    from charrnn.export.onnx_graph import OPSET, interface, write_onnx

    path = outputs.path("onnx")
    taken, given = interface(write_onnx(path, checkpoint))
    size_bytes = os.path.getsize(path)
    size = f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:,.1f} kB"
    narrowed = ", of a model in float64" if checkpoint.model["dtype"] == "float64" else ""
    note(f"wrote {outputs.named('onnx')}: {size}, ONNX opset {OPSET}, float32{narrowed}")
    note(f"inputs: {taken}; outputs: {given}")
