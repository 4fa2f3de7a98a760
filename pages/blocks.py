"""The commands and code blocks of the documents, as they stand in Markdown."""

import re
import shlex
from dataclasses import dataclass

PROMPT = "$ "


@dataclass(frozen=True)
class Block:
    """A block, indented or fenced: the line of the page on which it begins, its language or "", its text."""

    line: int
    language: str
    text: str


def blocks(markdown):
    """Yield the code blocks of a page."""
    lines = markdown.split("\n")
    at = 0
    while at < len(lines):
        fence = re.match(r" {0,3}(```+)\s*([\w.-]*)", lines[at])
        if fence:
            end = next((k for k in range(at + 1, len(lines)) if lines[k].strip() == fence[1]), len(lines))
            yield Block(at + 2, fence[2], "\n".join(lines[at + 1 : end]))
            at = end + 1
        elif lines[at].startswith("    ") and (at == 0 or not lines[at - 1].strip()) and not _in_list(lines, at):
            end = at
            while end < len(lines) and (lines[end].startswith("    ") or not lines[end].strip()):
                end += 1
            yield Block(at + 1, "", "\n".join(line[4:] for line in lines[at:end]).rstrip("\n"))
            at = end
        else:
            at += 1


def _in_list(lines, at):
    """Tell whether an indented line goes on with an item of a list."""
    before = next((lines[k] for k in range(at - 1, -1, -1) if lines[k].strip() and not lines[k].startswith("  ")), "")
    return bool(re.match(r"([-*]|\d+\.) ", before))


def command_lines(block):
    """Yield (line, command) of a block: those of a shell that call charrnn, joined where a backslash ends the line."""
    waiting, begun = "", 0
    for at, line in enumerate(block.text.split("\n"), block.line):
        text = waiting + line.removeprefix(PROMPT)
        begun = begun if waiting else at
        waiting = ""
        if text.endswith("\\"):
            waiting = text[:-1] + " "
        elif re.match(r"(mpiexec .*|cat .*\| *)?charrnn [a-z]", text):
            yield begun, text


def arguments(command):
    """Return (what follows `charrnn`, the file of stdin or None, the program in front or None) of a command line."""
    words = shlex.split(command, comments=True)
    front = words[: words.index("charrnn")]
    words = words[words.index("charrnn") + 1 :]
    stdin = None
    if front and front[0] == "cat":
        stdin, front = front[1], []
    if "<" in words:
        at = words.index("<")
        stdin, words = words[at + 1], words[:at] + words[at + 2 :]
    return words, stdin, front[0] if front else None


def inline_commands(markdown):
    """Yield (line, words) of what stands in a sentence or a table as `charrnn VERB ...`, blocks left out."""
    inside = {at for block in blocks(markdown) for at in range(block.line - 1, block.line + block.text.count("\n") + 2)}
    for at, line in enumerate(markdown.split("\n"), 1):
        if at not in inside:
            for span in re.findall(r"`charrnn ([a-z][^`]*)`", line):
                yield at, span.replace("\\|", "|").split()
