"""A run that is looked at and not begun, for `charrnn train --dry-run`."""

from charrnn.training.records import Notice
from charrnn.training.trainer import Trainer


class Preview(Trainer):
    """A Trainer whose records end with the Preflight; nothing is written, and the clock does not start."""

    def _run(self):
        for note in self.plan.notes:
            yield Notice(note)
        self.state = self._build()
        yield from self._prepare()
