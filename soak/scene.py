"""What every section needs: a folder, small texts, and the charrnn of this checkout as a process."""

import os
import random
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORDS = "the cat sat on a mat and saw; 'what?' it said, (and left) no. one. two! three: four".split(" ")


class Broken(Exception):
    """A promise does not hold; the message says which, and how to see it again."""


class Scene:
    """folder: empty, removed afterwards; quick: whether a short form is wanted."""

    def __init__(self, folder, quick):
        self.folder, self.quick = folder, quick

    def text(self, name="text.txt", characters=20_000, seed=1):
        """Write a text of words in lines, the same for a seed, and return its path."""
        rng, lines, length = random.Random(seed), [], 0
        while length < characters:
            line = " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 12)))
            lines.append(line)
            length += len(line) + 1
        path = self.folder / name
        path.write_text(("\n".join(lines) + "\n")[:characters], encoding="utf-8")
        return path

    def start(self, *arguments, environment=None, **options):
        """Start `charrnn ARGUMENTS` and return the Popen.

        What it says is piped as text unless `options` say otherwise.
        """
        streams = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "replace",
        }
        env = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        return subprocess.Popen(
            [sys.executable, "-m", "charrnn", *map(str, arguments)], cwd=self.folder, env=env, **{**streams, **options}
        )

    def charrnn(self, *arguments, **options):
        """Run `charrnn ARGUMENTS` to its end; return the CompletedProcess."""
        process = self.start(*arguments, **options)
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)
