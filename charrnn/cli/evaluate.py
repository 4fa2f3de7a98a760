"""charrnn eval: how well a model predicts a text, beside what that is to be held against. Results on stdout, the rest on stderr."""

import contextlib
import json
import math
import os
import sys
from pathlib import Path

import click

from charrnn.cli.words import bare_symbol, can_print, loss_text, note, printable, say
from charrnn.errors import counted

SPLITS = ("val", "test", "train")
KNOWN = 0.25  # of what xz writes of a text alone: a text that it writes in less after the training text stands in that
AT_ONCE = 8_000_000  # characters up to which the baselines are measured unasked
CONTEXT = 2_000  # characters before the judged ones that mistakes, brackets and n-grams may look at
SHOWN = 1_200  # characters in the terminal
PAGE_CHARACTERS = 40_000
MOST_BITS = 8
MOST_GUESSES = 20
DEAREST = 12  # characters whose guesses the terminal shows
SAMPLE_LENGTH = 20_000
MOST_SAMPLE = 1_000_000
SHOWN_LENGTHS = (1, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50)
NARROWEST = 40


@click.command(name="eval")
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--split", type=click.Choice(SPLITS), show_default="val", help="Split of the text the run was trained on."
)
@click.option(
    "--unknown",
    type=click.Choice(("error", "skip")),
    show_default="error",
    help="What to do with characters of TEXT that the model does not know; what is skipped is counted.",
)
@click.option("--encoding", metavar="NAME", show_default="the run's", help="Encoding of TEXT.")
@click.option(
    "--baselines/--no-baselines",
    default=None,
    show_default=f"on up to {AT_ONCE:,} characters",
    help="Set the loss beside uniform, unigram, n-gram and xz, trained on the same text.",
)
@click.option("--dynamic", is_flag=True, help="Measure too how well it does when it goes on learning as it reads.")
@click.option("--dynamic-rule", type=click.Choice(("rms", "sgd")), show_default="rms", help="How it learns then.")
@click.option(
    "--dynamic-rate", type=float, metavar="X", show_default="5e-4 (rms), 0.1 (sgd)", help="Learning rate of --dynamic."
)
@click.option(
    "--dynamic-decay",
    type=float,
    metavar="X",
    show_default="0.001",
    help="Share of the way back to what it was, after each segment.",
)
@click.option(
    "--dynamic-segment", type=int, metavar="N", show_default="20", help="Characters between two updates of --dynamic."
)
@click.option(
    "--errors", is_flag=True, help="Say what kinds of characters it gets wrong, and how far it remembers brackets."
)
@click.option("--memorised", is_flag=True, help="Say how much of a sample stands word for word in the training text.")
@click.option(
    "--length",
    type=int,
    metavar="N",
    show_default=f"{SAMPLE_LENGTH:,}",
    help="Characters of the sample of --memorised.",
)
@click.option("--seed", type=int, metavar="N", show_default="0", help="Of the sample of --memorised.")
@click.option(
    "--surprisal",
    is_flag=True,
    help="Show the text coloured by the bits each character cost; with --json a record each.",
)
@click.option(
    "--top-k", type=int, metavar="K", help="With --surprisal: what the model expected instead, K guesses each."
)
@click.option(
    "--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE", help="Write the coloured text as a page."
)
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Columns of what is shown.")
@click.option(
    "--json", "as_json", is_flag=True, help="Print one JSON object; with --surprisal one a character and line."
)
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Threads to compute with.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Measure how well a model predicts a text.

    \b
    Example: charrnn eval checkpoints/shakespeare-1 sonnets.txt

    CHECKPOINT is a file or a run folder; left out, it is the newest run under ./checkpoints. TEXT is a file, a folder,
    a glob, or - for stdin; left out, it is a split of the text that the run was trained on, found again.

    The text is read as one stream from end to end. The standard error is that of the means of blocks side by side, since
    neighbouring characters are hard together. docs/EVAL.md says how to read every figure.
    """
    _check(text, options)
    from charrnn.cli.display import announce_compilation
    from charrnn.runs.checkpoint import find_checkpoint, load_checkpoint

    path = find_checkpoint(checkpoint)
    if path != checkpoint:
        note(f"checkpoint {path}")
    loaded = load_checkpoint(path)
    ctx.call_on_close(announce_compilation(note))
    from charrnn.errors import ConfigError, VocabularyError
    from charrnn.kernels.threads import num_threads, set_num_threads
    from charrnn.model.parameters import Model

    if options["threads"] is not None:
        before = num_threads()
        ctx.call_on_close(lambda: set_num_threads(before))
        set_num_threads(options["threads"])
    model = Model.from_checkpoint(loaded)
    with contextlib.ExitStack() as stack:
        try:
            corpus, named, splits = stack.enter_context(
                open_text(loaded, path, text, options["encoding"], options["unknown"] or "error")
            )
        except VocabularyError as error:
            raise VocabularyError(
                f"{error}; --unknown skip leaves such characters out" if text is not None else str(error)
            ) from None
        start, stop, where, split = 0, corpus.characters, text, None
        if splits is not None:
            split = options["split"] or SPLITS[0]
            start, stop = getattr(splits, split)
            where = f"{split} split of {', '.join(named)}"
            if stop - start < 1:
                raise ConfigError(f"the run has no {split} split: choose another --split, or name a TEXT")
        training = (corpus, splits)
        if splits is None:
            training = stack.enter_context(_training_text(loaded, path, options))
        Judge(model, loaded.vocabulary, corpus, start, stop, where, split, path, training, options).run()


@contextlib.contextmanager
def open_text(loaded, path, text, encoding, unknown="error"):
    """Read TEXT, or where it is None the text that the run of a checkpoint was trained on, found again and checked.

    Yields (corpus, the texts' names, the run's Splits or None for a TEXT). Says on stderr what a user should know.
    """
    from charrnn.errors import ConfigError
    from charrnn.text.corpus import read_corpus
    from charrnn.training.provenance import check_corpus, find_texts
    from charrnn.training.stored import stored_config, stored_encoding

    if text is None:
        if encoding is not None:
            raise ConfigError(f"--encoding {encoding} is of a TEXT, and none is named: leave it out")
        config = stored_config(loaded.training)
        named, encoding = find_texts(loaded.training, path.parent), config.encoding
        vocabulary = None  # the fingerprint says better than an unknown character that the text has changed
    else:
        named, vocabulary = [text], loaded.vocabulary
        encoding = encoding or stored_encoding(loaded.training)
    with contextlib.closing(
        read_corpus(named, mode=loaded.vocabulary.mode, encoding=encoding, vocabulary=vocabulary, unknown=unknown)
    ) as corpus:
        splits = None
        if text is None:  # before anything is said of what the checkpoint made us read
            check_corpus(loaded.training, corpus)
            splits = corpus.split(config.val_fraction, config.test_fraction)
        for said in corpus.notes:
            note(said)
        yield corpus, named, splits


@contextlib.contextmanager
def _training_text(loaded, path, options):
    """Yield (corpus, splits) of the run's own text beside a TEXT; (None, None), and a word on it, where it is not at hand.

    Raises what is in the way where something asked for cannot be had without it.
    """
    from charrnn.errors import CharRNNError, ConfigError

    needed = [
        flag
        for flag, name in (("--errors", "errors"), ("--memorised", "memorised"), ("--baselines", "baselines"))
        if options[name]
    ]
    if not needed and options["baselines"] is False and not (options["dynamic"] and options["dynamic_rule"] != "sgd"):
        yield None, None
        return
    with contextlib.ExitStack() as stack:
        try:
            corpus, _, splits = stack.enter_context(open_text(loaded, path, None, None))
        except CharRNNError as error:
            if options["errors"] or options["memorised"]:
                raise ConfigError(f"{needed[0]} needs the text that the run was trained on: {error}") from None
            note(f"without the training text there are no unigram, no n-gram, and xz knows nothing before: {error}")
            corpus = splits = None
        yield corpus, splits


def _check(text, options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    from charrnn.errors import ConfigError

    if text is not None and options["split"] is not None:
        raise ConfigError(f"--split {options['split']} is of the run's own text: leave it out, or leave out {text}")
    if text is None and options["unknown"] is not None:
        raise ConfigError(
            f"--unknown {options['unknown']} is of a TEXT, and none is named: a run knows all of its own text"
        )
    for name, least, most in (
        ("threads", 1, None),
        ("width", NARROWEST, None),
        ("top_k", 1, MOST_GUESSES),
        ("length", 1, MOST_SAMPLE),
        ("seed", 0, 2**64 - 1),
    ):
        value = options[name]
        if value is not None and (value < least or most is not None and value > most):
            raise ConfigError(
                f"--{name.replace('_', '-')} must be at least {least}{f' and at most {most:,}' if most else ''}, got {value:,}"
            )
    for flag, belongs in (
        ("dynamic_rule", "dynamic"),
        ("dynamic_rate", "dynamic"),
        ("dynamic_decay", "dynamic"),
        ("dynamic_segment", "dynamic"),
        ("length", "memorised"),
        ("seed", "memorised"),
    ):
        if options[flag] is not None and not options[belongs]:
            raise ConfigError(f"--{flag.replace('_', '-')} says how --{belongs} is done: add --{belongs}")
    if options["top_k"] is not None and not options["surprisal"]:
        raise ConfigError(f"--top-k {options['top_k']} says how many guesses --surprisal shows: add --surprisal")
    if options["surprisal"] and options["as_json"]:
        for name in ("errors", "memorised", "baselines"):
            if options[name]:
                raise ConfigError(
                    f"--surprisal --json writes a record a character, in which --{name} has no place: leave one of them out"
                )
    html = options["html"]
    if html is not None and not html.absolute().parent.is_dir():
        raise ConfigError(f"--html {html}: there is no folder {html.parent}; make it first")


class Judge:
    """One reading of a text by a model, what it is held against, and all that is shown of it."""

    def __init__(self, model, vocabulary, corpus, start, stop, where, split, path, training, options):
        self.model, self.vocabulary, self.corpus, self.start, self.stop = model, vocabulary, corpus, start, stop
        self.ids, self.where, self.split, self.path, self.options = corpus.ids, where, split, path, options
        self.training_corpus, self.splits = training
        self.first = max(start, 1)  # nothing comes before a text's very first character
        self.baselines, self.judged, self.dynamic_losses, self.mistakes, self.memorised = [], None, None, None, None

    def run(self):
        from charrnn.cli.display import progress_bar
        from charrnn.errors import DAMAGED, DivergenceError
        from charrnn.evaluation.loss import read_losses, standard_error, sum_up

        self.settings = self._dynamic_settings()
        with progress_bar() as progress:
            self.losses = read_losses(self.model, self.ids, self.start, self.stop, progress("reading the text"))
            self.evaluation = sum_up(self.losses)
            if not math.isfinite(self.evaluation.loss_nats):
                raise DivergenceError(f"the model's loss on this text is not a finite number: {DAMAGED}")
            self.error, self.blocks, self.block_length = standard_error(self.losses)
            if self._wants_baselines() or self.options["errors"]:
                self._measure_baselines(progress)
            if self.options["dynamic"]:
                self._read_dynamically(progress)
            if self.options["errors"]:
                self._find_mistakes(progress)
            if self.options["memorised"]:
                self._measure_copies(progress)
            self.guesses = self._read_guesses(progress)
            if self.options["html"]:
                self._write_page(progress)
        if self.options["as_json"] and self.options["surprisal"]:
            self._print_records()
        elif self.options["as_json"]:
            click.echo(json.dumps(self._to_dict(), allow_nan=False))
        else:
            self._print()

    # What is measured

    def _wants_baselines(self):
        asked = self.options["baselines"]
        if asked is not None:
            return asked
        if self.options["as_json"] and self.options["surprisal"]:
            return False
        characters = self.stop - self.start + (self.training_corpus.characters if self.training_corpus else 0)
        if characters > AT_ONCE:
            note(
                f"{characters:,} characters are many: --baselines sets the loss beside n-grams and xz, which takes minutes"
            )
        return characters <= AT_ONCE

    def _dynamic_settings(self):
        from charrnn.evaluation.dynamic import Settings

        given = {name: self.options[f"dynamic_{name}"] for name in ("rule", "rate", "decay", "segment")}
        given = {name: value for name, value in given.items() if value is not None}
        if self.options["dynamic"] and self.training_corpus is None and "rule" not in given:
            note("without the training text, --dynamic learns by the plain rule sgd")
            given["rule"] = "sgd"
        return Settings(**given)

    def _training_ids(self):
        """Return the training split's ids, the last ones of a very long one, or None."""
        from charrnn.evaluation.baselines import MOST_TRAINING

        if self.training_corpus is None:
            return None
        start, stop = self.splits.train
        return self.training_corpus.ids[max(start, stop - MOST_TRAINING) : stop]

    def _measure_baselines(self, progress):
        from charrnn.errors import ConfigError
        from charrnn.evaluation import baselines
        from charrnn.evaluation.ngram import BYTES_A_CHARACTER
        from charrnn.training.memory import available_memory

        V, ids, training = self.model.config.vocab_size, self.ids[self.first : self.stop], self._training_ids()
        found = [baselines.uniform(V)]
        if training is not None:
            text = self._stretch(self.ids, self.first, self.stop)
            val = self.splits.val
            validation = (
                text
                if self.split == "val"
                else self._stretch(self.training_corpus.ids, *val)
                if val[1] > val[0]
                else None
            )
            need, free = BYTES_A_CHARACTER * (len(training) + len(text.ids) + val[1] - val[0]), available_memory()
            if free is not None and need > free:
                raise ConfigError(
                    f"an n-gram of {len(training):,} characters needs {need / 1e9:.1f} GB of memory and {free / 1e9:.1f} are "
                    "free: add --no-baselines"
                )
            if len(training) < self.splits.train[1] - self.splits.train[0]:
                note(f"n-gram, unigram and xz know the last {len(training):,} characters of the training split")
            found.append(baselines.unigram(training, ids, V))
            baseline, self.judged = baselines.ngram(training, validation, text, V, _share(progress("training n-grams")))
            found.append(baseline)
        if self._wants_baselines():
            before = b"" if training is None else baselines.encoded(self.vocabulary, training)
            data = baselines.encoded(self.vocabulary, ids)
            found += baselines.xz(before, data, len(ids), _share(progress("compressing with xz")))
            self.baselines = sorted(found, key=lambda baseline: -baseline.loss_nats)

    def _stretch(self, ids, first, stop):
        from charrnn.evaluation.ngram import MOST_ORDERS, Stretch

        before = min(MOST_ORDERS, first)
        return Stretch(ids[first - before : stop], before)

    def _read_dynamically(self, progress):
        from charrnn.evaluation.dynamic import read_losses_dynamic

        self.dynamic_losses = read_losses_dynamic(
            self.model,
            self.ids,
            self.start,
            self.stop,
            self.settings,
            self._training_ids(),
            progress("reading and learning"),
        )

    def _find_mistakes(self, progress):
        from charrnn.evaluation.mistakes import bracket_losses, count_words, find_mistakes, readable

        progress("sorting the mistakes")(0, 1)
        before = min(CONTEXT, self.first)
        text = readable(self.vocabulary, self.ids[self.first - before : self.stop])
        words = count_words(readable(self.vocabulary, self._training_ids()))
        self.mistakes = find_mistakes(text, before, self.losses, self.judged.first_sure, words)
        self.brackets = bracket_losses(text, before, self.losses, self.judged.loss_nats)

    def _measure_copies(self, progress):
        import numpy as np

        from charrnn.cli.sample import start_ids
        from charrnn.evaluation.memorised import overlaps
        from charrnn.sampling.sampler import Sampler, Settings

        length, seed = self.options["length"] or SAMPLE_LENGTH, self.options["seed"] or 0
        held_out, self.held_out_name = self._held_out()
        sampler = Sampler(self.model, Settings(), seed=seed, num_samples=1)
        sampler.prime(start_ids(self.vocabulary))
        report, drawn = progress("drawing a sample"), []
        for block in sampler.generate(length):
            drawn.append(block.ids[0])
            report(sum(map(len, drawn)), length)
        self.sample = np.concatenate(drawn)
        self.held_out = held_out[:length]
        self.memorised = overlaps(
            self._training_ids(),
            [self.sample, self.held_out],
            self.model.config.vocab_size,
            _share(progress("looking for copies")),
        )

    def _held_out(self):
        """Return (ids, their name) of a text that the model has not seen."""
        if self.split is None:
            return self.ids, self.where
        for split in (self.split, "test", "val"):
            start, stop = getattr(self.splits, split)
            if split != "train" and stop > start:
                return self.ids[start:stop], f"the {split} split"
        return self.ids[:0], "nothing held out"

    def _read_guesses(self, progress):
        """Return (guesses (n, K), probabilities) of as many characters as are shown, or None."""
        from charrnn.evaluation.loss import read_guesses

        options, wanted, stop = self.options, [], self.stop
        if options["html"]:
            wanted.append((5, self.first + PAGE_CHARACTERS))
        if options["surprisal"] and options["top_k"] is not None:
            wanted.append((options["top_k"], self.stop if options["as_json"] else self.first + SHOWN))
        if not wanted:
            return None
        count, stop = max(count for count, _ in wanted), min(self.stop, max(stop for _, stop in wanted))
        return read_guesses(self.model, self.ids, self.start, stop, count, progress("reading the guesses"))

    # The page

    def _write_page(self, progress):
        import numpy as np

        from charrnn.cells.passages import read_symbols
        from charrnn.render.page import GUESSES, FoundUnit, PageData, write_page

        progress("writing the page")(0, 1)
        n = min(len(self.losses), PAGE_CHARACTERS)
        ids = self.ids[self.first - 1 : self.first + n]  # the character before the first judged one leads in
        readers = [("the model", self.losses)]
        if self.judged is not None:
            readers.append((f"a {self.judged.order}-gram of the same training text", self.judged.loss_nats))
        if self.dynamic_losses is not None:
            readers.append(("the model, learning as it reads", self.dynamic_losses))
        bits = np.full((len(readers), n + 1), np.nan)
        for row, (_, losses) in zip(bits, readers):
            row[1:] = losses[:n] / math.log(2)
        guesses_ids, guesses_p = np.zeros((n + 1, GUESSES), np.int32), np.zeros((n + 1, GUESSES))
        shown = min(GUESSES, self.guesses[0].shape[1])
        guesses_ids[:-1, :shown], guesses_p[:-1, :shown] = (array[:n, :shown] for array in self.guesses)
        config = self.model.config
        data = PageData(
            text=read_symbols(self.vocabulary, ids)[1],
            vocabulary=[bare_symbol(symbol) for symbol in self.vocabulary.symbols],
            layers=1,
            units=len(readers),
            quantity="bits each character cost",
            values=np.nan_to_num(np.minimum(bits / MOST_BITS, 1)),
            guesses_ids=guesses_ids,
            guesses_p=guesses_p,
            surprisal_bits=bits[0],
            title=f"Surprisal: {self.where if self.where != '-' else 'stdin'}",
            model_line=f"{config.cell} {config.hidden_size} x {config.num_layers}, {self.path}: {self._figure()}",
            found=[FoundUnit(name, name, 0, k, math.nan) for k, (name, _) in enumerate(readers)],
            most_bits=MOST_BITS,
            sheets=self._sheets(),
        )
        write_page(self.options["html"], data)
        note(
            f"wrote {self.options['html']}"
            + (f", the first {n:,} of {len(self.losses):,} characters" if n < len(self.losses) else "")
        )

    def _sheets(self):
        from charrnn.render.page import Sheet

        sheets = []
        if self.baselines:
            rows = self._rows()
            sheets.append(
                Sheet(
                    "Is it good?",
                    self._verdict() or "",
                    ["", "nats", "bits"],
                    [[name, f"{nats:.4f}", f"{nats / math.log(2):.3f}"] for name, nats, _ in rows],
                    [nats / max(row[1] for row in rows) for _, nats, _ in rows],
                )
            )
        if self.mistakes is not None and self.mistakes.count:
            sheets.append(
                Sheet(
                    "Mistakes",
                    self._mistakes_line(),
                    ["", "characters", "share"],
                    [
                        [f"{one.kind}: {one.detail}", f"{one.count:,}", f"{one.count / self.mistakes.count:.1%}"]
                        for one in self.mistakes.kinds
                    ],
                    [one.count / self.mistakes.count for one in self.mistakes.kinds],
                )
            )
            sheets.append(
                Sheet(
                    "Closing brackets",
                    "Bits each cost the model and the n-gram, by the distance from the opening one.",
                    ["distance", "brackets", "model", "n-gram"],
                    [[*row] for row in self._bracket_rows()],
                )
            )
        return sheets

    # What is printed

    def _print(self):
        self.unicode = can_print("█·●⠿└␣␊↵", sys.stdout)
        click.echo(f"{loss_text(self.evaluation.loss_nats)}, over {counted(self.evaluation.characters, 'character')}")
        where = self.where if self.where != "-" else "stdin"
        note(f"of the {where}" if self.split else f"of {where}")
        if math.isfinite(self.error):
            click.echo(
                f"standard error {self.error:.4f} nats, from {counted(self.blocks, 'block')} of {self.block_length:,} characters; "
                f"{self._bits_per_byte():.4f} bits a byte"
            )
        else:
            click.echo(f"{self._bits_per_byte():.4f} bits a byte; the text is too short for a standard error")
        if self.split == "train":
            note("the model has seen this split, and so have the baselines: --split val or test says how good they are")
        if self.baselines or self.dynamic_losses is not None:
            self._print_baselines()
        if self.dynamic_losses is not None:
            self._print_dynamic()
        if self.mistakes is not None:
            self._print_mistakes()
        if self.memorised is not None:
            self._print_memorised()
        if self.options["surprisal"]:
            self._print_surprisal()

    def _figure(self):
        error = f" (standard error {self.error:.4f})" if math.isfinite(self.error) else ""
        return f"{self.evaluation.loss_nats:.4f} nats{error} = {self.evaluation.loss_bpc:.4f} bits a character"

    def _rows(self):
        """Return [(name, nats, detail)] of the baselines and the model, the worst first."""
        rows = [(baseline.name, baseline.loss_nats, baseline.detail) for baseline in self.baselines]
        rows.append(("this model", self.evaluation.loss_nats, ""))
        if self.dynamic_losses is not None:
            rows.append(("this model, learning", float(self.dynamic_losses.mean()), "as it reads: --dynamic"))
        return sorted(rows, key=lambda row: -row[1])

    def _print_baselines(self):
        rows = self._rows()
        longest = max(len(name) for name, _, _ in rows)
        click.echo(f"\n{'':{longest}}    nats    bits  perplexity")
        for name, nats, detail in rows:
            line = (
                f"{name:{longest}}  {nats:6.4f}  {nats / math.log(2):6.4f}  {math.exp(nats):10,.2f}  {detail}".rstrip()
            )
            click.echo(click.style(line, bold=True) if name.startswith("this model") else line)
        if verdict := self._verdict():
            click.echo("\n" + click.wrap_text(verdict, self._width()))

    def _verdict(self):
        """Say how the model stands to the n-gram, by the standard error of their difference, or return None."""
        from charrnn.evaluation.loss import standard_error

        if self.judged is None:
            return None
        name, loss = f"{self.judged.order}-gram", float(self.judged.loss_nats.mean())
        difference = self.evaluation.loss_nats - loss
        error = standard_error(self.losses - self.judged.loss_nats)[0]
        share = abs(difference) / max(loss, self.evaluation.loss_nats)
        if self._is_known():
            return "Most of this text stands in the training text, word for word: these figures tell nothing of a text that is new to the model."
        if not abs(difference) > 2 * error:  # also where the error is not known
            return f"It is level with the {name}: what it knows beyond {counted(self.judged.order, 'character')} does not show yet."
        if difference > 0 and self.split is None:
            return f"The {name} needs {share:.1%} fewer bits for this text, knowing the same training text."
        if difference > 0:
            return f"The {name} needs {share:.1%} fewer bits: a longer training, or a larger model, has something to learn here."
        return f"It needs {share:.1%} fewer bits than the {name}, which knows all that {counted(self.judged.order, 'character')} can tell."

    def _is_known(self):
        """Tell whether a TEXT stands in the training text: whether xz, which has read that, hardly has to write it."""
        sizes = {baseline.name: baseline.loss_nats for baseline in self.baselines}
        return self.split is None and sizes.get("xz -9e", math.inf) < KNOWN * sizes.get("xz -9e alone", 0)

    def _print_dynamic(self):
        from charrnn.evaluation.loss import standard_error

        gain = self.losses - self.dynamic_losses
        error = standard_error(gain)[0]
        click.echo(
            f"\nLearning as it reads, it needs {gain.mean():.4f} nats less a character"
            f"{f' (standard error {error:.4f})' if math.isfinite(error) else ''}: "
            f"{self.losses.mean():.4f} -> {self.dynamic_losses.mean():.4f}"
        )
        note(
            f"{self.settings.rule}, rate {self.settings.rate:g}, decay {self.settings.decay:g}, an update every "
            f"{counted(self.settings.segment, 'character')}; the checkpoint is as it was"
        )

    def _mistakes_line(self):
        mistakes = self.mistakes
        return (
            f"{mistakes.count:,} of {mistakes.characters:,} characters ({mistakes.count / mistakes.characters:.1%}) got a probability below "
            f"0.5; they make {mistakes.loss_share:.1%} of the loss. Each is counted once, under the first kind that has it."
        )

    def _print_mistakes(self):
        width, count = self._width(), max(1, self.mistakes.count)
        click.echo(f"\n{click.wrap_text(self._mistakes_line(), width)}\n")
        rows = self._mistake_rows()
        label = max(len(name) for name, _, _ in rows)
        longest = max(0, min(40, width - label - 26))
        click.echo(f"{'':{label}}{'mistakes':>10}{'of them':>8}{'of loss':>8}")
        for name, found, share in rows:
            bar = ("█" if self.unicode else "#") * round(longest * found / count)
            click.echo(f"{name:{label}}{found:10,}{found / count:8.1%}{share:8.1%} {bar}".rstrip())
        if not any(one.count for one in self.brackets):
            click.echo("\nNo bracket is closed in it that was opened in it: nothing to say of their distance.")
            return
        click.echo(
            f"\n{'closing bracket after':24}{'brackets':>9}{'model':>9}{f'{self.judged.order}-gram':>9}   bits each"
        )
        for distance, brackets, model, ngram in self._bracket_rows():
            click.echo(f"{distance + ' characters':24}{brackets:>9}{model:>9}{ngram:>9}")

    def _mistake_rows(self):
        """Return [(name, count, share of the loss)]: each kind, under one of several sorts those."""
        rows = []
        for kind, found, share in self.mistakes.by_kind():
            sorts = [one for one in self.mistakes.kinds if one.kind == kind]
            if len(sorts) > 1:
                rows.append((kind, found, share))
            rows += [
                (f"  {one.detail}" if len(sorts) > 1 else f"{kind}: {one.detail}", one.count, one.loss_share)
                for one in sorts
            ]
        return rows

    def _bracket_rows(self):
        def bits(nats):
            return f"{nats / math.log(2):.2f}" if math.isfinite(nats) else "-"

        return [
            (
                f"{one.low}-{one.high - 1}" if one.high else f"{one.low}+",
                f"{one.count:,}",
                bits(one.loss_nats),
                bits(one.ngram_loss_nats),
            )
            for one in self.brackets
        ]

    def _print_memorised(self):
        from charrnn.render.plot import mark, plot
        from charrnn.render.terminal import visible

        sample, held_out = self.memorised
        click.echo(
            f"\nOf all substrings of this length, the share that stands in the training text too ({len(self.sample):,} characters "
            f"drawn,\n{len(self.held_out):,} of {printable(self.held_out_name, sys.stdout)}):\n"
        )
        click.echo(f"{'length':>8}" + "".join(f"{length:>6}" for length in SHOWN_LENGTHS))
        other = "held out" if self.split else "text"
        for name, overlap in (("sample", sample), (other, held_out)):
            shares = [overlap.shares[length - 1] for length in SHOWN_LENGTHS]
            click.echo(
                f"{name:>8}" + "".join(f"{share:6.0%}" if math.isfinite(share) else f"{'-':>6}" for share in shares)
            )
        click.echo()
        curves = [list(enumerate(map(float, overlap.shares), 1)) for overlap in (sample, held_out)]
        for line in plot(curves, min(self._width(), 80), 12, self.unicode):
            click.echo(line)
        click.echo(
            f"  {mark(0, self.unicode)} sample  {mark(1, self.unicode)} {other}  (share, against the length of the substring)"
        )
        for name, overlap, ids in (
            ("sample", sample, self.sample),
            ("held-out text" if self.split else "text", held_out, self.held_out),
        ):
            copied = visible(
                self.vocabulary.decode(ids[overlap.start : overlap.start + min(overlap.longest, 400)]), self.unicode
            )
            click.echo(
                f"\nThe longest passage of the {name} that stands in the training text, {counted(overlap.longest, 'character')}, there from "
                f"{overlap.source:,} on:"
            )
            say(f"  {copied}{' ...' if overlap.longest > 400 else ''}")

    def _print_surprisal(self):
        from charrnn.cells.passages import read_symbols
        from charrnn.render.colours import background_of, colour_mode
        from charrnn.render.terminal import highlight, visible

        n = min(SHOWN, len(self.losses))
        bits = self.losses[:n] / math.log(2)
        symbols = read_symbols(self.vocabulary, self.ids[self.first : self.first + n])[1]
        click.echo()
        say(
            highlight(
                symbols,
                bits,
                width=self._width(),
                colour=colour_mode(sys.stdout, os.environ),
                unicode=self.unicode,
                title="bits each character cost",
                background=background_of(os.environ),
                most=MOST_BITS,
                unit="bits",
            )
        )
        if n < len(self.losses):
            note(
                f"the first {n:,} of {len(self.losses):,} characters; --html FILE shows {PAGE_CHARACTERS:,}, --json all"
            )
        if self.options["top_k"] is None:
            return
        guesses, shares = self.guesses
        click.echo("\nThe most surprising of them, and what the model expected instead:\n")
        for at in sorted((-bits).argsort(kind="stable")[:DEAREST].tolist()):
            before = visible("".join(symbols[max(0, at - 16) : at]), self.unicode)
            expected = "  ".join(
                f"{self._shown(bare_symbol(self.vocabulary.symbols[guess]))} {share:.0%}"
                for guess, share in zip(guesses[at, : self.options["top_k"]], shares[at])
            )
            say(f"{before:>16} [{self._shown(symbols[at])}] {bits[at]:5.1f} bits   {expected}")

    def _shown(self, symbol):
        """Return a symbol as it is shown by itself."""
        from charrnn.render.terminal import visible

        return ("␣" if self.unicode else "' '") if symbol == " " else visible(symbol, self.unicode)

    def _print_records(self):
        """Print a JSON object a character."""
        columns = {"bits": self.losses}
        if self.dynamic_losses is not None:
            columns["dynamic_bits"] = self.dynamic_losses
        symbols, output = self.vocabulary.symbols, sys.stdout
        for at, number in enumerate(self.ids[self.first : self.stop].tolist()):
            record = {
                "at": self.first - self.start + at,
                "character": symbols[number],
                **{name: losses[at] / math.log(2) for name, losses in columns.items()},
            }
            if self.guesses is not None:
                record["guesses"] = [
                    [symbols[guess], float(share)]
                    for guess, share in zip(self.guesses[0][at, : self.options["top_k"]], self.guesses[1][at])
                ]
            output.write(json.dumps(record) + "\n")
        note(f"{self._figure()}, over {counted(self.evaluation.characters, 'character')}")

    def _to_dict(self):
        """Return everything that was measured."""

        def finite(value):
            return float(value) if math.isfinite(value) else None

        result = {
            **self.evaluation.to_dict(),
            "perplexity": finite(self.evaluation.perplexity),
            "bits_per_byte": self._bits_per_byte(),
            "size_bytes": self._size_bytes(),
            "standard_error_nats": finite(self.error),
            "error_blocks": self.blocks,
            "error_block_characters": self.block_length,
            "unknown": {
                "characters": sum(count for _, count in self.corpus.skipped),
                "symbols": self.corpus.skipped[:20],
            },
            "split": self.split,
            "text": self.where,
            "checkpoint": os.fspath(self.path),
            "baselines": [
                {
                    "name": one.name,
                    "loss_nats": one.loss_nats,
                    "loss_bpc": one.loss_nats / math.log(2),
                    "detail": one.detail,
                }
                for one in self.baselines
            ],
        }
        if self.judged is not None:
            result["ngram"] = {"order": self.judged.order, "loss_nats_by_order": list(self.judged.by_order)}
        if self.dynamic_losses is not None:
            loss = float(self.dynamic_losses.mean())
            result["dynamic"] = {
                "loss_nats": loss,
                "gain_nats": self.evaluation.loss_nats - loss,
                "rule": self.settings.rule,
                "rate": self.settings.rate,
                "decay": self.settings.decay,
                "segment": self.settings.segment,
            }
        if self.mistakes is not None:
            result["mistakes"] = {
                "characters": self.mistakes.characters,
                "count": self.mistakes.count,
                "loss_share": self.mistakes.loss_share,
                "kinds": [
                    {"kind": one.kind, "detail": one.detail, "count": one.count, "loss_share": one.loss_share}
                    for one in self.mistakes.kinds
                ],
            }
            result["brackets"] = [
                {
                    "low": one.low,
                    "high": one.high,
                    "count": one.count,
                    "loss_nats": finite(one.loss_nats),
                    "ngram_loss_nats": finite(one.ngram_loss_nats),
                }
                for one in self.brackets
            ]
        if self.memorised is not None:
            result["memorised"] = {
                name: {
                    "characters": len(ids),
                    "shares": [finite(share) for share in overlap.shares],
                    "longest": overlap.longest,
                    "passage": self.vocabulary.decode(ids[overlap.start : overlap.start + overlap.longest]),
                }
                for name, overlap, ids in zip(("sample", "held_out"), self.memorised, (self.sample, self.held_out))
            }
        return result

    def _bits_per_byte(self):
        return float(self.evaluation.loss_bpc * self.evaluation.characters / self._size_bytes())

    def _size_bytes(self):
        """Return the bytes that the judged characters take, of characters in UTF-8."""
        import numpy as np

        if self.vocabulary.mode == "bytes":
            return self.evaluation.characters
        sizes = np.array([len(symbol.encode()) for symbol in self.vocabulary.symbols])
        return int(np.bincount(self.ids[self.first : self.stop], minlength=len(sizes)) @ sizes)

    def _width(self):
        import shutil

        return self.options["width"] or max(NARROWEST, min(110, shutil.get_terminal_size().columns))


def _share(report):
    """Return a function of a share for one of (done, of)."""
    return lambda share: report(share, 1)
