"""A sweep: many trainings from one specification, each in a folder of its own, and a table of what came of them.

    points = make_points(spec)                       every run of it, named by what tells it from the others
    drafts = draft(points, texts)                    planned on the text: whole options, parameters, memory
    with open_sweep(path, name) as (folder, lock):
        for event in Sweep(spec, drafts, folder, lock).run():    Note, Begun, Progress, Ended
            ...

The trainings are made by child processes, so that one that is killed takes no other with it; a child makes one after
the other and reads the text once. It gets its jobs on stdin and says what happens on stdout, a JSON line each. The end of
its stdin, which is also the parent's, asks it to stop after the step at hand, saved. What a run is and whether it is
finished, its own folder says; results.json adds what stands in no checkpoint: the loss on the test split, and why a run failed.

Yields records and prints nothing; knows neither terminal nor signals, `stop` may be called from a handler.
"""

import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import os
import queue
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

import charrnn
from charrnn.errors import CharRNNError, CheckpointError, ConfigError, DivergenceError, RunError
from charrnn.files.storage import atomic_write, make_folder, remove_stale_temporaries
from charrnn.model.workspace import Model
from charrnn.runs.checkpoint import LAST, is_count, is_figure, load_checkpoint, read_metadata
from charrnn.runs.folder import LOCK, RunFolder, lock_folder, make_numbered_folder
from charrnn.text.corpus import read_corpus
from charrnn.training.options import DEFAULTS, FREE_OPTIONS, LENGTHS, NAMES, TrainingConfig, option, shown
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.provenance import check_corpus, describe_texts
from charrnn.training.records import Evaluated, Notice, Step
from charrnn.training.stored import stored_config
from charrnn.training.trainer import Trainer
from charrnn.training.validation import evaluate_test

SPEC, RESULTS_JSON, RESULTS_CSV = "spec.toml", "results.json", "results.csv"
WAITING, STOPPED, FINISHED, DIVERGED, FAILED = "waiting", "stopped", "finished", "diverged", "failed"
MOST_POINTS = 10_000
PROGRESS_SECONDS = 0.25  # between two messages of a child about a run at least

# How a folder's name says an option: by its value alone, by a short name, or else by its own.
BY_VALUE = ("cell", "optimizer", "schedule")
SHORT_NAMES = {"learning_rate": "lr", "embedding_size": "embedding", "batch_size": "batch", "seq_length": "seq"}

# What a child is started with: the parent's search path, so that it imports the same charrnn.
CHILD = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from charrnn.sweep.sweep import serve; serve(int(sys.argv[2]))"


# ---------------------------------------------------------------------------------------------------------- records


@dataclass(frozen=True)
class Spec:
    """What SPEC.toml says, its values typed. runs : [(name or None, options)]; source : the file's bytes, kept with the sweep."""

    name: str
    texts: tuple
    common: dict
    grid: dict
    runs: tuple = ()
    source: bytes = b""


@dataclass(frozen=True)
class Point:
    """A run to be made. options : what SPEC names of it; config : None where they contradict, and `error` says how."""

    name: str
    options: dict
    config: TrainingConfig | None
    error: str | None = None


@dataclass(frozen=True)
class Text:
    """What tells a text from another one."""

    sources: tuple
    characters: int
    fingerprint: str


@dataclass(frozen=True)
class Draft:
    """A point planned on the text. config : with what the text decides filled in; None where `error` says why not."""

    point: Point
    config: TrainingConfig | None = None
    parameters: int | None = None
    memory_bytes: int | None = None
    text: Text | None = None
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """A row of the table. A loss is in nats a character; `returns` counts those after divergence, at half the rate each."""

    run: str
    state: str
    options: dict
    parameters: int | None = None
    memory_bytes: int | None = None
    step: int = 0
    elapsed_s: float = 0.0
    val_loss_nats: float | None = None
    best_step: int | None = None
    test_loss_nats: float | None = None
    returns: int = 0
    error: str | None = None


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
    share: float
    train_loss_nats: float
    val_loss_nats: float | None
    remaining_s: float


@dataclass(frozen=True)
class Ended:
    result: Result
    number: int
    count: int


# ------------------------------------------------------------------------------------------------- from spec to points


