"""charrnn train: options in, a run folder out. What a run does is the trainer's; what it shows, the display's."""

import contextlib
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from charrnn.cli.checks import check_bounds
from charrnn.cli.config import texts_beside
from charrnn.cli.display import Nothing, make_display
from charrnn.cli.options import NEWEST, PARAMETERS, SectionedCommand
from charrnn.cli.signals import signals_stop
from charrnn.cli.words import duration, kept_in, loss_text, printable, quoted, tell, unlike_line
from charrnn.distributed.group import find_group, leave_early, together
from charrnn.errors import ConfigError, StorageError, counted
from charrnn.text.item_kinds import inferred
from charrnn.text.task_names import CLASSIFY
from charrnn.training.options import LENGTHS, NAMES, TrainingConfig

WONDER = 0.04  # test and validation loss that differ by this share want an explanation


class _TrainCommand(SectionedCommand):
    """Of several processes, one that cannot read its command line ends the others too, which would wait for it."""

    def make_context(self, *arguments, **named):
        try:
            return super().make_context(*arguments, **named)
        except Exception as error:
            leave_early(error)
            raise


@click.command(name="train", cls=_TrainCommand, params=list(PARAMETERS))
@click.pass_context
def command(  # noqa: PLR0913 - click passes every option by its name
    ctx, text, threads, output, resume, init_from, config, quiet, **_settings
):
    """Train a model on your own text.

    \b
    Example: charrnn train shakespeare.txt --minutes 5

    TEXT is one or more files, folders or globs, or - for stdin; .gz, .bz2, .xz and .zst are read as text. Of a
    folder, run folders and checkpoints are left out. The run folder holds last.safetensors, best.safetensors,
    log.jsonl and config.toml, and good.safetensors until the run is finished, where it goes back to when it diverges.
    Ctrl-C saves; --resume goes on.
    """
    from charrnn.cli.progress import announce_compilation

    group, display = find_group(), Nothing()
    try:
        if group.size > 1:
            from charrnn.training.agreement import compare_starts

            compare_starts(group, resume is not None)
        asked = _asked(ctx)
        _check(asked, text, threads, resume, init_from)
        if group.rank == 0:
            display = make_display(quiet)
        ctx.call_on_close(announce_compilation(display.note))
        from charrnn.kernels import num_threads, set_num_threads

        # Refused before a folder is made. Processes on one machine share its CPUs.
        set_num_threads(max(1, num_threads() // group.neighbours) if threads is None else threads)
        if ctx.get_parameter_source("text") == ParameterSource.DEFAULT_MAP:
            text = texts_beside(config, text, f"--config {config}", display.note)
        if ctx.get_parameter_source("init_from") == ParameterSource.DEFAULT_MAP and not init_from.exists():
            init_from = config.parent / init_from
        if "val_text" in asked:
            beside = ctx.get_parameter_source("val_text") == ParameterSource.DEFAULT_MAP
            asked["val_text"] = _text_path(asked["val_text"], config if beside else None)
        if resume is not None:
            _resume(resume, output, text, asked, display, group)
        else:
            _start(text, asked, output, init_from, display, group)
    except BaseException as error:
        display.close()
        group.leave(error)
        raise
    finally:
        display.close()


def _check(asked, text, threads, resume, init_from):
    """Raise ConfigError for what is wrong without looking at the text: said before that is read."""
    if resume is not None and init_from is not None:
        raise ConfigError(
            "--resume goes on with a run and --init-from starts a new one: leave one of them out",
            ["resume", "init_from"],
        )
    if resume is None and not text:
        raise ConfigError("nothing to train on: name one or more texts, as in 'charrnn train shakespeare.txt'")
    check_bounds({"threads": threads}, ("threads", 1, None))
    if resume is None and init_from is None:
        TrainingConfig(**inferred(text, asked))


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


def _text_path(path, config):
    """Return where a validation text is: as it is named, or else beside the file of options that names it."""
    if config is None or Path(path).exists():
        return path
    return str(config.parent / path)


def _start(text, asked, output, init_from, display, group):
    from charrnn.training.launch import new_run

    with contextlib.ExitStack() as stack:
        with _reading(display) as progress:
            run = new_run(
                text, asked, output=output, init_from=init_from, say=display.note, progress=progress, group=group
            )
            trainer = stack.enter_context(run)
        _train(trainer, display, group)


def _resume(run, output, text, asked, display, group):
    from charrnn.runs.folder import RunFolder
    from charrnn.runs.names import BEST
    from charrnn.runs.snapshots import is_snapshot, run_from_snapshot
    from charrnn.training.launch import resumed_run

    def open_folder():
        if is_snapshot(run):
            return run_from_snapshot(run, output, display.note)
        return RunFolder.open(None if run == NEWEST else run)

    if output is not None and not is_snapshot(run):
        if run != NEWEST and Path(run).resolve() != output.resolve():
            raise ConfigError(
                f"--resume {run} and --output {output} name two runs: leave one of them out", ["resume", "output"]
            )
        run = output
    with contextlib.ExitStack() as stack:
        folder = together(group, lambda: stack.enter_context(open_folder()) if group.rank == 0 else None)
        if folder is None:
            pass
        elif run == NEWEST:
            display.note(f"resuming {folder.path}")
        elif Path(run).name == folder.good.name:
            display.note(f"a run goes on where it stopped, from {folder.last}")
        with _reading(display) as progress:
            resumed = resumed_run(
                folder,
                asked,
                texts=text,
                from_best=run != NEWEST and Path(run).name == BEST,
                say=display.note,
                progress=progress,
                group=group,
            )
            trainer = stack.enter_context(resumed)
        _train(trainer, display, group)


@contextlib.contextmanager
def _reading(display):
    """Yield a progress function for the text: a bar on a terminal; in a file one note, when reading takes a while."""
    from charrnn.cli.display import Live
    from charrnn.cli.progress import reading_bar

    if isinstance(display, Live):
        with reading_bar() as progress:
            yield progress
        return
    begun, said = time.monotonic(), []

    def progress(_done, total):
        if not said and time.monotonic() - begun > 1:
            said.append(True)
            display.note("reading the text" + (f", {total / 1e6:,.0f} MB" if total else ""))

    yield progress


def _train(trainer, display, group):
    """Run the trainer to its end; a first Ctrl-C or a SIGTERM ends it saved, a second Ctrl-C at once."""
    from charrnn.runs.checkpoint import read_metadata
    from charrnn.training.records import Finished

    folder, finished, announced = trainer.folder, None, False
    again = f"charrnn train --resume {quoted(folder.path)}"
    if group.size > 1:
        again = f"mpiexec -n {group.size} {again}"
    died = "Error: a process of this run has died, and the others were ended; "
    words = (
        f"{died}nothing was saved yet: give the same command again",
        f"{died}resume from what was saved last, with any number of processes: {again}",
    )
    try:
        with signals_stop(trainer.stop) as received, group.last_words(*words, folder.last):
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
                f"{error}; the checkpoint of step {step:,} stands, go on from it with: {again}"
            ) from error
        raise
    display.close()
    # All end with the same code: launchers combine the codes. A signal may have come to only one process.
    signals = [number for numbers in group.gather(received[:1]) for number in numbers]
    if group.rank == 0:
        with kept_in(f"the run is saved, and shown by: charrnn info {quoted(finished.folder)}"):
            _report(finished, trainer, display, again)
    if finished.resumable:
        sys.exit(128 + signals[0] if signals else 1)


def _report(finished, trainer, display, again):
    """Say the result on stdout, and on stderr what to do next.

    again    the command that resumes the run
    """
    from charrnn.cli.display import Quiet

    run = quoted(finished.folder)
    if finished.resumable:
        saved = "saved; go on with"
        if finished.saved_step != finished.step:
            saved = (
                "but its state holds numbers that are not finite and was not saved: the checkpoint of step "
                f"{finished.saved_step:,} stands; go on from it with"
            )
        display.note(
            f"stopped at step {finished.step:,} after {duration(finished.elapsed_s)}, {saved}:\n  {again}",
            important=True,
        )
        return
    rows, per = [], "label" if trainer.plan.config.task == CLASSIFY else "character"
    if finished.best_loss_nats is not None:
        part = "" if finished.val_is_whole else f", on its first {finished.val_characters:,} characters"
        rows.append(("validation", f"{loss_text(finished.best_loss_nats, per)}, at step {finished.best_step:,}{part}"))
    elif finished.smoothed_loss_nats is not None:
        rows.append(("training", loss_text(finished.smoothed_loss_nats, per)))
    if finished.test is not None:
        rows.append(("test", loss_text(finished.test.loss_nats, per)))
    rows.append(
        ("trained", f"{counted(finished.step, 'step')}, {finished.epoch:.2f} epochs, {duration(finished.elapsed_s)}")
    )
    if finished.because is not None:
        rows.append(("ended", finished.because))
    rows.append(("checkpoint", printable(str(finished.checkpoint), sys.stdout)))
    for name, value in rows:
        tell(f"{name:<10}  {value}", 12)
    if type(display) is not Quiet:
        for part in _unlike_parts(finished, trainer):
            display.note(unlike_line(part, len(trainer.corpus.sources)))
    if finished.because is None and finished.best_step is not None and finished.best_step < 0.7 * finished.step:
        display.note(
            f"the validation loss has not fallen since step {finished.best_step:,}: the model learns the training "
            "text by heart; a longer text, a smaller --hidden-size, more --dropout or a shorter run mends it"
        )
    display.note(f"next: {_first_use(run, trainer)}\n      charrnn info {run}")


def _first_use(run, trainer):
    """Return the command that shows what a run's model does."""
    from charrnn.cli.item_samples import first_use

    reading = trainer.plan.config.items_reading
    return first_use(run, None if reading is None else reading.task, trainer.corpus.vocabulary)


def _unlike_parts(finished, trainer):
    """Return the UnlikeParts of a run's text, looked for where test and validation loss differ noticeably."""
    if finished.test is None or finished.best_loss_nats is None:
        return []
    reading = trainer.plan.config.items_reading
    if reading is not None and reading.task is not None:  # n-grams would tell of what is not asked
        return []
    low, high = sorted((finished.test.loss_nats, finished.best_loss_nats))
    if high < (1 + WONDER) * low:
        return []
    from charrnn.evaluation.parts import find_unlike_parts

    corpus = trainer.corpus
    return find_unlike_parts(
        corpus.ids, trainer.plan.splits, corpus.vocabulary.size, start_id=corpus.vocabulary.start_id
    )
