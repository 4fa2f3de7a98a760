"""Power cuts, stopped writes and full disks, simulated on the record of what a run does in its folder.

A run is trained in this process while every file operation in its folder is recorded: create, link, write, truncate,
fsync, rename, unlink, fsync of the folder. From the record come the folders that may be found after

    a kill        after any byte: what was done is done, the rest is not
    a power cut   after any operation: what was synced is there, of the rest anything goes.
                  The rules of the file system:

        1. What a file held at its last fsync, it holds. Of what was written to it since, all, none, or a part may be
           there, and zeros may stand where data had no time to come.
        2. What became of a folder's names (create, link, rename, unlink) before the folder's last fsync, stands. Of
           what came since, each may have happened or not, whatever became of the others. A rename is one thing: never
           both names, never neither.

Resumed from each such folder the run must come to the same bits; or, while its first checkpoint was on the way, it
begins anew there.
"""

import contextlib
import errno
import functools
import hashlib
import itertools
import math
import os
import random
import resource
import shutil
import subprocess
import sys

from scene import Broken

TITLE = "Power cuts, stopped writes, full disks"
PROMISES = [
    (
        "After a power cut at any moment, a run can be resumed and ends with the same bits",
        "tests/test_cuts.py::test_a_power_cut_at_any_moment_costs_nothing",
    ),
    (
        "The simulation of power cuts is not blind: it finds files that were not synced to the disk",
        "tests/test_cuts.py::test_the_simulation_sees_what_was_not_synced",
    ),
    (
        "If the process dies after any byte that it writes, the run can be resumed and ends with the same bits",
        "tests/test_cuts.py::test_a_death_after_any_byte_costs_nothing",
    ),
    (
        "If the disk is full at any file operation, charrnn ends with one sentence and leaves no temporary file. When "
        "the disk has free space again, the run can be resumed and ends with the same bits",
        "tests/test_cuts.py::test_a_full_disk_at_any_operation_costs_nothing",
    ),
    (
        "If a run reaches a limit on the size of files, the command also ends with one sentence and exit code 2, and "
        "says "
        "what to do next",
        "tests/test_cuts.py::test_a_file_size_limit_stops_a_run_with_what_to_do_next",
    ),
    (
        "A checkpoint file is always complete: it is either the old checkpoint or the new one",
        "tests/test_storage.py::test_a_disk_that_fills_up_halfway_leaves_the_old_file_and_no_temporary",
    ),
    (
        "If a log ends in the middle of a line, it is repaired on resume",
        "tests/test_runs.py::test_a_log_cut_at_any_byte_is_mended",
    ),
]
CLOCK = ("elapsed_s", "chars_per_s")
OPTIONS = {
    "hidden_size": 5,
    "num_layers": 1,
    "batch_size": 3,
    "seq_length": 7,
    "steps": 7,
    "eval_every": 3,
    "log_every": 1,
    "checkpoint_every": 2,
    "val_fraction": 0.1,
    "test_fraction": 0.1,
}


def run(scene):
    figures = {"records": []}
    variants = {"the defaults": {}}
    if not scene.quick:
        variants |= {
            "gru, sgd, constant schedule, no dropout": {
                "cell": "gru",
                "optimizer": "sgd",
                "schedule": "constant",
                "dropout": 0.0,
            },
            "rnn, adagrad, float64, validated at every step": {
                "cell": "rnn",
                "optimizer": "adagrad",
                "dtype": "float64",
                "eval_every": 1,
            },
        }
    for number, (name_of_run, options) in enumerate(variants.items()):
        desk = Desk(scene.folder / str(number), scene.text(characters=1200), {**OPTIONS, **options})
        journal = desk.recorded_run()
        states = power_cuts(journal)
        began_anew = desk.check_all(states if not scene.quick else thinned(states, 60))
        kills = byte_cuts(journal, extra=20 if scene.quick else 400)
        desk.check_all(kills if not scene.quick else thinned(kills, 60))
        operations = desk.full_disks(every=1 if not scene.quick else 9)
        for name, count in (
            ("operations recorded", len(journal.operations)),
            ("folders after power cuts", len(states)),
            ("of them before there was a checkpoint, begun anew", began_anew),
            ("bytes cut", len(kills)),
            ("operations refused by a full disk", operations),
        ):
            figures[name] = figures.get(name, 0) + count
        figures["records"].append(name_of_run)
        desk.close()
    figures["file size limits"] = file_size_limits(scene, 3 if scene.quick else 25)
    figures["a disk that is really full"] = full_tmpfs(scene, 4 if scene.quick else 40)
    if not scene.quick:
        figures["others on a full disk"] = others_on_a_full_disk(scene)
    return figures