def make_points(spec):
    """Return the points of a spec, the grid's before the runs picked by hand; those that are equal are made once.

    Raises ConfigError for a value that breaks a rule of its own, and for a run picked by hand that breaks any. Where a
    combination of the grid does, the point has an `error`.
    """
    count = math.prod(len(values) for values in spec.grid.values())
    if count + len(spec.runs) > MOST_POINTS:
        raise ConfigError(f"the grid has {count:,} runs, {MOST_POINTS:,} are the most: give its options fewer values")
    if not spec.grid and not spec.runs:
        raise ConfigError(
            "there is nothing to sweep over: add a [grid] table with an option and its values, or [[run]] tables"
        )
    asked = []
    if spec.grid:
        asked = [
            (None, _over(spec.common, dict(zip(spec.grid, values))))
            for values in itertools.product(*spec.grid.values())
        ]
    asked += [(name, _over(spec.common, options)) for name, options in spec.runs]
    whole = [tuple({**DEFAULTS.to_dict(), **options}.values()) for _, options in asked]
    first = {values: place for place, values in reversed(list(enumerate(whole)))}
    once = [dict(zip(NAMES, whole[place])) for place in sorted(first.values())]
    differ = _differing(once)
    # A run with a name of its own makes no other's longer.
    unnamed = [dict(zip(NAMES, whole[place])) for place in sorted(first.values()) if asked[place][0] is None]
    names = iter(_names(unnamed, _differing(unnamed)))
    points = []
    for place, (own, options) in enumerate(asked):
        if first[whole[place]] != place:
            continue
        try:
            config, error = TrainingConfig(**options), None
        except ConfigError as refused:
            config, error = None, str(refused)
            if place >= count or not spec.grid:
                raise ConfigError(f"[[run]] {own or place - count * bool(spec.grid) + 1}: {error}") from None
        # What only some of the runs name, the others have by default.
        options = {name: value for name, value in zip(NAMES, whole[place]) if name in options or name in differ}
        points.append(Point(own or next(names), options, config, error))
    _refuse_hopeless(spec, points)
    twice = [point.name for place, point in enumerate(points) if point.name in [other.name for other in points[:place]]]
    if twice:
        raise ConfigError(f"two runs would have the folder {twice[0]}: give a [[run]] another name")
    return points


def differing(points):
    """Return the names of the options that not all points have alike, in the order of the options."""
    return _differing([{**DEFAULTS.to_dict(), **point.options} for point in points])


def draft(points, texts):
    """Plan every point on the text, read once for each way to read it. Raises CorpusError where that cannot be done."""
    drafts, ways = {}, {}
    for point in points:
        if point.config is None:
            drafts[point.name] = Draft(point, error=point.error)
        else:
            ways.setdefault((point.config.vocab, point.config.encoding), []).append(point)
    for (vocab, encoding), alike in ways.items():
        with contextlib.closing(read_corpus(texts, mode=vocab, encoding=encoding)) as corpus:
            for point in alike:
                drafts[point.name] = _draft(point, corpus)
    return [drafts[point.name] for point in points]


def _draft(point, corpus):
    try:
        plan = plan_run(point.config, corpus, must_fit=False)
        return Draft(
            point,
            plan.config,
            Model(plan.model_config).num_parameters,
            plan.memory_needed(),
            Text(corpus.sources, corpus.characters, corpus.fingerprint),
        )
    except CharRNNError as error:
        return Draft(point, error=str(error))
    except (MemoryError, ValueError, OverflowError):  # NumPy's words for an array beyond all bounds
        return Draft(point, error=_no_memory())


def _over(common, own):
    """Return the common options with a run's own over them; a length takes the place of another kind."""
    if any(name in LENGTHS for name in own):
        common = {name: value for name, value in common.items() if name not in LENGTHS}
    return {**common, **own}


def _refuse_hopeless(spec, points):
    """Raise ConfigError where no point stands, or a value of the grid breaks a rule of its own."""
    if all(point.config is None for point in points):
        raise ConfigError(points[0].error)
    for name, values in spec.grid.items():
        for value in values:
            try:
                TrainingConfig(**{name: value})
            except ConfigError as error:
                # One that speaks of another option is about the two together, and another point may have them right.
                if set(re.findall(r"--[a-z][a-z-]*", str(error))) == {option(name)}:
                    raise ConfigError(f"[grid] {error}") from None


def _differing(whole):
    return [name for name in NAMES if any(one[name] != whole[0][name] for one in whole)]


