"""charrnn cells on a checkpoint whose units are planted.

Table, JSON, CSV, passages, ablation, gates; and what it refuses.
"""

import csv
import dataclasses
import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import textwrap
import types

import numpy as np
import pytest
from test_cells import make_text, plant

from charrnn.cli import main
from charrnn.cli.cells_text import heading
from charrnn.render.colours import LIGHT, step_colour
from charrnn.render.picture import CELL, COLUMNS, MARGIN, PNG_SCALE
from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint

TEXT = make_text(60_000, seed=8)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cells")
    (folder / "text.txt").write_text(TEXT)
    (folder / "short.txt").write_text(TEXT[:1_000])
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        common = ["train", "text.txt", "--steps", "1", "--batch-size", "3", "--seq-length", "7", "-q"]
        held_out = ["--val-fraction", "0.1", "--test-fraction", "0.1"]
        plain = ["--hidden-size", "24", "--num-layers", "1", "--embedding-size", "0", "--no-layer-norm"]
        assert main([*common, *held_out, *plain, "-o", "checkpoints/planted"]) == 0
        assert (
            main(
                [*common, *held_out, "--cell", "gru", "--vocab", "bytes", "--hidden-size", "8", "-o", "checkpoints/gru"]
            )
            == 0
        )
        assert (
            main(
                [
                    *common,
                    *held_out,
                    "--cell",
                    "rnn",
                    "--hidden-size",
                    "8",
                    "--num-layers",
                    "1",
                    "-o",
                    "checkpoints/rnn",
                ]
            )
            == 0
        )
        assert (
            main(
                [*common, "--val-fraction", "0", "--test-fraction", "0", "--hidden-size", "8", "-o", "checkpoints/all"]
            )
            == 0
        )
        (folder / "code.c").write_text('#include "a.h"\n\tputs("a few words"); /* b */\n\tint x;\n' * 200)
        assert main(["train", "code.c", "--steps", "1", "--hidden-size", "8", "-q", "-o", "checkpoints/code"]) == 0
    path = folder / "checkpoints/planted/best.safetensors"
    checkpoint = load_checkpoint(path)
    model, vocabulary = plant()
    assert set(checkpoint.vocabulary.symbols) < set(vocabulary.symbols)
    keep = [vocabulary.symbols.index(symbol) for symbol in checkpoint.vocabulary.symbols]
    arrays = model.get_parameters()
    arrays["rnn.weight_ih_l0"] = arrays["rnn.weight_ih_l0"][:, keep]
    arrays["output.weight"], arrays["output.bias"] = arrays["output.weight"][keep], arrays["output.bias"][keep]
    save_checkpoint(
        path, dataclasses.replace(checkpoint, parameters={name: array.copy() for name, array in arrays.items()})
    )
    return folder


