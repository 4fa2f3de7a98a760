"""A sweep that several workers share: this process's part of it, which trains whatever run nobody else is at.

A run is claimed by the lock of its own folder, by the child process that is to train it; a child that finds it locked
says so and gets another. What a dead worker left is free, and goes on from its last checkpoint. How a run ended is
written into results.json before its lock is given back, so that whoever gets the lock next knows.

    with join_sweep(path, source) as member:
        for event in SharedSweep(spec, drafts, member, jobs).run():    the events of sweep.py, and Others
            ...
"""

import dataclasses
import queue
import time
from dataclasses import dataclass

from charrnn.errors import ConfigError
from charrnn.files import locks
from charrnn.files.own import LOCK, RESULTS_JSON, SPEC
from charrnn.files.storage import atomic_write
from charrnn.sweep.folder import standing, stored_run
from charrnn.sweep.members import results_lock
from charrnn.sweep.results import DIVERGED, ENDED, FAILED, FINISHED, STOPPED, stored_results
from charrnn.sweep.sweep import Begun, Ended, Note, Progress, Sweep

POLL_S = 1.0  # between two looks at what the others do
RETRY_S = 2.0  # before a run is tried again that another process was at


@dataclass(frozen=True)
class Others:
    """The other workers. waits : whether this one has nothing to do until they have ended."""

    workers: tuple
    waits: bool


