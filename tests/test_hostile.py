"""Files, names and texts from strangers.

Nothing is run, followed, waited for or sent to the terminal because they say so.
"""

import ast
import dataclasses
import gzip
import io
import json
import lzma
import os
import re
import subprocess
import sys
import tracemalloc
from pathlib import Path

import pytest
from chromium import Chromium, find_chromium

from charrnn.cli import main
from charrnn.errors import CheckpointError, CorpusError, RunError
from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint
from charrnn.runs.folder import RunFolder
from charrnn.text import decoding, folders
from charrnn.text import sources as sources_module
from charrnn.text.corpus import read_corpus
from charrnn.text.sources import zstd_library
from charrnn.training.plan import plan_resume
from charrnn.training.provenance import find_texts

ROOT = Path(__file__).parent.parent
# Sequences that none of our own are: a clipboard, a link, a reset, a printer, C1's CSI, an override, and a bell.
EVIL = "\x1b]52;c;aGk\x07\x1b]8;;http://x.example\x1b\\\x1bc\x1b[5i\x9b5i\u202e\u2066\x85"
OWN = re.compile(r"\x1b\[[0-9;]*m|\x1b\[\?25[lh]|\x1b\[[0-9]*[AJK]|\r")
SECRET = "the secret of another file\n" * 40


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a text and a run whose names and content are as hostile as they can be."""
    folder = tmp_path_factory.mktemp("hostile")
    words = "".join(
        f'{"if" if n % 3 else "IF"} ({n}) say "{EVIL if n % 9 == 0 else "well"} {n * n % 89}"\n' for n in range(600)
    )
    (folder / f"text{EVIL.replace('/', '')}.txt").write_text(words, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["train", text_of(folder), *TINY, "--steps", "2", "-q", "-o", "checkpoints/" + run_name()]) == 0
    return folder


TINY = (
    "--hidden-size",
    "8",
    "--num-layers",
    "1",
    "--batch-size",
    "3",
    "--seq-length",
    "7",
    "--val-fraction",
    "0.1",
    "--test-fraction",
    "0.1",
)


def run_name():
    return f"run{EVIL.replace('/', '')}"


def text_of(folder):
    return next(name for name in os.listdir(folder) if name.startswith("text"))


@pytest.fixture
def loaded(folder):
    return load_checkpoint(folder / "checkpoints" / run_name() / "last.safetensors")


def changed(loaded, path, **training):
    """Save a run whose record says something else; return its folder."""
    path.mkdir(exist_ok=True)
    save_checkpoint(path / "last.safetensors", dataclasses.replace(loaded, training={**loaded.training, **training}))
    return path


# ---------------------------------------------------------------------------------------- paths that a checkpoint names


def refused(tmp_path, loaded, *sources, capfd):
    """Return what eval and --resume say of a checkpoint that names these sources as its text."""
    run = changed(
        loaded,
        tmp_path / "run",
        corpus={**loaded.training["corpus"], "sources": [str(one) for one in sources], "sources_from_run": []},
    )
    said = []
    for command in (["eval", str(run)], ["cells", str(run)], ["train", "--resume", str(run)]):
        assert main(command) == 2
        captured = capfd.readouterr()
        assert captured.out == ""
        said.append(captured.err)
    return said


def test_a_path_in_a_checkpoint_is_no_way_to_another_file(tmp_path, loaded, capfd):
    (tmp_path / "other.txt").write_text(SECRET)
    for said in refused(tmp_path, loaded, tmp_path / "other.txt", capfd=capfd):
        assert "is not the text that the run was started with" in said and "secret" not in said.replace(
            "secret.txt", ""
        )


def test_a_note_on_a_file_that_a_checkpoint_names_is_not_told_before_it_is_known_to_be_the_runs(
    tmp_path, loaded, capfd
):
    texts = tmp_path / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text(SECRET)
    (texts / ".hidden").write_text(SECRET)
    assert not any("hidden" in said for said in refused(tmp_path, loaded, texts, capfd=capfd))


def open_nothing(monkeypatch):
    for module in (sources_module, folders, decoding):
        monkeypatch.setattr(module, "open_source", lambda path: pytest.fail(f"opened {path}"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_pipes_and_devices_that_a_checkpoint_names_are_not_opened(tmp_path, loaded, capfd, monkeypatch):
    os.mkfifo(tmp_path / "pipe.txt")
    open_nothing(monkeypatch)
    for source in (tmp_path / "pipe.txt", tmp_path / "p*.txt", "/dev/zero", "/dev/stdin"):
        for said in refused(tmp_path, loaded, source, capfd=capfd):
            assert "neither a file nor a folder" in said


def test_a_checkpoint_does_not_make_the_reader_wander(tmp_path, loaded, capfd, monkeypatch):
    open_nothing(monkeypatch)
    tree = tmp_path / "tree"
    (tree / "a").mkdir(parents=True)
    (tree / "a" / "x.txt").write_text("x")
    (tree / "circle").symlink_to(tree, target_is_directory=True)
    cases = {"**/*": "contains a link to a folder", "*/../*/*.txt": "contains ..", "**/**/*.txt": "** more than once"}
    for pattern, reason in cases.items():
        assert all(reason in said for said in refused(tmp_path, loaded, tree / pattern, capfd=capfd))
    monkeypatch.setattr(sources_module, "MAX_ENTRIES", 2)
    for sources in ([tree], [tree / "a", tree / "a", tree / "a"], [tree / "a" / "*", tree / "a", tree / "a" / "?.txt"]):
        assert all("more than 2 entries" in said for said in refused(tmp_path, loaded, *sources, capfd=capfd))
    if os.path.ismount("/proc"):
        monkeypatch.setattr(sources_module, "MAX_ENTRIES", 10**6)
        with pytest.raises(CorpusError, match="another file system|entries|cannot be read|not allowed to read"):
            find_texts({"corpus": {"sources": ["/"]}}, tmp_path)


def test_folders_and_patterns_of_a_checkpoint_are_found_again(tmp_path, monkeypatch):
    (tmp_path / "texts" / "deep").mkdir(parents=True)
    (tmp_path / "texts" / "deep" / "x.txt").write_text("x")
    (tmp_path / "[1].txt").write_text("x")
    monkeypatch.chdir(tmp_path)
    for source in ("texts", "texts/**/*.txt", "texts/*/x.txt", "t*/deep", "[1].txt"):
        assert find_texts({"corpus": {"sources": [source]}}, "run") == [source]
    for source in ("texts/*.txt", "gone/*.txt", "gone", "a\0b", "a\0*", "\udcff*"):
        with pytest.raises(CorpusError, match="is missing"):
            find_texts({"corpus": {"sources": [source]}}, "run")
    assert find_texts({"corpus": {"sources": ["texts"], "sources_from_run": ["../gone/*.txt"]}}, "run") == ["texts"]


@pytest.mark.parametrize(
    "record",
    [
        5,
        [],
        "x",
        {"sources": 5},
        {"sources": [5, None]},
        {"sources": ["text"], "characters": "many", "fingerprint": 1},
        {"sources": {"a": 1}, "sources_from_run": "x"},
    ],
)
def test_a_malformed_record_of_the_text_is_refused(tmp_path, loaded, capfd, record):
    run = changed(loaded, tmp_path / "run", corpus=record)
    (tmp_path / "text").write_text(SECRET)
    for command in (["eval", str(run)], ["cells", str(run)], ["train", "--resume", str(run)]):
        assert main(command) == 2
        assert re.search("Error: .*(does not name the text|is missing)", capfd.readouterr().err)


# --------------------------------------------------------------------------------------------- what a run's record says


@pytest.mark.parametrize(
    "name, value, words",
    [
        ("hidden_size", 9, "its options say --hidden-size 9, but its model has 8; start a new run from its weights"),
        ("cell", "gru", "its options say --cell gru, but its model has lstm; start a new run from its weights"),
        ("num_layers", 2, "its options say --num-layers 2, but its model has 1; start a new run from its weights"),
        (
            "embedding_size",
            3,
            "its options say --embedding-size 3, but its model has 64; start a new run from its weights",
        ),
        (
            "layer_norm",
            False,
            "its options say --layer-norm off, but its model has on; start a new run from its weights",
        ),
        (
            "dtype",
            "float64",
            "its options say --dtype float64, but its model has float32; start a new run from its weights",
        ),
        ("vocab", "bytes", "its options say --vocab bytes, but its model has chars; start a new run from its weights"),
    ],
)
def test_options_that_contradict_the_model_are_not_believed(folder, loaded, name, value, words):
    training = {**loaded.training, "config": {**loaded.training["config"], name: value}}
    with read_corpus([folder / text_of(folder)]) as corpus, pytest.raises(CheckpointError, match=re.escape(words)):
        plan_resume(dataclasses.replace(loaded, training=training), corpus)


@pytest.mark.parametrize(
    "name, value",
    [
        ("step", "3"),
        ("step", -1),
        ("step", True),
        ("step", 2**60),
        ("optimizer_steps", 1.5),
        ("history_stride", 0),
        ("elapsed_s", -1.0),
        ("smoothing", [1.0]),
        ("smoothing", "ab"),
        ("clipped", [2, 1]),
        ("clipped", "ab"),
        ("best", {"step": 1}),
        ("best", {"val_loss_nats": "low", "step": 1}),
        ("last", {"step": 1}),
        ("history", [1]),
        ("history", [{"step": []}]),
        ("validated", [5, 2]),
        ("validated", [0, 10**9]),
        ("logged_step", None),
        ("best", []),
    ],
)
def test_a_record_of_a_run_that_no_run_writes_is_refused(folder, loaded, name, value):
    with read_corpus([folder / text_of(folder)]) as corpus:
        plan_resume(
            dataclasses.replace(loaded, training={**loaded.training, "finished": False, "evaluated_step": 0}), corpus
        )
        with pytest.raises(CheckpointError, match="record of its training is incomplete or damaged .*" + name):
            plan_resume(
                dataclasses.replace(
                    loaded, training={**loaded.training, "finished": False, "evaluated_step": 0, name: value}
                ),
                corpus,
            )


@pytest.mark.parametrize(
    "best, step", [({"step": 2}, 2), ("x", 2), (None, "x"), ({"step": "x", "val_loss_nats": "y"}, "x")]
)
def test_a_sample_is_written_whatever_the_record_says(tmp_path, loaded, capfd, best, step):
    run = changed(loaded, tmp_path / "run", best=best, step=step)
    assert main(["sample", str(run), "--length", "3", "--seed", "1"]) == 0


def test_a_run_folder_with_links_in_it_is_not_written_through(tmp_path, loaded):
    for name in ("lock", "log.jsonl"):
        run = changed(loaded, tmp_path / f"run-{name}")
        precious = tmp_path / f"precious-{name}"
        precious.write_text("keep me")
        (run / name).symlink_to(precious)
        with pytest.raises(RunError, match="is not a regular file"):
            RunFolder.open(run)
        assert precious.read_text() == "keep me"
    fresh = tmp_path / "fresh"
    fresh.mkdir()
    (fresh / "log.jsonl").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunError, match="is not a regular file"):
        RunFolder.create(fresh)
    assert not (tmp_path / "elsewhere").exists() and not (fresh / "lock").exists()


# ---------------------------------------------------------------------------------------------------------------- bombs


@pytest.mark.parametrize(
    "content, words",
    [
        ("x = " + "[" * 50_000, "nested too deeply"),
        ("seed = 0x" + "f" * 5_000, "cannot have the value"),
        ("seed = " + "9" * 5_000, "is not TOML"),
        ("text = [" + "1," * 30_000 + "]", "cannot have the value"),
        ("a" * 200_000 + " = 1", "unknown option"),
        ("#" * 300_000, "longer than 262,144 bytes"),
        ("seed = '" + "9" * 20_000 + "'", "must be a whole number, got"),
    ],
)
def test_a_config_that_is_a_bomb_is_refused_in_a_sentence(tmp_path, capfd, content, words):
    (tmp_path / "c.toml").write_text(content)
    assert main(["train", "--config", str(tmp_path / "c.toml"), "text.txt"]) == 2
    said = capfd.readouterr().err
    assert words in said and said.count("\n") == 1 and len(said) < 5_000


@pytest.mark.skipif(not os.path.exists("/dev/zero"), reason="needs /dev/zero")
def test_a_config_without_end_is_refused(capfd):
    assert main(["train", "--config", "/dev/zero", "text.txt"]) == 2
    assert "longer than 262,144 bytes" in capfd.readouterr().err


@pytest.mark.slow
def test_a_compressed_text_is_streamed_and_asks_for_no_memory_of_its_own(tmp_path, monkeypatch):
    zstd = zstd_library()
    for name, compress in (("a.gz", gzip.compress), ("a.xz", lzma.compress), ("a.zst", zstd.compress)):
        (tmp_path / name).write_bytes(compress(b"abc" * (1 << 23)))
        tracemalloc.start()
        with read_corpus([tmp_path / name], mode="bytes") as corpus:
            assert corpus.characters == 3 << 23
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 12 << 20
    monkeypatch.setattr(sources_module, "MAX_XZ_BYTES", 1 << 24)
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 26}]
    (tmp_path / "b.xz").write_bytes(lzma.compress(b"ab", filters=filters))
    with pytest.raises(CorpusError, match="needs more than 16 MB of memory"):
        read_corpus([tmp_path / "b.xz"])
    window = {zstd.CompressionParameter.window_log: 29, zstd.CompressionParameter.enable_long_distance_matching: 1}
    machine = zstd.ZstdCompressor(options=window)  # as zstd --long=29 does; it does not know how little there is
    (tmp_path / "b.zst").write_bytes(machine.compress(b"ab") + machine.flush())
    with pytest.raises(CorpusError, match="needs more than 256 MB of memory.* again with zstd -19 or less"):
        read_corpus([tmp_path / "b.zst"])
    skippable = b"\x50\x2a\x4d\x18\4\0\0\0info"
    (tmp_path / "c.zst").write_bytes(skippable + zstd.compress(b"one ") + skippable + zstd.compress(b"two") + skippable)
    with read_corpus([tmp_path / "c.zst"]) as corpus:
        assert corpus.text(0, 9) == "one two"
    (tmp_path / "c.xz").write_bytes(lzma.compress(b"one ") + bytes(8) + lzma.compress(b"two") + bytes(4))
    with read_corpus([tmp_path / "c.xz"]) as corpus:
        assert corpus.text(0, 9) == "one two"


_BOMBS = r"""
import json, resource, sys
from pathlib import Path
from charrnn.runs.checkpoint import load_checkpoint, read_metadata
from charrnn.errors import CheckpointError