def _names(whole, differ):
    """Return a name for each of these dicts of all options, made of the values that differ between them."""
    size = {"hidden_size", "num_layers"}
    names = []
    for one in whole:
        parts = []
        for name in differ or ["cell", "hidden_size"]:
            if name in size:
                part = f"{one['hidden_size']}x{one['num_layers']}"
                if part in parts:
                    continue
            else:
                part = _name_part(name, one[name])
            parts += [part] if part else []
        stem = "-".join(parts) or "default"
        names.append(
            next(
                name
                for name in itertools.chain([stem], (f"{stem}-{n}" for n in itertools.count(2)))
                if name not in names
            )
        )
    return names


def _name_part(name, value):
    if value is None:
        return ""
    word = SHORT_NAMES.get(name, name.replace("_", "-"))
    if isinstance(value, bool):
        return word if value else f"no-{word}"
    value = re.sub(r"[^\w.+-]", "-", str(value).removesuffix(".0") if isinstance(value, float) else str(value))
    if name in BY_VALUE:
        return value
    return word + ("-" if value[:1].isalpha() else "") + value


# ------------------------------------------------------------------------------------------------------------ results


def sort_results(results):
    """Return the results, the lowest validation loss first, those without one last."""
    return sorted(results, key=lambda one: math.inf if one.val_loss_nats is None else one.val_loss_nats)


def over_seeds(results):
    """Return what the results say over seeds: a dict for each combination of the other options, the lowest loss first.

    "runs", how many there are, and "finished" of them; "val_loss_nats" and "test_loss_nats" the means over the finished, and
    "val_spread", "test_spread" the standard deviations (n - 1), None where there are fewer than two.
    """
    groups = {}
    for result in results:
        options = {name: value for name, value in result.options.items() if name != "seed"}
        groups.setdefault(json.dumps(options, sort_keys=True), (options, []))[1].append(result)
    rows = []
    for options, alike in groups.values():
        finished = [one for one in alike if one.state == FINISHED]
        row = {"options": options, "runs": len(alike), "finished": len(finished)}
        for key, name in (("val", "val_loss_nats"), ("test", "test_loss_nats")):
            losses = [getattr(one, name) for one in finished if getattr(one, name) is not None]
            row[name] = statistics.fmean(losses) if losses else None
            row[f"{key}_spread"] = statistics.stdev(losses) if len(losses) > 1 else None
        rows.append(row)
    return sorted(rows, key=lambda row: math.inf if row["val_loss_nats"] is None else row["val_loss_nats"])


def to_csv(results, columns):
    """Return the results as CSV. columns : the options to have a column of their own."""
    names = [field.name for field in dataclasses.fields(Result) if field.name not in ("run", "state", "options")]
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["run", "state", *columns, *names])
    for one in results:
        writer.writerow(
            [one.run, one.state, *(one.options.get(name) for name in columns), *(getattr(one, name) for name in names)]
        )
    return file.getvalue()


def read_results(folder):
    """Return results.json of a sweep folder as a dict; an empty one where there is none that can be read."""
    try:
        record = json.loads((Path(folder) / RESULTS_JSON).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}


def _stored_results(folder):
    """Return {run: Result} as results.json has them, without what cannot be read as one."""
    stored = {}
    rows = read_results(folder).get("runs")
    for row in rows if isinstance(rows, list) else ():
        with contextlib.suppress(TypeError, KeyError, AttributeError):
            result = Result(**row)
            figures = (result.val_loss_nats, result.test_loss_nats)
            counts = (result.step, result.returns, result.best_step, result.parameters, result.memory_bytes)
            if (
                all(value is None or is_figure(value) for value in figures)
                and all(value is None or is_count(value) for value in counts)
                and is_figure(result.elapsed_s)
                and isinstance(result.options, dict)
                and isinstance(result.state, str)
                and (result.error is None or isinstance(result.error, str))
            ):
                stored[row["run"]] = result
    return stored


# ------------------------------------------------------------------------------------------------------------- folders


