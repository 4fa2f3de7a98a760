"""How much memory training needs. What does not fit is refused before anything is written, not killed halfway.

This module knows models and workspaces, not texts, runs or files.
"""

import numpy as np

from charrnn.errors import ConfigError
from charrnn.model.memory import parameter_bytes, training_bytes
from charrnn.spec import largest_parameter
from charrnn.training.optimisers import SLOTS

# Of an item, while the order of an epoch is drawn: the order of all and of one before, their ends, random numbers.
BYTES_AN_ITEM = 56


def memory_needed(
    model_config,
    batch_size,
    seq_length,
    precision="float32",
    dropping=False,
    optimizer="adamw",
    averaging=False,
    dropping_weights=False,
):
    """Return the size in bytes of all arrays of a training step, and of the array from which a checkpoint is written.

    Parameters
    ----------
    model_config : ModelConfig
        The architecture.
    batch_size, seq_length : int
        B and T.
    precision : {"float32", "bfloat16"}
        As for Workspace.
    dropping, dropping_weights : bool
        Whether units, or recurrent weights, are dropped.
    optimizer : str
        Name of the optimiser.
    averaging : bool
        Whether an average of the weights is kept in addition.
    """
    held = training_bytes(model_config, batch_size, seq_length, precision, dropping, dropping_weights)
    copies = len(SLOTS[optimizer]) + averaging  # of the parameters, padding included
    return held + copies * parameter_bytes(model_config) + saving_bytes(model_config)


def item_bytes(model_config, batch_size, seq_length, precision, items):
    """Return how many bytes more a run on `items` items needs than a run on one long text of the same size.

    The other arguments are as for `memory_needed`.
    """
    alone, resetting = (
        training_bytes(model_config, batch_size, seq_length, precision, resetting=resetting)
        for resetting in (False, True)
    )
    return resetting - alone + BYTES_AN_ITEM * items


def held_bytes(model, optimizer, *workspaces):
    """Return the size in bytes of all arrays of a training run, including those of a save. A workspace may be None."""
    owners = [model, optimizer, *(workspace for workspace in workspaces if workspace is not None)]
    return array_bytes(owners) + saving_bytes(model.config)


def saving_bytes(config):
    """Return the memory in bytes that saving needs: one array of the checkpoint, the largest, is unpacked at a time."""
    return largest_parameter(config) * np.dtype(config.dtype).itemsize


def check_memory(needed, available):
    """Raise ConfigError if `needed` bytes do not fit; a system without free memory may kill any process.

    available : free memory in bytes; None if unknown
    """
    if available is not None and needed > available:
        raise ConfigError(
            f"training this model needs {needed / 1e9:,.1f} GB of memory, but only {available / 1e9:,.1f} GB are "
            "free: lower "
            "--hidden-size, --num-layers, --batch-size or --seq-length",
            options=["hidden_size", "num_layers", "batch_size", "seq_length"],
        )


def array_bytes(owners):
    """Return the size in bytes of all arrays that can be reached from some objects, each counted once."""
    seen, total, todo = set(), 0, list(owners)
    while todo:
        thing = todo.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, np.ndarray):
            if thing.base is not None and isinstance(thing.base, np.ndarray):
                todo.append(thing.base)
            else:
                total += thing.nbytes
        elif isinstance(thing, dict):
            todo.extend(thing.values())
        elif isinstance(thing, (list, tuple)):
            todo.extend(thing)
        elif type(thing).__module__.startswith("charrnn.") and hasattr(thing, "__dict__"):
            todo.extend(vars(thing).values())
    return total
