"""Measure a run on text that it is not trained on: the validation split during training, the test split at its end.

This module knows ids, models and checkpoints; it does not decide when to validate or what follows from it.
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
    ids : ndarray (N,) of integers
        The whole text.
    split, part : (start, stop)
        The validation split, and its beginning that each validation reads; both are empty if the run has none.
    group : Alone or MPIGroup
        The processes that share the work.
    """

    def __init__(self, ids, split, part, group=ALONE):
        self._ids, self._group = ids, group
        self.split, self.part = tuple(split), tuple(part)
        self._workspace = None

    @property
    def characters(self):
        """Number of characters that each validation reads; 0 if there is no validation split."""
        return self.part[1] - self.part[0]

    @property
    def is_whole(self):
        """Whether each validation reads the whole split."""
        return self.part == self.split

    def workspace(self, model):
        """Return the Workspace for validations, which is created at the first call; None if there is no split."""
        if self._workspace is None and self.characters:
            self._workspace = split_workspace(model, self.characters, self._group)
        return self._workspace

    def estimate_s(self, chunk_s):
        """Return an estimate of the time of a validation, in seconds. chunk_s : measured time of a chunk"""
        workspace = self._workspace
        assert workspace is not None  # a pass was timed on it
        # The first process's: what follows from the time is to be alike where streams are shared out unevenly.
        streams = self._group.agree(workspace.batch_size)
        return chunk_s * (self.characters / streams + WARM_UP) / workspace.seq_length

    def shortened(self, characters):
        """Return a Validation that reads only the first `characters` characters of the split."""
        start, _ = self.part
        return Validation(self._ids, self.split, (start, start + characters), self._group)

    def passes_at_end(self, test):
        """Return how long the end of a run takes (validation and test), as a multiple of a validation's time.

        test : (start, stop) of the test split
        """
        return 1 + min(test[1] - test[0], self.characters) / self.characters if self.characters else 0

    def evaluate(self, model, interrupted):
        """Return the Evaluation of the model; None if interrupted() became true before it was complete."""
        start, stop = self.part
        workspace = self.workspace(model)
        return evaluate_split(model, self._ids, start, stop, workspace, interrupted, group=self._group)


def evaluate_test(folder, corpus, splits, validated, model=None, interrupted=None, group=ALONE):
    """Return the Evaluation of a run on its test split.

    The result is None if there is no test split, or interrupted() became true.

    Parameters
    ----------
    folder : RunFolder
        The run folder.
    corpus : Corpus
        The text.
    splits : Splits
        Its splits.
    validated : (start, stop)
        The part of the validation split that the run reads. If it is shorter than the split, no more than this number
        of characters of the test split are read either.
    model : Model, optional
        The model of the best checkpoint (without validations: of the last one); None loads it.
    interrupted : callable, optional
        Called before each chunk; True stops the evaluation.
    group : Alone or MPIGroup
        The processes that share the work.

    Raises
    ------
    CheckpointError
        The checkpoint is missing or damaged.
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
