"""A process that dies at one of its operations on files, played within this process."""

import contextlib
import os

OPERATIONS = ("link", "replace", "unlink", "fsync", "write", "ftruncate")


class Killed(BaseException):
    """Raised where the process would be no more."""


@contextlib.contextmanager
def killed_at(operation):
    """Let the body go on up to its n-th operation on files (None: to its end).

    Neither that operation nor any that would follow is done.
    Yields [the number of operations]. No clean-up takes place on the disk, as after kill -9.
    """
    count, real = [0], {name: getattr(os, name) for name in OPERATIONS}

    def counted(function):
        def call(*arguments, **keywords):
            count[0] += 1
            if operation is not None and count[0] >= operation:
                raise Killed
            return function(*arguments, **keywords)

        return call

    for name, function in real.items():
        setattr(os, name, counted(function))
    try:
        yield count
    except Killed:
        pass
    finally:
        for name, function in real.items():
            setattr(os, name, function)