def tell(figures):
    disk = figures["a disk that is really full"]
    return (
        f"**Power cuts.** {len(figures['records'])} runs were recorded ({'; '.join(figures['records'])}). Each was "
        f"interrupted and resumed once, and all their {figures['operations recorded']:,} file operations were written "
        "down. Power cuts between these operations were then simulated by the rules in "
        "[soak/cuts.py](../soak/cuts.py). "
        f"They can leave the run folder in {figures['folders after power cuts']:,} different states. From each of "
        "these "
        "states the run was resumed. Each time it ended with the same parameters, optimiser state, carry, best "
        "checkpoint, history and log as the uninterrupted run. In "
        f"{figures['of them before there was a checkpoint, begun anew']:,} of these states there is no checkpoint yet; "
        "then the same command starts the run again.\n\n"
        "**Writes that stop.** Three more failures were tested. The process died after each of "
        f"{figures['bytes cut']:,} written bytes. A full disk refused each of "
        f"{figures['operations refused by a full disk']:,} operations. {figures['file size limits']:,} runs of the "
        "command line reached a limit on the size of files. With the full disk and with the limit, each run ended with "
        "one sentence and left no temporary file; the exit code of the command line was 2. After all three failures, "
        "the run was resumed and gave the same result.\n\n**Really full disks.** "
        + (
            f"The test with the full disk was repeated {disk:,} times on a tmpfs that was really full, with the same "
            "result."
            if disk
            else "No file system could be mounted and really filled."
        )
        + (
            f" Other commands and files were also tested on such a full disk: {', '.join(others)}."
            if (others := figures.get("others on a full disk"))
            else ""
        )
        + "\n\nIn all tests, everything was compared except the times (`elapsed_s`, `chars_per_s`) and the path of the "
        "text."
    )


# ------------------------------------------------------------------------------------------------------ runs to break


