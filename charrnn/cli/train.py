"""charrnn train: options in, a run folder out. What a run does is the trainer's; what it shows, the display's."""

import contextlib
import difflib
import signal
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from charrnn.cli.words import duration, loss_text, printable, quoted
from charrnn.errors import ConfigError, StorageError, counted
from charrnn.spec import CELLS, DTYPES, PRECISIONS
from charrnn.training.options import (
    BATCH_SIZE,
    DEFAULT_MINUTES,
    DEFAULTS,
    LEARNING_RATES,
    LENGTHS,
    NAMES,
    ON_DIVERGENCE,
    OPTIMIZERS,
    SEQ_LENGTH,
    VOCABULARIES,
    WARMUPS,
    WEIGHT_DECAYS,
    TrainingConfig,
    short,
)
from charrnn.training.schedules import SCHEDULES

LONGEST_CONFIG = 1 << 18  # bytes of a --config
NEWEST = ""  # the value of --resume without a RUN

# The headings of --help, and the options under each; tests/test_cli_train.py sees that every option has one. --help itself comes last.
SECTIONS = {
    "Model": ("cell", "hidden_size", "num_layers", "embedding_size", "tie_weights", "layer_norm"),
    "Length and batch": ("minutes", "epochs", "steps", "batch_size", "seq_length"),
    "Optimiser": (
        "optimizer",
        "learning_rate",
        "schedule",
        "warmup",
        "min_learning_rate",
        "decay",
        "decay_after",
        "momentum",
        "clip_norm",
        "clip_value",
        "on_divergence",
    ),
    "Regularisation": ("dropout", "variational_dropout", "weight_dropout", "zoneout", "weight_decay", "ema"),
    "Text": ("vocab", "encoding", "val_fraction", "test_fraction"),
    "Computing": ("seed", "threads", "dtype", "precision"),
    "Watching and saving": (
        "eval_every",
        "sample_every",
        "sample_length",
        "no_sample",
        "log_every",
        "checkpoint_every",
        "quiet",
    ),
    "The run": ("output", "resume", "init_from", "config"),
}
UNSORTED = "Help"


class SectionedCommand(click.Command):
    """A command whose help has its options under the headings of SECTIONS, what is in none of them, such as --help, under a last one."""

    def format_options(self, ctx, formatter):
        section_of = {name: heading for heading, names in SECTIONS.items() for name in names}
        options = [one for one in self.get_params(ctx) if isinstance(one, click.Option)]
        for heading in (*SECTIONS, UNSORTED):
            names = SECTIONS.get(heading, ())
            here = [one for one in options if section_of.get(one.name, UNSORTED) == heading]
            if here:
                with formatter.section(heading):
                    formatter.write_dl(
                        [
                            one.get_help_record(ctx)
                            for one in sorted(here, key=lambda one: names.index(one.name) if names else 0)
                        ]
                    )


def setting(name, help, kind=None, default=None, metavar=None, flag=False):
    """Make the click option of a TrainingConfig field; `default` is shown where the field's own is None."""
    value = getattr(DEFAULTS, name)
    flags = "--" + name.replace("_", "-")
    if flag:
        return click.option(f"{flags}/--no-{flags[2:]}", name, default=value, show_default=value, help=help)
    return click.option(
        flags,
        name,
        type=kind,
        default=value,
        metavar=metavar,
        help=help,
        show_default=default if value is None and default else value is not None,
    )


def by_name(values):
    return ", ".join(f"{name} {value:g}" for name, value in values.items())


def read_config(ctx, _parameter, path):
    """Put the options of a TOML file in the place of the defaults; the command line wins over them."""
    if path is None:
        return None
    known = [parameter.name for parameter in ctx.command.params if parameter.name != "config"]
    values = config_values(read_toml(path, f"--config {path}"), known, f"--config {path}")
    ctx.default_map = {**(ctx.default_map or {}), **values}
    return path


