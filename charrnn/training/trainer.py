"""Train a model by truncated backpropagation through time; validate, save, resume.

    plan = plan_run(config, corpus)                         every check that can be made before anything is written
    with RunFolder.create("run") as folder:
        for record in Trainer(plan, corpus, folder).run():  Preflight, then Step, Evaluated, Sampled, Saved, Notice, Finished
            ...

Yields records and prints nothing; knows neither terminal nor signals, `stop` may be called from a handler.

With --ema the average of the weights is the model: it is validated, sampled from and saved as the parameters, and the weights that are
trained stand beside it. What an exact resume rests on: everything that bears on a result is in the checkpoint (parameters, optimiser state and
step count, carry, cursor, schedule position, best so far), or is a function of the seed and the step (dropout masks).
The clock decides about results only under --minutes; otherwise only about when to save and to show a sample. A run that
diverges (divergence.py) goes back to its last anchor: step 0, or a validation since (without validations, a step of a fixed
interval). There `last` is saved, then becomes `good` as well; killed in between, the resumed run sees that `last` is the anchor.
"""

import contextlib
import dataclasses
import math
import time
from collections.abc import Mapping

import numpy as np

import charrnn
from charrnn.errors import CheckpointError, ConfigError, DivergenceError, VocabularyError, counted
from charrnn.evaluation.loss import evaluate_split, split_workspace
from charrnn.evaluation.reading import WARM_UP
from charrnn.kernels import num_threads, set_num_threads
from charrnn.model.matrices import largest_singular_values, norms_by_layer
from charrnn.model.pace import StepPace
from charrnn.model.workspace import Dropout, Model, Workspace
from charrnn.runs.checkpoint import Checkpoint, load_checkpoint
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.text.streams import Streams
from charrnn.training.intervals import (
    EVALUATION_SHARE,
    LOG_RECORDS,
    LONGEST_VALIDATION,
    MOST_ANCHORS,
    MOST_EVALUATIONS,
    anchor_interval,
    shortened_note,
)
from charrnn.training.memory import array_bytes, saving_bytes
from charrnn.training.optimisers import Optimizer
from charrnn.training.options import FREE_OPTIONS, LENGTHS, MOMENTUM_OPTIMIZERS, NAMES, WEIGHT_DECAYS
from charrnn.training.provenance import describe_texts, has_fingerprint
from charrnn.training.records import Evaluated, Finished, Notice, Preflight, Sampled, Saved, Step
from charrnn.training.recovery import EXPLODED_NATS, MOST_RETURNS, MOST_SKIPPED, SOUND_NATS, Diverged, Recovery
from charrnn.training.stored import check_record, stored_config
from charrnn.training.validation import evaluate_test
from charrnn.training.warm_start import map_parameters

SMOOTHING = 0.98  # the smoothed training loss remembers about 50 steps
HISTORY_RECORDS = 512  # at most, in a checkpoint
SAVE_SECONDS = 60  # between two saves of `last`, by default; more when saving is slow
SAMPLE_TEMPERATURE = 0.8

# Beside the optimiser's own slots in a checkpoint: the weights as the updates left them, where its parameters are their average.
UNAVERAGED = "unaveraged"