class Desk:
    """A folder with one text and one set of options, on which runs are made, broken and compared; to be closed.

    While it is open, fsync does nothing: the cuts are simulated, and no disk is to be worn out by thousands of runs.
    """

    def __init__(self, folder, text, options):
        from charrnn.text.corpus import read_corpus
        from charrnn.training.options import TrainingConfig

        self.folder, self.config = folder, TrainingConfig(**options)
        self._fsync, os.fsync = os.fsync, lambda descriptor: None
        folder.mkdir()
        self.corpus = read_corpus([text])
        self.whole = folder / "whole"
        self.start(self.whole)
        self.wanted = result(self.whole)

    def close(self):
        os.fsync = self._fsync
        self.corpus.close()

    def start(self, path, stop_at=None):
        from charrnn.runs.folder import RunFolder
        from charrnn.training.plan import plan_run
        from charrnn.training.trainer import Trainer

        with RunFolder.create(path) as run:
            return _go(Trainer(plan_run(self.config, self.corpus), self.corpus, run, samples=False), stop_at)

    def resume(self, path, stop_at=None):
        from charrnn.runs.checkpoint import load_checkpoint
        from charrnn.runs.folder import RunFolder
        from charrnn.training.plan import plan_resume
        from charrnn.training.trainer import Trainer

        with RunFolder.open(path) as run:
            checkpoint = load_checkpoint(run.last)
            if checkpoint.training["finished"]:
                return None
            return _go(Trainer(plan_resume(checkpoint, self.corpus), self.corpus, run, samples=False), stop_at)

    def recorded_run(self, forget=()):
        """Train, drop the run at step 5 as a kill would, resume it to its end; return the Journal."""
        path = self.folder / "recorded"
        with Journal(path, forget) as journal:
            self.start(path, stop_at=5)
            self.resume(path)
        self.compare(path, "the recorded run")
        return journal

    def check_all(self, states):
        """Go on from each folder; return how many had to begin anew."""
        return sum(self.check(state) for state in states)

    def check(self, state):
        """Make the folder, go on from it, compare the end. Return whether it had to begin anew."""
        path = self.folder / "found"
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir()
        for name, content in state.files.items():
            (path / name).write_bytes(content)
        anew = "last.safetensors" not in state.files
        if anew and state.began:
            raise Broken(f"{state.told}: the checkpoint is gone")
        try:
            (self.start if anew else self.resume)(path)
        except Exception as error:
            raise Broken(f"{state.told}: {type(error).__name__}: {error}") from error
        self.compare(path, state.told)
        return anew

    def compare(self, path, told):
        end = result(path)
        for part, value in self.wanted.items():
            if end[part] != value:
                raise Broken(f"{told}: another {part} at the end than in the uninterrupted run")

    def full_disks(self, every=1):
        """Let the disk be full from each operation on, then free it and resume; return how many operations it was."""
        from charrnn.errors import StorageError

        path, refused = self.folder / "full", 0
        for number in itertools.count(0, every):
            shutil.rmtree(path, ignore_errors=True)
            with FullDisk(path, number) as disk:
                try:
                    self.start(path)
                except StorageError as error:
                    if "free some space" not in str(error):
                        raise Broken(f"operation {number} on a full disk: no remedy in {error}") from error
                except BaseException as error:
                    raise Broken(f"operation {number} on a full disk: {type(error).__name__}: {error}") from error
            if not disk.refused:
                return refused
            refused += 1
            left = set(os.listdir(path)) if path.exists() else set()
            if any(name.endswith(".tmp") or name == "lock" for name in left):
                raise Broken(f"operation {number} on a full disk leaves {sorted(left)}")
            (self.resume if "last.safetensors" in left else self.start)(path)
            self.compare(path, f"operation {number} on a full disk")


def _go(trainer, stop_at):
    from charrnn.training.records import Step

    for record in trainer.run():
        if isinstance(record, Step) and record.step == stop_at:
            return trainer
    return trainer


def result(path):
    """Return {part: value} of a run's end, without what the clock and the place decide; equal means the same bits."""
    from charrnn.runs.checkpoint import load_checkpoint
    from charrnn.runs.folder import read_log

    # A kill after the last save leaves `good`, and the lock that nobody holds, behind, to no effect.
    end = {"set of files": sorted(name for name in os.listdir(path) if name not in ("good.safetensors", "lock"))}
    for name in ("last", "best"):
        checkpoint = load_checkpoint(path / f"{name}.safetensors")
        for part in ("parameters", "optimizer", "carry"):
            digest = hashlib.sha256()
            for key, array in sorted(getattr(checkpoint, part).items()):
                digest.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
            end[f"{part} of {name}"] = digest.hexdigest()
        training = {key: value for key, value in checkpoint.training.items() if key not in (*CLOCK, "corpus")}
        training["last"] = {key: value for key, value in (training["last"] or {}).items() if key not in CLOCK}
        end[f"record of {name}"] = training
        end[f"text of {name}"] = checkpoint.training["corpus"]["fingerprint"]
    end["log"] = [
        {key: value for key, value in record.items() if key not in CLOCK} for record in read_log(path / "log.jsonl")
    ]
    return end


# ------------------------------------------------------------------------------------------------------- the recorder


