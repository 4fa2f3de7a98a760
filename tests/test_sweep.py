"""charrnn sweep: a specification becomes runs, the runs a table; what is killed, fails or is added later."""

import csv
import io
import json
import os
import signal
import tomllib
from pathlib import Path

import held
import numpy as np
import pytest

from charrnn.cli import main
from charrnn.errors import ConfigError
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.runs.folder import lock_folder
from charrnn.sweep import sweep
from charrnn.sweep.drafts import draft
from charrnn.sweep.folder import open_sweep
from charrnn.sweep.points import Spec, differing, make_points
from charrnn.sweep.results import Result, over_seeds, to_csv

ROOT = Path(__file__).parent.parent
TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
TINY = (
    'text = ["text.txt"]\nhidden-size = 3\nnum_layers = 1\nbatch-size = 3\nseq-length = 7\nsteps = 6\nlog-every = 2\n'
)


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "text.txt").write_text(TEXT)
    return tmp_path


def run(spec, *arguments):
    Path("grid.toml").write_text(spec)
    return main(["sweep", "grid.toml", *map(str, arguments)])


def rows(folder="S"):
    return {row["run"]: row for row in json.loads(Path(folder, "results.json").read_text())["runs"]}


def same_parameters(one, two):
    one, two = (load_checkpoint(Path(path) / "last.safetensors").parameters for path in (one, two))
    return all(np.array_equal(one[name], two[name]) for name in one)


# -------------------------------------------------------------------------------------------------------------- points


def points(grid=None, runs=(), **common):
    return make_points(Spec("s", ("t",), common, grid or {}, runs))


def test_a_grid_is_the_product_of_its_lists_and_names_say_what_differs():
    made = points({"cell": ["lstm", "gru"], "hidden_size": [128], "dropout": [0.0, 0.1]}, num_layers=2)
    assert [one.name for one in made] == ["lstm-dropout0", "lstm-dropout0.1", "gru-dropout0", "gru-dropout0.1"]
    assert made[3].config.cell == "gru" and made[3].config.dropout == 0.1 and made[3].config.hidden_size == 128
    assert differing(made) == ["cell", "dropout"]


def test_names_have_sizes_together_short_words_and_switches():
    made = points(
        {"hidden_size": [64, 128], "tie_weights": [False, True], "learning_rate": [0.001]},
        [(None, {"hidden_size": 64, "num_layers": 1}), ("by-hand", {"seed": 7})],
        embedding_size=64,
        num_layers=2,
    )
    assert [one.name for one in made] == [
        "64x2-no-tie-weights-lr0.001",
        "64x2-tie-weights-lr0.001",
        "128x2-no-tie-weights-lr0.001",
        "128x2-tie-weights-lr0.001",
        "64x1-no-tie-weights",
        "by-hand",
    ]
    assert points(runs=[(None, {})])[0].name == "lstm-256x2"
    assert [one.name for one in points({"encoding": ["utf-8", "latin-1"]})] == ["encoding-utf-8", "encoding-latin-1"]


def test_equal_runs_are_made_once_and_unnamed_options_have_their_default():
    made = points({"dropout": [0.1, 0.3, 0.1]}, [(None, {"dropout": 0.3}), (None, {"cell": "rnn"})])
    assert [one.name for one in made] == ["lstm-dropout0.1", "lstm-dropout0.3", "rnn"]
    assert made[0].options == {"cell": "lstm", "dropout": 0.1}


def test_many_points_are_told_apart_without_comparing_each_with_each():
    class Counted(str):
        compared = 0

        def __eq__(self, other):
            Counted.compared += 1
            return str.__eq__(self, other)

        __hash__ = str.__hash__

    made = points(runs=[(Counted(f"run{n}"), {"seed": n, "encoding": Counted("latin-1")}) for n in range(3000)])
    assert len(made) == 3000 and Counted.compared < 20 * 3000
    # Names that only differ in what a folder's name cannot have get numbers.
    alike = [f"utf{a}{b}" for a in " /:;,=" for b in " /:;,="]
    made = points({"encoding": ["utf---8", *alike, "utf---2"]}, seed=3)
    assert [one.name for one in made][:4] == [
        "encoding-utf---8",
        "encoding-utf--",
        "encoding-utf---2",
        "encoding-utf---3",
    ]
    assert made[-1].name == "encoding-utf---2-2" and len({one.name for one in made}) == len(made) == 38


