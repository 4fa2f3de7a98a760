"""How options are spelt: in a message to whoever gave them in a file, and as a command.

Imports neither numpy nor numba.
"""

import dataclasses
import re
import shlex

from charrnn.training import defaults as known
from charrnn.training.options import DEFAULTS, NAMES, SETTINGS
from charrnn.training.settings import FREE, option


def spelt_in_file(message):
    """Spell the training options of a message as a file has them, for whoever did not give them on the command line.

    `--hidden-size 8` becomes `hidden-size 8`; what a command that is advised consists of stays.
    """
    parts = re.split(r"('charrnn [^']*')", message)
    pattern = rf"(?<![\w-])--({'|'.join(map(_flag, sorted(NAMES, key=len, reverse=True)))})(?![\w-])"
    parts[::2] = [re.sub(pattern, r"\1", part) for part in parts[::2]]
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