class _Watch:
    """Stands between this process and `os` for what is done in one folder."""

    WATCHED = ("open", "write", "ftruncate", "fsync", "link", "replace", "unlink", "close")

    def __init__(self, folder):
        self.folder = os.path.abspath(folder)
        self.paths = {}  # of open descriptors

    def __enter__(self):
        self.real = {name: getattr(os, name) for name in self.WATCHED}
        for name in self.WATCHED:
            setattr(os, name, getattr(self, name))
        return self

    def __exit__(self, *exception):
        for name, function in self.real.items():
            setattr(os, name, function)

    def name(self, path):
        """Return a path's name in the folder; "" is the folder itself, None is elsewhere."""
        path = os.path.abspath(os.fspath(path)) if isinstance(path, (str, os.PathLike)) else ""
        return "" if path == self.folder else os.path.basename(path) if os.path.dirname(path) == self.folder else None

    def open(self, path, flags, *arguments, **keywords):
        descriptor = self.real["open"](path, flags, *arguments, **keywords)
        if self.name(path) is not None:
            self.paths[descriptor] = self.name(path)
        return descriptor

    def close(self, descriptor):
        self.paths.pop(descriptor, None)
        return self.real["close"](descriptor)

    def __getattr__(self, name):
        return self.real[name]


class Journal(_Watch):
    """The record of what was done in a folder: (what, inode, ...), in order.

    forget   kinds of fsync to leave out of it
    """

    def __init__(self, folder, forget=()):
        super().__init__(folder)
        self.forget, self.operations, self.inodes, self.names, self.sizes = forget, [], {}, {}, {}

    def open(self, path, flags, *arguments, **keywords):
        descriptor = super().open(path, flags, *arguments, **keywords)
        name = self.name(path)
        if name and flags & os.O_CREAT:
            if name not in self.names:
                self.names[name] = len(self.sizes)
                self.sizes[self.names[name]] = 0
                self.operations.append(("create", name, self.names[name]))
            self.inodes[descriptor] = self.names[name]
        return descriptor

    def close(self, descriptor):
        self.inodes.pop(descriptor, None)
        return super().close(descriptor)

    def write(self, descriptor, data):
        count = self.real["write"](descriptor, data)
        inode = self.inodes.get(descriptor)
        if inode is not None:  # every file here is written from its end on
            self.operations.append(("write", inode, bytes(memoryview(data)[:count])))
            self.sizes[inode] += count
        return count

    def ftruncate(self, descriptor, length):
        self.real["ftruncate"](descriptor, length)
        if descriptor in self.inodes:
            self.operations.append(("truncate", self.inodes[descriptor], length))
            self.sizes[self.inodes[descriptor]] = length

    def fsync(self, descriptor):
        self.real["fsync"](descriptor)
        if descriptor in self.inodes:
            kind = "log" if self.paths[descriptor] == "log.jsonl" else "file"
            if kind not in self.forget:
                self.operations.append(("sync", self.inodes[descriptor]))
        elif self.paths.get(descriptor) == "" and "folder" not in self.forget:
            self.operations.append(("syncdir",))

    def link(self, source, target):
        self.real["link"](source, target)
        inode = self.names[self.name(target)] = self.names[self.name(source)]
        self.operations.append(("link", self.name(target), inode))

    def replace(self, source, target):
        self.real["replace"](source, target)
        if self.name(target) and self.names[self.name(source)] != self.names.get(self.name(target)):
            inode = self.names[self.name(target)] = self.names.pop(self.name(source))
            self.operations.append(("rename", self.name(source), self.name(target), inode))

    def unlink(self, path, **keywords):
        self.real["unlink"](path, **keywords)
        if self.name(path) in self.names:
            self.operations.append(("unlink", self.name(path), self.names.pop(self.name(path))))


class FullDisk(_Watch):
    """Refuses every operation that needs room from the `first` on: create, write, fsync and rename in the folder."""

    def __init__(self, folder, first):
        super().__init__(folder)
        self.first, self.seen, self.refused = first, 0, False

    def _take(self, path):
        if path is not None:
            self.seen += 1
            if self.seen > self.first:
                self.refused = True
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def open(self, path, flags, *arguments, **keywords):
        if flags & os.O_CREAT:
            self._take(self.name(path))
        return super().open(path, flags, *arguments, **keywords)

    def write(self, descriptor, data):
        self._take(self.paths.get(descriptor))
        return self.real["write"](descriptor, data)

    def fsync(self, descriptor):
        self._take(self.paths.get(descriptor))
        return self.real["fsync"](descriptor)

    def link(self, source, target):
        self._take(self.name(target))
        return self.real["link"](source, target)

    def replace(self, source, target):
        self._take(self.name(target))
        return self.real["replace"](source, target)