def read_toml(path, where):
    """Return a TOML file as a dict. `where` is what a message calls it."""
    import tomllib

    try:
        with open(path, "rb") as file:
            data = file.read(LONGEST_CONFIG + 1)
        if len(data) > LONGEST_CONFIG:
            raise ConfigError(
                f"{where} must be of at most {LONGEST_CONFIG:,} bytes, it is longer: name a file of options"
            )
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read {where}: {(error.strerror or str(error)).lower()}") from None
    except ValueError as error:  # beside what is no TOML and no UTF-8: a number of too many digits
        raise ConfigError(f"{where} is not TOML: {short(str(error), 200)}") from None
    except RecursionError:
        raise ConfigError(f"{where} is nested too deep: an option is a text, a number, true or false") from None


def config_values(options, known, where):
    """Return {name: value as click takes it} of options as a TOML file has them; ConfigError for one that is not `known`."""
    values = {}
    for key, value in options.items():
        name = key.replace("-", "_")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            near = near[0].replace("_", "-") if near else None
            remedy = f"did you mean {near!r}?" if near else "see charrnn train --help"
            raise ConfigError(f"{where} has the option {short(repr(key))}, which there is not: {remedy}")
        values[name] = _config_value(where, key, value, name == "text")
    return values


def _config_value(where, key, value, is_list):
    """Return a TOML value as click takes it: as text, so that 1.5 is no whole number and `true` no number at all."""
    if is_list:
        value = [value] if isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(one, str) for one in value):
            return value
    elif (
        isinstance(value, (str, float)) or isinstance(value, int) and abs(value) < 2**64
    ):  # str() refuses thousands of digits
        return str(value)
    raise ConfigError(f"{where} gives {key!r} a value that it cannot have: {short(value)}")


def typed_options(options, where):
    """Return {name: value} of training options as a TOML file has them, each of the type that the command line gives it."""
    parameters = {parameter.name: parameter for parameter in command.params}
    own = [key for key in options if key.replace("-", "_") in parameters and key.replace("-", "_") not in NAMES]
    if own:
        raise ConfigError(f"{where} has the option {own[0]!r}, which is no option of the training itself: leave it out")
    typed = {}
    for name, value in config_values(options, NAMES, where).items():
        try:
            typed[name] = parameters[name].type_cast_value(click.get_current_context(), value)
        except click.BadParameter as error:
            raise ConfigError(
                f"{where} gives {name.replace('_', '-')!r} a value that it cannot have: {error.message}"
            ) from None
    return typed


class OutputPath(click.Path):
    """A folder to be made; the empty name, which would be the current folder, is refused."""

    def convert(self, value, param, ctx):
        if str(value) == "":
            raise ConfigError("-o/--output must name a folder, got ''")
        return Path(super().convert(value, param, ctx))


