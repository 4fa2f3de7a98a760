"""Lines that are typed at a prompt, with the terminal's own line editor and a history, or that come from a pipe."""

import contextlib
import os
import sys

MAX_HISTORY = 1_000  # lines
PROMPT = "> "


class TypedLines:
    """Where the lines of a prompt come from.

    is_typed    whether somebody sits at a terminal; else the lines come from a file or a pipe
    """

    def __init__(self, stdin):
        self._stdin = stdin
        self.is_typed = stdin.isatty()
        self._readline = self._history = None

    def edit(self, complete):
        """Let lines be edited where the terminal can do that, and remembered.

        complete    a function of a line that is begun; returns how its last word may end, a list
        """
        if hasattr(self._stdin, "reconfigure"):
            self._stdin.reconfigure(errors="surrogateescape")
        try:
            import readline
        except ImportError:  # a Python that was built without: lines are typed as the terminal takes them
            return
        self._readline = readline
        readline.set_history_length(MAX_HISTORY)
        readline.set_completer_delims(" ")
        readline.set_completer(lambda _word, state: dict(enumerate(complete(readline.get_line_buffer()))).get(state))
        is_libedit = "libedit" in (readline.__doc__ or "")
        readline.parse_and_bind("bind ^I rl_complete" if is_libedit else "tab: complete")
        self._history = _history_file()
        if self._history is not None:
            with contextlib.suppress(OSError):
                readline.read_history_file(self._history)

    def read(self):
        """Return the next line without its end, None after the last one. Raises KeyboardInterrupt."""
        if not self.is_typed:
            line = self._stdin.buffer.readline().decode("utf-8", "surrogateescape")
            return line.removesuffix("\n").removesuffix("\r") if line else None
        if not sys.stdout.isatty():  # a prompt in the file that is written would be part of the text
            sys.stderr.write(PROMPT)
            sys.stderr.flush()
            line = self._stdin.readline()
            return line.removesuffix("\n") if line else None
        known = 0 if self._readline is None else self._readline.get_current_history_length()
        try:
            line = input(PROMPT)
        except EOFError:
            return None
        if self._readline is not None and self._history is not None:
            new = self._readline.get_current_history_length() - known
            if new > 0 and hasattr(self._readline, "append_history_file"):
                with contextlib.suppress(OSError):  # at once: a terminal that is closed ends the program
                    self._readline.append_history_file(new, self._history)
        return line

    def was_begun(self):
        """Say whether the line that Ctrl-C has just ended held something; without the editor nobody knows: False."""
        return self._readline is not None and bool(self._readline.get_line_buffer())


def _history_file():
    """Return the file of what was typed before, made if it is not there; None where it cannot be kept."""
    from charrnn.files.cache import cache_root

    root = cache_root()
    if root is None:
        return None
    path = root / "history"
    try:
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0), 0o600))
    except OSError:
        return None
    return path