def test_a_length_of_a_run_takes_the_place_of_the_common_one():
    made = points({"steps": [10, 20]}, minutes=5.0)
    assert [(one.config.steps, one.config.minutes) for one in made] == [(10, None), (20, None)]


def test_a_combination_that_is_refused_is_a_failed_run_and_a_value_that_is_refused_is_a_bad_spec():
    made = points({"tie_weights": [True], "embedding_size": [0, 8]}, hidden_size=8)
    assert made[0].config is None and "tie-weights needs" in made[0].error and made[1].config.embedding_size == 8
    made = points({"momentum": [0.0, 0.9]})
    assert made[0].config.momentum == 0 and "no effect" in made[1].error
    for grid, runs, common in [
        ({"dropout": [0.1, 1.5]}, (), {}),  # no point could have it
        ({"min_learning_rate": [0.5, 2.0]}, (), {}),  # nor this, though the message names learning-rate too
        ({"tie_weights": [True]}, (), {"embedding_size": 3}),  # nothing would be left
        ({"seed": [1, 2]}, [("mine", {"momentum": 0.9})], {}),
        ({}, (), {}),
        ({"seed": list(range(101)), "hidden_size": list(range(1, 101))}, (), {}),
        ({}, [("one", {"seed": 1}), ("one", {"seed": 2})], {}),
    ]:
        with pytest.raises(ConfigError):
            points(grid, runs, **common)


# ------------------------------------------------------------------------------------------------------------- results


def test_over_seeds_has_mean_and_spread_of_the_finished():
    made = [
        Result("a", "finished", {"dropout": 0.1, "seed": 1}, val_loss_nats=1.0, test_loss_nats=2.0),
        Result("b", "finished", {"dropout": 0.1, "seed": 2}, val_loss_nats=2.0),
        Result("c", "diverged", {"dropout": 0.1, "seed": 3}, val_loss_nats=9.0),
        Result("d", "finished", {"dropout": 0.2, "seed": 1}, val_loss_nats=0.5),
        Result("e", "failed", {"dropout": 0.3, "seed": 1}),
    ]
    best, mean, none = over_seeds(made)
    assert best["options"] == {"dropout": 0.2} and best["val_loss_nats"] == 0.5 and best["val_spread"] is None
    assert (mean["runs"], mean["finished"], mean["val_loss_nats"], mean["test_loss_nats"]) == (3, 2, 1.5, 2.0)
    assert mean["val_spread"] == pytest.approx(0.5**0.5)
    assert none["finished"] == 0 and none["val_loss_nats"] is None


def test_csv_has_a_column_for_each_option_that_differs():
    text = to_csv([Result("a", "failed", {"dropout": 0.1, "seed": 1}, error='no, "never"')], ["dropout", "seed"])
    row = next(csv.DictReader(text.splitlines()))
    assert (row["run"], row["dropout"], row["seed"], row["error"]) == ("a", "0.1", "1", 'no, "never"')


# --------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize(
    "spec, said",
    [
        ("[grid]\nseed = [1]", "gives no text"),
        ('text = ["-"]\n[grid]\nseed = [1]', "stdin"),
        ('text = ["missing.txt"]\n[grid]\nseed = [1]', "missing.txt"),
        (TINY, "and no runs"),
        (TINY + "[grid]\ndropuot = [1]", "did you mean 'dropout'"),
        (TINY + "[grid]\nhidden-size = [2, 3.5]", "must be a whole number, got"),
        (TINY + "[grid]\nhidden-size = 3", "a list of values"),
        (TINY + "[grid]\nhidden-size = []", "a list of values"),
        (TINY + "[grid]\ndropout = [0.1, 1.5]", "below 1, got 1.5"),
        (TINY + '[grid]\ntext = ["a", "b"]', "different texts"),
        (TINY + "threads = 2\n[grid]\nseed = [1]", "an option of the command"),
        (TINY + '[[run]]\nname = "../x"', "letters"),
        (TINY + "[[run]]\nhidden_size = 0", "at least 1, got 0"),
        (TINY + "grid = 3", "[grid] table"),
        ("text = [", "is not TOML"),
    ],
)
def test_a_bad_spec_is_a_sentence_and_nothing_is_made(spec, said, folder, capsys):
    assert run(spec, "-o", "S") == 2
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and said in err and len(err.splitlines()) == 1
    assert not Path("S").exists() and not Path("checkpoints").exists()


