"""A judgement in the terminal: figures and tables on stdout, what is said about them on stderr."""

import math
import os
import shutil
import sys

import click

from charrnn.cli.eval_text import (
    MAX_BITS,
    MISTAKE_KINDS,
    PAGE_CHARACTERS,
    bracket_rows,
    loss_rows,
    mistakes_line,
    unit_of,
    verdict_line,
)
from charrnn.cli.show_answers import print_answers, print_table
from charrnn.cli.words import (
    bare_symbol,
    broken_at,
    can_print,
    loss_text,
    note,
    printable,
    say,
    tell,
    unlike_line,
    wrapped,
)
from charrnn.errors import counted
from charrnn.evaluation.units import bits, perplexity_text

MIN_WIDTH, MAX_WIDTH = 40, 110
SHOWN_CHARACTERS = 1_200
MAX_PASSAGE = 400  # characters of a copied passage
DEAREST = 12  # characters whose guesses are shown
SHOWN_LENGTHS = (1, 3, 5, 8, 10, 12, 15, 20, 25, 30, 40, 50)


def print_judgement(judgement, width=None, surprisal=False, top_k=None, named=(1, None)):
    """Print all that a Judgement holds.

    width        columns, the terminal's where None
    surprisal    show the text too, coloured by the bits that each character cost
    top_k        with it, so many of the guesses that were read
    named        how many texts the run was trained on, and its validation text, where a split of them is judged
    """
    shown = _Shown(judgement, width, named)
    shown.print_loss()
    if judgement.baselines or judgement.dynamic is not None or judgement.mixed is not None:
        shown.print_baselines()
    if judgement.dynamic is not None:
        shown.print_dynamic()
    if judgement.mistakes is not None:
        shown.print_mistakes()
    if judgement.sample is not None:
        shown.print_copies()
    if surprisal:
        shown.print_surprisal()
        if top_k is not None:
            shown.print_guesses(top_k)


