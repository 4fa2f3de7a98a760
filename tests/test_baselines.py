"""What a loss is held against: each figure by its definition."""

import lzma
import math

import numpy as np
import pytest

from charrnn.evaluation import baselines
from charrnn.evaluation.ngram import Stretch
from charrnn.text.vocabulary import Vocabulary

TRAINING = b"the quick brown fox jumps over the lazy dog. " * 40


def test_uniform_and_unigram():
    assert baselines.uniform(65).loss_nats == pytest.approx(math.log(65))
    found = baselines.unigram(np.array([0, 0, 0, 1]), np.array([0, 1, 2, 2]), 4)
    p = [4 / 8, 2 / 8, 1 / 8, 1 / 8]  # each once more than it comes
    assert found.loss_nats == pytest.approx(-np.log([p[0], p[1], p[2], p[2]]).mean())


@pytest.mark.parametrize("which", ["text", "other", None])
def test_the_n_gram_says_its_order_and_what_chose_it(which):
    ids = np.frombuffer(TRAINING, np.uint8) % 32
    text = Stretch(ids[:50], 5)
    validation = {"text": text, "other": Stretch(ids[:40], 5), None: None}[which]
    found, judged = baselines.ngram(ids, validation, text, 32)
    assert (
        found.name == f"{judged.order}-gram"
        and found.loss_nats == judged.loss_nats.mean() == judged.by_order[judged.order - 1]
    )
    assert {"text": "on this text", "other": "validation split", None: "end of the training text"}[
        which
    ] in found.detail


def test_xz_counts_what_the_text_adds_and_says_what_it_takes_alone():
    data = b"the lazy fox jumps over the quick brown dog. " * 3
    shares = []
    after, alone = baselines.xz(TRAINING, data, 45, progress=shares.append)

    def bits(written):
        return 8 * len(lzma.compress(written, check=lzma.CHECK_NONE, preset=9 | lzma.PRESET_EXTREME))

    assert after.loss_nats == pytest.approx((bits(TRAINING + data) - bits(TRAINING)) * math.log(2) / 45)
    assert alone.loss_nats == pytest.approx(bits(data) * math.log(2) / 45)
    assert after.loss_nats < alone.loss_nats and shares[-1] == 1
    assert [one.name for one in baselines.xz(b"", data, 45)] == ["xz -9e alone"]


def test_bytes_are_the_texts():
    assert baselines.encoded(Vocabulary("chars", "aé"), np.array([1, 0])) == "éa".encode()
    assert baselines.encoded(Vocabulary("bytes", [0, 255]), np.array([1, 0])) == b"\xff\0"
