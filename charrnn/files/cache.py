"""Where charrnn keeps what it can make again, compiled kernels and the ids of a text while it is open, and what may be
lost, the history of a prompt.

The one place that decides it. Nothing here creates a folder or looks into one: each caller has rules of its own for
what it trusts.
"""

import os
import tempfile
from pathlib import Path

import platformdirs


def cache_root():
    """Return the folder for everything cached, absolute; it need not exist. None where the system names none.

    That is CHARRNN_CACHE_DIR if it is set, with `~` expanded, and a relative path taken from the current folder; the
    home of a user who does not exist, `~nobody-like-this/cache`, counts as not set: it would be a folder named `~...`.
    Otherwise it is the system's folder for caches: $XDG_CACHE_HOME/charrnn or ~/.cache/charrnn on Linux, where a
    relative XDG_CACHE_HOME is ignored, as the XDG specification says; ~/Library/Caches/charrnn on macOS; the local
    AppData on Windows.
    """
    chosen = os.path.expanduser(os.environ.get("CHARRNN_CACHE_DIR", ""))
    if chosen and not chosen.startswith("~"):
        return Path(os.path.abspath(chosen))
    try:
        folder = platformdirs.user_cache_dir("charrnn", appauthor=False)
        if not os.path.isabs(folder):  # older platformdirs take a relative XDG_CACHE_HOME
            folder = os.path.join(os.path.expanduser("~"), ".cache", "charrnn")
    except RuntimeError:  # no home folder at all
        return None
    return Path(folder) if os.path.isabs(folder) else None


def temporary_root():
    """Return the system's folder for temporary files, for when `cache_root` cannot be used; None if there is none."""
    try:
        return Path(tempfile.gettempdir())
    except OSError:
        return None


def cache_roots():
    """Yield the folders that may hold what outlives this process, best first."""
    if root := cache_root():
        yield root
    if root := temporary_root():
        owner = os.getuid() if hasattr(os, "getuid") else os.environ.get("USERNAME", "user")
        yield root / f"charrnn-{owner}"
