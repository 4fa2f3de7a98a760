"""A child process of a sweep, seen from inside: it makes one run after the other, and reads the text once.

Jobs come on stdin, messages go out on stdout, a JSON line each: {"note": ...}, {"progress": ...}, {"ended": ...}. Of a
job that other workers may take as well, "claimed" comes first, or instead "busy", where one of them is at it, or
"settled", where it has ended.
"""

import contextlib
import json
import os
import queue
import sys
import threading
import time
import traceback
from pathlib import Path

from charrnn.errors import CharRNNError, CheckpointError, DivergenceError
from charrnn.kernels import set_num_threads
from charrnn.kernels.machine_code import COMPILE_LISTENERS
from charrnn.runs.checkpoint import read_metadata
from charrnn.runs.folder import FolderHeld, RunFolder
from charrnn.runs.names import LAST
from charrnn.sweep.drafts import NO_MEMORY
from charrnn.sweep.folder import standing, stored_run
from charrnn.sweep.members import results_lock
from charrnn.sweep.results import DIVERGED, ENDED, FAILED, FINISHED, STOPPED, record_outcome, stored_results
from charrnn.text.corpus import read_corpus
from charrnn.training.options import TrainingConfig
from charrnn.training.plan import plan_resume, plan_run
from charrnn.training.provenance import check_corpus
from charrnn.training.records import Evaluated, Notice, Step
from charrnn.training.spelling import spelt_in_file
from charrnn.training.trainer import Trainer
from charrnn.training.validation import evaluate_test

PROGRESS_SECONDS = 0.25  # between two messages about a run at least


def serve(threads):
    """Make the runs that come on stdin, say on stdout what happens, and end with stdin. threads : 0 for all."""
    out = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever prints must not come between the messages
    try:
        _Server(out).serve(threads)
        out.close()
    except BaseException:
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
        if threads:
            set_num_threads(threads)
        COMPILE_LISTENERS.append(self._compiles)
        threading.Thread(target=self._listen, daemon=True).start()
        while (job := self._jobs.get()) is not None:
            make = self._share if job.get("shared") else self._make
            make(Path(job["folder"]), job["texts"], TrainingConfig(**job["options"]))

    def _outcome_of(self, path, work, shared=False):
        """Return what `work` returns as the outcome of a run, or how it failed; with what its last checkpoint says.

        shared : raise FolderHeld, where another worker has the run by now
        """
        try:
            outcome = work()
        except DivergenceError as error:
            outcome = {"state": DIVERGED, "error": spelt_in_file(str(error))}
        except CharRNNError as error:
            if isinstance(error, FolderHeld) and shared:
                raise
            outcome = {"state": FAILED, "error": spelt_in_file(str(error))}
        except MemoryError:
            outcome = {"state": FAILED, "error": NO_MEMORY}
        except OSError as error:
            outcome = {"state": FAILED, "error": f"{(error.strerror or str(error)).lower()}: {error.filename}"}
        self._trainer = None
        with contextlib.suppress(CheckpointError):
            outcome = {**standing(read_metadata(path / LAST)["training"]), **outcome}
        return outcome

    def _share(self, path, texts, config):
        """Make a run that other workers may want to make as well, or go on with it, unless one of them is at it.

        How it ended is in results.json before the run's lock is given back.
        """
        if self._stopping.is_set():
            return self._say("busy")
        with contextlib.ExitStack() as stack:
            try:
                folder = stack.enter_context(RunFolder.claim(path))
            except FolderHeld:
                return self._say("busy")
            except CharRNNError as error:
                return self._say("ended", state=FAILED, error=spelt_in_file(str(error)))
            before = stored_results(path.parent).get(path.name)
            if before is not None and before.state in ENDED:
                return self._say("settled")
            training = stored_run(path)
            self._say("claimed", **(standing(training) if training else {}))
            try:
                outcome = self._outcome_of(path, lambda: self._make_claimed(folder, texts, config), shared=True)
            except FolderHeld as error:  # it was, and is another's now
                self._say("note", text=str(error), important=True)
                return self._say("busy")
            with contextlib.suppress(CharRNNError), results_lock(path.parent):  # the parent tries as well
                record_outcome(path.parent, path.name, outcome)
        return self._say("ended", **outcome)

    def _listen(self):
        for line in sys.stdin.buffer:
            self._jobs.put(json.loads(line))
        self._stopping.set()
        if self._trainer is not None:
            self._trainer.stop()
        self._jobs.put(None)

    def _make(self, path, texts, config):
        """Make a run, or go on with it."""
        self._say("ended", **self._outcome_of(path, lambda: self._make_alone(path, texts, config)))

    def _make_alone(self, path, texts, config):
        if self._stopping.is_set():
            return {"state": STOPPED}
        corpus = self._read(texts, config)
        if (path / LAST).exists():
            with RunFolder.open(path) as folder:
                return self._go_on(folder, corpus, texts, config)
        plan = plan_run(config, corpus)
        with RunFolder.create(path) as folder:
            return self._train(Trainer(plan, corpus, folder, texts, samples=False))

    def _make_claimed(self, folder, texts, config):
        corpus = self._read(texts, config)
        if folder.last.exists():
            return self._go_on(folder, corpus, texts, config)
        return self._train(Trainer(plan_run(config, corpus), corpus, folder, texts, samples=False))

    def _go_on(self, folder, corpus, texts, config):
        checkpoint, _ = folder.load_last()
        training = checkpoint.training
        if not training.get("finished"):
            return self._train(Trainer(plan_resume(checkpoint, corpus), corpus, folder, texts, samples=False))
        # Ended between its last checkpoint and the result.
        check_corpus(training, corpus, "restore the old text, or name another folder with -o/--output")
        splits = corpus.split(config.val_fraction, config.test_fraction)
        test = evaluate_test(folder, corpus, splits, training["validated"], interrupted=self._stopping.is_set)
        return self._outcome(True, splits, test)

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
        key = config.reading()
        if key != self._corpus_key:
            if self._corpus is not None:
                self._corpus.close()
            self._corpus = self._corpus_key = None
            self._corpus, self._corpus_key = read_corpus(texts, **key), key
        return self._corpus

    def _compiles(self, _name):
        COMPILE_LISTENERS.remove(self._compiles)
        self._say("note", text="compiling the kernels for this kind of model", important=False)

    def _say(self, kind, **message):
        with contextlib.suppress(OSError):  # the parent is gone, as the end of stdin says too
            self._out.write(json.dumps({kind: message}) + "\n")
            self._out.flush()
