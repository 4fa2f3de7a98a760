"""Signals while a command works: the first asks it to stop, saved; a second Ctrl-C interrupts it at once."""

import contextlib
import signal


@contextlib.contextmanager
def signals_stop(stop):
    """Let a first Ctrl-C, SIGTERM or SIGHUP call `stop` and a second Ctrl-C interrupt at once.

    Yields the list of the signals received, which grows.
    """
    received = []

    def handler(number, _frame):
        if received and number == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(number)
        stop()

    signals = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
    # What is ignored stays so: nohup means it.
    before = {
        number: signal.signal(number, handler) for number in signals if signal.getsignal(number) != signal.SIG_IGN
    }
    try:
        yield received
    finally:
        for number, old in before.items():
            signal.signal(number, old)