@pytest.fixture(autouse=True)
def inside(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("NO_COLOR", "1")


def cells(capsys, *arguments, code=0):
    assert main(["cells", *arguments]) == code
    return capsys.readouterr()


def test_on_a_narrow_terminal_what_comes_next_is_one_line_a_command(monkeypatch):
    err = io.StringIO()
    err.isatty = lambda: True
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("COLUMNS", "45")
    assert main(["cells", "checkpoints/planted"]) == 0
    lines = [line.rpartition("\r")[2] for line in err.getvalue().split("\n")]  # what stands once the bar is gone
    hints = [line for line in lines if " charrnn " in line]
    assert [line[:14].strip() for line in hints] == ["To see more:", "", "To test it:", "To hear it:"]
    patterns = (
        r"cells RUN --find [\w-]+",
        r"cells RUN --html cells.html",
        r"cells RUN --ablate",
        "sample RUN --clamp .*",
    )
    for line, pattern in zip(hints, patterns, strict=True):
        assert re.fullmatch(f".* charrnn {pattern}".replace("RUN", "checkpoints/planted"), line)


def test_in_a_pipe_every_part_of_the_work_is_told_on_stderr_and_none_on_stdout(folder, monkeypatch, capsys):
    monkeypatch.setattr("charrnn.cli.progress.PLAIN_SECONDS", 0)
    monkeypatch.chdir(folder)
    assert main(["cells", "checkpoints/planted", "--characters", "4000", "--json", "--html", "told.html"]) == 0
    captured = capsys.readouterr()
    json.loads(captured.out)
    told = [line.split(":")[0] for line in captured.err.splitlines() if "%" in line]
    parts = [
        "finding the signals",
        "reading the text",
        "untrained network reads",
        "scoring every unit",
        "reading the gates",
        "computing the model's guesses",
        "writing the page",
    ]
    assert sorted(parts, key=lambda part: len(told) - told[::-1].index(part)) == parts


def test_the_table_names_the_planted_units_on_the_held_out_text(capsys):
    captured = cells(capsys, "checkpoints/planted")
    lines = captured.out.splitlines()
    assert lines[2] == "text    all 12,000 characters held out from text.txt"
    (quotes,) = [line for line in lines if line.split()[1:2] == ["quotes"]]
    (position,) = [line for line in lines if line.split()[1:2] == ["line-position"]]
    assert (
        "inside double" in quotes and " 0:5  down " in quotes and " 0:11  up " in position and "-0:" not in captured.out
    )
    assert quotes.lstrip().startswith(("✓", "*"))
    score, rank = position.partition(" r ")[2].split()[:2]
    assert float(score) > 0.99 and float(rank) > 0.9
    assert "(2 different units)" in captured.out
    assert "inside double quotes: unit 0:5 is - where the signal is on\nAUROC" in captured.out  # a passage follows
    assert "Traceback" not in captured.err


@pytest.mark.slow
@pytest.mark.parametrize("columns", [60, 80, 140])
def test_the_table_has_the_names_for_find_at_any_width_and_the_phrases_where_there_is_room(
    columns, capsys, monkeypatch
):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = cells(capsys, "checkpoints/planted", "--signal", "a" * 40 + "=e").out
    table = out[: out.index("signals are followed")].splitlines()
    for name in ("quotes", "line-position", "word-start", "a" * 13):
        assert any(name in line for line in table)
    assert any(
        re.search(r" quotes .* 0:5  down .* [01]\.\d{3}  [01]\.\d{3} ", line) for line in table
    )  # no figure is cut
    assert ("inside double quotes" in "".join(table)) is (columns > 100)
    assert max(map(len, table)) <= max(columns, 80)


@pytest.mark.slow
def test_the_loss_says_what_it_is_of_and_stands_beside_the_runs_own(capsys):
    part = cells(capsys, "checkpoints/planted", "--characters", "5000").out.splitlines()
    assert part[2] == "text    the first 5,000 of 12,000 characters held out from text.txt"
    loss = r"loss    \d\.\d{4} nats on these 5,000 characters; \d\.\d{4} on the validation split"
    assert re.fullmatch(loss, part[3])
    result = json.loads(cells(capsys, "checkpoints/planted", "--json").out)
    assert 0 < result["validation_loss_nats"] < 5


@pytest.mark.slow
def test_a_split_can_be_chosen(capsys):
    both = json.loads(cells(capsys, "checkpoints/planted", "--json").out)
    parts = [
        json.loads(cells(capsys, "checkpoints/planted", "--split", split, "--json").out) for split in ("val", "test")
    ]
    assert [(part["split"], part["characters"]) for part in (both, *parts)] == [
        ("held-out", 12_000),
        ("val", 6_000),
        ("test", 6_000),
    ]
    assert parts[0]["start"] == both["start"] and parts[1]["start"] == both["start"] + 6_000
    assert parts[0]["loss_nats"] != parts[1]["loss_nats"]
    out = cells(capsys, "checkpoints/planted", "--split", "test").out
    assert "all 6,000 characters of the test split of text.txt" in out


def test_paths_are_short(capsys, folder):
    (folder / "other.txt").write_text(make_text(5_000, seed=4))
    captured = cells(capsys, str(folder / "checkpoints/planted"), str(folder / "other.txt"))
    assert "checkpoint checkpoints/planted/best.safetensors\n" in captured.err
    assert (
        "text    all 5,000 characters of other.txt\n" in captured.out and str(folder) not in captured.out + captured.err
    )


@pytest.mark.slow
def test_quotes_in_code_are_shown_as_strings(capsys):
    result = json.loads(cells(capsys, "checkpoints/code", "code.c", "--json").out)
    names = {finding["signal"] for finding in result["signals"]}
    assert "string" in names and "quotes" not in names and result["twins"] == {"quotes": "string"}
    captured = cells(capsys, "checkpoints/code", "code.c", "--find", "quotes")
    assert (
        "in this text quotes is on exactly where string is on" in captured.err
        and "inside a string literal: unit" in captured.out
    )


@pytest.mark.slow
def test_the_scale_is_that_of_terminal_page_and_drawing(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "")
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLORTERM", "truecolor")
    shown = {}
    for scale in ("red-blue", "orange-blue"):
        page, drawing = tmp_path / f"{scale}.html", tmp_path / f"{scale}.svg"
        shown[scale] = cells(
            capsys,
            "checkpoints/planted",
            "--find",
            "quotes",
            "--scale",
            scale,
            "--html",
            str(page),
            "--svg",
            str(drawing),
        ).out
        assert (b'"first_scale":1' in page.read_bytes()) is (scale == "orange-blue")
        assert (scale.partition("-")[0] + " +1") in drawing.read_text()
    assert (
        " +1 red" in shown["red-blue"]
        and " +1 orange" in shown["orange-blue"]
        and "blue where the signal is on" in shown["orange-blue"]
    )


def test_without_pillow_a_png_is_refused_before_anything_is_read(capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, real=importlib.util.find_spec: None if name == "PIL" else real(name)
    )
    captured = cells(capsys, "checkpoints/planted", "--png", str(tmp_path / "a.png"), code=2)
    assert captured.err.splitlines() == [captured.err.strip()] and "pip install pillow" in captured.err


@pytest.mark.slow
def test_a_png_of_the_quotes_has_their_colours(capsys, tmp_path):
    Image = pytest.importorskip("PIL.Image", reason="needs Pillow (pip install pillow)")
    cells(capsys, "checkpoints/planted", "--find", "quotes", "--scale", "orange-blue", "--png", str(tmp_path / "a.png"))
    image = Image.open(tmp_path / "a.png").convert("RGB")
    assert image.width == round((2 * MARGIN + COLUMNS * CELL) * PNG_SCALE)
    colours = {colour for count, colour in image.getcolors(1 << 20) if count > 500}
    strong = [step_colour(step, "orange-blue", LIGHT) for step in (20, 19, 18, 17, 16, 15)]
    assert colours & set(strong) and colours & {step_colour(-step, "orange-blue", LIGHT) for step in range(15, 21)}


@pytest.mark.slow
def test_json_and_csv_say_the_same(capsys):
    result = json.loads(cells(capsys, "checkpoints/planted", "--json").out)
    assert result["characters"] == 12_000 and result["quantity"] == "tanh-c" and result["loss_nats"] > 0
    found = {finding["signal"]: finding for finding in result["signals"]}
    assert found["quotes"]["unit"] == 5 and found["quotes"]["named"] and found["quotes"]["score"] > 0.99
    assert found["line-position"]["measure"] == "pearson" and found["line-position"]["score"] > 0.99
    rows = list(csv.DictReader(io.StringIO(cells(capsys, "checkpoints/planted", "--csv").out)))
    assert [row["signal"] for row in rows] == [finding["signal"] for finding in result["signals"]]
    assert float(rows[0]["score"]) == result["signals"][0]["score"] and rows[0]["named"] == "True"


def test_a_text_of_your_own_and_fewer_characters(capsys, folder):
    (folder / "other.txt").write_text(make_text(9_000, seed=4))
    result = json.loads(cells(capsys, "checkpoints/planted", "other.txt", "--characters", "5000", "--json").out)
    assert result["characters"] == 5_000 and result["text"] == "other.txt"
    assert {finding["signal"] for finding in result["signals"] if finding["named"]} >= {"quotes"}


@pytest.mark.slow
def test_a_signal_of_your_own(capsys):
    captured = cells(capsys, "checkpoints/planted", "--signal", 'said="[a-z]+', "--signal", "e=e", "--json")
    found = {finding["signal"]: finding for finding in json.loads(captured.out)["signals"]}
    assert found["said"]["kind"] == "on/off" and 0 < found["said"]["on"] < 0.2 and "e" in found


@pytest.mark.parametrize(
    "kind, sign, off, on, words",
    [
        ("on/off", 1, -0.9, 0.9, "is + where the signal is on"),
        ("on/off", -1, 0.1, -0.6, "is - where the signal is on"),
        # no - is drawn there:
        ("on/off", -1, 0.9, 0.3, "is lower where the signal is on (typically +0.30, elsewhere +0.90)"),
        ("on/off", 1, -0.9, -0.4, "is higher where the signal is on (typically -0.40, elsewhere -0.90)"),
        ("graded", 1, -0.7, 0.8, "goes from - to + as the signal grows"),
        ("graded", -1, 0.7, -0.8, "goes from + to - as the signal grows"),
        ("graded", 1, 0.05, 0.6, "is higher as the signal grows (typically +0.05 where low, +0.60 where high)"),
        ("graded", -1, 0.9, 0.2, "is lower as the signal grows (typically +0.90 where low, +0.20 where high)"),
    ],
)
def test_a_heading_promises_the_sign_or_colour_that_is_drawn(kind, sign, off, on, words):
    from charrnn.cells.findings import Findings
    from charrnn.cells.signals import Signal

    rng = np.random.default_rng(0)
    values = rng.integers(0, 4, 4_000).astype(np.float32) if kind == "graded" else rng.random(4_000) < 0.3
    high = values >= 2 if kind == "graded" else values
    unit = np.where(high, on, off).astype(np.float16)
    unit[:40] = np.tile([-1, 1], 20)  # so that it is not enlarged
    signal = Signal("x", "an x", kind, values)
    finding = types.SimpleNamespace(
        signal=signal, sign=sign, score=0.9, spearman=0.8, null=0.5, untrained=None, layer=0, unit=0
    )
    recording = types.SimpleNamespace(values=unit[None, None])
    findings = types.SimpleNamespace(quantity="tanh-c", recording=recording)
    findings.levels = lambda one: Findings.levels(findings, one)
    title = heading(findings, types.SimpleNamespace(finding=finding, signal=signal, layer=0, unit=0), 1, "+", "-")
    assert title[0] == f"an x: unit 0:0 {words}"


@pytest.mark.slow
def test_highlight_find_and_unit_show_passages(capsys):
    shown = cells(capsys, "checkpoints/planted", "--highlight", "--width", "60").out
    assert "inside double quotes: unit 0:5" in shown and "position in line: unit 0:11" in shown and "probe" not in shown
    assert (
        "✓" not in shown
        and "inside double quotes: unit 0:5 is - where the signal is on\n" in shown
        and shown.count("+ high") == 1
    )
    assert re.search(r"^AUROC [01]\.\d+ \(null 0\.\d+, untrained 0\.\d+\) +--find quotes$", shown, re.M)
    assert max(map(len, shown.split("inside double quotes")[1].splitlines()[1:8])) <= 60
    found = cells(capsys, "checkpoints/planted", "--find", "vowel").out
    assert "a vowel: unit 0:" in found and "line-position" not in found and " rank " not in found
    for look in ((), ("--highlight",)):
        assert (
            "No unit clearly follows vowel. The one shown comes closest"
            in cells(capsys, "checkpoints/planted", "--find", "vowel", *look).out
        )
        assert "No unit clearly" not in cells(capsys, "checkpoints/planted", "--find", "quotes", *look).out
    unit = cells(capsys, "checkpoints/planted", "--unit", "0:5").out
    assert "unit 0:5 follows" in unit and unit.index("inside double quotes") < unit.index("a vowel")


@pytest.mark.slow
def test_the_passage_shows_the_quotes(capsys):
    """In signs: - inside the quotes, + outside."""
    lines = cells(capsys, "checkpoints/planted", "--find", "quotes", "--width", "80").out.splitlines()
    at = next(k for k, line in enumerate(lines) if '"' in line and set(lines[k + 1]) <= set("+-·. "))
    text, signs = lines[at], lines[at + 1]
    first = text.index('"')
    assert signs[first] != signs[first - 1] if first else True


@pytest.mark.slow
def test_ablation_and_gates(capsys):
    captured = cells(
        capsys, "checkpoints/planted", "--find", "quotes", "--ablate", "--clamp", "off", "--gates", "--json"
    )
    result = json.loads(captured.out)
    (ablation,) = result["ablation"]
    assert (ablation["signal"], ablation["unit"], ablation["held"]) == ("quotes", 5, "off") and ablation["value"] > 0.7
    assert set(ablation["regions"]) == {"on", "off", "switch"}
    assert len(result["gates"]["f"]["left"]) == 1 and len(result["gates"]["f"]["left"][0]) == 24
    text = cells(capsys, "checkpoints/planted", "--find", "quotes", "--ablate", "--gates").out
    assert "held at a fixed value: its mean." in " ".join(text.split()) and "units mostly open" in text
    assert "random: the mean rise when other units of the layer" in text
    assert "missed: where the model needs the unit" in text
    table = cells(capsys, "checkpoints/planted", "--ablate", "--clamp", "0.5", "--csv").out.splitlines()
    assert table[0].endswith("random_switch_nats") and table[1].count(",") == table[0].count(",")


@pytest.mark.slow
def test_a_gru_of_bytes_and_a_network_in_which_nothing_is_named(capsys):
    captured = cells(capsys, "checkpoints/gru", "--quantity", "z")
    assert captured.out.startswith("model   GRU, 2 layers of 8 units: 16 units\nvalues  shown: z, a gate of the GRU\n")
    assert "No unit clearly follows a signal, compared" in captured.out and not re.search(
        r"unit \d+:\d+ (is|goes) ", captured.out
    )
    highlighted = cells(capsys, "checkpoints/gru", "--highlight").out
    assert "The closest units:" in highlighted and highlighted.count("--find ") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, score, said", [("onoff", 0.45, True), ("graded", -0.1, True), ("onoff", 0.55, False), ("graded", 0.1, False)]
)
def test_a_score_on_the_wrong_side_of_nothing_is_explained(kind, score, said, capsys, monkeypatch):
    from charrnn.cells import report

    def scored(*arguments, whole=report.search, **more):
        findings = [one for one in whole(*arguments, **more) if (one.signal.kind == "graded") == (kind == "graded")]
        return [dataclasses.replace(one, score=score) for one in findings]

    monkeypatch.setattr(report, "search", scored)
    assert ("the unit moved in opposite directions" in " ".join(cells(capsys, "checkpoints/rnn").out.split())) == said


