"""Which options of a run may change when it is resumed: its length, to a longer one, when else it ends, how numbers are
rounded, and what bears on no result.
"""

import dataclasses

from charrnn.errors import ConfigError
from charrnn.training.options import SETTINGS
from charrnn.training.settings import CHECKED, ENDING, FREE, LONGER, ROUNDING, option, shown


def resume_config(stored, asked):
    """Return the config to resume with: the run's own, with what may change changed.

    stored : TrainingConfig of the run
    asked : {name: value}, the options named for the resumption

    Raises ConfigError for a value of the wrong type, and for an option that contradicts the run, with both values.
    """
    changes = {}
    for name, value in asked.items():
        SETTINGS[name].check_type(name, value)
        old, on_resume = getattr(stored, name), SETTINGS[name].on_resume
        if on_resume == LONGER and value is not None:
            kind = stored.length_kind
            if old is None and kind is not None:
                raise ConfigError(
                    f"the run's length is {option(kind)} {shown(getattr(stored, kind))}, so it cannot be extended "
                    f"with {option(name)}: give a larger {option(kind)}",
                    [name, kind],
                )
            if old is not None and value < old:
                raise ConfigError(
                    f"the run's length is {option(name)} {shown(old)}; it can be extended but not shortened, got "
                    f"{shown(value)}",
                    [name],
                )
            changes[name] = value
        elif on_resume in (FREE, ENDING, ROUNDING) or on_resume == CHECKED and None not in (old, value):
            changes[name] = value
        elif value != old:
            raise ConfigError(
                f"the run was started with {option(name)} {shown(old)} and cannot be resumed with {shown(value)}: "
                f"leave {option(name)} out, or start a new run with 'charrnn train TEXT --init-from RUN'",
                [name],
            )
    return dataclasses.replace(stored, **changes)
