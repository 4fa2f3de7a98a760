"""A run folder: what one training run leaves on disk, and the lock that keeps a second one out.

    last.safetensors    where the run stands; --resume goes on from here
    best.safetensors    the lowest validation loss so far
    step-001000.safetensors     a snapshot of that step, with --keep-every; never replaced
    good.safetensors    only until the run is finished: where it goes back to when it diverges
    log.jsonl           one JSON object a line
    config.toml         the options the run was started with
    lock                only while a process trains into the folder

Nothing else piles up. This room knows files and records, not how either comes about.
"""

import contextlib
import json
import math
import os
import stat
from pathlib import Path
from shlex import quote

from charrnn.errors import CheckpointError, RunError, nearest_path
from charrnn.files import locks
from charrnn.files.storage import (
    atomic_write,
    forget_names,
    fsync_folder,
    give_second_name,
    make_folder,
    remove_stale_temporaries,
    storage_error,
    write_all,
)
from charrnn.runs.checkpoint import (
    DamagedCheckpoint,
    instead_of_last,
    is_count,
    load_checkpoint,
    newest_run,
    newest_sweep,
    save_checkpoint,
)
from charrnn.runs.names import BEST, CONFIG, GOOD, LAST, LOCK, LOG, RUNS_FOLDER, snapshots_in
from charrnn.runs.numbering import make_numbered_folder
from charrnn.runs.toml import to_toml


class FolderHeld(RunError):
    """Another process trains into the folder."""


