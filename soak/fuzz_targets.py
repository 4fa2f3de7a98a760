"""What is fuzzed: each target makes first cases, changes them as its format asks, and runs one.

A target's run raises an exception of `refusals` where charrnn refuses the case in a sentence, and AssertionError where
it accepts what it should not, or gives back something else than it should.
"""

import bz2
import contextlib
import dataclasses
import gzip
import hashlib
import io
import json
import lzma
import math
import os
import re
import sys
import tracemalloc
import xml.etree.ElementTree
from pathlib import Path

import click
import numpy as np

from charrnn.cells.signals import LANGUAGES, built_in_signals, scan
from charrnn.cli import main
from charrnn.cli.train import _asked
from charrnn.cli.train import command as train_command
from charrnn.cli.words import neutralise, printable
from charrnn.errors import CharRNNError
from charrnn.model.parameters import Model
from charrnn.render.page import FoundUnit, PageData, page_pieces
from charrnn.render.picture import Passage, write_svg
from charrnn.render.terminal import highlight
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, read_metadata, save_checkpoint
from charrnn.runs.folder import RunFolder, read_log
from charrnn.spec import CELLS, ModelConfig, parameter_shapes
from charrnn.text.corpus import read_corpus
from charrnn.text.vocabulary import Vocabulary
from charrnn.training.options import DEFAULTS, TrainingConfig
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.stored import stored_config
from charrnn.training.trainer import Trainer

# A loaded checkpoint may take this much for the bytes of its file, and this much whatever its length.
MEMORY_A_BYTE, MEMORY = 64, 1 << 20
MEASURED = 50  # one case in so many: measuring is slow


def targets(folder):
    """Return {name: target}, which write into `folder`."""
    return {
        kind.__name__.lower(): kind(Path(folder))
        for kind in (CheckpointFile, Checkpoints, Config, Corpus, Log, Render, Signals)
    }


class Target:
    refusals = (CharRNNError,)
    tokens = ()
    longest = 6_000  # bytes of a case

    def __init__(self, folder):
        self.folder = folder / type(self).__name__.lower()
        self.folder.mkdir()
        self.count = 0

    def mutate(self, mutator, case):
        return mutator.bytes(case)


# -------------------------------------------------------------------------------------------------------- checkpoints


def small_checkpoint(cell="rnn", dtype="float32", tied=False, vocabulary="chars", training=None, **more):
    """Return a Checkpoint of few numbers, with an optimiser and a carry."""
    model = {
        "cell": cell,
        "hidden_size": 2,
        "num_layers": 1,
        "embedding_size": 2 if tied else 0,
        "tied": tied,
        "dtype": dtype,
        **more,
    }
    symbols = ["\n", "a", "b"] if vocabulary == "chars" else [10, 97, 200]
    shapes = parameter_shapes(ModelConfig(vocab_size=len(symbols), **model))

    def filled():
        return {
            name: np.linspace(-1, 1, math.prod(shape)).astype(dtype).reshape(shape) for name, shape in shapes.items()
        }

    carry = {name: np.zeros((1, 2, 2), dtype) for name in CELLS[cell].states}
    return Checkpoint(
        model,
        Vocabulary(vocabulary, symbols),
        filled(),
        {f"m/{name}": array for name, array in filled().items()},
        carry,
        training or {"step": 3},
    )


