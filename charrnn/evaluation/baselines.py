"""What a loss is to be held against: the same text under models that anybody has, trained on the same training text.

    uniform     every character of the vocabulary alike
    unigram     characters by how often they come in the training text, each counted once more than it does
    n-gram      interpolated modified Kneser-Ney of the order that suits the validation text best
                (charrnn/evaluation/ngram.py)
    xz          what `xz -9e` writes more for the training text with the text after it than for the training text alone;
                and beside it, what it takes for the text alone

Knows ids and bytes, not files.
"""

import lzma
import math
from dataclasses import dataclass

import numpy as np

from charrnn.evaluation.ngram import judge_text
from charrnn.evaluation.units import bits
from charrnn.text.special import END, SEP, START

MAX_TRAINING = 20_000_000  # characters of the training text that are read, its last ones
WINDOW_BYTES = 1 << 26  # how far back xz -9 looks
XZ_BLOCK = 1 << 18
LINES = {START: "", SEP: "\t", END: "\n"}  # what stands for special symbols where bytes are counted


@dataclass(frozen=True)
class Baseline:
    """A simple model or compressor that a loss is compared with.

    Attributes
    ----------
    name : str
        Such as "unigram" or "xz -9e".
    loss_nats : float
        Its mean loss on the text, in nats per character.
    detail : str
        What it is, in a few words.
    """

    name: str
    loss_nats: float
    detail: str = ""

    def to_dict(self):
        """Return the fields, and the loss in bits per character, as a dict for JSON."""
        return {"name": self.name, "loss_nats": self.loss_nats, "loss_bpc": bits(self.loss_nats), "detail": self.detail}


def uniform(vocab_size):
    """Return the Baseline that knows the vocabulary alone."""
    return Baseline("uniform", math.log(vocab_size), "all characters equally likely")


def unigram(training_ids, ids, vocab_size):
    """Return the Baseline that knows how often each character comes."""
    counts = np.bincount(training_ids, minlength=vocab_size) + 1
    of_text = np.bincount(ids, minlength=vocab_size)
    return Baseline(
        "unigram", float(-(of_text @ np.log(counts / counts.sum())) / len(ids)), "characters by their frequency"
    )


def ngram(training_ids, validation, text, vocab_size, progress=None, start_id=None):
    """Return (Baseline, ngram.NgramLosses) of the Kneser-Ney n-gram; arguments as judge_text takes them."""
    judged = judge_text(training_ids, validation, text, vocab_size, progress=progress, start_id=start_id)
    chosen = (
        "on this text"
        if validation is text
        else "on the validation split"
        if validation
        else "on the end of the training text"
    )
    return Baseline(f"{judged.order}-gram", judged.mean_nats, f"Kneser-Ney, order chosen {chosen}"), judged


def xz(training, data, characters, progress=None):
    """Return the Baselines of xz: after the training text, and from nothing; bytes in, `characters` in `data`."""
    training = training[max(0, len(training) - (WINDOW_BYTES - len(data))) :]
    report = progress or (lambda share: None)
    whole = 2 * len(training) + 2 * len(data)
    done = 0

    def size(pieces):
        nonlocal done
        written = 0
        dictionary = min(WINDOW_BYTES, max(4096, sum(map(len, pieces))))
        machine = lzma.LZMACompressor(
            check=lzma.CHECK_NONE,
            filters=[{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}],
        )
        for piece in pieces:
            for at in range(0, len(piece), XZ_BLOCK):
                written += len(machine.compress(piece[at : at + XZ_BLOCK]))
                done += len(piece[at : at + XZ_BLOCK])
                report(done / whole)
        return written + len(machine.flush())

    per_byte = 8 * math.log(2) / characters
    found = []
    if training:
        found.append(
            Baseline("xz -9e", (size([training, data]) - size([training])) * per_byte, "after the training text")
        )
    found.append(Baseline("xz -9e alone", size([data]) * per_byte, "this text alone"))
    return found


def encoded(vocabulary, ids):
    """Return the bytes that ids stand for, of characters their UTF-8; of items a line each."""
    if vocabulary.mode == "bytes":
        return np.array(vocabulary.symbols, np.uint8)[ids].tobytes()
    text = vocabulary.decode(ids)
    for name, mark in zip(vocabulary.special, vocabulary.marks):
        text = text.replace(mark, LINES[name])
    return text.encode()
