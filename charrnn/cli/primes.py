"""What a text begins with, as it is given on the command line or in a file -> ids. Imports no command."""

import contextlib
import os
import sys
import unicodedata
from pathlib import Path
from typing import Any, NamedTuple

import click

from charrnn.cli.checks import skip_first
from charrnn.cli.escapes import looks_escaped, read_escapes
from charrnn.cli.words import note, note_once, quoted
from charrnn.errors import ConfigError, CorpusError, VocabularyError, counted

MAX_PASTED = 200  # characters of a prime that a message spells in another way

prime_option = click.option(
    "--prime",
    metavar="TEXT",
    help="Text to continue. To include a newline, write $'\\n' in bash, or \\n with -e.  [default: start after a "
    "newline, or at the beginning of an item]",
)
prime_file_option = click.option(
    "--prime-file",
    type=click.Path(path_type=Path, allow_dash=True),
    metavar="FILE",
    help="Continue the text in FILE, including its last newline; - is stdin.",
)
unknown_in_a_prime = click.option(
    "--unknown",
    type=click.Choice(("error", "skip"), case_sensitive=False),
    default="error",
    show_default=True,
    help="What to do with characters of --prime or --prime-file that the model does not know: stop with an error, or "
    "skip and count them.",
)


def each_line_option(help):
    """Make the click option --each-line."""
    return click.option("--each-line", is_flag=True, help=help)


def given_option(what):
    """Make the click option --given; what : it does. Named twice it is refused: the last would silently count alone."""
    return click.option(
        "--given",
        metavar="LABEL",
        multiple=True,
        callback=_only_label,
        help=f"For a model that writes texts for a label: {what}.",
    )


def _only_label(ctx, _, labels):
    if len(labels) > 1:
        from charrnn.text.special import listed

        raise ConfigError(
            f"--given takes one label, got {counted(len(labels), 'label')}: {listed(labels)}; give one, and run "
            f"'charrnn {ctx.info_name}' once for each label",
            ["given"],
        )
    return labels[0] if labels else None


class PrimeReader(NamedTuple):
    """How primes are read.

    vocabulary    the model's
    encoding      of the model's bytes, or of a file
    escapes       whether \\n and its kind are read in what is typed
    unknown       what to do with characters that the model does not know, "error" or "skip"
    """

    vocabulary: Any
    encoding: str
    escapes: bool = False
    unknown: str = "error"

    @classmethod
    def of_options(cls, checkpoint, options):
        """Return what reads the primes of a command that has the options --encoding, --escapes and --unknown."""
        encoding = _encoding(checkpoint, options["encoding"])
        return cls(checkpoint.vocabulary, encoding, options["escapes"], options["unknown"])

    def ids_of(self, options, data):
        """Return the ids of --prime or of the `data` of --prime-file, none where neither is given."""
        if data is not None:
            return self._encode_file(data, options["prime_file"])
        return self.encode(options["prime"] or "", "--prime")

    def ids_of_lines(self, data, path):
        """Return the ids of each line of the `data` of --prime-file: a list of ndarray, empty for an empty line."""
        option = "--prime-file"
        if self.vocabulary.mode == "bytes" and "\n".encode(self.encoding) == b"\n":
            text = data.decode(self.encoding, "surrogateescape")  # any bytes, as `encode` takes them
        else:
            self._refuse_binary(data, path)
            text = _decoded(data, option, self.encoding)
        lines = text.removeprefix("\ufeff").replace("\r\n", "\n").removesuffix("\n").split("\n")
        if lines == [""]:
            raise CorpusError(f"--prime-file {path} has no prime: write one per line")
        return [self.encode(line, f"line {number:,} of {option}") for number, line in enumerate(lines, 1)]

    def typed(self, text, option):
        """Return what was typed for an option, with its escapes read if so asked for."""
        if self.escapes:
            return read_escapes(text, option, self.vocabulary.mode == "bytes")
        if looks_escaped(text):
            what = "--prime-file" if option.endswith("--prime-file") else option  # said once of all its lines
            note_once(f"the backslash in {what} is read as a backslash: add --escapes to read \\n as a newline")
        return text

    def encode(self, text, option):
        """Return the ids of what was typed, with or without what the model does not know."""
        text = self.typed(text, option)
        known = text
        if self.vocabulary.mode == "bytes":
            try:
                known = _text_as_bytes(text, self.encoding)
            except VocabularyError as error:
                raise VocabularyError(f"{option}: {error}") from None
        text = self._without_unknown(text, known, option)
        self._tell_unknown(text, option)
        try:
            return self.look_up(text, option)
        except VocabularyError as error:
            raise VocabularyError(f"{error}; --unknown skip skips such characters") from None

    def look_up(self, text, option):
        """Return the ids of what `option` gave, str or the bytes of a file; VocabularyError names the option."""
        try:
            if isinstance(text, bytes):
                return self.vocabulary.encode_bytes(text)
            return self.vocabulary.encode(text, self.encoding)
        except VocabularyError as error:
            said = f"{option}: {error}{_spelt_as_known(self.vocabulary, text, option, self.encoding)}"
            raise VocabularyError(said, f"{option}: {error.missing}", error.remedies) from error

    def _encode_file(self, data, path):
        """Return the ids of the bytes of --prime-file, with or without what the model does not know."""
        option, text = "--prime-file", data
        if self.vocabulary.mode == "chars":
            self._refuse_binary(data, path)
            text = _decoded(data, option, self.encoding)
        text = self._without_unknown(text, text, option)
        self._tell_unknown(text, option)
        try:
            return self.look_up(text, option)
        except VocabularyError as error:
            from charrnn.text.decoding import encoding_to_blame, is_utf8_in_another

            if self.vocabulary.mode == "chars" and is_utf8_in_another(data, self.encoding):
                raise VocabularyError(encoding_to_blame(error, path, self.encoding)) from None
            raise VocabularyError(skip_first(error)) from None

    def _without_unknown(self, text, known, option):
        """Return `text`, or where unknown characters are skipped what is known of it.

        known    the same, with bytes in bytes mode
        """
        from charrnn.text.corpus import left_out

        if self.unknown != "skip":
            return text
        text, others = self.vocabulary.without_unknown(known)
        if others and not text:
            raise VocabularyError(f"the model knows no character of {option}: write another text, or leave it out")
        if others:
            note(f"{option}: {left_out(others, self.vocabulary.mode)}")
        return text

    def _tell_unknown(self, text, option):
        """Say how many characters of a prime are read as the unknown symbol."""
        from charrnn.text.corpus import read_as_unknown

        if self.vocabulary.unknown_symbol is not None and (count := self.vocabulary.count_unknown(text)):
            note(f"{option}: {read_as_unknown(count, self.vocabulary)}")

    def _refuse_binary(self, data, path):
        from charrnn.text.decoding import refuse_binary
        from charrnn.text.sources import SNIFF_BYTES

        refuse_binary(data[:SNIFF_BYTES], str(path), self.encoding, "write the prime with --prime")


