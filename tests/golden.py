"""Compare two commits bit for bit: what they train, save, sample, evaluate and inspect.

    make golden OLD=<commit>                         the old commit against this tree; exit code 1 on a difference
    python tests/golden.py run --old <commit>        the same
    python tests/golden.py speed --old <commit>      a training step of both, in turns; prints the ratios
    python tests/golden.py record --tree DIR --out FILE
    python tests/golden.py compare OLD.json NEW.json

`record` runs every case of CASES through `charrnn.cli.main` in one process and writes one JSON: case -> command ->
{exit code, output, files of the run}. It knows nothing of the package but the command line, so it can run a tree whose
modules have other names. The length of every run is in steps or epochs, so the clock bears on no result; what the clock
writes beside the results is left out (CLOCK). `run` checks out the old commit in a temporary folder and uses this
interpreter for both trees. The new tree also takes over run folders that the old one wrote (commands with {handed}) and
must go on with them as the old one does. With NUMBA_CPU_NAME and NUMBA_CPU_FEATURES as in test_haswell.py, both are
compared on the kernels for AVX2.
"""

import argparse
import contextlib
import csv
import fnmatch
import functools
import gzip
import hashlib
import io
import json
import math
import os
import random
import re
import shlex
import shutil
import signal
import statistics
import string
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Left out wherever they are a key of JSON or a column of CSV: the first two are read from the clock, the third is
# another after a release. Paths stay: all are relative to the folder that the cases run in.
CLOCK = ("elapsed_s", "chars_per_s", "charrnn_version")

# Differences that are meant: (pattern of a place as `compare` prints it, as in fnmatch; by how much two numbers may
# differ, relative to the larger; the reason). Empty it with the commit that becomes the next OLD.
ACCEPTED = (
    ("* > gradients *", 1e-4, "the way back computes its gates in float64, from the states; they were float32's"),
    ("* > memory_bytes", 0.02, "the estimate counts the sizes of the buffers, no tables and no alignment"),
)

MAX_SHOWN = 40  # differing commands that `compare` prints; the rest is counted
MAX_TEXT = 1_000_000  # characters of an output or a file that is kept as text; of a longer one the sha256 is

# ------------------------------------------------------------------------------------------------------------- cases

# The first and the last are added to every `train` of a new run and of a resumed one; the others stand in CASES. What
# comes later in a command line wins.
WORDS = {
    "BASE": "--steps 12 --eval-every 6 --log-every 1 --batch-size 3 --seq-length 17 --hidden-size 9 --val-fraction 0.1 "
    "--test-fraction 0.1 -o {run}",
    "LINEAR": "--embedding-size 0 --no-layer-norm --dropout 0",
    "DIVERGING": "--optimizer sgd --learning-rate 1e6 --schedule constant --steps 60 --no-layer-norm",
    "ON": "--threads 2 --quiet --no-sample",
}

# Commands that several cases have.
SETS = """
USE
    eval {run} --json --no-baselines
    eval {run} --split test --json --no-baselines
    info {run} --json
    sample {run} --json --length 40 --seed 5
LOOK
    sample {run} --json --length 60 --seed 3 --temperature 0.7 --top-k 9 --top-p 0.9 --num-samples 3
    sample {run} --json --length 50 --seed 4 --prime 'line ' --clamp 0:1=0.5 --clamp 1:2=-0.9 --min-p 0.02
    sample {run} --json --length 30 --seed 4 --num-samples 19 --threads 1
    sample {run} --json --length 40 --greedy --stop q --hide-prime --prime-file held.txt
    sample {run} --length 300 --seed 6 --temperature 1.3
    eval {run} --json --baselines --dynamic --errors --memorised --length 400 --seed 2
    eval {run} --split train --json --no-baselines --dynamic --dynamic-rule sgd --dynamic-segment 7
    eval {run} held.txt --json --unknown skip
    eval {run} --surprisal --top-k 3 --json
    eval {run} --surprisal --html page.html --width 80
    cells {run} held.txt --json --ablate --signal says=say.?
    cells {run} held.txt --csv --ablate --clamp off --quantity h
    cells {run} held.txt --json --unit 1:3 --threads 1
    cells {run} held.txt --find digit --svg drawing.svg --width 80
    cells {run} held.txt --html page.html --characters 5000
    gradients {run} held.txt --json --steps 30 --times 8 --svg drawing.svg
    gradients {run} held.txt --json --steps 12 --times 5 --layer 0
GO_ON
    eval {handed} --json --no-baselines
    sample {handed} --json --length 60 --seed 7 --num-samples 2
    info {handed} --json
    cells {handed} held.txt --json
    train --resume {handed} --steps 24
    eval {handed} --split test --json --no-baselines
    sample {handed} --json --length 60 --seed 8
"""

