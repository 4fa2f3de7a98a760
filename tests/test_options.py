"""The options of a run: their rules, the names that an error carries, and which a resumption may change.

tests/test_cli_train.py has the rules as the command line meets them.
"""

import dataclasses
import math

import pytest

from charrnn.errors import ConfigError
from charrnn.training.model_options import HEADINGS
from charrnn.training.options import DEFAULTS, FREE_OPTIONS, LENGTHS, NAMES, SETTINGS, TrainingConfig
from charrnn.training.resuming import resume_config
from charrnn.training.settings import Setting, option, shown

# Another value for each option, that agrees with the rest of OLD.
OLD = TrainingConfig(steps=50, batch_size=3, seq_length=7, optimizer="sgd", embedding_size=256, dropout=0.2).resolved()
OLD = dataclasses.replace(OLD, precision="float32")
OTHERS = {
    "cell": "gru",
    "hidden_size": 9,
    "num_layers": 1,
    "embedding_size": 12,
    "tie_weights": True,
    "forget_bias": 0.0,
    "dtype": "float64",
    "precision": "bfloat16",
    "vocab": "bytes",
    "encoding": "latin-1",
    "normalize": "nfc",
    "lowercase": True,
    "newlines": "lf",
    "part_files": True,
    "items": "lines",
    "text_field": "text",
    "task": "classify",
    "label_field": "lang",
    "label_from": "folder",
    "source_field": "a",
    "target_field": "b",
    "split": "order",
    "keep_vocabulary": True,
    "min_count": 3,
    "val_text": "other.txt",
    "unknown": "skip",
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "batch_size": 4,
    "shards": 2,
    "seq_length": 8,
    "epochs": 2.0,
    "steps": 60,
    "minutes": 1.0,
    "patience": 5,
    "optimizer": "adam",
    "learning_rate": 0.1,
    "schedule": "step",
    "warmup": 3.0,
    "min_learning_rate": 0.5,
    "decay": 0.5,
    "decay_after": 1,
    "plateau_factor": 0.25,
    "plateau_wait": 4,
    "momentum": 0.5,
    "weight_decay": 0.1,
    "clip_norm": 1.0,
    "clip_value": 0.5,
    "dropout": 0.3,
    "variational_dropout": True,
    "seed": 2,
    "eval_every": 9,
    "log_every": 2,
    "checkpoint_every": 3,
    "keep_every": 7,
    "sample_every": 4,
    "sample": False,
    "sample_length": 11,
    "ema": 0.5,
    "weight_dropout": 0.25,
    "zoneout": 0.125,
    "layer_norm": False,
    "on_divergence": "stop",
}


@pytest.mark.parametrize("name", NAMES)
def test_every_option_is_refused_on_resume_or_free(name):
    new = OTHERS[name]
    old = getattr(OLD, name)
    assert new != old
    assert resume_config(OLD, {name: old}) == OLD
    # tests/test_trainer.py shows of each of these that it changes no bit.
    assert (name in FREE_OPTIONS) == (
        name
        in ("log_every", "checkpoint_every", "keep_every", "sample_every", "sample", "sample_length", "on_divergence")
    )
    if name in (*FREE_OPTIONS, "steps", "patience", "precision"):
        assert resume_config(OLD, {name: new}) == dataclasses.replace(OLD, **{name: new})
        return
    with pytest.raises(ConfigError) as refused:
        resume_config(OLD, {name: new})
    said = str(refused.value)
    assert refused.value.options[0] == name
    assert option(name) in said
    if name in LENGTHS:
        assert "--steps 50" in said
    else:
        assert f"{option(name)} {shown(old)} and" in said and f"with {shown(new)}:" in said


def test_a_shorter_length_is_refused_with_both_values():
    with pytest.raises(ConfigError, match="--steps 50.*49"):
        resume_config(OLD, {"steps": 49})