@click.command(name="train", cls=SectionedCommand)
@click.argument("text", nargs=-1)
@setting("cell", "Recurrent cell.", click.Choice(tuple(CELLS)))
@setting("hidden_size", "Units a layer.", int, metavar="N")
@setting("num_layers", "Layers.", int, metavar="N")
@setting("embedding_size", "Size of a learned embedding of each character; 0 is one-hot.", int, metavar="N")
@setting(
    "tie_weights",
    "Share the embedding with the output layer (needs --embedding-size equal to --hidden-size).",
    flag=True,
)
@setting("layer_norm", "Normalise each gate's sums over the units of its layer.", flag=True)
@setting("batch_size", "Streams read in parallel.", int, f"{BATCH_SIZE}, fewer for a short text", "N")
@setting(
    "seq_length",
    "Truncate backpropagation after this many characters.",
    int,
    f"{SEQ_LENGTH}, fewer for a short text",
    "N",
)
@setting("epochs", "Train for this many passes over the training split.", float, metavar="N")
@setting("steps", "Train for this many optimiser steps.", int, metavar="N")
@setting(
    "minutes",
    "Train for this long, validation included; the schedule ends when the time does.",
    float,
    f"{DEFAULT_MINUTES:g}, where no length is named",
    "M",
)
@setting("optimizer", "Optimiser.", click.Choice(OPTIMIZERS))
@setting("learning_rate", "Highest learning rate.", float, by_name(LEARNING_RATES), "X")
@setting("schedule", "How the learning rate goes over the run.", click.Choice(SCHEDULES))
@setting(
    "warmup",
    "Let the learning rate rise first: below 1 a share of the run, from 1 on a number of steps.",
    float,
    f"{by_name(WARMUPS)}, others 0",
    "X",
)
@setting("min_learning_rate", "Where cosine ends, as a share of --learning-rate (0 to 1).", float, metavar="X")
@setting("decay", "Factor of the step schedule, an epoch.", float, metavar="X")
@setting("decay_after", "Epochs before the step schedule begins to decay.", int, metavar="N")
@setting("momentum", "Momentum, sgd only (0 to below 1).", float, metavar="X")
@setting("weight_decay", "Decoupled weight decay of every parameter, adamw only.", float, by_name(WEIGHT_DECAYS), "X")
@setting("clip_norm", "Scale the gradient down to this L2 norm; 0 is off.", float, metavar="X")
@setting("clip_value", "Clip each element of the gradient to this magnitude; 0 is off.", float, metavar="X")
@setting(
    "ema",
    "Decay of an average of the weights, which is what is validated, saved and sampled; 0 is off, 0.999 is usual.",
    float,
    metavar="X",
)
@setting(
    "on_divergence",
    "When the loss is no longer a number: go back to the last good state at half the learning rate, or stop.",
    click.Choice(ON_DIVERGENCE),
)
@setting("dropout", "Share of units dropped between layers and before the output (0 to below 1).", float, metavar="P")
@setting("variational_dropout", "Drop the same units at every step of a chunk.", flag=True)
@setting("weight_dropout", "Share of the recurrent weights dropped, anew each step (0 to below 1).", float, metavar="P")
@setting(
    "zoneout",
    "Share of units that keep their state at a step, of h and of an LSTM's c (0 to below 1); used in expectation later.",
    float,
    metavar="P",
)
@setting("vocab", "Model characters or bytes.", click.Choice(VOCABULARIES))
@setting("encoding", "Encoding of the text, for --vocab chars.", str, metavar="NAME")
@setting("val_fraction", "Share of the text to validate on, before the test split.", float, metavar="P")
@setting("test_fraction", "Share of the text to test on, at its end.", float, metavar="P")
@setting("seed", "Seed of initialisation, dropout and samples.", int, metavar="N")
@click.option(
    "--threads",
    type=int,
    metavar="N",
    show_default="all cores",
    help="Threads to compute with; the result does not depend on it.",
)
@setting("dtype", "Type of the numbers.", click.Choice(DTYPES))
@setting(
    "precision",
    "What matrix products multiply; bfloat16 is faster on a CPU with AVX512-BF16 and refused elsewhere.",
    click.Choice(PRECISIONS),
)
@setting(
    "eval_every",
    "Validate every N steps; 0 only at the end.",
    int,
    "so often that it takes 5 % of the time at most",
    "N",
)
@setting("log_every", "Write a line to the log every N steps.", int, "about 1000 lines a run", "N")
@setting("sample_every", "Show a sample every N steps; 0 never.", int, "often at first, then less", "N")
@setting("sample_length", "Characters a sample.", int, metavar="N")
@click.option("--no-sample", is_flag=True, help="Show no samples.")
@setting("checkpoint_every", "Save every N steps, beside once a minute or so.", int, metavar="N")
@click.option(
    "-o",
    "--output",
    type=OutputPath(),
    metavar="RUN",
    show_default="checkpoints/NAME-N",
    help="Folder of the run, to be made.",
)
@click.option(
    "--resume",
    is_flag=False,
    flag_value=NEWEST,
    metavar="[RUN]",
    help="Go on with a run; without RUN the newest under ./checkpoints. A longer --epochs, --steps or --minutes extends "
    "it, also when it is finished; cosine and a --warmup by share are then stretched over the new length.",
)
@click.option(
    "--init-from",
    type=click.Path(path_type=Path),
    metavar="CHECKPOINT",
    help="Start a new run from the weights of a checkpoint; the vocabularies are matched by character.",
)
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    metavar="FILE",
    callback=read_config,
    is_eager=True,
    help="TOML file with any of these options; the command line wins.",
)
@click.option("-q", "--quiet", is_flag=True, help="Show the result only.")
@click.pass_context
def command(ctx, text, threads, no_sample, output, resume, init_from, config, quiet, **_settings):
    """Train a model on your own text.

    \b
    Example: charrnn train shakespeare.txt --minutes 5

    TEXT is one or more files, folders or globs, or - for stdin; .gz, .bz2 and .xz are read as text. The run folder
    holds last.safetensors, best.safetensors, log.jsonl and config.toml, and good.safetensors until the run is
    finished, where it goes back to when it diverges. Ctrl-C saves; --resume goes on.
    """
    from charrnn.cli.display import announce_compilation, make_display

    asked = _asked(ctx)
    if resume is not None and init_from is not None:
        raise ConfigError("--resume goes on with a run and --init-from starts a new one: leave one of them out")
    if resume is None and not text:
        raise ConfigError("nothing to train on: name one or more texts, as in 'charrnn train shakespeare.txt'")
    if threads is not None and threads < 1:
        raise ConfigError(f"--threads must be at least 1, got {threads}")
    if resume is None and init_from is None:
        TrainingConfig(**asked)  # what is wrong without looking at the text is said before it is read
    display = make_display(quiet)
    try:
        ctx.call_on_close(announce_compilation(display.note))
        from charrnn.kernels import num_threads, set_num_threads

        set_num_threads(num_threads() if threads is None else threads)  # refused before a folder is made
        if resume is not None:
            _resume(resume, output, text, asked, no_sample, display)
        else:
            _start(text, asked, output, init_from, no_sample, display)
    finally:
        display.close()