# A case and its commands; what follows a colon are options of `train text.txt`, after which comes USE. {run} is the run
# folder, {handed} a copy of it, or of the old tree's where that is at hand. Before a command may stand the exit code
# that it must have, or how it is stopped when it saves `last` for the third time: "interrupted" by SIGINT once that is
# saved, or "killed" before it is.
CASES = """
lstm, as by default
    train text.txt
    $USE $LOOK $GO_ON
    cells {run} held.txt --json --gates
gru, zoneout
    train text.txt --cell gru --zoneout 0.1
    $USE $LOOK $GO_ON
    cells {run} held.txt --json --gates
rnn, format 1
    train text.txt --cell rnn $LINEAR
    $USE $LOOK $GO_ON
gru, format 1
    train text.txt --cell gru $LINEAR
    $USE $GO_ON
lstm, ema, zoneout
    train text.txt --ema 0.9 --zoneout 0.2 --num-layers 3 --optimizer adamw
    $USE $GO_ON
plateau, patience, snapshots, rare characters
    train text.txt --schedule plateau --plateau-wait 1 --patience 5 --keep-every 5 --min-count 3
    $USE $GO_ON
interrupted
    interrupted: train text.txt --cell gru --steps 24 --checkpoint-every 5
    train --resume {handed}
    train --resume {handed} --steps 30
killed when best is new and last is not
    killed: train text.txt --ema 0.8 --dropout 0.5 --checkpoint-every 4
    train --resume {handed}

lstm, float64: --dtype float64 --num-layers 1 $LINEAR
gru, float64: --dtype float64 --cell gru --embedding-size 7 --dropout 0.3
rnn, float64: --dtype float64 --cell rnn --zoneout 0.15 --num-layers 3
lstm, tied, variational dropout: --hidden-size 33 --embedding-size 33 --tie-weights --variational-dropout --dropout 0.4
gru, tied: --cell gru --hidden-size 21 --embedding-size 21 --tie-weights --no-layer-norm
lstm, weight dropout: --weight-dropout 0.3 --hidden-size 18 --no-layer-norm
gru, weight dropout: --cell gru --weight-dropout 0.5 --hidden-size 17 --num-layers 3
rnn, weight dropout: --cell rnn --weight-dropout 0.2 --variational-dropout
all at once: --weight-dropout 0.2 --variational-dropout --zoneout 0.1 --ema 0.7 --embedding-size 0 --dtype float64
one stream, chunks of one: --batch-size 1 --seq-length 1 --steps 30
gru, one unit: --cell gru --hidden-size 1 --num-layers 4 --batch-size 5 --dropout 0

wide lstm: --hidden-size 130 --batch-size 17 --seq-length 40 --steps 6
wide lstm, one thread: --hidden-size 130 --batch-size 17 --seq-length 40 --steps 6 --threads 1
wide lstm, linear: --hidden-size 160 --batch-size 16 --seq-length 40 --steps 6 $LINEAR
wide gru: --cell gru --hidden-size 97 --batch-size 33 --seq-length 30 --steps 6
wide gru, float64: --cell gru --hidden-size 70 --dtype float64 --steps 6 $LINEAR
wide rnn: --cell rnn --hidden-size 200 --batch-size 12 --num-layers 3 --steps 6
bfloat16 lstm
    train text.txt --precision bfloat16 --hidden-size 130 --batch-size 17 --steps 8
    train --resume {run} --steps 10
    $USE
bfloat16 gru: --precision bfloat16 --cell gru --hidden-size 48 --weight-dropout 0.2
bfloat16 rnn: --precision bfloat16 --cell rnn --ema 0.5 --hidden-size 37 $LINEAR

adamw, step: --optimizer adamw --weight-decay 0.1 --schedule step --decay-after 1 --seq-length 200 --batch-size 8
rmsprop, constant, warmup
    train text.txt --optimizer rmsprop --schedule constant --warmup 4 --clip-norm 0.2 --ema 0.5
    train --resume {run} --steps 20
    $USE
adagrad, clipped by value
    train text.txt --optimizer adagrad --clip-value 0.01 --clip-norm 0 --warmup 0.3
    train --resume {run} --steps 20
    $USE
sgd, momentum
    train text.txt --optimizer sgd --momentum 0.9 --min-learning-rate 0.5 --clip-norm 1
    train --resume {run} --steps 20
    $USE
sgd, float64: --optimizer sgd --dtype float64 --clip-norm 0 --cell rnn --learning-rate 0.1
epochs
    train held.txt --cell rnn --epochs 0.2 --schedule step --decay-after 0 --decay 0.5 --config options.toml
    train --resume {run} --epochs 0.3
    $USE

divergence, recovered at a lower rate
    train text.txt --seq-length 7 --schedule constant --learning-rate 20 --steps 60 --eval-every 10 $LINEAR
    train --resume {run} --steps 70
    $USE
divergence, in vain
    exit 2: train text.txt $DIVERGING
    info {run} --json
divergence, stopped
    exit 2: train text.txt $DIVERGING --on-divergence stop
    info {run} --json

bytes
    train text.txt other.txt --vocab bytes --cell gru
    $USE
    eval {run} other.txt --json
    sample {run} --json --length 90 --seed 2 --num-samples 2
folder and gz
    train folder other.txt.gz --steps 5
    $USE
    eval {run} other.txt.gz --json
latin-1, crlf
    train latin.txt --encoding latin-1 --seed 7 --cell rnn
    $USE
samples, no validation
    train text.txt --val-fraction 0 --test-fraction 0 --steps 45 --sample-every 8 --sample-length 30 --show-samples
    info {run} --json
weights from another vocabulary
    train text.txt
    train other.txt --init-from {run} -o {run}-2 --steps 8
    eval {run}-2 --json
    sample {run}-2 --json --length 50 --seed 1
weights from another vocabulary, one-hot
    train text.txt --cell gru $LINEAR
    train other.txt --cell gru --init-from {run}/last.safetensors --dtype float64 --zoneout 0.1 -o {run}-2 $LINEAR

sweep
    sweep grid.toml -o {run} --quiet --json
    sweep --resume {run} --quiet --csv
    sweep grid.toml --dry-run --json
gradients of fresh networks
    gradients --fresh --json --steps 25 --times 8 --hidden-size 18 --num-layers 2
    gradients held.txt --fresh --json --steps 9 --hidden-size 10 --cell rnn --matrix uniform --singular-value 0.9
memory
    gradients --memory --json --train-steps 12 --hidden-size 8 --cell lstm --cell gru --svg drawing.svg
"""


