"""The folder of a sweep: made or opened, locked, and what the runs in it say of themselves.

What a run is, and how far it has come, stands in its own last checkpoint.
"""

import contextlib
import os
import time
from pathlib import Path
from shlex import quote

from charrnn.errors import CheckpointError, RunError, counted
from charrnn.files.mounts import why_locks_are_local
from charrnn.files.own import RESULTS_CSV, RESULTS_JSON, SPEC
from charrnn.files.storage import is_temporary, make_folder, remove_stale_temporaries
from charrnn.runs.checkpoint import is_count, is_figure, read_metadata
from charrnn.runs.folder import FolderHeld, lock_folder
from charrnn.runs.names import LAST, LOCK, RUNS_FOLDER
from charrnn.runs.numbering import make_numbered_folder
from charrnn.sweep.members import FOLDER, Membership, live_workers, results_lock
from charrnn.sweep.results import STOPPED, WAITING, read_results, stored_results

ENTER_PATIENCE_S = 5.0  # for other workers to come in


@contextlib.contextmanager
def open_sweep(path=None, name="sweep", source=None):
    """Make the folder of a sweep or open one that is there, and hold its lock; yields (folder, descriptor of the lock).

    path : the folder; None takes ./checkpoints/<name>-sweep-<n> with the next free number
    source : the bytes of the specification that is to be kept there

    Raises RunError where the folder holds anything but a sweep, or another process works in it.
    """
    folder = make_numbered_folder(f"{name[:30]}-sweep") if path is None else Path(path)
    _prepare(folder, source)
    with lock_folder(folder) as lock:
        if workers := live_workers(folder):
            raise RunError(
                f"{folder} is in use by {counted(len(workers), 'worker')} ({', '.join(map(str, workers))}): wait for "
                "them, or join them with: charrnn sweep --resume "
                f"{quote(str(folder))} --workers"
            )
        remove_stale_temporaries(folder)
        yield folder, lock


@contextlib.contextmanager
def join_sweep(path, source):
    """Make the folder of a sweep or open one that is there, as one of its workers; yields a Membership.

    The sweep's lock is held until `member.settled()`, so that workers come in one after the other.

    Raises RunError where the folder holds anything but a sweep, where a command without --workers is at it, and where
    locks do not reach other machines.
    """
    folder = Path(path)
    _prepare(folder, source)
    if (reason := why_locks_are_local(folder)) is not None:
        raise RunError(
            f"{folder} is on {reason}, where other machines do not see this machine's locks, so workers would train "
            "the same runs: choose a folder on a file system with shared locks (such as NFS 4 or CephFS), or leave "
            "--workers out"
        )
    with contextlib.ExitStack() as gate:
        _enter(folder, gate)
        member = Membership.enter(folder)
        member.settled = gate.close
        try:
            with results_lock(folder):  # others write there under it
                remove_stale_temporaries(folder)
            yield member
        finally:
            member.leave()


def _enter(folder, gate):
    """Get the sweep's lock, into an ExitStack. A worker that comes in has it for a moment, a lone sweep to its end."""
    until = time.monotonic() + ENTER_PATIENCE_S
    while True:
        try:
            gate.enter_context(lock_folder(folder))
            return
        except FolderHeld as error:
            if time.monotonic() >= until and not live_workers(folder):
                raise RunError(
                    f"{error}; it was started without --workers, so workers cannot join it: stop it with Ctrl-C, "
                    f"which saves it, and continue with: charrnn sweep --resume {quote(str(folder))} --workers"
                ) from None
        time.sleep(0.05)


def _prepare(folder, source):
    """Make a sweep's folder where there is none; RunError where it holds anything but a sweep."""
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: choose another folder with -o/--output")
    make_folder(folder)
    if not (folder / SPEC).exists():
        # Another worker may be writing the first files there now.
        other = sorted(name for name in os.listdir(folder) if name not in (LOCK, FOLDER) and not is_temporary(name))
        if other and not (folder / SPEC).exists():
            raise RunError(
                f"{folder} contains other files ({other[0]}) and no sweep: name a new folder with -o/--output"
            )
    _refuse_files_of_others(folder, source)


def unfinished_sweep(source):
    """Return the newest sweep under ./checkpoints of the specification `source` with runs to train, None without one.

    source : the bytes of the specification
    """
    found = []
    for path in Path(RUNS_FOLDER).glob(f"*/{SPEC}"):
        with contextlib.suppress(OSError):
            if path.read_bytes() == source:
                states = {one.state for one in stored_results(path.parent).values()}
                if not states or states & {WAITING, STOPPED}:
                    found.append((path.stat().st_mtime_ns, path.parent))
    return max(found)[1] if found else None


def _refuse_files_of_others(folder, source):
    """Raise RunError where a file of a sweep's name is none that a sweep wrote, and would be replaced."""
    if "charrnn_version" in read_results(folder) or stored_runs(folder):
        return
    for name in (RESULTS_JSON, RESULTS_CSV, SPEC):
        path = folder / name
        if path.exists() and not (name == SPEC and path.read_bytes() == source):
            raise RunError(
                f"{path} would be overwritten, but no sweep of charrnn wrote it: name a new folder with -o/--output, "
                "or move the file away"
            )


def stored_runs(folder):
    """Return {name: training record} of the runs in a sweep folder that have a checkpoint that can be read."""
    stored = {path.name: stored_run(path) for path in sorted(folder.iterdir())}
    return {name: training for name, training in stored.items() if training is not None}


def stored_run(path):
    """Return the training record of a run's folder, or None where it has no checkpoint that can be read."""
    if (path / LAST).is_file():
        with contextlib.suppress(CheckpointError):
            return read_metadata(path / LAST)["training"]
    return None


def standing(training):
    """Return what a checkpoint's training record says of a run, as Result has it.

    What is not of the type that a run writes is left out.
    """

    def within(record, name, is_sound, otherwise):
        value = record.get(name) if isinstance(record, dict) else None
        return value if is_sound(value) else otherwise

    best = training.get("best")
    return {
        "step": within(training, "step", is_count, 0),
        "elapsed_s": within(training, "elapsed_s", is_figure, 0.0),
        "val_loss_nats": within(best, "val_loss_nats", is_figure, None),
        "best_step": within(best, "step", is_count, None),
        "returns": len(within(training.get("divergence"), "returns", lambda value: isinstance(value, list), [])),
    }
