"""--init-from: start a new run from the weights of a checkpoint; rows for characters are matched by character.

The architecture is that of the checkpoint; the text, and so the vocabulary, may differ. This module knows checkpoints
and vocabularies, but no run.
"""

import numpy as np

from charrnn.errors import ConfigError, counted
from charrnn.spec import OPTIONAL_KEYS
from charrnn.text.tasks import ItemRule, stored_task
from charrnn.training.options import TrainingConfig
from charrnn.training.settings import shown


def config_like(checkpoint, asked):
    """Return the TrainingConfig of a new run that starts from the weights of a checkpoint.

    The options of the model are those of the checkpoint. So are zoneout and the rewriting of characters, unless `asked`
    gives them. All other options are as asked.

    Parameters
    ----------
    checkpoint : Checkpoint
        The old weights.
    asked : dict
        {option name: value}

    Raises
    ------
    ConfigError
        `asked` describes a different model.
    """
    optional = {name: key.default for name, key in OPTIONAL_KEYS.items()}
    model = {**optional, **checkpoint.model}
    options = {
        "cell": model["cell"],
        "hidden_size": model["hidden_size"],
        "num_layers": model["num_layers"],
        "embedding_size": model["embedding_size"],
        "tie_weights": model["tied"],
        **{name: model[name] for name in optional},
    }
    free = {
        "dtype": model["dtype"],
        "vocab": checkpoint.vocabulary.mode,
        "zoneout": options.pop("zoneout"),
    }  # the weights are the same
    if asked.get("vocab", free["vocab"]) == free["vocab"]:
        free |= vars(checkpoint.vocabulary.rewriting)
    if asked.get("keep_vocabulary"):
        options |= {"vocab": checkpoint.vocabulary.mode, **vars(checkpoint.vocabulary.rewriting)}
    for name, value in options.items():
        if name in asked and asked[name] != value:
            flag = "--" + name.replace("_", "-")
            raise ConfigError(
                f"the old model has {flag} {shown(value)}, got {shown(asked[name])}: leave {flag} out", options=[name]
            )
    if asked.get("forget_bias") is not None:
        raise ConfigError(
            f"--forget-bias {shown(asked['forget_bias'])} sets the biases of a fresh model, and the weights to start "
            "from have their own: leave it out",
            options=["forget_bias"],
        )
    return TrainingConfig(**{**free, **asked, **options})


def check_kept(config, initial):
    """Raise ConfigError if --keep-vocabulary is used without old weights, or with weights for other items.

    initial : Checkpoint or None
    """
    if not config.keep_vocabulary:
        return
    if initial is None:
        raise ConfigError(
            "--keep-vocabulary needs weights to start from: leave it out, or give them: charrnn train TEXT "
            "--keep-vocabulary --init-from CHECKPOINT",
            ["keep_vocabulary"],
        )
    if (initial.vocabulary.start_id is None) != (config.items is None):
        learned = "one long text" if initial.vocabulary.start_id is None else "items"
        remedy = "leave --items out" if config.items is not None else "add --items lines"
        raise ConfigError(
            f"--keep-vocabulary: the weights to start from learned {learned}, and so did their vocabulary: {remedy}, "
            "or leave --keep-vocabulary out",
            ["keep_vocabulary", "items"],
        )


