"""How good models get: judge runs, keep their rows, and write docs/QUALITY.md.

    python benchmarks/quality.py TABLE RUN...     judges runs and writes the page
    python benchmarks/quality.py --time FOLDER    measures the minutes of every row without; the texts are in FOLDER
    python benchmarks/quality.py --baselines RUN...   measures n-gram and xz on the test split of these runs' texts
    python benchmarks/quality.py                  writes the page from the rows that are kept

A run is a folder that `charrnn train` or `charrnn sweep` made; TABLE names the table it belongs to. Its best checkpoint
reads the split as one stream. Rows are kept in quality/results.json. The minutes of a run are those on an idle machine,
so they are measured separately.
"""

import dataclasses
import json
import re
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from charrnn import evaluate, load
from charrnn.evaluation.loss import evaluate_split, read_losses, standard_error, sum_up
from charrnn.evaluation.units import bits
from charrnn.files.machine import cpu_name
from charrnn.model.parameters import Model
from charrnn.render.figure import Curve, Figure, Panel, write_svg
from charrnn.runs.checkpoint import load_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.text.corpus import read_corpus
from charrnn.training.defaults import learning_rate_of, weight_decay_of
from charrnn.training.options import DEFAULTS, TrainingConfig
from charrnn.training.plan import plan_run
from charrnn.training.records import Step
from charrnn.training.trainer import Trainer

HERE, DOCS = Path(__file__).resolve().parent, Path(__file__).resolve().parent.parent / "docs"
KEPT = HERE / "quality" / "results.json"
TIMED_S = 4.0
NANOGPT = 1.4697  # its README: the best validation loss on tinyshakespeare, 10.65 M parameters, 3 minutes of an A100
# No result depends on them; on eval_every it does, because a best checkpoint is one of those that were validated.
WATCHING = ("log_every", "sample", "sample_every", "sample_length", "checkpoint_every")
# Parameters of the one-layer LSTM of that size, 87 bytes, one-hot. Models above the last one stand beside the last row.
BUDGET = {64: 44_567, 128: 121_815, 256: 374_615, 512: 1_273_431}
# arXiv 1506.02078, table 1, for 1, 2 and 3 layers: from memory, see the page.
PAPER = {
    64: {"lstm": (1.449, 1.442, 1.540), "rnn": (1.446, 1.401, 1.396), "gru": (1.398, 1.373, 1.472)},
    128: {"lstm": (1.277, 1.227, 1.279), "rnn": (1.417, 1.286, 1.277), "gru": (1.230, 1.226, 1.253)},
    256: {"lstm": (1.189, 1.137, 1.141), "rnn": (1.342, 1.256, 1.239), "gru": (1.198, 1.164, 1.138)},
    512: {"lstm": (1.161, 1.092, 1.082)},
}
# Of the defaults, in the order of the page; a file ending in -50k is the beginning of the text of that name.
TEXTS = ("tinyshakespeare.txt", "tinyshakespeare-50k.txt", "tinyshakespeare-200k.txt", "linux.txt", "latex.txt")
# Of the table of whole texts against n-gram and xz, and what its runs are held against.
WHOLE_TEXTS, EARLIER = ("shakespeare.txt", "linux.txt", "latex.txt", "python.txt"), "earlier-default"
WHOLE_RUN = r"^(kernel|latex)-5-minutes-(earlier-)?default$"  # those that the table of the defaults has too
NONE = "none"  # the run without a regulariser, which the others are held against


def judge(folder):
    """Return the row of one run: its options, and its losses on the splits it did not train on."""
    checkpoint = load_checkpoint(Path(folder) / "best.safetensors")
    training, vocabulary = checkpoint.training, checkpoint.vocabulary
    config, text = TrainingConfig.from_dict(training["config"]), training["corpus"]
    model = Model.from_checkpoint(checkpoint)
    corpus = read_corpus(text["sources"], mode=vocabulary.mode, encoding=config.encoding, vocabulary=vocabulary)
    log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    log = [record for record in log if "epoch" in record]  # neither samples nor returns after divergence
    row = {
        "run": Path(folder).name,
        "text": Path(text["sources"][0]).name,
        "options": training["config"],
        "parameters": model.num_parameters,
        "epochs": log[-1]["epoch"],
        "minutes": None,
    }
    for name in ("val", "test"):
        start, stop = text["splits"][name]
        if stop > start:
            losses = read_losses(model, corpus.ids, start, stop)
            row[name], row[f"{name}_error"] = sum_up(losses).loss_nats, standard_error(losses)[0]
    row["curve"] = [
        [record["step"], record["epoch"], record["val_loss_nats"]] for record in log if "val_loss_nats" in record
    ]
    return row