def read_table(text):
    """Return {heading: its indented lines} of a table such as CASES."""
    table, heading = {}, None
    for line in filter(str.strip, text.splitlines()):
        if line.startswith(" "):
            table[heading].append(line.strip())
        else:
            heading, _, options = line.partition(": ")
            table[heading] = [f"train text.txt {options}", "$USE"] if options else []
    return table


def read_cases():
    """Return {case: its commands}, those of SETS in their places."""
    sets, cases = read_table(SETS), read_table(CASES)
    for name, lines in cases.items():
        groups = [line.replace("$", "").split() if line.startswith("$") else [line] for line in lines]
        cases[name] = [command for group in groups for one in group for command in sets.get(one, [one])]
    return cases


def write_texts():
    """Write the texts and option files of the cases into the current folder, the same bytes every time."""

    def lines(seed, words, characters):
        rng, made = random.Random(seed), ""
        while len(made) < characters:
            a, b, c = (rng.choice(words) for _ in range(3))
            made += rng.choice(
                (
                    f'"{a}," says line {rng.randrange(2000)}, "{b} {c}!"\n',
                    f"if ({a} == {b}[3]) {{\n",
                    f"    {c} = {a} + {b};  // {a.upper()}\n",
                    "}\n\n",
                    f"{b} ({c}, {a}); see {b}.\n",
                )
            )
        return made

    english = "time love the king sweet night and of crown word rose never quick box jump lazy vow fair".split()
    text, held = lines(1, english, 12_000), lines(2, english, 6_000)
    other = lines(3, "élan naïve øre über ciel ποῦ мир 𝄞 the word".split(), 5_000)
    files = {
        "text.txt": text,
        "held.txt": held,
        "other.txt": other,
        "folder/one.txt": text[:4_000],
        "folder/deeper/two.txt": other[:3_000],
        "options.toml": "steps = 5\ndropout = 0.1\n",
        "grid.toml": 'text = ["text.txt"]\nsteps = 6\nhidden_size = 8\nbatch_size = 4\nseq_length = 11\n[grid]\n'
        'cell = ["lstm", "rnn"]\nseed = [1, 2]\n[[run]]\ndropout = 0.5\n',
    }
    for name, content in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content.encode())
    Path("other.txt.gz").write_bytes(gzip.compress(other.encode(), mtime=0))
    latin = lines(4, "café señor große the night".split(), 5_000).replace("\n", "\r\n")
    Path("latin.txt").write_bytes(latin.encode("latin-1"))


