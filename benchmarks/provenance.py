"""Of which kind of CPU and of which commit a figure is."""

import subprocess
from pathlib import Path

CACHES = Path("/sys/devices/system/cpu/cpu0/cache")
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


def core_cache_kb(caches=CACHES):
    """Return the size of the second-level cache, or None where the system does not tell."""
    for folder in sorted(caches.glob("index*")):
        try:
            level, size = ((folder / name).read_text().strip() for name in ("level", "size"))
            if level == "2":
                return int(size.rstrip("KM")) << (10 if size.endswith("M") else 0)
        except (OSError, ValueError):
            continue
    return None


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
