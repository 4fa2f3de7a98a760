"""A reader that has enough, as `| head` has: what it no longer reads is dropped, and the command goes on to its end.

So files beside the output are written whole, and the exit code says how the command went, not who listened.
"""

import contextlib
import io
import os
import sys


@contextlib.contextmanager
def forgiven_pipes():
    """Let nothing written to stdout and stderr in this context raise BrokenPipeError, but see `heed_reader`."""
    own = {}
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if os.name == "posix" and stream is getattr(sys, f"__{name}__") and stream is not None:
            stream.flush()
            own[name] = stream, _forgiving(stream)
            setattr(sys, name, own[name][1])
    try:
        yield
        for _, ours in own.values():
            ours.flush()
    finally:
        for name, (stream, ours) in own.items():
            setattr(sys, name, stream)
            _drop(ours)


def heed_reader():
    """Let BrokenPipeError be raised for stdout after all: for a command that may write without end."""
    raw = getattr(getattr(sys.stdout, "buffer", None), "raw", None)
    if isinstance(raw, _Pipe):
        raw.forgives = False


def _forgiving(stream):
    """Return a text stream like `stream`, to the same place."""
    raw = _Pipe(stream.fileno(), "wb", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering or raw.isatty(),
        write_through=stream.write_through,
    )


def _drop(stream):
    """Be done with a stream of `_forgiving`: what could not be written until now is not tried again at exit."""
    try:
        stream.flush()
    except OSError:
        stream.buffer.raw.dropping = True
        stream.flush()
    stream.detach()


class _Pipe(io.FileIO):
    """A file whose reader may leave: from then on the null device is in its place, also for what C code writes."""

    forgives, dropping = True, False

    def write(self, data):
        if self.dropping:
            return len(data)
        try:
            return super().write(data)
        except BrokenPipeError:
            if not self.forgives:
                raise
            null = os.open(os.devnull, os.O_WRONLY)
            os.dup2(null, self.fileno())
            os.close(null)
            return len(data)
