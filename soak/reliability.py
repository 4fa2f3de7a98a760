"""docs/RELIABILITY.md out of the sections and of soak/results.json, in which each section's last figures are kept."""

import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "soak" / "results.json", ROOT / "docs" / "RELIABILITY.md"

HEAD = """# What can be relied on

This page lists what charrnn promises when things go wrong. Next to each promise is the name of a short test that tries
to break it; `make test` runs these tests. `make soak` tries to break the same promises for about three hours, and then
writes this page. Below its promises, each section says what `make soak` did and what it found. The last line of a
section gives the date, the command, how long it took, and the machine. `python soak/soak.py --only SECTION` repeats one
section.

Some words have a fixed meaning on this page:

- *The same bits*: the results are equal to the last bit.
- *Resume*: continue a run with `charrnn train --resume`.
- *Refuse*, or *end with one sentence*: charrnn stops with one sentence that says what is wrong. It shows no traceback.
- *Carry*: the state that the model keeps from one chunk of the text to the next. *Cursor*: the place in the text at
  which the run is.
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
            text += "\nSo far, only the short tests were run.\n"
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
