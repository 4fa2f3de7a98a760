"""charrnn train: options in, a run folder out. What a run does is the trainer's; what it shows, the display's."""

import contextlib
import sys
import time
from pathlib import Path

import click
from click.core import ParameterSource

from charrnn.cli.checks import check_bounds
from charrnn.cli.config import texts_beside, validation_beside
from charrnn.cli.display import Nothing, make_display
from charrnn.cli.options import NEWEST, PARAMETERS, SectionedCommand
from charrnn.cli.signals import signals_stop
from charrnn.cli.words import duration, kept_in, loss_text, note, printable, quoted, tell
from charrnn.distributed.group import find_group, leave_early, together
from charrnn.errors import ConfigError, StorageError, counted
from charrnn.text.item_kinds import inferred
from charrnn.text.task_names import CLASSIFY
from charrnn.training.options import LENGTHS, NAMES, TrainingConfig


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
    ctx, text, threads, output, resume, init_from, dry_run, config, quiet, **_settings
):
    """Train a model on your own text.

    \b
    Example: charrnn train shakespeare.txt --minutes 5

    TEXT is one or more files, folders or globs, or - for stdin. Compressed files (.gz, .bz2, .xz, .zst) are read as
    text. If TEXT is a folder, charrnn's own output in it (run folders and checkpoints) is skipped.

    A run is a folder with best.safetensors (lowest validation loss), last.safetensors, log.jsonl and config.toml.
    While the run is unfinished there is also good.safetensors: if the loss becomes infinite or far too high, the run
    goes back to this state. Ctrl-C saves and stops; --resume continues.
    """
    from charrnn.cli.progress import announce_compilation

    group, display = find_group(), Nothing()
    try:
        if group.size > 1:
            from charrnn.training.agreement import compare_starts

            compare_starts(group, resume is not None)
        asked = _asked(ctx)
        if dry_run and resume is not None:
            raise ConfigError(
                "--dry-run shows what a new run would do, and --resume continues one: leave one of them out",
                ["dry_run", "resume"],
            )
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
            asked["val_text"] = validation_beside(config, asked["val_text"]) if beside else asked["val_text"]
        if resume is not None:
            _resume(resume, output, text, asked, display, group)
        else:
            _start(text, asked, output, init_from, display, group, dry_run)
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
            "--resume continues a run and --init-from starts a new one: leave one of them out", ["resume", "init_from"]
        )
    if resume is None and not text:
        raise ConfigError("no text to train on: give one or more texts, as in 'charrnn train shakespeare.txt'")
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


def _start(text, asked, output, init_from, display, group, dry_run):  # noqa: PLR0913, PLR0917 - all that says what to do
    from charrnn.training.launch import new_run, planned_run

    make = planned_run if dry_run else new_run
    with contextlib.ExitStack() as stack:
        with _reading(display) as progress:
            run = make(
                text, asked, output=output, init_from=init_from, say=display.note, progress=progress, group=group
            )
            trainer = stack.enter_context(run)
        if dry_run:
            _show_plan(trainer, display, group)
        else:
            _train(trainer, display, group)


def _show_plan(trainer, display, group):
    """Show what a run would do, and that it was not begun."""
    from charrnn.cli.display import preflight_lines
    from charrnn.training.records import Preflight

    for record in trainer.run():
        if not isinstance(record, Preflight):
            display.show(record)
        elif group.rank == 0:
            for line in preflight_lines(record):
                tell(line, 8)
            note("this was a dry run: nothing was trained or written. Leave out --dry-run to train")


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
                f"--resume {run} and --output {output} name two different runs: leave one of them out",
                ["resume", "output"],
            )
        run = output
    with contextlib.ExitStack() as stack:
        folder = together(group, lambda: stack.enter_context(open_folder()) if group.rank == 0 else None)
        if folder is None:
            pass
        elif run == NEWEST:
            display.note(f"resuming {folder.path}")
        elif Path(run).name == folder.good.name:
            display.note(f"a run resumes where it stopped, from {folder.last}")
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
    """Run the trainer to its end.

    A first Ctrl-C or a SIGTERM ends it saved. A second Ctrl-C, or anything before the first step, ends it at once.
    """
    from charrnn.runs.checkpoint import read_metadata
    from charrnn.training.records import Finished, Preflight

    folder, finished, announced = trainer.folder, None, False
    prepared = group.size > 1  # processes of a group stop together, as in training
    again = f"charrnn train --resume {quoted(folder.path)}"
    if group.size > 1:
        again = f"mpiexec -n {group.size} {again}"
    died = "Error: a process of this run has died, and the others were ended; "
    words = (
        f"{died}nothing was saved yet: start it again with the same command",
        f"{died}resume from the last checkpoint, with any number of processes: {again}",
    )

    def stop():
        if not prepared:  # there is no step to finish, and compiling takes long
            raise KeyboardInterrupt
        trainer.stop()

    received = []
    try:
        with signals_stop(stop) as received, group.last_words(*words, folder.last):
            for record in trainer.run():
                prepared = prepared or isinstance(record, Preflight)
                if received and not announced:
                    announced = True
                    display.note(
                        "saving and stopping after this step (press Ctrl-C again to stop at once, without saving)"
                    )
                if isinstance(record, Finished):
                    finished = record
                display.show(record)
    except KeyboardInterrupt:
        if prepared or not received:
            raise
        display.close()
        display.note("stopped before the first step of this session: nothing was trained", important=True)
        sys.exit(128 + received[0])
    except StorageError as error:
        if folder.last.exists():
            step = read_metadata(folder.last)["training"]["step"]
            raise StorageError(
                f"{error}; the checkpoint of step {step:,} is intact, resume it with: {again}"
            ) from error
        raise
    display.close()
    # All end with the same code: launchers combine the codes. A signal may have come to only one process.
    signals = [number for numbers in group.gather(received[:1]) for number in numbers]
    if group.rank == 0:
        with kept_in(f"the run is saved; see it with: charrnn info {quoted(finished.folder)}"):
            _report(finished, trainer, display, again)
    if finished.resumable:
        sys.exit(128 + signals[0] if signals else 1)


def _report(finished, trainer, display, again):
    """Say the result on stdout, and on stderr how good it is and what to do next.

    again    the command that resumes the run
    """
    from charrnn.cli.after_training import next_commands, show_finished
    from charrnn.cli.display import Quiet

    if finished.resumable:
        saved = "saved; resume it with"
        if finished.saved_step != finished.step:
            saved = (
                "but its state has numbers that are not finite, so it was not saved; resume the checkpoint of step "
                f"{finished.saved_step:,} with"
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
        show_finished(finished, trainer, display)
    first, *others = next_commands(finished.folder, trainer)
    display.note("\n".join([f"next: {first}", *(f"      {other}" for other in others)]))
