"""How options are spelt: in a message to whoever gave them in a file or in Python, and as a command.

Imports neither numpy nor numba.
"""

import dataclasses
import re
import shlex

from charrnn.training import defaults as known
from charrnn.training.options import DEFAULTS, NAMES, SETTINGS
from charrnn.training.settings import FREE, option

# Of the calls of `import charrnn` but for the training options: those with the name of their option, and the others.
OTHER_KEYWORDS = ("output", "resume", "init_from", "temperature", "top_k", "top_p", "min_p", "characters", "quantity",
                  "clamp")  # fmt: skip
UNLIKE_KEYWORDS = {"find": "wanted", "no-baselines": "baselines=False"} | {
    f"dynamic-{name}": f"dynamic.{name}" for name in ("rule", "rate", "decay", "segment")
}


def spelt_in_file(message):
    """Spell the training options of a message as a file has them, for whoever did not give them on the command line.

    `--hidden-size 8` becomes `hidden-size 8`; what a command that is advised consists of stays.
    """
    return _respelt(message, {_flag(name): _flag(name) for name in NAMES})


def spelt_in_python(message):
    """Spell the options of a message as the keyword arguments of `import charrnn`, for whoever called it.

    `--hidden-size 8` becomes `hidden_size=8`; what a command that is advised consists of stays.
    """
    words = {_flag(name): name for name in (*NAMES, *OTHER_KEYWORDS)} | UNLIKE_KEYWORDS
    return _respelt(message, words, lambda number: "=" + number.replace(",", ""))


def _respelt(message, words, valued=" {}".format):
    """Replace every option --NAME in a message by words[NAME], but not in a command; others stay.

    valued : what becomes of a number after an option
    """
    parts = re.split(r"('charrnn [^']*'|: charrnn .*)", message)
    names = "|".join(sorted(words, key=len, reverse=True))
    pattern = rf"(?<![\w-])(?:-\w/)?--({names})(?![\w-])(?: (\d+(?:,\d{{3}})*(?:\.\d+)?(?:e[+-]?\d+)?)(?!\w))?"

    def respelt(found):
        return words[found[1]] + (valued(found[2]) if found[2] else "")

    parts[::2] = [re.sub(pattern, respelt, part) for part in parts[::2]]
    return "".join(parts)


def train_command(config, texts):
    """Return the command that trains with a TrainingConfig on `texts`, names; what has its default is left out."""
    chosen = {
        "batch_size": known.BATCH_SIZE,
        "seq_length": known.SEQ_LENGTH,
        "minutes": known.DEFAULT_MINUTES,
        "learning_rate": known.learning_rate_of(dataclasses.replace(config, learning_rate=None)),
        "schedule": known.schedule_of(dataclasses.replace(config, schedule=None), config.length_kind is not None),
        "warmup": known.WARMUPS.get(config.schedule, 0),
        "weight_decay": known.weight_decay_of(dataclasses.replace(config, weight_decay=None)),
    }
    words = ["charrnn", "train", *texts]
    for name, about in SETTINGS.items():
        value = getattr(config, name)
        if about.on_resume == FREE or value is None or value in (getattr(DEFAULTS, name), chosen.get(name)):
            continue
        if isinstance(value, bool):
            words.append(option(name) if value else f"--no-{_flag(name)}")
        else:
            words += [option(name), f"{value:g}" if isinstance(value, float) else str(value)]
    return shlex.join(words)


def _flag(name):
    return option(name)[2:]
