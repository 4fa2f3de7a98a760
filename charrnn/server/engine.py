"""The thread in which texts are drawn, and how requests meet it.

A Job is a request's texts. Requests live in an event loop, the batch in a thread of its own: what is drawn is handed to
the loop, and a job whose client does not take it is paused until it does.
"""

from __future__ import annotations

import asyncio
import threading
import traceback
from collections.abc import Callable

from charrnn.server.batching import Batch, Drawing, Growth

MAX_BACKLOG = 20_000  # characters that wait for a client before its texts are paused


class Busy(Exception):
    """There are as many requests as the engine takes."""


class Job:
    """The texts of a request.

    drawings    list of Drawing
    """

    def __init__(self, drawings: list[Drawing]):
        self.drawings = drawings
        self.unfinished = len(drawings)  # counted by the engine's thread
        self._loop = asyncio.get_running_loop()
        self._arrived: list[Growth] = []
        self._news = asyncio.Event()
        self.backlog = 0  # by the loop's
        for one in drawings:
            one.owner = self

    def deliver(self, drawn: list[Growth]):
        """Hand what was drawn to the loop; called in the engine's thread."""
        try:
            self._loop.call_soon_threadsafe(self._take, drawn)
        except RuntimeError:  # the loop is closed, as nobody waits any more
            pass

    def _take(self, drawn):
        self._arrived += drawn
        self.backlog += sum(len(one.ids) for one in drawn)
        if self.backlog > MAX_BACKLOG:
            for one in self.drawings:
                one.paused = True
        self._news.set()

    async def next(self) -> list[Growth]:
        """Wait for what is drawn next, and return it."""
        await self._news.wait()
        self._news.clear()
        arrived, self._arrived = self._arrived, []
        return arrived


class Engine:
    """Draws the texts of many jobs in one batch.

    max_jobs    jobs at once; a further one is refused
    """

    def __init__(self, model, max_jobs: int, say: Callable[[str], None] = print):
        self._batch, self._max_jobs, self._say = Batch(model.for_drawing()), max_jobs, say
        self._wake = threading.Condition()
        self._new: list[Job] = []
        self._jobs: set[Job] = set()
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="charrnn-engine", daemon=True)

    def start(self):
        self._thread.start()

    def close(self):
        """End the thread after the block at hand."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join()

    @property
    def is_alive(self):
        """Whether the thread draws."""
        return self._thread.is_alive()

    @property
    def jobs(self):
        """How many jobs there are."""
        return len(self._jobs)

    def submit(self, job: Job):
        """Let the texts of a job be drawn. Raises Busy."""
        with self._wake:
            if len(self._jobs) >= self._max_jobs:
                raise Busy
            self._jobs.add(job)
            self._new.append(job)
            self._wake.notify()

    def consumed(self, job: Job):
        """Let a job go on that was paused: its client has taken what was drawn."""
        job.backlog = 0
        if any(one.paused for one in job.drawings):
            with self._wake:
                for one in job.drawings:
                    one.paused = False
                self._wake.notify()

    def cancel(self, job: Job):
        """Draw no more for a job. Nothing happens to one that is finished."""
        with self._wake:
            for one in job.drawings:
                one.cancelled = True
            self._jobs.discard(job)
            self._wake.notify()

    def _run(self):
        while True:
            with self._wake:
                while not (self._closing or self._new or self._batch.has_work()):
                    self._wake.wait()
                if self._closing:
                    return
                self._take_new()
            self._hand_out(self._step())

    def _take_new(self):
        for job in self._new:
            for one in job.drawings:
                self._batch.add(one)
        self._new.clear()

    def _step(self):
        """Draw a block; where that fails, which is a defect or a lack of memory, end all texts."""
        try:
            return self._batch.step()
        except Exception:
            self._say(f"the current requests failed:\n{traceback.format_exc()}")
            return [Growth(one, [], "error") for one in self._batch.drop()]

    def _hand_out(self, drawn):
        by_job: dict[Job, list[Growth]] = {}
        for one in drawn:
            by_job.setdefault(one.drawing.owner, []).append(one)
        for job, of_job in by_job.items():
            job.unfinished -= sum(one.finished is not None for one in of_job)
            if job.unfinished == 0:
                with self._wake:
                    self._jobs.discard(job)
            job.deliver(of_job)
