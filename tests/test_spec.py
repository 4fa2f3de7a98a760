"""The table of cells, and what is counted from a model's configuration."""

import numpy as np
import oracle
import pytest

from charrnn.errors import ConfigError
from charrnn.model.parameters import Model
from charrnn.spec import CELLS, ModelConfig, largest_parameter, num_parameters, parameter_shapes

KINDS = [
    {"embedding_size": embedding_size, "tied": tied, "layer_norm": layer_norm}
    for embedding_size, tied in ((0, False), (4, False), (5, True))
    for layer_norm in (False, True)
]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_what_is_counted_is_what_a_model_trains(cell, kind):
    config = ModelConfig(cell, 7, 5, 2, **kind)
    model = Model(config)
    ones = {name: np.ones(shape, "f4") for name, shape in parameter_shapes(config).items()}
    model.set_parameters(ones)
    assert num_parameters(config) == model.num_parameters == np.count_nonzero(model.flat)
    assert largest_parameter(config) == max(each.size for each in ones.values())


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_parameters_have_the_oracles_names_and_shapes(cell, kind):
    shapes = oracle.shapes(cell, 7, 5, 2, kind["embedding_size"], kind["tied"], kind["layer_norm"])
    assert list(parameter_shapes(ModelConfig(cell, 7, 5, 2, **kind)).items()) == list(shapes.items())


@pytest.mark.parametrize("name, value", [("zoneout", True), ("zoneout", 1), ("zoneout", -0.1), ("layer_norm", 1)])
def test_an_optional_field_has_a_rule(name, value):
    with pytest.raises(ConfigError, match=name):
        ModelConfig("gru", 7, 5, 1, **{name: value})
