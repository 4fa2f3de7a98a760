"""The options of a run that say what its model is and how its text is read: the first fields of TrainingConfig.

What options.py says of fields holds for these too. Imports neither numpy nor numba.
"""

from dataclasses import dataclass

from charrnn.spec import CELLS, DTYPES, FORGET_BIAS, OPTIONAL_KEYS, PRECISIONS
from charrnn.text.item_kinds import KINDS
from charrnn.text.item_kinds import SPLITS as ITEM_SPLITS
from charrnn.text.rewriting import NEWLINES, NORMALIZE
from charrnn.text.task_names import ASKED
from charrnn.training.defaults import VAL_FRACTION
from charrnn.training.settings import CHECKED, setting

VOCABULARIES = ("chars", "bytes")
UNKNOWN = ("error", "skip")

# Sizes beyond this are mistakes: they overflow before any memory is asked for.
MAX_SIZE, MAX_LAYERS, MAX_STEPS = 10**7, 1000, 10**15
MAX_BIAS = 100.0

# The headings of `charrnn train --help`.
MODEL, LENGTH, OPTIMISER, REGULARISATION = "Model", "Length and batch", "Optimiser", "Regularisation"
TEXT, COMPUTING, WATCHING = "Text", "Computing", "Watching and saving"
HEADINGS = (MODEL, LENGTH, OPTIMISER, REGULARISATION, TEXT, COMPUTING, WATCHING)


@dataclass(frozen=True)
class ModelAndText:
    """What the model is, and how the text is read."""

    # the model
    cell: str = setting("lstm", MODEL, "Recurrent cell.", choices=tuple(CELLS))
    hidden_size: int = setting(256, MODEL, "Units a layer.", "N", minimum=1, maximum=MAX_SIZE)
    num_layers: int = setting(2, MODEL, "Layers.", "N", minimum=1, maximum=MAX_LAYERS)
    embedding_size: int = setting(
        64, MODEL, "Size of a learned embedding of each character; 0 is one-hot.", "N", minimum=0, maximum=MAX_SIZE
    )
    tie_weights: bool = setting(
        False, MODEL, "Share the embedding with the output layer (needs --embedding-size equal to --hidden-size)."
    )
    layer_norm: bool = setting(
        True,
        MODEL,
        "Normalise each gate's sums over the units of its layer.",
        before=OPTIONAL_KEYS["layer_norm"].default,
    )
    forget_bias: float | None = setting(
        None,
        MODEL,
        "Bias of an LSTM's forget gates when training begins: 1 lets it remember from the start, 0 has it learn to.",
        "X",
        shown=f"{FORGET_BIAS:g}",
        minimum=-MAX_BIAS,
        maximum=MAX_BIAS,
        is_terse=True,
    )
    dtype: str = setting("float32", COMPUTING, "Type of the numbers.", place=2, choices=DTYPES)
    precision: str = setting(
        "float32",
        COMPUTING,
        "What matrix products multiply; bfloat16 is faster on a CPU with AVX512-BF16 and refused elsewhere.",
        place=2,
        choices=PRECISIONS,
    )
    # the text
    vocab: str = setting("chars", TEXT, "Model characters or bytes.", choices=VOCABULARIES)
    encoding: str = setting(
        "utf-8", TEXT, "Encoding of the text; with --vocab bytes, only of the samples shown.", "NAME"
    )
    normalize: str = setting(
        "none",
        TEXT,
        "Bring the text into this Unicode normal form: nfc makes one character of a letter and its accents, nfkc also "
        "of ligatures, wide letters and the like. Kept with the model, as the next two, and done to every text it "
        "reads.",
        choices=NORMALIZE,
        is_terse=True,
    )
    lowercase: bool = setting(False, TEXT, "Turn all letters into lower case.", is_terse=True)
    newlines: str = setting(
        "keep",
        TEXT,
        "Keep line ends as they are, or make newlines (LF) of those of Windows (CR LF) and old Macs (CR).",
        choices=NEWLINES,
        is_terse=True,
    )
    part_files: bool = setting(
        False, TEXT, "Put a newline between two files where the first does not end in one.", is_terse=True
    )
    items: str | None = setting(
        None,
        TEXT,
        "Learn separate items instead of one long text: lines, paragraphs, files, or a field of records.",
        shown="one long text",
        choices=KINDS,
        is_terse=True,
    )
    text_field: str | None = setting(
        None, TEXT, "Field of csv, tsv or jsonl that holds the text.", "NAME", shown="the only one", is_terse=True
    )
    task: str | None = setting(
        None,
        TEXT,
        "Learn to predict a text's label (classify), text and label (both), or to translate.",
        shown="to write texts",
        choices=ASKED,
        is_terse=True,
    )
    label_field: str | None = setting(
        None,
        TEXT,
        "Field of the label: without --task the model writes texts for a label; with it, it predicts them.",
        "NAME",
        is_terse=True,
    )
    label_from: str | None = setting(
        None,
        TEXT,
        "Use the name of a file's folder as its label; each file is an item.",
        choices=("folder",),
        is_terse=True,
    )
    source_field: str | None = setting(
        None, TEXT, "With --task translate: the field to translate from.", "NAME", is_terse=True
    )
    target_field: str | None = setting(
        None, TEXT, "With --task translate: the field to translate to.", "NAME", is_terse=True
    )
    split: str | None = setting(
        None,
        TEXT,
        "Split items by a hash of their content (equal items stay together), or in the order of the files.",
        shown="hash",
        choices=ITEM_SPLITS,
        is_terse=True,
    )
    keep_vocabulary: bool = setting(
        False, TEXT, "Keep the vocabulary of the weights to start from, and read TEXT with it.", is_terse=True
    )
    min_count: int = setting(
        1,
        TEXT,
        "Make one unknown symbol of all characters that come less often than N times; every other text's unknown "
        "characters are then read as it, and it is never drawn.",
        "N",
        minimum=1,
        maximum=MAX_STEPS,
        is_terse=True,
    )
    val_text: str | None = setting(
        None,
        TEXT,
        "Validate on this text instead of a part of TEXT.",
        "FILE",
        shown="a part of TEXT",
        on_resume=CHECKED,
        is_terse=True,
    )
    unknown: str = setting(
        "error",
        TEXT,
        "With --val-text or --keep-vocabulary: refuse characters that the vocabulary does not have, or skip them.",
        choices=UNKNOWN,
        is_terse=True,
    )
    val_fraction: float = setting(
        VAL_FRACTION, TEXT, "Share of the text to validate on, before the test split.", "P", minimum=0, below=1
    )
    test_fraction: float = setting(0.05, TEXT, "Share of the text to test on, at its end.", "P", minimum=0, below=1)
