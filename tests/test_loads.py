"""What is large or odd, in small: the short forms of soak/memory.py and soak/loads.py."""

import contextlib
import mmap
import os
import subprocess
import sys
import tracemalloc
import weakref
from pathlib import Path

import numpy as np
import oracle
import pytest

from charrnn.cli.samples import Output, SampleTexts
from charrnn.evaluation.loss import evaluate_split
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.spec import ModelConfig
from charrnn.text import streams as streams_module
from charrnn.text.corpus import Corpus, read_corpus
from charrnn.text.streams import Streams
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import intervals
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.records import Notice, Preflight
from charrnn.training.trainer import Trainer

ROOT = Path(__file__).parent.parent
PAST_31_BITS = 2**31 + 10_000
linux = pytest.mark.skipif(sys.platform != "linux", reason="read from /proc")


def started(*arguments, shell="", **environment):
    """Run `charrnn ARGUMENTS` as a process; `shell` is what a shell is to do with its streams."""
    command = " ".join(["exec", f"'{sys.executable}'", "-m", "charrnn", *map(str, arguments), shell])
    return subprocess.run(
        ["sh", "-c", command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
    )


@pytest.fixture
def model():
    return Model.initialise(ModelConfig("lstm", 5, 4, 1, 0, False, "float32"), 1)


# ---- texts


@pytest.fixture
def huge_ids(tmp_path):
    """Ids of zeros, more than 31 bits can count, that take no room on the disk; the last 5,000 are (n % 5)."""
    path = tmp_path / "ids"
    with open(path, "wb") as file:
        file.truncate(PAST_31_BITS)
        file.seek(PAST_31_BITS - 5000)
        file.write((np.arange(5000) % 5).astype(np.uint8).tobytes())
    return np.memmap(path, np.uint8, mode="r")


def test_ids_beyond_two_to_the_31_are_read_at_their_places(huge_ids, model):
    tail = np.array(huge_ids[-5000:])
    corpus = Corpus(
        ids=huge_ids,
        vocabulary=Vocabulary("chars", "abcde"),
        sources=(),
        own=(),
        encoding="utf-8",
        notes=(),
        skipped=(),
        size_bytes=0,
        fingerprint="",
        files=(),
        file=contextlib.nullcontext(),
    )
    assert corpus.split(0.05, 0.05).test == (PAST_31_BITS - -(-PAST_31_BITS // 20), PAST_31_BITS)
    assert corpus.text(PAST_31_BITS - 5, PAST_31_BITS) == "abcde"
    streams = Streams(huge_ids, 0, PAST_31_BITS, 2, 100)
    streams.seek({"epoch": 0, "chunk": streams.chunks_per_epoch - 1})
    x, y = streams.next_chunk()
    stop = 2 * ((PAST_31_BITS - 1) // 2)
    begin = stop // 2 + (streams.chunks_per_epoch - 1) * 100 - (PAST_31_BITS - 5000)
    assert np.array_equal(x[:, 1], tail[begin : begin + 100]) and np.array_equal(y[:, 1], tail[begin + 1 : begin + 101])
    near = evaluate_split(model, tail, 1000, 5000)
    assert evaluate_split(model, huge_ids, PAST_31_BITS - 4000, PAST_31_BITS).loss_nats == near.loss_nats


def test_validation_on_a_huge_split_is_shortened_by_steps_too_and_that_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(intervals, "MIN_VALIDATION", 300)
    (tmp_path / "text.txt").write_text("abcde fghij\n" * 2000)
    options = {"hidden_size": 4, "num_layers": 1, "batch_size": 2, "seq_length": 5, "val_fraction": 0.5}
    with read_corpus([tmp_path / "text.txt"]) as corpus:
        assert plan_run(TrainingConfig(**options, steps=3), corpus).validated == (10_800, 11_100)
        assert plan_run(TrainingConfig(**options, steps=100), corpus).validated == (
            10_800,
            11_400,
        )  # 0.6 of 1,000 characters
        assert plan_run(TrainingConfig(**options, steps=100, eval_every=60), corpus).validated == (10_800, 11_160)
        assert plan_run(TrainingConfig(**options, steps=100_000), corpus).validated == (10_800, 22_800)
        plan = plan_run(TrainingConfig(**options, steps=3), corpus)
        with RunFolder.create(tmp_path / "run") as folder:
            records = list(Trainer(plan, corpus, folder, samples=False).run())
    said = [record.text for record in records if isinstance(record, Notice)]
    assert any("validating on the first 300 of 12,000 characters" in text for text in said), said
    assert (records[-1].val_characters, records[-1].val_is_whole) == (300, False) and records[-1].test.characters == 300


@pytest.mark.skipif(not hasattr(mmap, "MADV_DONTNEED"), reason="the system cannot be told")
def test_evaluating_a_mapped_text_gives_its_pages_back(tmp_path, model, monkeypatch):
    np.zeros(20_000, np.uint8).tofile(tmp_path / "ids")
    released = []

    class Mapping(mmap.mmap):
        def madvise(self, *arguments):
            released.append(arguments)

    monkeypatch.setattr(streams_module, "RELEASE_BYTES", 4_000)
    with open(tmp_path / "ids", "rb") as file:
        ids = np.frombuffer(Mapping(file.fileno(), 0, access=mmap.ACCESS_READ), np.uint8)
    evaluate_split(model, ids, 0, len(ids))
    assert len(released) >= 4 and set(released) == {(mmap.MADV_DONTNEED,)}


# ---- models


def parity(config, T, B, tolerance, seed=1):
    """Assert that a chunk's loss and gradients with a carry are the oracle's to `tolerance` of the largest gradient."""
    parameters = oracle.random_parameters(
        config.cell, config.vocab_size, config.hidden_size, config.num_layers, dtype=config.dtype, seed=seed
    )
    x, y = oracle.random_chunk(config.vocab_size, T, B, seed=seed)
    carry = oracle.random_carry(config.cell, config.num_layers, B, config.hidden_size, dtype=config.dtype, seed=seed)
    expected = oracle.loss_and_grads(
        {name: value.astype(np.float64) for name, value in parameters.items()}, config.cell, x, y, carry
    )
    model = Model(config)
    model.set_parameters(parameters)
    workspace = Workspace(model, B, T)
    workspace.set_carry(carry)
    assert workspace.loss_and_grads(x, y) == pytest.approx(expected.loss, rel=tolerance)
    found, wanted = model.unpack(workspace.grads), oracle.one_bias(expected.grads, config.cell)
    for name in wanted:
        worst = np.abs(found[name] - wanted[name]).max()
        assert worst <= tolerance * max(np.abs(wanted[name]).max(), 1e-3), (name, worst)


@pytest.mark.slow
def test_a_vocabulary_of_20000_trains_as_the_oracle_says_and_comes_back(tmp_path):
    parity(ModelConfig("gru", 20_000, 6, 1, 0, False, "float32"), T=2, B=2, tolerance=1e-5)
    symbols = [chr(code) for code in range(0x3400, 0x3400 + 20_000)]
    (tmp_path / "text.txt").write_text(
        "".join(symbols[n * n % 20_011 % 20_000] for n in range(30_000)) + "".join(symbols), encoding="utf-8"
    )
    options = TrainingConfig(
        hidden_size=4, num_layers=1, batch_size=2, seq_length=3, steps=2, val_fraction=0.001, test_fraction=0.0
    )
    with read_corpus([tmp_path / "text.txt"]) as corpus:
        assert corpus.ids.dtype == np.uint16 and corpus.text(30_000, 50_000) == "".join(symbols)
        with RunFolder.create(tmp_path / "run") as folder:
            list(Trainer(plan_run(options, corpus), corpus, folder, samples=False).run())
    last = load_checkpoint(tmp_path / "run" / "last.safetensors")
    assert last.vocabulary.symbols == tuple(symbols)
    many = Vocabulary("chars", [chr(code) for code in (*range(0xD800), *range(0xE000, 0x15000))])
    parameters = Model.initialise(ModelConfig("rnn", many.size, 1, 1, 0, False, "float32"), 1).get_parameters()
    model = {"cell": "rnn", "hidden_size": 1, "num_layers": 1, "embedding_size": 0, "tied": False, "dtype": "float32"}
    save_checkpoint(tmp_path / "many", Checkpoint(model, many, parameters, {}, {}, {}))
    assert load_checkpoint(tmp_path / "many").vocabulary == many and many.dtype == np.uint32


@pytest.mark.slow
@pytest.mark.parametrize(
    "cell, V, H, L, T, B, tolerance",
    [
        ("rnn", 5, 2048, 1, 1, 1, 1e-5),
        ("lstm", 5, 3, 1, 2000, 1, 1e-4),
        ("gru", 5, 3, 1, 2, 1000, 1e-5),
        ("lstm", 5, 3, 12, 2, 2, 1e-5),
    ],
)
def test_large_shapes_agree_with_the_oracle(cell, V, H, L, T, B, tolerance):
    parity(ModelConfig(cell, V, H, L, 0, False, "float32"), T, B, tolerance)


@pytest.mark.slow
def test_the_memory_told_before_the_first_step_is_what_a_run_takes(tmp_path):
    (tmp_path / "text.txt").write_text("abcde fghij\n" * 200)
    options = TrainingConfig(hidden_size=512, num_layers=1, batch_size=2, seq_length=5, steps=2, checkpoint_every=1)

    def run(name):
        with read_corpus([tmp_path / "text.txt"]) as corpus, RunFolder.create(tmp_path / name) as folder:
            plan = plan_run(options, corpus)
            tracemalloc.start()
            try:
                records = list(Trainer(plan, corpus, folder, samples=False).run())
                return tracemalloc.get_traced_memory()[1], next(
                    one.memory_bytes for one in records if isinstance(one, Preflight)
                )
            finally:
                tracemalloc.stop()

    run("kernels")  # what it takes to load them is not what is told of
    taken, told = run("run")
    assert 0.9 < taken / told < 1.1, (taken, told)


def test_a_resumed_run_lets_go_of_the_checkpoint_that_it_was_read_from(tmp_path):
    (tmp_path / "text.txt").write_text("abcde fghij\n" * 200)
    options = TrainingConfig(hidden_size=4, num_layers=1, batch_size=2, seq_length=5, steps=2)
    with read_corpus([tmp_path / "text.txt"]) as corpus, RunFolder.create(tmp_path / "run") as folder:
        list(Trainer(plan_run(options, corpus), corpus, folder, samples=False).run())
        checkpoint = load_checkpoint(folder.last)
        held = [weakref.ref(array) for array in checkpoint.parameters.values()]
        for record in Trainer(plan_resume(checkpoint, corpus, {"steps": 3}), corpus, folder, samples=False).run():
            assert isinstance(record, Notice) or not any(one() is not None for one in held)


# ---- samples


class Nowhere:
    """A stdout that keeps nothing."""

    encoding = "utf-8"

    def __init__(self):
        self.buffer, self.written = self, 0

    def isatty(self):
        return False

    def write(self, data):
        self.written += len(data)

    def flush(self):
        pass


@pytest.mark.slow
@pytest.mark.parametrize("stops", [[], [[4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]]])
def test_a_longer_sample_takes_no_more_memory(model, stops):
    def peak(length):
        sampler, nowhere = Sampler(model, Settings(), seed=1), Nowhere()
        sampler.prime([0])
        samples = SampleTexts(sampler, Vocabulary("chars", "abcde"), [], length, stops, 1, "")
        tracemalloc.start()
        try:
            samples.write_text(Output(nowhere), hide_prime=False)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
            assert nowhere.written == length

    peak(2_000)
    assert peak(40_000) < peak(2_000) + 20_000


# ---- a long run


@pytest.mark.slow
@linux
def test_a_runs_memory_and_descriptors_do_not_grow_with_its_checkpoints(tmp_path):
    (tmp_path / "text.txt").write_text("abcde fghij\n" * 2000)
    options = TrainingConfig(
        hidden_size=64,
        num_layers=1,
        batch_size=2,
        seq_length=5,
        steps=200,
        checkpoint_every=1,
        eval_every=25,
        sample_every=25,
    )

    def anonymous_kb():
        status = Path("/proc/self/status").read_text()
        return int(status.partition("RssAnon:")[2].split()[0])

    seen = {}
    with read_corpus([tmp_path / "text.txt"]) as corpus, RunFolder.create(tmp_path / "run") as folder:
        for record in Trainer(plan_run(options, corpus), corpus, folder).run():
            if getattr(record, "step", 0) in (50, 175):
                seen[record.step] = anonymous_kb(), len(os.listdir("/proc/self/fd")), len(os.listdir(tmp_path / "run"))
    assert seen[175][0] - seen[50][0] < 2_000 and seen[175][1:] == seen[50][1:], seen


# ---- the machine


THREADED = """
import hashlib, sys, threading
import numpy as np
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.spec import ModelConfig
from charrnn.training.optimisers import Optimizer
from charrnn.sampling.sampler import Sampler, Settings
def train(found):
    model = Model.initialise(ModelConfig("lstm", 30, 64, 2, 0, False, "float32"), 1)
    workspace, optimizer = Workspace(model, 16, 16), Optimizer("adam", model)
    rng = np.random.default_rng(1)
    for _ in range(30):
        workspace.loss_and_grads(*rng.integers(0, 30, (2, 16, 16)).astype(np.int32))
        optimizer.step(workspace, 1e-2, 5.0, 0.0)
    sampler = Sampler(model, Settings(), seed=1)
    drawn = np.concatenate([block.ids[0] for block in sampler.generate(300)])
    found.append(hashlib.sha256(model.flat.tobytes() + drawn.tobytes()).hexdigest())
found = []
callers = [threading.Thread(target=train, args=(found,)) for _ in range(int(sys.argv[1]))]
for caller in callers: caller.start()
for caller in callers: caller.join()
print(*found)
"""


@pytest.mark.slow
def test_threads_of_one_program_that_train_at_once_give_the_bits_of_one():
    def digests(callers):
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "NUMBA_NUM_THREADS": "2"}
        command = [sys.executable, "-c", THREADED, str(callers)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()

    assert digests(3) == digests(1) * 3


@pytest.mark.slow
def test_a_number_of_threads_that_cannot_be_is_refused_before_anything_is_made(tmp_path):
    (tmp_path / "text.txt").write_text("abc" * 100)
    run = tmp_path / "run"
    done = started("train", tmp_path / "text.txt", "--steps", 1, "-o", run, NUMBA_NUM_THREADS="0")
    assert done.returncode == 2 and not run.exists()
    assert done.stderr == (
        "Error: NUMBA_NUM_THREADS must be a whole number between 1 and 1024, got '0': unset NUMBA_NUM_THREADS\n"
    )


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="a shell closes them")
@pytest.mark.parametrize(
    "arguments, shell, code",
    [
        (["--help"], ">&-", 0),
        (["info", "nothere"], ">&- 2>&-", 2),
        (["sample", "nothere"], "<&- >&-", 2),
        (["train", "-", "-o", "never"], "<&-", 2),
        (["sample", "nothere", "--prime-file", "-"], "<&-", 2),
    ],
)
def test_closed_streams_end_in_success_or_a_sentence(tmp_path, monkeypatch, arguments, shell, code):
    monkeypatch.chdir(tmp_path)
    done = started(*arguments, shell=shell)
    assert done.returncode == code and "Traceback" not in done.stderr
    assert "2>&-" in shell or done.stderr.count("\n") == (code == 2)
    assert not (tmp_path / "never").exists()
