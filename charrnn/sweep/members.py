"""The workers of a sweep, as its folder knows them: who is there, and what each is at.

    SWEEP/.workers/NAME.lock    held by a worker, and by its child processes, for as long as they live
    SWEEP/.workers/NAME.json    what it says of itself; for others to read and show, nothing is decided by it but the
                                order in which runs are tried
    SWEEP/.workers/results      the lock under which results.json and results.csv are read, merged and written

Whether a worker is alive its lock alone says, and no clock of any machine. Knows nothing of what is trained.
"""

import contextlib
import json
import os
import platform
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import charrnn
from charrnn.errors import ConfigError, RunError
from charrnn.files import locks
from charrnn.files.machine import available_memory
from charrnn.files.storage import make_folder, storage_error
from charrnn.kernels.host import instructions

FOLDER, RESULTS = ".workers", "results"
RESULTS_PATIENCE_S = 300.0  # longer than a server of NFS keeps the lock of a machine that is gone


@dataclass(frozen=True)
class Worker:
    """A worker as another one sees it.

    runs    [{"run": name, "step": ..., ...}]: what it is at, as it said last; see shared.Progress for the rest
    """

    host: str
    process_id: int
    version: str
    instructions: tuple
    memory_bytes: int | None
    runs: tuple = ()

    def __str__(self):
        return f"process {self.process_id} on {self.host}"


class Membership:
    """This process's place among the workers of a sweep, from `Membership.enter` to `leave`.

    folder      of the sweep
    lock        the descriptor of its own lock, for its child processes to hold as well
    is_first    whether no other worker was there
    """

    def __init__(self, folder, path, lock, own, is_first):
        self.folder, self.lock, self.own, self.is_first = folder, lock, own, is_first
        self.settled = lambda: None  # lets the next one in
        self._path, self._told = path, None

    @classmethod
    def enter(cls, folder):
        """Register this process. The caller holds the sweep's lock, so that one enters at a time.

        Raises ConfigError where those who are there run another charrnn.
        """
        own = Worker(platform.node(), os.getpid(), charrnn.__version__, tuple(instructions()), available_memory())
        others = live_workers(folder)
        for other in others:
            if other.version and other.version != own.version:
                raise ConfigError(
                    f"{other} works on {folder} with charrnn {other.version}, but this is {own.version}: install the "
                    "same version everywhere"
                )
        place = folder / FOLDER
        name = f"{re.sub(r'[^A-Za-z0-9]', '-', own.host)[:40]}-{own.process_id}-{secrets.token_hex(4)}"
        new, path = place / f".new-{name}", place / f"{name}.lock"
        try:
            make_folder(place)
            for entry in os.listdir(place):
                if entry.startswith(".new-"):
                    (place / entry).unlink(missing_ok=True)  # of one that was killed here
            lock = locks.acquire(new)
            # Under its name it is locked from the first moment on: nobody takes it for what a dead worker left.
            os.rename(new, path)
        except OSError as error:
            raise storage_error(error, path) from error
        member = cls(folder, path, lock, own, not others)
        member.tell(())
        return member

    def others(self):
        """Return the other Workers that are alive; what dead ones left is removed."""
        return live_workers(self.folder, self._path.name)

    def tell(self, runs):
        """Let the others know what this worker is at. runs : as Worker has them."""
        if runs == self._told:
            return
        self._told = runs
        record = {name: getattr(self.own, name) for name in ("host", "process_id", "version", "memory_bytes")}
        record |= {"instructions": list(self.own.instructions), "runs": list(runs)}
        temporary = self._path.with_suffix(".new")
        with contextlib.suppress(OSError):  # a full disk: then the others see less
            temporary.write_text(json.dumps(record) + "\n", encoding="utf-8")
            os.replace(temporary, self._path.with_suffix(".json"))

    def check(self):
        """Raise RunError where this worker's lock is no longer its own: then its runs may be another's by now."""
        if not locks.is_ours(self._path, self.lock):
            raise RunError(
                f"this worker lost its lock, {self._path}: its machine lost the connection to the folder for too "
                "long, or this file system does not share locks between machines. What was saved is kept; continue "
                "on a file system that shares locks, such as NFS 4, CephFS, or Lustre with -o flock"
            )

    def leave(self):
        for suffix in (".json", ".new"):
            with contextlib.suppress(OSError):
                self._path.with_suffix(suffix).unlink(missing_ok=True)
        locks.release(self._path, self.lock)


def live_workers(folder, own=None):
    """Return the Workers of a sweep folder that are alive, without the one whose lock is called `own`.

    What a dead one left is removed.
    """
    place, workers = Path(folder) / FOLDER, []
    try:
        names = sorted(name for name in os.listdir(place) if name.endswith(".lock") and name != own)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise storage_error(error, place) from error
    for name in names:
        path = place / name
        if locks.is_locked(path):
            workers.append(_read(path))
            continue
        for suffix in (".json", ".new", ".lock"):
            with contextlib.suppress(OSError):
                path.with_suffix(suffix).unlink(missing_ok=True)
    return workers


@contextlib.contextmanager
def results_lock(folder):
    """Hold the lock under which the results of a sweep are merged, waited for."""
    path = Path(folder) / FOLDER / RESULTS
    descriptor = locks.acquire_soon(path, RESULTS_PATIENCE_S)
    try:
        yield
    finally:
        locks.release(path, descriptor)


def _read(path):
    """Return what a worker says of itself; of what cannot be read, what its lock's name says."""
    host, _, number = path.stem.rpartition("-")[0].rpartition("-")
    fallback = Worker(host or "?", int(number) if number.isdigit() else 0, "", (), None)
    try:
        record = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        runs = tuple(one for one in record["runs"] if isinstance(one, dict) and isinstance(one.get("run"), str))
        memory = record["memory_bytes"]
        return Worker(
            str(record["host"]),
            int(record["process_id"]),
            str(record["version"]),
            tuple(map(str, record["instructions"])),
            memory if isinstance(memory, int) else None,
            runs,
        )
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return fallback
