"""Run the commands and programs of the documents, scaled down; `make docs-check` calls it.

    python pages/check.py                    all pages
    python pages/check.py --quick            a command that several pages have once, and no page of measurements
    python pages/check.py docs/EVAL.md       this page
    python pages/check.py --times            also how long the slowest commands took

Each page has a folder of its own, with small texts and runs under the names that the page uses, and its commands are
run there in their order. A training gets a few steps and a small model. A command that would wait for somebody or fetch
something is only parsed. Of a line that calls make, pip, uv or python, what it names is checked: the target, the extra,
the wheel's version, the program. Programs in Python that need other packages are only compiled here: the test of their
page runs them. Also checked: pages that a program writes are what it writes.
"""

import configparser
import contextlib
import functools
import glob
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
import textwrap
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent
sys.path[:0] = [str(ROOT / "pages"), str(ROOT)]

import fixtures  # noqa: E402 - beside this file
from blocks import arguments, blocks, command_lines  # noqa: E402
from generated import stale_pages  # noqa: E402

from charrnn import __version__  # noqa: E402
from charrnn.cli import main as charrnn  # noqa: E402

MEASURED = {"QUALITY.md", "BENCHMARKS.md"}  # hundreds of trainings, all of one form
# What is only looked at, not run, because it would wait for somebody or fetch something.
UNTRIED = re.compile(r"serve |corpus build (?!arithmetic)|.*--interactive")
SMALL_BENCH = "--hidden-size 16 --num-layers 1 --batch-size 2 --seq-length 8 --repeats 1 --threads 1".split()
STEPS = "3"
SIZES = {"--hidden-size": "20", "--num-layers": "1", "--embedding-size": "8", "--seq-length": "16", "--shards": "2"}
LENGTHS = ("--minutes", "--epochs", "--steps")
_LATER = itertools.count(4)


