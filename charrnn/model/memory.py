"""How much memory the training of a model needs, computed from the sizes of its arrays.

No array is created and no kernel is compiled.
"""

import numpy as np

from charrnn.kernels.layout import Layout
from charrnn.model.buffers import ChunkBuffers, Extent
from charrnn.model.precision import pack_of
from charrnn.model.workspace import block_steps, walk_buffers


def training_bytes(
    config, batch_size, seq_length, precision="float32", dropping=False, dropping_weights=False, resetting=False
):
    """Return the memory of a model and its Workspace in bytes, for training on whole chunks with one thread.

    Parameters
    ----------
    config : ModelConfig
        The architecture.
    batch_size, seq_length : int
        B and T.
    precision : {"float32", "bfloat16"}
        As for Workspace.
    dropping, dropping_weights : bool
        Whether units, or recurrent weights, are dropped.
    resetting : bool
        Whether the state of a stream is reset within chunks.
    """
    pack = pack_of(precision)
    layout = Layout(config, pack)
    block = block_steps(layout, batch_size, 1, seq_length)
    extent = Extent(
        layout, batch_size, seq_length, True, block=block, gradients=True, dropping=dropping, resetting=resetting
    )
    kinds = [ChunkBuffers, *walk_buffers(config.cell, pack, True)]
    kept = sum(panels.size for panels in layout.weights_h) if dropping_weights else 0
    numbers = layout.size + max(layout.size, layout.derived_size) + kept  # parameters, gradient, weights kept aside
    return sum(kind.count_bytes(extent) for kind in kinds) + numbers * layout.dtype.itemsize


def parameter_bytes(config):
    """Return the size of Model.flat in bytes, padding included."""
    return Layout(config).size * np.dtype(config.dtype).itemsize
