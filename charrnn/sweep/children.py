"""A child process of a sweep, as the parent has it: started, given runs, listened to, ended.

It gets its jobs on stdin and says what happens on stdout, a JSON line each. The end of its stdin, which is also the
parent's, asks it to stop after the step at hand, saved. serve.py is its own side.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading

# What a child is started with: the parent's search path, so that it imports the same charrnn.
CHILD = """
import json, sys
sys.path[:] = json.loads(sys.argv[1])
from charrnn.sweep.serve import serve
serve(int(sys.argv[2]))
"""


class Child:
    """A process that makes one run after the other. What it says goes into `events` as (child, message).

    Its end is the message None.

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
            return "its process was killed, perhaps because memory ran out: lower --jobs or the size of the model"
        last = self.said.splitlines()[-1:] or ["it printed no message"]
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
    """Hold signals back for a moment.

    A process started meanwhile never gets them: what to do about them is for the parent to say.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