path, metadata = Path(sys.argv[1]), json.loads(sys.argv[2])
def model(**changes): return json.dumps(metadata | {"model": metadata["model"] | changes})
def file(inner=json.dumps(metadata), tensors=b"", length=None, data=b""):
    header = b'{"__metadata__":{"charrnn":' + json.dumps(inner).encode() + b"}" + tensors + b"}"
    return (len(header) if length is None else length).to_bytes(8, "little") + header + data
def tensor(shape, offsets, name="param/output.bias"):
    return f',"{name}":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}'.encode()
wide = json.dumps(metadata)[:-1] + ',"x":['
bombs = {
    "a header of 8 EB": file(length=2**63 - 1), "a header of 16 MB that is not there": file(length=(16 << 20) - 1),
    "a huge tensor": file(tensors=tensor([2**62], [0, 2**64])),
    "overlapping tensors": file(tensors=tensor([2], [0, 8]) + tensor([2], [0, 8], "param/a"), data=bytes(8)),
    "a key twice": file(tensors=tensor([2], [0, 8]) * 2, data=bytes(8)),
    "a huge model": file(model(hidden_size=2**31 - 1, num_layers=1000)),
    "many layers": file(model(num_layers=2**31 - 1)), "deep": file("[" * 4_000_000),
    "deep outside": file(tensors=b',"a":' + b'{"a":' * 2_000_000),
    "wide": file(wide + "[]," * 5_000_000 + "0]}"), "wide objects": file(wide + '{"":0},' * 2_000_000 + "0]}"),
    "long numbers": file(wide + "9" * 10_000_000 + "]}"), "not a number": file(wide + "NaN]}"),
    "infinity": file(wide + "-Infinity]}"),
    "floats": file(wide + "1e9," * 3_900_000 + "0]}"), "strings": file(wide + "0," * 8_000_000 + "0]}"),
}
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)
for name, content in bombs.items():
    path.write_bytes(content)
    for read in (load_checkpoint, read_metadata):
        try:
            read(path)
        except CheckpointError as error:
            assert len(str(error)) < 500, name
        else:
            raise AssertionError(name + " was loaded")
