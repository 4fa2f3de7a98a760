"""charrnn sample --interactive: a prompt at which each line typed is continued, and the commands there."""

import contextlib
import re
import secrets
import signal
import sys

import click

from charrnn.cli.clamps import parse_clamps
from charrnn.cli.drawing import check_numbers, check_stop
from charrnn.cli.item_samples import label_to_follow
from charrnn.cli.line_editor import TypedLines
from charrnn.cli.near import usage_message
from charrnn.cli.show_next import print_next
from charrnn.cli.words import note, printable, quoted, shorter, tell
from charrnn.errors import CharRNNError, ConfigError, StorageError, counted, nearest

LENGTH_AT_A_PROMPT = 300
NEXT = 10  # characters that /next shows
MAX_SHOWN_AGAIN = 400  # characters of a line that is continued
MAX_SEED = 100_000  # of one that is drawn: short to type
OF_A_CHOICE = ("temperature", "top-k", "top-p", "min-p")
# Options of `sample` that can be set at the prompt: what is said of each, and how it is called alone.
SETTINGS = {
    "temperature": ("X", "below 1 more predictable, above 1 less; 0 always takes the most likely"),
    "top-k": ("K", "draw only from the K most likely characters"),
    "top-p": ("P", "draw only from the smallest set with a total probability of P"),
    "min-p": ("P", "draw only what is at least P times as likely as the most likely"),
    "length": ("N", "maximum length in characters"),
    "seed": ("N", "the same seed gives the same text; without N: a new one each time"),
    "stop": ("STRING", "stop at STRING; without STRING: do not"),
    "clamp": ("L:U=V ...", "hold unit U of layer L at V; without it: release all units"),
    "given": ("LABEL", "write texts with this label; without LABEL: list all labels"),
    "unknown": ("skip", "skip characters that the model does not know; without it: refuse them"),
    "escapes": ("on", "read \\n as a newline in what you type; without it: as typed"),
}
COMMANDS = {
    "go": ("", "continue the text (an empty line does the same); after the end of an item: start another"),
    "next": ("[TEXT]", "show the most likely next characters after the current text, or after TEXT"),
    "reset": ("", "forget the text, keep the settings"),
    "settings": ("", "show the settings, and the command that reproduces this text"),
    "help": ("", "show this help"),
    "quit": ("", "leave (Ctrl-D does the same)"),
}
NAMES = [*COMMANDS, *SETTINGS]
_OPTION = re.compile(r"'charrnn [^']*'|--(" + "|".join(sorted(NAMES, key=len, reverse=True)) + r")\b")


def run_prompt(ctx, opened, settings, output, options):
    """Read lines until there are no more, and do what they say; return the exit code.

    opened      what `sample` has opened
    settings    the sampler's, as they are at the start
    options     of the command
    """
    lines = TypedLines(sys.stdin)
    prompt = _Prompt(ctx, opened, settings, output, options)
    if lines.is_typed:
        lines.edit(prompt.complete)
        for line in prompt.introduction():
            note(line)
    has_failed = False
    if len(opened.prime_ids):
        has_failed = not prompt.guarded(prompt.begin, opened.prime_ids)
    while not prompt.is_over:
        try:
            line = lines.read()
        except KeyboardInterrupt:
            if not lines.is_typed:
                raise
            click.echo()
            if not lines.was_begun():
                note("press Ctrl-D or type /quit to leave; Ctrl-C stops a text that is being written")
            continue
        if line is None:
            if lines.is_typed:
                click.echo()
            break
        with _ctrl_c_stops() if lines.is_typed else contextlib.nullcontext([]) as prompt.stopped:
            has_failed |= not prompt.guarded(prompt.obey, line)
    # A script should hear of what was refused; who types has seen it.
    return 2 if has_failed and not lines.is_typed else 0


@contextlib.contextmanager
def _ctrl_c_stops():
    """Let a first Ctrl-C be noted in the list that is yielded, and a second one interrupt at once."""
    stopped = []

    def handler(_number, _frame):
        if stopped:
            raise KeyboardInterrupt
        stopped.append(True)

    before = signal.getsignal(signal.SIGINT)
    if before == signal.SIG_IGN:
        yield stopped
        return
    signal.signal(signal.SIGINT, handler)
    try:
        yield stopped
    finally:
        signal.signal(signal.SIGINT, before)


