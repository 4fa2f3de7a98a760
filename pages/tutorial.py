"""Re-runs the tutorial: every command and every piece of Python in docs/tutorial and docs/ko/tutorial.

    python pages/tutorial.py                     # all chapters: 2 to 15 minutes
    python pages/tutorial.py 'docs/tutorial/3*'  # some of them
    python pages/tutorial.py --short             # the short form, in half a minute: does each command run?

A chapter is a Markdown file that is edited by hand; this script replaces only what the commands print. In a chapter

    ```console      holds commands, each after "$ " (a line that ends in \\ goes on in the next), and what they print
    ```python       holds code; all code of a chapter runs in one process, and a ```text block below shows its output

and comments, which no reader sees, say more:

    <!-- needs: PATH: COMMAND --> run COMMAND first where PATH, of an earlier chapter, is not there
    <!-- show: 6 -->             show only the first 6 lines of each output below, then "...", in the next block
    <!-- holds: EXPRESSION -->   must be true of the last block, else the script fails; `out` is what it printed
    <!-- full: EXPRESSION -->    the same, but only where nothing was shortened: what a trained model is said to do

In expressions `number(pattern)` is the first group of a pattern in `out`, as a number (`which=-1`: its last match). The
commands run in a folder that all chapters share, so that a text is fetched once. The short form trains for a few steps
on made-up texts, in this process; the tests run it of the English chapters.
"""

import argparse
import contextlib
import fnmatch
import io
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted([*ROOT.glob("docs/tutorial/[1-9]*.md"), *ROOT.glob("docs/ko/tutorial/[1-9]*.md")])
WIDTH = 80

# What differs from run to run or from machine to machine, and says nothing in a lesson.
VOLATILE = [
    (re.compile(r"^(trained .*), (?:\d+ min )?\d+ s$", re.M), r"\1"),
    (re.compile(r"^  time +.*\n", re.M), ""),
    (re.compile(r"^.*: \d+%(, about .* left)?\n", re.M), ""),
    (re.compile(r" \(already there\)(?=: )"), ""),
]

# The short form: an option's value is replaced by a smaller one.
SHORT = {
    "--steps": "12",
    "--epochs": "1",
    "--train-steps": "4",
    "--hidden-size": "16",
    "--embedding-size": "16",
    "--num-samples": "3",
    "--eval-every": "6",
    "--characters": "4500",
    "--times": "2",
    "--length": "40",
}
GRADIENTS_SHORT = {**SHORT, "--steps": "20"}
CODE = (
    "# Reads what is given, and returns the (smaller) number of the two.\n"
    "def smaller(first, second):\n    if first < second:  # the usual case\n        return first\n"
    '    return "second" if second else ["none", {"at": "all"}]\n\n\n'
)
MADE_UP = (
    'ANNA:\nWhere is the "red (old) house", and who went there in the night?\n\n'
    "BRUNO:\nNo one of us has seen it. She was gone before the rain came down.\n\n"
)


class Untrue(Exception):
    """A chapter says something that does not hold, or one of its commands fails."""


