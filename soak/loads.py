"""What is large, at its full size, and machines and environments that are odd.

Each is a row: what held, and what it took.
"""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import time

from scene import ROOT, Broken
from watch import Watch

from charrnn.spec import CELLS

sys.path.append(str(ROOT / "tests"))

TITLE = "Loads held"
PROMISES = [
    (
        "Texts of more than 2^31 characters are read, split, resumed and evaluated at the right places",
        "tests/test_loads.py::test_ids_beyond_two_to_the_31_are_read_at_their_places",
    ),
    (
        "Even if the text is huge, validation takes only a limited share of the time of a run, and a message says so",
        "tests/test_loads.py::test_validation_on_a_huge_split_is_shortened_by_steps_too_and_that_is_said",
    ),
    (
        "When charrnn has read a memory-mapped text, it gives the memory of the pages back",
        "tests/test_loads.py::test_evaluating_a_mapped_text_gives_its_pages_back",
    ),
    (
        "A model with a vocabulary of 20,000 characters trains like the reference implementation, and its checkpoint "
        "can be "
        "loaded again",
        "tests/test_loads.py::test_a_vocabulary_of_20000_trains_as_the_oracle_says_and_comes_back",
    ),
    (
        "Models with many units, steps, streams or layers compute the same as the reference implementation",
        "tests/test_loads.py::test_large_shapes_agree_with_the_oracle",
    ),
    (
        "A run takes about as much memory as was announced before its first step",
        "tests/test_loads.py::test_the_memory_told_before_the_first_step_is_what_a_run_takes",
    ),
    (
        "A resumed run takes no more memory than a new one",
        "tests/test_loads.py::test_a_resumed_run_lets_go_of_the_checkpoint_that_it_was_read_from",
    ),
    ("A longer sample takes no more memory", "tests/test_loads.py::test_a_longer_sample_takes_no_more_memory"),
    (
        "Several threads of one program that train at the same time get the same bits as one thread alone",
        "tests/test_loads.py::test_threads_of_one_program_that_train_at_once_give_the_bits_of_one",
    ),
    (
        "With a closed stdin, stdout or stderr, a command succeeds or ends with one sentence",
        "tests/test_loads.py::test_closed_streams_end_in_success_or_a_sentence",
    ),
    (
        "If a program such as `head` stops reading the output, a command still does all of its work and has the same "
        "exit "
        "code; only `charrnn sample` stops writing",
        "tests/test_cli.py::test_a_reader_that_has_enough_changes_neither_the_end_nor_the_exit_code",
    ),
    (
        "Settings that Numba cannot use are refused in one sentence, before a folder is created",
        "tests/test_threads.py::test_what_numba_cannot_work_with_is_one_sentence_and_leaves_nothing",
    ),
    (
        "An impossible number of threads is refused in one sentence, before a folder is created",
        "tests/test_loads.py::test_a_number_of_threads_that_cannot_be_is_refused_before_anything_is_made",
    ),
]

WORDS = (
    "the of and to in a that it is was he for on with as his at by had not but from or have an they which one you were "
    "all her she there would their we him been has when who will no more if out so said what up its about into than "
    "them can only other time new some could these"
).split()
SMALL = ["--hidden-size", 32, "--num-layers", 1]
MOST_MEMORY_APART = 0.15  # of what the preflight says and what is measured
MEMORY_SLACK_MB = 8.0  # two runs of the same kind differ by so much: the interpreter, the page cache's rounding


def run(scene):
    rows = []
    for load in (
        huge_text,
        large_vocabularies,
        large_shapes,
        preflight_memory,
        long_samples,
        numbers_of_threads,
        odd_environments,
    ):
        print(f"  {load.__doc__.splitlines()[0]}", file=sys.stderr, flush=True)
        begun = time.monotonic()
        found = load(scene)
        for row in found:
            row.setdefault("took_s", round(time.monotonic() - begun, 1))
        rows += found
    return {"rows": rows}


