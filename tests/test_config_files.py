"""Files of options: --config, a run's own config.toml, and a sweep's; however saved, and from whichever folder."""

import codecs
import os
import subprocess
from pathlib import Path

import pytest

from charrnn.cli import main
from charrnn.runs.checkpoint import read_metadata

TEXT = "".join(f"line {n * n % 97} says {'abc' * (n % 4)}.\n" for n in range(60))
OPTIONS = "hidden-size = 3\nnum_layers = 1\nbatch-size = 3\nseq-length = 7\nsteps = 2\n"
GRID = "[grid]\nseed = [1]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "project" / "configs").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path


def text_of(run):
    return read_metadata(Path(run, "last.safetensors"))["training"]["corpus"]["sources"]


def error(capsys):
    return capsys.readouterr().err.splitlines()[-1]


def test_a_byte_order_mark_is_left_out_of_a_file_of_options(capsys):
    Path("text.txt").write_text(TEXT)
    Path("c.toml").write_bytes(codecs.BOM_UTF8 + f'text = "text.txt"\n{OPTIONS}'.encode())
    assert main(["train", "--config", "c.toml", "-q", "-o", "run"]) == 0
    Path("g.toml").write_bytes(codecs.BOM_UTF8 + f'text = "text.txt"\r\n{OPTIONS}{GRID}'.encode())
    assert main(["sweep", "g.toml", "--dry-run"]) == 0


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize(
    "command", [["train", "--config", "c.toml", "-q", "-o", "run"], ["sweep", "c.toml", "--dry-run"]]
)
def test_another_encoding_is_told_with_the_command_that_mends_it(command, encoding, capsys):
    Path("café.txt").write_text(TEXT)
    content = f'# déjà\ntext = "café.txt"\n{OPTIONS}{GRID if command[0] == "sweep" else ""}'
    Path("c.toml").write_bytes(content.encode(encoding))
    assert main(command) == 2
    said = error(capsys)
    assert "c.toml is not in UTF-8, as TOML must be" in said and f"seems to be {encoding.upper()}" in said
    subprocess.run(said.split("convert it with: ")[1], shell=True, check=True)
    assert Path("c-2.toml").read_text(encoding="utf-8-sig") == content
    assert main([word.replace("c.toml", "c-2.toml") for word in command]) == 0


def test_the_config_of_a_run_finds_its_text_from_another_folder(folder, monkeypatch, capsys):
    Path("text.txt").write_text(TEXT)
    Path("c.toml").write_text(OPTIONS)
    for output in (["-o", "base"], ["-o", "deep/in/base"], []):
        assert main(["train", "text.txt", "--config", "c.toml", "-q", *output]) == 0
    monkeypatch.chdir(folder / "elsewhere")
    for number, run in enumerate(("base", "deep/in/base", "checkpoints/text-1")):
        capsys.readouterr()
        assert main(["train", "--config", f"../project/{run}/config.toml", "-o", f"run-{number}"]) == 0
        assert text_of(f"run-{number}") == ["../project/text.txt"]
        assert (
            f"text.txt, named in --config ../project/{run}/config.toml, is read from ../project/text.txt"
            in capsys.readouterr().err
        )
        assert main(["train", "--resume", f"run-{number}", "--steps", "3", "-q"]) == 0
    # What is named on the command line is taken from the current folder alone.
    assert main(["train", "text.txt", "--config", "../project/base/config.toml", "-q"]) == 2
    assert "text.txt does not exist" in error(capsys)


def test_texts_are_found_beside_the_file_that_names_them(folder, monkeypatch, capsys):
    Path("configs/a.txt").write_text(TEXT)
    Path("configs/texts").mkdir()
    Path("configs/texts/b.txt").write_text(TEXT)
    Path("configs/c.toml").write_text(f'text = ["a.txt", "texts", "texts/*.txt"]\n{OPTIONS}')
    Path("configs/g.toml").write_text(f'text = "a.txt"\n{OPTIONS}{GRID}')
    assert main(["train", "--config", "configs/c.toml", "-q", "-o", "run"]) == 0
    assert text_of("run") == ["configs/a.txt", "configs/texts", "configs/texts/*.txt"]
    assert main(["sweep", "configs/g.toml", "-q", "-o", "sw", "--dry-run"]) == 0
    assert "a.txt, named in configs/g.toml, is read from configs/a.txt" in capsys.readouterr().err


def test_the_current_folder_comes_first_and_another_text_of_the_name_is_told(capsys):
    for path in ("text.txt", "configs/text.txt"):
        Path(path).write_text(TEXT)
    Path("configs/c.toml").write_text(f'text = "text.txt"\n{OPTIONS}')
    assert main(["train", "--config", "configs/c.toml", "-o", "run"]) == 0
    assert text_of("run") == ["text.txt"]
    assert (
        "text.txt is read from the current folder, not the one next to --config configs/c.toml, configs/text.txt"
        in capsys.readouterr().err
    )
    os.unlink("configs/text.txt")
    assert main(["train", "--config", "configs/c.toml", "-o", "run-2"]) == 0
    assert "another one" not in capsys.readouterr().err


def test_a_text_that_is_nowhere_is_told_with_both_places(capsys):
    Path("configs/c.toml").write_text(f'text = "text.txt"\n{OPTIONS}')
    assert main(["train", "--config", "configs/c.toml"]) == 2
    assert error(capsys) == (
        "Error: --config configs/c.toml names the text text.txt, which is neither in the current folder nor at "
        "configs/text.txt: correct its line 'text = ...'"
    )
    Path("g.toml").write_text(f'text = "text.txt"\n{OPTIONS}{GRID}')
    assert main(["sweep", "g.toml"]) == 2
    assert error(capsys).endswith("g.toml names the text text.txt, which does not exist: correct its line 'text = ...'")


def test_old_weights_that_a_config_names_are_found_beside_it(folder, monkeypatch):
    Path("text.txt").write_text(TEXT)
    Path("c.toml").write_text(OPTIONS)
    assert main(["train", "text.txt", "--config", "c.toml", "-q", "-o", "base"]) == 0
    Path("warm.toml").write_text('text = "text.txt"\ninit-from = "base"\nsteps = 2\nbatch-size = 3\nseq-length = 7\n')
    monkeypatch.chdir(folder / "elsewhere")
    assert main(["train", "--config", "../project/warm.toml", "-q", "-o", "run"]) == 0