@dataclass
class Chapter:
    """A chapter as it is run: what its Python knows, what was printed last, and how long it all took."""

    path: Path
    short: bool
    names: dict = field(default_factory=dict)
    printed: str = ""
    show: int | None = None
    seconds: float = 0.0
    commands: int = 0
    claims: int = 0
    untrue: list = field(default_factory=list)  # claims that do not hold, of a chapter that is written

    def number(self, pattern, which=0):
        """Return the first group of a match of `pattern` in what was printed last, as a number."""
        found = re.findall(pattern, self.printed, re.M)
        if not found:
            raise Untrue(f"{self.path.name}: {pattern!r} is not in\n{self.printed}")
        return float(found[which].replace(",", ""))

    def check(self, expression):
        """Check a claim about the last block. Raises Untrue in the short form; else it is kept in `untrue`."""
        known = {"out": self.printed, "number": self.number, "re": re, **self.names}
        self.claims += 1
        try:
            message = (
                "" if eval(expression, known) else f"{self.path.name}: {expression} does not hold of\n{self.printed}"
            )
        except Untrue as error:
            message = str(error)
        if message and self.short:
            raise Untrue(message)
        self.untrue += [message] if message else []

    def shown(self, printed):
        """Return what a page shows of an output."""
        lines = normalised(printed).splitlines()
        if self.show is not None and len(lines) > self.show:
            lines = [*lines[: self.show], "..."]
        return [line.rstrip() for line in lines]

    def need(self, path, command):
        """Run a command of an earlier chapter whose result, `path`, this one uses, where it is not there."""
        if not Path(path).exists():
            self.console([f"$ {command}"])

    def console(self, lines):
        """Run a block's commands; return its new lines."""
        new, everything, at = [], "", 0
        while at < len(lines):
            if not lines[at].startswith("$ "):
                at += 1  # an output of before
                continue
            end = at
            while lines[end].endswith("\\"):
                end += 1
            command = "\n".join(lines[at : end + 1])[2:]
            started = time.perf_counter()
            code, printed = run_short(command) if self.short else run(command)
            self.seconds += time.perf_counter() - started
            self.commands += 1
            if code:
                raise Untrue(f"{self.path.name}: exit code {code} of {command}\n{printed}")
            new += [*lines[at : end + 1], *self.shown(printed)]
            everything += printed
            at = end + 1
        self.printed = everything
        return new

    def python(self, lines):
        """Run a block of code; keep what it printed."""
        out, started = io.StringIO(), time.perf_counter()
        source = "\n".join(lines) + "\n"
        with contextlib.redirect_stdout(out):
            exec(compile(shortened_code(source) if self.short else source, self.path.name, "exec"), self.names)
        self.seconds += time.perf_counter() - started
        self.printed = out.getvalue()

    def run(self):
        """Return the chapter's text with new outputs. Raises Untrue."""
        lines = self.path.read_text(encoding="utf-8").split("\n")
        new, at = [], 0
        while at < len(lines):
            line = lines[at]
            new.append(line)
            at += 1
            comment = re.fullmatch(r"<!-- (needs|show|holds|full): (.*) -->", line)
            fence = re.fullmatch(r"```(console|python|text)", line)
            if comment:
                kind, rest = comment.groups()
                if kind == "needs":
                    self.need(*rest.split(": ", 1))
                elif kind == "show":
                    self.show = int(rest)
                elif kind == "holds" or not self.short:
                    self.check(rest)
            elif fence:
                end = lines.index("```", at)
                block, kind = lines[at:end], fence.group(1)
                if kind == "console":
                    block = self.console(block)
                elif kind == "python":
                    self.python(block)
                else:
                    block = self.shown(self.printed)
                if kind != "python":
                    self.show = None
                new += [*block, "```"]
                at = end + 1
        return "\n".join(new)


def normalised(printed):
    """Return an output without what differs from run to run."""
    for pattern, replacement in VOLATILE:
        printed = pattern.sub(replacement, printed)
    return printed.strip("\n")


def run(command):
    """Run a command in a shell, as a reader does; return its exit code and what it printed."""
    here = Path(tempfile.gettempdir()) / f"charrnn-tutorial-bin-{os.getpid()}"
    here.mkdir(exist_ok=True)
    starter = here / "charrnn"  # the charrnn of this source tree, whatever is installed
    starter.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m charrnn "$@"\n')
    starter.chmod(0o755)
    environ = {
        **os.environ,
        "COLUMNS": str(WIDTH),
        "PATH": f"{here}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
    }
    done = subprocess.run(
        ["bash", "-c", command], env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )
    return done.returncode, done.stdout


def run_short(command):
    """Run a command in this process with smaller numbers; return its exit code and what it printed."""
    words = shlex.split(command.replace("\\\n", " "))
    if words[0] != "charrnn":
        return run(command)
    from charrnn.cli import main
    from charrnn.recipes import RECIPES

    if words[1:3] == ["corpus", "build"]:
        path = RECIPES[words[3]].path
        path.parent.mkdir(exist_ok=True)
        path.write_text(made_up(path.name), encoding="utf-8")
        return 0, ""
    target = words[words.index(">") + 1] if ">" in words else None
    for end in (mark for mark in (">", "|") if mark in words):  # a filter of what is printed changes nothing here
        words = words[: words.index(end)]
    smaller = GRADIENTS_SHORT if words[1] == "gradients" else SHORT
    for at, word in enumerate(words[:-1]):
        if word in smaller and int(words[at + 1]) > int(smaller[word]):
            words[at + 1] = smaller[word]
    out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True)
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        code = main(words[1:])
    out.flush()
    printed = out.buffer.getvalue().decode("utf-8")
    if target:
        Path(target).write_text(printed, encoding="utf-8")
    return code, "" if target and not code else printed


