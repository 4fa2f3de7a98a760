"""What `charrnn export --torch` does: the module is export/torch_module.py's."""

import keyword
import sys

from charrnn.cli.words import note, quoted


def export_torch(checkpoint, outputs):
    """Write a Checkpoint as the module that Outputs name and its weights, and say what to do with them."""
    from charrnn.export.torch_module import torch_files
    from charrnn.files.storage import atomic_write_all
    from charrnn.training.stored import shown_encoding

    named = outputs.named("torch")
    module, weights = outputs.path("torch"), outputs.path_beside("torch")
    atomic_write_all(torch_files(checkpoint, module, weights, shown_encoding(checkpoint.training)))
    note(f"wrote {named}, and its weights to {named.with_suffix(weights.suffix)}")
    stem = named.stem
    if named.suffix != ".py" or not stem.isidentifier() or keyword.iskeyword(stem) or stem in sys.stdlib_module_names:
        note(f"to import {named.name} in Python, rename it to a free module name, such as model.py")
    note(f"next: python {quoted(named)} --help")