class CheckpointFile(Target):
    """Bytes -> load_checkpoint, read_metadata, a Model; what is loaded can be saved and loaded again."""

    tokens = (
        b"__metadata__",
        b"charrnn",
        b"sha256",
        b"param/",
        b"optim/m/",
        b"carry/h",
        b"data_offsets",
        b"shape",
        b"dtype",
        b"F32",
        b"F64",
        b"BF16",
        b"PK\x03\x04",
        b"\x80\x02",
        b"9" * 70,
        b"[" * 70,
        b"1e999",
        b'\\"',
    )

    def seeds(self):
        made = []
        for options in (
            {},
            {"cell": "lstm", "dtype": "float64"},
            {"cell": "gru", "tied": True},
            {"vocabulary": "bytes"},
            {"cell": "lstm", "zoneout": 0.25},
            {"cell": "gru", "layer_norm": True},
        ):
            save_checkpoint(self.folder / "seed", small_checkpoint(**options))
            made.append((self.folder / "seed").read_bytes())
        return made

    def mutate(self, mutator, case):
        return (
            mutator.bytes(case)
            if mutator.rng.random() < 0.3
            else mutate_parts(mutator, case, ("header", "metadata", "data"))
        )

    def run(self, case):
        path = self.folder / "case.safetensors"
        path.write_bytes(case)
        self.count += 1
        measured = self.count % MEASURED == 0
        if measured:
            tracemalloc.start()
        try:
            loaded = refused = None
            try:
                loaded = load_checkpoint(path)
            except CharRNNError as error:
                refused = error
            if measured:
                peak = tracemalloc.get_traced_memory()[1]
                assert peak < MEMORY + MEMORY_A_BYTE * len(case), (
                    f"{peak:,} bytes of memory for a file of {len(case):,}"
                )
        finally:
            if measured:
                tracemalloc.stop()
        if refused is not None:
            assert "\n" not in str(refused) and len(str(refused)) < 1000
            raise refused
        metadata = read_metadata(path)
        assert metadata["training"] == loaded.training and metadata["model"] == loaded.model
        assert sum(
            array.nbytes for part in (loaded.parameters, loaded.optimizer, loaded.carry) for array in part.values()
        ) <= len(case)
        Model.from_checkpoint(loaded)
        save_checkpoint(path, loaded)
        again = load_checkpoint(path)
        assert again.training == loaded.training and again.parameters.keys() == loaded.parameters.keys()
        return True


class Checkpoints(Target):
    """A file that load_checkpoint accepts -> info, sample, eval without TEXT, resume.

    Hostile is what the file says of its run.
    """

    tokens = (b"..", b"/", b"*", b"**", b"~", b"\x1b[31m")
    longest = 20_000
    text = "a\nb" * 40

    def __init__(self, folder):
        super().__init__(folder)
        (self.folder / "text.txt").write_text(self.text)
        (self.folder / "texts").mkdir()
        (self.folder / "texts" / "a.txt").write_text(self.text)
        if hasattr(os, "mkfifo"):
            os.mkfifo(self.folder / "pipe")
        self.run_folder = self.folder / "run"

    def seeds(self):
        made = []
        for options in (
            {"cell": "rnn", "steps": 3, "epochs": None},
            {"cell": "lstm", "epochs": 1.0, "optimizer": "sgd", "momentum": 0.5},
            {
                "cell": "gru",
                "steps": 2,
                "vocab": "bytes",
                "embedding_size": 2,
                "tie_weights": True,
                "val_fraction": 0.0,
            },
        ):
            config = TrainingConfig(
                hidden_size=2, num_layers=1, batch_size=2, seq_length=5, seed=1, sample_every=0, **options
            )
            with read_corpus([self.folder / "text.txt"], mode=config.vocab) as corpus:
                folder = Unwritten(self.run_folder)
                trainer = Trainer(
                    plan_run(config, corpus), corpus, folder, [str(self.folder / "text.txt")], samples=False
                )
                for record in trainer.run():
                    if getattr(record, "step", 0) == 1:
                        trainer.stop()
                path = self.folder / "seed"
                training = json.loads(json.dumps(folder.saved.training))
                training["corpus"] |= {"sources": ["text.txt"], "sources_from_run": ["../text.txt"]}
                save_checkpoint(
                    path,
                    Checkpoint(
                        folder.saved.model,
                        folder.saved.vocabulary,
                        dict(folder.saved.parameters),
                        dict(folder.saved.optimizer),
                        dict(folder.saved.carry),
                        training,
                    ),
                )
                made.append(path.read_bytes())
        return made

    def mutate(self, mutator, case):
        return mutate_parts(mutator, case, ("training", "training", "training", "metadata"))

    def run(self, case):
        self.run_folder.mkdir(exist_ok=True)
        path = self.run_folder / "last.safetensors"
        path.write_bytes(case)
        loaded = load_checkpoint(path)
        with contextlib.chdir(self.folder):
            out = self.charrnn("info", path, code=0)
            assert not controls(out) and len(out) < 100_000 + 4 * len(case), "info"
            json.loads(self.charrnn("info", "--json", path, code=0))
            self.charrnn("sample", self.run_folder, "--length", "5", "--seed", "1", code=0)
            self.charrnn("eval", self.run_folder)
            config = stored_config(loaded.training)
            with read_corpus([self.folder / "text.txt"], mode=config.vocab, encoding=config.encoding) as corpus:
                plan = plan_resume(loaded, corpus)
                if config.log_every and config.log_every < 3 or (plan.total_steps or 99) - loaded.training["step"] > 20:
                    return True
                for _ in Trainer(plan, corpus, Unwritten(self.run_folder), samples=False).run():
                    pass
        return True

    @staticmethod
    def charrnn(*arguments, code=None):
        """Run the command line in this process; return what it says, both streams."""
        stream = io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True)
        with contextlib.redirect_stdout(stream), contextlib.redirect_stderr(stream):
            ended = main([str(argument) for argument in arguments])
        said = stream.buffer.getvalue().decode("utf-8")
        assert ended in ((0, 2) if code is None else (code,)), f"{arguments[0]} ended with {ended}: {said[-300:]}"
        return said


