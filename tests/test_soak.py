"""soak/: its sections name tests that exist, and the page is the one that its results make."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "soak"))

import reliability  # noqa: E402

import soak  # noqa: E402


def sections():
    return [importlib.import_module(name) for name in soak.SECTIONS]


@pytest.mark.slow
def test_every_promise_names_a_test_that_exists():
    for section in sections():
        for promise, test in section.PROMISES:
            file, _, name = test.partition("::")
            functions = {
                node.name
                for node in ast.walk(ast.parse((ROOT / file).read_text(encoding="utf-8")))
                if isinstance(node, ast.FunctionDef)
            }
            assert name in functions, (section.TITLE, promise, test)


def test_the_page_is_the_one_that_the_results_make():
    assert reliability.PAGE.read_text(encoding="utf-8") == reliability.page(sections(), reliability.load())


def test_an_unknown_section_is_refused(capsys):
    with pytest.raises(SystemExit):
        soak.main(["--only", "nonsense"])
    assert "nonsense" in capsys.readouterr().err
