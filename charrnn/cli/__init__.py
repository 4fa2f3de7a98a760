"""The `charrnn` command: one verb a module, imported when it is called. The only room with click.

Here alone an error becomes a sentence and an exit code: 2 for a wrong input or option, 130 for Ctrl-C, 143 for
SIGTERM.
"""

import contextlib
import errno
import importlib
import importlib.util
import os
import signal
import sys

import click

import charrnn
from charrnn.cli.pipes import forgiven_pipes
from charrnn.errors import CharRNNError, either

# verb: (module in this folder, the first line of its help), kept true by tests/test_cli.py. The help is repeated here
# so that `charrnn --help` needs to import no command.
COMMANDS = {
    "train": ("train", "Train a model on your own text."),
    "sweep": ("sweep", "Train a grid of models and compare them."),
    "sample": ("sample", "Write new text from a trained model."),
    "next": ("following", "Show how likely each character is to come next."),
    "eval": ("evaluate", "Measure how well a model predicts a text."),
    "predict": ("predict", "Predict the labels of texts, or translate them."),
    "cells": ("cells", "Find parts of a model that react to quotes, lines, etc."),
    "gradients": ("gradients", "Show how many characters back the gradient reaches."),
    "export": ("export", "Write a model as a file that runs without charrnn."),
    "import": ("importing", "Import a model that was trained with PyTorch."),
    "serve": ("serve", "Serve a model over HTTP, with an API like OpenAI's."),
    "info": ("info", "Show a checkpoint's settings, size and loss history."),
    "corpus": ("corpus", "List and build texts to train on."),
    "bench": ("bench", "Measure training and sampling speed on this machine."),
    "doctor": ("doctor", "Check this installation, and show how to fix problems."),
}


MAX_MESSAGE = 4_000
GONE = 'the current folder no longer exists: change to another one, for example: cd "$HOME"'
_REFUSED_WRITES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
_SPACE = {errno.ENOSPC: "; free some space, or write to another disk"}


HARD_HYPHEN = "\u2011"


class WholeWords(click.HelpFormatter):
    """Help whose lines never break after a hyphen, so that --hidden-size stays in one piece."""

    def write_text(self, text):
        super().write_text(text.replace("-", HARD_HYPHEN))

    def write_dl(self, rows, *arguments, **named):
        super().write_dl([(term, text.replace("-", HARD_HYPHEN)) for term, text in rows], *arguments, **named)

    def getvalue(self):
        return super().getvalue().replace(HARD_HYPHEN, "-")


class Context(click.Context):
    formatter_class = WholeWords


def _with_whole_words(command):
    command.context_class = Context
    for inner in getattr(command, "commands", {}).values():
        _with_whole_words(inner)
    return command


class LazyGroup(click.Group):
    """A group that knows its commands by name and imports one when it is called."""

    context_class = Context

    def list_commands(self, ctx):
        return [verb for verb, (module, _) in COMMANDS.items() if _exists(module)]

    def get_command(self, ctx, verb):
        if verb not in COMMANDS or not _exists(COMMANDS[verb][0]):
            return None
        return _with_whole_words(importlib.import_module(f"{__name__}.{COMMANDS[verb][0]}").command)

    def format_commands(self, ctx, formatter):
        with formatter.section("Commands"):
            formatter.write_dl([(verb, COMMANDS[verb][1]) for verb in self.list_commands(ctx)])


EPILOG = (
    "In your cache folder (~/.cache/charrnn on Linux), charrnn stores compiled code and the lines that you typed at "
    "the interactive prompt. The text that a command reads is also stored there, until the command ends. Set the "
    "environment variable CHARRNN_CACHE_DIR to use another folder."
)


@click.group(
    cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG
)
@click.version_option(charrnn.__version__, prog_name="charrnn")
@click.pass_context
def group(ctx):
    """Train, sample and look inside character-level recurrent networks.

    \b
    Example: charrnn train shakespeare.txt --minutes 5
             charrnn sample --temperature 0.8
    """
    if ctx.invoked_subcommand is None:
        click.echo(_greeting())


def _greeting():
    """Say what to type next: how to begin, or what can be done with the newest run."""
    from charrnn.runs.checkpoint.finding import newest_run

    lines = ["charrnn trains small neural networks that write text, one character at a time.", ""]
    run = newest_run()
    if run is None:
        lines += [
            "There is no run in this folder yet. Train a model on a text file of your own:",
            "  charrnn train FILE --minutes 5",
            "",
            "If you have no text, build one first:",
            "  charrnn corpus build shakespeare",
            "  charrnn train corpora/shakespeare.txt --minutes 5",
        ]
    else:
        lines += [
            f"The newest run is {run}. Next you can type:",
            "  write new text with it:       charrnn sample",
            "  see how good it is:           charrnn eval",
            "  see what its units follow:    charrnn cells --highlight",
            "  see its settings and losses:  charrnn info",
            "  train another model:          charrnn train FILE",
        ]
    lines += ["", "charrnn --help lists all commands,", "charrnn COMMAND --help lists the options of one command."]
    return "\n".join(lines)


