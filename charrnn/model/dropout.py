"""What a training step drops, as its caller says it. How units and weights are dropped is kernels/dropout.py's."""

from dataclasses import dataclass

from charrnn.errors import ConfigError, check_integer, is_number


@dataclass(frozen=True)
class Dropout:
    """What a training step drops: outputs of layers, and recurrent weights.

    Raises ConfigError if a value is not allowed.

    Attributes
    ----------
    rate : float
        Share of the units, 0 <= rate < 1, whose output is dropped on its way to the layer above (never to the next
        time step).
    variational : bool
        Drop the same units at all time steps of a chunk.
    seed : int
        Of the random masks; for a model with zoneout, also of the units that keep their states.
    weight_rate : float
        Share of the recurrent weights that are dropped, 0 <= weight_rate < 1, the same ones in a whole chunk.
    """

    rate: float
    variational: bool = False
    seed: int = 0
    weight_rate: float = 0.0

    def __post_init__(self):
        for name, value in (("rate", self.rate), ("weight_rate", self.weight_rate)):
            if not is_number(value) or not 0 <= value < 1:
                raise ConfigError(f"the {name} of a Dropout must be at least 0 and below 1, got {value!r}")
        check_integer("seed", self.seed)