@contextlib.contextmanager
def open_sweep(path=None, name="sweep"):
    """Make the folder of a sweep or open one that is there, and hold its lock; yields (folder, descriptor of the lock).

    path : the folder; None takes ./checkpoints/<name>-sweep-<n> with the next free number

    Raises RunError where the folder holds anything but a sweep, or another process works in it.
    """
    folder = make_numbered_folder(f"{name[:30]}-sweep") if path is None else Path(path)
    if folder.exists() and not folder.is_dir():
        raise RunError(f"{folder} is a file: choose another folder with -o/--output")
    make_folder(folder)
    if not (folder / SPEC).exists():
        other = sorted(entry for entry in os.listdir(folder) if entry != LOCK)
        if other:
            raise RunError(f"{folder} holds no sweep but other things ({other[0]}): name a new folder with -o/--output")
    with lock_folder(folder) as lock:
        remove_stale_temporaries(folder)
        yield folder, lock


def _stored_runs(folder):
    """Return {name: training record} of the runs in a sweep folder that have a checkpoint that can be read."""
    stored = {}
    for path in sorted(folder.iterdir()):
        if (path / LAST).is_file():
            with contextlib.suppress(CheckpointError):
                stored[path.name] = read_metadata(path / LAST)["training"]
    return stored


def _standing(training):
    """Return what a checkpoint's training record says of a run, as Result has it; what is not of its type is left out."""

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


def _difference(stored, config):
    """Return the names of the options in which two configs differ, those left out that bear on no result."""
    return [name for name in NAMES if name not in FREE_OPTIONS and getattr(stored, name) != getattr(config, name)]


# -------------------------------------------------------------------------------------------------------------- sweep


