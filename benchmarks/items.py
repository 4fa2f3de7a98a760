"""The tables of docs/ITEMS.md: what runs on real items come to, each beside what it is held against.

    python benchmarks/items.py names RUN         the loss beside n-grams, and how many drawn names are new
    python benchmarks/items.py places RUN        labels beside character n-grams with logistic regression (scikit-learn)
    python benchmarks/items.py phonemes RUN      word and phoneme error rates, greedy and with beams
    python benchmarks/items.py arithmetic RUN    exact matches by the number of digits
    python benchmarks/items.py speed             training steps of items beside those of a stream

RUN is a folder of `charrnn train`; its best checkpoint is judged on the test split, which nothing was chosen on. The
text is read from where the run read it. The same run gives the same table on the same kind of CPU.
"""

import csv
import statistics
import sys
import time
from fractions import Fraction
from itertools import chain
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from charrnn.bench import measure
from charrnn.evaluation.answers import tell_labels, translate
from charrnn.evaluation.metrics import judge_labels, judge_targets, proportion
from charrnn.evaluation.ngram import Stretch, judge_text
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.sampling.items import draw_items
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.spec import ModelConfig
from charrnn.text.items import content_hash, item_ids

BEAMS = 1, 5
DRAWN = 1000
EARLY = 1, 2, 3, 4, 6, 8, 12
STRENGTHS = 1.0, 3.0, 10.0, 30.0  # of the logistic regression, inverse: the one is taken that validates best
ORDERS = 5

TIMED = [
    (cell, size, layers, norm)
    for cell in ("lstm", "gru", "rnn")
    for size, layers, norm in ((128, 2, False), (256, 2, False), (256, 2, True), (512, 2, False))
]
BATCH, STEPS, ROUNDS = 16, 64, 15


class Opened:
    """A run's best model, and the records of its text by split."""

    def __init__(self, folder):
        checkpoint = load_checkpoint(Path(folder) / "best.safetensors")
        self.model, self.vocabulary = Model.from_checkpoint(checkpoint), checkpoint.vocabulary
        (source,) = checkpoint.training["corpus"]["sources"]
        config = checkpoint.training["config"]
        self.splits = split_records(read_records(Path(source)), config["val_fraction"], config["test_fraction"])
        sizes = ", ".join(f"{len(rows):,} to {name}" for name, rows in self.splits.items())
        print(f"{Path(source).name}: {sizes}; {self.model.num_parameters:,} parameters\n")

    def answers(self, texts, beam):
        """Return the likeliest answer to each text, "" where none ends."""
        vocabulary = self.vocabulary
        found = translate(self.model, vocabulary, [vocabulary.encode(text) for text in texts], beam, 100)
        return [vocabulary.decode(one.ids) if one.is_whole else "" for (one,) in found]


def read_records(path):
    """Return the records of a file, tuples of str: lines, or the rows of a .csv or .tsv after the first."""
    lines = path.read_text(encoding="utf-8").splitlines()
    if path.suffix == ".csv":
        return [tuple(row) for row in list(csv.reader(lines))[1:]]
    if path.suffix == ".tsv":
        return [tuple(line.split("\t")) for line in lines[1:]]
    return [(line,) for line in lines]


def split_records(records, val_fraction, test_fraction):
    """Return {"train", "validate", "test": records}, as `charrnn train` splits items: by the hash of what is given."""
    val, test = (Fraction(str(fraction)) * (1 << 64) for fraction in (val_fraction, test_fraction))
    splits = {"train": [], "validate": [], "test": []}
    for record in sorted(records, key=lambda record: content_hash([record[0].encode()])):
        left = (1 << 64) - content_hash([record[0].encode()])
        splits["test" if left <= test else "validate" if left <= test + val else "train"].append(record)
    return splits


def show(header, rows):
    """Print a Markdown table."""
    print("| " + " | ".join(header) + " |\n|---|" + "--:|" * (len(header) - 1))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def percent(share):
    """Return a Proportion with its interval."""
    return f"{share.value:.2%} ({share.low:.2%} to {share.high:.2%})"


# ---- the tables ------------------------------------------------------------------------------------------------------


def names(run):
    """The mean loss a character, END included, beside n-grams; and what is new among the names that are drawn."""
    vocabulary = run.vocabulary
    ids = {
        split: [item_ids(vocabulary, vocabulary.encode(name)) for (name,) in dict.fromkeys(rows)]
        for split, rows in run.splits.items()
    }
    training, text = (np.concatenate(ids[split]) for split in ("train", "test"))
    counted = text != vocabulary.start_id
    judged = judge_text(
        training, None, Stretch(text, 0, counted), vocabulary.size, ORDERS, start_id=vocabulary.start_id
    )
    grams = judged.by_order
    workspace = Workspace(run.model, 1, 100, training=False)
    losses = [workspace.losses(item[:-1, None], item[1:, None]).sum() for item in ids["test"]]
    rows = [(f"{order}-gram", f"{grams[order - 1]:.4f}") for order in (3, 5)]
    show(("model", "nats a character"), [*rows, ("charrnn", f"{sum(losses) / counted.sum():.4f}")])
    sampler = Sampler(run.model, Settings(), seed=1, num_samples=DRAWN)
    drawn = [vocabulary.decode(item.ids) for item in draw_items(sampler, vocabulary, 50) if item.is_whole]
    known = {split: {name for (name,) in rows} for split, rows in run.splits.items()}
    held = known["validate"] | known["test"]
    new = [name for name in drawn if name not in known["train"] and name not in held]
    print(
        f"\nOf {len(drawn):,} names drawn at temperature 1, {len(set(drawn)):,} are different; "
        f"{sum(name in known['train'] for name in drawn):,} stand in the training split, "
        f"{sum(name in held for name in drawn):,} are held out, {len(new):,} are new: {', '.join(new[:20])}"
    )