class Trainer:
    """A run in progress. `run` goes through it once; `stop` asks it to end after the step at hand, saved.

    texts   what the user named, remembered in the checkpoint so that it can be found again
    clock   seconds, monotonic
    """

    def __init__(self, plan, corpus, folder, texts=(), clock=time.perf_counter, samples=True):
        self.plan = plan
        self.config = plan.config
        self.corpus = corpus
        self.folder = folder
        self.texts = texts
        self.model = None
        self.step = 0
        self._clock = clock
        self._samples = samples
        self._stop = False
        self._step_pace = StepPace()

    def stop(self):
        """Ask the run to end: the step at hand is finished, `last` is saved, Finished says it can be resumed."""
        self._stop = True

    @property
    def stopping(self):
        return self._stop

    def run(self):
        """Yield the records of the run.

        Raises DivergenceError when the run diverges and is to stop then, or has gone back several times for nothing: the last
        good checkpoint stands.
        """
        for note in self.plan.notes:
            yield Notice(note)
        self._build()
        # Before the first step: from here on there is something to resume, with the options of this session.
        if self.plan.resume is None:
            self._save(is_anchor=True)
        elif self.config != stored_config(self.plan.resume.training):
            self._save()
        self.folder.write_config({"text": [str(text) for text in self.texts], **self.config.to_dict()})
        yield from self._prepare()
        self._started = self._last_save = self._clock()
        self._next_sample_s = self._elapsed() + 2
        while True:
            try:
                finished = yield from self._go_on()
                break
            except Diverged as diverged:
                yield self._go_back(diverged)
        if (
            finished
            and self._budget_s is not None
            and self.plan.resume
            and self.step == self.plan.resume.training["step"]
        ):
            yield Notice(
                f"no step was trained: of {counted(self.config.minutes, 'minute')} {self._elapsed_before_s / 60:.3g} were used "
                "before, and what is left goes to validation and saving; name a longer --minutes"
            )
        yield self._finish(finished)

    def _go_on(self):
        """Train until the run is finished (returns True), is asked to stop (False) or has diverged (raises Diverged)."""
        while True:
            is_best = is_anchor = False
            if self._evaluation_is_due():
                record, is_anchor = self._evaluate()
                if record is not None:
                    is_best = record.is_best
                    yield record
            elif self._anchor_is_due():
                is_anchor = self._stands_trial()
            finished = self._is_finished() and not self._evaluation_is_due()
            stopped = self._stop  # looked at once: a signal may come at any moment, and who stops has saved
            self._log(finished)
            if is_best or is_anchor or finished or stopped or self._save_is_due():
                record = self._save(is_best, is_anchor, finished)
                if record is not None:
                    yield record
            if finished or stopped:
                return finished
            if self._sample_is_due():
                with contextlib.suppress(
                    DivergenceError
                ):  # what cannot be drawn from is dealt with where the loss is looked at
                    yield self._sample()
            yield self._train_step()

    # ------------------------------------------------------------------------------------------------ start and end

    def _build(self):
        """Make the model, the optimiser and the streams, as new, from old weights, or as the checkpoint has them."""
        plan, config = self.plan, self.config
        self.vocabulary = self.corpus.vocabulary
        self.schedule = config.make_schedule()
        self._streams = Streams(self.corpus.ids, *plan.splits.train, config.batch_size, config.seq_length)
        self._val = tuple(plan.validated)
        self._best = None
        self._loss_sum, self._loss_count = 0.0, 0  # exponential average, its bias not yet corrected
        self._last = None  # log record of the last step
        self._gradient_step = None  # the step whose gradient the workspace holds
        self._clipped = [0, 0]  # steps since the last record: those that were clipped, and all
        self._logged_step = 0
        self._evaluated_step = 0
        self._val_loss_nats = None  # of this step
        self._elapsed_before_s = 0.0
        self._history, self._history_stride = [], 1
        self._started = None
        self._steps_here = 0  # made by this process, those that a return has undone among them
        self._recovery = Recovery()
        self._rate = [0.0, 0.0]  # characters and seconds, of the recent past
        self._saved_step = 0
        self._save_s = 0.0
        self._evaluation_s = 0.0
        self._next_evaluation_s = None
        self._next_log_s = self._next_anchor_s = 0.0

        if plan.resume is not None:
            self._restore(plan.resume)
        else:
            self.model = Model.initialise(plan.model_config, config.seed)
            if plan.initial is not None:
                self.model.set_parameters(map_parameters(self.model.get_parameters(), plan.initial, self.vocabulary))
            self.optimizer = self._make_optimizer(self.model)
            self._workspace = Workspace(self.model, config.batch_size, config.seq_length, precision=config.precision)
        self._dropout = Dropout(config.dropout, config.variational_dropout, config.seed, config.weight_dropout)
        self._val_workspace = split_workspace(self._result(), self._val_characters) if self._val_characters else None

    def _restore(self, checkpoint):
        """Make everything as it was when the checkpoint was saved, log and anchor too."""
        training, config = checkpoint.training, self.config
        self.vocabulary = checkpoint.vocabulary
        self.model = Model(self.plan.model_config)
        self.optimizer = self._make_optimizer(self.model)
        self._workspace = Workspace(self.model, config.batch_size, config.seq_length, precision=config.precision)
        self._set_state(checkpoint)
        for arrays in (checkpoint.parameters, checkpoint.optimizer, checkpoint.carry):
            arrays.clear()  # the model has them now; the checkpoint itself stays with the plan for as long as the run
        self._recovery = Recovery.from_dict(training.get("divergence"))
        self._elapsed_before_s = training["elapsed_s"]
        self._next_log_s = self._elapsed_before_s
        self._saved_step = self.step
        self.folder.trim_log(self._logged_step, self._recovery.returns)
        if not self._anchor_stands():
            self._recovery.anchored(self.step)
            self.folder.keep_last_as_good()

    def _anchor_stands(self):
        """Say whether `good` is what the record of `last` says. If not, the run was killed when `last` was to become `good`, is
        of an older charrnn, or has lost the file: `last` is the anchor then."""
        try:
            good = self._load_good()
            config = stored_config(good.training)
        except (CheckpointError, ConfigError):
            return False
        of_this_run = all(
            getattr(config, name) == getattr(self.config, name)
            for name in NAMES
            if name not in (*FREE_OPTIONS, *LENGTHS)
        )
        return (
            of_this_run
            and good.model == self.plan.model_config.to_dict()
            and good.training.get("step") == self._recovery.anchor_step
            and has_fingerprint(good.training, self.corpus)
        )

    def _set_state(self, checkpoint):
        """Set what a step of training changes, as the checkpoint has it."""
        training, config = checkpoint.training, self.config
        self._result().set_parameters(checkpoint.parameters)
        slots, places = {}, self._slots()
        for name, array in checkpoint.optimizer.items():
            slot, _, parameter = name.partition("/")
            slots.setdefault(slot, {})[parameter] = array
        if set(slots) != set(places):
            raise ConfigError(
                f"the checkpoint's optimiser state has {', '.join(sorted(slots)) or 'nothing'}, {config.optimizer} needs "
                f"{', '.join(sorted(places)) or 'nothing'}: start a new run from it by --init-from"
            )
        for slot, arrays in slots.items():
            places[slot][...] = self.model.pack(arrays)
        self.optimizer.steps = training["optimizer_steps"]
        self._workspace.set_carry(checkpoint.carry)
        self._streams.seek(training["cursor"])
        self.step = training["step"]
        self._best = training["best"]
        self._loss_sum, self._loss_count = training["smoothing"]
        self._last = training["last"]
        clipped, steps = training.get("clipped", (0, 0))
        self._clipped = [int(clipped), int(steps)]
        self._gradient_step = None
        self._logged_step = training["logged_step"]
        self._evaluated_step = training["evaluated_step"]
        self._val_loss_nats = None
        self._history, self._history_stride = list(training["history"]), training["history_stride"]
        self._recovery.skipped = Recovery.from_dict(training.get("divergence")).skipped

    def _make_optimizer(self, model):
        config, hyperparameters = self.config, {}
        if config.optimizer in MOMENTUM_OPTIMIZERS:
            hyperparameters["momentum"] = config.momentum
        if config.optimizer in WEIGHT_DECAYS:
            hyperparameters["weight_decay"] = config.weight_decay
        return Optimizer(config.optimizer, model, ema=config.ema, **hyperparameters)

    def _result(self):
        """Return the Model that the run is for: the one that is trained, or the average of its weights."""
        return self.optimizer.average or self.model

    def _slots(self):
        """Return {slot: flat array} of what a checkpoint keeps beside the result's parameters."""
        averaging = self.optimizer.average is not None
        return {**self.optimizer.state, **({UNAVERAGED: self.model.flat} if averaging else {})}

    def _prepare(self):
        """Compile or load every kernel and measure the speed, before the clock starts and without a trace."""
        config = self.config
        rng = np.random.default_rng(0)
        carry = self._workspace.get_carry()

        def chunk(workspace):
            return rng.integers(
                0, self.vocabulary.size, (2, workspace.seq_length, workspace.batch_size), dtype=np.int32
            )

        # The optimiser on a model of one unit: a step on the real one could not be taken back.
        tiny = Model(
            dataclasses.replace(
                self.plan.model_config, vocab_size=2, hidden_size=1, num_layers=1, embedding_size=0, tied=False
            )
        )
        tiny_workspace = Workspace(tiny, 1, 1, precision=config.precision)
        tiny_workspace.loss_and_grads(*np.zeros((2, 1, 1), np.int32))
        self._make_optimizer(tiny).step(tiny_workspace, 0.0, config.clip_norm, config.clip_value)

        self._workspace.loss_and_grads(*chunk(self._workspace), self._dropout, self.step)
        self._step_s = self._measure(
            lambda: self._workspace.loss_and_grads(*chunk(self._workspace), self._dropout, self.step)
        )
        self._workspace.set_carry(carry)

        if self._val_workspace is not None:
            self._val_workspace.losses(*chunk(self._val_workspace))
            chunk_s = self._measure(lambda: self._val_workspace.losses(*chunk(self._val_workspace)))
            per_stream = self._val_characters / self._val_workspace.batch_size + WARM_UP
            self._evaluation_s = chunk_s * per_stream / self._val_workspace.seq_length
        if self._samples:
            with contextlib.suppress(DivergenceError):
                self._make_sample(1)
        if config.minutes is not None and self.plan.resume is None:
            yield from self._shorten_validation()
        self._budget_s = None if config.minutes is None else config.minutes * 60
        self._set_reserve()

        if self._budget_s is None:
            left = self.plan.total_steps - self.step
            duration_s = left * self._step_s
            if config.eval_every:
                duration_s += (left // config.eval_every + 1) * self._evaluation_s
        else:
            duration_s = max(0.0, self._budget_s - self._elapsed_before_s)
        train, val, test = (b - a for a, b in (self.plan.splits.train, self.plan.splits.val, self.plan.splits.test))
        yield Preflight(
            self.corpus.characters,
            self.vocabulary.size,
            train,
            val,
            test,
            self.model.num_parameters,
            self._memory(),
            num_threads(),
            config.batch_size,
            config.seq_length,
            self.plan.steps_per_epoch,
            self.step,
            self.plan.total_steps,
            self._step_s,
            duration_s,
            self.folder.path,
        )

    def _measure(self, function, budget_s=0.3):
        """Return the shortest time of a few calls."""
        shortest, begun = math.inf, self._clock()
        for _ in range(5):
            start = self._clock()
            function()
            shortest = min(shortest, self._clock() - start)
            if self._clock() - begun > budget_s:
                break
        return shortest

    def _memory(self):
        """Return the bytes of the arrays that training holds, a save included."""
        owners = [self.model, self._workspace, self.optimizer]
        if self._val_workspace is not None:
            owners.append(self._val_workspace)
        return array_bytes(owners) + saving_bytes(self.model)

    def _finish(self, finished):
        """Say how it ended; where it is done, with the loss of the best checkpoint on the test split."""
        test = None
        if finished and not self._stop:
            model = self._result()
            if self._best is not None and self._best["step"] != self.step:
                model = None  # the best checkpoint's
            test = evaluate_test(self.folder, self.corpus, self.plan.splits, self._val, model, lambda: self._stop)
        best = self._best or {}
        return Finished(
            self.step,
            self._epoch(),
            self._elapsed(),
            not finished,
            self._smoothed(),
            best.get("val_loss_nats"),
            best.get("step"),
            self._val_characters,
            self._val == tuple(self.plan.splits.val),
            test,
            self.folder.path,
            self.folder.best if best else self.folder.last,
        )

    # ------------------------------------------------------------------------------------------------------ one step

    def _train_step(self):
        """Make a step; return its Step, or the Notice that it was left out."""
        threads = num_threads()
        set_num_threads(self._step_pace.count_workers(threads))
        begun = time.perf_counter()
        try:
            return self._make_step()
        finally:
            self._step_pace.record(time.perf_counter() - begun)
            set_num_threads(threads)

    def _make_step(self):
        config, step = self.config, self.step
        begun = self._clock()
        epoch = self._streams.epoch
        characters, loss = self._next_chunk()
        if EXPLODED_NATS <= loss < math.inf:
            raise Diverged("the training loss", loss, step + 1)
        learning_rate = (
            self.schedule.learning_rate(progress=self._progress(), step=step, epoch=epoch) * self._recovery.factor
        )
        norm = None
        if math.isfinite(loss):  # where the norm is not, the optimiser changes nothing
            norm = float(self.optimizer.step(self._workspace, learning_rate, config.clip_norm, config.clip_value))
        skipped = norm is None or not math.isfinite(norm)
        if skipped:
            bad = ("the training loss", loss) if norm is None else ("the gradient's norm", norm)
            self._leave_out(Diverged(*bad, step + 1))
        else:
            self._recovery.in_a_row = 0
            self._gradient_step = step + 1
            self._clipped = [self._clipped[0] + self.optimizer.clipped, self._clipped[1] + 1]
            self._loss_sum = SMOOTHING * self._loss_sum + (1 - SMOOTHING) * loss
            self._loss_count += 1
        self.step += 1
        self._steps_here += 1
        self._val_loss_nats = None
        now = self._clock()
        step_s = now - begun
        fade = math.exp(-step_s / 3)  # speed over the last seconds, validation and saving left out
        self._rate = [self._rate[0] * fade + characters, self._rate[1] * fade + step_s]
        self._step_s = self._rate[1] / self._rate[0] * characters if self._rate[1] > 0 else step_s
        self._last = {
            "step": self.step,
            "epoch": round(self._epoch(), 4),
            "train_loss_nats": loss if math.isfinite(loss) else None,
            "smoothed_loss_nats": self._smoothed(),
            "grad_norm": None if skipped else norm,
            "learning_rate": learning_rate,
            "chars_per_s": round(self._rate[0] / max(self._rate[1], 1e-9), 1),
            "elapsed_s": round(self._elapsed(), 3),
        }
        if skipped:
            self._last["skipped"] = True
            return Notice(f"{Diverged(*bad, self.step)}: the step is left out")
        return Step(
            self.step,
            self.plan.total_steps,
            self._epoch(),
            loss,
            self._last["smoothed_loss_nats"],
            norm,
            learning_rate,
            self._last["chars_per_s"],
            self._elapsed(),
            self._share_done(),
            self._remaining(),
        )

    def _next_chunk(self):
        """Run the next chunk forward and back; return its number of characters and its loss."""
        if self._streams.at_epoch_start:
            self._workspace.reset_carry()
        x, y = self._streams.next_chunk()
        return x.size, float(self._workspace.loss_and_grads(x, y, self._dropout, self.step))

    # ------------------------------------------------------------------------------------------------------ divergence

    def _leave_out(self, diverged):
        """Leave the step at hand out, unless it is one too many in a row: then raise `diverged`.

        Parameters and optimiser have not been touched. The carry becomes zero, as at an epoch's start: one that is not finite would
        spoil all that follows, and the one from before the chunk is of another place in the text.
        """
        recovery = self._recovery
        recovery.in_a_row += 1
        recovery.skipped += 1
        if recovery.in_a_row >= MOST_SKIPPED or self.config.on_divergence == "stop":
            raise diverged
        self._workspace.reset_carry()

    def _go_back(self, diverged):
        """Go back to the anchor at half the learning rate; return the Notice. DivergenceError where that is not to be, or did not help.

        `last` is saved before the log is cut: killed in between, the resumed run cuts it.
        """
        recovery = self._recovery
        if self.config.on_divergence == "stop":
            raise self._end(f"{diverged}, and training stopped", "; --on-divergence recover goes back by itself")
        if recovery.futile >= MOST_RETURNS:
            rates = ", ".join(f"{rate:.3g}" for rate in recovery.rates_tried(self.schedule.peak))
            raise self._end(
                f"{diverged}, and training stopped, since going back to step {recovery.anchor_step:,} again and again "
                f"did not help: the learning rates tried are {rates}"
            )
        self._set_state(self._load_good())
        recovery.went_back(diverged)
        self._save()
        self.folder.trim_log(self._logged_step, recovery.returns)
        return Notice(
            f"{diverged}: gone back to step {self.step:,} at half the learning rate, {self._peak():.3g} at most",
            important=True,
        )

    def _load_good(self):
        good = load_checkpoint(self.folder.good)
        check_record(good.training, self.corpus.characters)
        return good

    def _end(self, what, other=""):
        clip_norm = self.config.clip_norm
        remedy = f"--learning-rate below {self._peak():.3g}"
        remedy += f" or --clip-norm below {clip_norm:g}" if clip_norm else " or a --clip-norm such as 5"
        return DivergenceError(
            f"{what}: start again with {remedy}{other}; the checkpoint of step {self._saved_step:,} stands in "
            f"{self.folder.path}"
        )

    def _peak(self):
        return self.schedule.peak * self._recovery.factor

    def _anchor_is_due(self):
        """Say whether this step is an anchor, of those that are made where validations come late or not at all."""
        if self.step in (0, self._recovery.anchor_step):
            return False
        every = self.config.eval_every
        if self._budget_s is not None:
            by_validations = self._val_workspace is not None and every is None
            return not by_validations and (self._elapsed() >= self._next_anchor_s or self._is_finished())
        if self._val_workspace is not None and 0 < every < self.plan.total_steps:
            return False
        return self.step % anchor_interval(self.plan.total_steps) == 0 or self._is_finished()

    def _stands_trial(self):
        """Say whether the state is one to go back to, where no validation has tried the weights as they are; raise Diverged where it is lost."""
        self._check_state()
        if self._budget_s is not None:
            self._next_anchor_s = self._elapsed() + self._budget_s / MOST_ANCHORS
        loss = self._try_next_chunk()
        if math.isfinite(loss) and not self._is_sound(loss):
            raise Diverged("the training loss", loss, self.step)
        return not self._recovery.in_a_row and math.isfinite(loss) and bool(np.isfinite(self._workspace.grads).all())

    def _try_next_chunk(self):
        """Return the loss of the next chunk and leave no trace but a gradient, in the place of the last step's."""
        self._add_gradient_norms()
        cursor, carry = self._streams.cursor(), self._workspace.get_carry()
        _, loss = self._next_chunk()
        self._streams.seek(cursor)
        self._workspace.set_carry(carry)
        return loss

    def _is_sound(self, loss):
        return loss < math.log(self.vocabulary.size) + SOUND_NATS

    def _check_state(self):
        """Raise Diverged where a number that would be saved is not finite. At anchors only: elsewhere the clock decides who looks."""
        if not self._state_is_finite():
            raise Diverged("a parameter or the optimiser's state", math.nan, self.step)

    def _state_is_finite(self):
        arrays = (self._result().flat, *self._slots().values(), *self._workspace.get_carry().values())
        return all(np.isfinite(array).all() for array in arrays)

    def _smoothed(self):
        """Exponential average of the training loss, corrected for its start at zero (as Adam's moments are)."""
        return self._loss_sum / (1 - SMOOTHING**self._loss_count) if self._loss_count else None

    # --------------------------------------------------------------------------------------------- time and progress

    def _elapsed(self):
        """Seconds of training, all of it but the preparation, earlier sessions included."""
        return self._elapsed_before_s + (self._clock() - self._started if self._started is not None else 0.0)

    def _epoch(self):
        return self.step / self.plan.steps_per_epoch

    def _progress(self):
        """Share of the run at the middle of the next step, for the schedule."""
        if self._budget_s is None:
            return (self.step + 0.5) / self.plan.total_steps
        return min(1.0, (self._elapsed() + self._step_s / 2) / self._end_s)

    def _set_reserve(self):
        """Under --minutes: set when the last step must be done, so that the final validation, test and save fit in."""
        if self._budget_s is None:
            return
        test = min(self.plan.splits.test[1] - self.plan.splits.test[0], self._val_characters)
        passes = 1 + test / self._val_characters if self._val_characters else 0
        reserve = 1.1 * passes * self._evaluation_s + 2 * self._save_s
        self._end_s = max(self._budget_s - reserve, self._budget_s / 2)

    def _is_finished(self):
        if self._budget_s is None:
            return self.step >= self.plan.total_steps
        return self.step > 0 and self._elapsed() + self._step_s / 2 >= self._end_s

    def _share_done(self):
        if self._budget_s is None:
            return self.step / self.plan.total_steps
        return min(1.0, self._elapsed() / self._budget_s)

    def _remaining(self):
        if self._budget_s is not None:
            return max(0.0, self._budget_s - self._elapsed())
        return (self._clock() - self._started) / self._steps_here * (self.plan.total_steps - self.step)

    # ---------------------------------------------------------------------------------------------------- validation

    @property
    def _val_characters(self):
        return self._val[1] - self._val[0]

    def _shorten_validation(self):
        """Under --minutes: see that one pass over the validation split is a small part of the time."""
        longest_s = LONGEST_VALIDATION * self.config.minutes * 60
        if self._evaluation_s <= longest_s:
            return
        characters = max(1, int(self._val_characters * longest_s / self._evaluation_s))
        self._evaluation_s = longest_s
        self._val = (self._val[0], self._val[0] + characters)
        self._val_workspace = split_workspace(self._result(), characters)
        yield Notice(shortened_note(self._val, self.plan.splits.val, counted(self.config.minutes, "minute")))

    def _evaluation_is_due(self):
        if self._val_workspace is None or self.step == 0 or self._evaluated_step == self.step:
            return False
        if self._is_finished():
            return True
        if self.config.eval_every is not None:
            return self.config.eval_every > 0 and self.step % self.config.eval_every == 0
        if self._next_evaluation_s is None:
            self._next_evaluation_s = self._elapsed() + self._evaluation_interval()
        # One that the final validation is soon to follow is left out.
        soon = self._elapsed() + self._evaluation_interval() / 2 > self._end_s
        return self._elapsed() >= self._next_evaluation_s and not soon

    def _evaluation_interval(self):
        """Seconds between two validations under --minutes."""
        return max(self._budget_s / MOST_EVALUATIONS, (self._evaluation_s + self._save_s) / EVALUATION_SHARE)

    def _evaluate(self):
        """Validate; return its Evaluated and whether the state is an anchor.

        None and False when asked to stop meanwhile: the resumed run then makes up for it. What is no anchor is not the best either:
        a run that goes back would leave the file of a best that it has not had.
        """
        self._check_state()
        begun = self._clock()
        evaluation = evaluate_split(
            self._result(), self.corpus.ids, *self._val, self._val_workspace, lambda: self._stop
        )
        if evaluation is None:
            return None, False
        # A validation split unlike the training split may cost any number of nats and mean nothing.
        loss = evaluation.loss_nats
        if not loss < EXPLODED_NATS or not self._is_sound(loss) and not self._is_sound(self._try_next_chunk()):
            raise Diverged("the validation loss", evaluation.loss_nats, self.step)
        self._evaluated_step = self.step
        self._val_loss_nats = evaluation.loss_nats
        self._last["val_loss_nats"] = evaluation.loss_nats
        self._last["singular_values"] = [_five_digits(value) for value in largest_singular_values(self.model)]
        # An average can be sound for a while after the weights that it follows are lost.
        is_anchor = not self._recovery.in_a_row if self.optimizer.average is None else self._stands_trial()
        is_best = is_anchor and (self._best is None or evaluation.loss_nats < self._best["val_loss_nats"])
        if is_best:
            self._best = {"val_loss_nats": evaluation.loss_nats, "step": self.step, "epoch": round(self._epoch(), 4)}
        self._evaluation_s = self._clock() - begun
        self._set_reserve()
        if self._budget_s is not None:
            self._next_evaluation_s = self._elapsed() + self._evaluation_interval()
        return Evaluated(self.step, self._epoch(), evaluation, is_best, self._evaluation_s), is_anchor

    # ---------------------------------------------------------------------------------------- log, checkpoint, sample

    def _log(self, finished):
        """Log the last step where that is due: at the interval, where it was validated, and at the end."""
        if self._last is None or self._logged_step >= self.step or self._evaluation_is_due():
            return
        due = finished or self._val_loss_nats is not None or "skipped" in self._last
        if self.config.log_every is not None:
            due = due or self.step % self.config.log_every == 0
        elif self._elapsed() >= self._next_log_s:
            due, self._next_log_s = True, self._elapsed() + self._budget_s / LOG_RECORDS
        if not due:
            return
        self._add_gradient_norms()
        clipped, steps = self._clipped
        self._last["clipped_share"] = _five_digits(clipped / steps) if steps else None
        self._clipped = [0, 0]
        self.folder.log(self._last)
        self._logged_step = self.step
        self._remember(self._last)

    def _add_gradient_norms(self):
        """Add the last gradient's norm by layer to the record of its step, while the workspace still holds it."""
        if self._gradient_step == self.step:
            self._last["grad_norms"] = {
                part: _five_digits(norm) for part, norm in norms_by_layer(self.model, self._workspace.grads).items()
            }
            self._gradient_step = None

    def _remember(self, record):
        """Keep the record in the history: every validation, and of the others as many as there is room for."""
        if "val_loss_nats" in record or "skipped" not in record and self._loss_count % self._history_stride == 0:
            kept = ("step", "epoch", "train_loss_nats", "val_loss_nats", "learning_rate", "grad_norm")
            entry = {key: record[key] for key in kept if record.get(key) is not None}
            if record["smoothed_loss_nats"] is not None:
                entry["train_loss_nats"] = record["smoothed_loss_nats"]
            self._history.append(entry)
        while len(self._history) > HISTORY_RECORDS:
            self._history_stride *= 2
            plain = [entry for entry in self._history if "val_loss_nats" not in entry]
            # Validations alone fill it when there are very many of them: then they are thinned like the rest.
            thinned = plain if plain else self._history
            gone = {entry["step"] for entry in thinned[::2]}
            self._history = [entry for entry in self._history if entry["step"] not in gone]

    def _save_is_due(self):
        if self.step == self._saved_step:
            return False
        if self.config.checkpoint_every:
            if self.step % self.config.checkpoint_every == 0:
                return True
        return self._clock() - self._last_save >= max(SAVE_SECONDS, 20 * self._save_s)

    def _save(self, is_best=False, is_anchor=False, finished=False):
        """Save `last`, `best` when this is it, and `good` at an anchor.

        None, and nothing saved, where a number is not finite: `last` stands, and the next anchor tells what comes of it.
        """
        begun = self._clock()
        self._add_gradient_norms()  # a resumed run may log this step, and has its gradient no more
        if not self._state_is_finite():
            return None
        if is_anchor:
            self._recovery.anchored(self.step)
        splits = {name: list(getattr(self.plan.splits, name)) for name in ("train", "val", "test")}
        checkpoint = Checkpoint(
            model=self.plan.model_config.to_dict(),
            vocabulary=self.vocabulary,
            parameters=self.model.view(self._result().flat),
            optimizer=_Slots({slot: self.model.view(flat) for slot, flat in self._slots().items()}),
            carry=self._workspace.get_carry(),
            training={
                "charrnn_version": charrnn.__version__,
                "config": self.config.to_dict(),
                "corpus": {
                    **describe_texts(self.texts, self.folder.path),
                    "characters": int(self.corpus.characters),
                    "fingerprint": self.corpus.fingerprint,
                    "splits": splits,
                },
                "step": self.step,
                "optimizer_steps": int(self.optimizer.steps),
                "epoch": round(self._epoch(), 4),
                "cursor": self._streams.cursor(),
                "best": self._best,
                "smoothing": [self._loss_sum, self._loss_count],
                "last": self._last,
                "clipped": self._clipped,
                "logged_step": self._logged_step,
                "evaluated_step": self._evaluated_step,
                "validated": list(self._val),
                "elapsed_s": round(self._elapsed(), 3),
                "finished": finished,
                "divergence": self._recovery.to_dict(),
                "history": self._history,
                "history_stride": self._history_stride,
            },
        )
        self.folder.save(checkpoint, best=is_best)
        if finished:
            self.folder.remove_good()
        elif is_anchor:
            self.folder.keep_last_as_good()
        self._saved_step = self.step
        self._last_save = self._clock()
        self._save_s = self._last_save - begun
        return Saved(self.step, self.folder.best if is_best else self.folder.last, is_best)

    def _sample_is_due(self):
        if not self._samples or self.step == 0 or self.config.sample_every == 0:
            return False
        if self.config.sample_every:
            return self.step % self.config.sample_every == 0
        # Often while much changes, later less.
        if self._elapsed() < self._next_sample_s:
            return False
        self._next_sample_s = self._elapsed() + min(max(8.0, 0.9 * self._elapsed()), 600.0)
        return True

    def _sample(self):
        return Sampled(self.step, self._make_sample(self.config.sample_length))

    def _make_sample(self, length):
        """Draw a text from the model as it is, in a workspace of its own: no state of the training is touched."""
        sampler = Sampler(self._result(), Settings(temperature=SAMPLE_TEMPERATURE), seed=self.config.seed + self.step)
        try:
            sampler.prime(self.vocabulary.encode("\n"))
        except VocabularyError:
            sampler.prime(())
        decoder, text = self.vocabulary.decoder(), []
        for block in sampler.generate(length):
            text += [decoder.feed(int(i)) for i in block.ids[0]]
        return "".join(text) + decoder.flush()


class _Slots(Mapping):
    """An optimiser's state as {"slot/name": array}, over a mapping for each slot."""

    def __init__(self, slots):
        self._slots = slots

    def __getitem__(self, key):
        slot, _, name = key.partition("/")
        return self._slots[slot][name]

    def __iter__(self):
        return (f"{slot}/{name}" for slot, arrays in self._slots.items() for name in arrays)

    def __len__(self):
        return sum(map(len, self._slots.values()))


def _five_digits(value):
    return float(f"{value:.5g}") if math.isfinite(value) else None
