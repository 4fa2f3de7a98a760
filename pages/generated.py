"""The pages that programs write: written again from what is stored beside them, and compared. Nothing is measured."""

import contextlib
import importlib
import json
import sys
import tempfile
from pathlib import Path

import reference

ROOT = Path(__file__).parent.parent


def stale_pages():
    """Return a sentence for each generated page that is not what its program writes."""
    stale = []
    if reference.main(["--check"]):
        stale.append("docs/commands: run make reference")
    for name, write, remedy in (
        ("BENCHMARKS.md", _benchmarks, "benchmarks/report.py writes it from benchmarks/results.json"),
        ("QUALITY.md", _quality, "python benchmarks/quality.py"),
        ("RELIABILITY.md", _reliability, "soak/reliability.py writes it from soak/results.json"),
    ):
        if write() != (ROOT / "docs" / name).read_text(encoding="utf-8"):
            stale.append(f"docs/{name} is not what its program writes: {remedy}")
    return stale


@contextlib.contextmanager
def _from(folder):
    sys.path.insert(0, str(ROOT / folder))
    try:
        yield
    finally:
        sys.path.remove(str(ROOT / folder))


def _benchmarks():
    with _from("benchmarks"):
        report, results = map(importlib.import_module, ("report", "results"))
        return report.page(results.Results(ROOT / "benchmarks" / "results.json"))


def _quality():
    with _from("benchmarks"), tempfile.TemporaryDirectory() as folder:
        quality = importlib.import_module("quality")
        kept, quality.DOCS = quality.DOCS, Path(folder)
        try:
            quality.write_page(json.loads(quality.KEPT.read_text(encoding="utf-8")))
        finally:
            quality.DOCS = kept
        return (Path(folder) / "QUALITY.md").read_text(encoding="utf-8")


def _reliability():
    with _from("soak"):
        soak, reliability = map(importlib.import_module, ("soak", "reliability"))
        return reliability.page([importlib.import_module(name) for name in soak.SECTIONS], reliability.load())