def tell(figures):
    text = (
        "The machine did other work at the same time, so the times are upper bounds. Memory is the highest amount "
        "that the "
        "process itself used, without memory-mapped files. If a row names several commands, time and memory are those "
        'of the training only. "Reference" means a simple implementation in float64 to which the results are '
        "compared.\n\n"
        "| load | result | time, s | memory, MB |\n|---|---|--:|--:|\n"
    )
    for row in figures["rows"]:
        memory = f"{row['memory_mb']:,.0f}" if "memory_mb" in row else ""
        text += f"| {row['load']} | {row['held']} | {row['took_s']:,} | {memory} |\n"
    return text


class Ran:
    """A command that was run to its end: .code .out .err .took_s .memory_mb"""

    def __init__(self, scene, *arguments, expect=0, **options):
        begun = time.monotonic()
        process = scene.start(*arguments, **options)
        watch = Watch(process, 0.02)
        self.out, self.err = process.communicate()
        watch.join()
        self.took_s, self.memory_mb, self.code = time.monotonic() - begun, watch.anonymous_mb, process.returncode
        if self.code != expect:
            raise Broken(
                f"charrnn {' '.join(map(str, arguments))[:300]} ended with {self.code}, not {expect}: "
                f"{(self.err or '')[-600:]}"
            )


# ---- a huge text


