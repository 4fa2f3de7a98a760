"""What an exported model tells whoever runs it without charrnn: vocabulary, shape, training, how to sample.

docs/EXPORT.md describes every key. Knows a Checkpoint's parts; no file and no format.
"""

import json

import charrnn
from charrnn.errors import counted
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.task_names import BOTH, CLASSIFY, STEER, TRANSLATE
from charrnn.text.tasks import ItemRule, stored_task
from charrnn.training.stored import stored_precision, stored_validation_loss

FORMAT_VERSION = 1  # of the names of inputs, outputs and metadata


def export_metadata(checkpoint):
    """Return {key: string} of a Checkpoint, what is more than one value as JSON in ASCII."""
    vocabulary = checkpoint.vocabulary
    config = ModelConfig(vocab_size=vocabulary.size, **checkpoint.model)
    rule = ItemRule.of(vocabulary, stored_task(checkpoint.training))
    told = {
        "format_version": str(FORMAT_VERSION),
        "charrnn_version": charrnn.__version__,
        "model": _json({**config.to_dict(), "vocab_size": config.vocab_size}),
        "vocabulary": _json(vocabulary.to_json()),
        "training": _json(_training(checkpoint.training)),
        "sampling": _sampling(vocabulary, rule),
    }
    if rule is not None:
        told["items"] = _json(_items(vocabulary, rule))
    return told


def model_line(config):
    """Return what a model is, in a line: "LSTM, 2 layers of 256 units"."""
    layers, units = counted(config.num_layers, "layer"), counted(config.hidden_size, "unit")
    return f"{CELLS[config.cell].title}, {layers} of {units}"


def _training(training):
    """Return what a user wants to know of a run: how long, how well, in which precision."""
    told = {
        "step": training.get("step"),
        "epoch": training.get("epoch"),
        "val_loss_nats": stored_validation_loss(training),
        "precision": stored_precision(training),
    }
    return {name: value for name, value in told.items() if value is not None}


def _items(vocabulary, rule):
    """Return the ids that items are made of, and those that are never predicted."""
    ids = {"start_id": rule.start_id, "sep_id": rule.sep_id, "end_id": rule.end_id}
    told = {"task": rule.task, **ids, "never": rule.never().tolist()}
    labels = {name: vocabulary.label_id(name) for name in vocabulary.labels}
    return {name: value for name, value in told.items() if value is not None} | ({"labels": labels} if labels else {})


def _sampling(vocabulary, rule):
    """Say how text is drawn: sentences for whoever writes the loop."""
    task = None if rule is None else rule.task
    begins: dict[str | None, str] = {
        STEER: "Begin with start_id, the id of a label and sep_id, then the ids of the beginning, if there is one.",
        TRANSLATE: "Begin with start_id, the ids of the source and sep_id; what follows, up to end_id, is the target.",
        CLASSIFY: "Begin with start_id, the ids of the text and end_id; then apply softmax to the logits "
        "of the label ids only: the results are the probabilities of the labels.",
        BOTH: "Begin with start_id, then the ids of the beginning, if there is one; after end_id comes a label.",
    }
    begin = begins.get(task, "Begin with start_id, then the ids of the beginning, if there is one.")
    if rule is None:
        begin = "Begin with the ids of some text, such as a line end."
    symbols = "bytes, 0 to 255" if vocabulary.mode == "bytes" else "characters"
    sentences = [
        f"The symbols of the vocabulary are {symbols}; the id of a symbol is its position.",
        "Set every state to zero.",
        begin,
        "For each id run the graph with it and the states, and use h_next (and c_next) as the states for the next id.",
    ]
    if task != CLASSIFY:
        draw = "draw an id with the probabilities softmax(logits / temperature), run the graph with it, and so on."
        sentences.append(f"After the last one {draw}")
    if rule is not None:
        reset = "The graph itself sets the states to zero when it reads start_id."
        sentences.append(reset if task == CLASSIFY else f"An item ends at end_id; never draw an id of 'never'. {reset}")
    if vocabulary.rewriting:
        sentences.append(
            f"Text must be rewritten as in training before its symbols are looked up: {vocabulary.rewriting}."
        )
    return " ".join(sentences)


def _json(value):
    return json.dumps(value, sort_keys=True, allow_nan=False)
