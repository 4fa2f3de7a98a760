"""The tutorial in its short form: every command runs, and what the text claims of hand-worked numbers holds."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def loaded(name):
    """Return a script of pages/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "pages" / f"{name}.py")
    module = sys.modules[name] = importlib.util.module_from_spec(spec)  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


tutorial, notebooks = loaded("tutorial"), loaded("notebooks")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    return tmp_path


# The Korean chapters have the same commands on another text: `make docs-check` runs them.
ENGLISH = [path for path in tutorial.CHAPTERS if "ko" not in path.parts]


@pytest.mark.parametrize("path", ENGLISH, ids=lambda path: str(path.relative_to(ROOT / "docs").with_suffix("")))
def test_every_command_of_a_chapter_runs_and_its_claims_hold(path, folder):
    chapter = tutorial.Chapter(path, short=True)
    chapter.run()
    assert chapter.commands >= 3


def chapter_of(folder, text):
    (folder / "0-made.md").write_text(text, encoding="utf-8")
    return tutorial.Chapter(folder / "0-made.md", short=False)


def test_outputs_are_replaced_and_the_rest_stays(folder):
    text = "a\n\n<!-- show: 1 -->\n```console\n$ echo 1; echo 2\nold\n$ printf '%s' \\\n    x\n```\n"
    text += "```python\nprint(6 * 7)\n```\n```text\nold\n```\nb\n"
    new = chapter_of(folder, text).run()
    assert new == text.replace("2\nold", "2\n1\n...").replace("    x\n", "    x\nx\n").replace("text\nold", "text\n42")
    assert chapter_of(folder, new).run() == new


@pytest.mark.parametrize("claim", ["holds: number('is ([0-9]+)') == 4", "full: 'no' in out"])
def test_a_claim_that_does_not_hold_is_an_error(folder, claim):
    text = "```console\n$ echo it is 3\n```\n"
    for true in ("holds: number('is ([0-9]+)') == 3", claim):
        chapter = chapter_of(folder, text + f"<!-- {true} -->\n")
        chapter.run()
        assert (chapter.untrue == []) == (true != claim) and chapter.claims == 1


def test_a_command_that_fails_is_an_error(folder):
    with pytest.raises(tutorial.Untrue, match="exit code 3 of exit 3"):
        chapter_of(folder, "```console\n$ exit 3\n```\n").run()


def test_times_are_left_out():
    assert (
        tutorial.normalised("\ntrained     400 steps, 2.00 epochs, 1 min 2 s\n") == "trained     400 steps, 2.00 epochs"
    )


@pytest.mark.slow
@pytest.mark.parametrize("path", notebooks.NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_its_first_cell_to_its_last(path, folder):
    pytest.importorskip("nbclient")
    corpus = folder / "corpora" / "tinyshakespeare.txt"
    corpus.parent.mkdir()
    corpus.write_text(tutorial.made_up(corpus.name), encoding="utf-8")
    cells = [cell for cell in notebooks.execute(path, folder, steps=12).cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
