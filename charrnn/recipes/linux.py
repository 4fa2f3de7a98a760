"""C source of the Linux kernel, after the text of "Visualizing and Understanding Recurrent Networks".

That text was the kernel's C files shuffled and joined, cut at about 6.2 MB. Here: the files of kernel/, which is the
heart of it, in the order of the sha256 of their paths, whole files until the limit is reached.
"""

from charrnn.errors import RecipeError
from charrnn.recipes.fetch import apt_download, apt_newest
from charrnn.recipes.trees import as_utf8, in_hash_order, joined, read_tree

PACKAGES = "linux-source-"
LIMIT_BYTES = 6_206_996  # the length of the paper's text
SOURCE = "--from a kernel's tree, tarball or linux-source .deb; or Debian's newest linux-source-*"
LICENCE = "GPL-2.0 with the kernel's syscall note"
CLEANING = (
    f"kernel/**/*.[ch], ordered by the sha256 of the path, whole files up to {LIMIT_BYTES:,} bytes (--limit-bytes)"
)
REMEDY = "name a kernel's tree or tarball (from kernel.org, say) with --from"


def make(source, work_folder, limit_bytes, reports):
    """Return the kernel's C source up to `limit_bytes`."""
    if source is None:
        package = apt_newest(PACKAGES, REMEDY)
        reports.say(f"fetching {package} with apt-get, about 140 MB")
        source = apt_download(package, work_folder, REMEDY, reports.progress)
    reports.say(f"reading {source}")
    files = read_tree(source, _is_wanted, reports.progress)
    if not files:
        # The folder kernel/ itself was named, or a tree without one.
        raise RecipeError(
            f"{source} contains no kernel/*.c: give the folder that contains kernel/, or a tarball of it, with --from"
        )
    text = joined((as_utf8(files[path]) for path in in_hash_order(files)), limit_bytes)
    if not text:
        raise RecipeError(f"no file of {source} fits in {limit_bytes:,} bytes: raise --limit-bytes")
    return text


def _is_wanted(path):
    return path.startswith("kernel/") and path.endswith((".c", ".h"))
