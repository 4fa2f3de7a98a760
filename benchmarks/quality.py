"""How good models get: `python benchmarks/quality.py TABLE RUN...` judges runs and keeps their rows, then writes docs/QUALITY.md.

A run is a folder that `charrnn train` or `charrnn sweep` made; TABLE names the table it belongs to. Its best checkpoint reads the split
as one stream. Rows are kept in quality/results.json; without arguments the page is written from them.
"""
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from charrnn.checkpoint import load_checkpoint
from charrnn.corpus import read_corpus
from charrnn.evaluation import read_losses, standard_error, sum_up
from charrnn.model import Model
from charrnn.options import TrainingConfig
from charrnn.render.figure import Curve, Figure, Panel, write_svg

HERE, DOCS = Path(__file__).resolve().parent, Path(__file__).resolve().parent.parent / "docs"
KEPT = HERE / "quality" / "results.json"
NANOGPT = 1.4697  # its README: the best validation loss on tinyshakespeare, 10.65 M parameters, 3 minutes of an A100
WATCHING = ("eval_every", "log_every", "sample_every", "sample_length", "checkpoint_every")  # no result depends on them
# arXiv 1506.02078, table 1, for 1, 2 and 3 layers: from memory, see the page.
BUDGET = {64: 44_567, 128: 121_815, 256: 374_615}  # parameters of the one-layer LSTM of that size, 87 bytes, one-hot
PAPER = {64: {"lstm": (1.449, 1.442, 1.540), "rnn": (1.446, 1.401, 1.396), "gru": (1.398, 1.373, 1.472)},
         128: {"lstm": (1.277, 1.227, 1.279), "rnn": (1.417, 1.286, 1.277), "gru": (1.230, 1.226, 1.253)},
         256: {"lstm": (1.189, 1.137, 1.141), "rnn": (1.342, 1.256, 1.239), "gru": (1.198, 1.164, 1.138)}}
NONE = "none"  # the run without a regulariser, which the others are held against


def judge(folder):
    """Return the row of one run: its options, and its losses on the splits it did not train on."""
    checkpoint = load_checkpoint(Path(folder) / "best.safetensors")
    training, vocabulary = checkpoint.training, checkpoint.vocabulary
    config, text = TrainingConfig.from_dict(training["config"]), training["corpus"]
    model = Model.from_checkpoint(checkpoint)
    corpus = read_corpus(text["sources"], mode=vocabulary.mode, encoding=config.encoding, vocabulary=vocabulary)
    log = [json.loads(line) for line in (Path(folder) / "log.jsonl").read_text().splitlines()]
    row = {"run": Path(folder).name, "text": Path(text["sources"][0]).name, "options": training["config"],
           "parameters": model.num_parameters, "epochs": log[-1]["epoch"], "minutes": minutes(log, config)}
    for name in ("val", "test"):
        start, stop = text["splits"][name]
        if stop > start:
            losses = read_losses(model, corpus.ids, start, stop)
            row[name], row[f"{name}_error"] = sum_up(losses).loss_nats, standard_error(losses)[0]
    row["curve"] = [[record["step"], record["epoch"], record["val_loss_nats"]] for record in log if "val_loss_nats" in record]
    return row


