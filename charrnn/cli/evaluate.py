"""charrnn eval: how well a model predicts a text, and what that is held against.

Measuring is evaluation/report.py's, printing show_eval.py's. Results go to stdout, the rest to stderr.
"""

import contextlib
import json
import sys
from pathlib import Path

import click

from charrnn.cli.checks import MAX_BEAM, beam_option, check_bounds, unknown_option
from charrnn.cli.outputs import Outputs, file_option, force_option
from charrnn.cli.plain_help import PlainCommand
from charrnn.cli.words import note, quoted
from charrnn.errors import ConfigError, counted
from charrnn.text.task_names import BOTH, CLASSIFY, STEER, TRANSLATE

SPLITS = ("val", "test", "train")
AT_ONCE = 8_000_000  # characters up to which the baselines are measured unasked
MAX_GUESSES = 20
MAX_SAMPLE_LENGTH = 1_000_000
MIN_WIDTH = 40


@click.command(name="eval", cls=PlainCommand)
@click.argument("checkpoint", required=False, type=click.Path(path_type=Path))
@click.argument("text", required=False)
@click.option(
    "--split",
    type=click.Choice(SPLITS, case_sensitive=False),
    show_default="val",
    help="Which split of the run's own text to read.",
)
@unknown_option
@click.option("--encoding", metavar="NAME", show_default="the run's", help="Encoding of TEXT.")
@click.option(
    "--baselines/--no-baselines",
    default=None,
    show_default=f"yes, if the run's text and the evaluated text together have at most {AT_ONCE:,} characters",
    help="Compare with uniform, unigram, n-gram and xz models of the same training text.",
)
@click.option(
    "--mix-ngram",
    is_flag=True,
    help="Also measure the model and the n-gram together: each character gets a weighted mean of both probabilities.",
)
@click.option(
    "--dynamic", is_flag=True, help="Also measure how well the model does if it keeps learning while it reads."
)
@click.option(
    "--dynamic-rule",
    type=click.Choice(("rms", "sgd"), case_sensitive=False),
    show_default="rms",
    help="With --dynamic: update rule.",
)
@click.option(
    "--dynamic-rate",
    type=float,
    metavar="X",
    show_default="5e-4 (rms), 0.1 (sgd)",
    help="With --dynamic: learning rate.",
)
@click.option(
    "--dynamic-decay",
    type=float,
    metavar="X",
    show_default="0.001",
    help="With --dynamic: after each segment, move the weights back by this share towards the original ones.",
)
@click.option(
    "--dynamic-segment",
    type=int,
    metavar="N",
    show_default="20",
    help="With --dynamic: characters between two updates.",
)
@click.option(
    "--errors",
    is_flag=True,
    help="Show what kinds of characters the model gets wrong, and how far back it remembers brackets.",
)
@click.option(
    "--memorised", is_flag=True, help="Show how much of a sample is copied word for word from the training text."
)
@click.option(
    "--length",
    type=int,
    metavar="N",
    show_default="20,000",
    help="With --memorised: length of the sample in characters.",
)
@click.option("--seed", type=int, metavar="N", show_default="0", help="With --memorised: seed of the sample.")
@click.option(
    "--surprisal",
    is_flag=True,
    help="Show the text coloured by how surprising each character was to the model, in bits; with --json, write one "
    "record per character.",
)
@click.option(
    "--top-k", type=int, metavar="K", help="With --surprisal: also show the K characters that the model expected most."
)
@click.option(
    "--after",
    type=int,
    multiple=True,
    metavar="N",
    help="For a model that predicts labels: also report its accuracy after the first N characters. May be repeated.",
)
@beam_option
@file_option("html", "Write the coloured text as a page.")
@force_option("html")
@click.option("--width", type=int, metavar="N", show_default="the terminal's", help="Width of the output in columns.")
@click.option(
    "--json",
    "as_json",
    is_flag=True,
    help="Print one JSON object; with --surprisal, one per character, each on its own line.",
)
@click.option("--threads", type=int, metavar="N", show_default="all cores", help="Number of threads.")
@click.pass_context
def command(ctx, checkpoint, text, **options):
    """Measure how well a model predicts a text.

    \b
    Example: charrnn eval checkpoints/shakespeare-1 sonnets.txt

    CHECKPOINT is a file or a run folder; without it, the newest run under ./checkpoints is used. TEXT is a file, a
    folder, a glob, or - for stdin; without it, charrnn reads a split of the run's own text (--split).

    The text is read from beginning to end as one stream, or item by item if the model learned items. The standard error
    is computed from the means of blocks of text, because the losses of neighbouring characters are not independent.
    In every row of the table a lower figure is better; the n-gram is the model to beat.
    """
    _check(text, options)
    outputs = Outputs(options, "html")
    from charrnn.cli.opening import open_model, open_text, open_training_text
    from charrnn.cli.progress import progress_bar

    opened = open_model(ctx, checkpoint, options["threads"])
    outputs.protect(text, opened)
    with contextlib.ExitStack() as stack:
        read = stack.enter_context(open_text(opened, text, options["encoding"], options["unknown"]))
        own = read
        if text is not None:
            own = stack.enter_context(_own_text(opened, options, open_training_text))
        judged = _excerpt(read, text, options["split"])
        _check_answers(opened, options)
        asked = _asked(options, judged, own)
        with progress_bar() as progress:
            judgement = _judge(opened, judged, own, asked, progress)
        named = len(read.named), read.corpus.validation and read.corpus.validation.source
        _print(judgement, opened.path, options, named)  # before the page, which may have to be refused
        if outputs:
            from charrnn.cli.eval_page import write_judgement_page

            config = opened.model.config
            model_line = f"{config.cell} {config.hidden_size} x {config.num_layers}, {opened.path}"
            write_judgement_page(judgement, model_line, outputs)


