"""Options of a run that contradict each other. Knows the options by name; imports neither numpy nor numba."""

from charrnn.errors import ConfigError
from charrnn.spec import CELLS
from charrnn.text.item_kinds import check_items
from charrnn.training.defaults import VAL_FRACTION, WEIGHT_DECAYS, is_endless, schedule_of
from charrnn.training.settings import option, shown

MOMENTUM_OPTIMIZERS = ("sgd",)


def check_together(config, lengths):
    """Raise ConfigError if two options of a TrainingConfig contradict. lengths : names of options that set a length"""
    if config.val_fraction + config.test_fraction >= 1:
        raise ConfigError(
            f"--val-fraction {config.val_fraction:g} and --test-fraction {config.test_fraction:g} leave no text to "
            "train on: their sum must be below 1",
            ["val_fraction", "test_fraction"],
        )
    named = [name for name in lengths if getattr(config, name) is not None]
    if len(named) > 1:
        raise ConfigError(
            f"{' and '.join(map(option, named))} both say how long to train: leave one of them out", named
        )
    if config.vocab == "bytes" and config.min_count > 1:
        raise ConfigError(
            f"--min-count {config.min_count} counts characters, but --vocab bytes has at most 256 symbols: leave one "
            "of them out",
            ["min_count", "vocab"],
        )
    _check_validation_text(config)
    _check_ending(config, bool(named))
    if config.vocab == "bytes" and config.rewriting:
        raise ConfigError(
            f"{config.rewriting} rewrites characters, but --vocab bytes reads bytes as they are: leave one of them out",
            ["vocab", *config.rewriting.to_json()],
        )
    check_items(config)
    if config.tie_weights and config.embedding_size != config.hidden_size:
        raise ConfigError(
            f"--tie-weights needs --embedding-size equal to --hidden-size, got {config.embedding_size} and "
            f"{config.hidden_size}: add --embedding-size {config.hidden_size}",
            ["tie_weights", "embedding_size", "hidden_size"],
        )
    if config.forget_bias is not None and CELLS[config.cell].forget_gate is None:
        having = [name for name, cell in CELLS.items() if cell.forget_gate]
        raise ConfigError(
            f"--forget-bias {config.forget_bias:g} has no effect with --cell {config.cell}, which has no forget gate: "
            f"leave it out, or use --cell {' or '.join(having)}",
            ["forget_bias", "cell"],
        )
    if config.momentum and config.optimizer not in MOMENTUM_OPTIMIZERS:
        raise ConfigError(
            f"--momentum {config.momentum:g} has no effect with --optimizer {config.optimizer}: leave it out, or use "
            "--optimizer sgd",
            ["momentum", "optimizer"],
        )
    if config.weight_decay and config.optimizer not in WEIGHT_DECAYS:
        raise ConfigError(
            f"--weight-decay {config.weight_decay:g} has no effect with --optimizer {config.optimizer}: leave it out, "
            f"or use --optimizer {' or '.join(WEIGHT_DECAYS)}",
            ["weight_decay", "optimizer"],
        )


def _check_validation_text(config):
    """Raise ConfigError where --val-text and the share of the text to validate on contradict, or --unknown is idle."""
    if config.unknown != "error" and config.val_text is None and not config.keep_vocabulary:
        raise ConfigError(
            f"--unknown {config.unknown} has no effect without --val-text or --keep-vocabulary: leave it out",
            ["unknown", "val_text", "keep_vocabulary"],
        )
    if config.min_count > 1 and config.keep_vocabulary:
        raise ConfigError(
            f"--min-count {config.min_count} builds the vocabulary from the text, but --keep-vocabulary keeps that of "
            "the weights: leave one of them out",
            ["min_count", "keep_vocabulary"],
        )
    if config.val_text is None:
        return
    if config.val_text == "":
        raise ConfigError("--val-text must name a file, got ''", ["val_text"])
    if config.val_fraction not in (0, VAL_FRACTION):
        raise ConfigError(
            f"--val-text {config.val_text} is the validation text, but --val-fraction {config.val_fraction:g} asks "
            "for a part of the text: leave one of them out",
            ["val_text", "val_fraction"],
        )


def _check_ending(config, has_length):
    """Raise ConfigError where --patience or the plateau schedule asks for what the other options rule out."""
    schedule = schedule_of(config, has_length)
    wants = [] if config.patience is None else [("patience", config.patience)]
    if schedule == "plateau" and config.schedule is not None:
        wants.append(("schedule", schedule))
    for name, value in wants:
        for off, remedy in (("eval_every", "leave --eval-every out"), ("val_fraction", "give --val-fraction a share")):
            if off == "val_fraction" and config.val_text is not None:
                continue
            if getattr(config, off) == 0:
                raise ConfigError(
                    f"{option(name)} {value} needs validations, but {option(off)} 0 turns them off: {remedy}",
                    [name, off],
                )
    if is_endless(config, has_length) and config.warmup and config.warmup < 1:
        raise ConfigError(
            f"--warmup {shown(config.warmup)} is a share of the run, but a run that only --patience ends has no known "
            "length: give --warmup a number of steps, such as 200, or add --steps, --epochs or --minutes",
            ["warmup", "patience"],
        )
    if config.patience is not None and schedule == "plateau" and config.patience <= config.plateau_wait:
        raise ConfigError(
            f"--patience {config.patience} ends the run before the plateau schedule lowers the learning rate (after "
            f"{config.plateau_wait} validations without improvement, --plateau-wait): use --patience "
            f"{2 * config.plateau_wait + 1} or a lower --plateau-wait",
            ["patience", "plateau_wait"],
        )
