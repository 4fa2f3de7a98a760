"""A model as an ONNX graph of one time step: states in, states out.

    ids (batch,)    h [and c] (L, batch, H)    ->    logits (batch, V)    h_next [and c_next] (L, batch, H)

Only operators that every runtime has, in float32, whatever the model's dtype. The matrices keep PyTorch's names and
layout; of a sum's two biases only their total is kept, as in charrnn. Where an item's START is read, the states are
zero. docs/EXPORT.md describes the file. Knows a Checkpoint's parts; no kernel, and no run folder.

    V  vocabulary      E  embedding size      H  hidden size      L  layers      G  blocks of a cell's stored weights
"""

import numpy as np

from charrnn.errors import ConfigError
from charrnn.export.metadata import FORMAT_VERSION, export_metadata
from charrnn.files.marks import NAME, ONNX_IR_VERSION
from charrnn.files.storage import atomic_write
from charrnn.spec import CELLS, ModelConfig

OPSET = 13  # onnxruntime from 1.6 on, December 2020; TensorRT, OpenVINO and others reach back at least as far
BATCH = "batch"  # the name of the dimension that may have any size
NORM_EPSILON = 1e-5  # of layer normalisation, as in the kernels
MAX_BYTES = (2 << 30) - (1 << 20)  # a protobuf message has at most 2 GiB; the graph itself takes a few kB


def load_onnx():
    """Return the package onnx. Raises ConfigError where it is not installed, or cannot be loaded."""
    try:
        import onnx
    except ImportError as error:
        missing = isinstance(error, ModuleNotFoundError) and error.name == "onnx"
        why = "is not installed" if missing else f"cannot be loaded ({error})"
        raise ConfigError(f"--onnx needs the package onnx, which {why}: pip install onnx", ["onnx"]) from None
    return onnx


def write_onnx(path, checkpoint):
    """Write the model of a Checkpoint to `path`, whole or not at all; return an onnx.ModelProto.

    The same checkpoint gives the same bytes.

    Raises
    ------
    ConfigError
        The package onnx is missing, or the model is too large for an ONNX file or for float32.
    StorageError
        The disk is full, read-only, or refuses.
    """
    model = make_onnx(checkpoint)
    atomic_write(path, model.SerializeToString(deterministic=True))
    return model


def make_onnx(checkpoint):
    """Return the model of a Checkpoint as an onnx.ModelProto, checked. Raises ConfigError as `write_onnx`."""
    onnx = load_onnx()
    config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
    size = sum(parameter.size for parameter in checkpoint.parameters.values()) * 4
    if size > MAX_BYTES:
        raise ConfigError(
            f"an ONNX file has at most 2 GiB, but the weights of this model need {size / 2**30:.1f} GiB as float32: "
            "export it with --torch FILE",
            ["onnx"],
        )
    graph, told = _Graph(onnx.helper), export_metadata(checkpoint)
    states = CELLS[config.cell].states
    _write_step(graph, config, _float32(checkpoint.parameters), checkpoint.vocabulary.start_id)
    floats, integers = onnx.TensorProto.FLOAT, onnx.TensorProto.INT64
    carried = [config.num_layers, BATCH, config.hidden_size]

    def value(name, shape, dtype=floats):
        return onnx.helper.make_tensor_value_info(name, dtype, shape)

    made = onnx.helper.make_model(
        onnx.helper.make_graph(
            graph.nodes,
            f"{config.cell}_step",
            [value("ids", [BATCH], integers), *(value(state, carried) for state in states)],
            [value("logits", [BATCH, config.vocab_size]), *(value(_next(state), carried) for state in states)],
            graph.initializers(onnx.numpy_helper),
        ),
        ir_version=ONNX_IR_VERSION,
        opset_imports=[onnx.helper.make_opsetid("", OPSET)],
        producer_name=NAME,
        producer_version=told["charrnn_version"],
        model_version=FORMAT_VERSION,
        doc_string="One time step of a character model. The metadata hold its vocabulary and how to sample from it.",
    )
    onnx.helper.set_model_props(made, told)
    onnx.checker.check_model(made, full_check=True)
    return made


def interface(model):
    """Say in words what goes into an onnx.ModelProto and what comes out: two strings."""

    def said(values):
        of = {}
        for one in values:
            shape = tuple(each.dim_param or each.dim_value for each in one.type.tensor_type.shape.dim)
            of.setdefault((shape, one.type.tensor_type.elem_type), []).append(one.name)
        return ", ".join(
            f"{' and '.join(names)} ({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
            + (" int64" if dtype == load_onnx().TensorProto.INT64 else "")
            for (shape, dtype), names in of.items()
        )

    return said(model.graph.input), said(model.graph.output)


# ---------------------------------------------------------------------------------------------------------- the graph