def _check_answers(opened, options):
    """Refuse options of answers where the model gives none of the kind, and of one long text where it has items."""
    rule = opened.model.rule
    task = None if rule is None else rule.task
    if rule is not None:
        _check_items(task, quoted(str(opened.path)), opened.checkpoint.vocabulary.labels, options)
    if options["after"] and task not in (CLASSIFY, BOTH):
        raise ConfigError(
            f"--after {options['after'][0]} needs a model that predicts labels, which this one does not: leave it out",
            ["after"],
        )
    if options["after"] and min(options["after"]) < 0:
        raise ConfigError(f"--after must be at least 0, got {min(options['after'])}", ["after"])
    if options["beam"] is not None and task != TRANSLATE:
        raise ConfigError(
            f"--beam {options['beam']} needs a model that translates, which this one does not: leave it out", ["beam"]
        )


def _check_items(task, run, labels, options):
    """Refuse --errors and --memorised of a model of items, each with what tells the same of this one."""
    if options["errors"]:
        instead = f"to see the bits of each character: charrnn eval {run} --surprisal"
        if task in (CLASSIFY, TRANSLATE):
            shown = "the confusion matrix" if task == CLASSIFY else "exact match and character error rate"
            instead = f"to see {shown}: charrnn eval {run}"
        raise ConfigError(
            f"--errors needs a model of one long text, and this is a model of items; {instead}", ["errors"]
        )
    if options["memorised"]:
        drawn = "to count how many items it copies from its text"
        instead = f"{drawn}: charrnn sample {run} --num-samples 1000 --report"
        if task == STEER:
            instead = f"{drawn}: charrnn sample {run} --given {quoted(labels[0])} --num-samples 1000 --report"
        if task in (CLASSIFY, TRANSLATE):
            instead = f"to see how well it knows its own text: charrnn eval {run} --split train"
        raise ConfigError(
            f"--memorised needs a model of one long text, and this is a model of items; {instead}", ["memorised"]
        )


def _own_text(opened, options, open_training_text):
    """Return a context with the run's own text beside a TEXT, None where nothing asks for it or it is not at hand."""
    asked = [name for name in ("errors", "memorised", "mix_ngram", "baselines") if options[name]]
    learns_by_it = options["dynamic"] and options["dynamic_rule"] != "sgd"
    if not asked and options["baselines"] is False and not learns_by_it:
        return contextlib.nullcontext()
    needs_it = asked and asked[0] != "baselines"
    return open_training_text(opened, f"--{asked[0].replace('_', '-')}" if needs_it else None)


def _excerpt(read, text, split):
    """Return the Excerpt that is asked for: all of a TEXT, or a split of the run's own."""
    from charrnn.text.excerpt import Excerpt

    if read.splits is None:
        return Excerpt(read.corpus.ids, 0, read.corpus.characters, text, None, read.corpus.skipped, read.encoding)
    split = split or SPLITS[0]
    start, stop = getattr(read.splits, split)
    if stop - start < 1:
        raise ConfigError(f"the run has no {split} split: choose another --split, or name a TEXT", ["split"])
    name = f"{split} split of {', '.join(read.named)}"
    return Excerpt(read.corpus.ids, start, stop, name, split, read.corpus.skipped, read.encoding)


