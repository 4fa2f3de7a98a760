"""LaTeX source: the manuals of HOL88, a theorem prover, from Debian's source package; or any folder of .tex files."""

from charrnn.errors import RecipeError
from charrnn.recipes.fetch import apt_source
from charrnn.recipes.trees import as_utf8, joined, read_tree

PACKAGE = "hol88"
SOURCE = "--from a folder or tarball of .tex files; or Debian's source package hol88"
LICENCE = "hol88: public domain; your own folder: yours"
CLEANING = "*.tex sorted by path; files that are not UTF-8 are read as ISO-8859-1"
REMEDY = "name a folder of .tex files, or a tarball, with --from"


def make(source, work_folder, limit_bytes, reports):
    """Return the .tex files, one after the other."""
    if source is None:
        reports.say(f"fetching the source of {PACKAGE} with apt-get")
        source = apt_source(PACKAGE, work_folder, REMEDY, reports.progress)
    reports.say(f"reading {source}")
    files = read_tree(source, lambda path: path.endswith(".tex"), reports.progress)
    text = joined(as_utf8(files[path]) for path in sorted(files, key=lambda path: path.split("/")))
    if not text:
        raise RecipeError(f"{source} contains no .tex file with text: {REMEDY}")
    return text