# ------------------------------------------------------------------------------------------------------------ record


def record(tree, out, handed=None):
    """Run every case with the package in `tree`; write the JSON to `out`. Return the failures, each a sentence.

    handed : folder of the run folders to go on with; those that are not there yet are put there
    """
    tree, out = Path(tree).resolve(), Path(out).resolve()
    handed = None if handed is None else Path(handed).resolve()
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "COLUMNS": "80", "NO_COLOR": "1"})  # before NumPy is imported
    if os.cpu_count() == 1:
        os.environ.setdefault("NUMBA_NUM_THREADS", "2")
    sys.path.insert(0, str(tree))
    import charrnn
    from charrnn.cli import main

    found = Path(charrnn.__file__).resolve().parent.parent
    if found != tree:
        raise SystemExit(f"charrnn was imported from {found}, not from {tree}: name the root of a charrnn tree")
    recorded, failures, begun = {}, [], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="charrnn-golden-") as folder, contextlib.chdir(folder):
        write_texts()
        handed = handed or Path(folder) / "kept"
        for name, commands in read_cases().items():
            if "bfloat16" in name and not has_bfloat16():
                print(f"left out, since this CPU has no AVX512-BF16: {name}", file=sys.stderr)
                continue
            start = time.perf_counter()
            recorded[name], failed = run_case(main, name, commands, handed)
            failures += failed
            print(f"{time.perf_counter() - start:6.1f} s  {name}", file=sys.stderr)
    print(f"{time.perf_counter() - begun:6.1f} s in all, {time.process_time():.0f} s of CPU, {tree}", file=sys.stderr)
    out.write_text(json.dumps(recorded, indent=1) + "\n", encoding="utf-8")
    return failures


def has_bfloat16():
    """Tell whether this CPU multiplies bfloat16; not where NUMBA_CPU_NAME has the kernels compiled for another."""
    try:
        return "avx512_bf16" in Path("/proc/cpuinfo").read_text() and "NUMBA_CPU_NAME" not in os.environ
    except OSError:
        return False


def run_case(main, name, commands, handed):
    """Return ({command: value}, failures) of one case."""
    slug = re.sub(r"\W+", "-", name)
    places = {"run": f"runs/{slug}", "handed": f"handed/{slug}"}
    values, failures = {}, []
    for command in commands:
        if "{handed}" in command and not Path(places["handed"]).exists():
            if not (handed / slug).exists() and Path(places["run"]).exists():
                shutil.copytree(places["run"], handed / slug)
            if (handed / slug).exists():
                shutil.copytree(handed / slug, places["handed"])
        how, text = re.fullmatch(r"(?:(interrupted|killed|exit 2): )?(.+)", command).groups()
        arguments = [part.format(**places) for part in shlex.split(with_options(text))]
        with stopped(how):
            code, output, errors = call(main, arguments)
        if code != EXIT_CODES[how]:
            failures.append(f"{name}: exit code {code}, not {EXIT_CODES[how]}, of {text}\n    {errors.strip()[-1000:]}")
        value = values[command] = {"exit code": code, "output": read_output(arguments, output)}
        if arguments[0] in ("train", "sweep") and "--dry-run" not in arguments:
            value["files"] = read_folder(Path(value_of(arguments, "-o") or value_of(arguments, "--resume")))
        for option in ("--html", "--svg"):
            if file := value_of(arguments, option):
                value[file] = text_lines(Path(file).read_text(encoding="utf-8")) if Path(file).exists() else None
                Path(file).unlink(missing_ok=True)
    return values, failures