class RunFolder:
    """A run folder that this process holds the lock of, until `close` (or the end of a `with`).

    Made by `RunFolder.create` or `RunFolder.open`. The paths are .path .last .best .good .log_path .config_path.
    """

    def __init__(self, path, lock, claimed=False):
        self.path, self._claimed = path, claimed
        self.last, self.best, self.good = path / LAST, path / BEST, path / GOOD
        self.log_path, self.config_path = path / LOG, path / CONFIG
        self._lock = lock
        self._log = None

    @classmethod
    def create(cls, path=None, name="run"):
        """Make a folder for a new run and lock it.

        path : the folder, which must not hold a run; None takes ./checkpoints/<name>-<n> with the next free number
        name : what the run is about, such as the text's file name; only used where `path` is None

        Raises RunError where the folder holds a run or another process trains into it, StorageError where the folder
        cannot be made.
        """
        made = path is None or not Path(path).exists()
        path = make_numbered_folder(name) if path is None else Path(path)
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file: choose another folder with -o/--output")
        try:
            make_folder(path)
            _refuse_odd_files(path)
            lock = _acquire(path)
        except BaseException:
            if made:
                with contextlib.suppress(OSError):
                    path.rmdir()
            raise
        try:
            remove_stale_temporaries(path)
            refuse_a_run(path)
        except BaseException:
            locks.release(path / LOCK, lock)
            raise
        return cls(path, lock)

    @classmethod
    def open(cls, path=None):
        """Lock the folder of a run that has a `last` checkpoint, to go on with it.

        path : the folder, or a checkpoint file in it; None takes the newest run under ./checkpoints. Where it is the
            `best` file, `last` may be lost

        What a killed process left half-written is removed; `trim_log` then cuts the log back to the checkpoint.
        Raises RunError where there is no such run or another process trains into it.
        """
        if path is None:
            path = newest_run()
            if path is None:
                sweep = newest_sweep()
                raise RunError(
                    f"no run under ./{RUNS_FOLDER} to resume"
                    + (
                        ": start one with 'charrnn train TEXT'"
                        if sweep is None
                        else f" that is not part of a sweep; continue a sweep with: charrnn sweep --resume "
                        f"{quote(str(sweep))}"
                    )
                )
        path = named = Path(path)
        if path.is_file() and path.name in (LAST, BEST, GOOD):
            path = path.parent
        if not path.is_dir():
            raise RunError(
                f"{path} is not a run folder{nearest_path(path)}: name the folder that 'charrnn train' wrote"
            )
        if not (path / LAST).is_file() and not (named.name == BEST and named.is_file()):
            raise RunError(f"{path} has no {LAST} to resume from: {instead_of_last(path)}")
        _refuse_odd_files(path)
        lock = _acquire(path)
        remove_stale_temporaries(path)
        return cls(path, lock)

    @classmethod
    def claim(cls, path):
        """Lock the folder of a run that several workers may make or go on with; `last` says which it is.

        Before each save it is looked whether the lock is still ours: a machine that was cut off may have lost it.
        Raises FolderHeld where another process trains into it, RunError where it holds something else.
        """
        path = Path(path)
        make_folder(path)
        _refuse_odd_files(path)
        lock = _acquire(path)
        try:
            remove_stale_temporaries(path)
            forget_names(path)
            if not (path / LAST).is_file():
                refuse_a_run(path)
        except BaseException:
            locks.release(path / LOCK, lock)
            raise
        return cls(path, lock, claimed=True)

    def save(self, checkpoint, best=False, snapshot=None):
        """Write the `last` checkpoint, and where `best` is true the same as the `best` one.

        snapshot : the name of a file to write it to as well, unless that is there already, from before a kill

        The log reaches the disk first, then the snapshot and `best`, then `last`: whatever `last` says has happened has
        left its files, and a run killed in between goes on from the older `last` and writes the same again.
        """
        if self._claimed and not locks.is_ours(self.path / LOCK, self._lock):
            raise FolderHeld(
                f"another process now owns {self.path}: this machine lost its connection to the folder for so long "
                "that it lost its lock, or somebody removed the lock"
            )
        if self._log is not None:
            try:
                os.fsync(self._log)
            except OSError as error:
                raise storage_error(error, self.log_path) from error
        if snapshot is not None and not os.path.lexists(self.path / snapshot):
            save_checkpoint(self.path / snapshot, checkpoint)
        if best:
            save_checkpoint(self.best, checkpoint)
        save_checkpoint(self.last, checkpoint)

    def load_last(self, from_best=False, say=lambda sentence: None):
        """Return the Checkpoint to go on from, and whether it is `best`.

        from_best : take `best` where `last` is lost or damaged
        say : called with a sentence on which of the two it is, where `from_best` is true

        Raises CheckpointError, where `last` is damaged with the command that goes on from `best`.
        """
        try:
            if self.last.exists() or not from_best:
                last = load_checkpoint(self.last)
                if from_best:
                    say(
                        f"a run resumes where it stopped, from {self.last}; to start a new run from {self.best}: "
                        f"charrnn train TEXT --init-from {quote(str(self.best))}"
                    )
                return last, False
            fault = f"{self.last} is missing"
        except DamagedCheckpoint as error:
            fault = error.fault
            if not from_best:
                raise CheckpointError(f"{fault}; {instead_of_last(self.path)}") from None
        best = load_checkpoint(self.best)
        step = best.training.get("step")
        at = f"step {step:,}" if is_count(step) else "its step"
        say(f"{fault}; resuming from {self.best} instead: the steps after {at} are lost and will be trained again")
        return best, True

    def load_good(self):
        """Return the Checkpoint that the run goes back to. Raises CheckpointError where it is lost or damaged."""
        return load_checkpoint(self.good)

    def load_result(self):
        """Return the Checkpoint that the run is for: best, or last where there is none. Raises CheckpointError."""
        return load_checkpoint(self.best if self.best.exists() else self.last)

    def make_best_last(self):
        """Make `last` what `best` is, to go on from there."""
        give_second_name(self.best, self.last)

    def keep_last_as_good(self):
        """Make `good` what `last` is now. Killed before it, the run does it again: `last` says that it is to be."""
        give_second_name(self.last, self.good)

    def remove_good(self):
        """Remove `good`, for a run that is finished."""
        try:
            self.good.unlink(missing_ok=True)
            fsync_folder(self.path)
        except OSError as error:
            raise storage_error(error, self.good) from error

    def log(self, record):
        """Append one record to the log as a line of JSON; a number that is not finite becomes null.

        Log what belongs to a step before the checkpoint of that step is saved, or a kill between the two loses it.
        """
        line = _line(record)
        try:
            if self._log is None:
                is_new = not self.log_path.exists()
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0)
                self._log = os.open(self.log_path, flags, 0o666)
                if is_new:
                    fsync_folder(self.path)  # syncing a file says nothing of its name
            size = os.fstat(self._log).st_size
            try:
                write_all(self._log, line)
            except OSError:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._log, size)  # no half line for whoever reads the log now
                raise
        except OSError as error:
            raise storage_error(error, self.log_path) from error

    def trim_log(self, step, returns=(), samples_before=0):
        """Make the log what it was at the checkpoint to resume from: its records up to `step`, half lines mended.

        returns : the records of returns after divergence up to then: of these no other is kept, and the missing are
            appended
        samples_before : the step of the checkpoint. Of its samples those of earlier steps are kept: one of this step is
            drawn after the checkpoint is saved, and so will be drawn again

        Lines that are no record, such as a killed process leaves, go too.
        """
        self._close_log()
        if not returns and not self.log_path.exists():
            return
        missing = list(returns)

        def lines(file):
            for line in file:
                record = _record(line) or {}
                if "sample" in record:
                    if _step_of(record) < samples_before:
                        yield _ended(line)
                elif "returned_from" not in record:
                    if _step_of(record) <= step:
                        yield _ended(line)
                elif record in missing:
                    missing.remove(record)
                    yield _ended(line)
            yield from map(_line, missing)

        try:
            with open(self.log_path, "rb") if self.log_path.exists() else contextlib.nullcontext(()) as file:
                atomic_write(self.log_path, lines(file))
        except OSError as error:
            raise storage_error(error, self.log_path) from error

    def write_config(self, options):
        """Write config.toml: {option: value}, or one level of tables {table: {option: value}}."""
        atomic_write(self.config_path, to_toml(options))

    def close(self):
        """Give the folder free. Safe to call twice."""
        self._close_log()
        if self._lock is not None:
            locks.release(self.path / LOCK, self._lock)
            self._lock = None

    def _close_log(self):
        if self._log is not None:
            os.close(self._log)
            self._log = None

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