class _Graph:
    """Nodes and constants as they are added, in an order in which they can be computed."""

    def __init__(self, helper):
        self.nodes, self._constants, self._helper = [], {}, helper

    def constant(self, name, array):
        """Keep an array under a name; return the name."""
        self._constants[name] = np.asarray(array, order="C")
        return name

    def initializers(self, numpy_helper):
        return [numpy_helper.from_array(array, name) for name, array in self._constants.items()]

    def op(self, kind, *inputs, to, **attributes):
        """Add an operator that writes `to`, a name or a list of names; return `to`."""
        outputs = [to] if isinstance(to, str) else to
        self.nodes.append(self._helper.make_node(kind, inputs, outputs, f"{kind}: {outputs[0]}", **attributes))
        return to


def _write_step(graph, config, parameters, start_id):
    """Add all of a time step: what reads the ids, the layers, what writes the logits.

    start_id    of a model of items, where the states become zero before it is read; None of one long text
    """
    cell = CELLS[config.cell]
    new, x, states = {state: [] for state in cell.states}, "ids", {state: state for state in cell.states}
    if start_id is not None:
        goes_on = np.ones((config.vocab_size, 1), np.float32)
        goes_on[start_id] = 0
        goes_on = graph.op("Gather", graph.constant("goes_on", goes_on), "ids", to="kept")
        states = {state: graph.op("Mul", state, goes_on, to=f"{state}_begun") for state in cell.states}
    if config.embedding_size:
        x = graph.op("Gather", graph.constant("embedding.weight", parameters["embedding.weight"]), "ids", to="embedded")
    for layer in range(config.num_layers):
        at = graph.constant(f"layer_{layer}", np.array(layer, np.int64))
        before = {state: graph.op("Gather", states[state], at, to=f"{state}_l{layer}") for state in cell.states}
        sums = _sums(graph, config, parameters, layer, x, before["h"])
        made = _GATES[config.cell](graph, layer, sums, **before)
        for state in cell.states:
            after = _zone_out(graph, config, layer, state, before[state], made[state])
            new[state].append(
                graph.op("Unsqueeze", after, graph.constant("axis_0", np.array([0])), to=f"{state}_slice_l{layer}")
            )
            if state == "h":
                x = after
    for state, slices in new.items():
        graph.op("Concat", *slices, to=_next(state), axis=0)
    weight = "embedding.weight" if config.tied else graph.constant("output.weight", parameters["output.weight"])
    bias = graph.constant("output.bias", parameters["output.bias"])
    graph.op("Gemm", x, weight, bias, to="logits", transB=1)