def _asked(options, judged, own):
    """Return the JudgeOptions of the options of the command line."""
    from charrnn.cli.eval_text import PAGE_CHARACTERS
    from charrnn.cli.show_eval import SHOWN_CHARACTERS
    from charrnn.evaluation.report import JudgeOptions
    from charrnn.render.page import GUESSES

    guesses = []  # (of each character, of the first so many characters)
    if options["html"]:
        guesses.append((GUESSES, PAGE_CHARACTERS))
    if options["surprisal"] and options["top_k"] is not None:
        guesses.append((options["top_k"], judged.stop if options["as_json"] else SHOWN_CHARACTERS))
    top_k, guessed = map(max, zip(*guesses)) if guesses else (0, None)
    given = {} if options["length"] is None else {"sample_length": options["length"]}
    return JudgeOptions(
        **given,
        baselines=_wants_baselines(options, judged, own),
        mix_ngram=options["mix_ngram"],
        dynamic=_dynamic_settings(options, own) if options["dynamic"] else None,
        mistakes=options["errors"],
        memorised=options["memorised"],
        sample_seed=options["seed"] or 0,
        top_k=top_k,
        guessed=guessed,
        after=options["after"],
        beam=options["beam"] or 1,
    )


def _wants_baselines(options, judged, own):
    """Tell whether the baselines are to be measured, and say so where they are left to be asked for."""
    if options["baselines"] is not None:
        return options["baselines"]
    if options["as_json"] and options["surprisal"]:
        return False
    characters = judged.stop - judged.start + (own.corpus.characters if own else 0)
    if characters > AT_ONCE:
        note(
            f"no baselines, because the text is long ({characters:,} characters): --baselines compares with n-grams "
            "and xz, which takes minutes"
        )
    return characters <= AT_ONCE


def _dynamic_settings(options, own):
    from charrnn.evaluation.dynamic import DynamicSettings

    given = {name: options[f"dynamic_{name}"] for name in ("rule", "rate", "decay", "segment")}
    given = {name: value for name, value in given.items() if value is not None}
    if own is None and "rule" not in given:
        note("the training text is missing, so --dynamic uses the plain rule sgd")
        given["rule"] = "sgd"
    try:
        return DynamicSettings(**given)
    except ConfigError as error:  # which begins with the name of a setting
        raise ConfigError(f"--dynamic-{error}", [f"dynamic_{name}" for name in error.options]) from None


def _judge(opened, judged, own, asked, progress):
    """Return the Judgement, and say what of a very long training text it knows."""
    from charrnn.evaluation.judgement import TrainingText
    from charrnn.evaluation.report import judge

    training = None if own is None else TrainingText(own.corpus.ids, own.splits)
    judgement = judge(opened.model, opened.checkpoint.vocabulary, judged, training, asked, progress)
    start, stop = training.splits.train if training else (0, 0)
    if judgement.training_used is not None and judgement.training_used < stop - start:
        note(
            f"n-gram, unigram and xz were built from the last {judgement.training_used:,} characters of the training "
            "split"
        )
    return judgement


def _print(judgement, path, options, named):
    if not options["as_json"]:
        from charrnn.cli.show_eval import print_judgement

        print_judgement(judgement, options["width"], options["surprisal"], options["top_k"], named)
    elif options["surprisal"]:
        from charrnn.cli.eval_text import figure

        for record in judgement.records(options["top_k"]):
            sys.stdout.write(json.dumps(record) + "\n")
        note(f"{figure(judgement)}, over {counted(judgement.evaluation.characters, 'character')}")
    else:
        click.echo(json.dumps(judgement.to_dict(path), allow_nan=False))


def _check(text, options):
    """Refuse options that break a rule or contradict each other, before anything is read."""
    if text is not None and options["split"] is not None:
        raise ConfigError(
            f"--split {options['split']} selects a part of the run's own text, but you gave {text}: leave one of them "
            "out",
            ["split"],
        )
    check_bounds(
        options,
        ("threads", 1, None),
        ("width", MIN_WIDTH, None),
        ("top_k", 1, MAX_GUESSES),
        ("length", 1, MAX_SAMPLE_LENGTH),
        ("seed", 0, 2**64 - 1),
        ("beam", 1, MAX_BEAM),
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
            raise ConfigError(
                f"--{flag.replace('_', '-')} has no effect without --{belongs}: add --{belongs}", [flag, belongs]
            )
    if options["top_k"] is not None and not options["surprisal"]:
        raise ConfigError(
            f"--top-k {options['top_k']} has no effect without --surprisal: add --surprisal", ["top_k", "surprisal"]
        )
    if options["surprisal"] and options["as_json"]:
        for name in ("errors", "memorised", "baselines"):
            if options[name]:
                raise ConfigError(
                    f"--surprisal --json writes one record per character and cannot include --{name}: leave one of "
                    "them out",
                    ["surprisal", "json", name],
                )
