"""The checkpoints of a run: what they contain besides its state, when `last` is due, and the order of writing files.

At an anchor, `last` is saved first and then copied to `good`. If the run is killed in between, the resumed run sees
that `last` is the anchor. A state with numbers that are not finite is never saved. This module knows the folder and the
state, but not what a step does.
"""

import charrnn
from charrnn.errors import CheckpointError, ConfigError
from charrnn.runs.names import snapshot_name
from charrnn.training.options import FREE_OPTIONS, LENGTHS, NAMES, OPEN_OPTIONS
from charrnn.training.provenance import describe_texts, describe_validation, has_fingerprint
from charrnn.training.records import Saved
from charrnn.training.stored import check_record, stored_config

SPLITS = ("train", "val", "test")
SAVE_SECONDS = 60  # between two saves of `last`, by default; more when saving is slow
MAX_SAVING = 20  # times that a save takes lie between two of them at least


class Saver:
    """Writes the checkpoints of a run into its folder."""

    def __init__(self, plan, corpus, folder, texts, vocabulary, stopwatch, costs):
        self._plan, self._config, self._corpus = plan, plan.config, corpus
        self._folder, self._texts, self._vocabulary = folder, texts, vocabulary
        self._stopwatch, self._costs = stopwatch, costs
        self.saved_step = 0 if plan.resume is None else plan.resume.training["step"]  # of `last`
        self._saved_s = stopwatch.elapsed_s()

    def is_due(self, step):
        """Return whether `last` must be saved after this step: by the interval in the options, or by the clock."""
        if step == self.saved_step:
            return False
        if any(_falls_on(step, every) for every in (self._config.checkpoint_every, self._config.keep_every)):
            return True
        pause = max(SAVE_SECONDS, MAX_SAVING * self._costs.save_s)
        return self._stopwatch.elapsed_s() - self._saved_s >= pause

    def save(self, state, validated, is_best=False, is_anchor=False, finished=False):
        """Save `last`, and `best` and `good` if is_best and is_anchor; return a Saved.

        If a number of the state is not finite, save nothing and return None. Then `last` stays as it was, and the next
        anchor decides whether the run has diverged.

        state        TrainState
        validated    (start, stop) of the ids that each validation reads
        finished     whether the run is finished; then `good` is removed
        """
        begun = self._stopwatch.clock()
        state.add_gradient_norms()  # a resumed run may log this step, and has its gradient no more
        if not state.learner.state_is_finite():
            return None
        if is_anchor:
            state.recovery.anchored(state.step)
        run = {
            "charrnn_version": charrnn.__version__,
            "config": self._config.to_record(),
            "corpus": self._describe_corpus(),
            "validated": list(validated),
            "elapsed_s": round(self._stopwatch.elapsed_s(), 3),
            "finished": finished,
        }
        folder = self._folder
        kept = _falls_on(state.step, self._config.keep_every)
        snapshot = snapshot_name(state.step, len(state.recovery.returns)) if kept else None
        folder.save(state.to_checkpoint(self._vocabulary, run), best=is_best, snapshot=snapshot)
        if finished:
            folder.remove_good()
        elif is_anchor:
            folder.keep_last_as_good()
        self.saved_step = state.step
        self._saved_s = self._stopwatch.elapsed_s()
        self._costs.save_s = self._stopwatch.clock() - begun
        return Saved(state.step, folder.best if is_best else folder.last, is_best)

    def load_good(self):
        """Return the Checkpoint of the anchor. Raises CheckpointError if it is missing or damaged."""
        good = self._folder.load_good()
        check_record(good.training, self._corpus.characters)
        return good

    def anchor_stands(self, state):
        """Return whether `good` is the anchor that `last`, whose state this is, refers to.

        If not, the run was killed before `last` was copied to `good`, was made by an older charrnn, or has lost the
        file; then `last` is the anchor.
        """
        try:
            good = self.load_good()
            config = stored_config(good.training)
        except (CheckpointError, ConfigError):
            return False
        may_differ = (*FREE_OPTIONS, *LENGTHS, *OPEN_OPTIONS)
        return (
            all(getattr(config, name) == getattr(self._config, name) for name in NAMES if name not in may_differ)
            and good.model == self._plan.model_config.to_dict()
            and good.training["step"] == state.recovery.anchor_step
            and has_fingerprint(good.training, self._corpus)
        )

    def _describe_corpus(self):
        counts = self._corpus.count_items(self._plan.splits)
        labels = self._corpus.count_labels(self._plan.splits)
        return {
            **describe_texts(self._texts, self._folder.path),
            "characters": int(self._corpus.own_characters),
            "fingerprint": self._corpus.fingerprint,
            "splits": {name: list(getattr(self._plan.splits, name)) for name in SPLITS},
            **({"rare": list(self._corpus.rare)} if self._corpus.rare[0] else {}),
            **describe_validation(self._corpus.validation, self._folder.path),
            **({} if counts is None else {"items": dict(zip(SPLITS, counts))}),
            **({} if labels is None else {"labels": labels}),
        }


def _falls_on(step, every):
    return bool(every) and step > 0 and step % every == 0