class _Shown:
    """A judgement in a terminal of some width, with or without Unicode."""

    def __init__(self, judgement, width, named):
        self.judgement, self.text, self.named = judgement, judgement.text, named
        self.unicode = can_print("█·●⠿└␣␊↵", sys.stdout)
        self.width = width or max(MIN_WIDTH, min(MAX_WIDTH, shutil.get_terminal_size().columns))

    def print_loss(self):
        judgement, evaluation = self.judgement, self.judgement.evaluation
        of_labels = unit_of(judgement) == "label"
        loss = f"{evaluation.loss_nats:.4f} nats per label" if of_labels else loss_text(evaluation.loss_nats)
        where = self.text.name if self.text.name != "-" else "stdin"
        where = f"the {where}" if self.text.split else where
        tell(loss)
        over = counted(evaluation.characters, "label" if of_labels else "character")
        tell(printable(f"over {over} of {where}", sys.stdout))
        if math.isfinite(judgement.error.nats):
            tell(
                f"standard error {judgement.error.nats:.4f} nats, from {counted(judgement.error.blocks, 'block')} of "
                f"{judgement.error.block_characters:,} {'labels' if of_labels else 'characters'}"
                + ("" if of_labels else f"; {judgement.bits_per_byte:.4f} bits per byte")
            )
        elif of_labels:
            tell("too few labels for a standard error")
        else:
            tell(f"{judgement.bits_per_byte:.4f} bits per byte; this text is too short for a standard error")
        if judgement.items is not None:
            self._print_items(judgement.items)
        if judgement.answers is not None:
            print_answers(judgement.answers, judgement.vocabulary.labels)
        left_out, kept = sum(count for _, count in self.text.unknown), self.text.stop - self.text.start
        if left_out > kept:
            note(
                f"the model knows only {kept:,} of the {left_out + kept:,} characters of this text: "
                "these alone are not enough to judge the model"
            )
        if self.text.split == "train":
            note(
                "the model and the baselines were trained on this split: use --split val or --split test to see how "
                "good they are"
            )

    def _print_items(self, items):
        click.echo(f"{items.loss_nats:.4f} nats per item, over {counted(items.count, 'item')}")
        low, high = items.bounds
        if items.drawn:
            print_table(
                ["share of items", f"of {items.drawn:,} drawn", f"of {items.count:,} read"],
                [
                    [f"under {counted(low, 'character')}", f"{items.early:.1%}", f"{items.held_early:.1%}"],
                    [f"over {counted(high, 'character')}", f"{items.late:.1%}", f"{items.held_late:.1%}"],
                ],
            )

    def print_baselines(self):
        rows = loss_rows(self.judgement)
        longest = max(len(name) for name, _, _ in rows)
        click.echo(f"\n{'':{longest}}    nats    bits  perplexity")
        for name, nats, detail in rows:
            figures = f"{name:{longest}}  {nats:6.4f}  {bits(nats):6.4f}  {perplexity_text(nats, 2):>10}  "
            line = wrapped(f"{figures}{detail}".rstrip(), sys.stdout, len(figures))
            click.echo(click.style(line, bold=True) if name.startswith("this model") else line)
        if verdict := verdict_line(self.judgement):
            click.echo("\n" + broken_at(verdict, self.width))
        if self.judgement.unlike is not None:
            click.echo("\n" + broken_at(unlike_line(self.judgement.unlike, *self.named), self.width))

    def print_dynamic(self):
        from charrnn.evaluation.loss import standard_error

        losses, dynamic = self.judgement.losses, self.judgement.dynamic
        gain, settings = self.judgement.of_counted(losses - dynamic.losses), dynamic.settings
        error = standard_error(gain)[0]
        tell(
            f"\nLearning as it reads, the model needs {gain.mean():.4f} nats less per character"
            f"{f' (standard error {error:.4f})' if math.isfinite(error) else ''}: "
            f"{self.judgement.evaluation.loss_nats:.4f} -> {dynamic.loss_nats:.4f}"
        )
        note(
            f"{settings.rule}, rate {settings.rate:g}, decay {settings.decay:g}, an update every "
            f"{counted(settings.segment, 'character')}; the checkpoint is unchanged"
        )

    def print_mistakes(self):
        mistakes, brackets = self.judgement.mistakes, self.judgement.brackets
        count = max(1, mistakes.count)
        click.echo(f"\n{broken_at(mistakes_line(mistakes), self.width)}\n")
        rows = _mistake_rows(mistakes)
        label = max(len(name) for name, _, _ in rows)
        longest = max(0, min(40, self.width - label - 27))
        click.echo(f"{'':{label}}{'mistakes':>10}{'of all':>8}{'of loss':>8}")
        for name, found, share in rows:
            bar = ("█" if self.unicode else "#") * round(longest * found / count)
            click.echo(f"{name:{label}}{found:10,}{found / count:8.1%}{share:8.1%} {bar}".rstrip())
        click.echo("\n" + broken_at(MISTAKE_KINDS, self.width))
        if not any(one.count for one in brackets):
            tell("\nNo matching brackets in this text; table skipped.")
            return
        ngram = f"{self.judgement.ngram.order}-gram"
        click.echo(f"\n{'closing bracket after':24}{'brackets':>9}{'model':>9}{ngram:>9}   bits per bracket")
        for distance, found, of_model, of_ngram in bracket_rows(brackets):
            click.echo(f"{distance + ' characters':24}{found:>9}{of_model:>9}{of_ngram:>9}")

    def print_copies(self):
        from charrnn.render.plot import Axes, mark, plot
        from charrnn.render.terminal import visible

        sample, held_out = self.judgement.sample, self.judgement.held_out
        tell(
            f"\nShare of all substrings of each length that also occur in the training text ({len(sample.ids):,} "
            f"characters drawn from the model, {len(held_out.ids):,} of {printable(held_out.name, sys.stdout)}):\n"
        )
        click.echo(f"{'length':>8}" + "".join(f"{length:>6}" for length in SHOWN_LENGTHS))
        other = "held out" if self.text.split else "text"
        for name, copies in (("sample", sample), (other, held_out)):
            shares = [copies.overlap.shares[length - 1] for length in SHOWN_LENGTHS]
            click.echo(
                f"{name:>8}" + "".join(f"{share:6.0%}" if math.isfinite(share) else f"{'-':>6}" for share in shares)
            )
        click.echo()
        curves = [list(enumerate(map(float, copies.overlap.shares), 1)) for copies in (sample, held_out)]
        axes = Axes("length of the substring in characters", "share that occurs in the training text")
        for line in plot(curves, min(self.width, 80), 12, self.unicode, axes):
            click.echo(line)
        marks = f"{mark(0, self.unicode)} sample  {mark(1, self.unicode)} {other}"
        click.echo(f"  {marks}")
        tell(f"A model that copies has a sample far above the {'held-out text' if self.text.split else 'text'}.")
        for name, copies in (("sample", sample), ("held-out text" if self.text.split else "text", held_out)):
            overlap = copies.overlap
            stop = overlap.start + min(overlap.longest, MAX_PASSAGE)
            copied = visible(
                self.judgement.vocabulary.decode(copies.ids[overlap.start : stop], self.text.encoding), self.unicode
            )
            tell(
                f"\nThe longest passage of the {name} that occurs in the training text "
                f"({counted(overlap.longest, 'character')}; it starts there at offset {overlap.source:,}):"
            )
            say(f"  {copied}{' ...' if overlap.longest > MAX_PASSAGE else ''}")

    def print_surprisal(self):
        from charrnn.render.colours import background_of, colour_mode
        from charrnn.render.terminal import highlight

        symbols, costs = self._shown_characters()
        click.echo()
        say(
            highlight(
                symbols,
                costs,
                width=self.width,
                colour=colour_mode(sys.stdout, os.environ),
                unicode=self.unicode,
                title=f"bits per {unit_of(self.judgement)}",
                background=background_of(os.environ),
                most=MAX_BITS,
                unit="bits",
            )
        )
        n, of = len(costs), len(self.judgement.losses)
        if n < of:
            note(f"the first {n:,} of {of:,} characters; --html FILE shows {PAGE_CHARACTERS:,} of them, --json all")

    def print_guesses(self, count):
        from charrnn.render.terminal import visible

        symbols, costs = self._shown_characters()
        vocabulary, guesses = self.judgement.vocabulary, self.judgement.guesses
        tell("\nThe most surprising characters, and what the model expected instead:\n")
        for at in sorted((-costs).argsort(kind="stable")[:DEAREST].tolist()):
            before = visible("".join(symbols[max(0, at - 16) : at]), self.unicode)
            expected = "  ".join(
                f"{self._named(guess, bare_symbol(vocabulary.shown_symbols[guess]))} {share:.0%}"
                for guess, share in zip(guesses.ids[at, :count], guesses.p[at])
            )
            itself = self._named(int(self.text.predicted_ids[at]), symbols[at])
            say(f"{before:>16} [{itself}] {costs[at]:5.1f} bits   {expected}")

    def _shown_characters(self):
        """Return (symbols, what each cost in bits) of the first characters."""
        from charrnn.text.byte_text import read_symbols

        n = min(SHOWN_CHARACTERS, len(self.judgement.losses))
        symbols = read_symbols(self.judgement.vocabulary, self.text.predicted_ids[:n], self.text.encoding)[1]
        return symbols, bits(self.judgement.losses[:n])

    def _named(self, number, symbol):
        """Return a symbol as it is shown by itself: a label, whose mark is that of all, by its name."""
        vocabulary = self.judgement.vocabulary
        if number < vocabulary.first_label:
            return self._by_itself(symbol)
        return self._by_itself(vocabulary.names[number])

    def _by_itself(self, symbol):
        """Return a symbol as it is shown by itself."""
        from charrnn.render.terminal import visible

        return ("␣" if self.unicode else "' '") if symbol == " " else visible(symbol, self.unicode)


def _mistake_rows(mistakes):
    """Return [(name, count, share of the loss)]: each kind, under one of several sorts those."""
    rows = []
    for kind, found, share in mistakes.by_kind():
        sorts = [one for one in mistakes.kinds if one.kind == kind]
        if len(sorts) > 1:
            rows.append((kind, found, share))
        rows += [
            (f"  {one.detail}" if len(sorts) > 1 else f"{kind}: {one.detail}", one.count, one.loss_share)
            for one in sorts
        ]
    return rows