@pytest.mark.slow
def test_left_out_the_checkpoint_is_the_newest(capsys, folder):
    os.utime(folder / "checkpoints/planted/best.safetensors")
    assert "checkpoints/planted/best.safetensors" in cells(capsys, "--highlight").err


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["checkpoints/rnn", "--gates"], ["--gates", "leave it out"]),
        (["checkpoints/gru", "--quantity", "tanh-c"], ["h, r, z, n", "--quantity tanh-c"]),
        (["checkpoints/all"], ["held out only 0 characters", "4,000", "give a TEXT"]),
        (["checkpoints/all", "--split", "test"], ["no test split", "--split"]),
        (["checkpoints/planted", "short.txt", "--split", "val"], ["--split val", "short.txt: leave one of them out"]),
        (["checkpoints/planted", "--characters", "300"], ["4,000", "got 300", "raise --characters"]),
        (["checkpoints/planted", "short.txt"], ["4,000", "got 1,000", "longer TEXT"]),
        (["checkpoints/planted", "--characters", "0"], ["--characters", "at least 1", "got 0"]),
        (["checkpoints/planted", "--unit", "0:24"], ["0:0 to 0:23", "0:24"]),
        (["checkpoints/planted", "--unit", "x"], ["LAYER:UNIT", "'x'"]),
        (["checkpoints/planted", "--find", "nonsense"], ["--find nonsense", "unknown signal", "quotes"]),
        (["checkpoints/planted", "--find", "comment"], ["--find comment", "does not occur"]),
        (["checkpoints/planted", "--signal", "x"], ["--signal", "NAME=REGEX", "'x'"]),
        (["checkpoints/planted", "--signal", "x=("], ["x", "not a valid regular expression"]),
        (["checkpoints/planted", "--signal", "x=ZZZ"], ["x", "0 places"]),
        (["checkpoints/planted", "--json", "--csv"], ["--json", "--csv", "leave one"]),
        (["checkpoints/planted", "--find", "quotes", "--unit", "0:1"], ["--find", "--unit", "leave one"]),
        (["checkpoints/planted", "--clamp", "0"], ["--clamp 0", "add --ablate"]),
        (["checkpoints/planted", "--ablate", "--clamp", "much"], ["--clamp", "mean, off, zero", "'much'"]),
        (["checkpoints/planted", "--ablate", "--clamp", "2"], ["-1..1", "got 2"]),
        (
            ["checkpoints/planted", "--html", "nowhere/a.html"],
            ["--html nowhere/a.html", "does not exist; create it first"],
        ),
        (["checkpoints/planted", "--highlight", "--json"], ["--highlight", "--json", "leave one"]),
        (["checkpoints/planted", "--width", "5"], ["--width", "at least 40", "got 5"]),
        (["checkpoints/planted", "--threads", "0"], ["--threads", "at least 1", "got 0"]),
        (["checkpoints/nowhere"], ["checkpoints/nowhere", "does not exist"]),
        (["checkpoints/planted", "nowhere.txt"], ["nowhere.txt"]),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(arguments, words, capsys):
    captured = cells(capsys, *arguments, code=2)
    error = captured.err.splitlines()[-1]
    assert error.startswith("Error: ") and all(word in error for word in words) and "Traceback" not in captured.err
    assert captured.out == ""


