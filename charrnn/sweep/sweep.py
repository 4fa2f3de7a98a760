"""A sweep: many trainings from one specification, each in a folder of its own, and a table of what came of them.

    points = make_points(spec)                       every run of it, named by what tells it from the others
    drafts = draft(points, texts)                    planned on the text: whole options, parameters, memory
    with open_sweep(path, name) as (folder, lock):
        for event in Sweep(spec, drafts, folder, lock).run():    Note, Begun, Progress, Ended
            ...

The trainings are made by child processes, so that one that is killed takes no other with it. What a run is and whether
it is finished, its own folder says.

Yields records and prints nothing; knows neither terminal nor signals, `stop` may be called from a handler.
"""

import contextlib
import dataclasses
import os
import queue
from collections import deque
from dataclasses import dataclass

import charrnn
from charrnn.errors import CharRNNError, ConfigError, CorpusError
from charrnn.files.own import SPEC
from charrnn.files.storage import atomic_write
from charrnn.sweep.children import Child
from charrnn.sweep.folder import standing, stored_run, stored_runs
from charrnn.sweep.points import differing
from charrnn.sweep.results import (
    DIVERGED,
    FAILED,
    FINISHED,
    STOPPED,
    WAITING,
    Result,
    over_seeds,
    sort_results,
    stored_results,
    write_results,
)
from charrnn.training.options import FREE_OPTIONS, NAMES
from charrnn.training.provenance import NAME_ANOTHER, check_corpus, describe_texts, find_validation
from charrnn.training.settings import option, shown
from charrnn.training.stored import stored_config

BEARING = tuple(name for name in NAMES if name not in FREE_OPTIONS)  # the options that a result hangs on


@dataclass(frozen=True)
class Note:
    text: str
    run: str | None = None
    important: bool = False


@dataclass(frozen=True)
class Begun:
    result: Result
    number: int
    count: int


@dataclass(frozen=True)
class Progress:
    run: str
    step: int
    total_steps: int | None
    share: float | None  # None where no end is known, as the remaining time
    train_loss_nats: float
    val_loss_nats: float | None
    remaining_s: float | None


@dataclass(frozen=True)
class Ended:
    """The run number `number` of `count` has ended. elsewhere : whether another worker trained it"""

    result: Result
    number: int
    count: int
    elsewhere: bool = False