EXIT_CODES = {None: 0, "exit 2": 2, "interrupted": 128 + signal.SIGINT, "killed": 128 + signal.SIGKILL}


def with_options(text):
    """Return a command of CASES with its WORDS spelt out, a training with the options that all of them have."""
    if text.startswith("train"):
        on = "" if "--show-samples" in text else "$ON "
        base = "" if "--resume" in text else "$BASE "
        text = text.replace("train ", f"train {base}{on}", 1).replace(" --show-samples", "")
    text = string.Template(text).substitute(WORDS)
    return text.replace("--steps 12 ", "") if "--epochs" in text else text  # one length is allowed


def value_of(arguments, option):
    """Return the last value that the arguments give an option, or None."""
    values = [arguments[at + 1] for at, one in enumerate(arguments) if one == option]
    return values[-1] if values else None


def call(main, arguments):
    """Run the command line in this process; return (exit code, stdout, stderr)."""
    streams = [io.TextIOWrapper(io.BytesIO(), "utf-8", newline="", write_through=True) for _ in range(2)]
    with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]):
        try:
            code = main(arguments)
        except SystemExit as stop:
            code = stop.code
        except Killed:
            code = 128 + signal.SIGKILL
        except Exception as error:  # a fault of the tree: the other cases are still to be compared
            code = repr(error)
    return (code, *(stream.buffer.getvalue().decode("utf-8", "replace") for stream in streams))


class Killed(BaseException):
    """Raised in the place of a write: the process would be no more."""


@contextlib.contextmanager
def stopped(how, at=3):
    """Stop a training when it puts `last` in its place for the at-th time; see CASES."""
    real, count = os.replace, 0

    def replace(source, destination, **keywords):
        nonlocal count
        count += Path(destination).name == "last.safetensors"
        if how == "killed" and count == at:
            count += 1
            raise Killed
        real(source, destination, **keywords)
        if how == "interrupted" and count == at:
            count += 1
            signal.raise_signal(signal.SIGINT)

    os.replace = replace if how in ("interrupted", "killed") else real
    try:
        yield
    finally:
        os.replace = real


# ------------------------------------------------------------------------------------------------- what is written


def read_output(arguments, text):
    """Return a command's output as JSON can hold it, without CLOCK."""
    if arguments[0] == "train":  # prose with a duration in it: the losses are kept
        return {
            line.split()[0]: re.findall(r"\d[\d.,]*", line)
            for line in text.splitlines()
            if line.startswith(("validation", "training", "test"))
        }
    if "--json" in arguments:
        try:
            return without_clock(json.loads(text))
        except ValueError:  # an object a line, or what is no JSON at all
            with contextlib.suppress(ValueError):
                return [without_clock(json.loads(line)) for line in text.splitlines()]
    if "--csv" in arguments:
        return read_csv(text)
    return text_lines(text)


def read_folder(folder):
    """Return {file: content} of a run or a sweep folder; the contents of checkpoints by tensor."""
    contents = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            read = READERS.get(path.suffix, text_lines)
            data = path.read_bytes()
            contents[path.relative_to(folder).as_posix()] = read(data if read is read_safetensors else data.decode())
    return contents


def read_safetensors(data):
    """Return {"metadata", "tensors": {name: its type, shape and sha256}}.

    8 bytes N, little-endian; N bytes of JSON; the tensors. The file's own sha256 covers CLOCK and is left out.
    """
    length = int.from_bytes(data[:8], "little")
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    outer = header.pop("__metadata__")
    tensors = {}
    for name, entry in header.items():
        begin, end = entry["data_offsets"]
        tensors[name] = f"{entry['dtype']} {entry['shape']} {hashlib.sha256(body[begin:end]).hexdigest()}"
    return {"metadata": without_clock(json.loads(outer["charrnn"])), "tensors": tensors}


def read_csv(text):
    return [without_clock(row) for row in csv.DictReader(io.StringIO(text))]


def text_lines(text):
    """Return a text's lines; of a long one its sha256."""
    if len(text) > MAX_TEXT:
        return f"{len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()}"
    return text.splitlines()


