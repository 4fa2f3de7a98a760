"""A state_dict of PyTorch's as a model of charrnn: which tensor is what, told by names and shapes.

    import_state_dict(state, vocabulary, Names()) -> (Checkpoint, notes)

    recurrent layers   PREFIXweight_ih_l0, PREFIXweight_hh_l0, PREFIXbias_ih_l0, ...: as many rows as gates times H tell
                       the cell: 4 an LSTM, 3 a GRU, 1 a vanilla RNN
    output             a matrix (V, H), which may have a bias (V,) beside it
    embedding          a matrix (V, D), where D enters the first layer; none where D = V and the one-hot input

Where two matrices could be either, a bias tells the output, then the usual names; what stays open is refused with what
was found, and so is every tensor that no such model has. Nothing is guessed.
"""

import re
from dataclasses import dataclass

import numpy as np

from charrnn.errors import CheckpointError, ConfigError, VocabularyError, counted
from charrnn.runs.checkpoint import Checkpoint
from charrnn.runs.checkpoint.refusals import DamagedCheckpoint, Refusal, short
from charrnn.runs.checkpoint.rules import check_metadata
from charrnn.runs.checkpoint.strict_json import parse_json
from charrnn.spec import CELLS, ModelConfig, parameter_shapes

MODEL_KEY = "charrnn_model"  # of the metadata of weights that `charrnn export --torch` wrote
_EXPORT_AGAIN = "export it again: charrnn export RUN --torch FILE"

_RECURRENT = re.compile(r"(.*?)(weight_ih|weight_hh|bias_ih|bias_hh|weight_hr)_l(\d{1,3})(_reverse)?")
_EMBEDDINGS = {"embedding", "embed", "emb", "embeddings", "encoder", "wte", "word_embeddings", "input", "lookup"}
_OUTPUTS = {"decoder", "fc", "output", "out", "linear", "head", "lm_head", "proj", "classifier", "dense", "h2o"}
_OPTIONS = {"output": "output-layer", "embedding": "embedding"}
_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float32", "BF16": "float32"}


@dataclass(frozen=True)
class Names:
    """What a user said of a file, None where nothing: the prefix of the recurrent layers, the embedding (or "none"),
    the output.
    """

    rnn: str | None = None
    embedding: str | None = None
    output: str | None = None


def exported_model(state):
    """Return (Vocabulary, model, training) that `charrnn export --torch` put into the metadata; None of other files."""
    if MODEL_KEY not in state.metadata:
        return None
    try:
        told = parse_json(state.metadata[MODEL_KEY])
        return check_metadata(told), told["model"], told["training"]
    except Refusal as refusal:
        raise DamagedCheckpoint(state.path, str(refusal), _EXPORT_AGAIN) from None


def take_back(state, vocabulary, model, training):
    """Return the Checkpoint of a file that `charrnn export --torch` or its module wrote: the same bits."""
    shapes = parameter_shapes(ModelConfig(vocab_size=vocabulary.size, **model))
    lacking, beyond = sorted(shapes.keys() - state.entries.keys()), sorted(state.entries.keys() - shapes.keys())
    if lacking or beyond:
        what = f"{short(lacking[0])} is missing" if lacking else f"its model has no {short(beyond[0])}"
        raise DamagedCheckpoint(state.path, what, _EXPORT_AGAIN)
    parameters = {name: _shaped(state, name, shape, _EXPORT_AGAIN) for name, shape in shapes.items()}
    parameters = {name: array.astype(model["dtype"], copy=False) for name, array in parameters.items()}
    return Checkpoint(model, vocabulary, parameters, {}, {}, training)