def test_bad_options_are_a_sentence(folder, capsys):
    spec = TINY + "[grid]\nseed = [1]"
    Path("other").mkdir()
    Path("other/letter.txt").write_text("dear")
    for arguments, said in [
        (["--jobs", 0], "--jobs"),
        (["--json", "--csv"], "leave one"),
        (["--resume", "S"], "either"),
        (["-o", "other"], "letter.txt"),
        (["-o", "text.txt"], "is a file"),
    ]:
        assert run(spec, *arguments) == 2
        assert said in capsys.readouterr().err
    assert main(["sweep"]) == 2 and main(["sweep", "--resume", "other"]) == 2
    Path("S").mkdir()
    with lock_folder("S"):
        assert run(spec, "-o", "S") == 2
    assert "another process" in capsys.readouterr().err


def test_a_dry_run_lists_parameters_and_memory_and_makes_nothing(folder, capsys):
    spec = TINY + "[grid]\nhidden_size = [3, 4, 10000000]\ncell = ['lstm', 'rnn']"
    assert run(spec, "--dry-run", "--json") == 0
    listed = {row["run"]: row for row in json.loads(capsys.readouterr().out)["runs"]}
    assert list(listed) == [f"{cell}-{size}x1" for size in (3, 4, 10000000) for cell in ("lstm", "rnn")]
    symbols = len(set(TEXT))
    embedding, output = symbols * 64, symbols * 3 + symbols
    assert listed["rnn-3x1"]["parameters"] == embedding + 3 * 64 + 3 * 3 + 3 + 3 + output  # bias and gains
    assert listed["lstm-4x1"]["memory_bytes"] > 0 and "memory" in listed["lstm-10000000x1"]["error"]
    assert run(spec, "--dry-run") == 0
    assert "6 runs; 2 will fail\n" in capsys.readouterr().out and sorted(os.listdir()) == ["grid.toml", "text.txt"]
    assert run(TINY + "[grid]\ncell = ['lstm']", "--dry-run") == 0
    assert capsys.readouterr().out.endswith("1 run\n")


@pytest.mark.slow
def test_a_dry_run_in_a_sweeps_folder_says_what_is_done_and_refuses_what_the_sweep_would(folder, capsys):
    assert run(TINY + "[grid]\nseed = [1]", "-o", "S", "-q") == 0
    before = {path: path.read_bytes() for path in Path("S").rglob("*") if path.is_file()}
    capsys.readouterr()
    assert run(TINY + "[grid]\nseed = [1, 2]", "-o", "S", "--dry-run", "--json") == 0
    assert [row["state"] for row in json.loads(capsys.readouterr().out)["runs"]] == ["finished", "waiting"]
    assert run(TINY + "learning_rate = 0.5\n[[run]]\nname = '" + next(iter(rows())) + "'", "-o", "S", "--dry-run") == 2
    error = capsys.readouterr().err
    assert "contains a run with learning-rate 0.008, not 0.5: restore the old options, name another" in error
    assert "-o/--output, or remove that run" in error
    assert {path: path.read_bytes() for path in Path("S").rglob("*") if path.is_file()} == before


def test_a_text_too_short_for_the_default_model_fails_where_no_size_is_named(folder, capsys):
    (folder / "short.txt").write_text("to be o")
    spec = 'text = "short.txt"\nsteps = 1\n[grid]\nseed = [1]\n'
    assert run(spec, "-q", "-o", "S") == 1
    (made,) = rows().values()
    assert made["state"] == "failed" and "or choose a size, such as" in made["error"]
    assert run(f"hidden_size = 4\n{spec}", "--dry-run") == 0
    assert "1,625" in capsys.readouterr().out