def test_two_values_that_differ_look_different():
    with pytest.raises(ConfigError, match="--learning-rate 0.5 and.*with 0.5000001:"):
        resume_config(OLD, {"learning_rate": 0.5000001})
    assert shown(0.1) == "0.1" and shown(1e-5) == "1e-05" and shown(True) == "on" and shown(None) == "unset"


@pytest.mark.parametrize("name", NAMES)
def test_a_value_of_another_kind_or_outside_the_rule_is_refused_by_the_options_name(name):
    one = SETTINGS[name]
    wrong = [[], {}, b"x", object(), *([] if one.optional else [None])]
    if one.kind is not str:
        wrong += ["1", *([0, 1, None] if one.kind is bool else [True, math.nan, math.inf, -math.inf, 10**400])]
    if one.kind is int:
        wrong += [0.5, 2**63]
    if one.choices:
        wrong += ["", "x" * 1000, one.choices[0].upper()]
    if one.minimum is not None:
        wrong += [one.minimum - 1, -(2**62)]
    if one.maximum is not None:
        wrong += [one.maximum + 1]
    wrong += [bound for bound in (one.above, one.below) if bound is not None]
    for value in wrong:
        with pytest.raises(ConfigError) as refused:
            TrainingConfig(**{name: value})
        assert refused.value.options == (name,)
        said = str(refused.value)
        assert said.startswith(f"{option(name)} must be ") and ", got " in said and len(said) < 300


@pytest.mark.parametrize("name", NAMES)
def test_every_option_has_a_help_under_a_heading_and_a_default_within_its_rule(name):
    one = SETTINGS[name]
    assert one.help.endswith(".") and one.heading in HEADINGS
    assert (one.metavar is None) == (one.kind is bool or one.choices is not None)
    assert one.optional == (getattr(DEFAULTS, name) is None)
    one.check_type(name, getattr(DEFAULTS, name))
    one.check_rule(name, getattr(DEFAULTS, name))


@pytest.mark.parametrize(
    "wrong",
    [
        {"val_fraction": 0.5, "test_fraction": 0.5},
        {"epochs": 1.0, "steps": 1},
        {"epochs": 1.0, "steps": 1, "minutes": 1.0},
        {"tie_weights": True, "embedding_size": 3, "hidden_size": 4},
        {"forget_bias": 1.0, "cell": "gru"},
        {"forget_bias": 0.0, "cell": "rnn"},
        {"momentum": 0.5, "optimizer": "adam"},
        {"weight_decay": 0.5, "optimizer": "sgd"},
        {"min_learning_rate": 2.0},
        {"decay": 0.0},
        {"decay": 1.5},
    ],
)
def test_an_error_names_all_options_that_contradict(wrong):
    with pytest.raises(ConfigError) as refused:
        TrainingConfig(**wrong)
    assert sorted(refused.value.options) == sorted(wrong)
    assert all(option(name) in str(refused.value) for name in wrong)


def test_bounds_are_values_themselves_or_not():
    within = Setting("Model", "", minimum=0, maximum=3, kind=int)
    between = Setting("Model", "", above=0, kind=float)
    share = Setting("Model", "", minimum=0, below=1, kind=float)
    for one, right, wrong in [(within, [0, 3], [-1, 4]), (between, [1e-9], [0, -1.0]), (share, [0, 0.999], [1.0, -1])]:
        for value in (*right, None):
            one.check_rule("x", value)
        for value in wrong:
            with pytest.raises(ConfigError):
                one.check_rule("x", value)


def test_an_option_that_came_later_has_the_value_of_the_runs_before_it():
    old = {name: value for name, value in OLD.to_dict().items() if name not in ("layer_norm", "zoneout")}
    made = TrainingConfig.from_dict(old)
    assert made.layer_norm is False and DEFAULTS.layer_norm is True and made.zoneout == DEFAULTS.zoneout
    with pytest.raises(ConfigError, match="'colour'"):
        TrainingConfig.from_dict({"colour": "red"})


def test_every_option_has_another_value_here():
    assert sorted(OTHERS) == sorted(NAMES)
