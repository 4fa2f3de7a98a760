"""What the documents quote of the program is what the program says."""

import ast
import codeop
import importlib.util
import re
import sys
import warnings
from pathlib import Path

import click
import pytest
from chromium import Chromium, find_chromium
from click.testing import CliRunner

from charrnn.cells.signals.signal import BUILT_IN, GRADED
from charrnn.cli import COMMANDS, group
from charrnn.recipes import RECIPES

ROOT = Path(__file__).parent.parent
DOCUMENTED = ast.Module | ast.ClassDef | ast.FunctionDef


def page_writer(name):
    """Import a module of pages/, which is no package."""
    sys.path.insert(0, str(ROOT / "pages"))
    found = importlib.util.spec_from_file_location(name, ROOT / "pages" / f"{name}.py")
    module = importlib.util.module_from_spec(found)
    sys.modules[name] = module  # a dataclass looks itself up there
    found.loader.exec_module(module)
    sys.path.remove(str(ROOT / "pages"))
    return module


def test_the_help_on_the_page_of_commands_is_the_programs():
    quoted = re.search(
        r"```\n\$ charrnn --help\n(.*?)```", (ROOT / "docs/commands/index.md").read_text(encoding="utf-8"), re.S
    ).group(1)
    shown = CliRunner().invoke(group, ["--help"], prog_name="charrnn").output
    # click before 8.5 writes COMMAND also where none is needed.
    assert quoted.replace("[COMMAND]", "COMMAND").split() == shown.replace("[COMMAND]", "COMMAND").split()


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_every_commands_help_begins_with_a_short_sentence_and_an_example(verb):
    shown = CliRunner().invoke(group, [verb, "--help"], prog_name="charrnn").output
    lines = [line.strip() for line in shown.splitlines() if line.strip()]
    assert len(lines[1]) < 60 and lines[1].endswith(".")
    assert any(line.startswith("Example: charrnn") for line in lines[:5])


@pytest.mark.parametrize("verb", sorted(COMMANDS))
def test_the_reference_of_each_command_is_what_the_command_says(verb):
    page = (ROOT / "docs" / "commands" / f"{verb}.md").read_text(encoding="utf-8")
    assert page_writer("reference").with_reference(page, verb) == page, "stale: run make reference"


def test_the_readmes_links_lead_somewhere():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]:
        prose = re.sub(r"```.*?```|^    .*?$", "", page.read_text(encoding="utf-8"), flags=re.S | re.M)
        for link in re.findall(r"\]\(([^)#:]+)\)", prose):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_readme_is_short_and_its_benchmarks_are_those_of_the_measured_page():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(readme.splitlines()) <= 150
    table = re.search(r"^## How fast it is\n.*?(\n\|.*?)\n\n", readme, re.S | re.M)[1]
    figures = re.findall(r"\d[\d,.]*\d%?", re.sub(r"3 layers, 512 units", "", table))
    measured = (ROOT / "docs" / "BENCHMARKS.md").read_text(encoding="utf-8")
    assert len(figures) >= 10
    assert [one for one in figures if not re.search(rf"(?<![\d.,]){re.escape(one)}(?!\d)", measured)] == []


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *sorted((ROOT / "docs").rglob("*.md"))], ids=lambda page: page.name
)
def test_a_page_names_only_commands_and_options_that_there_are(page):
    """`make docs-check` runs the commands of blocks; those in sentences and tables have no values to be run with."""
    if page.name in ("CHANGELOG.md", "DECISIONS.md"):
        return  # what was, and what was not taken
    blocks = page_writer("blocks")
    markdown = page.read_text(encoding="utf-8")
    named = list(blocks.inline_commands(markdown))
    for block in blocks.blocks(markdown):
        named += [(line, blocks.arguments(text)[0]) for line, text in blocks.command_lines(block)]
    for line, words in named:
        where = f"{page.name}:{line}: charrnn {' '.join(words)}"
        command = group.get_command(None, words[0])
        assert command is not None, where
        if isinstance(command, click.Group):
            command = command.commands.get(words[1], command) if len(words) > 1 else command
        known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)} | {"--help", "-h"}
        own = words[: words.index("|")] if "|" in words else words
        for word in own[1:]:
            if re.match(r"--?[a-z]", word):
                assert word.split("=")[0].rstrip(",.;:") in known, where