@pytest.mark.slow
def test_a_finished_sweep_is_drawn(folder, capsys):
    spec = TINY + "eval_every = 2\n[grid]\nseed = [1, 2, 3, 4, 5, 6, 7]"
    assert run(spec, "-o", "S", "-q", "--jobs", 1) == 0
    before = Path("S/results.json").read_bytes()
    assert main(["sweep", "--resume", "S", "-q", "--svg", "curves.svg"]) == 0
    assert "wrote curves.svg" in capsys.readouterr().err
    assert rows() == {row["run"]: row for row in json.loads(before)["runs"]}
    text = Path("curves.svg").read_text(encoding="utf-8")
    assert ">Sweep S<" in text
    best, *_, worst = (row["run"] for row in json.loads(before)["runs"])
    assert text.count(f">{best}<") == 1 and f">{worst}<" not in text  # one legend, of the best six
    assert "The 6 runs with the lowest validation loss, of 7." in text and ">Validation<" in text
    assert main(["sweep", "--resume", "S", "--dry-run", "--svg", "curves.svg"]) == 2
    assert "--dry-run does not train" in capsys.readouterr().err


def test_epochs_that_make_unequal_updates_are_told_with_the_remedy(folder, capsys):
    epochs = TINY.replace("steps = 6", "epochs = 2")
    assert run(epochs + "[grid]\nseq_length = [4, 16]", "--dry-run", "--json") == 0
    captured = capsys.readouterr()
    steps = {row["options"]["seq_length"]: row["steps"] for row in json.loads(captured.out)["runs"]}
    assert steps[4] > 3.5 * steps[16]
    assert f"--seq-length 4 makes {steps[4]} updates and --seq-length 16 makes {steps[16]} updates" in captured.err
    remedy = captured.err.split("as in: ")[1].strip()
    assert remedy == f"steps = {steps[16]}"
    equal = TINY.replace("steps = 6", remedy)
    assert run(equal + "[grid]\nseq_length = [4, 16]", "--dry-run", "--json") == 0
    captured = capsys.readouterr()
    assert not captured.err and {row["steps"] for row in json.loads(captured.out)["runs"]} == {steps[16]}
    assert run(epochs + "[grid]\nbatch_size = [2, 8]", "--dry-run") == 0
    assert "--batch-size 2 makes" in capsys.readouterr().err
    assert run(epochs + "[grid]\nepochs = [1, 3]\nseed = [1, 2]", "--dry-run") == 0
    assert not capsys.readouterr().err


def test_a_value_that_stands_twice_in_a_list_is_refused(capsys):
    assert run(TINY + "[grid]\nseed = [1, 2, 1]") == 2
    err = capsys.readouterr().err
    assert err.startswith("Error: ") and "[grid]" in err and "'seed'" in err and "1 twice" in err


def test_in_a_terminal_the_table_leaves_out_what_the_sweep_is_not_about(monkeypatch):
    from rich.console import Console

    from charrnn.cli.sweep_tables import _Column, _print_fitted

    options = ["hidden_size", "learning_rate"]
    table = [
        _Column("run", ["size64-learning0.002-something", "size128-learning0.002-something"]),
        _Column("hidden_size", [64, 128]),
        _Column("learning_rate", [0.25, 0.25]),
        _Column("parameters", [7_777, 7_777], "right"),
        _Column("best step", [5, 5], "right"),
        _Column("validation nats", ["1.2345", "1.3456"], "right"),
        _Column("state", ["finished", "finished"]),
    ]

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    for width, there, gone in (
        (200, ["size64", "0.25", "7,777", "finished", "1.2345"], []),
        (80, ["size64", "0.25", "1.2345", "finished"], ["7,777"]),
        (50, ["128", "0.25", "1.2345", "7,777"], ["size64"]),  # the run's name gives way, and others have room again
        (25, ["128", "1.2345"], ["size64", "0.25", "7,777"]),
    ):
        monkeypatch.setenv("COLUMNS", str(width))
        console = Console(file=Terminal(), color_system=None, soft_wrap=True, width=10_000)
        _print_fitted(console, table, options)
        shown = console.file.getvalue()
        assert all(one in shown for one in there) and not any(one in shown for one in gone), (width, shown)
        assert max(map(len, shown.splitlines())) <= width
        assert ("hidden columns: " in shown) == bool(gone)
    console = Console(file=io.StringIO(), color_system=None, soft_wrap=True, width=10_000)
    _print_fitted(console, table, options)
    assert "size64" in console.file.getvalue() and "hidden columns" not in console.file.getvalue()


