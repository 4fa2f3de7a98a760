"""The files that commands write by name: what is replaced, what is not, and that both are told before the work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from test_cells import make_text

from charrnn.cli import COMMANDS, group, main
from charrnn.files.marks import has_mark
from charrnn.runs.checkpoint import read_metadata
from charrnn.text.folders import find_files
from charrnn.training.provenance import find_texts

TEXT = make_text(12_000, seed=8)
FRESH = ["gradients", "--fresh", "--cell", "gru", "--hidden-size", "4", "--steps", "3", "--times", "2"]
# Each option that names a file to be written: the command without it.
WRITERS = {
    "eval --html": ["eval", "run", "text.txt", "--no-baselines"],
    "cells --html": ["cells", "run", "text.txt", "--characters", "4000"],
    "cells --svg": ["cells", "run", "text.txt", "--characters", "4000", "--unit", "0:0"],
    "cells --png": ["cells", "run", "text.txt", "--characters", "4000", "--unit", "0:0"],
    "gradients --svg": FRESH,
    "gradients --png": FRESH,
    "export --html": ["export", "run", "--no-cells"],
    "export --onnx": ["export", "run"],
    "export --torch": ["export", "run"],
    "info --svg": ["info", "run"],
    "sample --svg": ["sample", "run", "--distribution"],
    "sweep --svg": ["sweep", "grid.toml", "-o", "S", "-q"],
}
READERS = ("eval --html", "cells --html", "gradients --svg")
OTHERS = {
    "corpus build --output",
    "import --output",
    "train --output",
    "sweep --output",
}  # a text, and folders: tested by themselves


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        Path("own.txt").write_text(TEXT)
        common = ["--steps", "1", "--hidden-size", "4", "--num-layers", "1", "--batch-size", "3", "--seq-length", "7"]
        assert main(["train", "own.txt", *common, "--val-fraction", "0.4", "-q", "-o", "run"]) == 0
        Path("grid.toml").write_text(
            "text = ['own.txt']\nsteps = 1\nhidden-size = 4\nnum-layers = 1\nbatch-size = 3\nseq-length = 7\n"
            "val-fraction = 0.4\n[grid]\nseed = [1]\n"
        )
        assert main(["sweep", "grid.toml", "-o", "S", "-q"]) == 0
    return folder


@pytest.fixture(autouse=True)
def inside(made, tmp_path, monkeypatch):
    """Be in a folder that has a run, the text it was trained on, and another text."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    return tmp_path


def written(writer, path, *more, code=0):
    option = writer.split()[-1]
    assert main([*WRITERS[writer], *more, option, str(path)]) == code


