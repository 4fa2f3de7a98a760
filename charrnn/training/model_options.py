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
from charrnn.training.settings import CHECKED, ROUNDING, setting

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
    hidden_size: int = setting(256, MODEL, "Units per layer.", "N", minimum=1, maximum=MAX_SIZE)
    num_layers: int = setting(2, MODEL, "Number of recurrent layers.", "N", minimum=1, maximum=MAX_LAYERS)
    embedding_size: int = setting(
        64,
        MODEL,
        "How many numbers represent one character (its embedding, which the model learns). 0 means one-hot: no "
        "embedding, but one input for each different character.",
        "N",
        minimum=0,
        maximum=MAX_SIZE,
    )
    tie_weights: bool = setting(
        False, MODEL, "Use one matrix as embedding and output layer (needs --embedding-size equal to --hidden-size)."
    )
    layer_norm: bool = setting(
        True,
        MODEL,
        "Use layer normalisation: rescale the sums in each gate. The model then usually learns faster.",
        before=OPTIONAL_KEYS["layer_norm"].default,
    )
    forget_bias: float | None = setting(
        None,
        MODEL,
        "Initial bias of an LSTM's forget gates. With 1 the LSTM remembers from the start; with 0 it must first learn "
        "to remember.",
        "X",
        shown=f"{FORGET_BIAS:g}",
        minimum=-MAX_BIAS,
        maximum=MAX_BIAS,
        is_terse=True,
    )
    dtype: str = setting(
        "float32",
        COMPUTING,
        "Number type of the weights and of all computations, except what --precision sets.",
        place=2,
        choices=DTYPES,
    )
    precision: str | None = setting(
        None,
        COMPUTING,
        "Number type of the inputs of matrix products while training. bfloat16 needs a CPU with AVX512-BF16, and is "
        "about 1.6 to 2.4 times as fast there. The loss differs slightly from the "
        "loss with float32, but no more than the losses of two runs with different seeds differ.",
        place=2,
        shown="bfloat16 if this CPU is faster with it, otherwise float32",
        choices=PRECISIONS,
        on_resume=ROUNDING,
        before="float32",
    )
    # the text
    vocab: str = setting("chars", TEXT, "Model characters or bytes.", choices=VOCABULARIES)
    encoding: str = setting(
        "utf-8", TEXT, "Encoding of the text; with --vocab bytes it is only used to show samples.", "NAME"
    )
    normalize: str = setting(
        "none",
        TEXT,
        "Convert the text to this Unicode normal form: nfc joins a letter and its accents into one character; nfkc "
        "also replaces special forms of letters, such as ligatures and wide letters. This option and the next two are "
        "stored with the model and applied to every text that it reads.",
        choices=NORMALIZE,
        is_terse=True,
    )
    lowercase: bool = setting(False, TEXT, "Convert all letters to lower case.", is_terse=True)
    newlines: str = setting(
        "keep",
        TEXT,
        "Keep line ends as they are, or convert those of Windows (CR LF) and old Macs (CR) to newlines (LF).",
        choices=NEWLINES,
        is_terse=True,
    )
    part_files: bool = setting(
        False, TEXT, "Insert a newline between two files if the first does not end with one.", is_terse=True
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
        None, TEXT, "Name of the csv, tsv or jsonl field with the text.", "NAME", shown="the only one", is_terse=True
    )
    task: str | None = setting(
        None,
        TEXT,
        "Learn to predict the label of a text (classify), to write texts and predict labels (both), or to translate.",
        shown="to write texts",
        choices=ASKED,
        is_terse=True,
    )
    label_field: str | None = setting(
        None,
        TEXT,
        "Name of the field that contains the label. Without --task the model learns to write texts for a given label; "
        "with --task it learns to predict labels.",
        "NAME",
        is_terse=True,
    )
    label_from: str | None = setting(
        None,
        TEXT,
        "Use the name of each file's folder as its label; each file is one item.",
        choices=("folder",),
        is_terse=True,
    )
    source_field: str | None = setting(
        None, TEXT, "With --task translate: name of the field to translate from.", "NAME", is_terse=True
    )
    target_field: str | None = setting(
        None, TEXT, "With --task translate: name of the field to translate to.", "NAME", is_terse=True
    )
    split: str | None = setting(
        None,
        TEXT,
        "How to split items into training, validation and test: by a hash of their content (equal items stay "
        "together), or by their order.",
        shown="hash",
        choices=ITEM_SPLITS,
        is_terse=True,
    )
    keep_vocabulary: bool = setting(
        False,
        TEXT,
        "For a run that starts from old weights ('charrnn train TEXT --init-from CHECKPOINT'): use the vocabulary of "
        "the old model, that is, all characters that it knows. By default the new text has its own vocabulary.",
        is_terse=True,
    )
    min_count: int = setting(
        1,
        TEXT,
        "Replace all characters that occur less often than N times by one unknown symbol. The model then reads every "
        "character that it does not know as this symbol. Samples contain the symbol only with 'charrnn sample "
        "--allow-unknown'.",
        "N",
        minimum=1,
        maximum=MAX_STEPS,
        is_terse=True,
    )
    val_text: str | None = setting(
        None,
        TEXT,
        "Validate on this file instead of a part of TEXT.",
        "FILE",
        shown="a part of TEXT",
        on_resume=CHECKED,
        is_terse=True,
    )
    unknown: str = setting(
        "error",
        TEXT,
        "With --val-text or --keep-vocabulary: what to do with characters that the vocabulary does not have: stop with "
        "an error, or skip them.",
        choices=UNKNOWN,
        is_terse=True,
    )
    val_fraction: float = setting(
        VAL_FRACTION,
        TEXT,
        "Share of the text to use for validation; it lies before the test split.",
        "P",
        minimum=0,
        below=1,
    )
    test_fraction: float = setting(0.05, TEXT, "Share of the text, at its end, for the test.", "P", minimum=0, below=1)