def minutes(row, folder):
    """Return the minutes that the run of a row takes here, on all cores.

    Its steps and validations are counted, and some seconds of each are timed.
    """
    config = dataclasses.replace(
        TrainingConfig.from_dict(row["options"]),
        epochs=None,
        minutes=None,
        steps=10**9,
        schedule="constant",
        warmup=0.0,
        eval_every=0,
        sample_every=0,
        log_every=10**9,
        checkpoint_every=10**9,
    )
    corpus = read_corpus([Path(folder) / row["text"]], mode=config.vocab, encoding=config.encoding)
    with tempfile.TemporaryDirectory() as scratch, RunFolder.create(Path(scratch) / "run") as run:
        trainer = Trainer(plan_run(config, corpus), corpus, run, [row["text"]], samples=False)
        steps = (record for record in trainer.run() if isinstance(record, Step))
        for _ in range(20):
            next(steps)
        count, begun = 0, time.perf_counter()
        while time.perf_counter() - begun < TIMED_S:
            next(steps)
            count += 1
        step_s = (time.perf_counter() - begun) / count
        start, stop = corpus.split(config.val_fraction, config.test_fraction).val
        begun = time.perf_counter()
        evaluate_split(trainer.state.learner.result, corpus.ids, start, stop)
        validation_s = time.perf_counter() - begun
    return (row["curve"][-1][0] * step_s + len(row["curve"]) * validation_s) / 60


def command(row):
    """Return the command that makes the row's run, with every option that is not the default."""
    config = TrainingConfig.from_dict(row["options"])
    options = {name: value for name, value in config.to_dict().items() if name not in WATCHING}
    words = [f"charrnn train {row['text']}"]
    own = TrainingConfig(optimizer=config.optimizer, schedule=config.schedule).resolved()
    left_open = dataclasses.replace(config, learning_rate=None, weight_decay=None)
    named = {
        "optimizer": DEFAULTS.optimizer,
        "schedule": TrainingConfig().resolved().schedule,
        "learning_rate": learning_rate_of(left_open),
        "weight_decay": weight_decay_of(left_open),
    }
    for name, value in sorted(options.items()):
        if value is not None and value != named.get(name, getattr(own, name)):
            flag = "--" + name.replace("_", "-")
            words.append(
                flag
                if value is True
                else flag.replace("--", "--no-")
                if value is False
                else f"{flag} {value:g}"
                if isinstance(value, float)
                else f"{flag} {value}"
            )
    return " ".join(words)


def loss(row, name):
    return f"{row[name]:.4f} ± {row[name + '_error']:.4f}" if name in row else "-"


def taken(row):
    """Return the minutes of a row, with a mark where the CPU was not the AMD EPYC of most rows."""
    if row["minutes"] is None:
        return "-"
    return f"{row['minutes']:.1f}" + ("" if row.get("cpu", "AMD").startswith("AMD") else " †")


def paper_size(row):
    """Return the smallest of the paper's sizes that has room for a row's parameters."""
    return next((size for size in PAPER if row["parameters"] <= BUDGET[size]), max(PAPER))


def paper_table(rows):
    """Return the lines of War and Peace beside the paper."""
    yield (
        "| paper's size | cell | layers | units | parameters | epochs | minutes | seed | validation | test | paper "
        "| below the paper |"
    )
    yield "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for row in rows:
        options, size = row["options"], paper_size(row)
        paper = PAPER[size][options["cell"]][options["num_layers"] - 1]
        yield (
            f"| {size} | {options['cell']} | {options['num_layers']} | {options['hidden_size']} | "
            f"{row['parameters']:,} | {row['epochs']:g} | {taken(row)} | {options['seed']} | {loss(row, 'val')} | "
            f"{loss(row, 'test')} | {paper:.3f} | {'yes' if row['test'] < paper else '**no**'} |"
        )


def plain_table(rows):
    has_test = any("test" in row for row in rows)
    yield "| run | parameters | epochs | minutes | seed | validation |" + " test |" * has_test
    yield "|---|--:|--:|--:|--:|--:|" + "--:|" * has_test
    for row in rows:
        yield (
            f"| {row['run']} | {row['parameters']:,} | {row['epochs']:g} | {taken(row)} | {row['options']['seed']} | "
            f"{loss(row, 'val')} |" + f" {loss(row, 'test')} |" * has_test
        )


def worth_table(rows):
    """Return the lines of what each regulariser is worth beside the run without one."""
    base = next((row for row in rows if row["run"] == NONE), None)
    if base is None:
        return
    yield "| with | parameters | minutes | seed | best epoch | validation | gain over none |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for row in rows:
        best = min(row["curve"], key=lambda point: point[2])[1]
        yield (
            f"| {row['run']} | {row['parameters']:,} | {taken(row)} | {row['options']['seed']} | {best:.1f} "
            f"| {loss(row, 'val')} | {base['val'] - row['val']:.4f} |"
        )


def measure_baselines(folder):
    """Return (name of the text, losses in nats of the best n-gram and of xz) on the test split of a run."""
    judgement = evaluate(load(folder), split="test", baselines=True)
    nats = {one.name: one.loss_nats for one in judgement.baselines}
    order = judgement.ngram.order
    text = Path(load_checkpoint(Path(folder) / "best.safetensors").training["corpus"]["sources"][0]).name
    return text, {"order": order, "ngram": nats[f"{order}-gram"], "xz": nats["xz -9e"]}


