"""Singular values against numpy's, norms by layer against the gradient by name."""

import math

import numpy as np
import pytest

from charrnn.model.buffers import aligned_zeros
from charrnn.model.matrices import largest_singular_values, norms_by_layer
from charrnn.model.parameters import Model
from charrnn.spec import CELLS, ModelConfig


@pytest.mark.parametrize("H", [1, 5, 70])
@pytest.mark.parametrize("cell", CELLS)
def test_the_largest_singular_value_is_numpys(cell, H):
    model = Model.initialise(ModelConfig(cell, 7, H, 2), seed=4)
    for layer, value in enumerate(largest_singular_values(model)):
        expected = np.linalg.svd(model.get_parameters()[f"rnn.weight_hh_l{layer}"], compute_uv=False)[0]
        assert 0.995 * expected < value < 1.00001 * expected


def test_matrices_with_a_known_answer():
    model = Model.initialise(ModelConfig("rnn", 7, 6, 3), seed=0)
    parameters = model.get_parameters()
    parameters["rnn.weight_hh_l0"] = np.diag([0.5, 0.2, 0, -3.0, 1, 1])
    parameters["rnn.weight_hh_l1"] = np.zeros((6, 6))
    parameters["rnn.weight_hh_l2"] = np.full((6, 6), math.nan)
    model.set_parameters(parameters)
    one, zero, nan = largest_singular_values(model)
    assert one == pytest.approx(3, rel=1e-4) and zero == 0 and math.isnan(nan)


@pytest.mark.parametrize("E, tied, layer_norm", [(0, False, False), (4, False, True), (5, True, False)])
@pytest.mark.parametrize("cell", CELLS)
def test_norms_by_layer_are_those_of_the_named_arrays(cell, E, tied, layer_norm):
    model = Model.initialise(ModelConfig(cell, 7, 5, 2, E, tied, layer_norm=layer_norm), seed=1)
    named = model.get_parameters()
    groups = {"embedding": ["embedding.weight"]} if E and not tied else {}
    for layer in range(2):
        groups[f"layer {layer}"] = [name for name in named if name.endswith(f"_l{layer}")]
    groups["output"] = ["embedding.weight" if tied else "output.weight", "output.bias"]
    norms = norms_by_layer(model, model.flat)
    assert list(norms) == list(groups)
    for part, names in groups.items():
        assert norms[part] == pytest.approx(
            math.sqrt(sum((named[name].astype(float) ** 2).sum() for name in names)), rel=1e-5
        )
    assert math.sqrt(sum(norm**2 for norm in norms.values())) == pytest.approx(np.linalg.norm(model.flat), rel=1e-5)


def test_a_norm_beyond_what_float32_squares_is_told():
    model = Model(ModelConfig("lstm", 7, 5, 1))
    flat = aligned_zeros(model.layout.size, "float32")
    flat[:] = 1e25 * (model.pack({name: np.ones(shape) for name, shape in model.shapes().items()}) != 0)
    assert norms_by_layer(model, flat)["output"] == pytest.approx(1e25 * math.sqrt(7 * 5 + 7), rel=1e-5)