class SharedSweep(Sweep):
    """A worker's part of a sweep; `run` ends when every run of the sweep has ended, whoever made it.

    member    a Membership, whose turn to enter ends here

    Raises what Sweep does.
    """

    def __init__(self, spec, drafts, member, jobs=1, threads=0):
        super().__init__(spec, drafts, member.folder, member.lock, jobs)
        self._member, self._threads = member, threads
        self._configs = dict(self._waiting)
        self._claimed, self._busy, self._progress = set(), {}, {}
        self._seen, self._next_look_s = None, 0.0
        if member.is_first:
            # The command is given again: what had failed is tried once more.
            atomic_write(self.folder / SPEC, spec.source)
            with results_lock(self.folder):
                self._write()
        else:
            self._merge()
            if (self.folder / SPEC).read_bytes() != spec.source:
                raise ConfigError(
                    f"other workers train {self.folder} with a different SPEC: join them with --resume, or wait for "
                    "them",
                    ["resume"],
                )
        member.settled()
        self._others = member.others()
        self._count = len(self._pending())

    def run(self):
        """Yield the events of the sweep, the others' too; results.json and results.csv are merged as each run ends."""
        for other in self._others:
            if other.instructions and other.instructions != self._member.own.instructions:
                yield Note(
                    f"this machine computes with {', '.join(self._member.own.instructions)} and {other} with "
                    f"{', '.join(other.instructions)}: the last bits of a run depend on which of them trains it. For "
                    "the same bits everywhere, set NUMBA_CPU_NAME=haswell for every worker",
                    important=True,
                )
        try:
            while True:
                yield from self._look()
                if self._stop or not self._pending():
                    for child in self._children:
                        child.close()
                    if not self._children:
                        return
                else:
                    self._hand_out()
                try:
                    child, message = self._events.get(timeout=POLL_S)
                except queue.Empty:
                    continue
                if child is not None:
                    yield from self._hear(child, message)
        finally:
            for child in self._children:
                child.kill()

    def _hear(self, child, message):
        """Yield what follows from a child's message."""
        name = child.run
        if message is None:
            yield from self._lost(child)
        elif "busy" in message:
            child.run = None
            self._claimed.discard(name)
            self._busy[name] = time.monotonic() + RETRY_S
        elif "settled" in message:
            child.run = None
            yield from self._absorb_new()
        elif "claimed" in message:
            self._claimed.add(name)
            self.results[name] = dataclasses.replace(self.results[name], **message["claimed"])
            yield Begun(self.results[name], self._number(), len(self.results))
        elif "ended" in message:
            yield self._end(child, **message["ended"])
        elif "progress" in message:
            self._progress[name] = message["progress"]
            yield Progress(name, **message["progress"])
        else:
            yield Note(run=name, **message["note"])

    def _pending(self):
        return [name for name in self._configs if self.results[name].state not in ENDED]

    def _look(self):
        """See what the others do, and let them see this worker; not more often than every POLL_S."""
        if time.monotonic() < self._next_look_s:
            return
        self._next_look_s = time.monotonic() + POLL_S
        self._member.check()
        self._member.tell(tuple({"run": name, **self._progress.get(name, {})} for name in sorted(self._claimed)))
        self._others = self._member.others()
        yield from self._absorb_new()
        at_hand = any(child.run is not None for child in self._children)
        yield Others(tuple(self._others), bool(self._pending()) and not at_hand and self._choose() is None)

    def _absorb_new(self):
        """Take over what is new in results.json; yield an Ended for each run that another worker has ended."""
        try:
            found = (self.folder / RESULTS_JSON).stat()
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except OSError:
            seen = None
        if seen is None or seen == self._seen:
            return
        self._seen = seen
        before = set(self._pending())
        self._absorb()
        for name in sorted(before - set(self._pending())):
            yield Ended(self.results[name], self._number(), len(self.results), elsewhere=True)

    def _hand_out(self):
        """Give runs that nobody is known to be at to children that have none."""
        while True:
            idle = next((child for child in self._children if child.run is None), None)
            if idle is None and len(self._children) >= self.jobs:
                return
            name = self._choose()
            if name is None:
                return
            child = idle or self._start_child()
            child.give(name, {**self._job(name, self._configs[name]), "shared": True})

    def _choose(self):
        """Return a run to try, None where all that are left are at hand, here or elsewhere."""
        taken = {child.run for child in self._children}
        taken.update(one["run"] for worker in self._others for one in worker.runs)
        now = time.monotonic()
        for name in self._pending():
            if name not in taken and self._busy.get(name, now) <= now and not self._is_for_another(name):
                return name
        return None

    def _is_for_another(self, name):
        """Say whether a run does not fit into this machine's memory, and another worker's machine has more."""
        own, needed = self._member.own.memory_bytes, self.results[name].memory_bytes
        if own is None or needed is None or needed <= own:
            return False
        return any(worker.memory_bytes is not None and worker.memory_bytes > own for worker in self._others)

    def _start_child(self):
        return self._add_child(self._threads if self.jobs == 1 else 1)

    def _end(self, child, **outcome):
        name, child.run = child.run, None
        self._claimed.discard(name)
        self._progress.pop(name, None)
        self._merge([dataclasses.replace(self.results[name], **{"error": None, **outcome})])
        return Ended(self.results[name], self._number(), len(self.results))

    def _lost(self, child):
        self._children.remove(child)
        child.kill()
        name = child.run
        if name is None:
            return
        if name not in self._claimed and locks.is_locked(self.folder / name / LOCK):  # it was another's all the time
            self._busy[name] = time.monotonic() + RETRY_S
            return
        state, error = (STOPPED, None) if self._stop and not child.said else (FAILED, child.last_words())
        training = stored_run(self.folder / name)
        yield self._end(child, state=state, error=error, **(standing(training) if training else {}))

    def _merge(self, mine=()):
        """Read results.json, put this worker's results into it, and write it, while nobody else does."""
        with results_lock(self.folder):
            before = self._absorb(mine)
            if before != {name: dataclasses.asdict(one) for name, one in self.results.items()}:
                self._write()

    def _absorb(self, mine=()):
        """Take over what results.json says of runs that have ended or gone further than was known; return its rows.

        mine : Results of this worker, which come before the file's; but what has an end there keeps it
        """
        own, rows = {one.run: one for one in mine}, stored_results(self.folder)
        for name, known in self.results.items():
            theirs, ours = rows.get(name), own.get(name)
            if ours is not None:
                settled = theirs is not None and theirs.state in (FINISHED, DIVERGED)
                known = theirs if settled and ours.state not in (FINISHED, DIVERGED) else ours
            elif theirs is not None and (theirs.state in ENDED or theirs.step > known.step):
                known = theirs
            self.results[name] = known
        return {name: dataclasses.asdict(one) for name, one in rows.items()}

    def _number(self):
        elsewhere = {one["run"] for worker in self._others for one in worker.runs} & set(self._pending())
        return sum(one.state in ENDED for one in self.results.values()) + len(self._claimed | elsewhere)