def test_the_table_tells_short_runs_and_long_ones_apart(capsys):
    from charrnn.cli.sweep_tables import show_results

    row = {
        "options": {},
        "parameters": 5,
        "step": 1,
        "val_loss_nats": 1.0,
        "test_loss_nats": 1.0,
        "best_step": 1,
        "state": "finished",
        "returns": 0,
        "error": None,
    }
    show_results(
        {"columns": [], "runs": [{**row, "run": f"run-{s}", "elapsed_s": s} for s in (0.26, 12.0, 59.99, 75.0, 7260.0)]}
    )
    out = capsys.readouterr().out
    assert all(told in out for told in (" 0.3 s ", " 12.0 s ", " 60.0 s ", " 1 min 15 s ", " 2 h 01 min "))


def test_a_sweep_its_failures_and_what_is_added_to_it(folder, capsys, monkeypatch):
    spec = (
        TINY
        + """on-divergence = "stop"
dropout = 0.2
[grid]
embedding_size = [0, 3]
tie-weights = [false, true]
seed = [1, 2]
[[run]]
name = "too-fast"
learning_rate = 1e30
clip_norm = 0
optimizer = "sgd"
"""
    )
    assert run(spec, "-o", "S") == 1
    out = capsys.readouterr().out
    made = rows()
    states = {name: row["state"] for name, row in made.items()}
    assert states.pop("too-fast") == "diverged" and "learning-rate below 1e+30" in made["too-fast"]["error"]
    assert {name for name, state in states.items() if state == "failed"} == {
        name for name in states if "embedding0-tie" in name
    }
    finished = [row for row in made.values() if row["state"] == "finished"]
    assert len(finished) == 6
    losses = [row["val_loss_nats"] for row in made.values() if row["val_loss_nats"] is not None]
    assert losses == sorted(losses)
    # The same as charrnn train makes of it.
    plain = next(row for row in finished if row["options"]["seed"] == 2 and row["options"]["embedding_size"] == 0)
    assert main(["train", "--config", f"S/{plain['run']}/config.toml", "-o", "plain", "-q"]) == 0
    assert same_parameters("plain", f"S/{plain['run']}")
    assert f"test        {plain['test_loss_nats']:.4f}" in capsys.readouterr().out
    for said in (
        plain["run"],
        "± ",
        f"{plain['val_loss_nats']:.4f}",
        "2 of 2",
        "too-fast diverged: ",
        "tie-weights needs",
    ):
        assert said in out
    table = list(csv.DictReader(Path("S/results.csv").read_text().splitlines()))
    assert [row["run"] for row in table] == list(made) and tomllib.loads(Path("S/spec.toml").read_text())

    # Given again, there is nothing to do.
    def no_child(*_):
        raise AssertionError("a child was started")

    with monkeypatch.context() as patch:
        patch.setattr(sweep, "Child", no_child)
        assert run(spec, "-o", "S", "-q") == 1 and rows() == made
        # Other options under the same names are refused, and the difference is said.
        capsys.readouterr()
        assert run(spec.replace("steps = 6", "steps = 8"), "-o", "S") == 2
        assert "steps 6, not 8" in capsys.readouterr().err
        Path("text.txt").write_text(TEXT + "more")
        assert run(spec, "-o", "S") == 2
        assert "not the text" in capsys.readouterr().err
        Path("text.txt").write_text(TEXT)

    # A value more: the names change, the runs that are there are found by their options. Of those that ended unseen,
    # what only results.json had is measured again.
    Path("S/results.json").unlink()
    added = (
        spec[: spec.index("[[run]]")]
        .replace("seed = [1, 2]", "seed = [1]\ndropout = [0.2, 0.5]")
        .replace("[0, 3]", "[0]")
    )
    new = "no-tie-weights-dropout0.5"
    assert run(added.replace("log-every = 2", "log-every = 3"), "-o", "S", "-q") == 1, capsys.readouterr().err
    again, old = (
        rows(),
        next(row for row in finished if row["options"]["seed"] == 1 and row["options"]["embedding_size"] == 0),
    )
    assert (
        again[old["run"]]["test_loss_nats"] == old["test_loss_nats"]
        and again[old["run"]]["elapsed_s"] == old["elapsed_s"]
    )
    assert again[new]["state"] == "finished" and len([row for row in again.values() if row["state"] == "finished"]) == 2


