"""Plan a run: determine and check all that options and text decide, before anything is written.

    plan = plan_run(config, corpus)             a new run
    plan = plan_resume(checkpoint, corpus)      a run to resume

The same options and text give the same plan. This module knows no run folder and no clock, and creates no model.
"""

import dataclasses
import math
from dataclasses import dataclass, field

from charrnn.errors import ConfigError, counted
from charrnn.files.machine import available_memory
from charrnn.model.precision import default_precision
from charrnn.runs.checkpoint import Checkpoint
from charrnn.spec import ModelConfig, num_parameters
from charrnn.text.corpus import Splits
from charrnn.text.item_streams import idle_note
from charrnn.training.defaults import STEPPING_SHARE, UNKNOWN_EPOCHS, defaults_of, dropout_of, max_epochs
from charrnn.training.feeding import check_labels, fit_shape, make_streams, reach_note
from charrnn.training.intervals import default_intervals, shorten_split, shortened_note, total_steps
from charrnn.training.memory import check_memory, item_bytes, memory_needed
from charrnn.training.options import TrainingConfig
from charrnn.training.order import order_note
from charrnn.training.patience import Waiting, ended_note
from charrnn.training.provenance import check_corpus
from charrnn.training.stored import START_ANEW, check_agreement, check_record, resumed_config, stored_config
from charrnn.training.warm_start import check_kept, warm_start_notes

MIN_UNSIZED = 500  # characters to train on, below which the user must name the size of a model: one of SIZES
SIZES = ("hidden_size", "num_layers")


@dataclass(frozen=True)
class Plan:
    """All details of a run that options and text decide.

    config            TrainingConfig, with all open options decided
    model_config      ModelConfig
    splits            Splits of the text
    steps_per_epoch   number of steps in which the training split is read once
    total_steps       number of steps of the run; None if the clock or only --patience ends it
    validated         (start, stop): the validation split, or its beginning if reading all of it would take too long
    notes             tuple of str: what the user should know
    resume            Checkpoint to resume from, or None
    initial           Checkpoint to take the weights of a new run from, or None
    items             number of items in the text; 0 for one long text
    chosen            {option: value} of the options of a new run that the user left open
    step_s            seconds of a step forward and back, if it was timed to plan the run
    """

    config: TrainingConfig
    model_config: ModelConfig
    splits: Splits
    steps_per_epoch: int
    total_steps: int | None
    validated: tuple
    notes: tuple = ()
    resume: Checkpoint | None = None
    initial: Checkpoint | None = None
    items: int = 0
    chosen: dict = field(default_factory=dict)
    step_s: float | None = None

    def memory_needed(self):
        """Return the memory in bytes that training needs for its arrays and the order of items."""
        config = self.config
        shape = self.model_config, config.batch_size, config.seq_length
        assert config.precision is not None and config.dropout is not None  # plan_run has decided them
        of_items = item_bytes(*shape, config.precision, self.items) if self.items else 0
        return of_items + memory_needed(
            *shape, config.precision, config.dropout > 0, config.optimizer, config.ema > 0, config.weight_dropout > 0
        )


