"""charrnn sample: what reaches stdout, what reaches stderr, and what is refused.

A scripted model, which can write only one given text, shows the handling of text; the tests at the end run the whole
command on a real tiny checkpoint.
"""

import base64
import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from click.testing import CliRunner

import charrnn
from charrnn.cli.drawing import settings_of
from charrnn.cli.escapes import read_escapes
from charrnn.cli.sample import command
from charrnn.cli.samples import Output, SampleTexts
from charrnn.cli.words import neutralise
from charrnn.errors import CharRNNError, ConfigError, CorpusError, StorageError, VocabularyError
from charrnn.sampling.priming import start_ids
from charrnn.sampling.sampler import Sampler, Settings
from charrnn.text.vocabulary import Vocabulary

BYTES = Vocabulary("bytes", tuple(range(256)))
PLAIN = Settings()


def chars(text):
    return Vocabulary("chars", tuple(sorted(set(text))))


def samples_of(vocabulary, texts, prime=(), length=None, stop=(), settings=PLAIN, seed=7, **options):
    """Return Samples whose model can only write `texts` (ids), one a stream."""
    length = length or max(map(len, texts))

    class ScriptedWorkspace:
        def __init__(self, model, batch_size, seq_length, training):
            self.batch_size, self.position = batch_size, 0

        def reset_carry(self):
            pass

        def get_carry(self):
            return {}

        def set_carry(self, carry):
            pass

        def logits(self, x):
            logits = np.full((len(x), self.batch_size, vocabulary.size), -1e4)
            if self.batch_size == len(texts):
                for j, text in enumerate(texts):
                    logits[:, j, text[self.position % len(text)]] = 0
                self.position += 1
            return logits

    model = SimpleNamespace(config=SimpleNamespace(vocab_size=vocabulary.size))
    sampler = Sampler(model, settings, seed=seed, num_samples=len(texts), make_workspace=ScriptedWorkspace)
    sampler.prime(prime if len(prime) else [0])
    return SampleTexts(sampler, vocabulary, prime, length, list(stop), seed, "run/best.safetensors", **options)


class Stream:
    """A stand-in for sys.stdout that keeps each write apart."""

    def __init__(self, terminal=False, encoding="utf-8", error=None):
        self.terminal, self.encoding, self.error = terminal, encoding, error
        self.writes = []
        self.buffer = self

    def isatty(self):
        return self.terminal

    def write(self, data):
        if self.error:
            raise self.error
        self.writes.append(bytes(data))

    def flush(self):
        pass

    @property
    def data(self):
        return b"".join(self.writes)


def written(samples, terminal=False, hide_prime=False, separator=None):
    stream = Stream(terminal)
    samples.write_text(Output(stream), hide_prime, separator)
    return stream.data.decode("utf-8", "surrogateescape")


def objects(samples):
    stream = Stream()
    samples.write_json(Output(stream))
    return [json.loads(line) for line in stream.data.decode().splitlines()]


