"""Fetching with the tools a machine has, pip and apt-get, into a folder that the caller throws away."""

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from charrnn.errors import RecipeError
from charrnn.recipes.reports import ignore

TIMEOUT_S = 1800  # a kernel's source over a slow line
TELL_S = 0.2  # between two reports of how much has come


def pip_download(requirement, folder, remedy, progress=ignore, size_bytes=None):
    """Download one wheel, without what it depends on, and return its path.

    progress    called with (what is being done, bytes done, of), as by the other downloads
    size_bytes  of the wheel, if it is known
    """
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
        _tells_size(folder, "*.whl", progress, f"fetching {requirement}", size_bytes),
        {"TMPDIR": str(folder)},  # where pip puts a wheel while it comes
    )
    return _only(folder, "*.whl", f"pip downloaded no wheel of {requirement}", remedy)


def apt_download(package, folder, remedy, progress=ignore):
    """Download a Debian package and return the path of its .deb."""
    apt_get = _tool("apt-get", f"the Debian package {package}", remedy)
    _run(
        [apt_get, "download", "-qq", package],
        folder,
        f"apt-get could not fetch {package}",
        remedy,
        None,
        _tells_size(folder, "*.deb", progress, f"fetching {package}", _apt_size(package)),
    )
    return _only(folder, "*.deb", f"apt-get downloaded no {package}", remedy)


def apt_newest(prefix, remedy):
    """Return the name of the newest Debian package whose name is `prefix` and a version, as linux-source-6.1."""
    output = _run(
        [_tool("apt-cache", f"a Debian package {prefix}*", remedy), "pkgnames", prefix],
        None,
        f"apt-cache could not search for {prefix}*",
        remedy,
    )
    found = [name for name in output.split() if re.fullmatch(r"[0-9][0-9.]*", name.removeprefix(prefix))]
    if not found:
        raise RecipeError(f"apt has no package {prefix}*: run apt-get update, or {remedy}")
    return max(found, key=lambda name: [int(part) for part in re.findall(r"[0-9]+", name.removeprefix(prefix))])


def apt_source(package, folder, remedy, progress=ignore):
    """Download a Debian source package and return the path of its upstream tarball."""
    apt_get = _tool("apt-get", f"the Debian source package {package}", remedy)
    _run(
        [apt_get, "source", "-qq", "--download-only", package],
        folder,
        f"apt-get could not fetch the source of {package}",
        remedy,
        {"deb-src": "apt has no source packages: add deb-src to its list and run apt-get update"},
        _tells_size(folder, "*.tar.*", progress, f"fetching {package}", None),
    )
    return _only(folder, "*.tar.*", f"apt-get downloaded no source of {package}", remedy, prefer=".orig.")


def check_sha256(path, sha256, what):
    """Refuse a file that is not the one the recipe was written for."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != sha256:
        raise RecipeError(
            f"{what} must have sha256 {sha256}, but {path} has {digest}: download it again from a source you trust"
        )


def _tool(name, what, remedy):
    path = shutil.which(name)
    if path is None:
        raise RecipeError(f"{what} needs {name}, which is not installed: {remedy}")
    return path


def _apt_size(package):
    """Return the size of a Debian package in bytes, None where apt-cache does not say."""
    try:
        output = _run([_tool("apt-cache", package, ""), "show", "--no-all-versions", package], None, "", "")
    except RecipeError:
        return None
    size = re.search(r"^Size: ([0-9]+)$", output, re.MULTILINE)
    return int(size[1]) if size else None


def _tells_size(folder, pattern, progress, what, of):
    """Return a function that reports how much of a download has come into the folder."""

    def tell():
        sizes = {}
        for path in Path(folder).rglob(pattern):
            with contextlib.suppress(OSError):  # it has been moved meanwhile
                sizes[path.name] = path.stat().st_size  # by name: a file that is being moved is there twice
        progress(what, sum(sizes.values()), of)

    return tell


def _run(command, folder, failure, remedy, hints=None, tell=ignore, environ=None):
    """Run a tool in `folder`; return what it says, or raise RecipeError with its last word.

    tell       called now and then while it runs
    environ    what its environment has beside ours
    """
    deadline_s = time.monotonic() + TIMEOUT_S
    try:
        with subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C", **(environ or {})},
        ) as tool:
            try:
                while (output := _output(tool)) is None:
                    tell()
                    if time.monotonic() > deadline_s:
                        raise RecipeError(f"{failure} within {TIMEOUT_S // 60} minutes: {remedy}")
            except BaseException:
                tool.kill()
                raise
    except OSError as error:
        raise RecipeError(f"{failure} ({(error.strerror or str(error)).lower()}): {remedy}") from None
    if tool.returncode == 0:
        return output
    for sign, hint in (hints or {}).items():
        if sign in output:
            raise RecipeError(f"{failure}, {hint}, or {remedy}")
    raise RecipeError(f"{failure} ({_last_word(output)}): {remedy}")


def _output(tool):
    """Return what a tool has said when it has ended, None if it is still at work after a moment."""
    try:
        return tool.communicate(timeout=TELL_S)[0]
    except subprocess.TimeoutExpired:
        return None


def _last_word(output):
    """Return the line of a tool's output that says most about its failure, short and printable."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith(("ERROR:", "E:"))]
    line = (errors or lines or ["it printed no message"])[-1].removeprefix("ERROR:").removeprefix("E:").strip()
    line = "".join(character if character.isprintable() else "?" for character in line)
    return line if len(line) <= 160 else line[:157] + "..."


def _only(folder, pattern, failure, remedy, prefer=""):
    found = sorted(Path(folder).glob(pattern), key=lambda path: (prefer not in path.name, path.name))
    if not found:
        raise RecipeError(f"{failure}: {remedy}")
    return found[0]