def without_clock(value):
    """Return a value of JSON without the keys in CLOCK, at any depth."""
    if isinstance(value, dict):
        return {key: without_clock(one) for key, one in value.items() if key not in CLOCK}
    return [without_clock(one) for one in value] if isinstance(value, list) else value


READERS = {
    ".safetensors": read_safetensors,
    ".jsonl": lambda text: [without_clock(json.loads(line)) for line in text.splitlines()],
    ".json": lambda text: without_clock(json.loads(text)),
    ".csv": read_csv,
    ".toml": tomllib.loads,  # what it says, not how it is laid out
}


# ----------------------------------------------------------------------------------------------------------- compare


def compare(old, new):
    """Print what differs between two records; return the number of differences that are not in ACCEPTED."""
    commands, tensors, accepted, shown, count = 0, 0, 0, 0, 0
    for case in {**old, **new}:
        ours, theirs = old.get(case, {}), new.get(case, {})
        for command in {**ours, **theirs}:
            commands += 1
            files = ours.get(command, {}).get("files", {})
            tensors += sum(len(file["tensors"]) for name, file in files.items() if name.endswith(".safetensors"))
            found = []
            for place, before, after in differences(ours.get(command, ABSENT), theirs.get(command, ABSENT)):
                if is_accepted(" > ".join((case, command, *place)), before, after):
                    accepted += 1
                else:
                    found.append((place, before, after))
            count += len(found)
            if found and (shown := shown + 1) <= MAX_SHOWN:
                place, before, after = found[0]
                print(f"{case}\n  {' > '.join((command, *place))}\n    old  {before}\n    new  {after}")
                if len(found) > 1:
                    print(f"    and {len(found) - 1:,} more of this command")
    if shown > MAX_SHOWN:
        print(f"and {shown - MAX_SHOWN:,} more commands that differ")
    print(
        f"{len(old)} cases, {commands} commands, {tensors:,} tensors: "
        + (f"{count:,} differences in {shown} commands" if count else "no unexplained difference")
        + (f"; {accepted:,} that ACCEPTED explains" if accepted else "")
    )
    return count


def is_accepted(place, before, after):
    """Say whether two numbers, or texts of numbers, are as close as ACCEPTED lets them be at this place."""
    try:
        pair = tuple(float(str(value).strip('"')) for value in (before, after))
    except (TypeError, ValueError):
        return False
    return any(fnmatch.fnmatch(place, pattern) and math.isclose(*pair, rel_tol=most) for pattern, most, _ in ACCEPTED)


ABSENT = object()


def differences(old, new, place=()):
    """Yield (place, old, new) of every leaf that differs; 1 and 1.0, and two orders of keys, differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in {**old, **new}:
            yield from differences(old.get(key, ABSENT), new.get(key, ABSENT), (*place, key))
        if old.keys() == new.keys() and list(old) != list(new):
            yield (*place, "order of the keys"), ", ".join(old), ", ".join(new)
    elif isinstance(old, list) and isinstance(new, list):
        for at in range(max(len(old), len(new))):
            yield from differences(
                old[at] if at < len(old) else ABSENT, new[at] if at < len(new) else ABSENT, (*place, str(at))
            )
    elif old is ABSENT or new is ABSENT or json.dumps(old) != json.dumps(new):
        yield place, spelt(old), spelt(new)


def spelt(value, most=300):
    text = "(absent)" if value is ABSENT else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else f"{text[:most]}... ({len(text):,} characters)"


# ------------------------------------------------------------------------------------------------------- two commits


@contextlib.contextmanager
def checked_out(commit):
    """Have a commit as a tree in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="charrnn-old-") as folder:
        tree = Path(folder) / "tree"
        git = functools.partial(subprocess.run, cwd=ROOT, check=True)
        try:
            git(["git", "worktree", "add", "--quiet", "--detach", str(tree), commit])
        except (subprocess.CalledProcessError, OSError):
            raise SystemExit(f"cannot check out {commit!r}: name a commit of this repository") from None
        try:
            yield tree
        finally:
            git(["git", "worktree", "remove", "--force", str(tree)])


def run_python(tree, *arguments, **keywords):
    """Run this interpreter in a process of its own that imports charrnn from `tree`."""
    path = os.pathsep.join(filter(None, (str(tree), os.environ.get("PYTHONPATH"))))
    return subprocess.run([sys.executable, *map(str, arguments)], env={**os.environ, "PYTHONPATH": path}, **keywords)