@pytest.mark.slow
def test_a_text_that_is_gone_or_has_changed_is_said(capsys, tmp_path):
    (tmp_path / "text.txt").write_text(TEXT)
    subprocess.run(
        [sys.executable, "-m", "charrnn", "train", "text.txt", "--steps", "1", "--hidden-size", "8", "-q", "-o", "run"],
        cwd=tmp_path,
        check=True,
        env=None,
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        (tmp_path / "text.txt").write_text(TEXT[:-1] + "!")
        assert "not the text that the run was started with" in cells(capsys, "run", code=2).err
        (tmp_path / "text.txt").unlink()
        assert "is missing" in cells(capsys, "run", code=2).err


def test_a_held_unit_is_heard_in_a_sample(capsys):
    def sample(*arguments, code=0):
        assert main(["sample", "checkpoints/planted", "--length", "200", "--seed", "1", *arguments]) == code
        return capsys.readouterr()

    free, held = sample().out, sample("--clamp", "0:3=1", "--clamp", "0:5=-1").out
    assert len(held) == len(free) and held != free
    assert sample("--clamp", "0:3=1", "--clamp", "0:5=-1").out == held
    for wrong, words in (
        ("0:3", "LAYER:UNIT=VALUE"),
        ("0:3=x", "LAYER:UNIT=VALUE"),
        ("9:0=1", "0:0 to 0:23"),
        ("0:0=3", "-1..1"),
    ):
        assert words in sample("--clamp", wrong, code=2).err


def test_a_clamp_that_cannot_be_is_refused_before_anything_else_is_said(capsys):
    for wrong in (["9:5=1"], ["0:0=3"], ["0:1=0", "--clamp", "0:1=1"]):
        assert main(["sample", "checkpoints", "--length", "9", "--clamp", *wrong]) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("Error: ") and captured.out == ""


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="SIGTERM is POSIX")
@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_killed_page_leaves_no_temporary(tmp_path, number, code):
    script = textwrap.dedent(f"""
        import os, signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
        from charrnn.files import storage
        from charrnn.cli import main
        real = storage.write_all
        def write_all(descriptor, piece):
            real(descriptor, piece)
            os.kill(os.getpid(), {int(number)})
        storage.write_all = write_all
        sys.exit(main(["cells", "checkpoints/planted", "--html", sys.argv[1]]))
    """)
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.html")], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    assert os.listdir(tmp_path) == [] and "Traceback" not in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("run", ["planted", "gru"])
def test_the_page_begins_with_a_whole_line_and_its_figures_with_it(run, capsys, tmp_path, monkeypatch):
    from charrnn.cells.record import read_losses
    from charrnn.model.parameters import Model
    from charrnn.render import page

    pages = []
    monkeypatch.setattr(page, "write_page", lambda path, data: pages.append(data))
    cells(capsys, f"checkpoints/{run}", "--html", str(tmp_path / "a.html"))
    (data,), shown = pages, "".join(pages[0].text)
    at = TEXT.index(shown)
    assert (
        TEXT[at - 1] == "\n"
        and 0 < at - TEXT.rindex("\n", 0, at - 1) < 400
        and "characters from the first whole line held out from text.txt" in data.model_line
    )
    checkpoint = load_checkpoint(f"checkpoints/{run}/best.safetensors")
    model = Model.from_checkpoint(checkpoint)
    ids = np.array(checkpoint.vocabulary.encode(TEXT))
    losses = read_losses(model, ids, at - 1, at + 5_000, [], None)
    assert np.allclose(data.surprisal_bits[:5_000], losses[:5_000] / np.log(2), atol=1e-2)


