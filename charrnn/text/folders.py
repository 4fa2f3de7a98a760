"""Which files a text is made of: files, folders, globs, stdin.

What charrnn itself wrote is left out of folders and globs: run folders, those of sweeps, the folder of runs, pages and
pictures. Otherwise a run in the folder of its own text would change that text. A file that is named itself is always
taken.
"""

import glob
import os
import stat
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from charrnn.errors import CorpusError, counted
from charrnn.files.own import is_own_file, is_own_folder
from charrnn.text.kinds import why_not_text
from charrnn.text.sources import SNIFF_BYTES, absolute, made_text, open_source, read_block, unreadable

MAX_NAMED = 3  # paths that a sentence lists


class Found(NamedTuple):
    """The files of a text in their order, and the paths of what charrnn wrote itself, which were left out."""

    files: list
    own: list


def find_files(sources, mode, encoding, notes):
    """Return what `sources` name, as Found; `notes` gets what the user should be told."""
    if not sources:
        raise CorpusError("no text given: name a file, a folder, or - for stdin")
    files, own = [], []
    for source in sources:
        if source == "-":
            files.append("-")
            continue
        path = os.path.expanduser(source)
        try:
            status = os.stat(path)
        except (OSError, ValueError) as error:
            found = _glob_files(path, error, notes)
        else:
            if stat.S_ISDIR(status.st_mode):
                found = _folder_files(path, mode, encoding, notes, alone=len(sources) == 1)
            else:
                found = Found([path], [])
        files.extend(found.files)
        own.extend(found.own)
    if files.count("-") > 1:
        raise CorpusError("- is named more than once: stdin can be read only once")
    if not files:
        raise CorpusError(f"the {len(sources)} folders contain no text ({_left_out(own)}): name your texts")
    for path, times in Counter(map(absolute, files)).items():
        if times > 1:
            notes.append(
                f"{path} is read {times} times; a repeated text makes the validation loss look better than it is"
            )
    return Found(files, own)


def _glob_files(pattern, error, notes):
    """Return the files that match `pattern`, sorted; `error` is why it is no file itself."""
    if not glob.has_magic(pattern):
        raise unreadable(pattern, error)
    matches = sorted(glob.glob(pattern, recursive=True))
    files = [match for match in matches if not os.path.isdir(match)]
    if not files:
        what = "only folders: name the folders themselves" if matches else "nothing: check the path and the pattern"
        raise CorpusError(f"the pattern {pattern} matches {what}")
    parts = Path(pattern).parts
    fixed = next(at for at, part in enumerate(parts) if glob.has_magic(part))
    homes = {}  # path of a folder -> what of it is charrnn's own, itself or the folder that it is in; None

    def home(folder):
        if folder not in homes:
            above = Path(*folder.parts[:-1]) if len(folder.parts) > fixed + 1 else None
            own = home(above) if above is not None else None
            homes[folder] = own or (str(folder) if len(folder.parts) > fixed and is_own_folder(folder) else None)
        return homes[folder]

    texts, own = [], []
    for file in files:
        left_out = home(Path(file).parent) or (file if is_own_file(file) else None)
        if left_out is None:
            texts.append(file)
        elif left_out not in own:
            own.append(left_out)
    if not texts:
        raise CorpusError(
            f"the pattern {pattern} only matches {_listed(own)}, which charrnn itself wrote: name your texts"
        )
    if own:
        notes.append(f"{pattern}: {_left_out(own)}")
    return Found(texts, own)


def _folder_files(folder, mode, encoding, notes, alone):
    """Return the texts in `folder` and below, sorted by path, as Found; say what was skipped.

    alone   it is all that was named: then it must hold a text
    """

    def refuse(error):
        raise unreadable(error.filename or folder, error)

    found, own, hidden, binary, links = [], [], 0, 0, 0
    for parent, folders, names in os.walk(folder, onerror=refuse):
        visible = [name for name in folders if not name.startswith(".")]
        hidden += len(folders) - len(visible)
        folders[:] = []  # os.walk goes down only where this says
        for name in visible:
            path = os.path.join(parent, name)
            if is_own_folder(path):
                own.append(os.path.relpath(path, folder))
            elif os.path.islink(path):
                links += 1
            else:
                folders.append(name)
        for name in names:
            path = os.path.join(parent, name)
            if name.startswith("."):
                hidden += 1
            elif not os.path.isfile(path):  # a pipe, a socket, a link to nothing
                binary += 1
            elif is_own_file(path):
                own.append(os.path.relpath(path, folder))
            else:
                found.append(path)
    texts, convertible = [], []
    for path in sorted(found, key=lambda path: Path(path).parts):
        kind = _why_not_text(path, encoding) if mode == "chars" else None
        if kind is None:
            texts.append(path)
            continue
        binary += 1
        if kind.command or kind.encoding:
            convertible.append((path, kind))
    skipped = [f"{count:,} {kind}" for count, kind in ((hidden, "hidden"), (binary, "binary or special")) if count]
    said = [f"skipped {' and '.join(skipped)} {'file' if hidden + binary == 1 else 'files'}"] if skipped else []
    if links:
        said.append(f"did not follow {counted(links, 'link')} to {'a folder' if links == 1 else 'folders'}")
    if own:
        own.sort()
        said.append(_left_out(own))
    said = "; ".join(said)
    if not texts and (alone or not own):
        remedy = "name a folder with text files, or the files themselves"
        if convertible:
            remedy = f"{_convertible(*convertible[0])}, and so on" if convertible[1:] else _convertible(*convertible[0])
        raise CorpusError(f"the folder {folder} contains no text{f' ({said})' if said else ''}: {remedy}")
    if said:
        notes.append(f"{folder}: {said}")
    notes.extend(f"skipped: {_convertible(path, kind)}" for path, kind in convertible[:MAX_NAMED])
    if more := [path for path, _ in convertible[MAX_NAMED:]]:
        notes.append(f"also skipped, but can be converted to text: {_listed(more)}")
    return Found(texts, [os.path.join(folder, path) for path in own])


def _why_not_text(path, encoding):
    with open_source(path) as file:
        return why_not_text(read_block(file, path, SNIFF_BYTES), encoding)


# ---- words -----------------------------------------------------------------------------------------------------------


def _convertible(path, kind):
    command = made_text(path, kind)
    return f"{path} is {kind.what}" + (f"; convert it to text with: {command}" if command else "")


def _left_out(own):
    return f"skipped files that charrnn itself wrote ({_listed(own)})"


def _listed(paths):
    more = len(paths) - MAX_NAMED
    return ", ".join(paths[:MAX_NAMED]) + (f" and {more:,} more" if more > 0 else "")