def plan_run(config, corpus, initial=None, must_fit=True, sized=True):
    """Plan a new run.

    Parameters
    ----------
    config : TrainingConfig
        The options.
    corpus : Corpus
        The text.
    initial : Checkpoint, optional
        The checkpoint to take the weights from. Its architecture must be that of `config`: `warm_start.config_like`.
    must_fit : bool
        Whether to raise ConfigError if the run needs more memory than is free now.
    sized : bool
        Whether the user gave a size of the model. If not, a training split of less than 500 characters is refused.

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError, CorpusError
        Options and text do not fit together. Nothing was written.
    """
    check_kept(config, initial)
    asked, config = config, config.resolved()
    if config.precision is None:
        config = dataclasses.replace(config, precision=default_precision(config.dtype))
    splits = corpus.split(config.val_fraction, config.test_fraction)
    label_notes = check_labels(corpus, splits)
    config, notes = fit_shape(config, corpus, splits)
    notes += label_notes + reach_note(config, corpus) + order_note(corpus, splits)
    model_config = ModelConfig(
        config.cell,
        corpus.vocabulary.size,
        config.hidden_size,
        config.num_layers,
        config.embedding_size,
        config.tie_weights,
        config.dtype,
        config.zoneout,
        config.layer_norm,
    )
    if initial is not None:
        notes += warm_start_notes(config, corpus.vocabulary, initial)
    streams = make_streams(config, corpus, splits)
    steps_per_epoch = streams.chunks_per_epoch
    if corpus.items is not None and idle_note(streams):
        notes += (idle_note(streams),)
    if not splits.validates:
        notes += ("no validation text, so the last checkpoint is the result",)
    config, total, validated, more = _measured(config, splits.val, steps_per_epoch)
    notes += more
    if config.dropout is None:
        epochs = UNKNOWN_EPOCHS if total is None else total / steps_per_epoch
        config = dataclasses.replace(config, dropout=dropout_of(epochs))
    _refuse_blind_waiting(config, validated)
    told = notes, None, initial, _count(corpus), defaults_of(asked, config, splits.validates)
    plan = Plan(config, model_config, splits, steps_per_epoch, total, validated, *told)
    if not sized and initial is None:
        _refuse_unsized(plan)
    if must_fit:
        check_memory(plan.memory_needed(), available_memory())
    return plan


def has_to_be_paced(plan):
    """Say whether a plan has defaults that the length in epochs decides, which under --minutes the speed decides."""
    may_be_short = "minutes" in plan.chosen and _most_epochs(plan) < math.inf
    return plan.config.minutes is not None and ("dropout" in plan.chosen or may_be_short)


def _most_epochs(plan):
    return max_epochs(plan.splits.train[1] - plan.splits.train[0], plan.steps_per_epoch)


def paced(plan, step_s):
    """Return the plan of a run by the clock with the defaults that its length in epochs decides.

    Where the user named no length, a run that would read a short text too often is one of as many epochs as are good
    for it.

    step_s : seconds of a step forward and back, measured
    """
    config, chosen = plan.config, dict(plan.chosen)
    epochs = config.minutes * 60 * STEPPING_SHARE / step_s / plan.steps_per_epoch
    most = _most_epochs(plan)
    if "minutes" in chosen and epochs > most:
        epochs = most
        config, total, validated, notes = _measured(
            dataclasses.replace(config, minutes=None, epochs=most), plan.splits.val, plan.steps_per_epoch
        )
        named = {name: value for name, value in chosen.items() if name != "minutes"}
        open_interval = plan.config.eval_every is None and plan.splits.validates
        interval = {"eval_every": config.eval_every} if open_interval else {}
        chosen = {"epochs": most, **named, **interval}
        plan = dataclasses.replace(plan, total_steps=total, validated=validated, notes=plan.notes + notes)
    if "dropout" in chosen:
        chosen["dropout"] = dropout_of(epochs)
        config = dataclasses.replace(config, dropout=chosen["dropout"])
    return dataclasses.replace(plan, config=config, chosen=chosen, step_s=step_s)


def _measured(config, val, steps_per_epoch):
    """Return (the config with its intervals in steps, its steps, what is validated on, notes)."""
    total = total_steps(config, steps_per_epoch)
    validated, notes = shorten_split(config, val, total), ()
    if validated != val:
        notes = (shortened_note(validated, val, "the training until the next validation"),)
    config = dataclasses.replace(config, **default_intervals(config, validated, total, steps_per_epoch))
    return config, total, validated, notes


def _count(corpus):
    return 0 if corpus.items is None else len(corpus.items)


