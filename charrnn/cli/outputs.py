"""The files that a command writes by name, such as `eval --html`: one rule for what may be replaced.

    outputs = Outputs(options, "html", "png")    before anything is read: the names themselves
    outputs.protect(text, opened)                before the long work: the texts that are read
    path = outputs.path("html")                  before writing: all of that again

A file that charrnn did not write is replaced only with --force. A page, a picture or an exported model of its own, by
its mark, may always be, and so may an empty file. Never replaced, whatever is said: a text that is being read, a
checkpoint, a file that belongs to a run or a sweep, and what is not a regular file.

An option may write a second file beside its own, named like it but for its ending. The same rules hold for that one:

    Outputs(options, "torch", beside={"torch": ".safetensors"});  outputs.path_beside("torch")
"""

import contextlib
import glob
import os
import shlex
import stat
from pathlib import Path

import click

from charrnn.cli.words import note, shorter
from charrnn.errors import CharRNNError, ConfigError

EXAMPLES = {
    "html": "page.html",
    "png": "picture.png",
    "svg": "drawing.svg",
    "onnx": "model.onnx",
    "torch": "model.py",
    "output": "corpora/text.txt",
}


def file_option(name, help):
    """Make the click option of a file that a command writes by name."""
    return click.option(f"--{name}", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help=help)


def force_option(*names):
    """Make the click option --force of a command that writes files by these options."""
    written = " or ".join(f"--{name}" for name in names)
    return click.option("--force", is_flag=True, help=f"Allow {written} to replace a file that charrnn did not write.")


class Outputs:
    """The files that a command was asked to write. Raises ConfigError for one that must not be replaced.

    options        {name: path or None, "force": bool}
    names          of the options that name a file to write
    makes_folders  whether folders that are missing are made
    beside         {name: ending of the second file that the option writes}
    """

    def __init__(self, options, *names, makes_folders=False, beside=None):
        self._named = {name: options[name] for name in names if options[name] is not None}
        self._endings = beside or {}
        self._force, self._makes_folders = options["force"], makes_folders
        self._texts = []
        if self._force and not self._named:
            written = " or ".join(f"--{name} FILE" for name in names)
            raise ConfigError(
                f"--force has no effect without a file to write: add {written}, or leave it out", ["force"]
            )
        for name in self._named:
            self._check(name)
        self._check_apart()

    def __bool__(self):
        return bool(self._named)

    def protect(self, text, opened=None):
        """Refuse to replace what is read from now on: a TEXT, None where none is named, and the text of a run.

        opened    the OpenedModel of the run, if there is one
        """
        if not self._named:
            return
        self._texts += [] if text is None else [os.fspath(text)]
        if opened is not None:
            self._texts += _texts_of(opened.checkpoint.training, opened.path.parent)
        for name in self._named:
            self._check(name)

    def protect_run(self, training, folder):
        """Refuse to replace the text of a run, though it is not read: without it the run could not go on.

        training    the record of it in a checkpoint
        """
        if self._named:
            self._texts += _texts_of(training, folder)
            for name in self._named:
                self._check(name)

    def named(self, name):
        """Return the file of an option as the user named it, None where it is not asked for."""
        return self._named.get(name)

    def path(self, name):
        """Return where to write the file of an option, after a last look at what is there; None where not asked for."""
        return self._check(name) if name in self._named else None

    def path_beside(self, name):
        """Return where to write the second file of an option, after a last look at what is there."""
        return self._check_one(name, self._beside(name))

    def write(self, name, write, *content):
        """Write the file of an option by write(path, *content), where it is asked for, and say so."""
        if path := self.path(name):
            write(path, *content)
            note(f"wrote {self.named(name)}")

    def _beside(self, name):
        """Return the second file of an option, named like the first."""
        return self._named[name].with_suffix(self._endings[name])

    def _check(self, name):
        """Return where the file of an option is to be written: behind a link, where the link leads."""
        real = self._check_one(name, self._named[name])
        if name in self._endings:
            if self._named[name].suffix == self._endings[name]:
                raise self._refusal(name, "is the name of a file that is written with it", elsewhere=True)
            self._check_one(name, self._beside(name))
        return real

    def _check_one(self, name, named):
        """Return where one of the files of an option, as it is named, is to be written."""
        if str(named) == "-":
            raise ConfigError(
                f"--{name} - would mix with the results on stdout: name a file, as in {_example(name)}", [name]
            )
        real = Path(os.path.realpath(named))
        try:
            status = os.stat(real)
        except FileNotFoundError:
            status = None
        except OSError as error:
            from charrnn.files.storage import storage_error

            raise storage_error(error, named) from error
        if not self._makes_folders:
            if not real.parent.is_dir():
                raise ConfigError(
                    f"--{name} {named}: the folder {shorter(real.parent)} does not exist; create it first", [name]
                )
            if not os.access(real.parent, os.W_OK | os.X_OK):
                raise self._refusal(name, "is in a folder that you are not allowed to write to", named, elsewhere=True)
        if _belongs_to_a_run(real):
            where = f"is a file of the run or the sweep in {named.absolute().parent}"
            raise self._refusal(name, where, named, elsewhere=True)
        if status is None:
            return real
        if not stat.S_ISREG(status.st_mode):
            raise self._refusal(name, "is not a regular file", named, elsewhere=True)
        if any(_is_open_on(descriptor, status) for descriptor in (1, 2)):
            raise self._refusal(name, "is the file that stdout goes to", named)
        for text in self._texts:
            if why := _reads(text, real, status):
                raise self._refusal(name, f"{why} and is not replaced", named)
        if _is_checkpoint(real):
            raise self._refusal(name, "is a checkpoint", named)
        from charrnn.files.marks import has_mark

        if status.st_size and not self._force and not has_mark(real):
            raise self._refusal(name, "exists, and charrnn did not write it", named, force=True)
        return real

    def _check_apart(self):
        places = {}
        for name, named in self._named.items():
            for one in (named, *([self._beside(name)] if name in self._endings else [])):
                other = places.setdefault(os.path.realpath(one), name)
                if other != name:
                    raise ConfigError(f"--{other} and --{name} both write {one}: give each its own file", [other, name])

    def _refusal(self, name, why, refused=None, force=False, elsewhere=False):
        """Return the ConfigError that says why a file is not written, and what to write in its place.

        refused    the file, where it may be the second one of the option
        """
        named = self._named[name]
        remedy = f"choose another file, as in {_example(name, None if elsewhere else named, self._endings.get(name))}"
        if force:
            remedy = f"add --force to replace it, or {remedy}"
        what = f"--{name} {named}" if refused in (None, named) else f"--{name} {named} also writes {refused}, which"
        return ConfigError(f"{what} {why}: {remedy}", [name])


