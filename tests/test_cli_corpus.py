"""charrnn corpus: what goes to stdout and to stderr, and that looking around costs nothing."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from charrnn.cli.corpus import command
from charrnn.errors import RecipeError
from charrnn.recipes import RECIPES

ROOT = Path(__file__).parent.parent


@pytest.fixture
def source(tmp_path):
    (tmp_path / "tex").mkdir()
    (tmp_path / "tex" / "a.tex").write_text("\\section{A}\n")
    return tmp_path / "tex"


def run(*arguments):
    return CliRunner().invoke(command, list(map(str, arguments)))


def test_list_names_every_recipe_with_source_licence_cleaning_and_sha256():
    result = run("list")
    assert result.exit_code == 0 and result.stderr == "build one with: charrnn corpus build NAME\n"
    for recipe in RECIPES.values():
        for word in (recipe.name, recipe.source, recipe.licence, recipe.cleaning):
            assert word in result.stdout
    assert RECIPES["shakespeare"].sha256 in result.stdout


def test_list_as_json_is_an_object_a_line():
    lines = [json.loads(line) for line in run("list", "--json").stdout.splitlines()]
    assert [line["name"] for line in lines] == list(RECIPES)
    assert set(lines[0]) == {"name", "summary", "source", "licence", "cleaning", "sha256", "size_bytes"}


def test_build_puts_the_result_on_stdout_and_the_rest_on_stderr(tmp_path, source):
    output = tmp_path / "out.txt"
    result = run("build", "latex", "--from", source, "--output", output)
    assert result.exit_code == 0 and output.read_text() == "\\section{A}\n"
    assert result.stdout.startswith(f"{output}: 12 bytes, 12 distinct characters, sha256 ")
    assert result.stdout.count("\n") == 1
    assert f"source: {source}\nlicence: " in result.stderr and "cleaning: " in result.stderr
    assert f"{output} (already there): 12 bytes" in run("build", "latex", "--from", source, "-o", output).stdout


def test_build_writes_under_corpora_by_default(tmp_path, source, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("build", "latex", "--from", source).exit_code == 0
    assert (tmp_path / "corpora" / "latex.txt").exists()


def test_build_as_json_is_one_object(tmp_path, source):
    output = tmp_path / "out.txt"
    result = json.loads(run("build", "latex", "--from", source, "-o", output, "--json").stdout)
    assert result["path"] == str(output) and result["status"] == "written" and result["size_bytes"] == 12
    assert result["distinct"] == 12 and len(result["sha256"]) == 64


def test_what_is_refused_stays_an_error_of_the_library_for_the_main_group(tmp_path, source):
    output = tmp_path / "out.txt"
    output.write_text("precious")
    result = run("build", "latex", "--from", source, "-o", output)
    assert isinstance(result.exception, RecipeError) and "--force" in str(result.exception) and result.stdout == ""
    assert run("build", "latex", "--from", source, "-o", output, "--force").exit_code == 0
    assert isinstance(run("build", "klingon").exception, RecipeError)


@pytest.mark.parametrize("arguments", [(), ("list",), ("build",)])
def test_help_begins_with_a_short_sentence_and_an_example(arguments):
    result = run(*arguments, "--help")
    lines = [line.strip() for line in result.stdout.splitlines() if line.strip()]
    assert result.exit_code == 0 and lines[1].endswith(".") and len(lines[1]) < 60
    assert lines[2].startswith("Example: charrnn corpus")


def test_listing_imports_no_numpy():
    code = (
        "import sys; from charrnn.cli.corpus import command; command(['list'], standalone_mode=False); "
        "assert not {'numpy', 'numba'} & set(sys.modules), 'heavy'"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


def test_a_group_by_itself_prints_its_help(capsys):
    from click import Group

    from charrnn.cli import COMMANDS, group, main

    groups = [verb for verb in COMMANDS if isinstance(group.get_command(None, verb), Group)]
    assert groups == ["corpus"]
    # charrnn itself says what to type next instead: test_no_command_at_all_says_what_to_type_next.
    for arguments, named in [(["--help"], []), *(([verb], [verb]) for verb in groups)]:
        assert main(arguments) == 0
        captured = capsys.readouterr()
        assert captured.out.startswith(" ".join(["Usage: charrnn", *named])) and captured.err == ""
        assert captured.out.count("\n") > 8 and "Commands:\n" in captured.out
    assert main(["corpus", "build"]) == 2
    assert "Missing argument 'NAME' (see charrnn corpus build --help)" in capsys.readouterr().err