def warm_start_notes(config, vocabulary, initial):
    """Return a tuple of notes on the differences between a run and the checkpoint `initial` it starts from.

    They name new and missing characters, another rewriting, items instead of one long text or vice versa, and another
    zoneout. Raises ConfigError if one of them reads characters and the other bytes.
    """
    if initial.vocabulary.mode != vocabulary.mode:
        raise ConfigError(
            f"the old model reads {initial.vocabulary.mode}, and this run reads {vocabulary.mode}: add --vocab "
            f"{initial.vocabulary.mode}",
            options=["vocab"],
        )
    notes = () if config.keep_vocabulary else _vocabulary_notes(vocabulary, initial.vocabulary)
    if initial.vocabulary.rewriting != config.rewriting:
        notes += (
            f"the old model read its text with {initial.vocabulary.rewriting or 'no rewriting'}, this run reads it "
            f"with {config.rewriting or 'no rewriting'}",
        )
    if (initial.vocabulary.start_id is None) != (config.items is None):
        told = "one long text" if config.items is None else f"items (--items {config.items})"
        was = "one long text" if initial.vocabulary.start_id is None else "items"
        notes += (f"the old model learned {was}, this run learns {told}",)
    before = initial.model.get("zoneout", 0.0)
    if before != config.zoneout:
        notes += (
            f"the old model was trained with --zoneout {shown(before)}, this run uses --zoneout "
            f"{shown(config.zoneout)}",
        )
    return notes


def map_parameters(fresh, checkpoint, vocabulary, rule=None):
    """Return parameters for a model with a new vocabulary, copied from a checkpoint as far as possible.

    Rows that stand for a character (of the embedding, the output weights and the output bias, or columns of a one-hot
    input) are copied from the same character in the old vocabulary; characters that it does not have keep their fresh
    values. All other parameters are copied.

    Parameters
    ----------
    fresh : dict
        {name: ndarray} of the new model after its initialisation.
    checkpoint : Checkpoint
        A checkpoint of the same architecture, apart from the size of the vocabulary.
    vocabulary : Vocabulary
        The vocabulary of the new model.
    rule : ItemRule, optional
        The rule of a model of items. Output biases of symbols that only one of the two models predicts stay fresh.

    Returns
    -------
    dict
        {name: ndarray}, with the shapes of `fresh`.
    """
    old_of_new = np.asarray(vocabulary.mapping_from(checkpoint.vocabulary))
    known = np.flatnonzero(old_of_new >= 0)
    one_hot = "embedding.weight" not in fresh
    mapped = {}
    for name, array in fresh.items():
        old = checkpoint.parameters[name].astype(array.dtype)
        if name in ("embedding.weight", "output.weight", "output.bias"):
            array = array.copy()
            array[known] = old[old_of_new[known]]
        elif name == "rnn.weight_ih_l0" and one_hot:
            array = array.copy()
            array[:, known] = old[:, old_of_new[known]]
        else:
            array = old
        mapped[name] = array
    before = ItemRule.of(checkpoint.vocabulary, stored_task(checkpoint.training))
    never = set() if rule is None else set(rule.never().tolist())
    never_before = set() if before is None else set(before.never().tolist())
    for number, old in enumerate(old_of_new.tolist()):
        if (number in never) != (old in never_before):
            mapped["output.bias"][number] = fresh["output.bias"][number]
    return mapped


def _vocabulary_notes(new, old):
    mapping = new.mapping_from(old)
    added = [i for i in range(new.size) if mapping[i] < 0]
    kept = {int(i) for i in mapping if i >= 0}
    dropped = [i for i in range(old.size) if i not in kept]
    notes, what = [], "symbol" if new.special or old.special else "character"
    if added:
        notes.append(
            f"{counted(len(added), what)} {is_are(added)} not in the old model; "
            f"{'it starts' if len(added) == 1 else 'they start'} untrained: {_listed(new, added)}"
        )
    if dropped:
        notes.append(
            f"{counted(len(dropped), what)} of the old model {is_are(dropped)} not in the text and {is_are(dropped)} "
            "dropped: "
            f"{_listed(old, dropped)}"
        )
    return tuple(notes)


def is_are(ids):
    return "is" if len(ids) == 1 else "are"


def _listed(vocabulary, ids, most=40):
    first = vocabulary.first_label
    text = " ".join(
        f"the label {vocabulary.labels[i - first]!r}"
        if i >= first
        else vocabulary.special[i - len(vocabulary.symbols)]
        if i >= len(vocabulary.symbols)
        else repr(vocabulary.decode(np.array([i], np.int32)))
        for i in ids[:most]
    )
    return text + (f" and {len(ids) - most} more" if len(ids) > most else "")