class Sweep:
    """A sweep in progress. `run` goes through it once; `stop` asks the runs at hand to end, saved, and begins no other.

    folder, lock   as `open_sweep` gives them
    jobs           child processes at a time, of one thread each; with 1, it has all threads

    Made, it has compared the drafts with the runs that the folder holds: .results, {run: Result}. Raises ConfigError where
    a folder's run has other options than the spec gives it now, CorpusError where the text has changed.
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
        self._own_names = {one.point.name for one in drafts}
        self._settle(drafts)
        self._count = len(self._waiting)

    @property
    def waiting(self):
        """How many runs there are to make or to go on with."""
        return self._count

    def stop(self):
        """Ask the sweep to end: the steps at hand are finished and saved."""
        self._stop = True
        self._events.put((None, None))

    def run(self):
        """Yield the events of the sweep; results.json and results.csv are written as each run ends."""
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
        """Return the results as results.json has them."""
        results = sort_results(self.results.values())
        record = {
            "charrnn_version": charrnn.__version__,
            "name": self.spec.name,
            "text": describe_texts(self.spec.texts, self.folder),
            "columns": self.columns,
            "runs": [dataclasses.asdict(one) for one in results],
        }
        if "seed" in self.columns:
            record["over_seeds"] = over_seeds(results)
        return record

    def _settle(self, drafts):
        """Find the runs of the drafts in the folder, by their options, and tell what is to be done from what is."""
        stored, rows = _stored_runs(self.folder), _stored_results(self.folder)
        configs = {}
        for name, training in stored.items():
            with contextlib.suppress(CharRNNError, TypeError):
                configs[name] = stored_config(training)
        for one in drafts:
            name = self._folder_of(one, stored, configs)
            before, training = rows.get(name), stored.get(name)
            result = Result(name, WAITING, one.point.options, one.parameters, one.memory_bytes)
            if training is not None:
                result = dataclasses.replace(result, **_standing(training))
            if one.error is not None:
                result = dataclasses.replace(result, state=FAILED, error=one.error)
            elif training is not None and before is not None and before.state in (FINISHED, DIVERGED):
                if bool(training.get("finished")) == (before.state == FINISHED):
                    result = dataclasses.replace(
                        result, state=before.state, test_loss_nats=before.test_loss_nats, error=before.error
                    )
            if result.state == WAITING:
                self._waiting.append((name, one.point.config))
            self.results[name] = result
        # What an earlier spec had finished stays in the table.
        for name, before in rows.items():
            if name not in self.results and name in stored and before.state == FINISHED:
                self.results[name] = before

    def _folder_of(self, one, stored, configs):
        """Return the name of the folder for a draft: that of a run with the same options, or its own."""
        own = one.point.name
        if one.config is None:
            return own
        same = [
            name
            for name, config in configs.items()
            if not _difference(config, one.config) and (name == own or name not in self._own_names)
        ]
        name = own if own in same or not same else same[0]
        if name not in stored:
            return name
        check_corpus(stored[name], one.text)
        if name not in configs:
            raise ConfigError(
                f"{self.folder / name} holds a run whose options cannot be read: remove it, or name another folder with -o/--output"
            )
        names = _difference(configs[name], one.config)
        if names:
            told = ", ".join(
                f"{option(each)} {shown(getattr(configs[name], each))}, not {shown(getattr(one.config, each))}"
                for each in names
            )
            raise ConfigError(
                f"{self.folder / name} holds a run with {told}: bring the old options back, name another folder with "
                "-o/--output, or remove that one"
            )
        return name

    def _start_child(self):
        child = _Child(0 if self.jobs == 1 else 1, self._events, self._lock)
        self._children.append(child)
        return child

    def _begin(self, child):
        """Give a child the next run, or its end where there is none."""
        if self._stop or not self._waiting:
            child.close()
            return
        name, config = self._waiting.popleft()
        child.give(
            name,
            {
                "folder": str(self.folder / name),
                "texts": [str(text) for text in self.spec.texts],
                "options": config.to_dict(),
            },
        )
        yield Begun(self.results[name], self._number(), self._count)

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
        training = _stored_runs(self.folder).get(child.run)
        yield self._end(child, state=state, error=error, **(_standing(training) if training else {}))
        if self._waiting and not self._stop:
            yield from self._begin(self._start_child())

    def _number(self):
        return self._count - len(self._waiting)

    def _write(self):
        record = self.to_dict()
        atomic_write(self.folder / RESULTS_JSON, json.dumps(record, indent=1) + "\n")
        atomic_write(self.folder / RESULTS_CSV, to_csv(sort_results(self.results.values()), self.columns))


class _Child:
    """A process that makes one run after the other; what it says goes into `events` as (child, message), at its end None.

    threads   0 for all
    run       the name of the run it is at, or None
    """

    def __init__(self, threads, events, lock):
        self.run = self.said = None
        self._stderr = tempfile.TemporaryFile()
        # It holds the sweep's lock as well: should the parent be killed, nobody begins before the child has saved.
        inherited = {"pass_fds": [lock]} if os.name == "posix" and lock is not None else {}
        if os.name == "nt":
            inherited["creationflags"] = subprocess.CREATE_NEW_PROCESS_GROUP
        with _signals_held():
            self._process = subprocess.Popen(
                [sys.executable, "-c", CHILD, json.dumps(sys.path), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._stderr,
                **inherited,
            )
        threading.Thread(target=self._listen, args=[events], daemon=True).start()

    def give(self, name, job):
        self.run = name
        with contextlib.suppress(OSError):  # it has died: the listener says so
            self._process.stdin.write(json.dumps(job).encode() + b"\n")
            self._process.stdin.flush()

    def close(self):
        """Ask it to end after the step at hand, saved. Safe to call twice."""
        with contextlib.suppress(OSError):
            self._process.stdin.close()

    def kill(self):
        """End it at once, wait for that, and keep what it wrote on stderr as .said."""
        self._process.kill()
        self._process.wait()
        self.close()
        with self._stderr:
            self._stderr.seek(0)
            self.said = self._stderr.read()[-20000:].decode("utf-8", "replace").strip()

    def last_words(self):
        """Say how it ended, in a sentence."""
        code = self._process.returncode
        if code == -getattr(signal, "SIGKILL", 0):
            return "its process was killed, by someone or by a system short of memory: lower --jobs or the sizes of the model"
        last = self.said.splitlines()[-1:] or ["it said nothing"]
        return f"its process ended with exit code {code}: {last[0]}"

    def _listen(self, events):
        with self._process.stdout as lines:
            for line in lines:
                with contextlib.suppress(ValueError):  # half a line of a process that was killed
                    events.put((self, json.loads(line)))
        self._process.wait()
        events.put((self, None))


@contextlib.contextmanager
def _signals_held():
    """Hold signals back for a moment: a process started meanwhile never gets them, and what to do about them is the parent's to say."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


# --------------------------------------------------------------------------------------------------- the child's side


