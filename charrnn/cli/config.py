"""TOML files of options: what they hold, as click takes it.

Knows no option by name; the caller says which there are.
"""

import contextlib
import glob
import os

from charrnn.errors import CharRNNError, ConfigError, nearest
from charrnn.training.settings import short

MAX_BYTES = 1 << 18  # of a file of options


def read_toml(path, where):
    """Return a TOML file as a dict. `where` is what a message calls it."""
    import tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise ConfigError(f"{where} is longer than {MAX_BYTES:,} bytes: name a file of options")
        return tomllib.loads(data.decode("utf-8-sig"))
    except OSError as error:
        raise ConfigError(f"cannot read {where}: {(error.strerror or str(error)).lower()}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{where} is not in UTF-8, as TOML must be ({error.reason}){_in_utf8(path, data)}") from None
    except ValueError as error:  # beside what is no TOML: a number of too many digits
        raise ConfigError(f"{where} is not TOML: {short(str(error), 200)}") from None
    except RecursionError:
        raise ConfigError(f"{where} is nested too deeply: an option is a text, a number, true or false") from None


def config_values(options, known, where):
    """Return {name: value as click takes it} of options as a TOML file has them.

    known : the names of the options that there are; ConfigError for another one
    """
    values = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            near = nearest(name, known)
            remedy = (
                "list them with: charrnn train --help-all"
                if near is None
                else f"did you mean {near.replace('_', '-')!r}?"
            )
            raise ConfigError(f"{where}: unknown option {short(repr(key))}; {remedy}")
        values[name] = _config_value(where, key, value, name == "text")
    return values


def _config_value(where, key, value, is_list):
    """Return a TOML value as click takes it: as text, so that 1.5 is no whole number and `true` no number at all."""
    if is_list:
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
    elif (
        isinstance(value, (str, float)) or isinstance(value, int) and abs(value) < 2**64
    ):  # str() refuses thousands of digits
        return str(value)
    remedy = "; give one value (lists of values belong into [grid] of a sweep)" if isinstance(value, list) else ""
    raise ConfigError(f"{where}: option {key!r} cannot have the value {short(value)}{remedy}")


def texts_beside(path, texts, where, note):
    """Return the texts that a file of options names, found from the current folder or else from where that file is.

    For the config.toml of a run, that is where the run found them. `note` gets a sentence for each that is read from
    elsewhere than the current folder, and for one that is in both places. Raises ConfigError for one that is nowhere.
    """
    kept = _texts_of_run(path, texts)
    found = []
    for at, text in enumerate(texts):
        beside = os.path.join(os.path.dirname(path), text) if kept is None else kept[at]
        if text == "-" or os.path.isabs(os.path.expanduser(text)):
            found.append(text)
        elif _is_there(text):
            if _is_there(beside) and os.path.realpath(text) != os.path.realpath(beside):
                note(f"{text} is read from the current folder, not the one next to {where}, {beside}")
            found.append(text)
        elif _is_there(beside):
            beside = os.path.normpath(beside)
            note(f"{text}, named in {where}, is read from {beside}")
            found.append(beside)
        else:
            beside = os.path.normpath(beside)
            missing = "does not exist" if beside == text else f"is neither in the current folder nor at {beside}"
            raise ConfigError(f"{where} names the text {text}, which {missing}: correct its line 'text = ...'")
    return found


def validation_beside(path, text):
    """Return where a validation text that a file of options names is: as named, or where its run or the file has it."""
    if os.path.exists(text):
        return text
    training = _training_of_run(path)
    if training is not None and training.get("config", {}).get("val_text") == text:
        from charrnn.training.provenance import NAME_ANOTHER, find_validation

        with contextlib.suppress(CharRNNError):
            return find_validation(training, os.path.dirname(path), NAME_ANOTHER)
    return os.path.normpath(os.path.join(os.path.dirname(path), text))


def _texts_of_run(path, texts):
    """Return the paths at which the run that has this config.toml found its texts; None where it is no run's."""
    training = _training_of_run(path)
    if training is None:
        return None
    from charrnn.training.provenance import find_texts

    corpus = training.get("corpus")
    if not isinstance(corpus, dict) or corpus.get("sources") != list(texts):  # the file was written to since
        return None
    try:
        return find_texts(training, os.path.dirname(path))
    except CharRNNError:
        return None


def _training_of_run(path):
    """Return the record of the training of the run that has this config.toml; None where it is no run's."""
    from charrnn.runs.names import CONFIG, LAST

    last = os.path.join(os.path.dirname(path), LAST)
    if os.path.basename(path) != CONFIG or not os.path.isfile(last):
        return None
    from charrnn.runs.checkpoint import read_metadata

    try:
        return read_metadata(last)["training"]
    except CharRNNError:
        return None


def _is_there(text):
    return os.path.exists(text) or glob.has_magic(text) and bool(glob.glob(text, recursive=True))


def _in_utf8(path, data):
    """Say what else than UTF-8 a file of options is in, where that can be told, and how it becomes UTF-8."""
    from charrnn.text.detection import suggest_encoding
    from charrnn.text.kinds import iconv_name, why_not_text
    from charrnn.text.sources import as_text

    kind = why_not_text(data, "utf-8")
    encoding = kind.encoding if kind is not None else suggest_encoding(data)
    if encoding is None:
        return ": save it as UTF-8"
    command = as_text(path, f"iconv -f {iconv_name(encoding)} -t utf-8 {{}} > {{text}}", ".toml")
    return f" and seems to be {encoding.upper()}; convert it with: {command}"
