"""Show what a run would do without starting it, for `charrnn train --dry-run`."""

from charrnn.training.records import Notice
from charrnn.training.trainer import Trainer


class Preview(Trainer):
    """A Trainer whose `run` yields only the Notices and the Preflight. It writes nothing and does not train."""

    def _run(self):
        for note in self.plan.notes:
            yield Notice(note)
        self.state = self._build()
        yield from self._prepare()
