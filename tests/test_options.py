"""The options of a run: which a resumption may change, and what is said of the others.

tests/test_cli_train.py has their rules.
"""

import dataclasses

import pytest

from charrnn.errors import ConfigError
from charrnn.training.options import FREE_OPTIONS, LENGTHS, NAMES, TrainingConfig, option, resume_config, shown

# Another value for each option, that agrees with the rest of OLD.
OLD = TrainingConfig(steps=50, batch_size=3, seq_length=7, optimizer="sgd", embedding_size=256).resolved()
OTHERS = {
    "cell": "gru",
    "hidden_size": 9,
    "num_layers": 1,
    "embedding_size": 12,
    "tie_weights": True,
    "dtype": "float64",
    "precision": "bfloat16",
    "vocab": "bytes",
    "encoding": "latin-1",
    "val_fraction": 0.1,
    "test_fraction": 0.1,
    "batch_size": 4,
    "seq_length": 8,
    "epochs": 2.0,
    "steps": 60,
    "minutes": 1.0,
    "optimizer": "adam",
    "learning_rate": 0.1,
    "schedule": "step",
    "warmup": 3.0,
    "min_learning_rate": 0.5,
    "decay": 0.5,
    "decay_after": 1,
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
    "sample_every": 4,
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
        name in ("log_every", "checkpoint_every", "sample_every", "sample_length", "on_divergence")
    )
    if name in FREE_OPTIONS or name == "steps":
        assert resume_config(OLD, {name: new}) == dataclasses.replace(OLD, **{name: new})
        return
    with pytest.raises(ConfigError) as refused:
        resume_config(OLD, {name: new})
    said = str(refused.value)
    assert option(name) in said
    if name in LENGTHS:
        assert "--steps 50" in said
    else:
        assert f"{option(name)} {shown(old)}," in said and f"with {shown(new)} would" in said


def test_a_shorter_length_is_refused_with_both_values():
    with pytest.raises(ConfigError, match="--steps 50.*not shorter, got 49"):
        resume_config(OLD, {"steps": 49})


def test_two_values_that_differ_look_different():
    with pytest.raises(ConfigError, match="--learning-rate 0.5,.*with 0.5000001 would"):
        resume_config(OLD, {"learning_rate": 0.5000001})
    assert shown(0.1) == "0.1" and shown(1e-5) == "1e-05" and shown(True) == "on" and shown(None) == "unset"


def test_every_option_has_another_value_here():
    assert sorted(OTHERS) == sorted(NAMES)