class _Prompt:
    """What stands at a prompt: the settings, and a text that can be continued."""

    def __init__(self, ctx, opened, settings, output, options):
        self._ctx, self._opened, self._output = ctx, opened, output
        self._vocabulary, self._model, self._reader = opened.checkpoint.vocabulary, opened.model, opened.reader
        self._options = {parameter.opts[-1].removeprefix("--"): parameter for parameter in ctx.command.params}
        self._hide_prime = options["hide_prime"]
        choice = {name: getattr(settings, name.replace("-", "_")) for name in OF_A_CHOICE}
        self._values = {**choice, "length": options["length"], "seed": options["seed"], "unknown": options["unknown"]}
        self._values |= {"stop": list(options["stop"]), "clamp": list(options["clamp"])}
        self._values |= {"given": options["given"], "escapes": options["escapes"]}
        self._label, self._stops = opened.label, [ids.tolist() for ids in opened.stop_ids]
        self._clamps = parse_clamps(options["clamp"], opened.model)
        self._has_said_seed, self.is_over, self.stopped = False, False, []
        self._forget()

    def introduction(self):
        """Return two lines: what the model is, and the keys."""
        config, vocabulary = self._model.config, self._vocabulary
        what = "byte" if vocabulary.mode == "bytes" else "character"
        line = f"{config.cell.upper()}, {config.num_layers} x {config.hidden_size} units, "
        from charrnn.text.special import listed

        line += counted(len(vocabulary.symbols), what)
        if self._is_steered():
            line += f"; items with a label: {listed(vocabulary.labels)}"
        elif vocabulary.start_id is not None:
            line += "; writes items"
        yield line
        yield "Type the beginning of a text; Enter alone continues it. /help lists the commands, Ctrl-D leaves."

    def complete(self, line):
        """Return how the last word of a line that is begun may end: a command or a label."""
        name, space, rest = line.partition(" ")
        if not name.startswith("/"):
            return []
        if not space:
            return [f"/{one} " for one in NAMES if one.startswith(name[1:])]
        return [one for one in self._vocabulary.labels if name == "/given" and one.startswith(rest)]

    def guarded(self, function, *arguments):
        """Call a function; say what it refuses, and return whether it did not."""
        try:
            function(*arguments)
        except StorageError:  # of stdout: nothing more can be written
            raise
        except CharRNNError as error:
            note(_OPTION.sub(lambda found: f"/{found[1]}" if found[1] else found[0], str(error)))
            return False
        return True

    def obey(self, line):
        """Do what a line says: a command, or the beginning of a text."""
        if not line:
            self._go()
        elif line.startswith("//") or not line.startswith("/"):
            self.begin(self._reader.encode(line.removeprefix("/") if line.startswith("//") else line, "the line"))
        else:
            name, _, rest = line[1:].partition(" ")
            if name in SETTINGS:
                self._set(name, rest if name == "stop" else rest.strip())
            elif name in COMMANDS:
                self._do(name, rest)
            else:
                near = nearest(name, NAMES)
                hint = f"did you mean /{near}?"
                if near is None:
                    hint = f"/help lists the commands; to begin a text with a slash, type //{name}"
                raise ConfigError(f"unknown command /{name}: {hint}")

    def _do(self, name, rest):
        if name == "next":
            self._next(rest)
        else:
            does = {"go": self._go, "reset": self._reset, "settings": self._show_settings, "help": self._help}
            does.get(name, self._quit)()

    # ---- texts ------------------------------------------------------------------------------------------------------

    def begin(self, prime_ids, stream=0, seed=None):
        """Write a text that begins with a prime.

        stream    its number among those of the seed
        """
        from charrnn.sampling.priming import first_ids
        from charrnn.sampling.standing import StandingText

        self._check_label()
        if seed is None:
            seed = self._values["seed"]
        self._seed = secrets.randbelow(MAX_SEED) if seed is None else seed
        first = first_ids(self._vocabulary, prime_ids, self._label)
        self._prime_ids, self._stream = prime_ids, stream
        self._text = StandingText(self._model, first, seed=self._seed, stream=stream)
        self._made_with, self._decoder = self._drawn_with(), self._vocabulary.decoder(self._reader.encoding)
        prime = "".join(self._decoder.feed(int(i)) for i in prime_ids)
        self._output.begin_text()
        if not self._hide_prime:
            data = self._vocabulary.decode_bytes(prime_ids) if self._vocabulary.mode == "bytes" else None
            self._output.write(self._output.choose(prime, data), dim=True)
        self._write()

    def _go(self):
        if self._text is None:
            self.begin(())
        elif self._text.ended == "end":  # an item is whole: another that begins alike, of a fixed seed its next one
            is_fixed = self._values["seed"] is not None
            self.begin(self._prime_ids, self._stream + 1 if is_fixed else 0)
        else:
            if self._made_with != self._drawn_with():
                self._made_with = None
            self._output.begin_text()
            if self._output.terminal:  # the line that a prompt has cut in two is shown from its beginning
                shown = self._vocabulary.decode([*self._prime_ids, *self._text.drawn], self._reader.encoding)
                self._output.write(shown[-MAX_SHOWN_AGAIN:].rpartition("\n")[2].rstrip("\ufffd"), dim=True)
            self._write()

    def _write(self):
        """Write the text on, until it ends or Ctrl-C stops it."""
        text, output, in_bytes = self._text, self._output, self._vocabulary.mode == "bytes"
        try:
            for ids in text.draw(self._values["length"], self._settings(), self._clamps, self._stops):
                piece = "".join(map(self._decoder.feed, ids.tolist()))
                output.write(output.choose(piece, self._vocabulary.decode_bytes(ids) if in_bytes else None))
                output.flush()
                if self.stopped:
                    break
        finally:
            output.end_line(always=True, data="\n".encode(self._reader.encoding) if in_bytes else None)
        if self._values["temperature"] > 0 and (self._values["seed"] is None or self._stream):
            again = "" if self._has_said_seed else f" (/seed {self._seed} and the same line reproduce this text)"
            self._has_said_seed = True
            note(f"seed {self._seed}{f', sample {self._stream + 1}' if self._stream else ''}{again}")

    def _settings(self):
        from charrnn.sampling.sampler import Settings

        return Settings(*(self._values[name] for name in OF_A_CHOICE))

    def _drawn_with(self):
        """Return what decides, beside the seed, which text is drawn."""
        return {name: self._values[name] for name in (*OF_A_CHOICE, "clamp", "given")}

    def _check_label(self):
        labels = self._vocabulary.labels
        if self._label is None and labels and self._is_steered():
            raise ConfigError(f"this model needs a label: choose one, such as /given {labels[0]}")

    def _is_steered(self):
        from charrnn.text.task_names import STEER
        from charrnn.text.tasks import stored_task

        return stored_task(self._opened.checkpoint.training) == STEER

    # ---- commands ---------------------------------------------------------------------------------------------------

    def _forget(self):
        self._text = self._prime_ids = self._made_with = self._decoder = None
        self._seed = self._stream = 0

    def _next(self, words):
        from charrnn.sampling.following import next_log_probabilities
        from charrnn.sampling.priming import first_ids

        self._check_label()
        if words or self._text is None:
            ids = self._reader.encode(words, "/next")
            first = first_ids(self._vocabulary, ids, self._label)
            log_p, shown = next_log_probabilities(self._model, [first], self._clamps)[0], ids
        else:
            log_p, shown = self._text.log_probabilities(self._clamps), [*self._prime_ids, *self._text.drawn]
        print_next(self._vocabulary, log_p, NEXT, self._vocabulary.decode(shown, self._reader.encoding))
        sys.stdout.flush()

    def _reset(self):
        self._forget()
        note("the text is forgotten; the settings are unchanged")

    def _quit(self):
        self.is_over = True

    def _help(self):
        tell(
            "What you type is the beginning of a text, and the model continues it. To begin a text with a slash, "
            "type two slashes."
        )
        for table in (COMMANDS, SETTINGS):
            click.echo()
            for name, (value, what) in table.items():
                tell(f"{f'/{name} {value}':<18} {what}", hang=19)
        click.echo("\nA setting without a value returns to its default.")
        sys.stdout.flush()

    def _set(self, name, words):
        """Set a setting, or where there are no words put it back."""
        if name == "given":
            self._give(words)
            return
        if name == "clamp":
            self._clamp(words.split())
            return
        if name == "stop":
            value = [words] if words else []
            check_stop(value)
            self._stops = [self._reader.look_up(self._reader.typed(one, "/stop"), "/stop").tolist() for one in value]
        elif name == "escapes":
            value = self._convert(name, words, click.Choice(("on", "off"))) == "on" if words else False
        else:
            option = self._options[name]
            value = self._convert(name, words, option.type) if words else self._defaults()[name]
            if name in ("length", "seed"):
                check_numbers(**{name: value})
        before, self._values[name] = self._values[name], value
        try:
            self._settings()
        except ConfigError:
            self._values[name] = before
            raise
        self._reader = self._reader._replace(unknown=self._values["unknown"], escapes=self._values["escapes"])
        note(f"{name} {self._shown(name)}")

    @staticmethod
    def _defaults():
        from charrnn.sampling.sampler import Settings

        plain = Settings()
        choice = {name: getattr(plain, name.replace("-", "_")) for name in OF_A_CHOICE}
        return {**choice, "length": LENGTH_AT_A_PROMPT, "seed": None, "unknown": "error"}

    def _convert(self, name, words, kind):
        option = self._options[name]
        try:
            return kind.convert(words, option, self._ctx)
        except click.BadParameter as error:
            raise ConfigError(re.sub(r"'-\w' / ", "", usage_message(error, []))) from None  # no short form at a prompt

    def _give(self, name):
        labels = self._vocabulary.labels
        if not name and labels:
            note(f"labels: {', '.join(labels)}")
            return
        self._label = label_to_follow(self._opened.checkpoint, self._opened.path, name or None)
        self._values["given"] = name or None
        self._forget()  # another label begins another text
        note(f"given {self._shown('given')}")

    def _clamp(self, texts):
        if not texts:
            released = f"; to hold again: /clamp {' '.join(self._values['clamp'])}" if self._clamps else ""
            self._values["clamp"], self._clamps = [], []
            note(f"no unit is held{released}")
            return
        units = {text.partition("=")[0] for text in texts}
        texts = [*(text for text in self._values["clamp"] if text.partition("=")[0] not in units), *texts]
        self._clamps = parse_clamps(texts, self._model)
        self._values["clamp"] = texts
        note(f"held: {' '.join(texts)}")

    def _show_settings(self):
        for name in SETTINGS:
            if name != "given" or self._vocabulary.labels:
                click.echo(printable(f"{name:<12} {self._shown(name)}", sys.stdout))
        again = self._again()
        if again is not None:
            click.echo(f"\nTo reproduce this text:\n  {printable(again, sys.stdout)}")
        sys.stdout.flush()

    def _shown(self, name):
        """Return the value of a setting as it is said."""
        value = self._values[name]
        if name in ("stop", "clamp"):
            return " ".join(map(repr, value) if name == "stop" else value) or "none"
        if value is None:
            return {"top-k": "all", "seed": "a new one each time"}.get(name, "none")
        if isinstance(value, bool):
            return "on" if value else "off"
        return f"{value:g}" if isinstance(value, float) else f"{value:,}" if name == "length" else str(value)

    def _again(self):
        """Return the command that writes the text that stands, None where no single one does."""
        if self._text is None or not self._text.position or self._made_with != self._drawn_with():
            return None
        prime = self._vocabulary.decode(self._prime_ids, self._reader.encoding)
        words = ["charrnn", "sample", quoted(shorter(self._opened.path))]
        words += ["--prime", quoted(prime)] if prime else []
        words += ["--length", str(self._text.position)]
        for name in OF_A_CHOICE:
            if self._values[name] != self._defaults()[name]:
                words += [f"--{name}", f"{self._values[name]:g}"]
        words += [word for value in self._values["clamp"] for word in ("--clamp", value)]
        words += ["--given", quoted(self._values["given"])] if self._values["given"] is not None else []
        words += ["--num-samples", str(self._stream + 1)] if self._stream else []
        return " ".join(words if self._values["temperature"] == 0 else [*words, "--seed", str(self._seed)])