# --------------------------------------------------------------------------------------------- what may be found then


class State:
    """A folder as it may be found: {name: content}; began: whether a checkpoint had been promised by then."""

    def __init__(self, files, began, told):
        self.files, self.began, self.told = files, began, told


def power_cuts(journal, most=None):
    """Return a State for every different folder that a power cut after any operation may leave.

    most : of how many combinations of the files' forms after one operation, spread over all of them; None takes each
    """
    states, contents, pending, names, changes, began = {}, {}, {}, {}, [], False
    for number, operation in enumerate([("begin",), *journal.operations]):
        what, *rest = operation
        if what in ("create", "link", "rename", "unlink"):
            changes.append(operation)
            if what == "create":
                contents[rest[1]], pending[rest[1]] = b"", []
        elif what in ("write", "truncate"):
            pending[rest[0]].append(operation)
        elif what == "sync":
            contents[rest[0]] = _written(contents[rest[0]], pending[rest[0]])
            pending[rest[0]] = []
        elif what == "syncdir":
            names, changes = _renamed(names, changes), []
            began = began or "last.safetensors" in names
        for kept in _subsets(len(changes)):
            found = _renamed(names, [change for change, is_kept in zip(changes, kept) if is_kept])
            # What is on the way to be a file, or tells who has the lock, is removed by whoever comes next: one form of
            # it will do.
            choices = [
                (_forms if name in ("log.jsonl", "config.toml") or name.endswith("safetensors") else _one_form)(
                    contents[inode], pending[inode]
                )
                for name, inode in found.items()
            ]
            count = math.prod(map(len, choices))
            step = 1 if most is None or count <= most else count // most | 1
            for chosen in itertools.islice(itertools.product(*choices), 0, None, step):
                files = dict(zip(found, chosen))
                key = tuple(
                    sorted(
                        (name, hashlib.sha256(content).digest())
                        for name, content in files.items()
                        if not name.endswith(".tmp")
                    )
                )
                states.setdefault((key, began), State(files, began, f"power cut after operation {number} ({what})"))
    return list(states.values())


def _subsets(count):
    """Yield which of `count` changes have happened.

    Every choice; of very many changes the first so many, all but one, and one.
    """
    if count <= 8:
        yield from itertools.product((False, True), repeat=count)
        return
    for number in range(count):
        yield [other < number for other in range(count)]
        yield [other == number for other in range(count)]
        yield [other != number for other in range(count)]


def byte_cuts(journal, extra, seed=1):
    """Return a State for a death before and after the first and last byte of each write, and after `extra` others."""
    total = sum(len(operation[2]) for operation in journal.operations if operation[0] == "write")
    borders, at = set(), 0
    for operation in journal.operations:
        if operation[0] == "write":
            borders |= {at, at + 1, at + len(operation[2]) - 1}
            at += len(operation[2])
    borders |= set(random.Random(seed).sample(range(total), min(extra, total)))
    states, at, files, names, began = [], 0, {}, {}, False
    for operation in journal.operations:
        what, *rest = operation
        if what == "write":
            for cut in sorted(cut for cut in borders if at <= cut < at + len(rest[1])):
                found = {
                    name: files[inode] + (rest[1][: cut - at] if inode == rest[0] else b"")
                    for name, inode in names.items()
                }
                states.append(State(found, began, f"death after byte {cut} of {total}"))
            at += len(rest[1])
        if what in ("write", "truncate"):
            files[rest[0]] = _written(files[rest[0]], [operation])
        elif what in ("create", "link", "rename", "unlink"):
            names = _renamed(names, [operation])
            if what == "create":
                files[rest[1]] = b""
            began = began or "last.safetensors" in names
    return states


def _written(content, operations):
    for what, _inode, value in operations:
        content = content[:value].ljust(value, b"\0") if what == "truncate" else content + value
    return content


