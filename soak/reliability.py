"""docs/RELIABILITY.md out of the sections and of soak/results.json, in which each section's last figures are kept."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "soak" / "results.json", ROOT / "docs" / "RELIABILITY.md"

HEAD = """# What can be relied on

This page lists what charrnn promises when things go wrong. Beside each promise is the test that tries to break it;
these tests are short and run with `make test`. `make soak` tries to break the same promises for about three hours
and writes this page. `python soak/soak.py --only SECTION` repeats one section.
"""


def keep(name, record):
    """Put a section's record in the place of its older one."""
    results = load()
    results[name] = record
    RESULTS.write_text(json.dumps(results, indent=1, sort_keys=True) + "\n", encoding="utf-8")


def load():
    """Return {section: record} as kept."""
    return json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {}


def page(sections, results):
    """Return the page. sections: modules as soak/soak.py describes them, each named as its record."""
    text = HEAD
    for section in sections:
        text += f"\n## {section.TITLE}\n\n| promise | test |\n|---|---|\n"
        for promise, test in section.PROMISES:
            file, _, name = test.partition("::")
            text += f"| {promise} | [`{name}`](../{file}) |\n"
        record = results.get(section.__name__)
        if record is None:
            text += "\nOnly the short form in the tests was run so far.\n"
            continue
        machine = record["machine"]
        text += (
            f"\n{section.tell(record['figures']).strip()}\n\n<sub>{record['date']}, `{record['command']}`, "
            f"{record['took_s']:,} s, Python {machine['python']}, {machine['cores']} cores of {machine['cpu']}</sub>\n"
        )
    return text


def write(sections):
    """Write the page from what is kept."""
    PAGE.write_text(page(sections, load()), encoding="utf-8")
