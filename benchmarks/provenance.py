"""Of which kind of CPU and of which commit a figure is."""

import subprocess

WRITTEN = "benchmarks/results.json", "docs/BENCHMARKS.md"  # by the run itself


def kind(machine):
    """Return the name of a machine's kind of CPU: its model, its generation as LLVM calls it, vectors and core cache.

    machine    {"cpu", "isa"}, and "generation" and "core_cache_kb" where they are known

    A virtual machine often gives the same model for several generations ("AMD EPYC"): hence the second name.
    """
    generation, cache = machine.get("generation"), machine.get("core_cache_kb")
    name = machine["cpu"] + (f" ({generation})" if generation else "")
    if not cache:
        return f"{name}, {machine['isa']}"
    size = f"{cache / 1024:g} MB" if cache >= 1024 else f"{cache} KB"
    return f"{name}, {machine['isa']}, {size} of L2 per core"


def core_cache_kb(*caches):
    """Return the size of the second-level cache, or None where the system does not tell.

    caches    the folder that describes them, if it is not this machine's own
    """
    from charrnn.files.machine import core_cache_bytes  # here: of the other pages' code nothing needs charrnn

    size = core_cache_bytes(*caches)
    return None if size is None else size >> 10


def commit(root):
    """Return the commit of a folder, with "+ changes" behind it where its files differ from it; None without Git."""

    def git(*arguments):
        return subprocess.run(
            ["git", "-C", root, *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        head = git("rev-parse", "--short=12", "HEAD")
        changed = git("status", "--porcelain", "--", ".", *(f":(exclude){path}" for path in WRITTEN))
    except (OSError, subprocess.CalledProcessError):
        return None
    return head + (" + changes" if changed else "")
