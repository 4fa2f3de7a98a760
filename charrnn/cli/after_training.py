"""What `charrnn train` shows of a run that is finished: a sample, how good it is, and what to type next."""

import math

from charrnn.cli.words import quoted, unlike_line
from charrnn.errors import counted

WONDER = 0.04  # test and validation loss that differ by this share want an explanation
FLAT = 0.03  # a validation loss that ends within this share of its lowest has not risen
MAX_NGRAM = 1_500_000  # characters that an n-gram is built from without being asked for: a few seconds
ORDERS = 10
QUESTION = "How good is that?"


def show_finished(finished, trainer, display):
    """Show a sample of the model, how good it is, and the next commands; notes of the display."""
    _show_sample(finished, trainer, display)
    line = _compare(finished, trainer)
    if line:
        display.note(line)
    for part in _unlike_parts(finished, trainer):
        display.note(unlike_line(part, len(trainer.corpus.sources), trainer.plan.config.val_text))
    if finished.because is None and finished.best_step is not None and finished.best_step < 0.7 * finished.step:
        losses = [one["val_loss_nats"] for one in trainer.state.history.entries if "val_loss_nats" in one]
        display.note(stalled_line(finished.best_step, finished.best_loss_nats, losses[-1] if losses else math.inf))


def stalled_line(best_step, best_loss_nats, last_loss_nats):
    """Say what it means that the validation loss was lowest long before the end: overfitting where it has risen."""
    since = f"the validation loss has not improved since step {best_step:,}"
    if last_loss_nats < (1 + FLAT) * best_loss_nats:
        return f"{since}: longer training would hardly make this model better"
    return (
        f"{since}: the model is overfitting; train for fewer epochs, or use a longer text, a higher --dropout or a "
        "smaller --hidden-size"
    )


def next_commands(folder, trainer):
    """Return the commands that make sense after a training: the first one uses the model."""
    from charrnn.cells.search import MIN_CHARACTERS
    from charrnn.cli.item_samples import first_use

    run, splits = quoted(folder), trainer.plan.splits
    start, stop = splits.held_out
    can_search = trainer.corpus.items is None and stop - start >= MIN_CHARACTERS
    look = f"charrnn cells {run} --highlight" if can_search else f"charrnn info {run}"
    start, stop = splits.test
    split = " --split test" if stop > start else ""  # the one that the model has just been compared on
    return [first_use(run, _task(trainer), trainer.corpus.vocabulary), f"charrnn eval {run}{split}", look]


def _task(trainer):
    reading = trainer.plan.config.items_reading
    return None if reading is None else reading.task


def _show_sample(finished, trainer, display):
    from charrnn.errors import DivergenceError
    from charrnn.model.parameters import Model
    from charrnn.runs.checkpoint import load_checkpoint
    from charrnn.training.records import Sampled
    from charrnn.training.samples import Samples, can_show

    plan, corpus = trainer.plan, trainer.corpus
    if not plan.config.sample or not can_show(plan):
        return
    checkpoint = load_checkpoint(finished.checkpoint)
    samples = Samples(plan.config, checkpoint.vocabulary, None, corpus, plan.splits.val)
    step = finished.best_step or finished.step
    try:
        drawn = samples.draw(Model.from_checkpoint(checkpoint), step, plan.config.sample_length)
    except DivergenceError:
        return
    if drawn.text:
        display.show(Sampled(step, drawn.text))


def _compare(finished, trainer):
    """Say in a line how the model stands to an n-gram of the same training text; "" where that cannot be said."""
    from charrnn.evaluation.ngram import BYTES_A_CHARACTER, Stretch, judge_text
    from charrnn.files.machine import available_memory

    splits, corpus = trainer.plan.splits, trainer.corpus
    start, stop = splits.train
    if _task(trainer) is not None:
        return ""
    if not splits.validates:
        return f"{QUESTION} This run holds out too little text to compare the model with an n-gram."
    split, loss_nats = "test", None if finished.test is None else finished.test.loss_nats
    if loss_nats is None:
        split, loss_nats = "validation", finished.best_loss_nats
    if loss_nats is None:  # the run was not validated
        return ""
    free = available_memory()
    too_large = stop - start > MAX_NGRAM or free is not None and BYTES_A_CHARACTER * len(corpus.ids) > free
    if too_large or not finished.val_is_whole:  # then only a part of either split was read
        return f"{QUESTION} For a long text like this one, the command 'charrnn eval' below compares it with an n-gram."

    from charrnn.cli.progress import progress_bar

    start_id = corpus.vocabulary.start_id
    judged_on = splits.test if split == "test" else splits.val

    def stretch(first, end):
        before = min(ORDERS, first)
        ids = corpus.ids[first - before : end]
        return Stretch(ids, before, None if start_id is None else ids[before:] != start_id)

    with progress_bar() as report:
        judged = judge_text(
            corpus.ids[start:stop], stretch(*splits.val), stretch(*judged_on), corpus.vocabulary.size, ORDERS,
            progress=lambda share: report("comparing with an n-gram", share, 1.0), start_id=start_id,
        )  # fmt: skip
    return ngram_line(loss_nats, judged.mean_nats, judged.order, split)


def ngram_line(loss_nats, ngram_nats, order, split="test"):
    """Say by how much a model is better or worse than an n-gram on a split."""
    figures = f"({loss_nats:.2f} against {ngram_nats:.2f} nats on the {split} split)"
    share = (ngram_nats - loss_nats) / ngram_nats
    knows = f", which only sees the last {counted(order - 1, 'character')}" if order > 1 else ""
    ngram = f"{'an' if order == 8 else 'a'} {order}-gram of the same text{knows} {figures}"
    if abs(share) < 0.005:
        return f"{QUESTION} The model needs as many bits per character as {ngram}."
    if share > 0:
        return f"{QUESTION} The model needs {share:.0%} fewer bits per character than {ngram}."
    many = f"{1 - share:.1f} times as many" if share <= -1 else f"{-share:.0%} more"
    than = "as" if share <= -1 else "than"
    return f"{QUESTION} The model needs {many} bits per character {than} {ngram}: train longer, or use a larger model."


def _unlike_parts(finished, trainer):
    """Return the UnlikeParts of a run's text, looked for where test and validation loss differ noticeably."""
    if finished.test is None or finished.best_loss_nats is None or _task(trainer) is not None:
        return []  # of a task n-grams would tell what is not asked
    low, high = sorted((finished.test.loss_nats, finished.best_loss_nats))
    if high < (1 + WONDER) * low:
        return []
    from charrnn.evaluation.parts import find_unlike_parts

    corpus = trainer.corpus
    return find_unlike_parts(
        corpus.ids, trainer.plan.splits, corpus.vocabulary.size, start_id=corpus.vocabulary.start_id
    )
