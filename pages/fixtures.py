"""Small texts and runs under the names that the documents use, for pages/check.py. Everything is made here."""

import gzip
import itertools
import json
import os
import random
import string
from pathlib import Path

import numpy as np

CHARACTERS = 90_000  # cells needs 4,000 of a split, a twentieth of the text
TEXTS = "my-writing shakespeare tinyshakespeare linux latex warpeace big letters sonnets other corpus input text train"
TEXTS = (*TEXTS.split(), "valid", "new/place/my-writing", "corpora/shakespeare", "corpora/constitution-ko", "나의-글")
PLACEHOLDERS = {"RUN": "checkpoints/demo", "TEXT": "my-writing.txt", "FILE": "drawing.svg", "SPEC.toml": "grid.toml"}
PLACEHOLDERS |= {"RUN/best.safetensors": "checkpoints/demo/best.safetensors", "SWEEP": "sweep"}
PLACEHOLDERS |= {"RUN/last.safetensors": "checkpoints/demo/last.safetensors"}
PLACEHOLDERS |= {"RUN/step-001000.safetensors": "checkpoints/demo/step-000002.safetensors", "NEW": "new-run"}
COUNTRIES = ("Finland", "Poland", "Italy")
TINY = ("--steps", "3", "--hidden-size", "20", "--num-layers", "1", "--threads", "1", "--no-sample", "--quiet")


def make(folder, charrnn):
    """Fill a folder, which is returned. charrnn(words) runs the command and returns (exit code, stderr)."""
    folder.mkdir(parents=True)
    before = Path.cwd()
    os.chdir(folder)
    try:
        _files(random.Random(1))
        for words in (
            ("train", "places.csv", "--text-field", "name", "--label-field", "country", "--task", "classify",
             "-o", "checkpoints/names-1", *TINY),
            ("train", "my-writing.txt", "--no-layer-norm", "-o", "checkpoints/mine", *TINY),
            ("export", "checkpoints/mine", "--torch", "model.py"),
            ("train", "my-writing.txt", "-o", "checkpoints/shakespeare-1", *TINY),
            ("train", "my-writing.txt", "-o", "checkpoints/demo", "--keep-every", "1", *TINY),
        ):  # fmt: skip
            code, said = charrnn(words)
            if code:
                raise RuntimeError(f"charrnn {' '.join(words)}: {said}")
    finally:
        os.chdir(before)
    return folder


def _files(rng):
    text = _prose(rng)
    for name in TEXTS:
        path = Path(f"{name}.txt")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    for name in ("diary/monday.txt", "prompts.txt"):
        Path(name).parent.mkdir(exist_ok=True)
        Path(name).write_text("ROMEO:\nTo be\n", encoding="utf-8")
    Path("notes.txt.gz").write_bytes(gzip.compress(text[:3_000].encode()))
    names = sorted({_word(rng).capitalize() for _ in range(900)} | {"Doyle", "Cat", "Smith", "Oulu"})
    for name in ("names.txt", "surnames.txt", "corpora/names.txt", "lines.txt"):
        Path(name).write_text("".join(f"{one}\n" for one in names), encoding="utf-8")
    labels = itertools.cycle(COUNTRIES)
    rows = "name,country\n" + "".join(f"{one},{next(labels)}\n" for one in [*names, "O'Connor"])
    words = sorted({one.lower() for one in names})
    pairs = [("word", "phonemes"), *((one, " ".join(one.upper())) for one in words)]
    sums = [("sum", "result"), *((f"{a}+{b}", f"{a + b}") for a in range(30) for b in range(20))]
    for name in ("places.csv", "corpora/places.csv"):
        Path(name).write_text(rows, encoding="utf-8")
    Path("words.csv").write_text("".join(f"{a},{b}\n" for a, b in pairs), encoding="utf-8")
    for name, table in (("phonemes", pairs), ("arithmetic", sums)):
        Path(f"corpora/{name}.tsv").write_text("".join(f"{a}\t{b}\n" for a, b in table), encoding="utf-8")
    for label, k in itertools.product(("english", "french", "german"), range(12)):
        Path("letters", label).mkdir(parents=True, exist_ok=True)
        Path("letters", label, f"{k}.txt").write_text(_sentence(rng) * 20, encoding="utf-8")
    Path("grid.toml").write_text(
        'text = ["my-writing.txt"]\nsteps = 3\nhidden_size = 12\nnum_layers = 1\n[grid]\nseed = [1, 2]\n',
        encoding="utf-8",
    )
    Path("symbols.json").write_text(json.dumps(sorted(set(text))), encoding="utf-8")
    for name in ("net.safetensors", "lstm.safetensors"):
        _write_torch_lstm(Path(name), len(set(text)))


def _prose(rng):
    made = [string.printable[:95] + "대한민" + "\n"]
    size = 0
    while size < CHARACTERS:
        kind = rng.choice((0, 1, 1, 1, 2, 3))  # mostly code, so that all of its signals occur
        line = _sentence(rng)
        if kind == 0:
            line = f'{rng.choice(("ROMEO", "JULIET"))}:\n"{line.strip()}"\n\n'
        elif kind == 1:
            line = f"\tif (x > {rng.randrange(1800, 2000)}) {{ /* {line.strip()} */ }}\n"
        elif kind == 2:
            line = f"The year {rng.randrange(1800, 2000)} ({line.strip()}) $a_{{{rng.randrange(9)}}}$ ended.\n"
        made.append(line)
        size += len(line)
    return "".join(made)


def _sentence(rng):
    return " ".join(_word(rng) for _ in range(rng.randrange(4, 10))).capitalize() + ".\n"


def _word(rng):
    return "".join(rng.choice("bcdfklmnrst") + rng.choice("aeiou") for _ in range(rng.randrange(1, 4)))


def _write_torch_lstm(path, symbols, units=5):
    """Write the state_dict of a torch.nn.LSTM with one-hot symbols and an nn.Linear, as safetensors has it."""
    shapes = {"rnn.weight_ih_l0": (4 * units, symbols), "rnn.weight_hh_l0": (4 * units, units)}
    shapes |= {"rnn.bias_ih_l0": (4 * units,), "rnn.bias_hh_l0": (4 * units,)}
    shapes |= {"output.weight": (symbols, units), "output.bias": (symbols,)}
    rng, header, data = np.random.default_rng(1), {}, b""
    for name, shape in shapes.items():
        values = rng.uniform(-0.3, 0.3, shape).astype("<f4").tobytes()
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    said = json.dumps(header).encode()
    path.write_bytes(len(said).to_bytes(8, "little") + said + data)
