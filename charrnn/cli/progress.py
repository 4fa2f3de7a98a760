"""How long something takes, on stderr: a bar for what is measured, and a word before kernels are compiled.

The display of a training run is display.py's.
"""

import contextlib
import os
import sys

COMPILING = (
    "compiling kernels for this CPU and kind of model, about 10 s; they are kept, and the next start takes a second"
)


@contextlib.contextmanager
def progress_bar():
    """Yield a function of (what is being done, done, of): one bar on a terminal, nothing elsewhere."""
    if not sys.stderr.isatty() or os.environ.get("TERM") == "dumb":
        yield lambda what, done, of: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.percentage:3.0f}%"),
        console=Console(stderr=True),
        transient=True,
    ) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda what, done, of: bar.update(task, description=f"{what:24}", completed=done / of)


def announce_compilation(say):
    """Call `say` with a sentence, once, when a kernel must be compiled: the one thing that makes a start take long.

    Return a function that takes it back.
    """
    from charrnn.kernels.compiled import COMPILE_LISTENERS

    def listener(_name):
        forget()
        say(COMPILING)

    def forget():
        if listener in COMPILE_LISTENERS:
            COMPILE_LISTENERS.remove(listener)

    COMPILE_LISTENERS.append(listener)
    return forget
