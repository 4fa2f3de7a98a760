"""charrnn export: a model as a file that runs without charrnn. What is to be said goes to stderr."""

from pathlib import Path

import click

from charrnn.cli.export_page import check_page_options, export_page
from charrnn.cli.opening import open_checkpoint, open_model
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.plain_help import PlainCommand
from charrnn.errors import ConfigError

FORMS = "html", "onnx", "torch"


@click.command(name="export", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@file_option("html", "Write a web page in which the model runs, also offline.")
@file_option(
    "onnx",
    "Write an ONNX file that computes one step: a character in, the probabilities of the next one out. Needs the "
    "package onnx.",
)
@file_option("torch", "Write a Python module for PyTorch, and a file with its weights.")
@click.option(
    "--weights",
    type=click.Choice(("float32", "float16", "int8"), case_sensitive=False),
    show_default="float16",
    help="With --html: number type of the weights. Smaller types give smaller files, but can make the model a little "
    "worse; charrnn measures and shows how much.",
)
@click.option(
    "--cells",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    show_default="search the run's held-out text",
    help="With --html: read the units to show from FILE, written by 'charrnn cells --json'.",
)
@click.option("--no-cells", is_flag=True, help="With --html: show no units, and do not search for any.")
@force_option(*FORMS)
@click.pass_context
def command(ctx, checkpoint, **options):
    """Write a model as a file that runs without charrnn.

    \b
    Example: charrnn export checkpoints/shakespeare-1 --html shakespeare.html
             charrnn export --onnx shakespeare.onnx

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used.
    """
    outputs = Outputs(options, *FORMS, beside={"torch": ".safetensors"})
    if not outputs:
        raise ConfigError("nothing to write: add --html FILE, --onnx FILE or --torch FILE", list(FORMS))
    check_page_options(options)
    if outputs.named("onnx"):
        from charrnn.export.onnx_graph import load_onnx

        load_onnx()  # or refuse, before anything is read
    if outputs.named("html"):
        opened = open_model(ctx, checkpoint, None)
        path, known = opened.path, opened.checkpoint
        outputs.protect(None, opened)
    else:
        path, known = open_checkpoint(checkpoint)
        outputs.protect_run(known.training, path.parent)
    if outputs.named("html"):
        export_page(opened, options, outputs)
    _never_unknown(known)
    if outputs.named("onnx"):
        from charrnn.cli.export_onnx import export_onnx

        export_onnx(known, outputs)
    if outputs.named("torch"):
        from charrnn.cli.export_torch import export_torch

        export_torch(known, outputs)


def _never_unknown(checkpoint):
    """Let a model that is exported never predict its unknown symbol, where it has one: programs only draw from it."""
    from charrnn.model.parameters import NEVER

    if checkpoint.vocabulary.unknown_id is not None:
        checkpoint.parameters["output.bias"][checkpoint.vocabulary.unknown_id] = NEVER
