"""What is wrong with a checkpoint: a rule that is broken, and the errors that name the file and the remedy."""

from charrnn.errors import CheckpointError


class Refusal(Exception):
    """A rule of the format is broken; the message says which, without the file.

    Saving and loading put the file and the remedy around it.
    """


def short(value):
    """Return a value out of a file for a message: its repr, cut to a length that leaves the message readable."""
    text = ascii(value)
    return text if len(text) <= 60 else text[:57] + "..."


class DamagedCheckpoint(CheckpointError):
    """A file is charrnn's and not whole.

    fault : what of which file, a sentence without a remedy, for whoever knows a better one
    """

    def __init__(self, path, what, remedy="restore it from a copy"):
        self.path, self.what = path, what
        self.fault = f"{path} is damaged: {what}"
        super().__init__(f"{self.fault}; {remedy}")


def unreadable(path, error):
    """Return the CheckpointError for a file that the system does not give."""
    reason = getattr(error, "strerror", None) or str(error)
    return CheckpointError(f"{path} cannot be read: {reason.lower()}; check its permissions and the disk")