@pytest.fixture(autouse=True)
def a_terminal_with_colours(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


# ---- text -------------------------------------------------------------------------------------------------------


def test_one_sample_goes_to_a_pipe_with_the_prime_before_it_and_nothing_added():
    vocabulary = chars("abcdef\n")
    assert written(samples_of(vocabulary, [vocabulary.encode("def")], vocabulary.encode("abc"))) == "abcdef"
    assert written(samples_of(vocabulary, [vocabulary.encode("def\n")])) == "def\n"


def test_the_length_counts_new_characters_only():
    vocabulary = chars("abc")
    samples = samples_of(vocabulary, [vocabulary.encode("c")], vocabulary.encode("ab" * 50), length=130)
    assert written(samples) == "ab" * 50 + "c" * 130


def test_hide_prime_writes_the_new_characters_only():
    vocabulary = chars("abcdef")
    samples = samples_of(vocabulary, [vocabulary.encode("def")], vocabulary.encode("abc"))
    assert written(samples, hide_prime=True) == "def"


def test_a_terminal_gets_a_dim_prime_and_a_newline_at_the_end():
    vocabulary = chars("abcdef\n")
    samples = samples_of(vocabulary, [vocabulary.encode("def")], vocabulary.encode("abc"))
    assert written(samples, terminal=True) == "\x1b[2mabc\x1b[0mdef\n"
    samples = samples_of(vocabulary, [vocabulary.encode("def\n")], vocabulary.encode("abc"))
    assert written(samples, terminal=True) == "\x1b[2mabc\x1b[0mdef\n"


@pytest.mark.parametrize(("name", "value"), [("NO_COLOR", "1"), ("TERM", "dumb")])
def test_a_terminal_without_colours_gets_no_escape_sequence(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    vocabulary = chars("abcdef")
    samples = samples_of(vocabulary, [vocabulary.encode("def")], vocabulary.encode("abc"))
    assert written(samples, terminal=True) == "abcdef\n"


def test_the_text_is_written_as_it_is_made():
    vocabulary = chars("ab")
    stream = Stream()
    samples_of(vocabulary, [vocabulary.encode("ab")], length=1000).write_text(Output(stream), False)
    assert stream.data == b"ab" * 500
    assert max(map(len, stream.writes)) <= 64


def test_line_ends_stay_as_they_are_in_a_pipe():
    vocabulary = chars("ab\r\n")
    assert written(samples_of(vocabulary, [vocabulary.encode("a\r\nb\r\n")])) == "a\r\nb\r\n"


def test_several_samples_come_in_order_each_after_a_line_of_its_own_on_a_terminal():
    vocabulary = chars("abc")
    samples = lambda: samples_of(vocabulary, [[0] * 3, [1] * 3], vocabulary.encode("c"))  # noqa: E731
    of_a_terminal = written(samples(), terminal=True).replace("\x1b[2m", "").replace("\x1b[0m", "")
    assert of_a_terminal == "==> sample 1 of 2 <==\ncaaa\n\n==> sample 2 of 2 <==\ncbbb\n"
    assert written(samples()) == "caaa\ncbbb\n"


def test_a_pipe_gets_as_many_lines_as_samples_that_stop_at_a_newline():
    vocabulary = chars("ab\n")
    texts = [vocabulary.encode(text) for text in ("ab\n", "\na", "b\n")]
    assert written(samples_of(vocabulary, texts, stop=[vocabulary.encode("\n")])) == "ab\n\nb\n"
    assert written(samples_of(vocabulary, texts[::2], length=3)) == "ab\nb\nb\n"


def test_a_separator_and_nothing_else_stands_between_samples():
    vocabulary = chars("ab\n")
    texts = [vocabulary.encode(text) for text in ("ab", "b\n", "ba")]
    assert written(samples_of(vocabulary, texts), separator="|\0") == "ab|\0b\n|\0ba"
    assert written(samples_of(vocabulary, texts), separator="") == "abb\nba"
    assert written(samples_of(vocabulary, texts), separator="-\n", terminal=True) == "ab-\nb\n-\nba\n"
    assert written(samples_of(vocabulary, texts[:1]), separator="|") == "ab"


def test_newlines_and_separators_between_samples_of_bytes_are_in_their_encoding():
    def texts():
        data = [as_ids(text.encode("utf-16-le")) for text in ("한", "a\n")]
        return samples_of(BYTES, data, length=4, encoding="utf-16-le")

    stream = Stream()
    texts().write_text(Output(stream), False)
    assert stream.data.decode("utf-16-le") == "한한\na\n"
    stream = Stream()
    texts().write_text(Output(stream), False, "é".encode("utf-16-le"))
    assert stream.data.decode("utf-16-le") == "한한éa\n"
    assert written(texts(), separator="é\n".encode("utf-16-le"), terminal=True) == "한한é\na\n"


def test_samples_that_stop_early_or_late_keep_their_order_and_their_text():
    vocabulary = chars("abc|")
    encode = vocabulary.encode
    texts = [encode("a" * 150 + "|"), encode("b|" * 100), encode("c" * 70 + "|")]
    output = written(samples_of(vocabulary, texts, length=200, stop=[encode("|")]))
    assert output.splitlines() == ["a" * 150, "b", "c" * 70]


# ---- bytes ------------------------------------------------------------------------------------------------------


def as_ids(data):
    return list(data)


@pytest.mark.parametrize("length", range(1, 11))
def test_a_character_cut_by_the_length_is_never_half_printed(length):
    whole = "aé€😀".encode()
    text = written(samples_of(BYTES, [as_ids(whole)], length=length), terminal=True)
    assert text == whole[:length].decode("utf-8", "replace") + "\n"


def test_a_character_that_spans_blocks_comes_out_whole():
    data = ("x" * 63 + "😀" + "y" * 59 + "€").encode()
    assert written(samples_of(BYTES, [as_ids(data)])) == data.decode()


BROKEN = b"a\xff\x80b\xc3b"


def test_a_pipe_gets_the_bytes_as_they_are_and_a_terminal_the_text_that_they_are():
    samples = lambda **options: samples_of(BYTES, [as_ids(BROKEN)], as_ids(b"\xe9"), **options)  # noqa: E731
    stream = Stream()
    samples().write_text(Output(stream), False)
    assert stream.data == b"\xe9" + BROKEN
    assert written(samples(), terminal=True, hide_prime=True) == "\ufffd" + BROKEN.decode("utf-8", "replace") + "\n"
    assert written(samples(encoding="latin-1"), terminal=True) == "\x1b[2mé\x1b[0maÿ\\x80bÃb\n"


def test_several_samples_of_bytes_each_end_with_a_newline():
    stream = Stream()
    samples_of(BYTES, [as_ids(b"a\xff\n"), as_ids(b"b\xfe")], length=3).write_text(Output(stream), False)
    assert stream.data == b"a\xff\nb\xfeb\n"


def test_json_has_the_bytes_in_base64_beside_the_text():
    (record,) = objects(samples_of(BYTES, [as_ids(BROKEN)], as_ids(b"\xe9"), encoding="latin-1"))
    assert (record["prime"], record["text"]) == ("é", BROKEN.decode("latin-1"))
    assert base64.b64decode(record["prime_base64"]) == b"\xe9" and base64.b64decode(record["text_base64"]) == BROKEN
    assert "text_base64" not in objects(samples_of(chars("ab"), [[0, 1]]))[0]


@pytest.mark.parametrize("encoding", ["cp949", "gb18030", "utf-16-le", "shift_jis", "iso2022_kr"])
def test_a_character_begun_by_the_prime_is_completed_in_any_encoding(encoding):
    data = "한한".encode(encoding) if encoding != "shift_jis" else "日日".encode(encoding)
    for cut in range(len(data)):
        samples = samples_of(BYTES, [as_ids(data[cut:])], as_ids(data[:cut]), encoding=encoding)
        (record,) = objects(samples)
        assert record["prime"] + record["text"] == data.decode(encoding)


@pytest.mark.parametrize("cut", range(1, 4))
def test_a_character_begun_by_the_prime_is_completed_by_the_model(cut):
    data = "é😀".encode()
    prime, rest = data[: 2 + cut], data[2 + cut :]
    samples = lambda: samples_of(BYTES, [as_ids(rest + b"!")], as_ids(prime))  # noqa: E731
    assert written(samples()) == "é😀!"
    assert written(samples(), terminal=True) == "\x1b[2mé\x1b[0m😀!\n"
    assert written(samples(), terminal=True, hide_prime=True) == "😀!\n"


def test_a_stop_in_bytes_may_be_a_character_of_several():
    samples = samples_of(BYTES, [as_ids("añ€z".encode())], stop=[as_ids("€".encode())])
    assert written(samples) == "añ"


# ---- control characters -----------------------------------------------------------------------------------------


def test_control_characters_are_made_visible_but_for_newline_and_tab():
    assert neutralise("a\tb\nc") == "a\tb\nc"
    assert neutralise("\x1b[31mred\x07\r\x7f\x9b2J\u202e") == "␛[31mred␇␍␡\\x9b2J\\u202e"
    assert neutralise("é€😀ש") == "é€😀ש"


def test_nothing_that_a_terminal_obeys_survives():
    every = "".join(map(chr, range(0x3000)))
    left = neutralise(every)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", left)
    assert all(c in left for c in every if c.isprintable())


def test_escape_sequences_reach_a_pipe_raw_and_a_terminal_neutralised():
    text = "\x1b]0;title\x07\x1b[2J"
    vocabulary = chars(text)
    samples = lambda: samples_of(vocabulary, [vocabulary.encode(text)], vocabulary.encode("\x1b["))  # noqa: E731
    assert written(samples()) == "\x1b[" + text
    assert written(samples(), terminal=True) == "\x1b[2m␛[\x1b[0m␛]0;title␇␛[2J\n"


def test_a_terminal_that_cannot_show_a_character_gets_its_escape():
    stream = Stream(terminal=True, encoding="ascii")
    Output(stream).write("é\x1b")
    assert stream.data == b"\\xe9\\u241b"


def test_a_full_disk_behind_stdout_is_one_clear_error():
    output = Output(Stream(error=OSError(28, "No space left on device")))
    with pytest.raises(StorageError, match="cannot write the sample to stdout: no space left"):
        output.write("a")


# ---- JSON -------------------------------------------------------------------------------------------------------


def test_json_is_one_object_a_sample_with_what_is_needed_to_have_it_again():
    vocabulary = chars("abc|")
    encode = vocabulary.encode
    samples = samples_of(vocabulary, [encode("ab|"), encode("bb")], encode("c"), length=90, stop=[encode("|")],
                         settings=Settings(0.5, top_k=3))  # fmt: skip
    first, second = objects(samples)
    assert first == {
        "sample": 0, "prime": "c", "text": "ab", "stop_reason": "stop", "characters_drawn": 3, "loss_nats": 0.0,
        "seed": 7, "temperature": 0.5, "top_k": 3, "top_p": 1.0, "min_p": 0.0, "checkpoint": "run/best.safetensors",
    }  # fmt: skip
    assert (second["sample"], second["text"], second["stop_reason"]) == (1, "b" * 90, "length")


def test_json_comes_in_order_also_when_a_later_sample_ends_first():
    texts = [[0] * 200, [1, 2], [0, 0, 2]]
    samples = samples_of(chars("abc"), texts, length=200, stop=[[2]])
    assert [(o["sample"], len(o["text"])) for o in objects(samples)] == [(0, 200), (1, 1), (2, 2)]


def test_json_holds_control_characters_escaped():
    samples = samples_of(chars("\x1b\x9b\n"), [[0, 1, 2]])
    stream = Stream()
    samples.write_json(Output(stream))
    assert re.fullmatch(rb"[\x20-\x7e]*\n", stream.data)


# ---- options ----------------------------------------------------------------------------------------------------


def refusal(*args, **kwargs):
    result = CliRunner().invoke(command, args, **kwargs)
    assert isinstance(result.exception, CharRNNError), result.output
    assert result.stdout == "" and "\n" not in str(result.exception)
    return result.exception


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--temperature", "-0.5"], ["--temperature must", "-0.5"]),
        (["--temperature", "nan"], ["--temperature must", "nan"]),
        (["--top-k", "0"], ["--top-k must", "0"]),
        (["--top-p", "0"], ["--top-p must", "0"]),
        (["--top-p", "1.5"], ["--top-p must", "1.5"]),
        (["--min-p", "2"], ["--min-p must", "2"]),
        (["--length", "0"], ["--length", "0"]),
        (["--num-samples", "0"], ["--num-samples", "0"]),
        (["--num-samples", "9" * 30], ["--num-samples", "100,000", "9" * 30]),
        (["--seed", "-1"], ["--seed", "-1"]),
        (["--threads", "0"], ["--threads", "0"]),
        (["--stop", ""], ["--stop", "at least one character"]),
        (["--greedy", "--temperature", "0.8"], ["--greedy", "--temperature 0.8"]),
        (["--greedy", "--top-k", "5"], ["--greedy", "--top-k 5"]),
        (["--temperature", "0", "--top-p", "0.5"], ["--temperature 0", "--top-p 0.5"]),
        (["--prime", "a", "--prime-file", "b"], ["--prime and --prime-file"]),
    ],
)
def test_a_nonsense_or_contradictory_option_is_refused_in_one_sentence(args, words):
    error = refusal(*args)
    assert isinstance(error, ConfigError)
    assert all(word in str(error) for word in words), error