class Unwritten:
    """A RunFolder that keeps the last checkpoint instead of writing it."""

    def __init__(self, path):
        self.path, self.last, self.best, self.good = (
            path,
            path / "last.safetensors",
            path / "last.safetensors",
            path / "good.safetensors",
        )
        self.saved = None

    def save(self, checkpoint, best=False, snapshot=None):
        self.saved = checkpoint

    def load_good(self):
        return load_checkpoint(self.good)

    def load_result(self):
        return load_checkpoint(self.last)

    def log(self, record):
        json.dumps(record)

    def trim_log(self, step, returns=(), samples_before=0):
        for one in returns:
            json.dumps(one, allow_nan=False)

    def keep_last_as_good(self):
        pass

    def remove_good(self):
        pass

    def write_config(self, options):
        pass


def mutate_parts(mutator, case, parts):
    """Change one of a checkpoint's parts and, mostly, put in order what hangs on it: offsets, lengths, the digest."""
    try:
        return _mutate_parts(mutator, case, parts)
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
    ):  # what is no longer a checkpoint
        return mutator.bytes(case)


def _mutate_parts(mutator, case, parts):
    length = int.from_bytes(case[:8], "little")
    header, data = json.loads(case[8 : 8 + length]), case[8 + length :]
    outer = header.pop("__metadata__")
    metadata = json.loads(outer["charrnn"])
    rng, part = mutator.rng, mutator.rng.choice(parts)
    if part == "training":
        metadata["training"] = mutator.json(metadata["training"])
    elif part == "metadata":
        metadata = mutator.json(metadata)
    elif part == "data":
        data = mutator.bytes(data, 2)
    else:
        header = mutator.json(header)
    if rng.random() < 0.9:
        at = 0
        for entry in header.values():
            size = math.prod(entry["shape"]) * {"F32": 4, "F64": 8}[entry["dtype"]]
            entry["data_offsets"] = [at, at + size]
            at += size
        data = data[:at] + bytes(max(0, min(at, 100_000) - len(data)))
    outer["charrnn"] = json.dumps(metadata)
    if rng.random() < 0.95:
        outer["sha256"] = hashlib.sha256(outer["charrnn"].encode("utf-8", "replace") + data).hexdigest()
    else:
        outer.pop("sha256", None)
    encoded = json.dumps({"__metadata__": outer, **header}).encode()
    if rng.random() < 0.05:
        encoded = mutator.bytes(encoded, 2)
    return (len(encoded) if rng.random() < 0.97 else rng.getrandbits(64)).to_bytes(8, "little") + encoded + data


