"""What charrnn writes itself is never part of a text: a run in the folder of its text does not change that text."""

import json
import os
import shlex
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.errors import CorpusError
from charrnn.files.marks import PAGE_MARK, SVG_MARK
from charrnn.files.own import is_own_folder
from charrnn.runs.toml import to_toml
from charrnn.text import folders
from charrnn.text.corpus import read_corpus
from charrnn.training.options import TrainingConfig

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
TINY = ["--hidden-size", "8", "--num-layers", "1", "--batch-size", "3", "--seq-length", "7", "--no-sample", "--quiet"]
CONFIG = to_toml({"text": ["."], **TrainingConfig().to_dict()})
CHECKPOINT = b'\x20\0\0\0\0\0\0\0{"__metadata__":{"charrnn":"{}"}}'


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text(TEXT)
    return tmp_path


def make(path, **files):
    for name, content in files.items():
        name = Path(path, name.replace("_", "."))
        name.parent.mkdir(parents=True, exist_ok=True)
        name.write_bytes(content if isinstance(content, bytes) else content.encode())


def make_run(path):
    make(path, last_safetensors=CHECKPOINT, config_toml=CONFIG, log_jsonl='{"step": 1}\n')


def texts(*sources, **options):
    with read_corpus(sources or ["."], **options) as corpus:
        return [os.path.relpath(path) for path in corpus.files], corpus.notes


# ---- which folders these are ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "files",
    [
        {"last_safetensors": CHECKPOINT},
        {"best_safetensors": CHECKPOINT},
        {"good_safetensors": CHECKPOINT, "notes_txt": "n"},
        {"config_toml": CONFIG, "log_jsonl": '{"step": 1}\n'},  # no checkpoint yet
        {"config_toml": CONFIG, "lock": "123"},  # it has just begun
        {"config_toml": CONFIG, "last_safetensors": b"dam"},
        {"spec_toml": "text = ['.']", "results_json": "{}"},
    ],
)
def test_a_folder_that_charrnn_writes_is_known_by_what_is_in_it(files):
    make("deep/any", **files)
    assert is_own_folder("deep/any") and not is_own_folder("deep")
    assert texts()[0] == ["text.txt"]
    assert texts(mode="bytes")[0] == ["text.txt"]


def test_a_sweep_is_known_by_a_run_in_it_before_it_has_results():
    make("sw", spec_toml="text = ['.']")
    assert not is_own_folder("sw")
    make_run("sw/one")
    assert is_own_folder("sw") and texts() == (["text.txt"], (".: skipped files that charrnn itself wrote (sw)",))


@pytest.mark.parametrize(
    "files",
    [
        {"last_safetensors": b"\x20\0\0\0\0\0\0\0{" + b'"weight":{"dtype":"F32"}'},  # another program's
        {"config_toml": "[server]\nport = 1\n", "log_jsonl": '{"step": 1}\n', "lock": "1"},
        {"config_toml": CONFIG},  # the user's own, for --config
        {"spec_toml": "a = 1"},
        {"results_json": "{}", "lock": "1"},
    ],
)
def test_a_folder_that_only_looks_like_one_is_text(files):
    make("any", **files)
    assert not is_own_folder("any")
    assert len(texts(mode="bytes")[0]) == 1 + len(files)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_with_the_name_of_a_checkpoint_is_not_opened():
    Path("any").mkdir()
    os.mkfifo("any/last.safetensors")
    assert not is_own_folder("any")


def test_the_cache_folder_is_left_out(monkeypatch):
    monkeypatch.setenv("CHARRNN_CACHE_DIR", "kernels")
    make("kernels", a_txt="ab")
    assert texts()[0] == ["text.txt"]


# ---- folders, globs, links -----------------------------------------------------------------------------------------


def test_the_folder_of_runs_is_no_text_whatever_stands_in_it():
    for number in range(5):
        make_run(f"checkpoints/a-{number}")
    make("checkpoints", samples_txt="sampled")
    make("poems/checkpoints", README_md="none yet")
    make_run("out")
    make_run("poems/deep/out")
    make("poems", b_txt="by\n")
    files, notes = texts()
    assert files == ["poems/b.txt", "text.txt"]
    assert notes == (".: skipped files that charrnn itself wrote (checkpoints, out, poems/checkpoints and 1 more)",)


def test_a_pattern_leaves_them_out_too():
    make_run("checkpoints/a-1")
    make_run("poems/out")
    make("poems", b_txt="by\n")
    files, notes = texts("**/*")
    assert files == ["poems/b.txt", "text.txt"]
    assert notes == ("**/*: skipped files that charrnn itself wrote (checkpoints, poems/out)",)
    assert texts("poems/**/*.t*")[0] == ["poems/b.txt"]
    with pytest.raises(CorpusError, match="only matches checkpoints, which charrnn itself wrote: name your"):
        texts("check*/*/log.jsonl")


def test_what_a_shell_makes_of_a_star_holds_the_folder_of_runs():
    make_run("checkpoints/a-1")
    assert texts("checkpoints", "text.txt") == (
        ["text.txt"],
        ("checkpoints: skipped files that charrnn itself wrote (a-1)",),
    )
    with pytest.raises(
        CorpusError, match=r"checkpoints contains no text \(skipped files that charrnn itself wrote \(a-1\)\): "
    ):
        texts("checkpoints")
    with pytest.raises(CorpusError, match=r"2 folders contain no text \(skipped .*\): name your texts"):
        texts("checkpoints", "checkpoints/a-1")