def plan_resume(checkpoint, corpus, asked=None):
    """Plan to resume a run.

    Parameters
    ----------
    checkpoint : Checkpoint
        The `last` checkpoint of the run.
    corpus : Corpus
        The text of the run.
    asked : dict, optional
        {option name: value}, the options given for resuming; `resuming.resume_config` says which may change.

    Returns
    -------
    Plan

    Raises
    ------
    ConfigError
        An option contradicts the run, or the run is already finished.
    CorpusError
        The text is not the one that the run was started with.
    CheckpointError
        The training record of the checkpoint is damaged.
    """
    training = checkpoint.training
    before, config = stored_config(training), resumed_config(training, asked or {})
    if "step" not in training or "cursor" not in training:
        raise ConfigError(f"the checkpoint holds a model but no run that could be resumed: {START_ANEW}")
    check_agreement(config, checkpoint)
    check_corpus(training, corpus, f"restore the old text, or {START_ANEW}")
    check_record(training, corpus.characters)
    splits = corpus.split(config.val_fraction, config.test_fraction)
    streams = make_streams(config, corpus, splits)
    streams.seek(training["cursor"])
    steps_per_epoch = streams.chunks_per_epoch
    total = total_steps(config, steps_per_epoch)
    step, kind, waiting = training["step"], config.length_kind, Waiting.from_record(training)
    if training.get("finished") and waiting.is_over(before.patience) and waiting.is_over(config.patience):
        best = training["best"] or {"step": None}
        raise ConfigError(
            f"the run is finished at step {step:,}, {ended_note(before.patience, best['step'])}; to train it further, "
            f"give --patience a value above {config.patience}",
            options=["patience"],
        )
    done = training.get("finished") and not waiting.is_over(before.patience)
    done = done and kind is not None and getattr(config, kind) == getattr(before, kind)
    if done or total is not None and step >= total and training["evaluated_step"] == step:
        assert kind is not None  # a run without a length has no total
        raise ConfigError(
            f"the run is finished at step {step:,}; to train it further, give --{kind} a value above "
            f"{getattr(config, kind):g}",
            options=[kind],
        )
    model_config = ModelConfig(vocab_size=checkpoint.vocabulary.size, **checkpoint.model)
    notes = _stretch_notes(before, config, training, steps_per_epoch)
    validated = tuple(training["validated"])
    return Plan(
        config, model_config, splits, steps_per_epoch, total, validated, notes, checkpoint, items=_count(corpus)
    )


def _refuse_blind_waiting(config, validated):
    """Refuse to wait for a lower validation loss where there is nothing to validate on."""
    if validated[0] < validated[1]:
        return
    for name in ("patience", "schedule"):
        value = getattr(config, name)
        if value == "plateau" or name == "patience" and value is not None:
            raise ConfigError(
                f"--{name} {value} needs validations, but the text is too short for a validation split: raise "
                "--val-fraction, or use a longer text",
                options=[name, "val_fraction"],
            )


def _refuse_unsized(plan):
    """Refuse the default size of a model where a text is too short for it: any model would memorise it."""
    characters, parameters = plan.splits.train[1] - plan.splits.train[0], num_parameters(plan.model_config)
    if characters < MIN_UNSIZED:
        raise ConfigError(
            f"the training split has only {counted(characters, 'character')}, and the default model, with "
            f"{parameters:,} parameters, would memorise them: name a longer text, or choose a size, such as "
            "--hidden-size 16 --num-layers 1",
            options=SIZES,
        )


def _stretch_notes(before, after, training, steps_per_epoch):
    """Say what a longer length does to the learning rate: a schedule over the run is stretched, and the rate jumps."""
    step = training["step"]
    rates = []
    for config in (before, after):
        if config.is_endless:
            progress = 0.0
        elif config.minutes is None:
            progress = (step + 0.5) / total_steps(config, steps_per_epoch)
        else:
            progress = training["elapsed_s"] / (config.minutes * 60)
        rate = config.make_schedule().learning_rate(progress=progress, step=step, epoch=step // steps_per_epoch)
        rates.append(f"{rate:.2g}")
    if rates[0] == rates[1]:
        return ()
    return (
        f"the run is longer now, so its {after.schedule} schedule is stretched: the learning rate continues at "
        f"{rates[1]} instead of {rates[0]}",
    )
