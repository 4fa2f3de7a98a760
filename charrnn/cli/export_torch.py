"""charrnn export --torch: the Python module and its weights, and what to do with them."""

import keyword
import sys

from charrnn.cli.words import note, quoted, shorter
from charrnn.errors import ConfigError


def export_torch(where, outputs):
    """Write the model of CHECKPOINT as it was named, None for the newest run, as a module for PyTorch."""
    from charrnn.export.torch_module import torch_files
    from charrnn.files.storage import atomic_write_all
    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.text.decoding import stored_encoding_of_bytes
    from charrnn.training.stored import stored_encoding

    named = outputs.named("torch")
    if named.suffix != ".py":
        example = quoted(named.with_suffix(".py"))
        raise ConfigError(
            f"--torch {named} is to hold Python, and its name does not end in .py: --torch {example}", ["torch"]
        )
    path = find_checkpoint(where)
    if path != where:
        note(f"checkpoint {shorter(path)}")
    checkpoint = load_checkpoint(path)
    outputs.protect_run(checkpoint.training, path.parent)
    module, weights = outputs.path("torch"), outputs.path_beside("torch")
    encoding = stored_encoding_of_bytes(stored_encoding(checkpoint.training))
    atomic_write_all(torch_files(checkpoint, module, weights, encoding))
    beside = named.with_suffix(weights.suffix)
    note(f"wrote {named}, and its weights to {beside}")
    if not named.stem.isidentifier() or keyword.iskeyword(named.stem) or named.stem in sys.stdlib_module_names:
        note(f"{named.name} runs as a program; to import it, rename it to something like model.py")
    note(f"next: python {quoted(named)} --help")