def test_a_file_that_is_named_itself_is_always_taken():
    make_run("checkpoints/a-1")
    assert texts("checkpoints/a-1/log.jsonl")[0] == ["checkpoints/a-1/log.jsonl"]


def test_a_run_folder_that_is_named_holds_the_users_files_only():
    make_run("poems")
    make("poems", b_txt="by\n", deep="d\n")
    assert texts("poems") == (
        ["poems/b.txt", "poems/deep"],
        ("poems: skipped files that charrnn itself wrote (config.toml, last.safetensors, log.jsonl)",),
    )


def test_links_do_not_lead_into_them_and_links_to_folders_are_said():
    make_run("checkpoints/a-1")
    Path("newest").symlink_to("checkpoints/a-1")
    Path("newest.jsonl").symlink_to("checkpoints/a-1/log.jsonl")
    Path("elsewhere").mkdir()
    Path("to-folder").symlink_to("elsewhere")
    assert texts() == (
        ["text.txt"],
        (
            ".: did not follow 1 link to a folder; skipped files that charrnn itself wrote (checkpoints, "
            "newest, newest.jsonl)",
        ),
    )


@pytest.mark.parametrize(
    "name, content",
    [
        ("page.html", f"<!DOCTYPE html>\n<html><head>{PAGE_MARK}<title>a page</title>"),
        ("picture.svg", f'<svg xmlns="http://www.w3.org/2000/svg" width="10">\n{SVG_MARK}\n<rect/>'),
        ("looks-like-text.txt", f"<!DOCTYPE html>\n<html><head>{PAGE_MARK}"),
    ],
)
def test_pages_and_pictures_of_charrnn_are_no_text(name, content):
    Path(name).write_text(content)
    for sources in ((".",), ("*",)):
        files, notes = texts(*sources)
        assert files == ["text.txt"] and notes[0] == f"{sources[0]}: skipped files that charrnn itself wrote ({name})"
        assert texts(*sources, mode="bytes")[0] == ["text.txt"]
    assert texts(name)[0] == [name]  # named itself
    Path(name).write_text(content.replace("charrnn", "another"))
    assert texts()[0] == sorted([name, "text.txt"])


# ---- whole runs ----------------------------------------------------------------------------------------------------


def test_a_run_in_the_folder_of_its_text_is_resumed_evaluated_and_repeated(capsys):
    for output in ([], ["-o", "out"]):
        assert main(["train", ".", *TINY, "--steps", "2", *output]) == 0
        assert main(["train", "--resume", "--steps", "4", "--quiet", *output]) == 0
        assert main(["eval", *output[1:], "--json"]) == 0
        assert json.loads(capsys.readouterr().out.splitlines()[-1])["characters"] > 0
        assert main(["eval", *output[1:], "--surprisal", "--html", "page.html"]) == 0
        assert main(["train", "--resume", "--steps", "5", "--quiet", *output]) == 0
    assert texts()[0] == ["text.txt"]


def test_a_run_that_is_written_beside_the_texts_of_its_folder_is_resumed(capsys):
    os.mkdir("d")
    os.rename("text.txt", "d/text.txt")
    assert main(["train", "d", *TINY, "--steps", "2", "-o", "d"]) == 0
    assert main(["train", "--resume", "d", "--steps", "4", "--quiet"]) == 0


def test_a_run_folder_that_holds_a_part_of_its_own_text_is_refused(capsys):
    make("poems", b_txt="by\n")
    assert main(["train", ".", *TINY, "--steps", "2", "-o", "poems"]) == 2
    assert capsys.readouterr().err.endswith(
        "Error: poems contains part of the text, b.txt, but a run folder is never read as text: name a new folder "
        "with -o/--output\n"
    )
    assert sorted(os.listdir("poems")) == ["b.txt"]
    assert main(["train", "text.txt", "poems/b.txt", *TINY, "--steps", "2", "-o", "poems"]) == 0  # files, no folder


@pytest.mark.slow
def test_a_sweep_in_the_folder_of_its_text_is_no_part_of_it(capsys):
    os.mkdir("d")
    os.rename("text.txt", "d/text.txt")
    spec = 'text = "d"\nhidden-size = 3\nnum-layers = 1\nbatch-size = 3\nseq-length = 7\nsteps = 2\n'
    Path("grid.toml").write_text(f"{spec}[grid]\nseed = [4, 5]\n")
    assert main(["sweep", "grid.toml", "-o", "d/sw", "--quiet"]) == 0, capsys.readouterr().err
    assert texts("d")[0] == ["d/text.txt"]
    assert main(["eval", next(str(path.parent) for path in Path("d/sw").glob("*/best.safetensors"))]) == 0


def test_a_run_that_had_learned_its_own_files_says_so_with_a_command_that_works(monkeypatch, capsys):
    """As runs were made before these files were left out."""
    make_run("checkpoints/a-1")
    with monkeypatch.context() as before:
        before.setattr(folders, "is_own_folder", lambda path: False)
        before.setattr(folders, "is_own_file", lambda path: False)
        assert main(["train", ".", *TINY, "--steps", "2", "-o", "old"]) == 0
    capsys.readouterr()
    for command in (["train", "--resume", "old", "--steps", "4"], ["eval", "old"]):
        assert main(command) == 2
        said = capsys.readouterr().err.splitlines()[-1]
        assert said.startswith("Error: the run also learned files that charrnn itself wrote: it read ")
        assert "are no longer read as text. Start a new run on the text alone: charrnn train /" in said
    advised = shlex.split(said.rsplit(": ", 1)[1])
    assert main([*advised[1:], *TINY, "--steps", "2", "-o", "new"]) == 0