def main(argv):
    quick, times = "--quick" in argv, []
    named = [Path(name).resolve() for name in argv if not name.startswith("--")]
    pages = named or [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    # The chapters of the tutorial, which have numbers, are run by pages/tutorial.py.
    pages = [page for page in pages if not (page.parent.name == "tutorial" and page.name[0].isdigit())]
    faults, run, seen = [], 0, set()
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        stock = fixtures.make(Path(folder) / "stock", _quietly)
        for number, page in enumerate(pages):
            if quick and page.name in MEASURED:
                continue
            here = Path(folder) / f"{number}"
            shutil.copytree(stock, here)
            for fault, took_s, command in check_page(page, here, seen if quick else set()):
                run += took_s > 0
                times.append((took_s, page.name, command))
                if fault:
                    faults.append(f"{page.relative_to(ROOT)}:{fault}")
                    print(faults[-1], file=sys.stderr, flush=True)
            shutil.rmtree(here)
    if "--times" in argv:
        for took_s, name, command in sorted(times, reverse=True)[:20]:
            print(f"{took_s:5.1f} s  {name}  {command}")
    if not named:
        stale = stale_pages()
        faults += stale
        print("".join(f"{fault}\n" for fault in stale), end="", file=sys.stderr)
    print(f"{len(pages)} pages, {run} commands run in {time.monotonic() - begun:.0f} s, {len(faults)} wrong")
    return 1 if faults else 0


def check_page(page, here, seen):
    """Yield (what is wrong or None, seconds that it ran, the command) for each command and program of a page."""
    markdown = page.read_text(encoding="utf-8")
    with contextlib.chdir(here):
        for block in blocks(markdown):
            named = re.match(r"# ([\w-]+\.toml)\n", block.text)
            if block.language == "toml" or named:
                yield _toml(block, named), 0, ""
            elif block.language == "python" or block.text.startswith("import "):
                yield _python(block), 0, ""
            else:
                yield from ((fault, 0, "") for fault in other_lines(block))
                for line, command in command_lines(block):
                    if "[OPTIONS]" in command:
                        continue
                    try:
                        words, stdin, front = arguments(command)
                        scaled = scale(words, front)
                    except ValueError as error:
                        yield f"{line}: {command}: {error}", 0, command
                        continue
                    key = (tuple(scaled), stdin)
                    if key not in seen or words[0] in ("train", "sweep"):
                        seen.add(key)
                        began = time.monotonic()
                        fault, was_run = run_command(line, command, scaled, stdin)
                        yield fault, (time.monotonic() - began) * was_run, command


def run_command(line, command, words, stdin):
    """Run a command; return (what is wrong or None, whether it was run)."""
    from charrnn.cli import group

    if UNTRIED.match(f"{' '.join(words)} "):
        try:
            verb = group.get_command(None, words[0])
            with verb.make_context(words[0], words[1:], resilient_parsing=False):
                return None, False
        except Exception as error:
            return f"{line}: {command}\n    {error}", False
    if words[0] == "train" and "-o" in words and words[1] != words[words.index("-o") + 1]:
        shutil.rmtree(words[words.index("-o") + 1], ignore_errors=True)  # the page trains another one of this name
    code, said = _quietly(words, stdin)
    if code == 0:
        return None, True
    return f"{line}: {command}\n    as: charrnn {' '.join(words)}\n    exit code {code}: {said.strip()[-400:]}", True


@functools.cache
def targets_and_extras():
    """Return the names of the Makefile's targets and of the package's extras."""
    project = configparser.ConfigParser()
    project.read(ROOT / "setup.cfg", encoding="utf-8")
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
    return set(targets), set(project["options.extras_require"])


def other_lines(block):
    """Yield what is wrong with the lines of a block that call make, pip, uv or python."""
    targets, extras = targets_and_extras()
    for at, line in enumerate(block.text.split("\n"), block.line):
        line = line.removeprefix("$ ").partition(" #")[0]
        if not re.match(r"(make|pip|uv|python) ", line):
            continue
        if (target := re.match(r"make ([a-z-]+)", line)) and target[1] not in targets:
            yield f"{at}: {line}: the Makefile has no target {target[1]}"
        for extra in re.findall(r"\.\[(\w+)\]", line):
            if extra not in extras:
                yield f"{at}: {line}: setup.cfg has no extra {extra}"
        for version in re.findall(r"charrnn-([\d.]+)-py3-none-any\.whl", line):
            if version != __version__:
                yield f"{at}: {line}: this is version {__version__}"
        program = re.match(r"python ((benchmarks|pages|soak|tests)/\S+)", line)
        if program and not (ROOT / program[1]).exists():
            yield f"{at}: {line}: there is no {program[1]}"


def scale(words, front=None):
    """Return the command in small: fewer steps, a small model, and the names of this folder for placeholders."""
    verb, *rest = [fixtures.PLACEHOLDERS.get(word, word) for word in words]
    made, at = [verb], 0
    while at < len(rest):
        word = rest[at]
        value = rest[at + 1] if at + 1 < len(rest) else None
        if verb == "train" and word in LENGTHS and value:
            at += 2
        elif verb == "train" and word in SIZES and value:
            made += [word, value if value == "0" else SIZES[word]]
            at += 2
        elif word == "--precision" and value == "bfloat16":
            at += 2  # not every CPU has it
        elif word in ("--unit", "--clamp") and value and re.match(r"\d+:\d+", value):
            made += [word, re.sub(r"^\d+:\d+", "0:7", value)]
            at += 2
        elif word in ("--characters", "--length", "--num-samples") and value:
            made += [word, str(min(int(value), 10_000 if word == "--characters" else 30))]
            at += 2
        else:
            made.append(re.sub(r"^/shared/", "shared/", word))
            at += 1
    if verb == "train" and "--resume" in rest:
        made += ["--steps", f"{next(_LATER)}"]  # the run that is there is finished
    if verb == "train" and "--resume" not in rest:
        made += ["--steps", STEPS, "--threads", "1"]
        made += [
            part
            for option, size in SIZES.items()
            if option in ("--hidden-size", "--num-layers")
            and option not in made
            and "--init-from" not in made
            and "--config" not in made
            for part in (option, size)
        ]
    if verb == "bench":
        made += SMALL_BENCH
    if made[:2] == ["corpus", "build"]:
        made += ["-o", "built.txt"]  # the small one stays
    if verb == "gradients":
        made += ["--steps", "5"] if "--steps" not in made and "--memory" not in made else []
        made += ["--train-steps", "2"] if "--memory" in made else []
    return made


def _toml(block, named):
    try:
        tomllib.loads(block.text)
    except tomllib.TOMLDecodeError as error:
        return f"{block.line}: no TOML: {error}"
    if named:
        small = re.sub(r"^(hidden[_-]size) = .*$", r"\1 = 20", block.text, flags=re.M)
        small = re.sub(r"^(steps|minutes|epochs) = .*$", f"steps = {STEPS}", small, flags=re.M)
        Path(named[1]).write_text(small, encoding="utf-8")
    return None


def _python(block):
    try:
        code = compile(textwrap.dedent(block.text), f"line {block.line}", "exec")
    except SyntaxError as error:
        return f"{block.line}: no Python: {error}"
    if "charrnn.train(" not in block.text and "charrnn.load(" not in block.text:
        return None  # the tests of the page run it, with the packages that it needs
    small = re.sub(r"steps=\d+", f"steps={STEPS}, hidden_size=20", textwrap.dedent(block.text))
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            exec(compile(small, f"line {block.line}", "exec"), {"__name__": "page"})
    except Exception as error:
        return f"{block.line}: {type(error).__name__}: {error}"
    return None if code else ""


def _quietly(words, stdin=None):
    """Run charrnn in this process; return (exit code, what it wrote to stderr)."""
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    given = open(next(iter(glob.glob(stdin))) if stdin else os.devnull, encoding="utf-8")
    kept = sys.stdin
    sys.stdin = given
    try:
        with given, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = charrnn(words)
    except SystemExit as error:
        code = error.code
    finally:
        sys.stdin = kept
    return code, err.buffer.getvalue().decode("utf-8", "replace")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