def _asked(ctx):
    """Return {name: value} of the training options that the command line or the config file named."""
    named = {}
    for source in (ParameterSource.DEFAULT_MAP, ParameterSource.COMMANDLINE):
        names = [name for name in NAMES if ctx.get_parameter_source(name) == source]
        if source == ParameterSource.COMMANDLINE and any(name in LENGTHS for name in names):
            # A length on the command line takes the place of another kind in the file.
            named = {name: value for name, value in named.items() if name not in LENGTHS}
        named.update((name, ctx.params[name]) for name in names)
    return named


def _start(text, asked, output, init_from, no_sample, display):
    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint
    from charrnn.runs.folder import RunFolder
    from charrnn.training.trainer import Trainer, config_like, plan_run

    initial = None
    if init_from is None:
        config = TrainingConfig(**asked)
    else:
        initial = load_checkpoint(find_checkpoint(init_from))
        config = config_like(initial, asked)
    with contextlib.closing(_read(text, config, display)) as corpus:
        for note in corpus.notes:
            display.note(note)
        plan = plan_run(config, corpus, initial)
        made = output is None or not output.exists()
        with RunFolder.create(output, name="stdin" if text[0] == "-" else text[0]) as folder:
            try:
                _train(Trainer(plan, corpus, folder, text, samples=not no_sample), folder, display)
            finally:
                if not folder.last.exists():  # it failed before there was anything to keep
                    folder.close()
                    if made:
                        with contextlib.suppress(OSError):
                            folder.path.rmdir()