def shortened_code(source):
    """Return a piece of Python with smaller numbers."""
    source = re.sub(r'(\bsteps=|"steps": )\d+', r"\g<1>12", source)
    source = re.sub(r"\bcharacters=\d+", "characters=4500", source)
    return source.replace("range(8000)", "range(400)")


def made_up(name):
    """Return a made-up text in the form of the corpus `name`, so that nothing is fetched."""
    if name.endswith(".csv"):
        return "name,country\nWola Dąbrowska,Poland\nCastelnuovo,Italy\n" + "".join(
            f"{a}{b}ton,{c}\n" for a in "ABCDEFGH" for b in "aeiou" for c in ("Poland", "Italy")
        )
    if name.startswith("constitution"):
        return (
            "제1조 ① 대한민국은 민주공화국이다.\n②정치·경제·사회의 모든 권력은 대통령이 아니라 국민으로부터 나온다.\n"
            * 300
        )
    if name.startswith("names"):
        return "".join(
            f"{a}{b}{c}\n" for a in "ABCDEFGH" for b in ("an", "el", "io") for c in ("na", "mar", "ra", "do")
        )
    if name.startswith("arithmetic"):
        return "sum\tresult\n" + "".join(f"{a}+{b}\t{a + b}\n" for a in range(20) for b in range(20))
    return (CODE if name.startswith("python") else MADE_UP) * 640


def _folder_of(path, folder):
    """Return the folder that all chapters of a chapter's language share: a run is not made twice."""
    place = Path(folder, "ko" if "ko" in path.relative_to(ROOT).parts else "en")
    place.mkdir(parents=True, exist_ok=True)
    return place


def main(patterns, folder=None, short=False):
    """Re-run the chapters that match, each in place; say how long each took.

    folder    where the commands run; None makes one and removes it afterwards
    short     run the short form, each chapter in a folder of its own, and write nothing
    """
    wanted = [
        path
        for path in CHAPTERS
        if not patterns or any(fnmatch.fnmatch(str(path.relative_to(ROOT)), pattern) for pattern in patterns)
    ]
    if not wanted:
        print(f"no chapter matches {' '.join(patterns)}: they are docs/tutorial/1-*.md and so on", file=sys.stderr)
        return 2
    here, failed = os.getcwd(), 0
    os.environ["COLUMNS"] = str(WIDTH)
    sys.path.insert(0, str(ROOT))
    with tempfile.TemporaryDirectory(prefix="charrnn-tutorial-") as made:
        try:
            for path in wanted:
                os.chdir(tempfile.mkdtemp(dir=made) if short else _folder_of(path, folder or made))
                chapter = Chapter(path, short)
                text = chapter.run()
                if not short:
                    path.write_text(text, encoding="utf-8")
                for message in chapter.untrue:
                    print(f"error: {message}", file=sys.stderr)
                failed += len(chapter.untrue)
                print(
                    f"{path.relative_to(ROOT)}: {chapter.commands} commands, {chapter.claims - len(chapter.untrue)} of "
                    f"{chapter.claims} claims hold, {chapter.seconds / 60:.1f} minutes",
                    flush=True,
                )
        finally:
            os.chdir(here)
    return 1 if failed else 0


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description="Re-run the tutorial.")
    asked.add_argument("chapters", nargs="*", metavar="PATTERN", help="chapters, such as 'docs/tutorial/3*'")
    asked.add_argument("--folder", help="run the commands in this folder and keep what they make")
    asked.add_argument("--short", action="store_true", help="run the short form, on made-up texts; write nothing")
    arguments = asked.parse_args()
    try:
        sys.exit(main(arguments.chapters, arguments.folder, arguments.short))
    except Untrue as error:
        sys.exit(f"error: {error}")
