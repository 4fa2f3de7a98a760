"""What stands in more than one place because tools want it so, held together: versions and pins."""

import configparser
import re
from pathlib import Path

import charrnn

ROOT = Path(__file__).parent.parent


def read(name):
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_citation_and_the_changelog_are_of_this_version():
    assert f"version: {charrnn.__version__}\n" in read("CITATION.cff")
    assert re.search(r"^## \[?([\d.]+)", read("CHANGELOG.md"), re.M)[1] == charrnn.__version__
    date = re.search(r"^date-released: (.*)$", read("CITATION.cff"), re.M)[1]
    assert f"{charrnn.__version__} - {date}" in read("CHANGELOG.md").replace("]", "")


def test_ruff_is_the_same_before_a_commit_and_in_make_lint():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    pinned = re.search(r"ruff==([\d.]+)", setup["options.extras_require"]["lint"])[1]
    assert re.search(r"ruff-pre-commit\n +rev: v([\d.]+)", read(".pre-commit-config.yaml"))[1] == pinned


def test_every_target_that_the_documents_name_is_in_the_makefile():
    targets = set(re.findall(r"^([a-z-]+):", read("Makefile"), re.M))
    for page in ("README.md", "CONTRIBUTING.md"):
        named = set(re.findall(r"(?:`|^    )make ([a-z-]+)", read(page), re.M))
        assert named <= targets, f"{page} names {sorted(named - targets)}"


def test_every_file_that_contributing_names_is_there():
    named = re.findall(r"\b(?:charrnn|tests|docs|soak|benchmarks)/[\w/]+\.(?:py|md)\b", read("CONTRIBUTING.md"))
    assert named and [name for name in named if not (ROOT / name).exists()] == []