print(len(bombs))
"""


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="needs Linux")
def test_bombs_for_checkpoints_go_off_in_no_memory(tmp_path):
    metadata = {
        "format_version": 1,
        "model": {
            "cell": "rnn",
            "hidden_size": 1,
            "num_layers": 1,
            "embedding_size": 0,
            "tied": False,
            "dtype": "float32",
        },
        "vocabulary": {"mode": "chars", "symbols": ["a", "b"]},
        "training": {},
    }
    done = subprocess.run(
        [sys.executable, "-c", _BOMBS, str(tmp_path / "bomb.safetensors"), json.dumps(metadata)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout, done.stderr) == ("16\n", "")


# ------------------------------------------------------------------------------------------------------------ terminals


class Terminal(io.TextIOWrapper):
    """What is written to it, as from a terminal that shows UTF-8."""

    def __init__(self):
        super().__init__(io.BytesIO(), "utf-8", errors="backslashreplace", write_through=True)

    def isatty(self):
        return True

    def seen(self):
        return OWN.sub("", self.buffer.getvalue().decode("utf-8"))


def commands(folder):
    run, text = os.path.join("checkpoints", run_name()), text_of(folder)
    (folder / "evil.toml").write_text(f'"{"".join(f"{chr(92)}u{ord(one):04x}" for one in EVIL)}" = 1\n')
    (folder / "short.txt").write_text(EVIL * 2 + "\u4e00")
    signal = ("--signal", f"{EVIL}=say")
    return [
        (
            [
                "train",
                text,
                *TINY,
                "--steps",
                "4",
                "--sample-every",
                "2",
                "-o",
                "checkpoints/again" + EVIL.replace("/", ""),
            ],
            0,
        ),
        (["train", text, *TINY, "--steps", "4", "-o", run], 2),
        (["train", "gone" + EVIL], 2),
        (["train", text, "--" + EVIL], 2),
        ([EVIL], 2),
        (["train", text, "--cell", EVIL], 2),
        (["train", "--config", "evil.toml"], 2),
        (["train", "--config", EVIL, text], 2),
        (["train", "--resume", run], 2),
        (["train", text, "--encoding", EVIL], 2),
        (["sample", run, "--prime", EVIL, "--length", "200", "--seed", "1"], 0),
        (["sample", run, "--prime", "\x1b\x9c"], 2),
        (["sample", run, "--json", "--prime", EVIL, "--length", "20"], 0),
        (["sample", run, "--stop", "\x9c", "--length", "20"], 2),
        (["sample"], 0),
        (["sample", run, "--clamp", EVIL], 2),
        (["sample", run, "--prime-file", EVIL], 2),
        (["sample", EVIL], 2),
        (["eval", run], 0),
        (["eval", run, text], 0),
        (["eval", run, text, "--json"], 0),
        (["eval", run, "short.txt"], 2),
        (["eval", "--split", EVIL], 2),
        (["info", run], 0),
        (["info", run, "--json"], 0),
        (["info"], 0),
        (["info", text], 2),
        (["cells", run, *signal, "--highlight", "--find", EVIL, "--characters", "4000"], 2),
        (
            [
                "cells",
                run,
                text,
                *signal,
                "--unit",
                "0:1",
                "--characters",
                "6000",
                "--gates",
                "--svg",
                f"a{EVIL.replace('/', '')}.svg",
            ],
            0,
        ),
        (["cells", run, text, *signal, "--csv", "--characters", "6000", "--html", f"a{EVIL.replace('/', '')}.html"], 0),
        (["cells", run, text, *signal, "--json", "--characters", "6000"], 0),
        (["cells", run, text, "--signal", f"a=({EVIL}"], 2),
        (["cells", run, text, "--html", f"{EVIL}/x.html"], 2),
        (["corpus", "list"], 0),
        (["corpus", "build", EVIL], 2),
        (["corpus", "build", "stdlib", "--from", EVIL], 2),
        (["bench", EVIL], 2),
    ]


@pytest.mark.slow
def test_no_command_sends_a_strangers_sequence_to_a_terminal(folder, monkeypatch):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    told = 0
    for arguments, code in commands(folder):
        out, err = Terminal(), Terminal()
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(sys, "stderr", err)
        ended = main(arguments)
        for stream in (out, err):
            odd = {
                symbol
                for symbol in stream.seen()
                if symbol not in "\n\t"
                and (ord(symbol) < 32 or 0x7F <= ord(symbol) < 0xA0 or symbol in "\u202e\u2066\u2028")
            }
            assert not odd, (arguments, odd, stream.seen()[:500])
        assert ended == code, (arguments, ended, err.seen()[-500:])
        told += "52;c;aGk" in out.seen() + err.seen()
    assert told > 20  # what is neutralised is still seen


def test_a_sample_goes_into_a_pipe_as_it_is(folder, capfdbinary, monkeypatch):
    monkeypatch.chdir(folder)
    assert (
        main(["sample", os.path.join("checkpoints", run_name()), "--prime", EVIL, "--length", "5", "--seed", "1"]) == 0
    )
    captured = capfdbinary.readouterr()
    assert captured.out.startswith(EVIL.encode()) and b"\x1b" not in captured.err


@pytest.mark.browser
@pytest.mark.skipif(find_chromium() is None, reason="needs Chromium (apt-get install chromium)")
def test_the_page_of_a_hostile_text_runs_nothing_of_it(tmp_path, monkeypatch):
    attack = (
        "</script><script>document.title='run'</script><img src=x onerror=\"document.title='run'\">"
        "<!-- ]]> &lt;\u2028\x1b[31m\n"
    )
    text = "</script><script>document.title='run'</script><img src=x onerror=alert(1)>.txt"  # in folders with odd names
    (tmp_path / text).parent.mkdir(parents=True)
    (tmp_path / text).write_text((attack + 'say "x"\n') * 60)
    monkeypatch.chdir(tmp_path)
    content = (tmp_path / text).read_bytes()
    with Chromium() as browser:
        for vocab, more in (("chars", b""), ("bytes", b"\xff\xfe\x00\xed\xa0\x80</script>" * 40)):
            (tmp_path / text).write_bytes(content + more)
            run = f"<b onclick=alert(1)>{vocab}"
            assert main(["train", text, *TINY, "--vocab", vocab, "--steps", "1", "-q", "-o", run]) == 0
            assert (
                main(
                    [
                        "cells",
                        run,
                        text,
                        "--signal",
                        "<img/onerror/alert(1)>=script",
                        "--html",
                        "page.html",
                        "--unit",
                        "0:0",
                        "--svg",
                        "page.svg",
                        "--characters",
                        "4000",
                    ]
                )
                == 0
            )
            page = browser.open(tmp_path / "page.html")
            page.wait("document.documentElement.dataset.ready === 'yes'")
            assert page.run("document.title").startswith("Cells of <b onclick")
            assert page.run("document.querySelectorAll('img, b[onclick]').length") == 0
            assert page.run("document.querySelector('#text').textContent").startswith(
                "</script><script>document.title='run'"
            )
            assert page.troubles() == []
            drawing = browser.open(tmp_path / "page.svg")
            assert drawing.run("document.documentElement.tagName") == "svg"
            assert (
                drawing.run("document.querySelectorAll('script, img, parsererror').length") == 0
                and drawing.troubles() == []
            )


# ----------------------------------------------------------------------------------------------------------------- code


def test_no_module_can_run_what_a_file_holds():
    forbidden = {"pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml", "imp", "code", "runpy"}
    calls = {"eval", "exec", "compile", "__import__", "fromfile", "loadtxt", "genfromtxt", "memmap"}
    for path in sorted((ROOT / "charrnn").rglob("*.py")):
        where = path.relative_to(ROOT / "charrnn").as_posix()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
            known = (
                {"pickle"} if where == "kernels/compiled.py" else set()
            )  # the code that it wrote, sealed and the user's own
            assert not {name.partition(".")[0] for name in names} & (forbidden - known), where
            if not isinstance(node, ast.Call):
                continue
            function = node.func
            if isinstance(function, ast.Name):
                assert function.id not in calls, (where, node.lineno)
            elif isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
                named = f"{function.value.id}.{function.attr}"
                assert named not in {"np.load", "np.fromfile", "os.system", "os.popen"}, (where, node.lineno)
                assert not any(one.arg == "allow_pickle" or one.arg == "shell" for one in node.keywords), (
                    where,
                    node.lineno,
                )