def refused(capsys, writer, path, *words, more=("--force",), texts=()):
    """Check that a file is not written, before any work; `texts` in the place of the command's own."""
    arguments = [*WRITERS[writer]]
    if texts:
        arguments = [one for one in arguments if one != "text.txt"] + list(texts)
        if writer.startswith("gradients"):
            arguments = [*FRESH, *texts]
    before = Path(path).read_bytes() if Path(path).is_file() else None
    capsys.readouterr()
    assert main([*arguments, *more, writer.split()[-1], str(path)]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""  # no result has been made
    for word in (writer.split()[-1], *words):
        assert word in captured.err, captured.err
    if before is not None:
        assert Path(path).read_bytes() == before
    return captured.err


def test_these_are_all_the_options_that_name_a_file_to_be_written():
    found = set()
    for verb in COMMANDS:
        command = group.get_command(None, verb)
        for one in [command, *getattr(command, "commands", {}).values()]:
            name = verb if one is command else f"{verb} {one.name}"
            found |= {
                f"{name} --{p.name}"
                for p in one.params
                if p.name in ("html", "png", "svg", "onnx", "torch", "output", "csv_file")
            }
    assert found == {*WRITERS, *OTHERS}


@pytest.mark.parametrize("writer", WRITERS)
def test_a_file_of_others_is_replaced_only_by_force_and_charrnns_own_always(writer, capsys):
    path = Path("mine.x")
    path.write_text("mine")
    error = refused(capsys, writer, path, "charrnn did not write it", "add --force", more=())
    assert path.read_text() == "mine"
    suggested = error.split("as in ")[1].split()[1]
    assert not Path(suggested).exists()
    written(writer, suggested)
    assert has_mark(suggested)
    written(writer, path, "--force")
    assert has_mark(path)
    written(writer, path)  # its own, by its mark
    path.write_bytes(b"")  # nothing is lost, as by mktemp
    written(writer, path)
    assert has_mark(path)


def test_a_mark_elsewhere_in_a_file_is_no_mark():
    for content in ("", 'about <meta name="generator" content="charrnn">', "<!DOCTYPE html>\n<p>charrnn", "<svg />"):
        Path("x").write_text(content)
        assert not has_mark("x")
    assert not has_mark(".") and not has_mark("nowhere")


@pytest.mark.parametrize("writer", READERS)
def test_a_text_that_is_read_is_never_replaced_by_whatever_name(writer, capsys, inside):
    os.symlink("text.txt", "link")
    os.link("text.txt", "hard")
    Path("folder/deep").mkdir(parents=True)
    Path("folder/a.txt").write_text(TEXT)
    Path("folder/.hidden").write_text("hidden")
    os.symlink("../text.txt", "folder/b.txt")
    why = "this command reads"
    for path in ("text.txt", "./folder/../text.txt", inside / "text.txt", "link", "hard"):
        refused(capsys, writer, path, why, texts=["text.txt"])
    refused(capsys, writer, "text.txt", why, texts=["link"])
    refused(capsys, writer, "text.txt", why, texts=["t*.txt"])
    for path in ("folder/a.txt", "folder/.hidden", "text.txt", "hard"):
        refused(capsys, writer, path, why, texts=["folder"])
    refused(capsys, writer, "folder/a.txt", why, texts=["folder/deep/.."])


def test_a_text_on_stdin_is_never_replaced():
    writer = "eval --html"
    arguments = [one for one in WRITERS[writer] if one != "text.txt"]
    code = "import sys; from charrnn.cli import main; sys.exit(main(sys.argv[1:]))"
    with open("text.txt", "rb") as file:
        done = subprocess.run(
            [sys.executable, "-c", code, *arguments, "-", writer.split()[-1], "text.txt", "--force"],
            stdin=file,
            capture_output=True,
            text=True,
        )
    assert done.returncode == 2 and "the text on stdin" in done.stderr, done.stderr
    assert Path("text.txt").read_text() == TEXT


def test_the_text_of_the_run_is_never_replaced(capsys):
    for writer in ("eval --html", "cells --html"):
        refused(capsys, writer, "own.txt", "this command reads")
        refused(capsys, writer, "own.txt", "this command reads", texts=["text.txt"])
    assert main(["gradients", "run", "--svg", "own.txt", "--force"]) == 2
    assert Path("own.txt").read_text() == TEXT


@pytest.mark.parametrize("writer", WRITERS)
def test_a_checkpoint_and_a_runs_file_are_never_replaced(writer, capsys):
    Path("copy.bin").write_bytes(Path("run/last.safetensors").read_bytes())
    Path("other.safetensors").write_text("whatever")
    Path("sweep").mkdir()
    for name in ("spec.toml", "results.json", "results.csv"):
        Path("sweep", name).write_text("x")
    for path in ("run/best.safetensors", "run/good.safetensors", "run/log.jsonl", "run/config.toml", "run/lock"):
        refused(capsys, writer, path, "file of the run")
    for path in ("sweep/spec.toml", "sweep/results.json", "sweep/results.csv"):
        refused(capsys, writer, path, "sweep")
    refused(capsys, writer, "copy.bin", "is a checkpoint")
    refused(capsys, writer, "other.safetensors", "is a checkpoint")
    assert not Path("run/good.safetensors").exists()
    written(writer, "run/page.x")  # another name in the run's folder is nobody's


@pytest.mark.parametrize("writer", WRITERS)
def test_what_is_no_file_is_refused_with_the_remedy(writer, capsys):
    option = writer.split()[-1]
    os.mkfifo("pipe")
    refused(capsys, writer, "-", "stdout", f"as in {option} ")
    assert not Path("-").exists()
    refused(capsys, writer, "pipe", "not a regular file", f"as in {option} ")
    refused(capsys, writer, "/dev/null", "not a regular file")
    refused(capsys, writer, "nowhere/a", "does not exist; create it first")
    refused(capsys, writer, "run", "")


def test_one_file_for_two_options_is_refused(capsys):
    os.symlink("a.html", "b.svg")
    assert main([*WRITERS["cells --html"], "--html", "a.html", "--svg", "./a.html"]) == 2
    assert main([*WRITERS["cells --html"], "--html", "a.html", "--svg", "b.svg"]) == 2
    assert "give each its own" in capsys.readouterr().err


def test_force_without_a_file_is_refused(capsys):
    for command in ("eval", "cells", "gradients"):
        assert main([command, "--force"]) == 2
        assert "--force has no effect without a file " in capsys.readouterr().err


def test_a_link_stays_a_link_and_its_file_is_written():
    os.mkdir("pages")
    os.symlink("pages/page.html", "latest.html")
    for _ in range(2):
        written("eval --html", "latest.html")
        assert Path("latest.html").is_symlink() and has_mark("pages/page.html")


def test_results_that_go_into_the_same_file_are_kept(capsys):
    code = "import sys; from charrnn.cli import main; sys.exit(main(sys.argv[1:]))"
    with open("out.html", "wb") as file:
        command = [sys.executable, "-c", code, *WRITERS["eval --html"], "--html", "out.html", "--force"]
        done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2 and "the file that stdout goes to" in done.stderr


def test_what_appears_meanwhile_is_not_replaced_and_the_results_are_still_told(capsys, monkeypatch):
    from charrnn.evaluation import report

    judge = report.judge

    def slow(*arguments):
        Path("page.html").write_text("precious")  # another process
        return judge(*arguments)

    monkeypatch.setattr(report, "judge", slow)
    written("eval --html", "page.html", code=2)
    captured = capsys.readouterr()
    assert "charrnn did not write it" in captured.err and " nats = " in captured.out
    assert Path("page.html").read_text() == "precious"


def test_what_else_is_read_is_not_replaced_either(capsys):
    """The text of a prime, the SPEC of a sweep, and the text of a run, which could not go on without it."""
    shutil.copy("text.txt", "prime.txt")
    refused(capsys, "sample --svg", "prime.txt", "reads", more=("--force", "--prime-file", "prime.txt"))
    refused(capsys, "sweep --svg", "grid.toml", "reads")
    refused(capsys, "sweep --svg", "own.txt", "reads")
    (own,) = find_texts(read_metadata("run/best.safetensors")["training"], Path("run"))
    for writer in ("info --svg", "sample --svg"):
        refused(capsys, writer, own, "reads")


def test_charrnns_pages_and_pictures_are_no_text_of_a_folder(capsys):
    """So that a page written beside a text leaves the text what it was."""
    os.mkdir("texts")
    Path("texts/a.txt").write_text(TEXT)
    writers = ("eval --html", "cells --png", "gradients --svg")
    for number, writer in enumerate(writers):
        arguments = ["texts" if one == "text.txt" else one for one in WRITERS[writer]]
        assert main([*arguments, writer.split()[-1], f"texts/{number}.html"]) == 0
    assert main(["eval", "run", "texts", "--no-baselines", "--html", "texts/0.html"]) == 0
    for mode in ("chars", "bytes"):
        notes = []
        assert find_files(["texts"], mode, "utf-8", notes).files == ["texts/a.txt"]
        assert notes == ["texts: skipped files that charrnn itself wrote (0.html, 1.html, 2.html)"]
        notes = []
        assert find_files(["texts/*"], mode, "utf-8", notes).files == ["texts/a.txt"] and len(notes) == 1
    # One that is named is what was asked for.
    assert find_files(["texts/0.html"], "chars", "utf-8", []).files == ["texts/0.html"]
    refused(capsys, "eval --html", "texts/0.html", "this command reads", texts=["texts/0.html"])


# ---- corpora, runs, sweeps -------------------------------------------------------------------------------------------


def build(*arguments):
    from charrnn.cli.corpus import command

    return CliRunner().invoke(command, ["build", "latex", *map(str, arguments)])


def test_a_corpus_replaces_neither_its_source_nor_a_checkpoint_nor_stdout(inside):
    os.mkdir("tex")
    Path("tex/a.tex").write_text("\\section{A}\n")
    os.symlink("tex/a.tex", "link.txt")
    for path in ("tex/a.tex", "link.txt", "run/best.safetensors", "run/config.toml", "-", "/dev/null"):
        before = None if path in ("-", "/dev/null") else Path(path).read_bytes()
        result = build("--from", "tex", "-o", path, "--force")
        assert result.exit_code == 1 and "--output" in str(result.exception), path
        assert before is None or Path(path).read_bytes() == before
    assert not Path("-").exists()
    assert build("--from", "tex", "-o", "new/folder/out.txt").exit_code == 0


@pytest.mark.parametrize("command", ["train own.txt --steps 1 -o", "sweep spec.toml -o", "sweep --resume"])
def test_a_folder_to_be_made_is_not_stdout(command, capsys):
    Path("spec.toml").write_text('text = ["own.txt"]\nsteps = 1\n')
    assert main([*command.split(), "-"]) == 2
    assert "must name a folder, got '-'" in capsys.readouterr().err and not Path("-").exists()


@pytest.mark.parametrize("name", ["lock", "config.toml", "log.jsonl", "last.safetensors", "good.safetensors"])
def test_a_new_run_replaces_no_file_of_others(name, capsys):
    os.mkdir("folder")
    Path("folder", name).write_text("mine")
    assert main(["train", "own.txt", "--steps", "1", "--hidden-size", "4", "-q", "-o", "folder"]) == 2
    assert os.listdir("folder") == [name] and Path("folder", name).read_text() == "mine"


@pytest.mark.parametrize("name", ["lock", "results.json", "results.csv", "spec.toml"])
def test_a_sweep_replaces_no_file_of_others(name, capsys):
    os.mkdir("folder")
    spec = 'text = ["own.txt"]\nsteps = 1\nhidden_size = 4\n[grid]\nseed = [1, 2]\n'
    Path("folder/spec.toml").write_text(spec)
    Path("grid.toml").write_text(spec)
    Path("folder", name).write_text("mine")
    assert main(["sweep", "grid.toml", "-o", "folder", "-q"]) == 2
    assert f"folder/{name}" in capsys.readouterr().err
    assert set(os.listdir("folder")) == {"spec.toml", name} and Path("folder", name).read_text() == "mine"