def test_greedy_and_temperature_zero_are_the_same_and_agree():
    plain = {"temperature": 1.0, "top_k": None, "top_p": 1.0, "min_p": 0.0, "greedy": False}
    greedy = Settings(temperature=0)
    assert settings_of({"greedy"}, plain | {"greedy": True}) == greedy
    assert settings_of({"greedy", "temperature"}, plain | {"greedy": True, "temperature": 0.0}) == greedy
    assert settings_of({"temperature"}, plain | {"temperature": 0.0}) == greedy


def test_a_prime_file_that_cannot_be_read_is_named(tmp_path):
    error = refusal("--prime-file", str(tmp_path / "none.txt"))
    assert isinstance(error, CorpusError) and "none.txt" in str(error)


def test_an_unprimed_text_starts_after_a_newline_where_there_is_one():
    vocabulary = chars("ab\n")
    assert vocabulary.decode(start_ids(vocabulary)) == "\n"
    assert len(start_ids(chars("ab"))) == 0


def test_the_help_names_every_default_and_an_example():
    output = " ".join(CliRunner().invoke(command, ["--help"], prog_name="charrnn sample").output.split())
    for words in ("Example: charrnn sample", "default: 1000", "default: 1.0", "without the prime"):
        assert words in output


# ---- the whole command on a real checkpoint ---------------------------------------------------------------------

