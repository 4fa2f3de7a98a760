"""charrnn export: a model as a file that runs without charrnn. What is to be said goes to stderr."""

from pathlib import Path

import click

from charrnn.cli.opening import open_checkpoint
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.errors import ConfigError

FORMS = "html", "onnx", "torch"


@click.command(name="export")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@file_option("html", "Write a web page in which the model runs.")
@file_option("onnx", "Write an ONNX graph of one time step; needs the package onnx.")
@file_option("torch", "Write a Python module for PyTorch, with its weights beside it.")
@force_option(*FORMS)
@click.pass_context
def command(ctx, checkpoint, **options):
    """Write a model as a file that runs without charrnn.

    \b
    Example: charrnn export checkpoints/shakespeare-1 --html shakespeare.html
             charrnn export --onnx shakespeare.onnx

    CHECKPOINT is a file or a run folder; without it the newest run in ./checkpoints is exported.
    """
    outputs = Outputs(options, *FORMS, beside={"torch": ".safetensors"})
    if not outputs:
        raise ConfigError("nothing to write: add --html FILE, --onnx FILE or --torch FILE", list(FORMS))
    if outputs.named("onnx"):
        from charrnn.export.onnx_graph import load_onnx

        load_onnx()  # or refuse, before anything is read
    path, opened = open_checkpoint(checkpoint)
    outputs.protect_run(opened.training, path.parent)
    if outputs.named("onnx"):
        from charrnn.cli.export_onnx import export_onnx

        export_onnx(opened, outputs)
    if outputs.named("torch"):
        from charrnn.cli.export_torch import export_torch

        export_torch(opened, outputs)