def minutes(log, config):
    """Return what the run takes where nothing else runs: its characters at the speed of its fastest tenth."""
    speeds = sorted(record["chars_per_s"] for record in log)
    return log[-1]["step"] * config.batch_size * config.seq_length / speeds[len(speeds) * 9 // 10] / 60


def command(row):
    """Return the command that makes the row's run, with every option that is not the default."""
    options = TrainingConfig.from_dict(row["options"]).to_dict()
    options = {name: value for name, value in options.items() if name not in WATCHING}
    words = [f"charrnn train {row['text']}"]
    for name, value in sorted(options.items()):
        others = {other: value for other, value in options.items() if other != name}
        if value is not None and value != getattr(TrainingConfig(**others).resolved(), name):
            flag = "--" + name.replace("_", "-")
            words.append(flag if value is True else flag.replace("--", "--no-") if value is False else f"{flag} {value:g}" if isinstance(value, float) else f"{flag} {value}")
    return " ".join(words)


def loss(row, name):
    return f"{row[name]:.4f} ± {row[name + '_error']:.4f}" if name in row else "-"


def paper_size(row):
    """Return the smallest of the paper's sizes that has room for a row's parameters."""
    return next(size for size in PAPER if row["parameters"] <= BUDGET[size])


def paper_table(rows):
    """Return the lines of War and Peace beside the paper."""
    yield "| paper's size | cell | layers | units | parameters | epochs | minutes | seed | validation | test | paper | below it |"
    yield "|--:|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|---|"
    for size, row in sorted(((paper_size(row), row) for row in rows), key=lambda pair: (pair[0], pair[1]["run"])):
        options = row["options"]
        paper = PAPER[size][options["cell"]][options["num_layers"] - 1]
        yield (f"| {size} | {options['cell']} | {options['num_layers']} | {options['hidden_size']} | {row['parameters']:,} | {row['epochs']:g} | "
               f"{row['minutes']:.1f} | {options['seed']} | {loss(row, 'val')} | {loss(row, 'test')} | {paper:.3f} | "
               f"{'yes' if row['test'] < paper else '**no**'} |")


def plain_table(rows):
    yield "| run | parameters | epochs | minutes | seed | validation |"
    yield "|---|--:|--:|--:|--:|--:|"
    for row in rows:
        yield (f"| {row['run']} | {row['parameters']:,} | {row['epochs']:g} | {row['minutes']:.1f} | {row['options']['seed']} | "
               f"{loss(row, 'val')} |")


def worth_table(rows):
    """Return the lines of what each regulariser is worth beside the run without one: the best first."""
    base = next((row for row in rows if row["run"] == NONE), None)
    if base is None:
        return
    yield "| with | parameters | minutes | seed | best at epoch | validation | below none |"
    yield "|---|--:|--:|--:|--:|--:|--:|"
    for row in sorted(rows, key=lambda row: row["val"]):
        best = min(row["curve"], key=lambda point: point[2])[1]
        yield (f"| {row['run']} | {row['parameters']:,} | {row['minutes']:.1f} | {row['options']['seed']} | {best:.1f} | {loss(row, 'val')} | "
               f"{base['val'] - row['val']:.4f} |")


def commands(rows):
    """Return the rows' commands as a block."""
    return ["", *(f"    {command(row)}" for row in rows), ""]


def write_page(kept):
    """Write docs/QUALITY.md and its figure from the rows that are kept."""
    war, shakespeare, entry, worth = (sorted(kept.get(name, {}).values(), key=lambda row: (row["parameters"], row["run"]))
                                      for name in ("warpeace", "tinyshakespeare", "input", "regularisers"))
    lines = (HERE / "quality" / "page.md").read_text(encoding="utf-8").split("\n")
    parts = {"{warpeace}": [*paper_table(war), *commands(war)], "{tinyshakespeare}": [*plain_table(shakespeare), *commands(shakespeare)],
             "{input}": [*plain_table(entry), *commands(entry)], "{regularisers}": [*worth_table(worth), *commands(worth)]}
    page = "\n".join(out for line in lines for out in parts.get(line, [line]))
    (DOCS / "QUALITY.md").write_text(page, encoding="utf-8")
    curves = [Curve(row["run"], [epoch * row["minutes"] / row["epochs"] for _, epoch, _ in row["curve"]], [y for *_, y in row["curve"]])
              for row in shakespeare]
    if curves:
        write_svg(DOCS / "quality-tinyshakespeare.svg",
                  Figure("tinyshakespeare, last 10 %", "minutes", "validation loss, nats", [Panel("", curves, [(NANOGPT, "nanoGPT")])], log=False))


def main(arguments):
    kept = json.loads(KEPT.read_text(encoding="utf-8")) if KEPT.exists() else {}
    if arguments:
        table, *folders = arguments
        for folder in folders:
            row = judge(folder)
            kept.setdefault(table, {})[row["run"]] = row
            print(row["run"], loss(row, "val"), loss(row, "test"), f"{row['minutes']:.1f} min")
        KEPT.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    write_page(kept)


if __name__ == "__main__":
    main(sys.argv[1:])
