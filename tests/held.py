"""Run charrnn in a process of its own and signal it while a training is at its first step, however fast the machine is.

    process = held.start("train", "text.txt", ...)
    held.wait_until_held(process)        the first step is made, and no other before the run is asked to stop
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()

The process has the signals' own handlers, also where the tests run in the background or under nohup: their children
ignore SIGINT or SIGHUP otherwise, and charrnn leaves what is ignored so.
"""

import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

TESTS = Path(__file__).parent
SECONDS = 120  # a process that takes longer hangs, and is killed


def start(*arguments):
    """Start charrnn with these arguments, its output in pipes."""
    descriptor, marker = tempfile.mkstemp(prefix="charrnn-held-")
    os.close(descriptor)
    process = subprocess.Popen(
        [sys.executable, "-c", "import held, sys; sys.exit(held.main())", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)]), "HELD_MARKER": marker},
    )
    process.marker = Path(marker)
    watchdog = threading.Timer(SECONDS, process.kill)
    watchdog.daemon = True
    watchdog.start()
    return process


def wait_until_held(process):
    """Return when a training of the process has made its first step and waits."""
    while not process.marker.read_text():
        assert process.poll() is None, process.stderr.read()
        time.sleep(0.02)
    process.marker.unlink()


def use_default_handlers():
    """Handle signals as a program does that a shell started in the foreground."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


def hold_trainings():
    """Let every Trainer of this process wait after its first step until it is asked to stop."""
    from charrnn.training.trainer import Trainer

    run, stop = Trainer.run, Trainer.stop
    asked = set()

    def run_held(self):
        held = False
        for record in run(self):
            yield record
            if type(record).__name__ == "Step" and not held:
                held = True
                Path(os.environ["HELD_MARKER"]).write_text("held")
                while id(self) not in asked:
                    time.sleep(0.01)

    def stop_held(self):
        asked.add(id(self))
        stop(self)

    Trainer.run, Trainer.stop = run_held, stop_held


def main():
    """Be the process that `start` starts: charrnn, its trainings and those of its children held."""
    from charrnn import cli
    from charrnn.sweep import children

    use_default_handlers()
    hold_trainings()
    children.CHILD = f"import held\nheld.hold_trainings()\n{children.CHILD}"
    return cli.main(sys.argv[1:])
