"""What is counted without making an array is what a step of training holds."""

import itertools

import numpy as np
import pytest

from charrnn.kernels.host import has_bfloat16
from charrnn.model.dropout import Dropout
from charrnn.model.memory import training_bytes
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import CELLS, ModelConfig
from charrnn.training.memory import array_bytes

KINDS = [{}, {"embedding_size": 10}, {"embedding_size": 21, "tied": True, "layer_norm": True}, {"zoneout": 0.2}]
PRECISIONS = ["float32", pytest.param("bfloat16", marks=pytest.mark.skipif(not has_bfloat16(), reason="this CPU"))]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("cell, kind", list(itertools.product(CELLS, KINDS)), ids=str)
def test_the_bytes_that_are_counted_are_those_that_a_step_holds(cell, kind, precision):
    config = ModelConfig(cell, 33, 21, 2, **kind)
    workspace = Workspace(Model(config), 7, 40, precision=precision)
    chunk = np.zeros((2, 40, 7), np.int32)
    for dropout in (None, Dropout(0.5, weight_rate=0.5)):
        workspace.loss_and_grads(*chunk, dropout)
    for resets in (None, np.ones((40, 7), bool)):
        workspace.loss_and_grads(*chunk, dropout, resets=resets)
        counted = training_bytes(
            config, 7, 40, precision, dropping=True, dropping_weights=True, resetting=resets is not None
        )
        # Held are also tables of offsets, and up to 63 bytes before each array, so that it begins a cache line.
        assert counted <= array_bytes([workspace]) < counted + 12_000