@pytest.mark.slow
def test_page_and_drawing_are_written_and_nothing_is_drawn_where_nothing_is_named(capsys, tmp_path):
    captured = cells(
        capsys, "checkpoints/planted", "--html", str(tmp_path / "a.html"), "--svg", str(tmp_path / "a.svg")
    )
    assert "inside double quotes" in captured.out and captured.err.count("wrote ") == 2
    page = (tmp_path / "a.html").read_text()
    assert page.startswith("<!DOCTYPE html>") or page.lower().startswith("<!doctype html>")
    assert "inside double quotes" in page and (tmp_path / "a.svg").read_text().lstrip().startswith("<")
    captured = cells(
        capsys, "checkpoints/gru", "--svg", str(tmp_path / "b.svg"), "--html", str(tmp_path / "b.html"), code=2
    )
    assert (
        "nothing to draw" in captured.err
        and "No unit clearly follows a signal, compared" in captured.out
        and not (tmp_path / "b.svg").exists()
    )
    assert (tmp_path / "b.html").exists()


def test_the_table_of_an_ablation_fits_80_columns(capsys):
    from rich.console import Console

    from charrnn.cells.ablate import MISSED
    from charrnn.cli.show_cells import _Printed

    printed = _Printed.__new__(_Printed)
    printed.unicode = True
    table = printed.table("<signal", "on", "random", "off", "random", "switch", "random", "<missed")
    table.add_row("before-newline", "1280.0", "27.6", "-132.7", "113.8", "1252.1", "119.1", max(MISSED, key=len))
    Console(width=80).print(table)
    shown = capsys.readouterr().out
    assert "…" not in shown and "1252.1" in shown and max(MISSED, key=len) in shown
