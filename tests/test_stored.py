"""What a checkpoint's record of its training may say: each fault has its sentence, a defect of ours is none of them."""
# ruff: noqa: F811  fixtures of another module are imported, and named again by the tests that want them

import copy
import re
import sys
from pathlib import Path

import pytest
from test_trainer import Session, corpus, session  # noqa: F401  two of them are fixtures

from charrnn.errors import CharRNNError, CheckpointError
from charrnn.training import plan as plan_module
from charrnn.training.plan import plan_resume
from charrnn.training.stored import check_record, resumed_config
from charrnn.training.trainer import Trainer

sys.path.insert(0, str(Path(__file__).parent.parent / "soak"))
from fuzz_targets import Unwritten  # noqa: E402

# What no run writes, and what the refusal says of it.
FAULTS = [
    ({"step": None}, "step must be a whole number from 0, got None"),
    ({"step": True}, "step must be a whole number from 0, got True"),
    ({"optimizer_steps": 1.5}, "optimizer_steps must be a whole number from 0, got 1.5"),
    ({"logged_step": -1}, "logged_step must be a whole number from 0, got -1"),
    ({"evaluated_step": []}, "evaluated_step must be a whole number from 0, got []"),
    ({"history_stride": 0}, "history_stride must be a whole number from 1, got 0"),
    ({"elapsed_s": -1.0}, "elapsed_s must be a number of seconds, got -1.0"),
    ({"smoothing": [1.0, 0.5]}, "smoothing must be a sum and the count of its losses, got [1.0, 0.5]"),
    ({"smoothing": {}}, "smoothing must be a sum and the count of its losses, got {}"),
    ({"best": {"step": 1}}, "best must be null or a step and its val_loss_nats, got {'step': 1}"),
    ({"best": False}, "best must be null or a step and its val_loss_nats, got False"),
    ({"last": {"step": 1}}, "last must be null or the log record of a step, got {'step': 1}"),
    ({"last": None}, "last must be the record of step 2, got None"),
    ({"history": {}}, "history must be a list of records, each with its step, got {}"),
    ({"history": [{"step": 1}, None]}, "history must be a list of records, each with its step"),
    ({"clipped": [3, 2]}, "clipped must be the count of clipped steps and that of all, got [3, 2]"),
    ({"validated": [3, 2]}, "validated must be where a stretch begins and where it ends, got [3, 2]"),
    ({"validated": [3, 10**7]}, "validated must be within the"),
    ({"divergence": 5}, "divergence must be null or a record of divergence, got 5"),
]
OF_DIVERGENCE = [
    ({"anchor_step": None}, "divergence.anchor_step must be a whole number from 0, got None"),
    ({"factor": 0.0}, "divergence.factor must be above 0 and at most 1, got 0.0"),
    ({"factor": 1}, "divergence.factor must be above 0 and at most 1, got 1"),
    ({"returns": [3]}, "divergence.returns must be a list of records, got [3]"),
    ({"futile": 6}, "divergence.futile must be a whole number from 0 to 5, got 6"),
    ({"failed_step": "1"}, "divergence.failed_step must be a whole number from 0, got '1'"),
    ({"in_a_row": -1}, "divergence.in_a_row must be a whole number from 0, got -1"),
    ({"skipped": 2.0}, "divergence.skipped must be a whole number from 0, got 2.0"),
]
OPTIONAL = ("clipped", "divergence")


@pytest.fixture
def stopped(session):
    session.run("run", stop_at=2, steps=8)
    return session.last("run")


def refused(training, characters=10**6):
    """Return what the refusal says of the fault."""
    with pytest.raises(CheckpointError) as error:
        check_record(training, characters)
    said = re.fullmatch(
        r"the checkpoint's record of its training is incomplete or damaged \((.*)\), so it cannot be resumed; start a "
        "new run from its weights with 'charrnn train TEXT --init-from RUN'",
        str(error.value),
    )
    return said[1]


def test_every_fault_of_a_record_has_its_sentence(stopped):
    training = stopped.training
    check_record(training, 10**6)
    for change, said in FAULTS:
        assert said in refused({**training, **change})
    for change, said in OF_DIVERGENCE:
        assert said in refused({**training, "divergence": {**training["divergence"], **change}})


def test_what_is_missing_is_named(stopped):
    training = stopped.training
    for change, _ in FAULTS:
        (name,) = change
        without = {key: value for key, value in training.items() if key != name}
        if name in OPTIONAL:
            check_record(without, 10**6)
        else:
            assert refused(without) == f"{name} is missing"
    for change, _ in OF_DIVERGENCE:
        (name,) = change
        divergence = {key: value for key, value in training["divergence"].items() if key != name}
        assert refused({**training, "divergence": divergence}) == f"divergence.{name} is missing"


@pytest.mark.slow
def test_whatever_stands_in_a_field_the_run_goes_on_or_is_refused(session, stopped):
    values = (None, True, -1, 0, 2**60, 0.5, -0.5, 1e300, "", "x", [], [0, 0], [1, [2]], {}, {"step": 1}, {"step": []})
    went_on = 0
    for name in [*stopped.training, *(f"divergence.{name}" for name in stopped.training["divergence"])]:
        for value in values:
            checkpoint = copy.deepcopy(stopped)
            outer, _, inner = name.partition(".")
            place = checkpoint.training["divergence"] if inner else checkpoint.training
            place[inner or outer] = value
            folder = Unwritten(session.tmp_path / "run")
            try:
                list(Trainer(plan_resume(checkpoint, session.corpus), session.corpus, folder, samples=False).run())
                went_on += 1
            except CharRNNError:
                pass
            except Exception as error:
                raise AssertionError(f"{name} {value!r}") from error
    assert went_on > 50


@pytest.mark.parametrize("name", ["batch_size", "seq_length", "learning_rate", "weight_decay", "warmup", "eval_every"])
def test_options_that_every_run_decides_may_not_be_left_open(session, stopped, name):
    stopped.training["config"][name] = None
    with pytest.raises(CheckpointError, match=f"its options have no value for --{name.replace('_', '-')}\\)"):
        plan_resume(stopped, session.corpus)


def test_a_run_of_no_length_is_refused_whatever_is_asked(stopped):
    stopped.training["config"]["steps"] = None
    for asked in ({}, {"steps": 9}, {"minutes": 1.0}):
        with pytest.raises(CheckpointError, match="its options give no length"):
            resumed_config(stopped.training, asked)


def test_a_defect_of_ours_is_not_called_a_damaged_checkpoint(session, stopped, monkeypatch):
    def broken(*_):
        raise AttributeError("a defect")

    monkeypatch.setattr(plan_module, "total_steps", broken)
    with pytest.raises(AttributeError, match="a defect"):
        plan_resume(stopped, session.corpus)
