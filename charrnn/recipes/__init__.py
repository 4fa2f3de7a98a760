"""The named corpora: where each comes from, how it is cleaned, its licence, and the sha256 of the result.

A recipe makes one text in memory; `build_recipe` compares it with what is known of it and writes it whole or not at
all. No text travels with charrnn. This room knows files and downloads; it knows no vocabulary and no model.
"""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from charrnn.errors import RecipeError, nearest
from charrnn.files.storage import atomic_write, make_folder
from charrnn.recipes import arithmetic, constitution, latex, linux, names, phonemes, places, shakespeare, stdlib
from charrnn.recipes.reports import Reports, ignore

FOLDER = Path("corpora")


@dataclass(frozen=True)
class Recipe:
    """One named corpus. `make(source, work_folder, limit_bytes, reports)` returns its text as UTF-8 bytes."""

    name: str
    summary: str
    source: str
    licence: str
    cleaning: str
    make: Callable
    limit_bytes: int | None = None  # whole files up to this many bytes; None where all of it is taken
    sha256: str | None = None  # of the text, where its source is fixed
    size_bytes: int | None = None
    ending: str = "txt"  # of its file; "csv" and "tsv" hold records, whose fields the first row names

    @property
    def path(self):
        """Where it is written unless told otherwise."""
        return FOLDER / f"{self.name}.{self.ending}"


@dataclass(frozen=True)
class Built:
    """What `build_recipe` did. status is "written", "replaced" or "unchanged"."""

    path: Path
    status: str
    size_bytes: int
    distinct: int
    sha256: str


def _fixed(name, summary, module, ending):
    """Return the Recipe of a module whose text is known to the byte."""
    return Recipe(
        name,
        summary,
        module.SOURCE,
        module.LICENCE,
        module.CLEANING,
        module.make,
        sha256=module.SHA256,
        size_bytes=module.SIZE_BYTES,
        ending=ending,
    )


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            "shakespeare",
            "the 37 plays of Shakespeare",
            shakespeare.SOURCE,
            shakespeare.LICENCE,
            shakespeare.CLEANING,
            shakespeare.make_plays,
            sha256=shakespeare.PLAYS_SHA256,
            size_bytes=shakespeare.PLAYS_BYTES,
        ),
        Recipe(
            "tinyshakespeare",
            "the nine whole plays that char-rnn's tinyshakespeare was cut from",
            shakespeare.SOURCE,
            shakespeare.LICENCE,
            shakespeare.NINE_CLEANING,
            shakespeare.make_nine_plays,
            sha256=shakespeare.NINE_SHA256,
            size_bytes=shakespeare.NINE_BYTES,
        ),
        Recipe(
            "linux",
            "C source of the Linux kernel, from its folder kernel/",
            linux.SOURCE,
            linux.LICENCE,
            linux.CLEANING,
            linux.make,
            limit_bytes=linux.LIMIT_BYTES,
        ),
        Recipe(
            "latex",
            "LaTeX source of the HOL88 manuals, or of your own folder",
            latex.SOURCE,
            latex.LICENCE,
            latex.CLEANING,
            latex.make,
        ),
        Recipe(
            "python",
            "Python source of the standard library running here",
            stdlib.SOURCE,
            stdlib.LICENCE,
            stdlib.CLEANING,
            stdlib.make,
        ),
        _fixed("names", "first names of many languages, one per line", names, "txt"),
        _fixed("places", "names of places in ten countries, with the country", places, "csv"),
        _fixed("phonemes", "English words with their pronunciations", phonemes, "tsv"),
        _fixed("constitution-ko", "the constitution of the Republic of Korea, in Korean", constitution, "txt"),
        _fixed("arithmetic", "sums of numbers of up to four digits, with their results", arithmetic, "tsv"),
    )
}


def build_recipe(name, path=None, *, source=None, limit_bytes=None, force=False, say=ignore, progress=ignore):
    """Make the corpus `name` and write it to `path`, corpora/NAME.txt (or .csv, .tsv) unless told otherwise.

    Parameters
    ----------
    source : path-like, optional
        Take the material from here instead of fetching it.
    limit_bytes : int, optional
        Whole files up to this many bytes, for a recipe that has such a limit.
    force : bool
        Replace a file at `path` that holds something else.
    say : callable
        Told in a line what is going on.
    progress : callable
        Called with (what is being done, bytes done, of) while material is fetched and read; `of` is None where it is
        not known.

    Raises
    ------
    RecipeError
        There is no such recipe, its material cannot be had or is not what it should be, or `path` holds something else.
    StorageError
        The result cannot be written.
    """
    if name not in RECIPES:
        near = nearest(name, RECIPES)
        hint = f"the recipes are {', '.join(RECIPES)}" if near is None else f"did you mean {near!r}?"
        raise RecipeError(f"unknown recipe {name!r}: {hint}")
    recipe = RECIPES[name]
    if limit_bytes is not None and recipe.limit_bytes is None:
        raise RecipeError(f"{name} is always complete: leave --limit-bytes out")
    if limit_bytes is not None and limit_bytes < 1:
        raise RecipeError(f"--limit-bytes must be at least 1, got {limit_bytes:,}")
    path = recipe.path if path is None else Path(path)
    old = _digest_of_file(path)
    # A result that is known beforehand needs no download to be compared with what is there.
    if recipe.sha256 is not None and source is None and old is not None:
        if old == recipe.sha256:
            return _built(path, "unchanged", path.read_bytes())
        if not force:
            raise _taken(path)
    with tempfile.TemporaryDirectory(prefix="charrnn-recipe-") as work_folder:
        text = recipe.make(source, Path(work_folder), limit_bytes or recipe.limit_bytes, Reports(say, progress))
    digest = hashlib.sha256(text).hexdigest()
    if recipe.sha256 is not None and digest != recipe.sha256:
        raise RecipeError(
            f"{name} has sha256 {digest}, but {recipe.sha256} was expected, so nothing was written: please report "
            "this as a bug of the recipe"
        )
    if digest == old:
        return _built(path, "unchanged", text)
    if old is not None and not force:
        raise _taken(path)
    make_folder(path.parent)
    atomic_write(path, text)
    return _built(path, "written" if old is None else "replaced", text)


def _digest_of_file(path):
    """Return the sha256 of the file at `path`, None where there is nothing."""
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RecipeError(
            f"{path} already exists ({(error.strerror or str(error)).lower()}): choose another file with --output"
        ) from None


def _built(path, status, text):
    return Built(path, status, len(text), len(set(text.decode("utf-8"))), hashlib.sha256(text).hexdigest())


def _taken(path):
    return RecipeError(
        f"{path} exists with other content: replace it with --force, or choose another file with --output"
    )
