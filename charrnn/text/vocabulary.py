"""Characters or bytes <-> ids.

A vocabulary is a value: a mode and its symbols; the id of a symbol is its position. It knows no file and no model.
Nothing here silently replaces an unknown symbol by another: what cannot be encoded raises an error, which names a
similar symbol if there is one.
"""

import unicodedata
from collections import Counter
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from charrnn.errors import ConfigError, VocabularyError, counted, is_integer
from charrnn.text import special
from charrnn.text.byte_text import ByteDecoder, check_encoding, text_as_bytes
from charrnn.text.lookalikes import relatives
from charrnn.text.rewriting import AS_IT_IS, Rewriting
from charrnn.text.symbols import shown, validated

BLOCK_SYMBOLS = 1 << 20  # symbols encoded at a time: a text of any length needs a few MB beside its ids

UNKNOWN = "UNKNOWN"  # what makes the unknown symbols of two vocabularies the same one, however they are shown
# What it may be: the first of these that is no character of the text.
UNKNOWN_MARKS = "\ufffd\u25a1\u2370\u29c8"


def smallest_dtype(size):
    """Return the smallest unsigned dtype that can hold the ids 0 .. size - 1: uint8, uint16 or uint32."""
    return np.dtype(np.uint8 if size <= 1 << 8 else np.uint16 if size <= 1 << 16 else np.uint32)


