"""Train a model by truncated backpropagation through time; validate, save, resume.

    plan = plan_run(config, corpus)                         every check that can be made before anything is written
    with RunFolder.create("run") as folder:
        for record in Trainer(plan, corpus, folder).run():  Preflight, then Step, Evaluated, Sampled, Saved, Notice,
            ...                                             and Finished

A step is that of the lecture: chunk, loss, backward, clip, update, carry (`Trainer._make_step`). This module decides
the order of events; state.py holds the state of the run, budget.py says what is due, validation.py measures,
recovery.py handles divergence, saving.py writes checkpoints.

It yields records and prints nothing. It knows neither terminal nor signals; a signal handler may call `stop`. The clock
affects results only with --minutes; otherwise it only decides when to save and to show a sample. A run that diverges
returns to its last anchor: step 0, or a later validation (without validations, a step at fixed intervals).
"""

import contextlib
import dataclasses
import math
import time

import numpy as np

from charrnn.distributed.group import ALONE, from_first
from charrnn.errors import DivergenceError, counted
from charrnn.kernels import num_threads, set_num_threads
from charrnn.model.matrices import largest_singular_values
from charrnn.model.pace import StepPace
from charrnn.training.budget import Costs, Stopwatch, make_budget
from charrnn.training.defaults import MAX_VALIDATION
from charrnn.training.intervals import shortened_note
from charrnn.training.learner import make_learner
from charrnn.training.memory import held_bytes
from charrnn.training.patience import ended_note, lowered_note
from charrnn.training.pauses import RunningClock, pauses_noticed
from charrnn.training.preparation import load_update_kernels, make_preflight, measure_step_s, measure_validation_s
from charrnn.training.records import Evaluated, Finished, Notice, Sampled, Step
from charrnn.training.recovery import Diverged, advice, fault_of_step, has_exploded, is_sound
from charrnn.training.samples import Samples, can_show
from charrnn.training.saving import Saver
from charrnn.training.shared_folder import SharedFolder
from charrnn.training.state import TrainState, five_digits
from charrnn.training.stored import stored_config
from charrnn.training.validation import Validation, evaluate_test