def import_state_dict(state, vocabulary, names):
    """Return the Checkpoint of a state_dict's model, and notes on what its user should know.

    Raises
    ------
    CheckpointError
        It is no such model, or what a tensor is stays open.
    VocabularyError
        The vocabulary has another size.
    """
    prefix, found = _recurrent_layers(state, names.rnn)
    cell, H, D, layers = _cell(state, prefix, found)
    rest = {name: state.entries[name].shape for name in state.entries if name not in found.values()}
    embedding, output, bias = _ends(state, rest, (H, D, vocabulary.size), names)
    used = {embedding, output, bias, *found.values()}
    left = [name for name in state.entries if name not in used]
    if left:
        raise CheckpointError(
            f"{state.path} has {counted(len(left), 'tensor')} that do not belong to an embedding, {cell.torch_class} "
            f"or nn.Linear, {_listed(left, state)}: charrnn has no such model. If they are not part of the model, "
            "save the file without them"
        )
    used.discard(None)
    kinds = {_DTYPES[state.entries[name].tag] for name in used}
    if len(kinds) > 1:
        raise CheckpointError(
            f"{state.path} mixes float32 and float64: convert everything to one type, for example with .float()"
        )
    (dtype,) = kinds
    notes, parameters = [], {}

    def take(name, source, shape):
        parameters[name] = np.zeros(shape, dtype) if source is None else _shaped(state, source, shape)

    model = {
        "cell": cell.name,
        "hidden_size": H,
        "num_layers": layers,
        "embedding_size": 0 if embedding is None else D,
        "tied": False,
        "dtype": dtype,
    }
    V = vocabulary.size
    if embedding is not None:
        take("embedding.weight", embedding, (V, D))
    if output != embedding:
        take("output.weight", output, (V, H))
    same = parameters.get("output.weight")
    if (
        D == H
        and embedding is not None
        and (same is None or same.tobytes() == parameters["embedding.weight"].tobytes())
    ):
        parameters.pop("output.weight", None)
        model["tied"] = True
    take("output.bias", bias, (V,))
    for name, shape in parameter_shapes(ModelConfig(vocab_size=V, **model)).items():
        if name.startswith("rnn."):
            take(name, found.get(name[4:]), shape)
    if "bias_ih_l0" not in found:
        notes.append("the recurrent layers have no biases; they are set to zero")
    if bias is None:
        notes.append("the output has no bias; it is set to zero")
    if cell.name == "rnn":
        notes.append("the file does not name its activation, and charrnn assumes tanh: a model with "
            "nonlinearity='relu' would compute something else")  # fmt: skip
    if any(state.entries[name].tag in ("F16", "BF16") for name in used):
        notes.append("16-bit numbers are stored as float32, without loss")
    what = [f"{cell.title} from {prefix or 'the file itself'}"]
    what.append("one-hot input" if embedding is None else f"embedding {embedding}")
    what.append(f"output {output}" + (", tied to the embedding" if model["tied"] else ""))
    notes.insert(0, "; ".join(what))
    return Checkpoint(model, vocabulary, parameters, {}, {}, {}), notes


def _recurrent_layers(state, asked):
    """Return the prefix of the recurrent layers, and {suffix, such as weight_ih_l0: name}."""
    groups = {}
    for name in state.entries:
        if found := _RECURRENT.fullmatch(name):
            groups.setdefault(found[1], {})[name[len(found[1]) :]] = name
    if not groups:
        raise CheckpointError(
            f"{state.path} has no recurrent layer of PyTorch: a torch.nn.LSTM, GRU or RNN has a name that ends in "
            f"weight_ih_l0, but the file has {_listed(state.entries, state)}"
        )
    if asked is not None:
        prefix = next((one for one in groups if one.rstrip(".") == asked.rstrip(".")), None)
        if prefix is None:
            known = " or ".join(repr(one.rstrip(".")) for one in groups)
            raise ConfigError(
                f"--rnn {asked}: there are no recurrent layers with this name; the names are {known}", ["rnn"]
            )
    elif len(groups) > 1:
        choices = " or ".join(f"--rnn {one.rstrip('.') or repr('')}" for one in groups)
        raise CheckpointError(
            f"{state.path} has {len(groups)} recurrent networks, but a charrnn model has only one: if one of them is "
            f"the model, and the other tensors belong to it, choose it with {choices}"
        )
    else:
        (prefix,) = groups
    found = groups[prefix]
    for suffix, why in (
        (
            "_reverse",
            "is bidirectional: it also reads the text that comes after, so it cannot write text, and charrnn has no "
            "such model",
        ),
        ("weight_hr", "has a projection of its states (proj_size): charrnn has no such model"),
    ):
        if any(suffix in name for name in found):
            raise CheckpointError(f"{state.path}: {prefix or 'its network'} {why}")
    return prefix, found


def _cell(state, prefix, found):
    """Return (Cell, H, D, number of layers) that the recurrent tensors have."""
    numbers = {int(suffix.rpartition("_l")[2]) for suffix in found}
    layers, biases = len(numbers), any(suffix.startswith("bias") for suffix in found)
    kinds = ("weight_ih", "weight_hh", *(("bias_ih", "bias_hh") if biases else ()))
    for layer in range(layers):
        for kind in kinds:
            if f"{kind}_l{layer}" not in found:
                raise CheckpointError(f"{state.path} has no {prefix}{kind}_l{layer}: save the whole state_dict")
    shape, entering = (state.entries[found[f"{kind}_l0"]].shape for kind in ("weight_hh", "weight_ih"))
    G = shape[0] // shape[1] if len(shape) == 2 and shape[1] and shape[0] % shape[1] == 0 else 0
    cell = next((cell for cell in CELLS.values() if len(cell.blocks) == G and cell.torch_class), None)
    if cell is None or len(entering) != 2 or not entering[1]:
        raise CheckpointError(
            f"{state.path}: {prefix}weight_hh_l0 has shape {list(shape)}, and a torch.nn.LSTM has (4 H, H) there, a "
            "GRU (3 H, H), an RNN (H, H): save the whole state_dict of one of these"
        )
    return cell, shape[1], entering[1], layers


