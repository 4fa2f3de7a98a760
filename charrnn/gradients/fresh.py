"""Fresh networks to compare with: initialised as for training, but for a recurrent matrix or a forget bias of one's
choice."""

import numpy as np

from charrnn.model.parameters import Model
from charrnn.spec import FORGET_BIAS


def fresh_model(config, seed, singular_value=None, matrix="orthogonal", forget_bias=None):
    """Return Model.initialise(config, seed), changed.

    singular_value   of a vanilla RNN: the largest one of each recurrent matrix
    matrix           "orthogonal": every singular value is that one, so that all directions fare alike; "uniform": the
                     fresh matrix times a number, whose other singular values lie between it and 0
    forget_bias      of an LSTM
    """
    model = Model.initialise(config, seed, FORGET_BIAS if forget_bias is None else forget_bias)
    parameters = model.get_parameters()
    for layer in range(config.num_layers):
        if singular_value is not None:
            Wh = parameters[f"rnn.weight_hh_l{layer}"].astype(np.float64)
            left, values, right = np.linalg.svd(Wh)
            parameters[f"rnn.weight_hh_l{layer}"] = singular_value * (
                left @ right if matrix == "orthogonal" else Wh / values[0]
            )
    model.set_parameters(parameters)
    return model