def write_text(path, size_bytes):
    """Write a text of words, lines and a few characters beyond ASCII, in blocks."""
    rng, lines, length = random.Random(1), [], 0
    while length < 4_000_000:
        line = " ".join(rng.choice(WORDS) for _ in range(rng.randint(4, 14))).capitalize() + rng.choice(".,;:!?")
        lines.append(line + "\u2014" * (rng.random() < 0.02))
        length += len(line) + 1
    block = "\n".join(lines).encode("utf-8")
    with open(path, "wb") as file:
        chapter = written = 0
        while written < size_bytes:
            chapter += 1
            written += file.write(
                b"\nChapter %d\n" % chapter + block[block.index(b"\n", rng.randrange(len(block) // 2)) :]
            )


def huge_text(scene):
    """a text beyond 2^31 characters"""
    size = 40_000_000 if scene.quick else 2_250_000_000
    free = os.statvfs(scene.folder)
    if free.f_bavail * free.f_frsize < 4 * size:
        raise Broken(
            f"a text of {size / 1e9:.1f} GB and its ids need {4 * size / 1e9:.0f} GB free under {scene.folder}"
        )
    took = {}
    for name, size_bytes in (("middling", 20_000_000), ("huge", size)):
        write_text(scene.folder / f"{name}.txt", size_bytes)
        options = [*SMALL, "--no-sample", "--steps", 200]
        took[name] = Ran(
            scene, "train", f"{name}.txt", *options, "-o", name, environment={"CHARRNN_CACHE_DIR": _cache(scene)}
        )
    characters = int(re.search(r"text +([\d,]+) characters", took["huge"].err)[1].replace(",", ""))
    if not scene.quick and characters <= 2**31:
        raise Broken(f"the text has {characters:,} characters, not more than 2^31")
    if "validating on the first" not in took["huge"].err and not scene.quick:
        raise Broken(f"nothing was said of a validation cut short: {took['huge'].err}")
    growth = took["huge"].memory_mb - took["middling"].memory_mb
    if growth > MEMORY_SLACK_MB:
        raise Broken(f"a text of {size / 1e6:,.0f} MB takes {growth:.0f} MB more memory than one of 20 MB")
    environment = {"CHARRNN_CACHE_DIR": _cache(scene)}
    mb_per_s = (size - 20_000_000) / 1e6 / max(0.001, took["huge"].took_s - took["middling"].took_s)
    resumed = Ran(scene, "train", "--resume", "huge", "--steps", 220, "--no-sample", environment=environment)
    cells = Ran(scene, "cells", "huge", "--characters", 5000, "--json", environment=environment)
    with open(scene.folder / "huge.txt", "rb") as file:
        file.seek(-200_000, os.SEEK_END)
        (scene.folder / "tail.txt").write_bytes(file.read().partition(b"\n")[2])
    evaluated = Ran(scene, "eval", "huge", "tail.txt", "--json")
    if json.loads(evaluated.out)["characters"] < 150_000 or json.loads(cells.out)["characters"] != 5000:
        raise Broken("a part of the text was not read whole")
    row = {
        "load": f"a text of {size / 1e9:.2g} GB, {characters:,} characters",
        "held": f"trained for 200 steps, validated on a limited part; {growth:+.0f} MB compared with a text of 20 MB; "
        f"read at about {mb_per_s:,.0f} MB/s. Then resumed to step 220 ({resumed.took_s:.0f} s more), `cells` on 5,000 "
        f"characters of the held-out part ({cells.took_s:.0f} s more), `eval` of the end of the text",
        "took_s": round(took["huge"].took_s, 1),
        "memory_mb": took["huge"].memory_mb,
    }
    for name in ("middling.txt", "huge.txt", "tail.txt"):
        os.unlink(scene.folder / name)
    return [row]


def _cache(scene):
    """Return the folder that holds the compiled kernels: the ids go there too."""
    from charrnn.files.cache import cache_root

    return str(cache_root())


# ---- vocabularies


def large_vocabularies(scene):
    """vocabularies of 20,000 and 70,000 characters"""
    import numpy as np

    from charrnn.spec import ModelConfig

    worst = parity(ModelConfig("lstm", 20_000, 16, 1, 0, False, "float32"), T=3, B=3)
    rows = []
    for count in (2_000,) if scene.quick else (20_000, 70_000):
        codes = [
            code
            for code in range(0x21, 0x21 + count + 0x900)
            if not 0xD800 <= code < 0xE000 and code not in (0x85, 0x2028, 0x2029)
        ][:count]
        drawn = np.random.default_rng(1).zipf(1.2, 30 * count) % count
        text = "".join(map(chr, codes)) + "".join(chr(codes[i]) for i in drawn)
        (scene.folder / "wide.txt").write_text(text, encoding="utf-8")
        run = f"wide-{count}"
        options = ["--hidden-size", 64, "--num-layers", 1, "--val-fraction", 0.01, "--test-fraction", 0, "--no-sample"]
        trained = Ran(scene, "train", "wide.txt", *options, "--steps", 30, "-o", run)
        Ran(scene, "train", "--resume", run, "--steps", 32, "--no-sample", "-q")
        last = scene.folder / run / "last.safetensors"
        header = int.from_bytes(last.read_bytes()[:8], "little")
        step_s = 16 * 64 / _log(scene.folder / run)[-1]["chars_per_s"]
        length = 2_000
        one, more = (Ran(scene, "sample", run, "--length", n, "--seed", 1) for n in (1, length))
        if len(more.out) < length:
            raise Broken(f"a sample of {length:,} characters came out with {len(more.out):,}")
        size = len(json.loads(Ran(scene, "info", run, "--json").out)["vocabulary"]["symbols"])
        if size != len(set(text)):
            raise Broken(f"info tells of {size:,} characters, the text has {len(set(text)):,}")
        Ran(scene, "cells", run, "wide.txt", "--characters", 5000, "--json")
        rows.append(
            {
                "load": f"a vocabulary of {size:,}",
                "held": f"`train`, `train --resume`, `sample`, `info` and `cells` work. {1000 * step_s:,.0f} ms per "
                "step of 16 x "
                f"64 characters; {length / max(0.01, more.took_s - one.took_s):,.0f} characters per second sampled; "
                "the "
                f"checkpoint's header has {header:,} bytes. Largest difference of softmax and gradients from the "
                f"reference: {worst:.0e} (with 20,000 characters)",
                "took_s": round(trained.took_s, 1),
                "memory_mb": trained.memory_mb,
            }
        )
    return rows


def _log(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


# ---- shapes


def parity(config, T, B):
    """Return by how much a chunk's gradients differ from the oracle's at most, as a share of each one's largest."""
    import numpy as np
    import oracle

    from charrnn.model.parameters import Model
    from charrnn.model.workspace import Workspace

    parameters = oracle.random_parameters(
        config.cell, config.vocab_size, config.hidden_size, config.num_layers, dtype=config.dtype, seed=1
    )
    x, y = oracle.random_chunk(config.vocab_size, T, B, seed=1)
    expected = oracle.loss_and_grads(
        {name: value.astype(np.float64) for name, value in parameters.items()}, config.cell, x, y
    )
    model = Model(config)
    model.set_parameters(parameters)
    workspace = Workspace(model, B, T)
    loss = workspace.loss_and_grads(x, y)
    found, wanted = model.unpack(workspace.grads), oracle.one_bias(expected.grads, config.cell)
    worst = max(
        [
            abs(loss / expected.loss - 1),
            *(float(np.abs(found[name] - wanted[name]).max() / (np.abs(wanted[name]).max() or 1)) for name in wanted),
        ]
    )
    if not worst < 1e-4:
        raise Broken(
            f"{config} over {T} steps of {B} streams differs from the oracle by {worst:.1e} of the largest gradient"
        )
    return worst


def large_shapes(scene):
    """2,048 units, 2,000 steps, 1,000 streams, 12 layers"""
    from charrnn.spec import ModelConfig

    H, T, B = (256, 100, 100) if scene.quick else (2048, 2000, 1000)
    rows = []
    for cell in CELLS:
        rows.append((f"{cell}, {H:,} units", ModelConfig(cell, 65, H, 1, 0, False, "float32"), 3, 2))
    rows.append((f"chunks of {T:,} steps, lstm of 64", ModelConfig("lstm", 65, 64, 1, 0, False, "float32"), T, 2))
    rows.append((f"{B:,} streams, lstm of 64", ModelConfig("lstm", 65, 64, 1, 0, False, "float32"), 4, B))
    rows.append(("12 layers, lstm of 64", ModelConfig("lstm", 65, 64, 12, 0, False, "float32"), 8, 4))
    found = []
    for name, config, steps, streams in rows:
        begun = time.monotonic()
        worst = parity(config, steps, streams)
        found.append(
            {
                "load": name,
                "held": f"{steps:,} steps x {streams:,} streams: loss and gradients in float32 differ from the "
                "reference by at "
                f"most {worst:.0e} of its largest value (allowed: 1e-4)",
                "took_s": round(time.monotonic() - begun, 1),
            }
        )
    return found


def preflight_memory(scene):
    """the memory that the preflight tells of"""
    text = scene.text(characters=400_000)
    H, T, B = (512, 200, 100) if scene.quick else (2048, 2000, 1000)
    common = ["--no-sample", "--val-fraction", 0.01, "--test-fraction", 0, "--steps", 2, "--threads", 1]
    shapes = [
        *((f"{cell}, {H:,} units", cell, H, 1, 8, 16) for cell in CELLS),
        (f"chunks of {T:,} steps, lstm of 128", "lstm", 128, 1, 16, T),
        (f"{B:,} streams, lstm of 128", "lstm", 128, 1, B, 32),
        ("12 layers, lstm of 256", "lstm", 256, 12, 16, 32),
    ]
    found = []
    for number, (name, cell, units, layers, streams, steps) in enumerate(shapes):

        def trained(H, B, T, L, folder, cell=cell):
            ran = Ran(
                scene,
                "train",
                text,
                "--cell",
                cell,
                "--hidden-size",
                H,
                "--num-layers",
                L,
                "--batch-size",
                B,
                "--seq-length",
                T,
                *common,
                "-o",
                folder,
            )
            return ran, float(re.search(r"parameters, ([\d,]+) MB", ran.err)[1].replace(",", ""))

        bare, _ = trained(4, 1, 1, 1, f"bare-{number}")
        full, told_mb = trained(units, streams, steps, layers, f"full-{number}")
        measured_mb = full.memory_mb - bare.memory_mb
        if abs(measured_mb / told_mb - 1) > MOST_MEMORY_APART and abs(measured_mb - told_mb) > MEMORY_SLACK_MB:
            raise Broken(f"{name}: the preflight says {told_mb:.0f} MB, {measured_mb:.0f} were taken")
        found.append(
            {
                "load": f"{name}: memory",
                "held": f"announced before the first step: {told_mb:,.0f} MB. Measured: {measured_mb:,.0f} MB more "
                "than a model "
                "of 4 units takes",
                "took_s": round(full.took_s, 1),
                "memory_mb": full.memory_mb,
            }
        )
    return found


# ---- samples


def long_samples(scene):
    """samples of 1,000,000 characters"""
    Ran(scene, "train", scene.text(), *SMALL, "--steps", 100, "-q", "--no-sample", "-o", "sampled")
    short, long = (20_000, 100_000) if scene.quick else (100_000, 1_000_000)
    found = []
    for name, options, count in (
        ("", [], 1),
        (", with --stop", ["--stop", "no ... no ... no ... no"], 1),
        (", with --json", ["--json"], 1),
        (", eight at once", ["--num-samples", 8], 8),
    ):
        some, many = (
            Ran(
                scene, "sample", "sampled", "--length", n // count, "--seed", 1, *options, stdout=open(os.devnull, "wb")
            )
            for n in (short, long)
        )
        growth = many.memory_mb - some.memory_mb
        held = f"{growth:+.1f} MB compared with a sample of {short:,} characters"
        if name in ("", ", with --stop"):
            if growth > 1.0:
                raise Broken(f"a sample of {long:,} characters{name} takes {growth:.1f} MB more than one of {short:,}")
        else:
            held += ". The text is kept in memory until it is written"
            if growth > 100 * (long - short) / 1e6:
                raise Broken(f"a sample of {long:,} characters{name} takes {growth:.0f} MB more than one of {short:,}")
        found.append(
            {
                "load": f"a sample of {long:,} characters{name}",
                "held": held,
                "took_s": round(many.took_s, 1),
                "memory_mb": many.memory_mb,
            }
        )
    command = f"'{sys.executable}' -m charrnn sample sampled --length 10000000 --seed 1"
    for reader in ("| head -c 100", "--json | head -c 0", "--num-samples 8 | head -c 100"):
        begun = time.monotonic()
        if "json" in reader:
            reader = f"--length 1000 {reader}"
        done = subprocess.run(
            f"{command} {reader}",
            shell=True,
            cwd=scene.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
        )
        if "Traceback" in done.stderr or "Error" in done.stderr:
            raise Broken(f"{reader}: {done.stderr[-500:]}")
    found.append(
        {
            "load": "a program that stops reading the output (`head -c 100`)",
            "held": "charrnn ends without an error message",
            "took_s": round(time.monotonic() - begun, 1),
        }
    )
    return found


# ---- threads


def _trained_and_sampled(scene, name, **environment):
    """Train and sample as told; return a digest of every bit that came out."""
    from charrnn.runs.checkpoint import load_checkpoint

    text = scene.text("threads.txt")
    Ran(
        scene,
        "train",
        text,
        "--hidden-size",
        64,
        "--num-layers",
        2,
        "--steps",
        40,
        "-q",
        "--no-sample",
        "-o",
        name,
        environment=environment,
    )
    drawn = Ran(scene, "sample", name, "--length", 2000, "--seed", 1, environment=environment).out
    digest, last = hashlib.sha256(drawn.encode()), load_checkpoint(scene.folder / name / "last.safetensors")
    for arrays in (last.parameters, last.optimizer, last.carry):
        for key in sorted(arrays):
            digest.update(arrays[key])
    return digest.hexdigest()


def numbers_of_threads(scene):
    """numbers of threads"""
    digests = {
        f"NUMBA_NUM_THREADS={n}": _trained_and_sampled(scene, f"threads-{n}", NUMBA_NUM_THREADS=str(n))
        for n in (1, 2, 16)
    }
    if len(set(digests.values())) != 1:
        raise Broken(f"numbers of threads give different bits: {digests}")
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})  # inherited by what is started
    try:
        alone = _trained_and_sampled(scene, "threads-alone")
        refused = Ran(scene, "sample", "threads-1", "--threads", 2, expect=2)
    finally:
        os.sched_setaffinity(0, before)
    if alone not in digests.values() or "threads must be between 1 and 1" not in refused.err:
        raise Broken("one core gives other bits, or two threads on it are not refused")
    return [
        {
            "load": "1, 2 and 16 threads; one core of several (taskset)",
            "held": "the results have the same bits. If `--threads` is larger than the number of cores, charrnn "
            "refuses it "
            "in one sentence",
        }
    ]


# ---- environments


def odd_environments(scene):
    """odd environments"""
    text = scene.text("odd.txt")
    train = f"train odd.txt {' '.join(map(str, SMALL))} --steps 4 -q --no-sample"
    odd = b"a b\nc\xff.txt"
    os.link(os.fsencode(text), os.fsencode(scene.folder) + b"/" + odd)
    readonly = "/proc"  # where nobody can write, root neither
    ascii_only = {
        "LC_ALL": "C",
        "LANG": "C",
        "PYTHONIOENCODING": "ascii",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
    }
    Ran(scene, *train.split(), "-o", "run")
    # An address space too small for the libraries themselves is not among them: LLVM, OpenBLAS and the threading layers
    # abort.
    cases = {  # name: (shell command, environment, wanted exit code)
        "no HOME": ("unset HOME; charrnn sample run --length 9", {}, 0),
        "HOME and caches that cannot be written": (
            "charrnn eval run odd.txt",
            {"HOME": readonly, "XDG_CACHE_HOME": readonly + "/x", "CHARRNN_CACHE_DIR": ""},
            0,
        ),
        "a folder that cannot be written": (f"charrnn {train} -o {readonly}/run", {}, 2),
        "ASCII only": ("charrnn info run && charrnn sample run --length 9", ascii_only, 0),
        "TERM=dumb, 20 columns": (
            "charrnn info run && charrnn cells run odd.txt --highlight --width 40",
            {"TERM": "dumb", "COLUMNS": "20"},
            0,
        ),
        "stdout closed": (
            f"charrnn {train} -o shut >&- && charrnn sample shut --length 9 >&- && charrnn info shut >&-",
            {},
            0,
        ),
        "all streams closed": ("charrnn eval run >&- 2>&- <&-", {}, 0),
        "stdout on a full disk": ("charrnn eval run > /dev/full", {}, 2),
        "a name with spaces, a newline and a byte that is not UTF-8": (
            "n=$(printf 'a b\\nc\\377'); charrnn "
            + train.replace("odd.txt", '"$n.txt"')
            + ' -o "$n" && charrnn train --resume "$n" --steps 6 -q '
            '&& charrnn sample "$n" --length 9 --json && charrnn eval "$n" && charrnn info "$n"',
            {},
            0,
        ),
        "umask 077": (
            f"umask 077; charrnn {train} -o masked && test $(stat -c %a masked/last.safetensors) = 600",
            {},
            0,
        ),
        "another time zone": ("charrnn info run", {"TZ": "Pacific/Kiritimati"}, 0),
        "no memory for the model": (
            f"ulimit -v 1500000; charrnn {train} --hidden-size 8000 -o big; e=$?; test ! -e big && exit $e",
            {},
            2,
        ),
    }
    command = f"charrnn() {{ '{sys.executable}' -m charrnn \"$@\"; }}\n"
    for name, (shell, environment, code) in cases.items():
        done = subprocess.run(
            ["sh", "-c", command + shell],
            cwd=scene.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
        errors = done.stderr.decode("utf-8", "replace")
        if done.returncode != code or "Traceback" in errors or code == 2 and errors.count("Error: ") != 1:
            raise Broken(f"{name}: `{shell}` ended with {done.returncode}, not {code}: {errors[-600:]}")
    _clock_jumps(scene)
    return [
        {
            "load": "odd environments",
            "held": "charrnn succeeded or ended with one sentence in each of these environments: "
            f"{', '.join([*cases, 'a clock that jumps back'])}",
        }
    ]


def _clock_jumps(scene):
    """Train by the clock while the time of day jumps back an hour at every look."""
    program = (
        "import sys, time\nreal, looks = time.time, [0]\n"
        "def back():\n    looks[0] += 1\n    return real() - 3600 * looks[0]\n"
        "time.time = back\nfrom charrnn.cli import main\nsys.exit(main(sys.argv[1:]))"
    )
    arguments = ["train", "odd.txt", *map(str, SMALL), "--minutes", "0.03", "-q", "--no-sample", "-o", "jumped"]
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        cwd=scene.folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if done.returncode != 0 or _log(scene.folder / "jumped")[-1]["elapsed_s"] > 30:
        raise Broken(f"a clock that jumps back: {done.returncode} {done.stderr[-500:]}")