def check_primes(options):
    """Refuse options of primes that contradict each other, before anything is read."""
    if options["prime"] is not None and options["prime_file"] is not None:
        raise ConfigError(
            "--prime and --prime-file both give the text to continue: leave one of them out", ["prime", "prime_file"]
        )
    if options["each_line"] and options["prime_file"] is None:
        raise ConfigError(
            "--each-line needs a file with one prime per line: add --prime-file FILE", ["each_line", "prime_file"]
        )


def prime_meant(verb):
    """Return a function that says how a text, or words, are given that stand in the place of CHECKPOINT."""

    def meant(where, run):
        text = str(where)
        if text == "-" or os.path.isfile(where):
            return f"to continue the text of a file, use --prime-file: charrnn {verb} {run} --prime-file {quoted(text)}"
        if os.path.exists(where) or len(where.parts) > 1 or where.suffix:
            return None
        return f"to continue a text, use --prime: charrnn {verb} {run} --prime {quoted(text)}"

    return meant


def read_prime_file(options):
    """Return the bytes of --prime-file, None where there is none."""
    path = options["prime_file"]
    if path is None:
        return None
    try:
        return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()
    except OSError as error:
        raise CorpusError(f"cannot read --prime-file {path}: {(error.strerror or str(error)).lower()}") from error


def _encoding(checkpoint, named):
    """Return the encoding that was named, or the run's: of the model's bytes, or of --prime-file."""
    from charrnn.text.decoding import encoding_of_bytes, stored_encoding_of_bytes, text_encoding
    from charrnn.training.stored import stored_encoding

    if named is None:
        named = stored_encoding(checkpoint.training)
        of_bytes = stored_encoding_of_bytes(named)
    else:
        of_bytes = encoding_of_bytes(named)
    # A file of UTF-16 may begin with its mark, which says the order of the bytes.
    return of_bytes if checkpoint.vocabulary.mode == "bytes" or not of_bytes.endswith("-le") else text_encoding(named)


def _text_as_bytes(text, encoding):
    from charrnn.text.byte_text import text_as_bytes

    return text_as_bytes(text, encoding)


def _decoded(data, option, encoding):
    """Return the text of a file."""
    try:
        return data.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        from charrnn.text.detection import SAMPLE_BYTES, suggest_encoding

        seems = suggest_encoding(data[:SAMPLE_BYTES])
        remedy = "give its encoding with --encoding NAME, such as cp1252 or shift_jis"
        if seems is not None and seems != encoding:
            remedy = f"it seems to be {seems.upper()}, read it with --encoding {seems}"
        raise VocabularyError(
            f"{option} is not {encoding.upper()}: byte 0x{data[error.start]:02x} at offset {error.start:,}; {remedy}"
        ) from None


def _spelt_as_known(vocabulary, text, option, encoding):
    """Return how to write `option` for bash, where the vocabulary knows its text in another normal form, else ""."""
    if not option.startswith("--") or option == "--prime-file" or len(text) > MAX_PASTED:
        return ""
    for form in ("NFD", "NFC", "NFKD", "NFKC"):
        other = unicodedata.normalize(form, text)
        with contextlib.suppress(VocabularyError):
            vocabulary.encode(other, encoding)
            return f"; here, in bash: {option} {_ansi_c(other)}"
    return ""


def _ansi_c(text):
    """Spell a text for bash and zsh with everything escaped that is not ASCII."""
    pieces = []
    for character in text:
        code = ord(character)
        if 0x20 <= code < 0x7F:
            pieces.append(f"\\{character}" if character in "\\'" else character)
        else:
            pieces.append(f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}")
    return f"$'{''.join(pieces)}'"