def _sums(graph, config, parameters, layer, x, h):
    """Add a layer's products; return {sum: name of what the gates read, (batch, H)}, biases and normalisation done.

    x    the name of what enters the layer, (batch, D); "ids" of one-hot characters
    """
    cell, H, of = CELLS[config.cell], config.hidden_size, f"_l{layer}"
    Wx, Wh, bx, bh = (parameters[f"rnn.{name}{of}"] for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    bias = {block: bx[cell.rows(block, H)] + bh[cell.rows(block, H)] for block in cell.blocks}
    for alone, block in cell.recurrent.items():
        bias[block], bias[alone] = bx[cell.rows(block, H)], bh[cell.rows(block, H)]
    Wh = graph.constant(f"rnn.weight_hh{of}", Wh)
    # Without normalisation the products add the biases as they go; with it, they come after.
    of_x = [] if config.layer_norm else [np.concatenate([bias[block] for block in cell.blocks])]
    if x == "ids":  # a one-hot product is a column of the matrix
        up = graph.op("Gather", graph.constant("input_table", sum(of_x, Wx.T)), "ids", to=f"input{of}")
    else:
        more = [graph.constant(f"rnn.bias{of}", one) for one in of_x]
        up = graph.op("Gemm", x, graph.constant(f"rnn.weight_ih{of}", Wx), *more, to=f"input{of}", transB=1)
    if not cell.recurrent:
        total = graph.op("Gemm", h, Wh, up, to=f"sums{of}", transB=1)
        parts = [total]
    else:
        of_h = [] if config.layer_norm else [graph.constant(f"rnn.bias_recurrent{of}", _recurrent_bias(cell, bias, H))]
        on = graph.op("Gemm", h, Wh, *of_h, to=f"recurrent{of}", transB=1)
        parts = _sums_apart(graph, cell, H, of, up, on)
    if config.layer_norm:
        total = parts[0] if len(parts) == 1 else graph.op("Concat", *parts, to=f"sums{of}", axis=1)
        gain = parameters[f"rnn.norm_gain{of}"].reshape(-1, H)
        parts = [_normalise(graph, of, total, gain, np.stack([bias[name] for name in cell.sums]))]
    if len(parts) == len(cell.sums):
        return dict(zip(cell.sums, parts))
    names = [f"{name}_sum{of}" for name in cell.sums]
    return dict(zip(cell.sums, graph.op("Split", parts[0], to=names, axis=1)))


def _recurrent_bias(cell, bias, H):
    """Return the bias of the recurrent product (G*H,): zero but for a block whose recurrent sum stands apart."""
    alone = {block: name for name, block in cell.recurrent.items()}
    return np.concatenate([bias[alone[block]] if block in alone else np.zeros(H, np.float32) for block in cell.blocks])


def _sums_apart(graph, cell, H, of, up, on):
    """Return the names of a cell's sums, (batch, H) each, in its order; the recurrent part of some stands apart."""
    split = {}
    for name, product in (("x", up), ("h", on)):
        names = [f"{block}_from_{name}{of}" for block in cell.blocks]
        split[name] = dict(zip(cell.blocks, graph.op("Split", product, to=names, axis=1)))
    parts = []
    for block in cell.blocks:
        if block in cell.recurrent.values():
            parts.append(split["x"][block])
        else:
            parts.append(graph.op("Add", split["x"][block], split["h"][block], to=f"{block}_total{of}"))
    return parts + [split["h"][block] for block in cell.recurrent.values()]


def _normalise(graph, of, total, gain, bias):
    """Add gain * (s - mean(s)) / sqrt(var(s) + epsilon) + bias of each of the sums s; return its name.

    total         the name of the sums side by side, (batch, K*H)
    gain, bias    (K, H)
    """
    K, H = gain.shape
    apart = graph.constant("apart", np.array([0, K, H]))  # 0: as it is
    together = graph.constant("together", np.array([0, K * H]))
    s = graph.op("Reshape", total, apart, to=f"sums_apart{of}")
    mean = graph.op("ReduceMean", s, to=f"mean{of}", axes=[2], keepdims=1)
    centred = graph.op("Sub", s, mean, to=f"centred{of}")
    squares = graph.op("Mul", centred, centred, to=f"squares{of}")
    variance = graph.op("ReduceMean", squares, to=f"variance{of}", axes=[2], keepdims=1)
    epsilon = graph.constant("epsilon", np.array(NORM_EPSILON, np.float32))
    deviation = graph.op("Sqrt", graph.op("Add", variance, epsilon, to=f"variance_safe{of}"), to=f"deviation{of}")
    s = graph.op("Div", centred, deviation, to=f"normalised{of}")
    s = graph.op("Mul", s, graph.constant(f"rnn.norm_gain{of}", gain), to=f"scaled{of}")
    s = graph.op("Add", s, graph.constant(f"rnn.bias{of}", bias), to=f"biased{of}")
    return graph.op("Reshape", s, together, to=f"biased_together{of}")


def _zone_out(graph, config, layer, state, before, made):
    """Add x <- P x_before + (1 - P) x of a model with zoneout, and return the name of the state."""
    if not config.zoneout:
        return made
    kept = graph.constant("zoneout", np.array(config.zoneout, np.float32))
    taken = graph.constant("one_minus_zoneout", np.array(1 - config.zoneout, np.float32))
    old = graph.op("Mul", before, kept, to=f"{state}_kept_l{layer}")
    new = graph.op("Mul", made, taken, to=f"{state}_taken_l{layer}")
    return graph.op("Add", old, new, to=f"{state}_zoned_l{layer}")


# ---------------------------------------------------------------------------------------------------------- the cells
#
# Each takes {sum: name} and the names of the states before; it returns {state: name} of what it made of them.


def _lstm(graph, layer, sums, h, c):
    """i, f, o = sigmoid(.);  g = tanh(.);  c' = f*c + i*g;  h' = o*tanh(c')."""
    of = f"_l{layer}"
    i, f, o = (graph.op("Sigmoid", sums[gate], to=f"{gate}{of}") for gate in "ifo")
    g = graph.op("Tanh", sums["g"], to=f"g{of}")
    remembered = graph.op("Mul", f, c, to=f"remembered{of}")
    made = graph.op("Add", remembered, graph.op("Mul", i, g, to=f"written{of}"), to=f"c_made{of}")
    return {"h": graph.op("Mul", o, graph.op("Tanh", made, to=f"tanh_c{of}"), to=f"h_made{of}"), "c": made}


def _gru(graph, layer, sums, h):
    """r, z = sigmoid(.);  n = tanh(x's part + r*m), m the recurrent part;  h' = n + z*(h - n)."""
    of = f"_l{layer}"
    r, z = (graph.op("Sigmoid", sums[gate], to=f"{gate}{of}") for gate in "rz")
    recurrent = graph.op("Mul", r, sums["m"], to=f"m_gated{of}")
    n = graph.op("Tanh", graph.op("Add", sums["n"], recurrent, to=f"n_total{of}"), to=f"n{of}")
    change = graph.op("Mul", z, graph.op("Sub", h, n, to=f"h_minus_n{of}"), to=f"passed{of}")
    return {"h": graph.op("Add", n, change, to=f"h_made{of}")}


def _rnn(graph, layer, sums, h):
    """h' = tanh(.)."""
    return {"h": graph.op("Tanh", sums["h"], to=f"h_made_l{layer}")}


_GATES = {"lstm": _lstm, "gru": _gru, "rnn": _rnn}


def _next(state):
    return f"{state}_next"


def _float32(parameters):
    """Return parameters as float32. Raises ConfigError where one is beyond its range."""
    narrow = {}
    for name, array in parameters.items():
        with np.errstate(over="ignore"):
            narrow[name] = np.asarray(array, np.float32)
        if not np.isfinite(narrow[name]).all():
            raise ConfigError(
                f"{name} has a number beyond the range of float32, which ONNX graphs use: train with "
                "'charrnn train TEXT --dtype float32'",
                ["onnx"],
            )
    return narrow