def texts_table(rows, baselines):
    """Return the lines of the whole texts: bits of the test split, and how many fewer than others need."""
    yield (
        "| run | parameters | epochs | minutes | bits per character | fewer than the earlier default | fewer than "
        "the best n-gram | fewer than xz |"
    )
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    tests = {row["run"]: row["test"] for row in rows}
    for row in rows:
        earlier = re.sub(r"(-minutes-).*", rf"\1{EARLIER}", row["run"])
        others = baselines.get(row["text"], {})
        held_against = (None if row["run"] == earlier else tests.get(earlier), others.get("ngram"), others.get("xz"))
        gains = ["-" if other is None else f"{1 - row['test'] / other:.1%}" for other in held_against]
        yield (
            f"| {row['run']} | {row['parameters']:,} | {row['epochs']:.1f} | {taken(row)} | "
            f"{bits(row['test']):.4f} ± {bits(row['test_error']):.4f} | {' | '.join(gains)} |"
        )
    said = [
        f"{Path(text).stem}: {one['order']}-gram {bits(one['ngram']):.3f}, xz {bits(one['xz']):.3f}"
        for text, one in sorted(baselines.items(), key=lambda item: WHOLE_TEXTS.index(item[0]))
    ]
    yield from ("", f"Bits per character of the baselines on the same test split. {'; '.join(said)}.")


def commands(rows):
    """Return the rows' commands as a block."""
    return ["", *(f"    {command(row)}" for row in rows), ""]


def write_page(kept):
    """Write docs/QUALITY.md and its figure from the rows that are kept."""
    war, parts_of_war, shakespeare, entry, worth, more, recipe = (
        sorted(kept.get(name, {}).values(), key=lambda row: (row["parameters"], row["run"]))
        for name in ("warpeace", "parts", "tinyshakespeare", "input", "regularisers", "more", "recipe")
    )
    whole = [*kept.get("texts", {}).values(), *(row for row in recipe if re.search(WHOLE_RUN, row["run"]))]
    whole.sort(
        key=lambda row: (WHOLE_TEXTS.index(row["text"]), int(re.search(r"(\d+)-minutes", row["run"])[1]), -row["test"])
    )
    recipe.sort(key=lambda row: (TEXTS.index(row["text"]), round(row["epochs"], 2), row["val"]))
    war.sort(key=lambda row: (paper_size(row), row["run"]))
    worth.sort(key=lambda row: row["val"])
    more.sort(key=lambda row: (row["options"]["seed"], row["val"]))
    lines = (HERE / "quality" / "page.md").read_text(encoding="utf-8").split("\n")
    parts = {
        "{warpeace}": [*paper_table(war), *commands(war)],
        "{parts}": [*plain_table(parts_of_war), *commands(parts_of_war)],
        "{tinyshakespeare}": [*plain_table(shakespeare), *commands(shakespeare)],
        "{input}": [*plain_table(entry), *commands(entry)],
        "{regularisers}": [*worth_table(worth), *commands(worth)],
        "{more}": [*plain_table(more), *commands(more)],
        "{recipe}": [*plain_table(recipe), *commands(recipe)],
        "{texts}": [*texts_table(whole, kept.get("baselines", {})), *commands(whole)],
    }
    page = "\n".join(out for line in lines for out in parts.get(line, [line]))
    (DOCS / "QUALITY.md").write_text(page, encoding="utf-8")
    curves = [
        Curve(
            row["run"],
            [epoch * row["minutes"] / row["epochs"] for _, epoch, _ in row["curve"]],
            [y for *_, y in row["curve"]],
        )
        for row in shakespeare
        if row["minutes"] is not None and row["options"]["seed"] == 1  # a curve for each recipe
    ]
    if curves:
        write_svg(
            DOCS / "quality-tinyshakespeare.svg",
            Figure(
                "tinyshakespeare, last 10 %",
                "minutes",
                "validation loss, nats",
                [Panel("", curves, [(NANOGPT, "nanoGPT")])],
                log=False,
            ),
        )


def main(arguments):
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if arguments[:1] == ["--time"]:
        tables = (rows for table, rows in kept.items() if table != "baselines")
        for row in (row for rows in tables for row in rows.values() if row["minutes"] is None):
            row["minutes"], row["cpu"] = minutes(row, arguments[1]), cpu_name()
            print(row["run"], f"{row['minutes']:.1f} min", flush=True)
    elif arguments[:1] == ["--baselines"]:
        for folder in arguments[1:]:
            text, found = measure_baselines(folder)
            kept.setdefault("baselines", {})[text] = found
            print(text, found, flush=True)
    elif arguments:
        table, *folders = arguments
        for folder in folders:
            row = judge(folder)
            kept.setdefault(table, {})[row["run"]] = row
            print(row["run"], loss(row, "val"), loss(row, "test"))
    if arguments:
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_page(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