def test_a_sweep_keeps_its_name_when_it_is_resumed(folder, monkeypatch):
    (folder / "deep").mkdir()
    assert run(TINY + "[grid]\nseed = [1]", "-o", "S", "-q") == 0
    written = Path("S/results.json").read_bytes()
    assert json.loads(written)["name"] == "grid"
    assert main(["sweep", "--resume", "S", "-q"]) == 0
    assert Path("S/results.json").read_bytes() == written
    assert main(["sweep", "S/spec.toml", "-o", "S", "-q"]) == 0
    assert Path("S/results.json").read_bytes() == written
    monkeypatch.chdir(folder / "deep")
    assert main(["sweep", "--resume", "../S", "-q"]) == 0
    assert json.loads((folder / "S/results.json").read_text())["name"] == "grid"


@pytest.mark.parametrize("state", [None, "stopped", "finished"])
def test_a_sweep_begun_anew_tells_of_an_unfinished_one_of_the_same_spec(folder, monkeypatch, capsys, state):
    def stop(self):
        (self.folder / "spec.toml").write_bytes(self.spec.source)
        self._write()
        return ()

    monkeypatch.setattr(sweep.Sweep, "run", stop)
    spec = TINY + "[grid]\nseed = [1, 2]\n"
    run(spec)
    capsys.readouterr()
    table = Path("checkpoints/grid-sweep-1/results.json")
    if state is None:
        table.unlink()
    else:
        table.write_text(table.read_text().replace('"waiting"', f'"{state}"'))
    run(spec)
    told = "charrnn sweep --resume checkpoints/grid-sweep-1\n" in capsys.readouterr().err
    assert told == (state != "finished") and Path("checkpoints/grid-sweep-2").is_dir()
    run(spec + "# another\n")
    assert "--resume checkpoints/grid-sweep-1" not in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_ctrl_c_saves_and_the_sweep_goes_on_from_there_from_anywhere(folder, monkeypatch, capsys):
    options = "--hidden-size 3 --num-layers 1 --batch-size 3 --seq-length 7 --steps 30 --eval-every 0".split()
    Path("grid.toml").write_text(TINY.replace("steps = 6", "eval-every = 0") + "[grid]\nsteps = [30, 3]")
    process = held.start("sweep", "grid.toml", "--jobs", 1)
    held.wait_until_held(process)
    last = folder / "checkpoints/grid-sweep-1/steps30/last.safetensors"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert (
        process.returncode == 130
        and "charrnn sweep --resume checkpoints/grid-sweep-1" in err
        and "Traceback" not in err
    )
    states = [row["state"] for row in rows("checkpoints/grid-sweep-1").values()]
    assert states == ["stopped", "waiting"] and not (folder / "checkpoints/grid-sweep-1/lock").exists()
    assert read_metadata(last)["training"]["step"] == 1
    (folder / "elsewhere").mkdir()
    monkeypatch.chdir(folder / "elsewhere")
    assert main(["sweep", "--resume", "../checkpoints/grid-sweep-1", "-q"]) == 0
    monkeypatch.chdir(folder)
    assert {row["state"] for row in rows("checkpoints/grid-sweep-1").values()} == {"finished"}
    assert main(["train", "text.txt", *options, "-o", "plain", "-q"]) == 0
    assert same_parameters("plain", last.parent)


@pytest.mark.slow
def test_a_child_that_is_killed_takes_one_run_with_it_which_is_gone_on_with(folder):
    spec = Spec(
        "s",
        ("text.txt",),
        {"hidden_size": 3, "num_layers": 1, "batch_size": 3, "seq_length": 7},
        {"steps": [100_000, 5]},
    )

    def made():
        return sweep.Sweep(spec, draft(make_points(spec), spec.texts), folder, lock)

    with open_sweep(folder / "S") as (folder, lock):
        first = made()
        for event in first.run():
            if isinstance(event, sweep.Progress) and event.run == "steps100000":
                first._children[0]._process.kill()
        states = {name: (one.state, one.error) for name, one in first.results.items()}
        assert states["steps5"] == ("finished", None) and states["steps100000"][0] == "failed"
        assert "its process was killed" in states["steps100000"][1]
        assert (
            first.results["steps5"].step == 5 and made().waiting == 1
        )  # what is killed for want of memory today may go tomorrow