def test_the_page_about_units_lists_the_signals_that_there_are():
    page = (ROOT / "docs" / "CELLS.md").read_text(encoding="utf-8")
    listed = re.findall(r"^\| `([\w-]+)` \| (.*?)( \(graded\))? \|$", page.split("## The signals")[1], re.M)
    built_in = [(name, phrase, " (graded)" if kind == GRADED else "") for name, (phrase, kind) in BUILT_IN.items()]
    assert listed[: len(built_in)] == built_in


def test_the_page_about_corpora_lists_the_recipes_that_there_are():
    page = (ROOT / "docs" / "commands" / "corpus.md").read_text(encoding="utf-8")
    assert re.findall(r"^\| `([\w-]+)` \|", page.split("## Where")[0], re.M) == list(RECIPES)


@pytest.mark.browser
@pytest.mark.skipif(not find_chromium(), reason="no Chromium here")
def test_the_worker_of_the_sites_search_runs_in_a_page_that_was_opened_as_a_file(tmp_path):
    (tmp_path / "worker.js").write_text(
        "addEventListener('message', async ({data}) => { await importScripts('more.js'); postMessage(data + more); });"
    )
    (tmp_path / "more.js").write_text("var more = 1;")
    script = (ROOT / "docs" / "assets" / "iframe-worker.js").as_uri()
    (tmp_path / "page.html").write_text(
        f"<body><script src='{script}'></script><script>"
        "const worker = new Worker('worker.js'); worker.addEventListener('message', e => window.told = e.data);"
        "worker.postMessage(41);</script>"
    )
    with Chromium() as browser:
        page = browser.open(tmp_path / "page.html")
        page.wait("window.told === 42")
        assert page.troubles() == []


def test_no_message_or_help_names_a_page_that_is_not_in_the_wheel():
    """A docstring is read beside the pages, a message is not."""
    for path in (ROOT / "charrnn").rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docstrings = {
            id(node.body[0].value)
            for node in ast.walk(tree)
            if isinstance(node, DOCUMENTED) and ast.get_docstring(node)
        }
        if path.parent.name == "cli":  # the help of a command is the docstring of its function
            docstrings = {id(tree.body[0].value)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
                assert not re.search(r"docs/\w+\.md", node.value), f"{path.name}:{node.lineno}"


def lines_that_a_prompt_refuses(source):
    """Return the lines of pasted Python at which the prompt, which reads line by line, reports a SyntaxError."""
    compiler, waiting, refused = codeop.CommandCompiler(), [], []
    for line in [*source.split("\n"), ""]:
        waiting.append(line)
        try:
            if compiler("\n".join(waiting)) is not None:
                waiting = []
        except SyntaxError:
            refused.append(line)
            waiting = []
    return refused


def is_python(block):
    """Tell whether a block is Python: it says so, or it names no language and parses."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a shell's '\d', which Python would not write
            return block.language == "python" or block.language == "" and bool(ast.parse(block.text).body)
    except SyntaxError:
        return False


def test_a_prompt_refuses_a_line_at_the_margin_below_an_indented_one():
    assert lines_that_a_prompt_refuses("for k in range(3):\n    print(k)\nprint(4)") == ["print(4)"]
    assert lines_that_a_prompt_refuses("for k in range(3):\n    k\n\n    print(k)") == ["    print(k)"]
    assert lines_that_a_prompt_refuses("for k in range(3):\n    print(k)\n\nprint(4)") == []


def test_every_block_of_python_can_be_pasted_into_the_prompt():
    """An indented body needs an empty line after it, and none inside it."""
    of, count = page_writer("blocks").blocks, 0
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for block in filter(is_python, of(path.read_text(encoding="utf-8"))):
            refused = lines_that_a_prompt_refuses(block.text)
            assert refused == [], f"{path.relative_to(ROOT)}:{block.line}"
            count += 1
    assert count >= 40
