"""Every option that a message names is one of the command that says it, and every command that a message advises can be
pasted: over all messages of the package, as they stand in its sources. tests/test_remedies.py runs what is advised."""

import ast
import re

import advice
import click
import pytest

from charrnn.cli import COMMANDS, main
from charrnn.errors import ConfigError
from charrnn.training.options import NAMES
from charrnn.training.settings import option
from charrnn.training.spelling import spelt_in_file
from charrnn.training.stored import stored_config

SOURCES = advice.Sources()

# Messages that only these commands say, though others reach them: {(module, name there): (commands, why)}.
SAID_BY = {
    ("cli.options", "RUN_OPTIONS"): ({"train"}, "sweep reads their names only"),
    ("cli.item_samples", "first_use"): (set(), "returns a command of another verb, in pieces"),
    ("cli.options", "read_config"): ({"train"}, "the callback of its --config"),
    ("training.options", "TrainingConfig"): ({"train", "sweep"}, "elsewhere it is a checkpoint's, and quoted as such"),
    ("training.model_options", "ModelAndText"): ({"train", "sweep"}, "likewise"),
    ("training.contradictions", "check_together"): ({"train", "sweep"}, "likewise"),
    ("training.contradictions", "_check_ending"): ({"train", "sweep"}, "likewise"),
    ("training.contradictions", "_check_validation_text"): ({"train", "sweep"}, "likewise"),
    ("text.validation_text", "append_validation"): ({"train", "sweep"}, "elsewhere it is of a run, which has read it"),
    ("text.validation_text", "_seen_in_training"): ({"train", "sweep"}, "likewise"),
    ("text.corpus", "_rare_note"): ({"train", "sweep"}, "elsewhere a text is read with a vocabulary"),
    ("text.corpus", "_refuse_rare_only"): ({"train", "sweep"}, "likewise"),
    ("text.item_kinds", "check_items"): ({"train", "sweep"}, "likewise"),
    ("text.item_kinds", "_check_task"): ({"train", "sweep"}, "likewise"),
    ("text.item_kinds", "_check_translation"): ({"train", "sweep"}, "likewise"),
    ("text.item_kinds", "ItemsReading"): ({"train", "sweep"}, "likewise"),
    ("text.item_kinds", "inferred"): ({"train"}, "a sweep's SPEC names the kind"),
    ("training.schedules", "Schedule"): ({"train", "sweep"}, "likewise"),
    ("model.precision", "check_precision"): ({"train", "sweep"}, "elsewhere the precision is the default"),
    ("model.precision", "default_precision"): ({"train", "sweep"}, "elsewhere the precision is the default"),
    ("sampling.sampler", "Settings"): ({"sample"}, "elsewhere they are charrnn's own, or an option with its rule"),
    ("kernels.threads", "set_num_threads"): (
        set(COMMANDS) - {"sweep", "export"},
        "a sweep asks for one thread or all, export for all",
    ),
    ("text.rewriting", "Rewriting"): ({"train", "sweep"}, "how a text was read is told as options of train"),
    ("text.decoding", "_not_known"): (set(COMMANDS) - {"export"}, "export takes UTF-8 where a run stored no known one"),
    ("cli.near", "usage_message"): ({"sample", "next"}, "named only by commands that have the option"),
    ("cli", "_smaller"): (set(), "chosen from the options of the command"),
    ("cells.ablate", "ablate"): ({"cells"}, "export finds cells and ablates none"),
    ("cells.gates", "gate_saturation"): ({"cells"}, "likewise"),
    ("cells.record", "check_quantity"): ({"cells", "gradients", "sample", "next"}, "export takes the default"),
    ("cells.report", "_Search"): ({"cells"}, "export bounds the text, and a search that fails is a page without names"),
    ("cells.report", "_check_wanted"): ({"cells"}, "export asks for no unit"),
    ("cells.search", "halves"): ({"cells"}, "as _Search"),
    ("cli.checks", "skip_first"): (
        set(COMMANDS) - {"export"},
        "export reads the run's own text, which has no unknown character",
    ),
    ("cli.opening", "open_text"): (set(COMMANDS) - {"export"}, "likewise"),
    ("text.decoding", "refuse_binary"): (set(COMMANDS) - {"export"}, "a run's own text was read before"),
    ("text.decoding", "TextReader"): (set(COMMANDS) - {"export"}, "likewise"),
    ("text.decoding", "encoding_to_blame"): (set(COMMANDS) - {"export"}, "likewise"),
}
# Whose texts are CSS, with -- before the names of colours, and the commands of other programs.
OTHERS = ("render.page", "render.document", "text.kinds", "cli.probes", "kernels.environment")

# What of training is set in the SPEC of a sweep is said there without dashes: SpecCommand.
FILED = {"sweep": {option(name) for name in NAMES}}


def messages_by_command(sources, said_by=SAID_BY):
    """Yield (verb, Message) for every message that a command may say."""
    for verb, (module, _) in COMMANDS.items():
        nodes = sources.reachable((f"cli.{module}", "command")) | sources.reachable(("cli", "main"))
        for node in sorted(nodes):
            if node[0] not in OTHERS and verb in said_by.get(node, (COMMANDS,))[0]:
                for message in sources.messages(node):
                    yield verb, message


