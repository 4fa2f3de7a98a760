"""charrnn sweep: a specification in, a folder of runs and a table out. What a sweep does is the sweep room's."""

import contextlib
import json
import os
import re
from pathlib import Path

import click

from charrnn.cli.checks import check_bounds
from charrnn.cli.config import read_toml, texts_beside, validation_beside
from charrnn.cli.display import Nothing
from charrnn.cli.options import OutputPath, typed_options
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.progress import reading_bar
from charrnn.cli.signals import signals_stop
from charrnn.cli.sweep_display import make_display, others_lines
from charrnn.cli.sweep_tables import show_drafts, show_results
from charrnn.cli.words import kept_in, note, quoted
from charrnn.distributed.group import launched, launched_here
from charrnn.errors import CharRNNError, ConfigError, counted
from charrnn.training.spelling import spelt_in_file


class SpecCommand(PlainCommand):
    """A command whose training options stand in a file: what an error says of them is spelt as there."""

    def invoke(self, ctx):
        try:
            return super().invoke(ctx)
        except CharRNNError as error:
            error.args = (spelt_in_file(str(error)),)
            raise


@click.command(name="sweep", cls=SpecCommand)
@click.argument("spec", required=False, type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=OutputPath(),
    metavar="SWEEP",
    show_default="checkpoints/NAME-sweep-N",
    help="Folder of the sweep, to create or to continue.",
)
@click.option("--resume", type=OutputPath(), metavar="SWEEP", help="Continue a sweep with the SPEC that was used last.")
@click.option(
    "--jobs",
    type=int,
    metavar="N",
    show_default="one model at a time, on all threads",
    help="Train N models at the same time, each on one thread.",
)
@click.option(
    "--workers",
    is_flag=True,
    help="Work on SWEEP together with other commands like this one, on any machines that can see the folder.",
)
@click.option("--table", is_flag=True, help="Show the table of SWEEP and its workers, and do not train.")
@click.option("--dry-run", is_flag=True, help="List the runs with their parameters and memory, and do not train.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV.")
@file_option("svg", "Write an SVG drawing of the losses of the best runs over the steps.")
@force_option("svg")
@click.option("-q", "--quiet", is_flag=True, help="Show only the result.")
def command(  # noqa: PLR0913 - click passes every option by its name
    spec, output, resume, jobs, workers, table, dry_run, as_json, as_csv, quiet, **options
):
    """Train a grid of models and compare them.

    \b
    Example: charrnn sweep grid.toml --jobs 2

    \b
    SPEC is a TOML file with three parts: options of charrnn train for all
    runs; under [grid], lists of values to combine; under [[run]], single
    additional runs. Example:
      text = ["shakespeare.txt"]
      minutes = 5
      [grid]
      cell = ["lstm", "gru"]
      dropout = [0, 0.2]
      seed = [1, 2, 3]
      [[run]]
      hidden_size = 512

    SWEEP is the folder of the sweep. It contains results.json, results.csv and one folder per run. Without -o or
    --resume, each call starts a new SWEEP. To continue an earlier sweep, give its folder with -o: charrnn then trains
    the unfinished runs and the runs that you added to SPEC. --resume SWEEP does the same, but uses the SPEC that was
    used last. If a run fails, the table shows the reason, the other runs continue, and the exit code is 1. Ctrl-C saves
    and stops. A run that diverged is not repeated, because it would diverge again; remove its folder to train it again.

    With --workers, any number of commands can work on the same SWEEP: start charrnn sweep grid.toml -o SWEEP --workers
    on each machine. Each worker trains runs that no other worker has taken, and ends when all runs are finished. If a
    worker stops or dies, the others take over its run. Under mpiexec, each process is a worker.
    """
    rank, size = launched()
    workers = workers or size > 1
    if rank > 0 and (dry_run or table):  # the first process shows it
        return 0
    if (spec is None) == (resume is None):
        raise ConfigError(
            "give either a SPEC, as in 'charrnn sweep grid.toml', or a sweep to continue, with --resume SWEEP",
            ["resume"],
        )
    if resume is not None and output is not None:
        raise ConfigError("--resume already gives the folder of the sweep: leave -o/--output out", ["resume", "output"])
    check_bounds({"jobs": jobs}, ("jobs", 1, None))
    if as_json and as_csv:
        raise ConfigError("--json and --csv contradict each other: leave one of them out", ["json", "csv"])
    if dry_run and options["svg"] is not None:
        raise ConfigError(
            "--svg draws what was trained, but --dry-run does not train: leave one of them out", ["svg", "dry_run"]
        )
    if workers and not (dry_run or table):
        _check_workers(resume or output)
    if table and (resume is None or dry_run):
        raise ConfigError("--table shows an existing sweep: name it, as in --resume SWEEP --table", ["table"])
    outputs = Outputs(options if rank == 0 else {**options, "svg": None}, "svg")
    from charrnn.files.own import SPEC

    if resume is not None:
        spec, output = resume / SPEC, resume
        if not spec.is_file():
            raise ConfigError(f"{resume} contains no sweep to continue: {_instead_of(resume)}")
    read = _read_spec(spec, resume, output)

    for text in read.texts:
        outputs.protect(text)
    outputs.protect(spec)
    from charrnn.kernels import num_threads
    from charrnn.sweep.drafts import draft
    from charrnn.sweep.folder import join_sweep, open_sweep, unfinished_sweep
    from charrnn.sweep.members import live_workers
    from charrnn.sweep.points import differing, make_points
    from charrnn.sweep.results import DIVERGED, FAILED, FINISHED, RESULTS_JSON, STOPPED, WAITING, sort_results
    from charrnn.sweep.shared import SharedSweep
    from charrnn.sweep.sweep import Sweep
    from charrnn.sweep.updates import unequal_updates

    points = make_points(read)
    quiet = quiet or rank > 0
    with contextlib.nullcontext() if quiet else reading_bar() as progress:
        drafts = draft(points, read.texts, progress, None if quiet else note)
    unequal = unequal_updates(drafts)
    if dry_run:
        there = output is not None and (output / SPEC).is_file()
        made = Sweep(read, drafts, output).results.values() if there else ()  # in the order of the drafts
        states = {one.point.name: found.state for one, found in zip(drafts, made)}
        show_drafts(drafts, differing(points), states, as_json, as_csv)
        if unequal:
            note(unequal)
        return 0
    unfinished = None if output is not None else unfinished_sweep(read.source)
    if table:
        made = Sweep(read, drafts, output)
        for line in others_lines(live_workers(output)):
            note(f"at work: {line}")
        _show(made, as_json, as_csv)
        return 0
    with contextlib.ExitStack() as stack:
        if workers:
            threads = max(1, num_threads() // launched_here()) if launched_here() > 1 else 0
            made = SharedSweep(read, drafts, stack.enter_context(join_sweep(output, read.source)), jobs or 1, threads)
        else:
            made = Sweep(read, drafts, *stack.enter_context(open_sweep(output, read.name, read.source)), jobs or 1)
        folder, display = made.folder, make_display(quiet) if rank == 0 else Nothing()
        finished = sum(one.state == FINISHED for one in made.results.values())
        display.note(
            f"{made.waiting} of {counted(len(made.results), 'run')} to train, into {folder}"
            + (f"; {finished} already finished" if finished else "")
        )
        if unfinished is not None:
            display.note(
                f"this is a new sweep. An earlier one with the same SPEC, {unfinished}, is unfinished; to continue "
                "it:\n"
                f"  charrnn sweep --resume {quoted(unfinished)}"
            )
        if unequal:
            display.note(unequal, important=True)
        announced = False
        try:
            with signals_stop(made.stop) as received:
                for event in made.run():
                    if received and not announced:
                        announced = True
                        display.note(
                            "saving and stopping after the current steps (press Ctrl-C again to stop at "
                            "once, without saving)"
                        )
                    display.show(event)
        finally:
            display.close()
        states = [one.state for one in made.results.values()]
        unended = any(state in (WAITING, STOPPED) for state in states)
        if rank > 0:  # a launcher ends all when one has another exit code
            return 128 + received[0] if received and unended else 0
        with kept_in(f"the runs are saved; the table is in {folder / RESULTS_JSON}"):
            _show(made, as_json, as_csv)
        if outputs:
            _write_svg(outputs, folder, [one.run for one in sort_results(made.results.values())])
        best = sort_results(made.results.values())[0]
        if best.val_loss_nats is not None and best.state == FINISHED:
            run = quoted(folder / best.run)
            display.note(f"next: {_first_use(folder / best.run)}\n      charrnn eval {run}")
        if unended:
            again = f"charrnn sweep --resume {quoted(folder)}" + (" --workers" if workers else "")
            display.note(f"stopped and saved; continue with:\n  {again}", important=True)
            return 128 + received[0] if received else 1
        return 1 if any(state in (FAILED, DIVERGED) for state in states) else 0


def _first_use(run):
    """Return the command that shows what the model of a run's folder does."""
    from charrnn.cli.item_samples import first_use
    from charrnn.runs.checkpoint import read_metadata
    from charrnn.runs.names import BEST
    from charrnn.text.tasks import stored_task
    from charrnn.text.vocabulary import Vocabulary

    metadata = read_metadata(run / BEST)
    return first_use(quoted(run), stored_task(metadata["training"]), Vocabulary.from_json(metadata["vocabulary"]))


def _check_workers(folder):
    """Raise ConfigError where workers cannot share a sweep: they know each other by its folder and its locks."""
    if folder is None:
        raise ConfigError(
            "workers share one folder: give all of them the same folder with -o/--output, as in: charrnn sweep "
            "grid.toml "
            "-o SWEEP --workers",
            ["workers"],
        )
    if os.name == "nt":
        raise ConfigError("--workers needs locks that Windows lacks: use --jobs N on one machine", ["workers"])


def _show(made, as_json, as_csv):
    """Print the table of a Sweep."""
    from charrnn.sweep.results import sort_results, to_csv

    if as_json:
        click.echo(json.dumps(made.to_dict()))
    elif as_csv:
        click.echo(to_csv(sort_results(made.results.values()), made.columns), nl=False)
    else:
        show_results(made.to_dict())


def _write_svg(outputs, folder, runs):
    from charrnn.cli.loss_figure import sweep_figure
    from charrnn.render.figure import write_svg

    figure = sweep_figure(folder, runs)
    if figure is None:
        note(f"no run of {folder} has losses to draw yet, so {outputs.named('svg')} was not written")
        return
    outputs.write("svg", write_svg, figure)


def _instead_of(folder):
    """Say what to name where a folder is no sweep's."""
    from charrnn.runs.names import LAST

    if (folder / LAST).is_file():
        return f"it is a single run, resumed with: charrnn train --resume {quoted(folder)}"
    return "name the folder that 'charrnn sweep SPEC' wrote"


def _read_spec(path, resume, output):
    """Read SPEC.toml as a Spec. Its options are checked by the code that checks those of a --config.

    resume : the folder of the sweep to go on with, or None
    output : the folder of the sweep, None for a new one

    Raises ConfigError for what is wrong in the file.
    """
    from charrnn.files.own import LOCK, RESULTS_CSV, RESULTS_JSON, SPEC
    from charrnn.sweep.points import Spec
    from charrnn.sweep.results import validation_texts

    options, where = read_toml(path, str(path)), str(path)
    name = options.pop("name", None) or _name_of(path, output)
    grid, runs = options.pop("grid", {}), options.pop("run", [])
    text = options.pop("text", None)
    if not isinstance(name, str):
        raise ConfigError(f"{where}: 'name' must be a text, got {name!r}")
    texts = [text] if isinstance(text, str) else text
    if not isinstance(texts, list) or not texts or not all(isinstance(one, str) for one in texts):
        raise ConfigError(f'{where} gives no text to train on: add a line such as text = ["shakespeare.txt"]')
    if "-" in texts:
        raise ConfigError(f"{where} gives - as a text, but stdin can be read only once: save it in a file")
    if not isinstance(grid, dict) or not isinstance(runs, list) or not all(isinstance(one, dict) for one in runs):
        raise ConfigError(f"{where}: the grid must be a [grid] table, and each single run a [[run]] table")
    common, values = typed_options(options, where), {}
    for key, listed in grid.items():
        if not isinstance(listed, list) or not listed:
            raise ConfigError(f"{where} [grid]: {key!r} must be a list of values, got {listed!r}")
        for value in listed:
            for option, typed in typed_options(_one_option(key, value, where), f"{where} [grid]").items():
                if typed in values.setdefault(option, []):
                    raise ConfigError(f"{where} [grid]: {key!r} has the value {value!r} twice: leave one of them out")
                values[option].append(typed)
    picked = []
    for number, one in enumerate(runs, 1):
        own = one.pop("name", None)
        if own is not None and not (isinstance(own, str) and re.fullmatch(r"\w[\w.+-]{0,99}", own)):
            raise ConfigError(
                f"{where} [[run]] {number} must have a name of letters, digits, '-', '_', '+' and '.', got {own!r}"
            )
        if own in (SPEC, RESULTS_JSON, RESULTS_CSV, LOCK):
            raise ConfigError(
                f"{where} [[run]] {number} cannot be named {own}, which is the name of a file of the sweep: choose "
                "another name"
            )
        for key in one:
            _one_option(key, one[key], where)
        picked.append((own, typed_options(one, f"{where} [[run]] {number}")))
    texts = texts_beside(path, texts, where, note) if resume is None else _texts_of(resume, texts)
    known = {} if resume is None else validation_texts(resume)
    named = [one.get("val_text") for one in (common, *(one for _, one in picked))] + values.get("val_text", [])
    found = {text: known.get(text) or validation_beside(path, text) for text in named if text is not None}
    for one in (common, *(one for _, one in picked)):
        if one.get("val_text") is not None:
            one["val_text"] = found[one["val_text"]]
    if "val_text" in values:
        values["val_text"] = [found[text] for text in values["val_text"]]
    return Spec(name, tuple(texts), common, values, tuple(picked), path.read_bytes(), found)


def _name_of(path, folder):
    """Return the name of a sweep whose specification has none: its file's, of the copy in its folder the original's."""
    from charrnn.files.own import SPEC
    from charrnn.sweep.results import read_results

    if folder is None or path.resolve() != (folder / SPEC).resolve():
        return path.stem
    known = read_results(folder).get("name")
    return known if isinstance(known, str) and known else "sweep"


def _one_option(key, value, where):
    if key == "text":
        raise ConfigError(
            f"{where} must give one text for all runs, because losses on different texts cannot be compared"
        )
    return {key: value}


def _texts_of(folder, texts):
    """Return the texts of a sweep, found again as they were named or from where its folder stands."""
    from charrnn.sweep.results import read_results
    from charrnn.training.provenance import find_texts

    known = read_results(folder).get("text")
    from_run = known.get("sources_from_run") if isinstance(known, dict) else None
    if not isinstance(from_run, list) or [Path(str(one)).name for one in from_run] != [Path(one).name for one in texts]:
        return texts
    return find_texts(
        {"corpus": {"sources": texts, "sources_from_run": from_run}},
        folder,
        f"change the line text = [...] of {folder / 'spec.toml'}",
    )