@dataclass(frozen=True)
class Vocabulary:
    """The symbols that a model knows. The id of a symbol is its position: 0, 1, 2, ...

    Ids come in this order: the symbols of the text, the special symbols, the labels. V is the number of all of them.

    Parameters
    ----------
    mode : {"chars", "bytes"}
        What the symbols of a text are: characters (str of length 1) or bytes (int in 0 .. 255).
    symbols : iterable of str or int
        The symbols of the text, at least one, all different.
    rewriting : Rewriting
        How characters are converted before they are looked up, such as to lower case. Not allowed with "bytes".
    special : iterable of str
        "START", "SEP" and "END", or a part of these, for a model of items: the symbols that begin, divide and end an
        item. No text is encoded to them. Decoded, each becomes one of `marks`, a character that is not in `symbols`.
    labels : iterable of str
        Names of the labels of items. No text is encoded to them. Decoded, each becomes the same mark.
    unknown_symbol : str, optional
        One of the characters in `symbols`; characters that are not in `symbols` are encoded as this one.

    Raises
    ------
    VocabularyError
        An argument has a value that is not allowed.

    Examples
    --------
    >>> vocabulary = Vocabulary("chars", "abc")
    >>> vocabulary.encode("cab")
    array([2, 0, 1], dtype=uint8)
    >>> vocabulary.decode([2, 0, 1])
    'cab'
    """

    mode: str
    symbols: tuple
    rewriting: Rewriting = AS_IT_IS
    special: tuple = ()
    labels: tuple = ()
    unknown_symbol: str | None = None

    def __post_init__(self):
        object.__setattr__(self, "symbols", validated(self.mode, self.symbols))
        object.__setattr__(self, "special", special.checked(self.special, self.mode))
        object.__setattr__(self, "labels", special.checked_labels(self.labels, self.special))
        if self.unknown_symbol is not None and (self.mode == "bytes" or self.unknown_symbol not in self.symbols):
            raise VocabularyError(
                f"a vocabulary's unknown symbol must be one of its characters, got {shown(self.unknown_symbol)}"
            )
        if not isinstance(self.rewriting, Rewriting):
            raise VocabularyError(f"a vocabulary's rewriting must be a Rewriting, got {shown(self.rewriting)}")
        if self.rewriting and self.mode == "bytes":
            raise VocabularyError(f"a vocabulary of bytes cannot rewrite them, got {self.rewriting}")

    @property
    def size(self):
        """V, the number of ids: symbols of the text, special symbols and labels."""
        return self.first_label + len(self.labels)

    @property
    def first_label(self):
        """The id of the first label; V if there are no labels."""
        return len(self.symbols) + len(self.special)

    @property
    def dtype(self):
        """The dtype of encoded ids: uint8, uint16 or uint32, the smallest that can hold every id."""
        return smallest_dtype(self.size)

    @cached_property
    def marks(self):
        """The characters that stand for the special symbols in decoded text: a tuple of str, like `special`."""
        return special.choose_marks(self.special, self.symbols)

    @cached_property
    def shown_symbols(self):
        """What every id is decoded to: a tuple of V symbols, with marks for special symbols and labels."""
        return self.symbols + self.marks + special.choose_marks((special.LABEL,), self.symbols) * len(self.labels)

    @cached_property
    def names(self):
        """What every id stands for: a tuple of V symbols, with the names of special symbols and labels."""
        return self.symbols + self.special + self.labels

    def label_id(self, name):
        """Return the id of a label. Raises VocabularyError if there is no such label; it suggests a similar name."""
        if name not in self.labels:
            raise VocabularyError(special.unknown_label(name, self.labels))
        return self.first_label + self.labels.index(name)

    def special_id(self, name):
        """Return the id of "START", "SEP" or "END", or None if the vocabulary does not have it."""
        return len(self.symbols) + self.special.index(name) if name in self.special else None

    @property
    def start_id(self):
        """The id of START, which begins an item; None for a model of one long text."""
        return self.special_id("START")

    @property
    def end_id(self):
        """The id of END, which ends an item; None for a model of one long text."""
        return self.special_id("END")

    @cached_property
    def unknown_id(self):
        """The id of `unknown_symbol`; None if there is none, so that an unknown character is an error."""
        return None if self.unknown_symbol is None else self.symbols.index(self.unknown_symbol)

    def encode(self, text, encoding="utf-8"):
        """Return the ids of `text`, a str: ndarray (N,) of `dtype`.

        In "chars" mode the text is first converted by `rewriting`, and N is the number of characters after that. In
        "bytes" mode N is the number of bytes of the text in `encoding`. A lone surrogate U+DC00 + byte, with which
        Python and charrnn represent a byte that is not text, is encoded as that byte.

        Raises
        ------
        VocabularyError
            A character is not in the vocabulary, or not in `encoding`. The message shows its repr, its offset in `text`
            and what to do.
        CorpusError
            In "bytes" mode: `encoding` is not the name of a text encoding.
        """
        if not isinstance(text, str):
            remedy = ": decode it first" if isinstance(text, (bytes, bytearray)) else ""
            raise ConfigError(f"text must be a str, got {shown(text)}{remedy}")
        if self.mode == "bytes":
            check_encoding(encoding)
            return self.encode_bytes(text_as_bytes(text, encoding))
        given, text = text, self.rewriting.apply(text)
        ids = np.empty(len(text), self.dtype)
        for start in range(0, len(text), BLOCK_SYMBOLS):
            piece = text[start : start + BLOCK_SYMBOLS]
            codes = np.frombuffer(piece.encode("utf-32-le", "surrogatepass"), np.uint32)
            self._look_up(codes, start, ids, given)
        return ids

    def encode_bytes(self, data):
        """Return the ids of `data`, a bytes-like object of N bytes: ndarray (N,) of `dtype`. For "bytes" mode only.

        Raises
        ------
        VocabularyError
            A byte is not in the vocabulary, or the mode is "chars".
        """
        if self.mode != "bytes":
            raise VocabularyError(
                "bytes need a vocabulary of bytes, but this one has characters: decode them first, or train a model "
                "of bytes with 'charrnn train TEXT --vocab bytes'"
            )
        try:
            codes = np.frombuffer(data, np.uint8)
        except TypeError:
            raise ConfigError(f"data must be bytes, got {shown(data)}") from None
        ids = np.empty(len(codes), self.dtype)
        for start in range(0, len(codes), BLOCK_SYMBOLS):
            self._look_up(codes[start : start + BLOCK_SYMBOLS], start, ids)
        return ids

    def without_unknown(self, text):
        """Return (`text` without the symbols that are not in the vocabulary, a Counter of the codes left out).

        In "chars" mode: a str, after rewriting, and code points. In "bytes" mode `text` must be bytes.
        """
        if self.mode == "bytes":
            return bytes(byte for byte in text if byte in self._known), Counter(
                byte for byte in text if byte not in self._known
            )
        text = self.rewriting.apply(text)
        kept = "".join(symbol for symbol in text if symbol in self._known)
        return kept, Counter(ord(symbol) for symbol in text if symbol not in self._known)

    def count_unknown(self, text):
        """Return how many characters of `text` are encoded as the unknown symbol; 0 if there is no such symbol."""
        if self.unknown_symbol is None:
            return 0
        return sum(symbol not in self._known for symbol in self.rewriting.apply(text))

    def decode(self, ids, encoding="utf-8"):
        """Return the text of `ids`, a sequence or ndarray (N,) of integers, as a str.

        In "bytes" mode the bytes are decoded with `encoding`; invalid bytes become U+FFFD.

        Raises
        ------
        VocabularyError
            An id is not an integer in 0 .. V - 1.
        CorpusError
            In "bytes" mode: `encoding` is not the name of a text encoding.
        """
        codes = self._codes_of(ids)
        if self.mode == "bytes":
            check_encoding(encoding)
            return codes.astype(np.uint8).tobytes().decode(encoding, "replace")
        return codes.astype("<u4").tobytes().decode("utf-32-le")

    def decode_bytes(self, ids):
        """Return the bytes of `ids`, a sequence or ndarray (N,) of integers. For "bytes" mode only.

        Raises
        ------
        VocabularyError
            An id is not in 0 .. V - 1, or the mode is "chars".
        """
        if self.mode != "bytes":
            raise VocabularyError("a vocabulary of characters has no bytes of its own: decode the ids, then encode")
        return self._codes_of(ids).astype(np.uint8).tobytes()

    def decoder(self, encoding="utf-8"):
        """Return a decoder that turns ids into text one at a time, for text that is shown while it is drawn.

        feed(id) -> str returns the characters that the id completes ("" within a character of several bytes);
        flush() -> str returns what is left at the end; fork() returns an independent copy. `encoding` : in "bytes" mode
        """
        if self.mode == "chars":
            return _CharacterDecoder(self)
        check_encoding(encoding)
        return _ByteDecoder(self, ByteDecoder(encoding))

    def to_json(self):
        """Return a dict for JSON: {"mode": str, "symbols": list}, and only where they are set, "special": list,
        "labels": list, "unknown": str (the unknown symbol) and the fields of the rewriting. `from_json` reads it.
        """
        beside = {"special": list(self.special)} if self.special else {}
        beside |= {"labels": list(self.labels)} if self.labels else {}
        beside |= {} if self.unknown_symbol is None else {"unknown": self.unknown_symbol}
        return {"mode": self.mode, "symbols": list(self.symbols), **self.rewriting.to_json(), **beside}

    @classmethod
    def from_json(cls, obj):
        """Return the vocabulary that `to_json` described. `obj` is checked: it may come from an untrusted file.

        Raises
        ------
        VocabularyError
            `obj` is not as `to_json` writes it.
        """
        optional = {"special", "labels", "unknown", *vars(AS_IT_IS)}
        if not isinstance(obj, dict) or not {"mode", "symbols"} <= set(obj) <= {"mode", "symbols", *optional}:
            raise VocabularyError('a vocabulary must be {"mode": ..., "symbols": [...]}, got ' + shown(obj))
        if not isinstance(obj["symbols"], list):
            raise VocabularyError(f"a vocabulary's symbols must be a list, got {shown(obj['symbols'])}")
        told = {name: value for name, value in obj.items() if name in vars(AS_IT_IS)}
        rewriting = Rewriting(**told)
        if rewriting.to_json() != told:
            raise VocabularyError("a vocabulary's rewriting must leave out what is not done")
        if "unknown" in obj and not isinstance(obj["unknown"], str):
            raise VocabularyError(f"a vocabulary's unknown symbol must be a character, got {shown(obj['unknown'])}")
        beside = special.from_json(obj), special.labels_from_json(obj), obj.get("unknown")
        return cls(obj["mode"], tuple(obj["symbols"]), rewriting, *beside)

    def mapping_from(self, old):
        """Return the id that each symbol has in another vocabulary, `old`; -1 if it has none: ndarray (V,), int64.

        It serves to copy weights from a model with the vocabulary `old`. If the modes differ, an ASCII character and
        the byte with its code are the same symbol. Raises VocabularyError if `old` is no Vocabulary.
        """
        if not isinstance(old, Vocabulary):
            raise VocabularyError(f"old must be a Vocabulary, got {old!r}")
        known = {key: number for number, key in enumerate(old._keys())}
        return np.array([known.get(key, -1) for key in self._keys()], np.int64)

    def unknown(self, symbol, offset, where=""):
        """Return a VocabularyError for `symbol` at `offset` of a text; `where` is "" or names it, as in "a.txt, "."""
        place = f"{where}offset {offset:,}"
        if self.mode == "bytes":
            missing = f"byte 0x{symbol:02x} at {place} is not among the {counted(self.size, 'byte')} of the vocabulary"
            remedy = "train on a text that contains it"
            return VocabularyError(f"{missing}: leave it out, or {remedy}", missing, [remedy])
        known = counted(len(self.symbols), "character")
        missing = f"character {symbol!r} at {place} is not among the {known} of the vocabulary"
        if spelling := self._other_spelling(symbol):
            return VocabularyError(f"{missing}, {spelling}", missing)
        if symbol == "\r" and "\n" in self._known:
            return VocabularyError(
                f"{missing}: end lines with '\\n', as dos2unix FILE does (or mac2unix, if there are only carriage "
                "returns), or train with 'charrnn train --newlines lf', which accepts all line ends",
                missing,
            )
        near = next((other for other in relatives(symbol) if other in self._known), None)
        remedy = "train a byte model, which accepts any text, with 'charrnn train TEXT --vocab bytes'"
        if self.special:  # items are of characters only
            remedy = "train on a text that contains it"
        if near is None:
            return VocabularyError(f"{missing}: leave it out, or {remedy}", missing, [remedy])
        write = f"write {near!r}"
        return VocabularyError(f"{missing}: {write}, or {remedy}", missing, [f"{write} instead", remedy])

    def _other_spelling(self, symbol):
        """Return what to do where the vocabulary has `symbol` in another of Unicode's normal forms, None elsewhere."""
        for form in ("NFD", "NFKD"):
            parts = unicodedata.normalize(form, symbol)
            if len(parts) > 1 and self._known.issuperset(parts):
                pieces = " and ".join(ascii(part) for part in parts)
                break
        else:
            # A letter may stand alone, the consonant that begins a syllable of Hangul does not.
            first = 0 if "\u1100" <= symbol <= "\u11ff" else 1
            if not any(len(parts) > 1 and symbol in parts[first:] for parts in self._decomposed):
                return None
            form, pieces = "NFC", "joined with its neighbours"
        return (
            f"which has it {'as ' if form != 'NFC' else ''}{pieces}: convert this text to the Unicode form {form}, "
            f"with unicodedata.normalize({form!r}, text) in Python, or train with 'charrnn train "
            f"--normalize {'nfkc' if form == 'NFKD' else 'nfc'}', which accepts both"
        )

    def _codes_of(self, ids):
        """Return the code points or bytes of `ids`, (N,) uint32; an id of another vocabulary is an error."""
        try:
            ids = np.asarray(ids)
        except ValueError:  # rows of different lengths
            raise VocabularyError(f"ids must be a sequence of integers, got {shown(ids)} of sequences") from None
        if ids.size == 0:
            return np.empty(0, np.uint32)
        if ids.dtype.kind not in "iu" and not all(map(is_integer, ids.flat)):
            raise VocabularyError(f"ids must be integers from 0 to {self.size - 1:,}, got an array of {ids.dtype}")
        if ids.min() < 0 or ids.max() >= self.size:
            bad = int(ids.min() if ids.min() < 0 else ids.max())
            raise VocabularyError(
                f"ids must be 0 to {self.size - 1:,}, got {bad:,}; this text belongs to another vocabulary"
            )
        return self._codes[ids]

    def _look_up(self, codes, start, ids, given=None):
        """Write the ids of `codes` (N,) to ids[start : start + N]; an unknown code is an error.

        given : the text that they were rewritten from
        """
        # mode="clip" sends every code beyond the table to its last slot, which is unknown.
        found = self._table.take(codes, mode="clip")
        if self.unknown_symbol is not None:
            found = np.where(found < 0, self.unknown_id, found)
        elif found.min() < 0:
            index = int(np.argmax(found < 0))
            symbol, offset = int(codes[index]), start + index
            if self.rewriting:
                offset = self.rewriting.locate(given, offset)
            raise self.unknown(symbol if self.mode == "bytes" else chr(symbol), offset)
        ids[start : start + len(codes)] = found

    def _key(self, symbol):
        """Return what makes a symbol the same one in a vocabulary of the other mode."""
        return chr(symbol) if self.mode == "bytes" and symbol < 0x80 else symbol

    def _keys(self):
        """Return the key of every id; those of special symbols are longer than any character, those of labels pairs."""
        symbols = [UNKNOWN if symbol == self.unknown_symbol else self._key(symbol) for symbol in self.symbols]
        return [*symbols, *self.special, *((special.LABEL, name) for name in self.labels)]

    @cached_property
    def _known(self):
        return frozenset(self.symbols)

    @cached_property
    def _decomposed(self):
        """Every symbol in the pieces that Unicode's form NFD makes of it."""
        return [unicodedata.normalize("NFD", symbol) for symbol in self.symbols]

    @cached_property
    def _codes(self):
        """Code point or byte of each id as it is shown, (V,) uint32."""
        return np.array([symbol if self.mode == "bytes" else ord(symbol) for symbol in self.shown_symbols], np.uint32)

    @cached_property
    def _table(self):
        """Id of each code up to the largest one known, -1 where unknown and in the one slot beyond."""
        codes = self._codes[: len(self.symbols)]
        table = np.full(int(codes.max()) + 2, -1, np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        return table


class _CharacterDecoder:
    """Each id is a character, so nothing is ever held back."""

    def __init__(self, vocabulary):
        self._symbols = vocabulary.shown_symbols

    def feed(self, number):
        return self._symbols[number]

    def flush(self):
        return ""

    def fork(self):
        return self


class _ByteDecoder:
    """Each id is a byte; a character comes out when its last byte is in, and what can never be one as U+FFFD."""

    def __init__(self, vocabulary, decoder):
        self._vocabulary, self._decoder = vocabulary, decoder

    def feed(self, number):
        return self._decoder.decode(bytes((self._vocabulary.symbols[number],)))

    def flush(self):
        text = self._decoder.decode(b"", final=True)
        self._decoder.reset()
        return text

    def fork(self):
        return _ByteDecoder(self._vocabulary, self._decoder.fork())
