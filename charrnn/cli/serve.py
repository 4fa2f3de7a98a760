"""charrnn serve: a model behind HTTP. The address goes to stdout, a line for each request to stderr."""

import importlib.util
import logging
import sys
from pathlib import Path

import click

from charrnn.cli.checks import check_bounds
from charrnn.cli.opening import open_model
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.signals import signals_stop
from charrnn.cli.words import note, printable, quoted
from charrnn.errors import ConfigError

NEEDED = ("starlette", "uvicorn")


@click.command(name="serve", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on; 0.0.0.0 also accepts other machines, without any password.",
)
@click.option(
    "--port", type=int, default=8000, show_default=True, metavar="N", help="Port to listen on; 0 chooses a free one."
)
@click.option("--name", metavar="NAME", show_default="the run's", help="Name of the model for clients.")
@click.option(
    "--allow-origin",
    multiple=True,
    metavar="ORIGIN",
    help="Allow web pages of ORIGIN, such as https://example.org, to use the server; * allows all. May be repeated.",
)
@click.option(
    "--max-prompt", type=int, metavar="N", show_default="50,000", help="Maximum length of a prompt in characters."
)
@click.option(
    "--max-tokens",
    type=int,
    metavar="N",
    show_default="50,000",
    help="Maximum length of a text that a request may ask for, in characters.",
)
@click.option(
    "--max-requests",
    type=int,
    metavar="N",
    show_default="256",
    help="Maximum number of simultaneous requests; others are answered with status 503 (try again later).",
)
@click.option(
    "--encoding", metavar="NAME", show_default="the run's", help="For a byte model: encoding of prompts and texts."
)
@click.option("--threads", type=int, show_default="all cores", metavar="N", help="Maximum number of threads.")
@click.option("-q", "--quiet", is_flag=True, help="Do not write a line for each request.")
@click.pass_context
def command(ctx, checkpoint, **options):
    """Serve a model over HTTP, with an API like OpenAI's.

    \b
    Example: charrnn serve checkpoints/shakespeare-1
             curl localhost:8000/v1/completions -d '{"prompt": "ROMEO:"}'

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used. The texts for
    requests that arrive at the same time are computed together, as one batch. Each text is the same as that of charrnn
    sample with the same seed and settings. Ctrl-C stops the server after the current requests; a second Ctrl-C stops
    it at once.
    """
    check_bounds(
        options,
        ("port", 0, 65535),
        ("max_prompt", 1, None),
        ("max_tokens", 1, None),
        ("max_requests", 1, None),
        ("threads", 1, None),
    )
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        raise ConfigError(
            "a server needs starlette and uvicorn, which are not installed: pip install starlette uvicorn"
        )
    opened = open_model(ctx, checkpoint, options["threads"])
    _check_task(opened)
    encoding = _encoding(opened, options["encoding"])
    from charrnn.server.answers import Served
    from charrnn.server.protocol import Limits
    from charrnn.server.serving import Server

    logging.captureWarnings(True)
    limits = Limits()
    given = {"prompt": "max_prompt", "tokens": "max_tokens", "requests": "max_requests"}
    given = {field: options[name] for field, name in given.items() if options[name] is not None}
    if "tokens" in given:
        given["characters"] = max(limits.characters, given["tokens"])
    served = Served(
        opened.model,
        options["name"] or _name(opened.path),
        int(opened.path.stat().st_mtime),
        limits._replace(**given),
        encoding,
    )
    server = Server(served, options["host"], options["port"], options["allow_origin"], _logger(options["quiet"]))
    with signals_stop(server.stop):
        click.echo(f"serving {printable(served.name, sys.stdout)} at {server.url} (press Ctrl-C to stop)")
        sys.stdout.flush()
        server.run()


def _check_task(opened):
    """Refuse a model that writes no text."""
    from charrnn.text.task_names import CLASSIFY, TRANSLATE
    from charrnn.text.tasks import stored_task

    task = stored_task(opened.checkpoint.training)
    if task in (CLASSIFY, TRANSLATE):
        does = "predicts labels" if task == CLASSIFY else "translates"
        raise ConfigError(
            f"this model {does} and does not write texts; use it with: charrnn predict {quoted(str(opened.path))} TEXT"
        )


def _encoding(opened, named):
    """Return Python's name of the encoding that was named for a byte model, None where none was."""
    from charrnn.text.decoding import encoding_of_bytes

    if named is None:
        return None
    if opened.checkpoint.vocabulary.mode != "bytes":
        raise ConfigError(
            f"--encoding {named} is for a byte model, and this is a model of characters: leave it out", ["encoding"]
        )
    return encoding_of_bytes(named)


def _name(path):
    """Return what a checkpoint is called: its run, or the file where it lies in no run."""
    path = path.resolve()
    return path.parent.name if path.name in ("best.safetensors", "last.safetensors") else path.stem


def _logger(quiet):
    """Return what writes the lines of the log; failures of the server are written in any case."""

    def log(line):
        if "\n" in line:
            for each in line.splitlines():
                note(each)
        elif not quiet:
            note(line)

    return log