def run(commit, keep=None):
    """Record a commit and this tree, and compare them; return the exit code.

    keep : folder to leave old.json and new.json in, or None
    """
    with checked_out(commit) as tree, tempfile.TemporaryDirectory(prefix="charrnn-golden-") as temporary:
        folder, handed = Path(keep or temporary).resolve(), Path(temporary) / "handed"
        folder.mkdir(parents=True, exist_ok=True)
        failed, files = False, [folder / "old.json", folder / "new.json"]
        for file, root in zip(files, (tree, ROOT)):
            file.unlink(missing_ok=True)
            failed |= (
                run_python(root, __file__, "record", "--tree", root, "--out", file, "--handed", handed).returncode != 0
            )
            if not file.exists():  # it broke off
                return 1
        differ = compare(*map(read_record, files)) > 0
        if failed:
            print("commands failed that should not have, see above: they prove nothing")
        return int(differ or failed)


def read_record(file):
    return json.loads(Path(file).read_text(encoding="utf-8"))


SHAPES = {
    f"{cell} {size} x 2": ("--cell", cell, "--hidden-size", size, "--num-layers", 2)
    for cell, size in (("lstm", 128), ("gru", 256), ("lstm", 512))
}


def speed(commit, rounds):
    """Measure a training step of a commit and of this tree in turns, and print the ratios; return the exit code."""
    with checked_out(commit) as tree:
        print("float32, 2 threads     old ms    new ms   new/old: median, lowest and highest of the pairs")
        for name, options in SHAPES.items():
            pairs = []
            for number in range(rounds):
                order = (tree, ROOT) if number % 2 == 0 else (ROOT, tree)  # a drift is to favour neither
                took = {root: step_ms(root, options) for root in order}
                pairs.append((took[tree], took[ROOT]))
            old, new = map(statistics.median, zip(*pairs))
            ratios = sorted(after / before for before, after in pairs)
            middle = statistics.median(ratios)
            print(f"{name:<20}{old:>9.2f} {new:>9.2f}   {middle:.3f}, {ratios[0]:.3f} {ratios[-1]:.3f}", flush=True)
    return 0


def step_ms(tree, options):
    """Return the milliseconds of a training step as `charrnn bench` of a tree measures it."""
    done = run_python(
        tree,
        "-m",
        "charrnn",
        "bench",
        *options,
        "--threads",
        2,
        "--repeats",
        5,
        "--json",
        cwd=tree,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise SystemExit(f"charrnn bench failed in {tree}: {done.stderr.strip()[-1000:]}")
    (shape,) = json.loads(done.stdout)["shapes"]
    return 1000 * shape["batch_size"] * shape["seq_length"] / shape["training_chars_per_s"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    command = commands.add_parser("record", help="run every case with one tree and write a JSON")
    command.add_argument("--tree", default=ROOT, metavar="DIR", help="root of the tree (default: this one)")
    command.add_argument("--out", required=True, metavar="FILE")
    command.add_argument(
        "--handed", metavar="DIR", help="run folders to go on with; those that are missing are put there"
    )
    command = commands.add_parser("compare", help="compare two JSONs; exit code 1 on a difference")
    command.add_argument("files", nargs=2, metavar="FILE")
    command = commands.add_parser("run", help="record a commit and this tree, and compare them")
    command.add_argument("--old", required=True, metavar="COMMIT")
    command.add_argument("--keep", metavar="DIR", help="leave old.json and new.json in DIR")
    command = commands.add_parser("speed", help="time a training step of a commit and of this tree")
    command.add_argument("--old", required=True, metavar="COMMIT")
    command.add_argument("--rounds", type=int, default=5, metavar="N", help="pairs of each shape (default: 5)")
    asked = parser.parse_args()
    if asked.command == "record":
        failures = record(asked.tree, asked.out, asked.handed)
        print("".join(f"failed: {failure}\n" for failure in failures), end="", file=sys.stderr)
        return int(bool(failures))
    if asked.command == "compare":
        return int(compare(*map(read_record, asked.files)) > 0)
    return run(asked.old, asked.keep) if asked.command == "run" else speed(asked.old, asked.rounds)


if __name__ == "__main__":
    sys.exit(main())