def read_log(path):
    """Yield the records of a log file in order, without lines that are no record, such as a half-written last one."""
    with open(path, "rb") as file:
        for line in file:
            record = _record(line)
            if record is not None:
                yield record


def _record(line):
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _line(record):
    return json.dumps(_without_non_finite(record), allow_nan=False).encode("ascii") + b"\n"


def _step_of(record):
    step = record.get("step")
    return step if isinstance(step, (int, float)) else math.inf


def _ended(line):
    return line if line.endswith(b"\n") else line + b"\n"


def _without_non_finite(value):
    if isinstance(value, dict):
        return {key: _without_non_finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_non_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


# ---------------------------------------------------------------------------------------------------------- folders


def _refuse_odd_files(path):
    """Refuse a folder, such as a stranger's, where a link or a pipe has the name of a file that we open to write to."""
    for name in (LOCK, LOG):
        try:
            kind = os.lstat(path / name).st_mode
        except OSError:  # not there; anything else is told when it is opened
            continue
        if not stat.S_ISREG(kind):
            raise RunError(f"{path / name} is not a regular file, and charrnn would write to it: remove it first")


def refuse_a_run(path):
    """Raise RunError where the folder has a run, or what a new one would overwrite."""
    if any((path / name).exists() for name in (LAST, BEST, GOOD)) or snapshots_in(path):
        raise RunError(
            f"{path} already contains a run: choose another folder with -o/--output, or resume the run with: "
            f"charrnn train --resume {quote(str(path))}"
        )
    log = path / LOG
    if log.exists() and log.stat().st_size:
        raise RunError(
            f"{path} contains the log of a run that saved no checkpoint: remove the folder, "
            "or choose another with -o/--output"
        )
    if (path / CONFIG).exists():
        raise RunError(f"{path / CONFIG} already exists and would be overwritten: name a new folder with -o/--output")
    inner = sorted(entry.name for entry in path.iterdir() if entry.is_dir())
    if inner:
        raise RunError(
            f"{path} contains other folders ({inner[0]}): name a new folder with -o/--output, such as {path / 'run'}"
        )


# --------------------------------------------------------------------------------------------------------- the lock


@contextlib.contextmanager
def lock_folder(folder):
    """Hold the lock of a folder of runs; RunError where another holds it.

    Yields the descriptor. A child process that inherits it holds the lock too, until both have ended.
    """
    descriptor = _acquire(Path(folder))
    try:
        yield descriptor
    finally:
        locks.release(Path(folder, LOCK), descriptor)


def _acquire(folder):
    """Return the descriptor of the folder's locked lock file; RunError where another holds it."""
    _refuse_a_file_named_lock(folder / LOCK)
    try:
        return locks.acquire(folder / LOCK)
    except locks.LockHeld as error:
        raise FolderHeld(
            f"another process{error.whose()} is training in {folder}: wait for it or stop it, or choose another "
            "folder with -o/--output"
        ) from None
    except locks.NoLocks as error:
        raise RunError(
            f"{folder} is on a file system without locks ({error.reason}), so a second process could train in the "
            "same folder: choose a folder on a disk of this machine with -o/--output"
        ) from None


def _refuse_a_file_named_lock(path):
    """Raise RunError where somebody's own file has the lock's name: a lock holds a process id at most."""
    with contextlib.suppress(OSError), open(path, "rb") as file:
        if (content := file.read(64).strip()) and not content.isdigit():
            raise RunError(
                f"{path} would be overwritten, but it is not a lock of charrnn: move the file away, or choose another "
                "folder with -o/--output"
            )