def _example(name, beside=None, ending=None):
    """Return an option with a file that is not there: beside another one and named like it, where that is given.

    ending    of the second file of the option, which is not there either
    """
    like = Path(EXAMPLES[name])
    if beside is not None:
        like = beside.with_suffix(like.suffix)
    free, number = like, 1
    while os.path.lexists(free) or ending is not None and os.path.lexists(free.with_suffix(ending)):
        number += 1
        free = like.with_stem(f"{like.stem}-{number}")
    return f"--{name} {shlex.quote(str(free))}"


def _texts_of(training, folder):
    """Return the texts of a run; none where they are gone, as whoever reads them will say."""
    from charrnn.training.provenance import NAME_ANOTHER, find_texts, find_validation

    texts = []
    with contextlib.suppress(CharRNNError):
        texts += find_texts(training, folder)
    with contextlib.suppress(CharRNNError):
        texts += filter(None, [find_validation(training, folder, NAME_ANOTHER)])
    return texts


def _belongs_to_a_run(path):
    """Say whether a path, there or not, is that of a file which a run or a sweep keeps in its folder."""
    from charrnn.files.own import RESULTS_CSV, RESULTS_JSON, SPEC
    from charrnn.runs.names import BEST, CONFIG, GOOD, LAST, LOCK, LOG, SNAPSHOT

    checkpoints, of_a_sweep = (LAST, BEST, GOOD), (SPEC, RESULTS_JSON, RESULTS_CSV)
    if path.name in (*checkpoints, CONFIG, LOG, LOCK) or SNAPSHOT.fullmatch(path.name):
        if any((path.parent / name).exists() for name in checkpoints):
            return True
    return path.name in (*of_a_sweep, LOCK) and all((path.parent / name).exists() for name in of_a_sweep[:2])


def _is_checkpoint(path):
    """Say whether a file is a checkpoint, by its name or by how it begins; weights that charrnn exported are none."""
    from charrnn.files.marks import has_mark

    if path.suffix == ".safetensors":
        return not has_mark(path)
    try:
        with open(path, "rb") as file:
            return file.read(64)[8:].startswith(b'{"__metadata__":{"charrnn":')
    except OSError:
        return False


def _is_open_on(descriptor, status):
    try:
        return os.path.samestat(os.fstat(descriptor), status)
    except OSError:
        return False


def _reads(text, path, status):
    """Return how reading `text` reads the file at `path`, "" where it does not.

    text      as `read_corpus` takes it
    status    of the file, by which it is known under any of its names
    """
    from charrnn.files.marks import has_mark

    if text == "-":
        return "is the text on stdin" if _is_open_on(0, status) else ""
    text = os.path.expanduser(text)
    is_text = "is a text that this command reads"
    if not os.path.exists(text):
        files = glob.glob(text, recursive=True)
    elif os.path.isdir(text):
        if path.is_relative_to(os.path.realpath(text)) and not has_mark(path):
            return f"is in {text}, which this command reads,"
        files = (os.path.join(folder, name) for folder, _, names in os.walk(text) for name in names)
    else:
        return is_text if _is_same(text, status) else ""
    # Pages and pictures of charrnn's own are left out of folders and patterns.
    return is_text if any(_is_same(file, status) for file in files) and not has_mark(path) else ""


def _is_same(path, status):
    try:
        return os.path.samestat(os.stat(path), status)
    except OSError:
        return False
