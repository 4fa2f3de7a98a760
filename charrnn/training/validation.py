"""How well a run's model predicts what it is not trained on: the validation split meanwhile, the test split at the end.

Knows ids, models and where checkpoints stand; decides neither when to validate nor what follows.
"""

import shlex

from charrnn.distributed.group import ALONE
from charrnn.errors import CheckpointError
from charrnn.evaluation.loss import evaluate_split, split_workspace
from charrnn.evaluation.reading import WARM_UP
from charrnn.model.parameters import Model
from charrnn.runs.checkpoint import DamagedCheckpoint


class Validation:
    """The validation split of a run, or the part of it that there is time for.

    Parameters
    ----------
    ids : ndarray (N,)
    split, part : (start, stop)
        The split, and the beginning of it that is validated on. Empty where the run has none.
    group : Alone or MPIGroup
        The processes that share it out.
    """

    def __init__(self, ids, split, part, group=ALONE):
        self._ids, self._group = ids, group
        self.split, self.part = tuple(split), tuple(part)
        self._workspace = None

    @property
    def characters(self):
        """Characters that are validated on; 0 where there is no validation split."""
        return self.part[1] - self.part[0]

    @property
    def is_whole(self):
        """Whether that is all of the split."""
        return self.part == self.split

    def workspace(self, model):
        """Return the Workspace of a pass, made at the first call; None where there is nothing to validate on."""
        if self._workspace is None and self.characters:
            self._workspace = split_workspace(model, self.characters, self._group)
        return self._workspace

    def estimate_s(self, chunk_s):
        """Return how long a pass takes where a chunk of its workspace takes so long."""
        workspace = self._workspace
        assert workspace is not None  # a pass was timed on it
        # The first process's: what follows from the time is to be alike where streams are shared out unevenly.
        streams = self._group.agree(workspace.batch_size)
        return chunk_s * (self.characters / streams + WARM_UP) / workspace.seq_length

    def shortened(self, characters):
        """Return the Validation on the first so many characters."""
        start, _ = self.part
        return Validation(self._ids, self.split, (start, start + characters), self._group)

    def passes_at_end(self, test):
        """Return how many passes the end of a run takes: validation, and as much of the test split (start, stop)."""
        return 1 + min(test[1] - test[0], self.characters) / self.characters if self.characters else 0

    def evaluate(self, model, interrupted):
        """Return the model's Evaluation, None where `interrupted()` became true meanwhile."""
        start, stop = self.part
        workspace = self.workspace(model)
        return evaluate_split(model, self._ids, start, stop, workspace, interrupted, group=self._group)


def evaluate_test(folder, corpus, splits, validated, model=None, interrupted=None, group=ALONE):
    """Return the Evaluation of a run on its test split, or None where there is none or `interrupted()` became true.

    Parameters
    ----------
    folder : RunFolder
    corpus : Corpus
    splits : Splits
    validated : (start, stop)
        What the run validates on; shortened for want of time, it shortens the test too.
    model : Model, optional
        Of the best checkpoint (without validations, of the last one); None loads it.
    interrupted : callable, optional
        Asked before every chunk.
    group : Alone or MPIGroup
        The processes that share it out.
    """
    start, stop = splits.test
    if stop - start < 1:
        return None
    if model is None:
        try:
            checkpoint = folder.load_result()
        except DamagedCheckpoint as error:
            where = shlex.quote(str(folder.last))
            raise CheckpointError(
                f"{error.fault}, so the test loss cannot be measured with it; measure it with the last checkpoint: "
                "charrnn eval "
                f"{where} --split test"
            ) from None
        model = Model.from_checkpoint(checkpoint)
    if tuple(validated) != tuple(splits.val):
        stop = min(stop, start + validated[1] - validated[0])
    return evaluate_split(model, corpus.ids, start, stop, interrupted=interrupted, group=group)