def _resume(run, output, text, asked, no_sample, display):
    from charrnn.runs.checkpoint import load_checkpoint
    from charrnn.runs.folder import RunFolder
    from charrnn.training.options import resume_config
    from charrnn.training.trainer import Trainer, find_texts, plan_resume, stored_config

    if output is not None:
        if run != NEWEST and Path(run).resolve() != output.resolve():
            raise ConfigError(f"--resume {run} and --output {output} name two runs: leave one of them out")
        run = output
    with RunFolder.open(None if run == NEWEST else run) as folder:
        if run == NEWEST:
            display.note(f"resuming {folder.path}")
        elif Path(run).is_file() and Path(run).name != folder.last.name:
            display.note(
                f"a run goes on where it stopped, from {folder.last}; to train on from {run}: --init-from {run}"
            )
        checkpoint = load_checkpoint(folder.last)
        config = stored_config(checkpoint.training)
        resume_config(config, asked)  # what contradicts is said before the text is read
        text = text or find_texts(checkpoint.training, folder.path)
        with contextlib.closing(_read(text, config, display)) as corpus:
            plan = plan_resume(checkpoint, corpus, asked)
            _train(Trainer(plan, corpus, folder, text, samples=not no_sample), folder, display)


def _read(text, config, display):
    """Read the corpus; say so when that takes a while."""
    from charrnn.text.corpus import read_corpus

    begun, said = time.monotonic(), []

    def progress(_done, total):
        if not said and time.monotonic() - begun > 1:
            said.append(True)
            display.note("reading the text" + (f", {total / 1e6:,.0f} MB" if total else ""))

    return read_corpus(text, mode=config.vocab, encoding=config.encoding, progress=progress)


def _train(trainer, folder, display):
    """Run the trainer to its end; a first Ctrl-C or a SIGTERM ends it saved, a second Ctrl-C at once."""
    from charrnn.runs.checkpoint import read_metadata
    from charrnn.training.trainer import Finished

    finished, announced = None, False
    try:
        with signals_stop(trainer.stop) as received:
            for record in trainer.run():
                if received and not announced:
                    announced = True
                    display.note("stopping after this step, saved (Ctrl-C again: at once, unsaved)")
                if isinstance(record, Finished):
                    finished = record
                display.show(record)
    except StorageError as error:
        if folder.last.exists():
            step = read_metadata(folder.last)["training"]["step"]
            raise StorageError(
                f"{error}; the checkpoint of step {step:,} stands, go on from it with: charrnn train --resume "
                f"{quoted(folder.path)}"
            ) from error
        raise
    display.close()
    _report(finished, display)
    if finished.resumable:
        sys.exit(128 + received[0] if received else 1)


@contextlib.contextmanager
def signals_stop(stop):
    """Let a first Ctrl-C, SIGTERM or SIGHUP call `stop` and a second Ctrl-C interrupt at once; yields the list of those received."""
    received = []

    def handler(number, _frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        stop()

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # What is ignored stays so: nohup means it.
    before = {
        number: signal.signal(number, handler) for number in signals if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)


def _report(finished, display):
    """Say the result on stdout, and on stderr what to do next."""
    run = quoted(finished.folder)
    if finished.resumable:
        display.note(
            f"stopped at step {finished.step:,} after {duration(finished.elapsed_s)}, saved; go on with:\n"
            f"  charrnn train --resume {run}",
            important=True,
        )
        return
    rows = []
    if finished.best_loss_nats is not None:
        part = "" if finished.val_is_whole else f", on its first {finished.val_characters:,} characters"
        rows.append(("validation", f"{loss_text(finished.best_loss_nats)}, at step {finished.best_step:,}{part}"))
    elif finished.smoothed_loss_nats is not None:
        rows.append(("training", loss_text(finished.smoothed_loss_nats)))
    if finished.test is not None:
        rows.append(("test", loss_text(finished.test.loss_nats)))
    rows.append(
        ("trained", f"{counted(finished.step, 'step')}, {finished.epoch:.2f} epochs, {duration(finished.elapsed_s)}")
    )
    rows.append(("checkpoint", printable(str(finished.checkpoint), sys.stdout)))
    for name, value in rows:
        click.echo(f"{name:<10}  {value}")
    if finished.best_step is not None and finished.best_step < 0.7 * finished.step:
        display.note(
            f"the validation loss has not fallen since step {finished.best_step:,}: the model learns the training "
            "text by heart; a longer text, a smaller --hidden-size, more --dropout or a shorter run mends it"
        )
    display.note(f"next: charrnn sample {run} --temperature 0.8\n      charrnn info {run}")
