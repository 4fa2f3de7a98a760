"""The run folder of a group of processes: only the first process has it, but all call its methods."""

from charrnn.distributed.group import from_first


def _of_the_first(name):
    def method(self, *arguments, **named):
        return from_first(self._group, lambda: getattr(self._folder, name)(*arguments, **named))

    method.__name__, method.__doc__ = name, f"RunFolder.{name} in the first process; all return or raise what it does."
    return method


class SharedFolder:
    """A RunFolder for all processes of a group. The first process does the work; all get its result or exception.

    group     the group of processes
    folder    the RunFolder in the first process; ignored in the others
    """

    def __init__(self, group, folder):
        self._group, self._folder = group, folder
        paths = from_first(group, lambda: (folder.path, folder.last, folder.best, folder.good))
        self.path, self.last, self.best, self.good = paths

    save = _of_the_first("save")
    load_good = _of_the_first("load_good")
    load_result = _of_the_first("load_result")
    keep_last_as_good = _of_the_first("keep_last_as_good")
    remove_good = _of_the_first("remove_good")
    log = _of_the_first("log")
    trim_log = _of_the_first("trim_log")
    write_config = _of_the_first("write_config")