# -------------------------------------------------------------------------------------------------- config, text, log


class Config(Target):
    """Bytes -> charrnn train --config -> TrainingConfig."""

    refusals = (CharRNNError, click.UsageError)
    tokens = (
        b"hidden-size",
        b"hidden_size = ",
        b"epochs = ",
        b"text = [",
        b"'''",
        b'"""',
        b"[[a]]",
        b"a.b.c = ",
        b"0x",
        b"1_000",
        b"inf",
        b"nan",
        b"1979-05-27T07:32:00Z",
        b"\\u00e9",
        b"\\UFFFFFFFF",
        b"{a = 1}",
        b"vocab = 'bytes'",
        b"resume = ",
        b"output = ",
        b"steps = ",
        b"[" * 2000,
        b"{a=" * 1000,
        b"9" * 4500,
        b"0x" + b"f" * 4500,
        b"a." * 900,
    )

    def seeds(self):
        return [
            b"hidden-size = 32\nnum_layers = 2\ndropout = 0.1\ntie-weights = false\n"
            b'cell = "gru"\ntext = ["a.txt", \'b.txt\']\n',
            b"# all kinds\nepochs = 1e1\nseed = 0x1F\nlearning-rate = 3e-3\n"
            b"schedule = 'step'\nquiet = true\nthreads = 1\n",
            b"steps = 10\noptimizer = 'sgd'\nmomentum = 0.9\n[table]\na = 1\n",
            b"text = '-'\nminutes = 0.5\nwarmup = 0.1\n",
        ]

    def mutate(self, mutator, case):
        rng = mutator.rng
        if rng.random() < 0.4:
            return mutator.bytes(case)
        lines = case.split(b"\n")
        lines[rng.randrange(len(lines)) : rng.randrange(len(lines)) + rng.choice((0, 1))] = [self._line(mutator)]
        return b"\n".join(lines)

    @staticmethod
    def _line(mutator):
        field = mutator.rng.choice(dataclasses.fields(TrainingConfig))
        value = mutator.value(DEFAULTS.to_dict()[field.name] if mutator.rng.random() < 0.8 else None)
        name = field.name.replace("_", mutator.rng.choice("_-"))
        return f"{name} = {json.dumps(value)}".encode("utf-8", "replace")

    def run(self, case):
        path = self.folder / "config.toml"
        path.write_bytes(case)
        with train_command.make_context("train", ["--config", str(path)]) as context:
            config = TrainingConfig(**_asked(context)).resolved()
        assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
        return True


