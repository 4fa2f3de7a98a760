"""The trainer: exact resume, validation, saving, divergence, starting from old weights."""

import dataclasses
import itertools
import json
import math
import time

import numpy as np
import pytest

from charrnn.errors import CharRNNError, CheckpointError, ConfigError, CorpusError, DivergenceError
from charrnn.evaluation.loss import evaluate_stream
from charrnn.files.machine import available_memory
from charrnn.kernels import max_threads, num_threads, set_num_threads
from charrnn.kernels.host import has_bfloat16
from charrnn.model.dropout import Dropout
from charrnn.model.parameters import Model
from charrnn.model.workspace import Workspace
from charrnn.runs.checkpoint import load_checkpoint, read_metadata, save_checkpoint
from charrnn.runs.folder import RunFolder, read_log
from charrnn.spec import CELLS, ModelConfig
from charrnn.text.corpus import read_corpus
from charrnn.text.streams import Streams
from charrnn.text.vocabulary import Vocabulary
from charrnn.training import history as history_module
from charrnn.training import optimisers as optim
from charrnn.training import plan as plan_module
from charrnn.training import trainer as trainer_module
from charrnn.training import validation
from charrnn.training.defaults import LEARNING_RATES
from charrnn.training.learner import make_learner
from charrnn.training.memory import memory_needed
from charrnn.training.options import DEFAULTS, FREE_OPTIONS, OPTIMIZERS, TrainingConfig
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.provenance import describe_texts, find_texts
from charrnn.training.records import Evaluated, Finished, Notice, Preflight, Sampled, Saved, Step
from charrnn.training.resuming import resume_config
from charrnn.training.samples import SAMPLE_TEMPERATURE
from charrnn.training.schedules import SCHEDULES
from charrnn.training.trainer import Trainer
from charrnn.training.warm_start import config_like, map_parameters

TINY = {
    "hidden_size": 9,
    "num_layers": 2,
    "batch_size": 3,
    "seq_length": 7,
    "val_fraction": 0.1,
    "dropout": 0.2,
    "test_fraction": 0.1,
    "sample_every": 0,
}
TEXT = "".join(
    f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60)
)  # 1,180 characters, 44 chunks an epoch


