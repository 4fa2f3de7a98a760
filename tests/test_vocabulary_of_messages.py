"""The English of what a user reads: phrases that messages and help must not have, and what to write instead."""

import ast
import inspect
import re
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import charrnn
from charrnn.cli import COMMANDS, group

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "charrnn"
BANNED = {
    r"\banew\b": "again",
    r"\b(go|goes|going|gone|went) on (with|from|by|where)\b": "resume, continue",
    r"\b(is|are) no (longer )?(option|file|folder|JSON|TOML|CSV|tensor|list|string|number|escape|address|terminal)\b": (
        "is not a ..."
    ),
    r"which (there is|it has|this one has) not\b": "unknown; which it does not have",
    r"\bthere is not\b|\bthere are not\b": "unknown, missing",
    r"(^|[.;:] )[Oo]f a model (that|of)\b": "for a model that, for a model of",
    r"\bby heart\b": "memorise, overfit",
    r"\bno room for\b": "hidden, no space for",
    r"\bcannot be told\b|\bcannot be gone on\b": "is unknown; cannot be resumed",
    r"\bbeside (once|them|other|the other|these)\b": "in addition to, next to",
    r"\bat hand\b": "available, current",
    r"\bstands? (there|in|word|beside|for both)\b": "is, occurs",
    r"\b(nothing|something|more|much) to say of\b|\bto say of\b": "nothing to report about",
    r"\bhold(s)? (no|more than|a part|the log|other|numbers)\b": "contain",
    r"\bhas it been\b|\bmeanwhile told\b": "plain word order",
    r"\btak(e|es|en) sgd\b": "use",
    r"\bto mend\b|\bmend (it|that|this|the)\b|\bmends\b": "fix, correct",
    r"\bthe more of\b|\blikeliest\b": "most likely",
    r"\b(characters|nats|bits|steps|layers|units|lines|samples) an? (character|step|second|layer|run)\b": "per",
    r"\bbring (the|that|this) (old )?text\b": "restore, copy, convert",
    r"\bby the clock\b": "the duration itself",
    r"\bkept in mind\b|\bsaid in one sentence\b": "shown",
    r"\bmust lie\b": "must be",
    r"\blooked at by\b": "values shown",
    r"\bnobody\b": "no user, no worker",
    r"\bthe other way round\b": "say which way",
    r"\bfor want of\b": "because there is no",
    r"\bit says nothing\b": "it printed no message",
}
# What is no English: what other programs read, and names that are fixed.
SKIPPED = {"recipes/shakespeare.py", "recipes/latex.py"}


def words_of(path):
    """Yield (line, text) of the strings of a module but its docstrings; {...} is what an f-string fills in."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    unread = set()
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            unread.add(id(body[0].value))
        if isinstance(node, ast.JoinedStr):
            unread.update(id(part) for part in node.values)
            yield (
                node.lineno,
                "".join(part.value if isinstance(part, ast.Constant) else "{...}" for part in node.values),
            )
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in unread:
            yield node.lineno, node.value


def faults(text):
    """Return what is wrong with a text, each with what to write instead."""
    text = " ".join(text.split())
    return [
        f"{found[0]!r} (better: {better})"
        for phrase, better in BANNED.items()
        if (found := re.search(phrase, text, re.IGNORECASE))
    ]


@pytest.mark.parametrize(
    "text",
    [
        "the weights are drawn anew",
        "the run cannot be gone on with",
        "has the option 'step', which there is not",
        "the model learns the text by heart",
        "of a model that predicts labels: show K",
        "1,000 characters a second",
        "a number of steps a second",
    ],
)
def test_a_banned_phrase_is_found(text):
    assert faults(text)


@pytest.mark.parametrize("text", ["1,000 characters per second", "for a model that predicts labels", "resume it with"])
def test_plain_words_are_let_through(text):
    assert not faults(text)


def test_messages_are_in_plain_english():
    paths = [path for path in sorted(PACKAGE.rglob("*.py")) if path.relative_to(PACKAGE).as_posix() not in SKIPPED]
    found = [
        f"{path.relative_to(PACKAGE)}:{line}: {fault} in {text!r}"
        for path in paths
        for line, text in words_of(path)
        if " " in text.strip()
        for fault in faults(text)
    ]
    assert len(paths) > 200 and not found, "\n".join(found)


def words_of_page(path):
    """Yield the texts of a page that charrnn writes: those of a .html file, or the strings of a .js file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".html":
        yield from re.findall(r"(?:title|aria-label|placeholder)=\"([^\"]*)\"", text)
        yield from re.findall(r">([^<>]+)<", text)
        return
    code = re.sub(r"^\s*(//|/?\*).*$", "", text, flags=re.MULTILINE)
    for string in re.findall(r"\"[^\"\n]*\"|`[^`\n]*`", re.sub(r"\$\{[^{}]*\}", "", code)):
        yield string[1:-1]


def test_the_pages_that_charrnn_writes_are_in_plain_english():
    paths = [path for kind in ("html", "js") for path in sorted(PACKAGE.rglob(f"*.{kind}"))]
    texts = [(path.name, text) for path in paths for text in words_of_page(path) if " " in text.strip()]
    found = [f"{name}: {fault} in {text!r}" for name, text in texts for fault in faults(text)]
    assert len(texts) > 150 and not found, "\n".join(found)
    assert any("Most likely next characters" in text for _, text in texts)
    assert any("how surprising each character was, in bits" in text for _, text in texts)


ALLOWED_IN_PROSE = "'nobody'", "'there is not'"  # "if there is not enough memory" is good English; no message needs it


def pages():
    """Return the paths of the pages in English."""
    top = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")]
    found = [*top, *sorted((ROOT / "docs").rglob("*.md"))]
    return [path for path in found if "ko" not in path.relative_to(ROOT).parts]


def test_pages_are_in_plain_english():
    found = []
    for path in pages():
        prose = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        for paragraph in re.split(r"\n\n|\n(?=[|*-])", prose):
            wrong = [fault for fault in faults(paragraph) if not fault.lower().startswith(ALLOWED_IN_PROSE)]
            found += [f"{path.relative_to(ROOT)}: {fault} in {paragraph[:80]!r}" for fault in wrong]
    assert len(pages()) > 40 and not found, "\n".join(found)


def public_docstrings():
    """Yield (name, docstring) of what `import charrnn` offers, and of the public methods and properties of it."""
    for name in charrnn.__all__:
        value = getattr(charrnn, name)
        if callable(value):
            yield name, inspect.getdoc(value) or ""
        members = vars(value).items() if inspect.isclass(value) else ()
        for member, one in members:
            if not member.startswith("_") and (callable(one) or isinstance(one, (property, classmethod))):
                yield f"{name}.{member}", inspect.getdoc(one) or ""


def test_public_docstrings_are_in_plain_english():
    docstrings = list(public_docstrings())
    found = [f"{name}: {fault}" for name, text in docstrings for fault in faults(text)]
    assert len(docstrings) > 80 and not found, "\n".join(found)


def every_command(command, words=()):
    """Yield the words of every command and of every command in a group."""
    yield words
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            yield from every_command(command.get_command(click.Context(command), name), (*words, name))


def test_the_help_of_every_command_is_in_plain_english():
    commands, found = list(every_command(group)), []
    for words in commands:
        asked = "--help-all" if words == ("train",) else "--help"
        shown = CliRunner().invoke(group, [*words, asked], prog_name="charrnn").output
        found += [f"charrnn {' '.join(words)} --help: {fault}" for fault in faults(shown)]
    assert len(commands) > len(COMMANDS) and not found, "\n".join(found)