class Trainer:
    """A run in progress. Iterate once over `run()` to train; call `stop` to save and end after the current step.

    Parameters
    ----------
    plan, corpus, folder : Plan, Corpus, RunFolder
        What to do, the text, and the run folder, which is open.
    texts : sequence of path-like
        The texts as the user named them; the checkpoint stores the names, so that a resumed run finds the text.
    clock : callable, optional
        Returns a monotonic time in seconds. The default clock does not advance while the process is paused.
    samples : bool
        Whether to draw samples, if the options ask for them.
    group : Alone or MPIGroup
        The processes that train together. Each has its own Trainer; only the first writes files and draws samples.

    Attributes
    ----------
    state : TrainState
        The state of the run; set when `run` has yielded the notes of the plan.
    """

    state: TrainState

    def __init__(self, plan, corpus, folder, texts=(), clock=None, samples=True, group=ALONE):
        self.plan, self._group = plan, group
        self._config = plan.config
        self.corpus = corpus
        self._vocabulary = corpus.vocabulary if plan.resume is None else plan.resume.vocabulary
        self.folder = folder if group.size == 1 else SharedFolder(group, folder)
        self._texts = texts
        self._own_clock = RunningClock() if clock is None else clock
        self._clock, steady = group.clock(self._own_clock)
        self._stop = False
        self._schedule = plan.config.make_schedule()
        self._validation = Validation(corpus.ids, plan.splits.val, plan.validated, group)
        before_s = 0.0 if plan.resume is None else plan.resume.training["elapsed_s"]
        self._stopwatch = Stopwatch(self._clock, before_s, steady)
        self._costs = Costs()
        self._budget = make_budget(plan, self._stopwatch, self._costs)
        self._saver = Saver(plan, corpus, self.folder, texts, self._vocabulary, self._stopwatch, self._costs)
        shown = plan.config, self._vocabulary, self._stopwatch, corpus, plan.splits.val
        self._samples = Samples(*shown) if samples and plan.config.sample and can_show(plan) else None
        self._step_pace = StepPace()

    def stop(self):
        """Ask the run to end after the current step: it saves `last` and yields Finished with resumable=True."""
        self._stop = True

    def _is_stopped(self):
        """Say whether any process was asked to."""
        if stopped := self._group.any(self._stop):
            self._stop = True  # never written otherwise: a signal may have come since it was read
        return stopped

    def run(self):
        """Yield the records of the run (records.py).

        Raises
        ------
        DivergenceError
            The run diverged, and the options tell it to stop then, or returning to the last anchor did not help. The
            folder keeps the checkpoint of that anchor.
        """
        with pauses_noticed(self._own_clock):
            yield from self._run()

    def _run(self):
        plan = self.plan
        for note in plan.notes:
            yield Notice(note)
        self.state = self._build()
        # Before the first step: from here on there is something to resume, with the options of this session.
        if plan.resume is None:
            self._save(is_anchor=True)
        elif self._config != stored_config(plan.resume.training):
            self._save()
        self.folder.write_config({"text": [str(text) for text in self._texts], **self._config.to_record()})
        yield from self._prepare()
        self._stopwatch.start()
        while True:
            try:
                finished = yield from self._go_on()
                break
            except Diverged as diverged:
                yield self._go_back(diverged)
        if finished and self._config.minutes is not None and plan.resume and self._costs.steps == 0:
            yield Notice(
                f"no step was trained: {self._stopwatch.before_s / 60:.3g} of "
                f"{counted(self._config.minutes, 'minute')} were already used, and the rest is needed for validation "
                "and saving; give a larger --minutes"
            )
        yield self._finish(finished)

    def _go_on(self):
        """Train until the run is finished (return True) or asked to stop (False); raise Diverged if it has diverged."""
        state, budget = self.state, self._budget
        while True:
            is_best = is_anchor = False
            if self._evaluation_is_due():
                record, is_anchor = self._evaluate()
                if record is not None:
                    is_best = record.is_best
                    yield record
                    yield from self._wait(record)
            elif self._anchor_is_due():
                is_anchor = self._stands_trial()
            over = state.waiting.is_over(self._config.patience)
            finished = over or budget.is_finished(state.step) and not self._evaluation_is_due()
            stopped = self._is_stopped()  # asked once: a signal may come at any moment, and who stops has saved
            self._log(finished)
            if is_best or is_anchor or finished or stopped or self._saver.is_due(state.step):
                record = self._save(is_best, is_anchor, finished)
                if record is not None:
                    yield record
            if finished or stopped:
                return finished
            if self._samples is not None and self._samples.are_due(state.step):
                # What cannot be drawn from is dealt with where the loss is looked at.
                with contextlib.suppress(DivergenceError):
                    yield self._sample()
            yield self._train_step()

    # ------------------------------------------------------------------------------------------------------ one step

    def _train_step(self):
        """Make a step; return its Step, or the Notice that it was left out."""
        threads = num_threads()
        set_num_threads(self._step_pace.count_workers(threads))
        begun = time.perf_counter()  # real time, whatever the clock of the run: no result depends on it
        try:
            return self._make_step()
        finally:
            self._step_pace.record(time.perf_counter() - begun)
            set_num_threads(threads)

    def _make_step(self):
        """Chunk, loss, backward, clip, update, carry."""
        state, learner = self.state, self.state.learner
        begun, epoch = self._clock(), learner.streams.epoch
        characters, loss = self._next_chunk()  # chunk, loss, backward; the workspace has the carry to the next one
        if has_exploded(loss):
            raise Diverged("the training loss", loss, state.step + 1)
        rate = self._learning_rate(epoch)
        norm = learner.update(rate) if math.isfinite(loss) else None  # clip, update
        diverged = fault_of_step(loss, norm, state.step + 1)
        if diverged is None:
            if learner.workspace.counted:  # else there was nothing to learn
                state.update_made(loss)
        else:
            self._leave_out(diverged)
        state.step += 1
        self._costs.step_made(characters, self._clock() - begun)
        state.last = {
            "step": state.step,
            "epoch": round(state.epoch, 4),
            "train_loss_nats": loss if math.isfinite(loss) else None,
            "smoothed_loss_nats": state.smoothed.value,
            "grad_norm": norm if diverged is None else None,
            "learning_rate": rate,
            "chars_per_s": self._costs.chars_per_s,
            "elapsed_s": round(self._stopwatch.elapsed_s(), 3),
        }
        if diverged is not None:
            state.last["skipped"] = True
            return Notice(f"{diverged}: skipping this step")
        where = state.step, self.plan.total_steps, state.epoch
        speed = self._costs.chars_per_s, self._stopwatch.elapsed_s()
        left = self._budget.share_done(state.step), self._budget.remaining_s(state.step)
        return Step(*where, loss, state.smoothed.value, norm, rate, *speed, *left)

    def _next_chunk(self):
        """Run the next chunk forward and back, from carry to carry; return its number of characters and its loss."""
        return self.state.learner.run_next_chunk(self.state.step)

    def _learning_rate(self, epoch):
        step = self.state.step
        rate = self._schedule.learning_rate(progress=self._budget.progress(step), step=step, epoch=epoch)
        return rate * self.state.recovery.factor * self.state.waiting.factor

    def _leave_out(self, diverged):
        """Leave the step at hand out, unless it is one too many in a row: then raise `diverged`.

        Parameters and optimiser have not been touched. The carry becomes zero, as at an epoch's start: one that is not
        finite would spoil all that follows, and the one from before the chunk is of another place in the text.
        """
        self.state.recovery.leave_out(diverged, self._config.on_divergence)
        self.state.learner.workspace.reset_carry()

    # ---------------------------------------------------------------------------------------------------- start and end

    def _build(self):
        """Return the state to begin with: as new, from old weights, or as the checkpoint to go on from has it."""
        learner, checkpoint = make_learner(self.plan, self.corpus, self._group), self.plan.resume
        if checkpoint is None:
            return TrainState(learner)
        state = TrainState.from_checkpoint(checkpoint, learner)
        for arrays in (checkpoint.parameters, checkpoint.optimizer, checkpoint.carry):
            arrays.clear()  # the learner has them now; the checkpoint itself stays with the plan for as long as the run
        self.folder.trim_log(state.logged_step, state.recovery.returns, state.step)
        if not self._saver.anchor_stands(state):
            state.recovery.anchored(state.step)
            self.folder.keep_last_as_good()
        return state

    def _prepare(self):
        """Compile or load every kernel and measure the speed, before the clock starts and without a trace."""
        plan, config, state, costs = self.plan, self._config, self.state, self._costs
        learner, rng = state.learner, np.random.default_rng(0)
        load_update_kernels(plan)
        if plan.step_s is not None and self._group.size == 1:
            costs.step_s = plan.step_s  # which loaded the kernels of a step too
        else:
            costs.step_s = measure_step_s(learner, state.step, rng, self._clock)
        costs.evaluation_s = measure_validation_s(self._validation, learner.result, rng, self._clock)
        if self._samples is not None and self._group.rank == 0:
            with contextlib.suppress(DivergenceError):
                self._draw(1)
        if config.minutes is not None and plan.resume is None:
            yield from self._shorten_validation()
        self._reserve_for_the_end()
        validating = self._validation.workspace(learner.result)
        memory_bytes = held_bytes(learner.model, learner.optimizer, learner.workspace, validating)
        duration_s = self._budget.duration_s(state.step)
        yield make_preflight(plan, self.corpus, state, memory_bytes, costs.step_s, duration_s, self.folder.path)

    def _shorten_validation(self):
        """Under --minutes: see that one pass over the validation split is a small part of the time."""
        minutes, took_s = self._config.minutes, self._costs.evaluation_s
        longest_s = MAX_VALIDATION * minutes * 60
        if took_s <= longest_s:
            return
        self._validation = self._validation.shortened(max(1, int(self._validation.characters * longest_s / took_s)))
        self._costs.evaluation_s = longest_s
        yield Notice(shortened_note(self._validation.part, self._validation.split, counted(minutes, "minute")))

    def _reserve_for_the_end(self):
        """See that the final validation, test and save fit into the time of the run."""
        passes = self._validation.passes_at_end(self.plan.splits.test)
        self._budget.reserve(1.1 * passes * self._costs.evaluation_s + 2 * self._costs.save_s)

    def _finish(self, finished):
        """Say how it ended; where it is done, with the loss of the best checkpoint on the test split."""
        plan, state, validation, test = self.plan, self.state, self._validation, None
        if finished and not self._is_stopped():
            is_best = state.best is None or state.best["step"] == state.step
            model = state.learner.result if is_best else None  # None: the best checkpoint's
            test = evaluate_test(
                self.folder, self.corpus, plan.splits, validation.part, model, self._is_stopped, self._group
            )
        best = state.best or {}
        return Finished(
            state.step,
            state.epoch,
            self._stopwatch.elapsed_s(),
            not finished,
            state.smoothed.value,
            best.get("val_loss_nats"),
            best.get("step"),
            validation.characters,
            validation.is_whole,
            test,
            self.folder.path,
            self.folder.best if best else self.folder.last,
            self._saver.saved_step,
            self._ended_by(),
        )

    def _ended_by(self):
        """Say what has ended the run before its length did; None where nothing has."""
        if not self.state.waiting.is_over(self._config.patience):
            return None
        return ended_note(self._config.patience, (self.state.best or {}).get("step"))

    # ----------------------------------------------------------------------------------------- validation, log, save

    def _evaluation_is_due(self):
        state, budget = self.state, self._budget
        if not self._validation.characters or state.step in (0, state.evaluated_step):
            return False
        return budget.is_finished(state.step) or budget.evaluation_is_due(state.step)

    def _evaluate(self):
        """Validate; return its Evaluated and whether the state is an anchor.

        None and False when asked to stop meanwhile: the resumed run then makes up for it. What is no anchor is not the
        best either: a run that goes back would leave the file of a best that it has not had.
        """
        state, learner = self.state, self.state.learner
        self._check_state()
        begun = self._clock()
        evaluation = self._validation.evaluate(learner.result, self._is_stopped)
        if evaluation is None:
            return None, False
        # A validation split unlike the training split may cost any number of nats and mean nothing.
        loss = evaluation.loss_nats
        if has_exploded(loss) or not math.isfinite(loss):
            raise Diverged("the validation loss", loss, state.step)
        if not self._is_sound(loss) and not self._is_sound(self._try_next_chunk()):
            raise Diverged("the validation loss", loss, state.step)
        state.evaluated_step = state.step
        state.last["val_loss_nats"] = loss
        state.last["singular_values"] = [five_digits(value) for value in largest_singular_values(learner.model)]
        # An average can be sound for a while after the weights that it follows are lost.
        is_anchor = not state.recovery.in_a_row if learner.optimizer.average is None else self._stands_trial()
        is_best = is_anchor and (state.best is None or loss < state.best["val_loss_nats"])
        if is_best:
            state.best = {"val_loss_nats": loss, "step": state.step, "epoch": round(state.epoch, 4)}
        self._costs.evaluation_s = self._clock() - begun
        self._reserve_for_the_end()
        self._budget.evaluated()
        best = state.best["val_loss_nats"] if state.best else None
        told = state.step, state.epoch, evaluation, is_best, self._costs.evaluation_s, best
        return Evaluated(*told, 0 if is_best else state.waiting.since_best + 1, self._config.patience), is_anchor

    def _wait(self, record):
        """Take in a validation for what waits on a lower loss; yield the Notice of a lowered learning rate."""
        if self.state.waiting.validated(record.evaluation.loss_nats, record.is_best, self._config):
            yield Notice(lowered_note(self._config, self._peak() * self.state.waiting.factor))

    def _log(self, finished):
        """Log the last step where that is due: at the interval, where it was validated or left out, and at the end."""
        state = self.state
        if state.last is None or state.logged_step >= state.step or self._evaluation_is_due():
            return
        if self._budget.log_is_due(state.step) or finished or state.last.keys() & {"val_loss_nats", "skipped"}:
            self.folder.log(state.log_record())

    def _save(self, is_best=False, is_anchor=False, finished=False):
        return self._saver.save(self.state, self._validation.part, is_best, is_anchor, finished)

    def _sample(self):
        """Draw a sample, log it, and return its Sampled. Raises DivergenceError."""
        step = self.state.step
        drawn = from_first(self._group, lambda: self._draw(self._config.sample_length))
        self.folder.log({"step": step, **drawn.to_dict()})
        return Sampled(step, drawn.text)

    def _draw(self, length):
        return self._samples.draw(self.state.learner.result, self.state.step, length)

    # ---------------------------------------------------------------------------------------- anchors, and the way back

    def _anchor_is_due(self):
        """Say whether this step is an anchor, of those that are made where validations come late or not at all."""
        state = self.state
        return state.step not in (0, state.recovery.anchor_step) and self._budget.anchor_is_due(state.step)

    def _stands_trial(self):
        """Say whether the state is one to go back to, where no validation has tried the weights as they are.

        Raises Diverged where it is lost.
        """
        state = self.state
        self._check_state()
        self._budget.tried()
        loss = self._try_next_chunk()
        if not math.isfinite(loss):
            return False
        if not self._is_sound(loss):
            raise Diverged("the loss on the next chunk", loss, state.step)
        return not state.recovery.in_a_row and state.learner.gradient_is_finite()

    def _try_next_chunk(self):
        """Return the loss of the next chunk and leave no trace but a gradient, in the place of the last step's."""
        self.state.add_gradient_norms()
        with self.state.learner.place_kept():
            return self._next_chunk()[1]

    def _is_sound(self, loss):
        return is_sound(loss, self._vocabulary.size)

    def _check_state(self):
        """Raise Diverged where a number that would be saved is not finite.

        At anchors only: elsewhere the clock decides who looks.
        """
        if not self.state.learner.state_is_finite():
            raise Diverged("a parameter or the optimiser's state", math.nan, self.state.step)

    def _go_back(self, diverged):
        """Go back to the anchor at half the learning rate; return the Notice.

        `last` is saved before the log is cut: killed in between, the resumed run cuts it. Raises DivergenceError where
        going back is not to be, or did not help.
        """
        recovery = self.state.recovery
        ending = recovery.why_it_ends(diverged, self._config.on_divergence, self._schedule.peak)
        if ending is not None:
            stands = f"the checkpoint of step {self._saver.saved_step:,} is kept in {self.folder.path}"
            raise DivergenceError(f"{ending}: {advice(self._config, self._peak())}; {stands}")
        anchor = TrainState.from_checkpoint(self._saver.load_good(), self.state.learner)
        recovery.went_back(diverged, anchor.recovery.skipped)
        self.state = dataclasses.replace(anchor, recovery=recovery)
        self._save()
        self.folder.trim_log(self.state.logged_step, recovery.returns, self.state.step)
        return Notice(
            f"{diverged}: returned to step {self.state.step:,} and halved the learning rate to {self._peak():.3g}",
            important=True,
        )

    def _peak(self):
        return self._schedule.peak * self.state.recovery.factor