def _ends(state, rest, sizes, names):
    """Return the names of the embedding, None where one-hot input, of the output and of its bias, or None."""
    H, D, V = sizes
    matrices = {name: shape for name, shape in rest.items() if len(shape) == 2}
    outputs = [name for name, shape in matrices.items() if shape[1] == H]
    embeddings = [name for name, shape in matrices.items() if shape[1] == D]
    if names.output is not None:
        outputs = [_named(state, names.output, "output", outputs)]
    if names.embedding == "none":
        embeddings = []
    elif names.embedding is not None:
        embeddings = [_named(state, names.embedding, "embedding", embeddings)]
    if not outputs:
        raise CheckpointError(
            f"{state.path} has no output layer (an nn.Linear whose weight has {H:,} columns): it has "
            f"{_listed(matrices, state)}"
        )
    tall = [name for name in outputs if matrices[name][0] == V]
    if not tall:
        rows = matrices[outputs[0]][0]
        raise VocabularyError(
            f"{outputs[0]} of {state.path} has {rows:,} rows, but the vocabulary has {counted(V, 'symbol')}: give the "
            "vocabulary that the model was trained with"
        )
    embeddings = [name for name in embeddings if matrices[name][0] == V]
    if names.output is None:
        free = [name for name in tall if name not in embeddings or len(embeddings) > 1 or names.embedding is None]
        tall = _preferred(free or tall, _OUTPUTS, _EMBEDDINGS, with_bias=True, rest=rest)
    if len(tall) > 1:
        raise _open(state, "output", tall)
    (output,) = tall
    if names.embedding is None:
        others = [name for name in embeddings if name != output]
        if others:
            embeddings = _preferred(others, _EMBEDDINGS, _OUTPUTS, with_bias=False, rest=rest)
        elif D == V == H:
            word = output.removesuffix(".weight")
            raise CheckpointError(
                f"{state.path} has one matrix of {V:,} x {V:,}, {output}, which may also be the "
                f"embedding: choose --embedding {word} if the two are tied, or --embedding none for one-hot input"
            )
        elif D == V:
            embeddings = []  # one-hot
    if len(embeddings) > 1:
        raise _open(state, "embedding", embeddings)
    if not embeddings and D != V:
        raise CheckpointError(
            f"{state.path}: its first layer has {D:,} inputs, but no tensor is an embedding of shape ({V:,}, {D:,}): "
            f"it has {_listed(matrices, state)}"
        )
    embedding = embeddings[0] if embeddings else None
    bias = _bias_beside(output, rest)
    if bias is None:
        vectors = [name for name, shape in rest.items() if shape == (V,)]
        bias = vectors[0] if len(vectors) == 1 and embedding == output else None
    if bias is not None and rest[bias] != (V,):
        raise CheckpointError(f"{state.path}: {bias} has shape {list(rest[bias])}, but its output has {V:,} rows")
    return embedding, output, bias


def _preferred(candidates, like, unlike, *, with_bias, rest):
    """Return those of some matrices that a bias, and then their names, tell to be meant; all where neither tells."""
    biased = [name for name in candidates if (_bias_beside(name, rest) is not None) == with_bias]
    candidates = biased or candidates
    named = [name for name in candidates if _last_word(name) in like]
    candidates = named or candidates
    return [name for name in candidates if _last_word(name) not in unlike] or candidates


def _last_word(name):
    """Return the word of a name before ".weight": that of the module."""
    return name.removesuffix(".weight").rpartition(".")[2].lower()


def _bias_beside(name, rest):
    beside = name.removesuffix("weight") + "bias"
    return beside if name.endswith("weight") and beside in rest else None


def _named(state, asked, option, fitting):
    """Return the tensor that an option names, by its whole name or without ".weight"."""
    for name in (asked, f"{asked.rstrip('.')}.weight"):
        if name in fitting:
            return name
    raise ConfigError(
        f"--{_OPTIONS[option]} {asked}: no matrix with this name fits; "
        f"{'possible are ' + _listed(fitting, state) if fitting else 'no other fits either'}",
        [_OPTIONS[option]],
    )


def _open(state, option, candidates):
    return CheckpointError(
        f"{state.path} has {len(candidates):,} matrices that could be the {option}, {_listed(candidates, state)}: "
        f"choose one, as in --{_OPTIONS[option]} "
        f"{candidates[0].removesuffix('.weight')}"
    )


def _shaped(state, name, shape, remedy="save the whole state_dict again"):
    """Read a tensor that must have a shape."""
    if state.entries[name].shape != tuple(shape):
        raise CheckpointError(
            f"{state.path}: {short(name)} has shape {list(state.entries[name].shape)}, but its model needs "
            f"{list(shape)}: {remedy}"
        )
    return state.read(name)


def _listed(names, state, most=8):
    """Name tensors with their shapes, the first of many."""
    names = list(names)
    told = [f"{short(name)[1:-1]} {list(state.entries[name].shape)}" for name in names[:most]]
    more = len(names) - most
    return (", ".join(told) + (f" and {more:,} more" if more > 0 else "")) or "no tensor"
