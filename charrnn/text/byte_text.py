"""What the bytes of a model of bytes say as text: a stream of them decoded, and what to show for each.

Pure. A model writes any bytes, so nothing here fails on them: what is no text in the encoding is shown as U+FFFD.
"""

import codecs
import re
import unicodedata

import numpy as np

from charrnn.errors import CorpusError, VocabularyError

REPLACEMENT = "\ufffd"
_STRAYS, _FIRST_STRAY = "charrnn-strays", 0xDC00  # a byte that is no text, as half a surrogate pair of its own
_BYTES_ALONE = re.compile("([\udc00-\udcff])")  # such bytes


class ByteDecoder:
    """Bytes that come one after the other, as text: a character when its last byte is in."""

    def __init__(self, encoding):
        self._encoding = encoding
        self._decoder = codecs.getincrementaldecoder(encoding)("replace")

    def decode(self, data, final=False):
        try:
            return self._decoder.decode(data, final)
        except UnicodeError:  # the codecs of ISO 2022 give up in an escape sequence that does not end
            self._decoder.reset()
            return REPLACEMENT

    def reset(self):
        self._decoder.reset()

    def fork(self):
        """Return another that has come as far."""
        other = ByteDecoder(self._encoding)
        other._decoder.setstate(self._decoder.getstate())
        return other


def check_encoding(name):
    """Raise CorpusError unless `name` is an encoding that bytes can be decoded with, whatever they are."""
    try:
        b" ".decode(name, "replace")
    except (LookupError, TypeError, ValueError):
        raise CorpusError(f"encoding must be the name of a text encoding, such as utf-8, got {name!r}") from None


def text_as_bytes(text, encoding):
    """Return the bytes of `text` in `encoding`; a lone surrogate U+DC00 + byte becomes that byte. Raises
    VocabularyError for a character that the encoding cannot represent.
    """
    data, start = b"", 0
    for part in _BYTES_ALONE.split(text):
        try:
            if len(part) == 1 and ord(part) & ~0xFF == _FIRST_STRAY:
                data += bytes((ord(part) & 0xFF,))
            else:
                data += part.encode(encoding)
        except UnicodeEncodeError as error:
            raise VocabularyError(
                f"character {part[error.start]!r} at offset {start + error.start:,} cannot be written in "
                f"{encoding.upper()}: leave it out"
            ) from None
        start += len(part)
    return data


def read_symbols(vocabulary, ids, encoding="utf-8"):
    """Return (text, symbols, lengths) of ids (N,): a str for the scanners, and what of it each id is.

    encoding  of the bytes, in bytes mode
    symbols   list of N str to show. Of a character of several bytes the last one shows it, those before it nothing; a
              byte that belongs to no character is U+FFFD
    lengths   ndarray (len(text),): ids a character has; np.repeat(values, lengths) brings values a character to values
              an id, so that all bytes of a character have what holds when it has been read
    """
    ids = np.asarray(ids)
    if vocabulary.mode != "bytes":
        text = vocabulary.decode(ids)
        return text, list(text), np.ones(len(text), np.int64)
    texts, symbols, lengths, carried = [], [], [], ""
    for characters, size in _characters(vocabulary.decode_bytes(ids), encoding):
        texts.append(characters)
        sizes = [size] if len(characters) == 1 else _sizes(characters, size)
        lengths += sizes
        for character, length in zip(characters, sizes):
            carried += REPLACEMENT if _is_stray(character) else character
            if length:  # two characters of one byte are shown together
                symbols += [""] * (length - 1) + [carried]
                carried = ""
    rest = len(ids) - len(symbols)  # a shift to other characters, of which none follows
    if rest:
        symbols += [""] * rest
        lengths[-1] += rest
    return "".join(texts), symbols, np.array(lengths, np.int64)


def _characters(data, encoding):
    """Yield (characters, how many bytes they are) of all bytes in turn."""
    if encoding == "utf-8":
        for character in data.decode(encoding, _STRAYS):
            yield character, 1 if _is_stray(character) else len(character.encode())
        return
    decoder = codecs.getincrementaldecoder(encoding)(_STRAYS)
    begun = 0
    for stop in range(1, len(data) + 2):
        is_end = stop > len(data)
        try:
            characters = decoder.decode(data[stop - 1 : stop], final=is_end)
        except UnicodeError:  # as in ByteDecoder
            decoder.reset()
            characters = _strays(data[begun:stop])
        if characters:
            read = stop - len(decoder.getstate()[0]) if not is_end and stop - begun > 1 else min(stop, len(data))
            yield characters, read - begun
            begun = read
    if begun == 0 and data:  # nothing but shifts to other characters
        yield _strays(data), len(data)


def _sizes(characters, size):
    """Deal `size` bytes to characters that came together: strays have one, and one that is not has what is left."""
    sizes = [1] * len(characters)
    extra = size - len(characters)
    if extra < 0:  # more characters than bytes: the last of them have one each
        return [0] * -extra + sizes[-extra:]
    whole = [k for k, character in enumerate(characters) if not _is_stray(character)]
    sizes[whole[-1] if whole else -1] += extra
    return sizes


def _strays(data):
    return "".join(chr(_FIRST_STRAY + byte) for byte in data)


def _is_stray(character):
    return unicodedata.category(character) == "Cs"


def _take_strays(error):
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _strays(error.object[error.start : error.end]), error.end


codecs.register_error(_STRAYS, _take_strays)