def _renamed(names, changes):
    names = dict(names)
    for what, *rest in changes:
        if what in ("create", "link"):
            names[rest[0]] = rest[1]
        elif what == "rename":
            names.pop(rest[0], None)
            names[rest[1]] = rest[2]
        else:
            names.pop(rest[0], None)
    return names


def _forms(content, pending):
    """Yield what a file may hold after a power cut, by rule 1."""
    whole = _written(content, pending)
    new = whole[len(content) :]
    forms = {
        content,
        whole,
        content + new[: len(new) // 2],
        content + new[:-1],
        content + bytes(len(new)),
        content + bytes(len(new) // 2) + new[len(new) // 2 :],
    }
    return sorted(forms)


def _one_form(content, pending):
    whole = _written(content, pending)
    return [whole[: len(whole) // 2]]


def thinned(states, most):
    """Return about so many of the states, spread over all of them."""
    return states[:: max(1, len(states) // most)]


# -------------------------------------------------------------------------------------- the command line on full disks


def command(text):
    """Return the arguments of a run whose checkpoint and log grow as it goes."""
    return [
        text,
        "--hidden-size",
        6,
        "--num-layers",
        1,
        "--batch-size",
        3,
        "--seq-length",
        7,
        "--steps",
        60,
        "--eval-every",
        20,
        "--log-every",
        1,
        "--checkpoint-every",
        10,
        "--no-sample",
        "-q",
    ]


def stopped_by_the_disk(scene, path, folder, done):
    """Check what a run that met a full disk said and left; return whether there is something to resume."""
    if done.returncode != 2 or not done.stderr.startswith("Error: ") or "Traceback" in done.stderr:
        raise Broken(f"{folder}: exit code {done.returncode}, {done.stderr!r}")
    left = set(os.listdir(path)) if path.exists() else set()
    if any(name.endswith(".tmp") or name == "lock" for name in left):
        raise Broken(f"{folder} leaves {sorted(left)}")
    if "last.safetensors" in left and f"charrnn train --resume {folder}" not in done.stderr:
        raise Broken(f"{folder}: it is not said how to go on: {done.stderr!r}")
    return "last.safetensors" in left


def file_size_limits(scene, count):
    """Run `charrnn train` under limits on the size of a file, from 1 byte to what it needs.

    Return how many runs met their limit.
    """
    text = scene.text("limits.txt", 1200)
    whole = scene.folder / "whole"
    _expect(0, scene.charrnn("train", *command(text), "-o", "whole"))
    wanted = result(whole)
    most = max(path.stat().st_size for path in whole.iterdir())
    for number in range(count):
        # The first checkpoint takes four fifths of the last: most limits are to be met on the way.
        limit = 1 + int(most * (number / count if number % 3 == 0 else 0.7 + 0.3 * number / count))
        name = f"limit-{number}"
        done = scene.charrnn(
            "train",
            *command(text),
            "-o",
            name,
            preexec_fn=functools.partial(resource.setrlimit, resource.RLIMIT_FSIZE, (limit, limit)),
            environment={"CHARRNN_CACHE_DIR": os.environ.get("CHARRNN_CACHE_DIR", "")},
        )
        if stopped_by_the_disk(scene, scene.folder / name, name, done):
            _expect(0, scene.charrnn("train", "--resume", name, "-q", "--no-sample"))
        else:
            shutil.rmtree(scene.folder / name, ignore_errors=True)
            _expect(0, scene.charrnn("train", *command(text), "-o", name))
        _compare(result(scene.folder / name), wanted, f"a limit of {limit} bytes")
    return count


def full_tmpfs(scene, count):
    """Run `charrnn train` on a small file system that is really full; 0 where none may be mounted."""
    with _tmpfs(scene) as disk:
        if disk is None:
            return 0
        text, met = scene.text("disk.txt", 1200), 0
        _expect(0, scene.charrnn("train", *command(text), "-o", "disk/whole"))
        wanted = result(disk / "whole")
        used = sum(path.stat().st_size for path in (disk / "whole").iterdir())
        shutil.rmtree(disk / "whole")
        page = os.sysconf("SC_PAGE_SIZE")
        for number in range(count):
            room = page * (1 + number * (used // page + 8) // count)
            _fill(disk / "ballast", room)
            done = scene.charrnn("train", *command(text), "-o", "disk/run")
            if done.returncode:
                met += 1
                begun = stopped_by_the_disk(scene, disk / "run", "disk/run", done)
                (disk / "ballast").unlink()
                _expect(
                    0,
                    scene.charrnn(
                        "train",
                        *(
                            ("--resume", "disk/run", "-q", "--no-sample")
                            if begun
                            else (*command(text), "-o", "disk/run")
                        ),
                    ),
                )
            _compare(result(disk / "run"), wanted, f"a disk with {room} bytes left")
            shutil.rmtree(disk / "run")
            (disk / "ballast").unlink(missing_ok=True)
        return met


def others_on_a_full_disk(scene):
    """Let everything else that charrnn writes meet a full disk; return what did, [] where none may be mounted."""
    with _tmpfs(scene) as disk:
        if disk is None:
            return []
        text, page = scene.text("others.txt", 6000), os.sysconf("SC_PAGE_SIZE")
        options = [
            "--hidden-size",
            6,
            "--num-layers",
            1,
            "--batch-size",
            3,
            "--seq-length",
            7,
            "--steps",
            5,
            "--no-sample",
            "-q",
        ]
        _expect(0, scene.charrnn("train", text, *options, "-o", "model"))
        on_disk = {"CHARRNN_CACHE_DIR": str(disk / "cache")}
        # Room for the ids of the text and not for machine code: compiled in memory, and on it goes.
        _fill(disk / "ballast", 6 * page)
        _expect(0, scene.charrnn("train", text, *options, "-o", "uncached", environment=on_disk))
        _compare(
            result(scene.folder / "uncached"), result(scene.folder / "model"), "a full disk under the kernel cache"
        )
        left = [path.name for path in disk.rglob("*.tmp")]
        shutil.rmtree(disk / "cache")
        (disk / "ballast").unlink()
        (disk / "cache").mkdir()
        _fill(disk / "ballast", 0)
        refused = {
            "the ids of a text": (["train", text, *options, "-o", "none"], on_disk),
            "`charrnn cells --html`": (["cells", "model", text, "--html", disk / "page.html"], {}),
            "`charrnn corpus build`": (["corpus", "build", "python", "-o", disk / "python.txt"], {}),
        }
        for told, (arguments, environment) in refused.items():
            done = scene.charrnn(*arguments, environment=environment)
            errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
            if (
                done.returncode != 2
                or len(errors) != 1
                or "free some space" not in errors[0]
                or "Traceback" in done.stderr
            ):
                raise Broken(f"{told} on a full disk: exit code {done.returncode}, {done.stderr!r}")
        left += [path.name for path in disk.rglob("*") if path.is_file() and path.name != "ballast"]
        if left or (scene.folder / "none").exists():
            raise Broken(f"a full disk is left with {left}")
        return ["the kernel cache (compiled in memory, same bits)", *refused]


@contextlib.contextmanager
def _tmpfs(scene):
    """Mount a file system of 512 kB and give its folder, or None where that is not permitted."""
    disk = scene.folder / "disk"
    disk.mkdir(exist_ok=True)
    mounted = (
        sys.platform == "linux"
        and not subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", disk], capture_output=True
        ).returncode
    )
    try:
        yield disk if mounted else None
    finally:
        if mounted:
            subprocess.run(["umount", disk], capture_output=True)


def _fill(path, room):
    """Fill the file system up to the last `room` bytes."""
    status = os.statvfs(path.parent)
    with contextlib.suppress(OSError), open(path, "wb") as file:
        file.write(bytes(max(0, status.f_bavail * status.f_frsize - room)))


def _expect(code, done):
    if done.returncode != code:
        raise Broken(f"exit code {done.returncode}, {code} expected: {done.stderr}")


def _compare(end, wanted, told):
    for part, value in wanted.items():
        if end[part] != value:
            raise Broken(f"{told}: another {part} at the end than in the uninterrupted run")