class Corpus(Target):
    """A byte of how to read, then a file -> read_corpus."""

    tokens = (
        "é".encode("latin-1"),
        "\U0001f600".encode(),
        b"\x1f\x8b\x08\x00",
        b"BZh9",
        b"\xfd7zXZ\x00",
        b"+AOk-",
        b"\x1b$B",
        b"\\x41",
        b"xn--",
    )
    ways = [
        (mode, encoding, suffix, vocabulary)
        for mode, encoding in (
            ("bytes", "utf-8"),
            ("chars", "utf-8"),
            ("chars", "utf-16"),
            ("chars", "utf-7"),
            ("chars", "shift_jis"),
            ("chars", "unicode_escape"),
            ("chars", "latin-1"),
            ("chars", "iso2022_jp"),
            ("chars", "utf-32"),
            ("chars", "idna"),
            ("chars", "punycode"),
            ("chars", "hz"),
        )
        for suffix in (".txt", ".gz", ".bz2", ".xz")
        for vocabulary in (None, "error", "skip")
    ]
    packers = {
        ".txt": bytes,
        ".gz": lambda data: gzip.compress(data, mtime=0),
        ".bz2": bz2.compress,
        ".xz": lzma.compress,
    }
    unpackers = {".txt": bytes, ".gz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}

    def seeds(self):
        text = "an abacus, é and \U0001f600\r\n\ufeff"
        encoded = {
            encoding: b"an-bacs-tda" if encoding in ("idna", "punycode") else text.encode(encoding, "replace")
            for _, encoding, _, _ in self.ways
        }
        return [
            bytes([at]) + self.packers[suffix](encoded[encoding])
            for at, (_, encoding, suffix, _) in enumerate(self.ways)
        ]

    def mutate(self, mutator, case):
        rng, way = mutator.rng, case[0] if case else 0
        suffix = self.ways[way % len(self.ways)][2]
        if rng.random() < 0.1:
            way = rng.randrange(len(self.ways))
        elif suffix != ".txt" and rng.random() < 0.6:  # beneath the compression
            try:
                return bytes([way]) + self.packers[suffix](mutator.bytes(self.unpackers[suffix](case[1:])[:20_000]))
            except (OSError, EOFError, ValueError, lzma.LZMAError):
                pass
        return bytes([way]) + mutator.bytes(case[1:])

    def run(self, case):
        mode, encoding, suffix, unknown = self.ways[(case[0] if case else 0) % len(self.ways)]
        path = self.folder / f"text{suffix}"
        path.write_bytes(case[1:])
        vocabulary = None if unknown is None else Vocabulary(mode, "abcns ,\n" if mode == "chars" else range(32, 128))
        with read_corpus(
            [path], mode=mode, encoding=encoding, vocabulary=vocabulary, unknown=unknown or "error"
        ) as corpus:
            assert 0 < corpus.characters and int(corpus.ids.max()) < corpus.vocabulary.size
            text = corpus.text(0, corpus.characters)
            if mode == "chars" and unknown is None:
                assert hashlib.sha256(text.encode()).hexdigest() == corpus.fingerprint and set(text) == set(
                    corpus.vocabulary.symbols
                )
                assert (corpus.vocabulary.encode(text) == corpus.ids).all()
        return True


class Log(Target):
    """Bytes -> read_log, and trim_log to step 5, as a resumption does."""

    tokens = (
        b'{"step": 4}\n',
        b'{"step": 6}\n',
        b'{"step": 1e9}\n',
        b'{"step": true}',
        b'{"step": 3, "sample": "a"}\n',
        b'{"step": [1]}\n',
        b'{"step"',
        b"9" * 5000,
        b"[" * 500,
    )

    def seeds(self):
        return [
            b"".join(b'{"step": %d, "train_loss_nats": 1.5}\n' % step for step in range(8)),
            b'{"step": 1}\n{"step": 2, "val',
            b"\n\n{}\n",
        ]

    def run(self, case):
        folder = RunFolder(self.folder, None)
        folder.log_path.write_bytes(case)
        list(read_log(folder.log_path))
        folder.trim_log(5)
        for line in folder.log_path.read_bytes().split(b"\n")[:-1]:
            assert json.loads(line)["step"] <= 5
        folder.log({"step": 6, "loss": math.nan})
        folder.close()
        records = list(read_log(folder.log_path))
        assert records and records[-1] == {"step": 6, "loss": None}
        return True


# ------------------------------------------------------------------------------------------------------------ renderers


class Render(Target):
    """A text -> terminal, page, drawing; no character of it acts in any."""

    tokens = tuple(
        text.encode("utf-8", "surrogatepass")
        for text in (
            "</script><script>",
            "<!--",
            "-->",
            "]]>",
            "<img src=x onerror=alert(1)>",
            "&lt;",
            "\u2028",
            "\ud800",
            "\ufffe",
            "\x1b]0;t\x07",
            "\x9b2J",
            "\u202e",
            "\u2066",
            "e\u0301",
            "\u6f22",
            "\U0001f600\u200d\U0001f600",
            "\ufe0f",
            "\x00",
            "{{script}}",
            "\U000e0041",
            "\u0600",
            "\u1160",
            "\t",
        )
    )

    def seeds(self):
        return [
            b"0plain text\n\twith a tab\n",
            "1é漢\U0001f600 e\u0301\n".encode(),
            b"2</script><script>alert(1)</script>\x1b[31m",
            b"3&<>\"'\n" * 30,
        ]

    def run(self, case):
        text = case[1:].decode("utf-8", "surrogateescape")[:200]
        values = np.resize(np.array([1, -0.7, 0.3, 0, math.nan])[:4], len(text))
        width, unicode = 20 + (case[0] if case else 0) % 60, not case[:1] < b"2"
        assert not controls(neutralise(text.encode("utf-8", "replace").decode()).replace("\t", "")) and not controls(
            printable(text, sys.__stdout__)
        )
        if len(case) % 3 == 0 and text:
            self._page(text, values)
        elif len(case) % 3 == 1 and text:
            self._drawing(text, values)
        else:
            colour = ("none", "256", "truecolor")[width % 3]
            shown = highlight(list(text), values, width=width, colour=colour, title=text[:50], unicode=unicode)
            assert not controls(without_colours(shown)), "terminal"
        return True

    def _page(self, text, values):
        guesses = np.zeros((len(text), 5), int)
        page = b"".join(
            page_pieces(
                PageData(
                    list(text),
                    list(text),
                    1,
                    1,
                    text[:9],
                    values[None],
                    guesses,
                    guesses,
                    np.zeros(len(text)),
                    text,
                    text[:50],
                    [FoundUnit(text, text, 0, 0, 0.5, kind=text[:9])],
                    {text[:5]: np.zeros((1, 1, 2))},
                )
            )
        ).decode("ascii")
        data = page.partition('id="data">')[2].partition("</script>")[0]
        assert json.loads(data)["text"] == list(text) and "<" not in data
        assert page.count("<script") == 3 and page.count("</script") == 3 and "<img" not in page

    def _drawing(self, text, values):
        path = self.folder / "drawing.svg"
        write_svg(path, [Passage(text[:50], list(text), values)])
        tree = xml.etree.ElementTree.parse(path)
        assert {element.tag.rpartition("}")[2] for element in tree.iter()} <= {"svg", "rect", "g", "text"}


class Signals(Target):
    """A text -> the scanners of every language, and the signals."""

    tokens = (
        b"/*",
        b"*/",
        b"//",
        b'"""',
        b"'''",
        b"#",
        b"if (",
        b"if ",
        b"):\n",
        b"\\begin{verbatim}",
        b"\\end{verbatim}",
        b"\\begin{align}",
        b"$$",
        b"\\[",
        b"\\(",
        b"\\verb|",
        b"``",
        b"''",
        "\u201c".encode(),
        "\u00ab".encode(),
        b"\n\n",
        b"{",
        b"}",
        b"(",
        b")",
        b"https://",
        b"def f(x):\n",
        b"import a\n",
        b"'tis",
        "\u0130".encode(),
        "\ufb01".encode(),
        b"\\\n",
        b"%",
    )

    def seeds(self):
        return [
            b"He said \"yes (really)\" and 'no'.\n\nWWW www.x.org/ A1\n",
            b"/* a */ int f(void) {\n\tif (a[0] == '\\n') { s = \"x\"; } // b\n}\n",
            b'def f(x):\n    """doc"""\n    if x: return "a"  # c\n',
            b"\\begin{align}x\\end{align} $a$ \\[b\\] % c\n\\verb|x|\n",
        ]

    def run(self, case):
        text = case.decode("utf-8", "surrogateescape")[:700]
        scanned = scan(text, LANGUAGES[len(case) % len(LANGUAGES)])
        assert all(values.shape == (len(text),) and np.isfinite(values).all() for values in vars(scanned).values())
        for signal in built_in_signals(text):
            assert signal.values.shape == (len(text),) and (signal.values >= 0).all()
        return True


def controls(text):
    """Return the characters of a text that act on a terminal: controls but newline, and what reorders a line."""
    return {
        symbol
        for symbol in text
        if symbol != "\n"
        and (
            ord(symbol) < 32
            or 0x7F <= ord(symbol) < 0xA0
            or 0xD800 <= ord(symbol) < 0xE000
            or symbol in "\u061c\u200e\u200f\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
        )
    }


def without_colours(text):
    """Return a text without the sequences that charrnn itself colours by."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)