def serve(threads):
    """Make the runs that come on stdin, say on stdout what happens, and end with stdin. threads : 0 for all."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not come between the messages
    try:
        _Server(out).serve(threads)
        out.close()
    except BaseException:
        import traceback

        traceback.print_exc()
        sys.stderr.flush()
        os._exit(1)  # the listener may still be reading


class _Server:
    def __init__(self, out):
        self._out = out
        self._jobs = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._trainer = None
        self._corpus, self._corpus_key = None, None

    def serve(self, threads):
        from charrnn.kernels import set_num_threads
        from charrnn.kernels.compiled import COMPILE_LISTENERS

        if threads:
            set_num_threads(threads)
        COMPILE_LISTENERS.append(self._compiles)
        threading.Thread(target=self._listen, daemon=True).start()
        while (job := self._jobs.get()) is not None:
            path = Path(job["folder"])
            try:
                outcome = self._make(path, job["texts"], TrainingConfig(**job["options"]))
            except DivergenceError as error:
                outcome = {"state": DIVERGED, "error": str(error)}
            except CharRNNError as error:
                outcome = {"state": FAILED, "error": str(error)}
            except MemoryError:
                outcome = {"state": FAILED, "error": _no_memory()}
            except OSError as error:
                outcome = {"state": FAILED, "error": f"{(error.strerror or str(error)).lower()}: {error.filename}"}
            self._trainer = None
            with contextlib.suppress(CheckpointError):
                outcome = {**_standing(read_metadata(path / LAST)["training"]), **outcome}
            self._say("ended", **outcome)

    def _listen(self):
        for line in sys.stdin.buffer:
            self._jobs.put(json.loads(line))
        self._stopping.set()
        if self._trainer is not None:
            self._trainer.stop()
        self._jobs.put(None)

    def _make(self, path, texts, config):
        """Make a run, or go on with it; return its outcome."""
        if self._stopping.is_set():
            return {"state": STOPPED}
        corpus = self._read(texts, config)
        if (path / LAST).exists():
            with RunFolder.open(path) as folder:
                checkpoint = load_checkpoint(folder.last)
                training = checkpoint.training
                if not training.get("finished"):
                    return self._train(Trainer(plan_resume(checkpoint, corpus), corpus, folder, texts, samples=False))
                # Ended between its last checkpoint and the result.
                check_corpus(training, corpus)
                splits = corpus.split(config.val_fraction, config.test_fraction)
                test = evaluate_test(folder, corpus, splits, training["validated"], interrupted=self._stopping.is_set)
                return self._outcome(True, splits, test)
        plan = plan_run(config, corpus)
        with RunFolder.create(path) as folder:
            return self._train(Trainer(plan, corpus, folder, texts, samples=False))

    def _train(self, trainer):
        self._trainer = trainer
        if self._stopping.is_set():
            trainer.stop()
        next_s, val = 0.0, None
        for record in trainer.run():
            if isinstance(record, Evaluated):
                val = record.evaluation.loss_nats
            elif isinstance(record, Notice):
                self._say("note", text=record.text, important=record.important)
            elif isinstance(record, Step) and time.monotonic() >= next_s:
                next_s = time.monotonic() + PROGRESS_SECONDS
                self._say(
                    "progress",
                    step=record.step,
                    total_steps=record.total_steps,
                    share=record.progress,
                    val_loss_nats=val,
                    train_loss_nats=record.smoothed_loss_nats,
                    remaining_s=record.remaining_s,
                )
        return self._outcome(not record.resumable, trainer.plan.splits, record.test)

    def _outcome(self, finished, splits, test):
        """A run whose test was interrupted is gone on with."""
        measured = test is not None or splits.test[1] - splits.test[0] < 1
        return {
            "state": FINISHED if finished and measured else STOPPED,
            "test_loss_nats": None if test is None else test.loss_nats,
        }

    def _read(self, texts, config):
        key = (config.vocab, config.encoding)
        if key != self._corpus_key:
            if self._corpus is not None:
                self._corpus.close()
            self._corpus = self._corpus_key = None
            self._corpus, self._corpus_key = read_corpus(texts, mode=config.vocab, encoding=config.encoding), key
        return self._corpus

    def _compiles(self, _name):
        from charrnn.kernels.compiled import COMPILE_LISTENERS

        COMPILE_LISTENERS.remove(self._compiles)
        self._say("note", text="compiling kernels for this kind of model", important=False)

    def _say(self, kind, **message):
        with contextlib.suppress(OSError):  # the parent is gone, as the end of stdin says too
            self._out.write(json.dumps({kind: message}) + "\n")
            self._out.flush()


def _no_memory():
    return "this does not fit in memory: lower --hidden-size, --num-layers, --batch-size or --seq-length"