class Sweep:
    """A sweep in progress. Iterate once over `run()`; `stop` saves and ends the current runs and starts no others.

    folder, lock   as `open_sweep` yields them
    jobs           number of child processes at a time, each with one thread; a single one uses all threads

    The constructor compares the drafts with the runs in the folder: `results` is {run: Result}. Raises ConfigError if
    a run in the folder has other options than the specification gives it now, CorpusError if the text has changed.
    """

    def __init__(self, spec, drafts, folder, lock=None, jobs=1):
        self.spec, self.folder, self.jobs = spec, folder, jobs
        self.columns = differing([one.point for one in drafts])
        self.results = {}
        self._lock = lock
        self._waiting = deque()
        self._events = queue.SimpleQueue()  # the one queue that a signal handler may put into
        self._children = []
        self._stop = False
        self._settle(drafts)
        self._count = len(self._waiting)

    @property
    def waiting(self):
        """Number of runs to be started or resumed."""
        return self._count

    def stop(self):
        """Ask the sweep to end: the current runs finish their step and save."""
        self._stop = True
        self._events.put((None, None))

    def run(self):
        """Yield the events of the sweep; at each Ended, results.json and results.csv have been updated."""
        atomic_write(self.folder / SPEC, self.spec.source)
        self._write()
        try:
            while self._waiting and len(self._children) < self.jobs and not self._stop:
                yield from self._begin(self._start_child())
            while self._children:
                child, message = self._events.get()
                if self._stop:
                    for each in self._children:
                        each.close()
                if child is None:
                    continue
                if message is None:
                    yield from self._lost(child)
                elif "ended" in message:
                    yield self._end(child, **message["ended"])
                    yield from self._begin(child)
                elif "progress" in message:
                    yield Progress(child.run, **message["progress"])
                else:
                    yield Note(run=child.run, **message["note"])
        finally:
            for child in self._children:
                child.kill()

    def to_dict(self):
        """Return the results as a dict, as results.json contains them."""
        results = sort_results(self.results.values())
        record = {
            "charrnn_version": charrnn.__version__,
            "name": self.spec.name,
            "text": {**describe_texts(self.spec.texts, self.folder), **self._validation()},
            "columns": self.columns,
            "runs": [dataclasses.asdict(one) for one in results],
        }
        if "seed" in self.columns:
            record["over_seeds"] = over_seeds(results)
        return record

    def _validation(self):
        """Return where the validation texts are, as seen from the folder; {} where none is named."""
        found = {}
        for text, path in self.spec.validation.items():
            with contextlib.suppress(ValueError):  # another drive
                found[text] = os.path.relpath(path, self.folder)
        return {"validation_from_sweep": found} if found else {}

    def _settle(self, drafts):
        """Find the runs of the drafts in the folder, by their options, and tell what is to be done from what is."""
        stored, rows = stored_runs(self.folder), stored_results(self.folder)
        configs, alike = {}, {}  # {name: config} of the runs that are there, and their names by what their bits hang on
        for name, training in stored.items():
            with contextlib.suppress(CharRNNError, TypeError):
                configs[name] = _config_of(training, self.folder / name)
                alike.setdefault(_bearing(configs[name]), []).append(name)
        own_names = {one.point.name for one in drafts}
        for one in drafts:
            name = one.point.name
            if one.config is not None:
                same = alike.get(_bearing(one.config), [])
                if name not in same:  # a run of another spec's folder names, if it is no name that this one gives
                    name = next((other for other in same if other not in own_names), name)
                if name in stored:
                    self._check_stored(name, one, stored[name], configs.get(name))
            before, training = rows.get(name), stored.get(name)
            result = Result(name, WAITING, one.point.options, one.parameters, one.memory_bytes)
            if training is not None:
                state = WAITING if training.get("finished") else STOPPED
                result = dataclasses.replace(result, state=state, **standing(training))
            if one.error is not None:
                result = dataclasses.replace(result, state=FAILED, error=one.error)
            elif training is not None and before is not None and before.state in (FINISHED, DIVERGED):
                if bool(training.get("finished")) == (before.state == FINISHED):
                    result = dataclasses.replace(
                        result, state=before.state, test_loss_nats=before.test_loss_nats, error=before.error
                    )
            if result.state in (WAITING, STOPPED):
                self._waiting.append((name, one.point.config))
            self.results[name] = result
        # What an earlier spec had finished stays in the table.
        for name, before in rows.items():
            if name not in self.results and name in stored and before.state == FINISHED:
                self.results[name] = before

    def _check_stored(self, name, one, training, config):
        """Raise ConfigError or CorpusError unless the run in a folder is the draft's.

        config : of the run, None where it cannot be read
        """
        check_corpus(training, one.text, "restore the old text, or name another folder with -o/--output")
        if config is None:
            raise ConfigError(
                f"{self.folder / name} contains a run whose options cannot be read: remove it, or name another folder "
                "with -o/--output",
                ["output"],
            )
        # Left open, the precision depends on the machine, and workers may run on different ones.
        bearing = [each for each in BEARING if each != "precision" or one.point.options.get(each) is not None]
        names = [each for each in bearing if _of(config, each) != _of(one.config, each)]
        if names:
            told = ", ".join(
                f"{option(each)} {shown(getattr(config, each))}, not {shown(getattr(one.config, each))}"
                for each in names
            )
            raise ConfigError(
                f"{self.folder / name} contains a run with {told}: restore the old options, name another folder with "
                "-o/--output, or remove that run",
                names,
            )

    def _start_child(self):
        return self._add_child(0 if self.jobs == 1 else 1)

    def _add_child(self, threads):
        child = Child(threads, self._events, self._lock)
        self._children.append(child)
        return child

    def _begin(self, child):
        """Give a child the next run, or its end where there is none."""
        if self._stop or not self._waiting:
            child.close()
            return
        name, config = self._waiting.popleft()
        child.give(name, self._job(name, config))
        yield Begun(self.results[name], self._number(), self._count)

    def _job(self, name, config):
        return {
            "folder": str(self.folder / name),
            "texts": [str(text) for text in self.spec.texts],
            "options": config.to_dict(),
        }

    def _end(self, child, **outcome):
        name, child.run = child.run, None
        self.results[name] = dataclasses.replace(self.results[name], **{"error": None, **outcome})
        self._write()
        return Ended(self.results[name], self._number(), self._count)

    def _lost(self, child):
        """A child has ended; where it was not to, its run has failed, and another child goes on."""
        self._children.remove(child)
        child.kill()
        if child.run is None:
            return
        state, error = (STOPPED, None) if self._stop and not child.said else (FAILED, child.last_words())
        training = stored_run(self.folder / child.run)
        yield self._end(child, state=state, error=error, **(standing(training) if training else {}))
        if self._waiting and not self._stop:
            yield from self._begin(self._start_child())

    def _number(self):
        return self._count - len(self._waiting)

    def _write(self):
        write_results(self.folder, self.to_dict(), self.results.values())


def _bearing(config):
    """Return the values of a config that a result hangs on, to tell runs apart by."""
    return tuple(_of(config, name) for name in BEARING)


def _of(config, name):
    """Return the value of an option; of the validation text where it is: its name depends on the current folder."""
    value = getattr(config, name)
    return os.path.realpath(value) if name == "val_text" and value is not None else value


def _config_of(training, run):
    """Return the config of a run's training record, its validation text as it is found from the run's folder."""
    config = stored_config(training)
    with contextlib.suppress(CorpusError):  # gone
        config = dataclasses.replace(config, val_text=find_validation(training, run, NAME_ANOTHER))
    return config