def find_faults(sources):
    """Return what is wrong: options that a command lacks, and advised commands that do not parse."""
    faults = set()
    for verb, message in messages_by_command(sources):
        commands, rest = advice.advised_commands(message.text)
        known = advice.options_of(verb) | FILED.get(verb, set())
        faults |= {
            f"{message.module}:{message.line}: charrnn {verb} has no {name}"
            for name in advice.OPTION.findall(rest)
            if name not in known
        }
        faults |= {f"{message.module}:{message.line}: no command {one}" for one in advice.NO_COMMAND.findall(rest)}
        for one in commands:
            try:
                advice.parse(one)
            except (click.UsageError, ValueError) as error:
                said = error.format_message() if isinstance(error, click.UsageError) else error
                faults.add(f"{message.module}:{message.line}: charrnn {one.verb} {one.arguments}: {said}")
    return sorted(faults)


def test_every_option_and_every_command_that_a_message_names_exists_where_it_is_said():
    assert find_faults(SOURCES) == []


def test_the_messages_are_found_and_ascribed_to_their_commands():
    found = {}
    for verb, message in messages_by_command(SOURCES):
        found.setdefault(message.text, set()).add(verb)
    assert found["the measured training diverged, so its speed has no meaning"] == {"bench"}
    assert found["--top-k must be at least 1, got HOLE: leave it out to keep every character"] == {"sample"}
    (decoding,) = [verbs for text, verbs in found.items() if "as old Macs did" in text]
    assert {"train", "sweep", "eval", "cells", "gradients"} <= decoding and "info" not in decoding
    assert len([text for text in found if advice.OPTION.search(text)]) > 150
    assert len([text for text in found if advice.ADVISED.search(text)]) > 20
    for node in SAID_BY:
        assert node in SOURCES.nodes, f"{node} has gone: take it out of SAID_BY"


@pytest.mark.parametrize(
    "module, old, new, fault",
    [
        # As it was: an eval that advises an option of train.
        (
            "text.decoding",
            "with 'charrnn train TEXT --vocab bytes'",
            "with --vocab bytes",
            "charrnn eval has no --vocab",
        ),
        ("runs.checkpoint.finding", "train one with 'charrnn train TEXT'", "see 'charrnn tell'", "no command tell"),
        ("runs.checkpoint.finding", "'charrnn train TEXT'", "'charrnn train TEXT --output-folder X'", "No such option"),
        ("runs.checkpoint.finding", "charrnn train TEXT -o FOLDER", "charrnn info A B", "too many arguments"),
        ("cells.report", "raise --characters", "raise --length", "charrnn cells has no --length"),
    ],
)
def test_bad_advice_is_found_wherever_it_is_planted(module, old, new, fault):
    planted = advice.Sources()
    path = (advice.ROOT / module.replace(".", "/")).with_suffix(".py")
    source = path.read_text()
    assert old in source
    tree = ast.parse(source.replace(old, new))
    planted.replace(module, tree)
    faults = find_faults(planted)
    assert any(fault in one for one in faults)


def test_a_config_error_that_names_an_option_carries_it():
    bare = []
    for module, tree in SOURCES.modules.items():
        if module.startswith("kernels."):  # nobody asks what the threads are called
            continue
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and getattr(call.func, "id", None) == "ConfigError":
                texts = [message.text for message in advice.messages_of(module, call.args[0])]
                said = " ".join(advice.advised_commands(text)[1] for text in texts)
                named = advice.OPTION.search(said) or "--HOLE" in said
                if named and len(call.args) < 2 and not call.keywords:
                    bare.append(f"{module}:{call.lineno}: {said}")
    assert bare == []


def test_what_a_file_gave_is_spelt_as_in_a_file():
    said = "lower --hidden-size, --num-layers or --batch-size; --output and 'charrnn train TEXT --vocab bytes' stay"
    assert spelt_in_file(said) == said.replace("--hidden", "hidden").replace("--num", "num").replace("--batch", "batch")
    assert spelt_in_file("--decay-after 3, --decay 2") == "decay-after 3, decay 2"


def test_options_of_a_checkpoint_that_break_a_rule_are_quoted_without_dashes():
    with pytest.raises(ConfigError) as refused:
        stored_config({"config": {"momentum": 0.9}})
    assert str(refused.value).startswith("the checkpoint's options: momentum 0.9 has no effect with optimizer")
    assert refused.value.options == ("momentum", "optimizer")


def test_a_sweep_spells_options_as_its_file_does(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text("abc " * 400)
    (tmp_path / "bad.txt").write_bytes(b"caf\xe9 " * 400)
    for spec, code in (
        ('text = ["text.txt"]\n[grid]\nval_fraction = [0.5, 0.6]\ntest_fraction = [0.6]', 2),
        ('text = ["bad.txt"]\n[grid]\nseed = [1, 2]', 2),
        ('text = ["text.txt"]\nsteps = 3\n[grid]\nmomentum = [0.0, 0.9]', 0),
    ):
        (tmp_path / "grid.toml").write_text(spec)
        assert main(["sweep", "grid.toml", "--dry-run"]) == code
        captured = capsys.readouterr()
        said = captured.err + captured.out
        loose = advice.advised_commands(said)[1].replace("charrnn sweep --help", "")
        assert not re.search(r"--\w", loose) and re.search("fraction|encoding|momentum", said)


@pytest.mark.parametrize("verb, lowered", [("train", "--hidden-size, --num-layers"), ("info", "a smaller model")])
def test_what_does_not_fit_in_memory_is_made_smaller_by_options_that_there_are(verb, lowered, monkeypatch, capsys):
    def refuse(*_arguments, **_keywords):
        raise MemoryError

    monkeypatch.setattr(click.Command, "invoke", refuse)
    assert main([verb]) == 2
    assert lowered in capsys.readouterr().err


def test_a_text_that_is_typed_without_prime_is_answered_with_prime(capsys):
    assert main(["next", "run", "hello"]) == 2
    said = "Got unexpected extra argument (hello); to continue a text, name it with --prime (see charrnn next --help)"
    assert said in capsys.readouterr().err
