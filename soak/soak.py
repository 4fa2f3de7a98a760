"""Break charrnn on purpose, at length, and write docs/RELIABILITY.md.

    python soak/soak.py                        everything, about three hours
    python soak/soak.py --only kills,fuzz      a part; what was found before stays, under its date
    python soak/soak.py --quick                a short form of everything, shown and not written

A section is a module of this folder with

    TITLE           the heading under which docs/RELIABILITY.md has it
    PROMISES        [(the promise, the test that breaks it on purpose as "tests/test_x.py::test_name"), ...]
    run(scene)      -> {figure: number, string or list}, or raises Broken where the promise does not hold
    tell(figures)   -> what the page says of them, Markdown

and a short form of each runs in the tests.
"""

import argparse
import datetime
import importlib
import os
import platform
import shlex
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "soak")]

import reliability  # noqa: E402
from scene import Broken, Scene  # noqa: E402

SECTIONS = ("kills", "processes", "sweeping", "cuts", "starts", "divergence", "fuzz", "memory", "loads", "serving")


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", metavar="SECTIONS", help=f"some of {', '.join(SECTIONS)}, with commas between")
    parser.add_argument("--quick", action="store_true", help="short, to see that it works: shown, nothing is written")
    options = parser.parse_args(arguments)
    names = options.only.split(",") if options.only else SECTIONS
    unknown = [name for name in names if name not in SECTIONS]
    if unknown:
        parser.error(f"there is no section {unknown[0]!r}: {', '.join(SECTIONS)}")
    command = "python soak/soak.py" + "".join(
        f" {shlex.quote(one)}" for one in (arguments if arguments is not None else sys.argv[1:])
    )
    broken = 0
    for name in names:
        section = importlib.import_module(name)
        print(f"{section.TITLE} ...", file=sys.stderr, flush=True)
        begun = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="charrnn-soak-") as folder:
            try:
                figures = section.run(Scene(Path(folder), options.quick))
            except Broken as error:
                broken += 1
                print(f"BROKEN: {error}", flush=True)
                continue
        took_s = time.monotonic() - begun
        print(section.tell(figures), flush=True)
        if not options.quick:
            reliability.keep(
                name,
                {
                    "date": datetime.date.today().isoformat(),
                    "command": command,
                    "took_s": round(took_s),
                    "machine": machine(),
                    "figures": figures,
                },
            )
    if not options.quick:
        reliability.write([importlib.import_module(name) for name in SECTIONS])
    return 1 if broken else 0


def machine():
    """Return what a figure may depend on."""
    return {"cpu": _cpu(), "cores": os.cpu_count(), "system": platform.system(), "python": platform.python_version()}


def _cpu():
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