TEXT = "\x1b\n abcdefghijklmnopqrstuvwxyzé"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Return a folder with two runs under checkpoints/: old, of bytes, and new, of characters."""
    from charrnn.model.parameters import Model
    from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
    from charrnn.spec import ModelConfig

    folder = tmp_path_factory.mktemp("sample")
    for name, vocabulary in (("old", BYTES), ("new", chars(TEXT))):
        (folder / "checkpoints" / name).mkdir(parents=True)
        config = ModelConfig("lstm", vocab_size=vocabulary.size, hidden_size=5, num_layers=2)
        parameters = Model.initialise(config, seed=1).get_parameters()
        path = folder / "checkpoints" / name / "best.safetensors"
        save_checkpoint(path, Checkpoint(config.to_dict(), vocabulary, parameters, {}, {}, {}))
    os.utime(folder / "checkpoints" / "old" / "best.safetensors", (1, 1))
    return folder


@pytest.fixture
def invoke(folder, monkeypatch):
    monkeypatch.chdir(folder)
    return lambda *args, **kwargs: CliRunner().invoke(command, [*map(str, args)], **kwargs)


def test_without_a_checkpoint_the_newest_run_is_taken_and_named_on_stderr(invoke):
    result = invoke("--length", 20, "--seed", 1)
    assert result.exit_code == 0
    assert "checkpoint checkpoints/new/best.safetensors" in result.stderr
    assert len(result.stdout) == 20 and set(result.stdout) <= set(TEXT)


def test_the_distribution_of_the_next_character_is_shown_and_drawn(invoke, folder):
    result = invoke("--prime", "ab", "--distribution", "--svg", folder / "d.svg")
    assert result.exit_code == 0 and "seed" not in result.stderr and "wrote " in result.stderr
    first, _, heads, *rows = result.stdout.splitlines()
    assert (
        first == 'The next character after "ab"'
        and heads.split() == "temperature 0.5 temperature 1 temperature 2".split()
    )
    assert rows[-2].startswith("18 more") and rows[-1].split()[2::2] == ["bits"] * 3
    shown = json.loads(invoke("--prime", "ab", "--distribution", "--json").stdout)
    assert {one["symbol"] for one in shown["distribution"]} == set(TEXT) and shown["prime"] == "ab"
    for t in ("0.5", "1", "2"):
        assert sum(one["probability"][t] for one in shown["distribution"]) == pytest.approx(1)
    likeliest = shown["distribution"][0]["probability"]
    assert likeliest["0.5"] > likeliest["1"] > likeliest["2"]
    text = (folder / "d.svg").read_text(encoding="utf-8")
    assert all(f">temperature {t}<" in text for t in ("0.5", "1", "2")) and text.count("<polygon") == 30
    assert invoke("checkpoints/old", "--distribution", "--json").exit_code == 0  # of bytes


@pytest.mark.parametrize(
    "arguments, words",
    [
        (("--distribution", "--temperature", 2), "leave out --temperature"),
        (("--distribution", "--num-samples", 2), "leave out --num-samples"),
        (("--svg", "a.svg"), "add --distribution"),
    ],
)
def test_options_that_a_distribution_does_not_take_are_refused(invoke, arguments, words):
    with pytest.raises(ConfigError, match=words):
        invoke(*arguments, catch_exceptions=False)


def test_a_file_and_its_run_folder_are_the_same_checkpoint(invoke):
    file = invoke("checkpoints/new/best.safetensors", "--length", 20, "--seed", 1)
    folder = invoke("checkpoints/new", "--length", 20, "--seed", 1)
    assert file.stdout == folder.stdout == invoke("--length", 20, "--seed", 1).stdout
    assert "checkpoint" not in file.stderr and "checkpoints/new/best.safetensors" in folder.stderr


def test_the_seed_that_was_drawn_is_named_and_gives_the_text_again(invoke):
    first = invoke("--length", 200)
    seed = re.search(r"--seed (\d+)", first.stderr)[1]
    assert invoke("--length", 200, "--seed", seed).stdout_bytes == first.stdout_bytes
    assert invoke("--length", 200).stdout_bytes != first.stdout_bytes
    assert "seed" not in invoke("--length", 5, "--seed", 3).stderr
    assert "seed" not in invoke("--length", 5, "--greedy").stderr


def test_threads_do_not_change_the_text_and_are_given_back(invoke):
    from charrnn.kernels.threads import num_threads

    before = num_threads()
    common = ("--length", 100, "--seed", 1, "--num-samples", 3)
    texts = {invoke(*common, *threads).stdout_bytes for threads in ((), ("--threads", 1), ("--threads", 2))}
    assert len(texts) == 1
    assert num_threads() == before


def test_the_prime_comes_from_the_argument_a_file_or_stdin(invoke, tmp_path):
    (tmp_path / "prime.txt").write_bytes(b"\xef\xbb\xbfone two\n")
    by_argument = invoke("--length", 50, "--seed", 1, "--prime", "one two\n").stdout
    assert by_argument.startswith("one two\n") and len(by_argument) == 58
    assert invoke("--length", 50, "--seed", 1, "--prime-file", tmp_path / "prime.txt").stdout == by_argument
    assert invoke("--length", 50, "--seed", 1, "--prime-file", "-", input="one two\n").stdout == by_argument
    hidden = invoke("--length", 50, "--seed", 1, "--prime", "one two\n", "--hide-prime").stdout
    assert hidden == by_argument.removeprefix("one two\n")


def test_an_empty_prime_is_no_prime(invoke):
    assert invoke("--length", 50, "--seed", 1, "--prime", "").stdout == invoke("--length", 50, "--seed", 1).stdout


@pytest.mark.parametrize("option", ["--prime", "--stop"])
def test_an_unknown_character_is_named_with_its_offset_and_remedy(invoke, option):
    error = invoke(option, "café Ü", "--length", 5).exception
    assert isinstance(error, VocabularyError)
    assert str(error).startswith(f"{option}: character 'Ü' at offset 5")


def test_a_prime_file_in_another_encoding_is_named_with_its_offset_and_read_when_told(invoke, tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9")
    asked = ("--prime-file", tmp_path / "latin.txt", "--length", 5, "--seed", 1)
    error = invoke(*asked).exception
    assert isinstance(
        error, VocabularyError
    ) and "0xe9 at offset 3; it seems to be CP1252, read it with --encoding cp1252" in str(error)
    assert invoke(*asked, "--encoding", "latin-1").stdout.startswith("café")
    (tmp_path / "latin.txt").write_bytes("café".encode("utf-16"))
    assert invoke(*asked, "--encoding", "utf-16").stdout.startswith("café")
    assert "is unknown: try latin-1" in str(invoke(*asked, "--encoding", "latn").exception)


@pytest.mark.parametrize(
    "content, said",
    [
        ("café".encode("utf-16-le") * 40, "UTF-16-LE without a byte-order mark: read it with --encoding utf-16-le"),
        ("café".encode("utf-16"), "UTF-16, according to its byte-order mark: read it with --encoding utf-16"),
        (b"%PDF-1.7\n\xe2\xe3\n", "convert it to text with: pdftotext"),
        (bytes(range(32)) * 9, "name a text file, or write the prime with --prime"),
    ],
)
def test_what_a_prime_file_is_that_is_no_text_is_told_as_of_any_text(invoke, tmp_path, content, said):
    (tmp_path / "prime.bin").write_bytes(content)
    assert said in str(invoke("--prime-file", tmp_path / "prime.bin").exception)


def test_a_prime_file_is_read_in_the_encoding_of_the_run(invoke, folder, tmp_path):
    from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint

    checkpoint = load_checkpoint(folder / "checkpoints" / "new" / "best.safetensors")
    training = {"config": {"encoding": "cp1252"}}
    save_checkpoint(tmp_path / "best.safetensors", dataclasses.replace(checkpoint, training=training))
    (tmp_path / "prime.txt").write_bytes("café".encode("cp1252"))
    assert invoke(tmp_path, "--prime-file", tmp_path / "prime.txt", "--length", 5).stdout.startswith("café")
    (tmp_path / "prime.txt").write_bytes("cafééé".encode())
    error = invoke(tmp_path, "--prime-file", tmp_path / "prime.txt").exception
    assert str(error).endswith("prime.txt is valid UTF-8 but is read as cp1252; read it with --encoding utf-8")
    asked = ("--prime-file", tmp_path / "prime.txt", "--encoding", "utf-8", "--length", 5)
    assert invoke(tmp_path, *asked).stdout.startswith("cafééé")


def test_unknown_characters_of_a_prime_are_left_out_and_counted_when_told(invoke, tmp_path):
    asked = ("--length", 50, "--seed", 1)
    plain = invoke(*asked, "--prime", "one").stdout
    refused = invoke(*asked, "--prime", "ÜoneÜ").exception
    assert str(refused).endswith("; --unknown skip skips such characters")
    result = invoke(*asked, "--prime", "Üo∑neÜ", "--unknown", "skip")
    assert result.stdout == plain
    assert "--prime: skipped 3 characters that are not in the vocabulary: 'Ü', '∑'" in result.stderr
    (tmp_path / "prime.txt").write_text("Üone", "utf-8")
    refused = invoke(*asked, "--prime-file", tmp_path / "prime.txt").exception
    assert "of the vocabulary: skip such characters with --unknown skip, " in str(refused)
    result = invoke(*asked, "--prime-file", tmp_path / "prime.txt", "--unknown", "skip")
    assert result.stdout == plain and "--prime-file: skipped 1 character that is not" in result.stderr
    nothing = invoke("--prime", "ÜÜ", "--unknown", "skip").exception
    assert "the model knows no character of" in str(nothing)
    assert "--stop: character 'Ü'" in str(invoke("--stop", "Ü", "--unknown", "skip").exception)


def test_a_prime_is_rewritten_as_the_text_was_before_unknown_characters_are_left_out(invoke, folder, tmp_path):
    from charrnn.runs.checkpoint import load_checkpoint, save_checkpoint
    from charrnn.text.rewriting import Rewriting

    checkpoint = load_checkpoint(folder / "checkpoints" / "new" / "best.safetensors")
    lower = dataclasses.replace(checkpoint.vocabulary, rewriting=Rewriting(lowercase=True))
    save_checkpoint(tmp_path / "best.safetensors", dataclasses.replace(checkpoint, vocabulary=lower))
    result = invoke(tmp_path, "--prime", "ONE∑", "--unknown", "skip", "--length", 5)
    assert result.stdout.startswith("one") and "skipped 1 character" in result.stderr


def test_unknown_bytes_of_a_prime_are_left_out_too(invoke, tmp_path):
    from charrnn.model.parameters import Model
    from charrnn.runs.checkpoint import Checkpoint, save_checkpoint
    from charrnn.spec import ModelConfig

    config = ModelConfig("gru", 3, 4, 1)
    vocabulary, parameters = Vocabulary("bytes", (10, 97, 233)), Model.initialise(config, 1).get_parameters()
    save_checkpoint(tmp_path / "best.safetensors", Checkpoint(config.to_dict(), vocabulary, parameters, {}, {}, {}))
    asked = (tmp_path, "--length", 5, "--prime", "aéba", "--encoding", "latin-1")
    assert "byte 0x62" in str(invoke(*asked).exception)
    result = invoke(*asked, "--unknown", "skip")
    assert result.stdout_bytes.startswith(b"a\xe9a") and "--prime: skipped 1 character" in result.stderr
    error = str(invoke(tmp_path, "--prime", "€", "--encoding", "latin-1", "--unknown", "skip").exception)
    assert error.startswith("--prime: character '€'") and "skip" not in error


def test_a_model_of_bytes_takes_any_prime_file_and_writes_its_bytes(invoke, tmp_path):
    (tmp_path / "any.bin").write_bytes(b"\xff\xe2\x82")
    asked = ("checkpoints/old", "--prime-file", tmp_path / "any.bin", "--length", 500, "--seed", 1)
    result = invoke(*asked)
    assert result.exit_code == 0
    assert result.stdout_bytes.startswith(b"\xff\xe2\x82") and len(result.stdout_bytes) == 503
    record = json.loads(invoke(*asked, "--json").stdout)
    assert base64.b64decode(record["text_base64"]) == result.stdout_bytes[3:]


def test_a_model_of_bytes_takes_prime_and_stop_in_the_encoding_of_its_text(invoke):
    asked = ("checkpoints/old", "--length", 5, "--seed", 1, "--prime", "é")
    assert invoke(*asked).stdout_bytes.startswith("é".encode())
    assert invoke(*asked, "--encoding", "latin-1").stdout_bytes.startswith(b"\xe9")
    assert json.loads(invoke(*asked, "--encoding", "latin-1", "--json").stdout)["prime"] == "é"
    error = invoke(*asked, "--encoding", "latin-1", "--stop", "€").exception
    assert isinstance(error, VocabularyError)
    assert str(error) == "--stop: character '€' at offset 0 cannot be written in ISO8859-1: leave it out"
    assert "--encoding 'latn' is unknown" in str(invoke(*asked, "--encoding", "latn").exception)


def test_the_json_loss_is_that_of_the_evaluation(invoke, folder):
    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace
    from charrnn.runs.checkpoint import load_checkpoint

    result = invoke("--json", "--length", 80, "--seed", 1, "--num-samples", 2, "--temperature", 0.7, "--prime", "ab")
    plain = invoke("--length", 80, "--seed", 1, "--temperature", 0.7, "--prime", "ab", "--hide-prime")
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [r["sample"] for r in records] == [0, 1]
    assert records[0]["text"] == plain.stdout and records[0]["checkpoint"] == "checkpoints/new/best.safetensors"

    checkpoint = load_checkpoint(folder / "checkpoints" / "new" / "best.safetensors")
    model = Model.from_checkpoint(checkpoint)
    for record in records:
        ids = checkpoint.vocabulary.encode("ab" + record["text"]).astype(np.int32)[:, None]
        workspace = Workspace(model, 1, len(ids), training=False)
        workspace.reset_carry()
        assert record["loss_nats"] == pytest.approx(workspace.losses(ids[:-1], ids[1:])[1:].mean(), rel=1e-5)


def test_what_follows_a_line_is_what_its_prime_alone_gives_whatever_stands_beside_it(invoke, folder, tmp_path):
    lines = ["one", "", "a longer prime than the others", r"two\n", "one", "é"]
    (tmp_path / "primes.txt").write_text("\r\n".join(lines) + "\n", encoding="utf-8", newline="")
    asked = ("-e", "--prime-file", tmp_path / "primes.txt", "--each-line")
    for drawn in (("--seed", 3, "--length", 70, "--temperature", 0.7), ("--seed", 3, "--length", 70, "--stop", "e",
                  "--clamp", "1:2=0.5")):  # fmt: skip
        together = invoke(*asked, *drawn, "--num-samples", 2)
        alone = [invoke("-e", "--prime", line, *drawn, "--num-samples", 2, "--json") for line in lines]
        expected = [json.loads(one) for each in alone for one in each.stdout.splitlines()]
        shown = [one["prime"] + one["text"] for one in expected]
        assert [read_escapes(line, "") for line in together.stdout.split("\n")] == [*shown, ""], together.exception
        records = [json.loads(one) for one in invoke(*asked, *drawn, "--num-samples", 2, "--json").stdout.splitlines()]
        assert [one.pop("line") for one in records] == [n for n in range(1, 7) for _ in range(2)]
        assert [{**one, "loss_nats": 0} for one in records] == [{**one, "loss_nats": 0} for one in expected]
        losses = ([one["loss_nats"] for one in found] for found in (records, expected))
        assert next(losses) == pytest.approx(next(losses))
    hidden = invoke(*asked, *drawn, "--hide-prime").stdout.splitlines()
    assert read_escapes(hidden[2], "") == expected[4]["text"]


def test_the_lines_of_a_model_of_bytes_are_any_bytes(invoke, tmp_path):
    (tmp_path / "primes.bin").write_bytes(b"\xff\xe2\nab\\\n")
    asked = ("checkpoints/old", "--prime-file", tmp_path / "primes.bin", "--each-line", "--length", 90, "--seed", 1)
    written = invoke(*asked).stdout_bytes
    records = [json.loads(line) for line in invoke(*asked, "--json").stdout.splitlines()]
    for line, record, prime in zip(written.split(b"\n"), records, (b"\xff\xe2", b"ab\\"), strict=False):
        data = line.replace(b"\\\\", b"\0").replace(b"\\n", b"\n").replace(b"\\r", b"\r").replace(b"\0", b"\\")
        (tmp_path / "prime.bin").write_bytes(prime)
        alone = invoke("checkpoints/old", "--prime-file", tmp_path / "prime.bin", "--length", 90, "--seed", 1)
        given = (base64.b64decode(record[name]) for name in ("prime_base64", "text_base64"))
        assert (
            data.replace(b"\0", b"") == alone.stdout_bytes.replace(b"\0", b"") and b"".join(given) == alone.stdout_bytes
        )
    assert written.count(b"\n") == 2


def test_lines_that_cannot_be_continued_are_refused_by_their_number(invoke, tmp_path):
    (tmp_path / "primes.txt").write_text("one\nzwölf\n", encoding="utf-8")
    asked = ("--prime-file", tmp_path / "primes.txt", "--each-line", "--length", 5)
    assert "line 2 of --prime-file: character 'ö' at offset 2" in str(invoke(*asked).exception)
    skipped = invoke(*asked, "--unknown", "skip")
    assert skipped.stdout.startswith("one") and "line 2 of --prime-file: skipped 1 character" in skipped.stderr
    (tmp_path / "primes.txt").write_text("", encoding="utf-8")
    assert "has no prime: write one per line" in str(invoke(*asked).exception)
    for options, words in (
        (("--each-line",), "add --prime-file FILE"),
        ((*asked, "--separator", "|"), "writes one line for each prime and cannot be combined with --separator"),
        (("--interactive", "--json"), "continues what you type and cannot be combined with --json"),
        (("--interactive", "--prime-file", "-"), "would --prime-file -"),
    ):
        assert words in str(invoke(*options).exception)


def test_greedy_ignores_the_seed_and_says_that_its_samples_are_alike(invoke):
    result = invoke("--greedy", "--length", 30, "--num-samples", 2, "--separator", "|")
    first, second = result.stdout.split("|")
    assert first.rstrip("\n") == second.rstrip("\n") and "greedy samples are all the same: 2 equal" in result.stderr
    assert invoke("--temperature", 0, "--length", 30, "--seed", 5).stdout == invoke("--greedy", "--length", 30).stdout


def test_more_threads_than_there_are_is_refused(invoke):
    assert isinstance(invoke("--threads", 10_000, "--length", 5).exception, ConfigError)


def start(folder, *args, **kwargs):
    code = (
        # Ctrl-C is ignored where the tests run in the background.
        "import signal; signal.signal(signal.SIGINT, signal.default_int_handler);"
        "from charrnn.cli.sample import command; command(prog_name='charrnn sample')"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(charrnn.__file__).parents[1])}
    return subprocess.Popen([sys.executable, "-c", code, *map(str, args)], cwd=folder, env=env, **kwargs)


@pytest.mark.slow
def test_a_reader_that_has_enough_ends_the_command_without_a_traceback(folder):
    process = start(folder, "--length", 10**7, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert len(process.stdout.read(100)) == 100
    process.stdout.close()
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 0
    assert "Traceback" not in errors and "BrokenPipe" not in errors


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "openpty"), reason="needs a pseudo-terminal")
def test_a_terminal_sees_the_text_as_it_is_made_and_ctrl_c_leaves_it_clean(folder):
    main, other = os.openpty()
    process = start(folder, "--length", 10**7, "--prime", "\x1bab", stdin=other, stdout=other, stderr=subprocess.PIPE)
    os.close(other)
    seen = b""
    while len(seen) < 2000:
        seen += os.read(main, 4096)
    process.send_signal(signal.SIGINT)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            piece = os.read(main, 65536)
        except OSError:  # Linux: the other end is closed
            piece = b""
        if not piece:
            break
        seen += piece
    os.close(main)
    errors = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(60) == 130
    assert "Traceback" not in errors
    assert seen.startswith("\x1b[2m␛ab\x1b[0m".encode())
    assert seen.count(b"\x1b") == 2 and seen.endswith(b"\r\n")


def test_escapes_are_read_where_they_are_asked_for(invoke):
    asked = ("--length", 50, "--seed", 1)
    plain = invoke(*asked, "--prime", "one\n").stdout
    assert invoke(*asked, "--prime", r"one\n", "-e").stdout == plain
    assert invoke(*asked, "--prime", r"o\x6e\u0065\n", "--escapes").stdout == plain
    assert invoke(*asked, "--stop", r"\n", "-e").stdout == invoke(*asked, "--stop", "\n").stdout
    in_bytes = ("checkpoints/old", *asked, "-e")
    assert invoke(*in_bytes, "--prime", r"\xe9é\0").stdout_bytes.startswith(b"\xe9" + "é\0".encode())


def test_a_separator_takes_escapes_as_the_others_do(invoke):
    asked = ("--length", 5, "--seed", 1, "--num-samples", 3)
    first, *rest = invoke(*asked, "--separator", "|\n|").stdout.split("|\n|")
    assert len(first) == 5 and len(rest) == 2
    assert invoke(*asked, "--separator", r"|\n|", "-e").stdout == "|\n|".join([first, *rest])
    assert b"\xe9" in invoke("checkpoints/old", *asked, "--separator", r"\xe9", "-e").stdout_bytes
    assert "--json writes one line per sample" in str(invoke("--separator", "|", "--json").exception)


@pytest.mark.parametrize("wrong", [r"a\q", "a\\", r"a\x1", r"a\ud800", r"a\U00110000"])
def test_what_is_no_escape_is_refused_with_those_there_are(invoke, wrong):
    error = invoke("--stop", wrong, "-e").exception
    assert isinstance(error, ConfigError)
    assert "at offset 1 is not an escape: with --escapes write \\n, \\t" in str(error) and str(error).startswith(
        "--stop: "
    )


def test_a_backslash_that_may_be_meant_as_a_newline_is_pointed_out(invoke):
    hint = "is read as a backslash: add --escapes to read \\n as a newline"
    bytes_ = ("checkpoints/old", "--length", 5, "--seed", 1)
    assert "in --stop " + hint in invoke(*bytes_, "--stop", r"\n").stderr
    assert "in --prime " + hint in invoke("--prime", r"one\n").stderr  # which has no backslash to continue
    assert hint not in invoke(*bytes_, "--prime", r"\noindent \\n").stderr
    assert hint not in invoke(*bytes_, "--prime", r"a\n", "-e").stderr


def test_the_help_shows_how_to_write_a_newline(invoke):
    assert r"$'\n'" in invoke("--help").stdout
