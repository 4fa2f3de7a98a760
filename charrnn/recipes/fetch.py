"""Fetching with the tools a machine has, pip and apt-get, into a folder that the caller throws away."""

import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from charrnn.errors import RecipeError

TIMEOUT_S = 1800  # a kernel's source over a slow line


def pip_download(requirement, folder, remedy):
    """Download one wheel, without what it depends on, and return its path."""
    # Isolated from the current folder: a user's own pip.py there must not be run.
    _run(
        [
            sys.executable,
            "-P",
            "-m",
            "pip",
            "download",
            "--no-deps",
            "--only-binary",
            ":all:",
            "--no-input",
            "--quiet",
            "--disable-pip-version-check",
            "--retries",
            "2",
            "--timeout",
            "20",
            "--dest",
            str(folder),
            requirement,
        ],
        folder,
        f"pip could not fetch {requirement}",
        remedy,
        {"No module named pip": "this Python has no pip: install it with python -m ensurepip"},
    )
    return _only(folder, "*.whl", f"pip brought no wheel of {requirement}", remedy)


def apt_download(package, folder, remedy):
    """Download a Debian package and return the path of its .deb."""
    apt_get = _tool("apt-get", f"the Debian package {package}", remedy)
    _run([apt_get, "download", "-qq", package], folder, f"apt-get could not fetch {package}", remedy)
    return _only(folder, "*.deb", f"apt-get brought no {package}", remedy)


def apt_newest(prefix, remedy):
    """Return the name of the newest Debian package whose name is `prefix` and a version, as linux-source-6.1."""
    output = _run(
        [_tool("apt-cache", f"a Debian package {prefix}*", remedy), "pkgnames", prefix],
        None,
        f"apt-cache could not look for {prefix}*",
        remedy,
    )
    found = [name for name in output.split() if re.fullmatch(r"[0-9][0-9.]*", name.removeprefix(prefix))]
    if not found:
        raise RecipeError(f"apt knows no package {prefix}*: run apt-get update, or {remedy}")
    return max(found, key=lambda name: [int(part) for part in re.findall(r"[0-9]+", name.removeprefix(prefix))])


def apt_source(package, folder, remedy):
    """Download a Debian source package and return the path of its upstream tarball."""
    apt_get = _tool("apt-get", f"the Debian source package {package}", remedy)
    _run(
        [apt_get, "source", "-qq", "--download-only", package],
        folder,
        f"apt-get could not fetch the source of {package}",
        remedy,
        {"deb-src": "apt knows no sources: add deb-src to its list and run apt-get update"},
    )
    return _only(folder, "*.tar.*", f"apt-get brought no source of {package}", remedy, prefer=".orig.")


def check_sha256(path, sha256, what):
    """Refuse a file that is not the one the recipe was written for."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise RecipeError(
            f"{what} must have sha256 {sha256}, {path} has {digest}: fetch it again from a source you trust"
        )


def _tool(name, what, remedy):
    path = shutil.which(name)
    if path is None:
        raise RecipeError(f"{what} needs {name}, which is not here: {remedy}")
    return path


def _run(command, folder, failure, remedy, hints=None):
    """Run a tool in `folder`; return what it says, or raise RecipeError with its last word."""
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=TIMEOUT_S,
            env={**os.environ, "LC_ALL": "C"},
        )
    except OSError as error:
        raise RecipeError(f"{failure} ({(error.strerror or str(error)).lower()}): {remedy}") from None
    except subprocess.TimeoutExpired:
        raise RecipeError(f"{failure} within {TIMEOUT_S // 60} minutes: {remedy}") from None
    if done.returncode == 0:
        return done.stdout
    for sign, hint in (hints or {}).items():
        if sign in done.stdout:
            raise RecipeError(f"{failure}, {hint}, or {remedy}")
    raise RecipeError(f"{failure} ({_last_word(done.stdout)}): {remedy}")


def _last_word(output):
    """Return the line of a tool's output that says most about its failure, short and printable."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "E:"))]
    line = (errors or lines or ["it says nothing"])[-1].removeprefix("ERROR:").removeprefix("E:").strip()
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= 160 else line[:157] + "..."


def _only(folder, pattern, failure, remedy, prefer=""):
    found = sorted(Path(folder).glob(pattern), key=lambda path: (prefer not in path.name, path.name))
    if not found:
        raise RecipeError(f"{failure}: {remedy}")
    return found[0]