@pytest.fixture
def corpus(tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    with read_corpus([path]) as corpus:
        yield corpus


class Session:
    """A run folder and what happened in it."""

    def __init__(self, tmp_path, corpus):
        self.tmp_path, self.corpus, self.clock = tmp_path, corpus, time.perf_counter

    def run(self, name, stop_at=None, kill_at=None, samples=False, initial=None, texts=(), **options):
        """Start a run; stop it after a step, or drop it there as a kill would. Return its records."""
        plan = plan_run(TrainingConfig(**{**TINY, **options}), self.corpus, initial)
        with RunFolder.create(self.tmp_path / name) as folder:
            return self._go(Trainer(plan, self.corpus, folder, texts, self.clock, samples), stop_at, kill_at)

    def resume(self, name, stop_at=None, kill_at=None, samples=False, corpus=None, **asked):
        corpus = corpus or self.corpus
        with RunFolder.open(self.tmp_path / name) as folder:
            plan = plan_resume(load_checkpoint(folder.last), corpus, asked)
            return self._go(Trainer(plan, corpus, folder, clock=self.clock, samples=samples), stop_at, kill_at)

    def _go(self, trainer, stop_at, kill_at):
        records = []
        for record in trainer.run():
            records.append(record)
            if isinstance(record, Step):
                if record.step == stop_at:
                    trainer.stop()
                if record.step == kill_at:
                    break
        return records

    def last(self, name):
        return load_checkpoint(self.tmp_path / name / "last.safetensors")

    def best(self, name):
        return load_checkpoint(self.tmp_path / name / "best.safetensors")

    def log(self, name, samples=True):
        """Return the log without what the clock decides; samples : with those."""
        return [
            {key: value for key, value in record.items() if key not in ("chars_per_s", "elapsed_s")}
            for record in read_log(self.tmp_path / name / "log.jsonl")
            if samples or "sample" not in record
        ]


@pytest.fixture
def session(tmp_path, corpus):
    return Session(tmp_path, corpus)


def of(records, kind):
    return [record for record in records if isinstance(record, kind)]


def assert_same(one, other):
    """Assert that two checkpoints hold the same bits, but for the time it took."""
    for part in ("parameters", "optimizer", "carry"):
        a, b = getattr(one, part), getattr(other, part)
        assert a.keys() == b.keys()
        for name in a:
            assert np.array_equal(a[name], b[name]), f"{part} {name} differs"
    clock = ("elapsed_s", "chars_per_s", "corpus")
    plain = [{key: value for key, value in c.training.items() if key not in clock} for c in (one, other)]
    for training in plain:
        training["last"] = {key: value for key, value in (training["last"] or {}).items() if key not in clock}
        training["config"] = {**training["config"], "checkpoint_every": None}
    assert plain[0] == plain[1]


# ------------------------------------------------------------------------------------------------------ exact resume


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_optimizer_and_schedule_resumes_exactly(session, cell):
    before = num_threads()
    try:
        for number, (optimizer, schedule) in enumerate(itertools.product(OPTIMIZERS, SCHEDULES)):
            options = {
                "cell": cell,
                "optimizer": optimizer,
                "schedule": schedule,
                "decay_after": 1,
                "decay": 0.5,
                "steps": 50,
                "eval_every": 20,
                "log_every": 10,
            }
            set_num_threads(1 + number % 2)
            session.run(f"whole{number}", **options)
            session.run(f"parts{number}", kill_at=33, checkpoint_every=15, **options)
            set_num_threads(2 - number % 2)
            session.resume(f"parts{number}", stop_at=45)  # over the end of an epoch
            set_num_threads(1 + number % 2)
            session.resume(f"parts{number}")
            for which in (session.last, session.best):
                assert_same(which(f"whole{number}"), which(f"parts{number}"))
            assert session.log(f"whole{number}") == session.log(f"parts{number}")
    finally:
        set_num_threads(before)


def test_a_run_that_is_stopped_again_and_again_gives_the_bits_of_an_uninterrupted_one(session):
    options = {"steps": 60, "eval_every": 10, "log_every": 4}
    session.run("whole", **options)
    # After the first step, at a validation, between two, at an epoch's end (44) and right after it.
    session.run("parts", stop_at=1, **options)
    for step in (10, 13, 44, 45):
        records = session.resume("parts", stop_at=step)
        assert records[-1].resumable and records[-1].step == step
    assert not session.resume("parts")[-1].resumable
    assert_same(session.last("whole"), session.last("parts"))
    assert_same(session.best("whole"), session.best("parts"))
    assert session.log("whole") == session.log("parts")


@pytest.mark.parametrize(
    "options",
    [
        {"dropout": 0.3},
        {"dropout": 0.3, "variational_dropout": True},
        {"schedule": "step", "decay_after": 1, "decay": 0.5},
        {"schedule": "constant", "warmup": 9},
        {"optimizer": "rmsprop"},
        {"optimizer": "adagrad"},
        {"optimizer": "adamw"},
        {"optimizer": "sgd", "momentum": 0.9},
        {"embedding_size": 9, "tie_weights": True},
        {"dtype": "float64"},
        {"clip_norm": 0.0, "clip_value": 0.01},
        {"ema": 0.9},
        {"ema": 0.99, "optimizer": "sgd"},
        {"layer_norm": True},
        {"layer_norm": True, "dropout": 0.3, "ema": 0.9, "cell": "lstm", "optimizer": "adamw"},
        {"weight_dropout": 0.4},
        {"weight_dropout": 0.4, "dropout": 0.0, "ema": 0.9, "optimizer": "adamw", "cell": "lstm"},
        {"zoneout": 0.2},
        {"zoneout": 0.2, "dropout": 0.0, "ema": 0.9, "cell": "lstm"},
    ],
    ids=str,
)
def test_resume_is_exact_for_every_option_that_bears_on_the_result(session, options):
    options = {"cell": "gru", "epochs": 1.25, "eval_every": 20, **options}
    session.run("whole", **options)
    session.run("parts", stop_at=17, **options)
    session.resume("parts", stop_at=46)
    session.resume("parts")
    assert_same(session.last("whole"), session.last("parts"))
    assert_same(session.best("whole"), session.best("parts"))
    assert session.log("whole") == session.log("parts")


def test_a_killed_run_goes_on_from_its_last_save_and_mends_the_log(session):
    options = {"steps": 50, "eval_every": 12, "log_every": 1}
    session.run("whole", **options)
    session.run("parts", kill_at=9, checkpoint_every=5, **options)
    with open(session.tmp_path / "parts" / "log.jsonl", "a") as log:
        log.write('{"step": 10, "train_lo')  # the power went
    assert session.last("parts").training["step"] == 5
    session.resume("parts", kill_at=26)
    assert session.last("parts").training["step"] == 25
    session.resume("parts")
    assert_same(session.last("whole"), session.last("parts"))
    assert_same(session.best("whole"), session.best("parts"))
    assert session.log("whole") == session.log("parts")


def test_a_run_killed_before_its_first_step_can_be_resumed(session):
    session.run("whole", steps=8)
    session.run("parts", kill_at=1, steps=8)
    assert session.last("parts").training["step"] == 0
    session.resume("parts")
    assert_same(session.last("whole"), session.last("parts"))


def test_a_stop_between_two_looks_at_it_is_saved_too(session, monkeypatch):
    plan = plan_run(TrainingConfig(**{**TINY, "steps": 30}), session.corpus)
    with RunFolder.create(session.tmp_path / "run") as folder:
        trainer = Trainer(plan, session.corpus, folder, samples=False)

        def signalled(step):
            if step == 3:
                trainer.stop()
            return False

        monkeypatch.setattr(trainer._saver, "is_due", signalled)
        finished = list(trainer.run())[-1]
    assert finished.resumable and session.last("run").training["step"] == finished.step >= 3


def test_a_stop_during_validation_is_made_up_for_on_resume(session, monkeypatch):
    options = {"steps": 30, "eval_every": 10, "log_every": 10}
    session.run("whole", **options)
    plan = plan_run(TrainingConfig(**{**TINY, **options}), session.corpus)
    real = validation.evaluate_split
    with RunFolder.create(session.tmp_path / "parts") as folder:
        trainer = Trainer(plan, session.corpus, folder, samples=False)

        def stopped_in_its_midst(*arguments, **keywords):
            trainer.stop()
            return real(*arguments, **keywords)

        monkeypatch.setattr(validation, "evaluate_split", stopped_in_its_midst)
        records = list(trainer.run())
        monkeypatch.undo()
    assert not of(records, Evaluated) and records[-1].resumable and records[-1].step == 10
    assert not (session.tmp_path / "parts" / "log.jsonl").exists()
    assert of(session.resume("parts"), Evaluated)[0].step == 10
    assert_same(session.last("whole"), session.last("parts"))
    assert session.log("whole") == session.log("parts")


@pytest.mark.parametrize("stop_at, kill_at", [(7, None), (8, None), (None, 7), (None, 8), (None, 11)])
def test_samples_are_in_the_log_and_a_resumed_log_is_the_same(session, stop_at, kill_at):
    options = {"samples": True, "steps": 20, "eval_every": 5, "sample_every": 4, "sample_length": 9}
    records = session.run("whole", **options)
    drawn = [one for one in session.log("whole") if "sample" in one]
    assert drawn == [
        {"step": one.step, "sample": one.text, "temperature": SAMPLE_TEMPERATURE} for one in of(records, Sampled)
    ]
    assert [one["step"] for one in drawn] == [4, 8, 12, 16]
    session.run("cut", stop_at=stop_at, kill_at=kill_at, **options)
    session.resume("cut", samples=True)
    assert session.log("cut") == session.log("whole")


def test_another_number_of_threads_and_samples_change_nothing(session):
    before = num_threads()
    try:
        set_num_threads(1)
        session.run("one", steps=20, eval_every=5)
        set_num_threads(2)
        session.run("two", stop_at=7, samples=True, steps=20, eval_every=5)
        set_num_threads(max_threads())
        records = session.resume("two", samples=True, sample_every=3, sample_length=11)
    finally:
        set_num_threads(before)
    assert [len(sample.text) for sample in of(records, Sampled)] == [11] * 4
    one, two = session.last("one"), session.last("two")
    for name in one.parameters:
        assert np.array_equal(one.parameters[name], two.parameters[name])
    assert session.log("one") == session.log("two", samples=False)


def test_a_longer_length_extends_a_finished_run(session):
    session.run("run", epochs=0.5)
    records = session.resume("run", epochs=1.0)
    assert records[-1].step == 44 and not records[-1].resumable
    assert of(records, Preflight)[0].step == 22
    assert [record["step"] for record in session.log("run")] == list(range(1, 45))
    assert session.last("run").training["config"]["epochs"] == 1.0


@pytest.mark.parametrize(
    "options, said",
    [
        ({}, "its cosine schedule is stretched: the learning rate continues at 0.0015 instead of 6e-05"),
        (
            {"schedule": "step", "warmup": 0.8},
            "its step schedule is stretched: the learning rate continues at 0.0019 instead of 0.003",
        ),
        ({"schedule": "step"}, None),
        ({"schedule": "constant"}, None),
    ],
)
def test_what_a_longer_run_does_to_the_schedule_is_said(session, options, said):
    session.run("run", steps=30, learning_rate=3e-3, **options)
    records = session.resume("run", steps=60)
    notes = [record.text for record in of(records, Notice)]
    assert (said in notes[0]) if said else not notes
    if said:
        assert of(records, Step)[0].learning_rate == pytest.approx(float(said.split(" at ")[1].split()[0]), rel=0.05)


def test_a_resumed_run_of_the_same_length_says_nothing_of_the_schedule(session):
    session.run("run", stop_at=4, steps=8)
    assert not of(session.resume("run", steps=8), Notice)


def test_a_longer_length_stands_from_its_first_moment(session):
    session.run("whole", stop_at=10, steps=20)
    session.resume("whole", steps=40)
    session.run("parts", stop_at=10, steps=20)
    session.resume("parts", kill_at=11, steps=40)  # before anything else is saved
    session.resume("parts")
    assert_same(session.last("whole"), session.last("parts"))


@pytest.mark.slow
def test_a_resumption_by_minutes_that_trains_nothing_says_so(session, monkeypatch):
    session.run("run", minutes=0.5 / 60)
    plan = plan_resume(session.last("run"), session.corpus, {"minutes": 0.5001 / 60})
    with RunFolder.open(session.tmp_path / "run") as folder:
        trainer = Trainer(plan, session.corpus, folder, samples=False)
        monkeypatch.setattr(trainer._budget, "is_finished", lambda step: True)
        records = list(trainer.run())
    assert not of(records, Step)
    notices = [
        notice.text for notice in of(records, Notice)
    ]  # that of the schedule comes first, where the rates differ in what is shown
    assert any("no step was trained" in text and "a larger --minutes" in text for text in notices)


def test_a_run_that_dies_before_its_first_checkpoint_leaves_a_folder_to_begin_in(session, monkeypatch):
    def die(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(RunFolder, "save", die)
    with pytest.raises(KeyboardInterrupt):
        session.run("run", steps=8)
    monkeypatch.undo()
    assert session.run("run", steps=8)[-1].step == 8


def test_a_finished_run_has_nothing_to_resume(session):
    session.run("run", steps=4)
    with pytest.raises(ConfigError, match="finished at step 4; to train it further, give --steps a value above 4"):
        session.resume("run")


def test_what_may_be_changed_on_resume_changes_no_bit(session):
    options = {"steps": 30, "eval_every": 12, "log_every": 3, "dropout": 0.3}
    session.run("whole", **options)
    whole = session.last("whole")
    for name in FREE_OPTIONS:
        value = {"on_divergence": "stop", "sample": False}.get(name, 2)
        session.run(name, stop_at=8, samples=True, **options)
        session.resume(name, samples=True, **{name: value})
        changed = session.last(name)
        assert changed.training["config"][name] == value
        for training in (whole.training, changed.training):
            training["config"].update(dict.fromkeys(FREE_OPTIONS))
            training.update(
                history=None, history_stride=None, logged_step=None, clipped=None
            )  # what is logged, is the user's to say
            training["last"] = {**training["last"], "clipped_share": None}
        assert_same(whole, changed)
        assert session.best(name).parameters.keys() == whole.parameters.keys()
        for key, array in session.best("whole").parameters.items():
            assert np.array_equal(array, session.best(name).parameters[key])


@pytest.mark.parametrize(
    "asked, message",
    [
        ({"learning_rate": 0.5}, "--learning-rate 0.003.*0.5"),
        ({"hidden_size": 10}, "--hidden-size 9.*10"),
        ({"seed": 2}, "--seed 1.*2"),
        ({"epochs": 5.0}, "length is --steps 8, so it cannot be extended with --epochs"),
        ({"steps": 7}, "extended but not shortened, got 7"),
        ({"dropout": 0.5}, "--dropout 0.*0.5"),
        ({"eval_every": 3}, "--eval-every"),
    ],
)
def test_options_that_contradict_the_run_are_refused_with_the_difference(session, asked, message):
    session.run("run", stop_at=2, steps=8, learning_rate=3e-3)
    with pytest.raises(ConfigError, match=message):
        session.resume("run", **asked)
    session.resume("run", steps=8, hidden_size=9, learning_rate=3e-3, log_every=2)  # the same, and what is free


@pytest.mark.skipif(not has_bfloat16(), reason="this CPU has no AVX512-BF16")
def test_a_run_in_bfloat16_can_go_on_in_float32_as_on_a_cpu_without_it(session):
    session.run("run", stop_at=2, steps=6, precision="bfloat16")
    session.resume("run", precision="float32")
    ended = session.last("run").training
    assert (ended["step"], ended["finished"], ended["config"]["precision"]) == (6, True, "float32")
    session.run("whole", steps=6, precision="float32")
    assert not np.array_equal(
        session.last("run").parameters["output.weight"], session.last("whole").parameters["output.weight"]
    )


@pytest.mark.parametrize("change", ["a byte", "longer", "shorter", "another order", "another encoding", "bytes"])
def test_a_changed_text_is_refused_with_the_difference(session, tmp_path, change):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_text(TEXT, "utf-8"), two.write_text("déjà vu\n", "utf-8")
    with read_corpus([one, two]) as corpus:
        session.corpus = corpus
        was = corpus.fingerprint[:12]
        session.run("run", stop_at=2, steps=8)
        session.resume("run", stop_at=3)
    texts, options = [one, two], {}
    if change == "a byte":
        one.write_text(TEXT.replace("line 4 ", "line 5 "))
    elif change == "longer":
        one.write_text(TEXT + "\n")
    elif change == "shorter":
        one.write_text(TEXT[:-1])
    elif change == "another order":
        texts = [two, one]
    else:
        options = {"mode": "bytes"} if change == "bytes" else {"encoding": "latin-1"}
    with read_corpus(texts, **options) as corpus:
        with pytest.raises(CorpusError, match="not the text that the run was started with") as refused:
            session.resume("run", corpus=corpus)
        said = str(refused.value)
        if change != "bytes":  # of which the sha256 is the same, and the number of characters is not
            assert was in said and corpus.fingerprint[:12] in said and was != corpus.fingerprint[:12]
        assert f"{corpus.characters:,}" in said and f"{len(TEXT) + 8:,} characters" in said


# -------------------------------------------------------------------------------------------- what a run does and says


def test_it_learns_and_the_reported_losses_are_those_of_the_saved_parameters(session):
    records = session.run("run", epochs=6, hidden_size=16, learning_rate=0.02, eval_every=40)
    steps, evaluated, finished = of(records, Step), of(records, Evaluated), records[-1]
    assert steps[0].train_loss_nats == pytest.approx(math.log(session.corpus.vocabulary.size), abs=0.2)
    assert steps[-1].smoothed_loss_nats < steps[0].train_loss_nats / 2
    assert [record.step for record in evaluated] == [40, 80, 120, 160, 200, 240, 264]
    assert finished.best_loss_nats == min(record.evaluation.loss_nats for record in evaluated)

    best = session.best("run")
    model = Model(ModelConfig(vocab_size=best.vocabulary.size, **best.model))
    model.set_parameters(best.parameters)
    splits = session.corpus.split(0.1, 0.1)
    for split, loss in ((splits.val, finished.best_loss_nats), (splits.test, finished.test.loss_nats)):
        assert evaluate_stream(model, session.corpus.ids, *split).loss_nats == pytest.approx(loss, abs=1e-3)
    assert best.training["best"] == {
        "step": finished.best_step,
        "val_loss_nats": finished.best_loss_nats,
        "epoch": pytest.approx(finished.best_step / 44, abs=1e-4),
    }


def test_the_log_has_the_promised_keys_at_the_promised_steps(session):
    session.run("run", steps=20, eval_every=8, log_every=5)
    log = list(read_log(session.tmp_path / "run" / "log.jsonl"))
    assert [record["step"] for record in log] == [5, 8, 10, 15, 16, 20]
    assert [record["step"] for record in log if "val_loss_nats" in record] == [8, 16, 20]
    keys = {
        "step",
        "epoch",
        "train_loss_nats",
        "smoothed_loss_nats",
        "grad_norm",
        "learning_rate",
        "chars_per_s",
        "elapsed_s",
    }
    keys |= {"clipped_share", "grad_norms"}
    assert all(set(record) - {"val_loss_nats", "singular_values"} == keys for record in log)
    assert all(("singular_values" in record) == ("val_loss_nats" in record) for record in log)
    assert log[-1]["epoch"] == pytest.approx(20 / 44, abs=1e-4)


def test_the_log_tells_clipped_steps_norms_by_layer_and_singular_values(session, monkeypatch):
    models = []
    real = trainer_module.largest_singular_values
    monkeypatch.setattr(
        trainer_module, "largest_singular_values", lambda model: models.append(model.get_parameters()) or real(model)
    )
    free = of(session.run("free", steps=20, learning_rate=3e-3, clip_norm=0.0, eval_every=10, log_every=4), Step)
    for record, steps in zip(session.log("free"), ([0, 1, 2, 3], [4, 5, 6, 7], [8, 9])):
        assert record["clipped_share"] == 0
        assert list(record["grad_norms"]) == ["embedding", "layer 0", "layer 1", "output"]
        total = math.sqrt(sum(norm**2 for norm in record["grad_norms"].values()))
        assert (
            total == pytest.approx(record["grad_norm"], rel=1e-4) and record["grad_norm"] == free[steps[-1]].grad_norm
        )
    values = [record["singular_values"] for record in session.log("free") if "val_loss_nats" in record]
    for measured, parameters in zip(values, models, strict=True):
        expected = [np.linalg.svd(parameters[f"rnn.weight_hh_l{layer}"])[1][0] for layer in range(2)]
        assert measured == pytest.approx(expected, rel=5e-3)

    limit = sorted(step.grad_norm for step in free)[10]
    steps = of(
        session.run("clipped", steps=20, clip_norm=limit, optimizer="sgd", learning_rate=1e-6, log_every=5), Step
    )
    shares = [record["clipped_share"] for record in session.log("clipped")]
    assert (
        shares == [sum(step.grad_norm > limit for step in steps[at : at + 5]) / 5 for at in range(0, 20, 5)]
        and 0 < sum(shares) < 4
    )


@pytest.mark.parametrize("options", [{"ema": 0.9, "eval_every": 5}, {"val_fraction": 0.0}], ids=str)
def test_trying_an_anchor_leaves_the_logged_gradient_the_steps_own(session, options):
    session.run("run", steps=20, log_every=1, **options)
    for record in session.log("run"):
        total = math.sqrt(sum(norm**2 for norm in record["grad_norms"].values()))
        assert total == pytest.approx(record["grad_norm"], rel=1e-4)


def test_the_share_of_clipped_steps_is_kept_over_a_resume(session):
    norms = [step.grad_norm for step in of(session.run("free", steps=10, clip_norm=0.0), Step)]
    options = {"steps": 20, "log_every": 10, "eval_every": 0, "clip_norm": sorted(norms)[5]}
    session.run("whole", **options)
    assert 0 < session.log("whole")[0]["clipped_share"] < 1
    session.run("parts", stop_at=7, **options)
    assert session.last("parts").training["clipped"][1] == 7
    session.resume("parts")
    assert session.log("whole") == session.log("parts")


def test_the_smoothed_loss_is_a_bias_corrected_exponential_average(session):
    losses, average = [], 0.0
    for step in of(session.run("run", steps=9), Step):
        losses.append(step.train_loss_nats)
        weights = [0.98 ** (len(losses) - 1 - i) for i in range(len(losses))]
        average = sum(w * x for w, x in zip(weights, losses)) / sum(weights)
        assert step.smoothed_loss_nats == pytest.approx(average, rel=1e-12)
    assert average != losses[-1]


def test_the_gradient_norm_is_the_one_before_clipping(session):
    free = of(session.run("free", steps=1, clip_norm=0.0), Step)[0]
    clipped = of(session.run("clipped", steps=1, clip_norm=1e-3), Step)[0]
    assert free.grad_norm == clipped.grad_norm > 1e-3


def test_the_carry_goes_from_chunk_to_chunk_and_is_reset_with_each_epoch(session, monkeypatch):
    seen = []
    real = Workspace.loss_and_grads

    def spy(self, x, y, dropout=None, step=0):
        seen.append((x.shape, step, float(np.abs(self.get_carry()["h"]).max())))
        return real(self, x, y, dropout, step)

    monkeypatch.setattr(Workspace, "loss_and_grads", spy)
    session.run("run", steps=46)
    carries = {step: carry for shape, step, carry in seen if shape == (7, 3)}  # the last call of a step counts
    assert carries[0] == carries[44] == 0
    assert all(carries[step] > 0 for step in (1, 2, 43, 45))


def test_a_sample_is_shown_at_the_steps_asked_for_and_a_preflight_before_the_first_step(session):
    records = session.run("run", steps=6, samples=True, sample_every=2, sample_length=30)
    assert [(record.step, len(record.text)) for record in of(records, Sampled)] == [(2, 30), (4, 30)]
    before = records[: records.index(of(records, Step)[0])]
    (preflight,) = of(before, Preflight)
    assert preflight.characters == len(TEXT)
    assert preflight.train_characters + preflight.val_characters + preflight.test_characters == len(TEXT)
    assert preflight.parameters > 0 and preflight.memory_bytes > preflight.parameters * 4 * 3
    assert preflight.total_steps == 6 and preflight.steps_per_epoch == 44 and preflight.duration_s > 0


def ticking(seconds):
    """Return a clock on which every look is so many seconds later."""
    ticks = itertools.count()
    return lambda: next(ticks) * seconds


def test_by_minutes_the_run_and_its_schedule_end_with_the_time(session):
    session.clock = ticking(0.05)
    records = session.run("run", minutes=2.0, learning_rate=0.01)
    steps, finished = of(records, Step), records[-1]
    assert not finished.resumable and finished.elapsed_s == pytest.approx(120, abs=1)
    assert max(step.learning_rate for step in steps) > 0.008
    assert steps[-1].learning_rate < 0.002
    assert of(records, Evaluated)[-1].step == finished.step
    assert [step.remaining_s for step in steps[:3]] == sorted((step.remaining_s for step in steps[:3]), reverse=True)


def test_a_run_by_minutes_that_was_stopped_goes_on_for_what_was_left(session):
    session.clock = ticking(0.05)
    records = session.run("run", stop_at=20, minutes=1.0)
    assert records[-1].resumable
    used = records[-1].elapsed_s
    records = session.resume("run")
    assert 10 < used < 50 and not records[-1].resumable and records[-1].elapsed_s == pytest.approx(60, abs=1)


def test_validation_is_shortened_where_it_would_eat_the_minutes_and_that_is_said(tmp_path):
    path = tmp_path / "long.txt"
    path.write_text(TEXT * 40)
    with read_corpus([path]) as corpus:
        session = Session(tmp_path, corpus)
        plan = plan_run(TrainingConfig(**{**TINY, "val_fraction": 0.5, "minutes": 0.5}), corpus)
        with RunFolder.create(tmp_path / "run") as folder:
            records = list(Trainer(plan, corpus, folder, clock=ticking(0.2), samples=False).run())
        assert "validating on the first" in of(records, Notice)[0].text
        assert not records[-1].val_is_whole
        assert session.last("run").training["validated"][1] < plan.splits.val[1]


def test_without_a_validation_split_the_last_checkpoint_stands(session):
    records = session.run("run", steps=5, val_fraction=0.0, test_fraction=0.0)
    assert records[-1].checkpoint == session.tmp_path / "run" / "last.safetensors"
    assert "no validation text" in of(records, Notice)[0].text
    assert records[-1].best_loss_nats is None and records[-1].test is None


def test_a_text_that_is_too_short_shrinks_the_defaults_but_not_what_was_named(session):
    plan = plan_run(TrainingConfig(steps=3), session.corpus)
    assert plan.notes and plan.config.batch_size * plan.config.seq_length < 1200
    assert plan_run(TrainingConfig(steps=3, batch_size=100), session.corpus).config.seq_length < 11
    with pytest.raises(CorpusError, match="--batch-size|--seq-length"):
        plan_run(TrainingConfig(steps=3, batch_size=100, seq_length=100), session.corpus)


def test_a_model_that_does_not_fit_in_memory_is_refused_with_the_figures(session, monkeypatch):
    monkeypatch.setattr(plan_module, "available_memory", lambda: 2_000_000)
    plan_run(TrainingConfig(**TINY), session.corpus)
    with pytest.raises(
        ConfigError, match=r"needs \d+\.\d GB of memory, but only 0\.0 GB are free: lower --hidden-size"
    ):
        plan_run(TrainingConfig(**{**TINY, "hidden_size": 700}), session.corpus)
    monkeypatch.undo()
    assert available_memory() is None or available_memory() > 1 << 20


def test_the_history_in_a_checkpoint_stays_small_and_keeps_the_validations(session, monkeypatch):
    monkeypatch.setattr(history_module, "HISTORY_RECORDS", 12)
    session.run("run", steps=60, eval_every=15, log_every=1)
    history = session.last("run").training["history"]
    assert len(history) <= 12
    assert [entry["step"] for entry in history if "val_loss_nats" in entry] == [15, 30, 45, 60]
    assert [entry["step"] for entry in history] == sorted(entry["step"] for entry in history)


def test_default_intervals_do_not_depend_on_the_clock(session):
    plans = [plan_run(TrainingConfig(**{**TINY, "epochs": 50.0}), session.corpus) for _ in range(2)]
    assert plans[0].config == plans[1].config
    assert plans[0].config.eval_every >= 44 and plans[0].config.log_every == 2


# ---------------------------------------------------------------------------------------------------------- divergence


def test_divergence_stops_the_run_and_leaves_the_last_good_checkpoint(session):
    with pytest.raises(
        DivergenceError, match=r"at step \d+.*--learning-rate below 1e\+25.*the checkpoint of step 0 is kept"
    ):
        session.run(
            "run",
            steps=50,
            optimizer="sgd",
            learning_rate=1e25,
            clip_norm=0.0,
            schedule="constant",
            on_divergence="stop",
        )
    last = session.last("run")
    assert last.training["step"] == 0
    fresh = Model.initialise(ModelConfig(vocab_size=last.vocabulary.size, **last.model), 1).get_parameters()
    assert all(np.array_equal(last.parameters[name], fresh[name]) for name in fresh)


def test_a_loss_beyond_all_reason_is_divergence_too(session):
    # Saturated gates keep the loss of exploded parameters finite; nothing comes back from there.
    for learning_rate in (1e6, 1e25, 1e38):
        with pytest.raises(DivergenceError, match=r"became \S+ at step"):
            session.run(
                f"run{learning_rate}",
                steps=50,
                optimizer="sgd",
                learning_rate=learning_rate,
                schedule="constant",
                on_divergence="stop",
            )


def test_a_non_finite_loss_is_not_applied_and_what_was_saved_before_stands(session, monkeypatch):
    real = Workspace.loss_and_grads

    def poisoned(self, x, y, dropout=None, step=0):
        loss = real(self, x, y, dropout, step)
        return math.nan if step == 7 else loss

    monkeypatch.setattr(Workspace, "loss_and_grads", poisoned)
    with pytest.raises(DivergenceError, match="training loss became nan at step 8.*the checkpoint of step 6 is kept"):
        session.run("run", steps=50, checkpoint_every=3, on_divergence="stop")
    monkeypatch.undo()
    session.run("whole", steps=50, on_divergence="stop")
    session.resume("run")  # nothing bad was saved: the run goes on as if nothing had happened
    assert_same(session.last("run"), session.last("whole"))


def test_a_non_finite_gradient_stops_the_run(session, monkeypatch):
    real = Workspace.loss_and_grads

    def poisoned(self, x, y, dropout=None, step=0):
        loss = real(self, x, y, dropout, step)
        if step == 4:
            self.grads[5] = math.inf
        return loss

    monkeypatch.setattr(Workspace, "loss_and_grads", poisoned)
    with pytest.raises(DivergenceError, match="gradient's norm became .* at step 5"):
        session.run("run", steps=50, on_divergence="stop")


# ---------------------------------------------------------------------------------------------------- from old weights


def test_old_weights_are_mapped_by_character(session, tmp_path):
    session.run("old", steps=6, dtype="float64", embedding_size=0)
    old = session.best("old")
    path = tmp_path / "other.txt"
    path.write_text("".join(sorted(TEXT, reverse=True)).replace("s", "ß").replace("l", "Ω"))
    with read_corpus([path]) as corpus:
        config = config_like(old, {**TINY, "steps": 2, "seed": 5})
        plan = plan_run(config, corpus, old)
        assert (
            "'Ω'" in plan.notes[0]
            and "'ß'" in plan.notes[0]
            and "are not in the old model; they start untrained" in plan.notes[0]
            and "2 characters are" in plan.notes[0]
        )
        assert "'s'" in plan.notes[1] and "'l'" in plan.notes[1]
        fresh = Model.initialise(plan.model_config, 5).get_parameters()
        mapped = map_parameters(fresh, old, corpus.vocabulary)
        for i, symbol in enumerate(corpus.vocabulary.symbols):
            if symbol in old.vocabulary.symbols:
                j = old.vocabulary.symbols.index(symbol)
                assert np.array_equal(mapped["rnn.weight_ih_l0"][:, i], old.parameters["rnn.weight_ih_l0"][:, j])
                assert np.array_equal(mapped["output.weight"][i], old.parameters["output.weight"][j])
                assert mapped["output.bias"][i] == old.parameters["output.bias"][j]
            else:
                assert np.array_equal(mapped["rnn.weight_ih_l0"][:, i], fresh["rnn.weight_ih_l0"][:, i])
                assert np.array_equal(mapped["output.weight"][i], fresh["output.weight"][i])
        for name in ("rnn.weight_hh_l0", "rnn.weight_ih_l1", "rnn.bias_ih_l0"):  # forget biases too: not set to 1 anew
            assert np.array_equal(mapped[name], old.parameters[name])
        with RunFolder.create(tmp_path / "new") as folder:
            records = list(Trainer(plan, corpus, folder, samples=False).run())
    assert of(records, Preflight)[0].step == 0 and records[-1].step == 2


def test_embeddings_and_tied_weights_are_mapped_too():
    vocabulary, other = Vocabulary("chars", "abc"), Vocabulary("chars", "cxa")
    config = ModelConfig("gru", 3, 4, 1, 4, True)
    old = Model.initialise(config, 1).get_parameters()
    fresh = Model.initialise(config, 2).get_parameters()

    class Stored:
        training = {}
        parameters = old

    Stored.vocabulary = vocabulary

    mapped = map_parameters(fresh, Stored, other)
    assert np.array_equal(
        mapped["embedding.weight"],
        [old["embedding.weight"][2], fresh["embedding.weight"][1], old["embedding.weight"][0]],
    )
    assert mapped["output.bias"].tolist() == [old["output.bias"][2], fresh["output.bias"][1], old["output.bias"][0]]
    assert np.array_equal(mapped["rnn.weight_ih_l0"], old["rnn.weight_ih_l0"])


def test_old_weights_of_the_same_text_start_where_they_ended(session):
    records = session.run("old", epochs=4, hidden_size=16, learning_rate=0.02)
    initial = session.best("old")
    config = dataclasses.asdict(
        config_like(
            initial, {**{k: v for k, v in TINY.items() if k != "hidden_size"}, "steps": 1, "learning_rate": 1e-9}
        )
    )
    again = session.run("new", initial=initial, **config)
    assert again[-1].best_loss_nats == pytest.approx(records[-1].best_loss_nats, abs=1e-4)


@pytest.mark.parametrize(("asked", "held"), [({}, 1.0), ({"forget_bias": 0.0}, 0.0), ({"forget_bias": -2.5}, -2.5)])
def test_a_run_begins_with_the_forget_bias_that_was_asked_for(session, asked, held):
    plan = plan_run(TrainingConfig(**{**TINY, "steps": 1, **asked}), session.corpus)
    begun = make_learner(plan, session.corpus).model.get_parameters()
    plain = Model.initialise(plan.model_config, plan.config.seed).get_parameters()
    rows = CELLS["lstm"].rows("f", 9)
    for layer in range(2):
        assert (begun[f"rnn.bias_ih_l{layer}"][rows] == held).all() and not begun[f"rnn.bias_hh_l{layer}"].any()
        plain[f"rnn.bias_ih_l{layer}"][rows] = held
    assert all(np.array_equal(begun[name], array) for name, array in plain.items())


def test_the_forget_bias_is_kept_with_the_run_and_is_no_option_of_old_weights(session):
    session.run("old", steps=8, stop_at=4, forget_bias=0.0)
    assert session.last("old").training["config"]["forget_bias"] == 0.0
    session.resume("old")
    with pytest.raises(ConfigError, match="--forget-bias 0 and cannot be resumed with 1:"):
        resume_config(TrainingConfig(forget_bias=0.0, steps=8), {"forget_bias": 1.0})
    with pytest.raises(ConfigError, match="--forget-bias 2 sets the biases of a fresh model"):
        config_like(session.last("old"), {"forget_bias": 2.0})
    assert config_like(session.last("old"), {}).forget_bias is None


def test_a_model_of_another_shape_is_refused(session):
    session.run("old", steps=1, layer_norm=False)
    with pytest.raises(ConfigError, match="--hidden-size 9, got 12"):
        config_like(session.last("old"), {"hidden_size": 12})
    with pytest.raises(ConfigError, match="--layer-norm off, got on: leave --layer-norm out"):
        config_like(session.last("old"), {"layer_norm": True})


def test_old_weights_with_layer_normalisation_keep_it_and_cannot_lose_it(session):
    session.run("old", steps=3, layer_norm=True)
    old = session.last("old")
    with pytest.raises(ConfigError, match="--layer-norm on, got off: leave --layer-norm out"):
        config_like(old, {"layer_norm": False})
    config = config_like(old, {**TINY, "steps": 1, "learning_rate": 1e-30, "dropout": 0.0})
    assert config.layer_norm
    session.run("new", initial=old, **dataclasses.asdict(config))
    assert (session.last("new").parameters["rnn.norm_gain_l0"] == old.parameters["rnn.norm_gain_l0"]).all()
    assert (old.parameters["rnn.norm_gain_l0"] != 1).any()


def test_options_that_deny_the_models_layer_normalisation_are_not_resumed(session):
    session.run("old", stop_at=2, layer_norm=True)
    session.run("plain", stop_at=2, layer_norm=False)
    for run, said in (("old", False), ("plain", True)):
        checkpoint = session.last(run)
        checkpoint.training["config"]["layer_norm"] = said
        with pytest.raises(CheckpointError, match="options say --layer-norm o.*, but its model has o.*--init-from RUN"):
            plan_resume(checkpoint, session.corpus)


def test_a_run_from_before_layer_normalisation_goes_on_without_it(session):
    session.run("plain", stop_at=2, layer_norm=False)
    checkpoint = session.last("plain")
    del checkpoint.training["config"]["layer_norm"]
    assert not plan_resume(checkpoint, session.corpus).config.layer_norm


# ------------------------------------------------------------------------------ an average of weights, and dropped ones


def test_the_average_is_what_is_validated_saved_and_sampled_and_does_not_bear_on_the_training(session):
    options = {"steps": 40, "eval_every": 10, "log_every": 1, "learning_rate": 0.02}
    session.run("plain", **options)
    records = session.run("averaged", ema=0.8, samples=True, **{**options, "sample_every": 40, "sample_length": 20})
    plain, last, best = session.last("plain"), session.last("averaged"), session.best("averaged")
    for name, array in plain.parameters.items():
        assert np.array_equal(last.optimizer["unaveraged/" + name], array)
        assert np.array_equal(last.optimizer["exp_avg/" + name], plain.optimizer["exp_avg/" + name])
    assert {**last.optimizer}.keys() - plain.optimizer.keys() == {"unaveraged/" + name for name in plain.parameters}
    assert any((last.parameters[name] != array).any() for name, array in plain.parameters.items())
    trained = [[record["train_loss_nats"] for record in session.log(name)] for name in ("plain", "averaged")]
    assert trained[0] == trained[1]

    model = Model(ModelConfig(vocab_size=best.vocabulary.size, **best.model))
    model.set_parameters(best.parameters)
    evaluated = of(records, Evaluated)
    assert [one.step for one in evaluated] == [10, 20, 30, 40]
    start, stop = plan_run(TrainingConfig(**TINY), session.corpus).splits.val
    found = evaluate_stream(model, session.corpus.ids, start, stop).loss_nats
    assert found == pytest.approx(records[-1].best_loss_nats, abs=1e-6)
    assert [one.evaluation.loss_nats for one in evaluated] != [
        r["val_loss_nats"] for r in session.log("plain") if "val_loss_nats" in r
    ]


def test_the_memory_of_an_average_is_told_and_asked_for(session):
    plain, averaged = (of(session.run(f"run{ema}", steps=1, ema=ema), Preflight)[0].memory_bytes for ema in (0.0, 0.9))
    model = ModelConfig("lstm", session.corpus.vocabulary.size, 9, 2, 64, layer_norm=True)
    needed = [memory_needed(model, 3, 7, averaging=averaging) for averaging in (False, True)]
    assert needed[1] - needed[0] == Model(model).flat.nbytes
    # Beside the weights the average has the tables of a model of its own.
    assert 0 <= averaged - plain - Model(model).flat.nbytes < 5000


def test_a_new_run_from_averaged_weights_starts_from_the_average(session):
    session.run("old", steps=20, ema=0.9)
    old = session.last("old")
    session.run("new", initial=old, steps=1, learning_rate=1e-30)
    for name, array in session.last("new").parameters.items():
        assert np.array_equal(array, old.parameters[name])


def test_dropped_weights_are_of_the_training_alone(session):
    """The step that is made under a mask moves only what it left; validation knows of no mask."""
    session.run("run", steps=1, eval_every=1, weight_dropout=0.9, weight_decay=0.0, optimizer="adamw", cell="gru")
    best, config = session.best("run"), TrainingConfig(**TINY)
    fresh = Model.initialise(ModelConfig("gru", session.corpus.vocabulary.size, 9, 2), config.seed).get_parameters()
    moved = np.mean([(best.parameters[name] != fresh[name]).mean() for name in fresh if "weight_hh" in name])
    assert 0.02 < moved < 0.2 and (best.parameters["output.weight"] != fresh["output.weight"]).mean() > 0.9
    model = Model(ModelConfig(vocab_size=best.vocabulary.size, **best.model))
    model.set_parameters(best.parameters)
    found = evaluate_stream(model, session.corpus.ids, *plan_run(config, session.corpus).splits.val).loss_nats
    assert found == pytest.approx(best.training["best"]["val_loss_nats"], abs=1e-6)


def test_zoneout_is_by_masks_in_training_and_in_expectation_in_validation(session):
    session.run("run", steps=1, eval_every=1, zoneout=0.5, cell="lstm")
    best, config = session.best("run"), TrainingConfig(**TINY)
    assert (
        best.model["zoneout"] == 0.5
        and read_metadata(session.tmp_path / "run" / "last.safetensors")["format_version"] == 2
    )
    model = Model(ModelConfig(vocab_size=best.vocabulary.size, **best.model))
    model.set_parameters(best.parameters)
    stretch = plan_run(config, session.corpus).splits.val
    found = evaluate_stream(model, session.corpus.ids, *stretch).loss_nats
    assert found == pytest.approx(best.training["best"]["val_loss_nats"], abs=1e-6)
    plain = Model(dataclasses.replace(model.config, zoneout=0.0))
    plain.set_parameters(best.parameters)
    assert abs(found - evaluate_stream(plain, session.corpus.ids, *stretch).loss_nats) > 1e-5
    # The step itself, again: by masks of the run's seed.
    fresh, trained = (
        Model.initialise(model.config, config.seed),
        of(session.run("again", steps=1, zoneout=0.5, cell="lstm"), Step)[0],
    )
    workspace = Workspace(fresh, config.batch_size, config.seq_length)
    x, y = Streams(
        session.corpus.ids, *plan_run(config, session.corpus).splits.train, config.batch_size, config.seq_length
    ).next_chunk()
    losses = [
        workspace.loss_and_grads(x, y, dropout)
        for dropout in (Dropout(config.dropout, seed=config.seed), None)
        if workspace.reset_carry() is None
    ]
    assert trained.train_loss_nats == losses[0] != losses[1]


def test_a_run_with_zoneout_does_not_go_on_without_it_nor_the_other_way_round(session):
    session.run("run", stop_at=3, steps=9, zoneout=0.1)
    with pytest.raises(ConfigError, match="--zoneout 0.1"):
        session.resume("run", zoneout=0.0)
    saved = session.last("run")
    del saved.model["zoneout"]
    save_checkpoint(session.tmp_path / "run" / "last.safetensors", saved)
    with pytest.raises(CheckpointError, match="its options say --zoneout 0.1, but its model has 0; .*--init-from RUN"):
        session.resume("run")


def test_a_new_run_takes_the_zoneout_of_the_weights_or_says_that_it_has_another(session):
    session.run("old", steps=2, zoneout=0.1)
    old = session.last("old")
    assert config_like(old, {}).zoneout == 0.1 and config_like(old, {"zoneout": 0.0}).zoneout == 0.0
    for asked, said in ((0.1, False), (0.0, True), (0.25, True)):
        plan = plan_run(TrainingConfig(**{**TINY, "zoneout": asked}), session.corpus, old)
        note = f"the old model was trained with --zoneout 0.1, this run uses --zoneout {asked:g}"
        assert (note in plan.notes) == said and plan.model_config.zoneout == asked
    session.run("new", initial=old, steps=1, learning_rate=1e-30)
    new = session.last("new")
    assert "zoneout" not in new.model and all(
        np.array_equal(array, old.parameters[name]) for name, array in new.parameters.items()
    )


def test_a_run_by_average_does_not_go_on_without_it(session):
    session.run("run", stop_at=3, steps=9, ema=0.9)
    with pytest.raises(ConfigError, match="--ema 0.9"):
        session.resume("run", ema=0.0)


# -------------------------------------------------------------------------------------------------- options and texts


@pytest.mark.parametrize(
    "wrong",
    [
        {"hidden_size": 0},
        {"hidden_size": 1.5},
        {"num_layers": -1},
        {"batch_size": 0},
        {"seq_length": 0},
        {"epochs": 0},
        {"epochs": math.nan},
        {"steps": 0},
        {"minutes": -1},
        {"minutes": math.inf},
        {"learning_rate": 0},
        {"clip_norm": -1},
        {"dropout": 1.0},
        {"dropout": -0.1},
        {"momentum": 1},
        {"seed": -1},
        {"seed": True},
        {"cell": "transformer"},
        {"dtype": "float16"},
        {"optimizer": "lion"},
        {"schedule": "linear"},
        {"vocab": "words"},
        {"val_fraction": 1.0},
        {"test_fraction": -0.1},
        {"decay": 0.0},
        {"decay_after": -1},
        {"warmup": -1},
        {"min_learning_rate": 3},
        {"sample_length": 0},
        {"log_every": 0},
        {"eval_every": -1},
        {"embedding_size": -1},
        {"encoding": 3},
        {"ema": 1.0},
        {"ema": -0.1},
        {"ema": math.nan},
        {"weight_dropout": 1.0},
        {"weight_dropout": -0.5},
        {"zoneout": 1.5},
        {"zoneout": -0.1},
        {"zoneout": math.nan},
    ],
)
def test_a_nonsense_option_is_refused_by_name_and_value(wrong):
    ((name, value),) = wrong.items()
    with pytest.raises(ConfigError) as caught:
        TrainingConfig(**wrong)
    message = str(caught.value)
    shown = f"{value:g}" if isinstance(value, float) else str(value)
    assert name.replace("_", "-") in message.replace("_", "-") and shown in message and "\n" not in message


@pytest.mark.parametrize(
    "wrong",
    [
        {"steps": 3, "epochs": 1},
        {"minutes": 3, "epochs": 1},
        {"tie_weights": True},
        {"momentum": 0.9},
        {"weight_decay": 0.1, "optimizer": "adam"},
        {"val_fraction": 0.5, "test_fraction": 0.5},
    ],
)
def test_options_that_contradict_each_other_are_refused(wrong):
    with pytest.raises(ConfigError, match="--"):
        TrainingConfig(**wrong)


def test_options_travel_through_json():
    config = dataclasses.replace(DEFAULTS, epochs=3, dropout=0.25).resolved()
    assert TrainingConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    with pytest.raises(ConfigError, match="'tempo' is not a training option"):
        TrainingConfig.from_dict({"tempo": 3})


def test_the_names_in_the_options_are_those_of_the_code():
    assert set(OPTIMIZERS) == set(optim.RULES) == set(LEARNING_RATES)
    assert resume_config(DEFAULTS, {}) == DEFAULTS


def test_texts_are_found_again_from_where_the_run_folder_stands(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    described = describe_texts([str(tmp_path / "a.txt")], tmp_path / "checkpoints" / "a-1")
    assert described["sources_from_run"] == ["../../a.txt"]
    assert find_texts(
        {"corpus": {"sources": ["a.txt"], "sources_from_run": ["../../a.txt"]}}, tmp_path / "checkpoints" / "a-1"
    ) == [str(tmp_path / "a.txt")]
    monkeypatch.chdir(tmp_path)
    assert find_texts({"corpus": {"sources": ["a.txt"]}}, "elsewhere") == ["a.txt"]
    for sources, message in (
        (["gone.txt"], "gone.txt does not exist"),
        (["-"], "stdin"),
        ([], "does not name the text"),
    ):
        with pytest.raises(CharRNNError, match=message):
            find_texts({"corpus": {"sources": sources}}, "elsewhere")


def test_saved_records_name_the_file(session):
    saved = of(session.run("run", steps=4, eval_every=2), Saved)
    assert saved and all(record.path.exists() for record in saved)
    assert saved[0].is_best and saved[0].path.name == "best.safetensors"
    assert isinstance(session.run("other", steps=1)[-1], Finished)


def test_a_validation_says_the_best_of_the_run_over_a_resume_too(session):
    options = {"steps": 40, "eval_every": 10}
    whole = of(session.run("whole", **options), Evaluated)
    parts = of(session.run("parts", stop_at=20, **options), Evaluated) + of(session.resume("parts"), Evaluated)
    assert [one.best_loss_nats for one in parts] == [one.best_loss_nats for one in whole]
    losses = [one.evaluation.loss_nats for one in whole]
    assert [one.best_loss_nats for one in whole] == [min(losses[: n + 1]) for n in range(len(losses))]