def main(args=None):
    """Run the command line; return the exit code."""
    _replace_closed_streams()
    try:
        with _terminated_as_an_exit(), forgiven_pipes():
            code = group.main(args=args, prog_name="charrnn", standalone_mode=False)
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except CharRNNError as error:
        return _fail(GONE if _folder_is_gone() else str(error))
    except getattr(click.exceptions, "NoArgsIsHelpError", ()) as error:  # click before 8.2 prints the help itself
        click.echo(error.ctx.get_help())  # a group by itself, as `charrnn` by itself
        return 0
    except click.UsageError as error:
        from charrnn.cli.near import usage_message

        words = sys.argv[1:] if args is None else args
        named = f"charrnn {words[0]}" if words and words[0] in COMMANDS else "charrnn"
        command = named if error.ctx is None else error.ctx.command_path
        return _fail(f"{usage_message(error, words)} (see {command} --help)")
    except click.ClickException as error:
        return _fail(error.format_message())
    except (KeyboardInterrupt, click.Abort):
        return 130
    except MemoryError as error:
        why = f" ({error})" if str(error) else ""
        return _fail(f"this does not fit in memory{why}: {_smaller(args)}")
    except BrokenPipeError:  # the reader has enough: let nothing be written to it at exit either
        _abandon_stdout()
        return 0
    except OSError as error:
        if error.filename is None and error.errno in _REFUSED_WRITES and _stdout_refuses():
            _abandon_stdout()
            return _fail(
                f"cannot write to stdout: {(error.strerror or str(error)).lower()}{_SPACE.get(error.errno, '')}"
            )
        if error.errno == errno.ENOSPC:
            return _fail(f"the disk is full{_where(error)}{_SPACE[errno.ENOSPC]}")
        return _fail(GONE if _folder_is_gone() else f"{(error.strerror or str(error)).lower()}{_where(error)}")


def _folder_is_gone():
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


@contextlib.contextmanager
def _terminated_as_an_exit():
    """Let SIGTERM unwind the program as Ctrl-C does, so that a file half written is removed and no lock stays."""

    def stop(number, _frame):
        raise SystemExit(128 + number)

    try:
        ours = signal.getsignal(signal.SIGTERM) == signal.SIG_DFL  # what is ignored stays so
        if ours:
            signal.signal(signal.SIGTERM, stop)
    except ValueError:  # not in the main thread
        ours = False
    try:
        yield
    finally:
        if ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _replace_closed_streams():
    """Put the null device in the place of a stream that was closed before we started, as by `>&-` or a daemon.

    Python has None there, and the next file opened would get the stream's number and all that others write to it.
    """
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            mode = os.O_RDONLY if name == "stdin" else os.O_WRONLY
            descriptor = os.open(os.devnull, mode)
            if descriptor != number:
                os.dup2(descriptor, number)
                os.close(descriptor)
            setattr(
                sys,
                name,
                open(number, "r" if name == "stdin" else "w", encoding="utf-8", errors="replace", closefd=False),
            )


def _exists(module):
    return importlib.util.find_spec(f"{__name__}.{module}") is not None


def _fail(message):
    from charrnn.distributed.group import launched

    if launched()[0] > 0:  # of several processes the first one says what is wrong
        return 2
    # One line of bounded length, whatever a file's name or content puts into it.
    if len(message) > MAX_MESSAGE:
        message = f"{message[: MAX_MESSAGE // 2]} ... {message[-MAX_MESSAGE // 2 :]}"
    message = "".join(c if c.isprintable() else " " if c == "\n" else repr(c)[1:-1] for c in message)
    message = f"Error: {message}"
    try:
        from charrnn.cli.words import wrapped

        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()  # results come before what went wrong, also where both go into one file
        click.echo(wrapped(message, sys.stderr), err=True)
    except OSError:
        pass
    return 2


def _stdout_refuses():
    """Tell whether stdout is what refused to be written to: it does so again."""
    try:
        sys.stdout.write("\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        return True
    return False


def _smaller(args):
    """Say what takes less memory, by the options of the command that was called."""
    verb = next((each for each in (sys.argv[1:] if args is None else args) if each in COMMANDS), None)
    command = group.get_command(None, verb) if verb else None
    has = {name for parameter in command.params for name in parameter.opts} if command is not None else ()
    options = [name for name in ("--hidden-size", "--num-layers", "--batch-size", "--seq-length") if name in has]
    return f"lower {either(options)}" if options else "free some memory, or name less text or a smaller model"


def _where(error):
    return f", writing or reading {error.filename}" if error.filename else ""


def _abandon_stdout():
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):
        pass