def places(run):
    """Accuracy, macro-F1 and calibration of the country beside scikit-learn's, and the accuracy early in the name."""
    vocabulary, labels = run.vocabulary, run.vocabulary.labels
    texts = {split: [name for name, _ in rows] for split, rows in run.splits.items()}
    truth = {split: np.array([labels.index(label) for _, label in rows]) for split, rows in run.splits.items()}
    of_test = [vocabulary.encode(name) for name in texts["test"]]
    found = tell_labels(run.model, vocabulary, of_test, [*EARLY, 1000])
    show(
        ("characters read", "accuracy"),
        [(n, percent(judge_labels(truth["test"], p).accuracy)) for n, p in zip([*EARLY, "all"], found)],
    )
    print()
    models = chain([("charrnn", found[-1])], character_ngrams(texts, truth))  # the second takes minutes
    judged = ((name, judge_labels(truth["test"], p)) for name, p in models)
    show(
        ("model", "accuracy (95 % interval)", "macro-F1", "calibration error", "nats"),
        (
            (name, percent(one.accuracy), f"{one.macro_f1:.4f}", f"{one.calibration_error:.4f}", f"{one.loss_nats:.4f}")
            for name, one in judged
        ),
    )


def character_ngrams(texts, truth):
    """Yield the name and the test probabilities of logistic regression on scikit-learn's character n-grams."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression

    vectors = TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 5), sublinear_tf=True, lowercase=False)
    inputs = {"train": vectors.fit_transform(texts["train"])}
    inputs |= {split: vectors.transform(texts[split]) for split in ("validate", "test")}
    models = [LogisticRegression(C=C, max_iter=1000).fit(inputs["train"], truth["train"]) for C in STRENGTHS]
    scores = [model.score(inputs["validate"], truth["validate"]) for model in models]
    best = int(np.argmax(scores))
    yield f"character 1- to 5-grams, C {STRENGTHS[best]:g}", models[best].predict_proba(inputs["test"])


def phonemes(run):
    """Word and phoneme error rates; a word is right where it meets any of its pronunciations."""
    references = {}
    for word, spoken in run.splits["test"]:
        references.setdefault(word, []).append(tuple(spoken.split()))

    def judge(beam):
        answers = [tuple(answer.split()) for answer in run.answers(list(references), beam)]
        judged = judge_targets(answers, list(references.values()))
        wrong = proportion(judged.exact.cases - judged.exact.hits, judged.exact.cases)
        return beam, percent(wrong), f"{judged.error_rate:.2%}"

    show(("beam", "word error rate (95 % interval)", "phoneme error rate"), map(judge, BEAMS))


def arithmetic(run):
    """Exact matches by the digits of the larger number, greedily."""
    rows = run.splits["test"]
    answers = run.answers([each for each, _ in rows], 1)
    is_right = np.array([answer == result for answer, (_, result) in zip(answers, rows)])
    digits = np.array([max(map(len, each.split("+"))) for each, _ in rows])
    shown = [(n, proportion(int(is_right[digits == n].sum()), int((digits == n).sum()))) for n in range(1, 5)]
    shown.append(("all", proportion(int(is_right.sum()), len(rows))))
    show(("digits", "sums", "exact (95 % interval)"), [(n, f"{each.cases:,}", percent(each)) for n, each in shown])


class MarkedSteps:
    """Training steps, without the update, of a chunk with marks of items, or without; a side of bench.measure."""

    work = 1

    def __init__(self, workspace, chunk, marks):
        self._workspace, self._chunk, self._marks = workspace, chunk, marks

    def run(self, count):
        """Make `count` steps; return the seconds they took."""
        begun = time.perf_counter()
        for step in range(count):
            self._workspace.loss_and_grads(*self._chunk, Dropout(0.2, seed=1), step, **self._marks)
        return time.perf_counter() - begun


def speed():
    """The time of a step with marks of items of 2 to 14 characters beside one without marks: ratios, taken in turns."""
    rng = np.random.default_rng(1)
    rows = []
    for cell, size, layers, layer_norm in TIMED:
        config = ModelConfig(cell, 65, size, layers, embedding_size=64, layer_norm=layer_norm)
        workspace = Workspace(Model.initialise(config, seed=1), BATCH, STEPS)
        chunk = rng.integers(0, 65, (2, STEPS, BATCH))
        starts = rng.random((STEPS, BATCH)) < 1 / 9  # an item every nine places, as names have it
        kinds = {}, {"resets": starts, "counts": ~starts}
        plain, items = measure([MarkedSteps(workspace, chunk, marks) for marks in kinds], ROUNDS)
        ratio = statistics.median(with_items / without for with_items, without in zip(items.rates, plain.rates))
        norm = ", layer norm" if layer_norm else ""
        rows.append((f"{cell} {size} x {layers}{norm}", f"{1e3 / plain.rate:.2f} ms", f"{ratio:.1%}"))
    show(("model", "a step of a stream", "speed with items"), rows)


if __name__ == "__main__":
    if sys.argv[1:] == ["speed"]:
        sys.exit(speed())
    tables = {table.__name__: table for table in (names, places, phonemes, arithmetic)}
    if len(sys.argv) != 3 or sys.argv[1] not in tables:
        sys.exit(__doc__)
    tables[sys.argv[1]](Opened(sys.argv[2]))
