"""The page docs/BENCHMARKS.md from what was measured: what must be reached first, then every section's table.

Pure functions of results.Results; runs nothing.
"""

import statistics
from dataclasses import dataclass

from results import best, rate, ratio, share

LSTM_TARGETS = {"128x2": 2.0, "256x2": 1.8, "512x2": 1.5, "512x3": 1.5}
SAMPLING_TARGETS = {"128x2": 15.0, "512x3": 5.0}

INTRODUCTION = """# Benchmarks

Written by `make bench` (`python benchmarks/run.py`) from `benchmarks/results.json`; not by hand.

Every side lives in a process of its own and waits at a pipe while others are timed. Before anything is timed it is
compiled and warm, and a repetition is set to about half a second. Then the sides take turns, repetition by
repetition. Speeds are medians over the repetitions; a ratio is the median of the repetitions' own ratios, each of
neighbours in time, since these machines are shared and their clocks wander. A step is everything a step does: taking
the chunk, forward, loss, backward, clipping by the global norm, Adam's update, with the state carried on. PyTorch is
given its faster input (one-hot by a lookup in the identity, or an embedding of size H), its fastest form of Adam and
of clipping, and the same number of threads; where one thread may be faster for it (one stream), also one. The
vocabulary has 65 characters. Share of the peak: floating-point operations of the step's matrix products alone (a
one-hot input is none) over what a kernel of nothing but multiply-adds on registers does in the same run.
"""


@dataclass(frozen=True)
class Target:
    """What must be reached: `value` at least (or, where `most`, at most) `bound`."""

    what: str
    value: float
    bound: float
    most: bool = False
    form: str = "{:.2f}"
    note: str = ""  # said after the value
    meaning: str = ""  # said after the bound

    @property
    def reached(self):
        return self.value <= self.bound if self.most else self.value >= self.bound


def page(results):
    """Return the page as Markdown."""
    parts = [INTRODUCTION, _runs(results), _targets(results)]
    for title, name, render in SECTIONS:
        rows = results.section(name)
        body = render(rows) if rows else f"Not measured yet: `python benchmarks/run.py --only {name}`.\n"
        parts.append(f"## {title}\n\n{body}{_provenance(results, rows)}")
    return "\n".join(parts)


def targets(results):
    """Return the Targets that the rows at hand allow to judge.

    Those against PyTorch are of a CPU with AVX-512; without it PyTorch is to be passed, and shares are told, not
    judged.
    """
    found = []
    for row in results.section("training").values():
        cell, shape = row["cell"], "{}x{}".format(*row["size"])
        bound = LSTM_TARGETS.get(shape, 1.0) if cell == "lstm" else 3.0
        bound, torch = bound if _wide(results, row) else 1.0, best(row, "torch")
        found.append(
            Target(
                f"{cell} {shape} training, times PyTorch",
                ratio(row, "charrnn", torch),
                bound,
                meaning=f" ({bound * _torch_share(row, torch):.0%} of the peak)",
            )
        )
        if cell == "lstm" and shape in ("512x2", "512x3") and _wide(results, row):
            found.append(
                Target(
                    f"{cell} {shape} whole step, share of the peak", share(row, "charrnn", "peak"), 0.75, form="{:.0%}"
                )
            )
    for key, row in results.section("minchar").items():
        found.append(
            Target(
                f"min-char-rnn shape, {key}, times PyTorch",
                ratio(row, "charrnn", best(row, "torch")),
                3.0 if _wide(results, row) else 1.0,
            )
        )
        if "numpy" in row["sides"]:
            found.append(
                Target(
                    f"min-char-rnn shape, {key}, times the NumPy loop",
                    ratio(row, "charrnn", "numpy"),
                    10.0 if _wide(results, row) else 1.0,
                )
            )
    for row in results.section("sampling").values():
        shape = "{}x{}".format(*row["size"])
        bound = SAMPLING_TARGETS.get(shape, 1.0) if row["cell"] == "lstm" and row["streams"] == 1 else 1.0
        streams = "one stream" if row["streams"] == 1 else f"{row['streams']} streams"
        without = best(row, "no oneDNN")
        note = f" (oneDNN off: {ratio(row, 'charrnn', without):.2f})" if without else ""
        found.append(
            Target(
                f"{row['cell']} {shape} sampling {streams}, times PyTorch",
                ratio(row, "charrnn", best(row, "torch")),
                bound if _wide(results, row) else 1.0,
                note=note,
            )
        )
    for row in results.section("threads").values():
        if row["cell"] == "lstm" and row["size"][:2] == [512, 2] and "charrnn 2" in row["sides"]:
            found.append(
                Target("lstm 512x2 training, 2 threads, times 1 thread", ratio(row, "charrnn 2", "charrnn 1"), 1.85)
            )
    for row in results.section("memory").values():
        if row["size"][:2] == [512, 3]:
            found.append(Target("peak memory of training, times PyTorch's", _memory_ratio(row), 0.6, most=True))
    starts = results.section("startup")
    for key, bound in (
        ("charrnn --help", 0.15),
        ("charrnn sample --length 1", 0.7),
        ("charrnn sample --length 1, empty cache", 15.0),
    ):
        if key in starts:
            note = (
                ""
                if bound < 15
                else ", and says that it compiles"
                if starts[key]["says_it_compiles"]
                else ", but says nothing"
            )
            found.append(
                Target(
                    f"`{key.partition(',')[0]}`{key.partition(',')[1]}{key.partition(',')[2]}, seconds",
                    statistics.median(starts[key]["seconds"]),
                    bound,
                    most=True,
                    note=note,
                )
            )
    for row in results.section("corpus").values():
        sizes = sorted(row["sides"], key=lambda label: int(label.split()[0]))
        if "1000 MB" in sizes:
            found.append(
                Target("characters/s on 1 GB of text, times those on 1 MB", ratio(row, "1000 MB", "1 MB"), 0.97)
            )
    for row in results.section("bfloat16").values():
        if row["size"][:2] == [512, 3] and "charrnn bfloat16" in row["sides"]:
            found.append(
                Target(
                    "bfloat16 512x3 training, times charrnn's float32",
                    ratio(row, "charrnn bfloat16", "charrnn float32"),
                    1.5,
                )
            )
            found.append(
                Target(
                    "bfloat16 512x3 training, times PyTorch's autocast",
                    ratio(row, "charrnn bfloat16", best(row, "torch")),
                    1.25,
                )
            )
    return found


def _wide(results, row):
    return results.runs[row["run"]]["machine"]["isa"] == "avx512"


def _torch_share(row, torch):
    """Return the share of the peak that PyTorch reaches, the products counted as for charrnn."""
    return ratio(row, torch, "peak") * row["sides"]["charrnn"]["flops"] / row["sides"]["charrnn"]["work"]


def _memory_ratio(row):
    peaks = {label: value["peak"] for label, value in row["bytes"].items()}
    return peaks["charrnn train"] / min(peak for label, peak in peaks.items() if label.startswith("torch"))


def table(header, rows):
    """Return a Markdown table; every column but the first is set right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _runs(results):
    if not results.runs:
        return "Nothing is measured yet.\n"
    newest = results.runs[max(results.runs)]
    machine, versions = newest["machine"], newest["versions"]
    text = (
        f"Machine: {machine['cpu']}, {machine['cores']} cores, {machine['isa']}, {machine['memory_gb']:.0f} GB, "
        f"{machine['system']}; {machine['threads']} thread{'s' if machine['threads'] != 1 else ''}. "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + ".\n"
    )
    if any(run["quick"] for run in results.runs.values()):
        text += (
            "\nSections marked as a short form (3 repetitions of a tenth of a second) stand in until the whole is "
            "measured.\n"
        )
    others = {run["machine"]["cpu"] for run in results.runs.values()} - {machine["cpu"]}
    if others:
        text += f"\nSome sections are of other machines: {', '.join(sorted(others))}.\n"
    return text


def _provenance(results, rows):
    """Return the line that says when and by which commands a section was measured."""
    runs = sorted({row["run"] for row in rows.values()})
    if not runs:
        return ""
    said = []
    for date in runs:
        run = results.runs[date]
        said.append(f"{date[:16].replace('T', ' ')}, `{run['command']}`{' (short form)' if run['quick'] else ''}")
    repeats = sorted({row["repeats"] for row in rows.values()})
    count = f"{repeats[0]}" if len(repeats) == 1 else f"{repeats[0]} to {repeats[-1]}"
    return f"\n{count} repetition{'s' if count != '1' else ''}. {'; '.join(said)}.\n"


def _targets(results):
    rows = []
    for target in targets(results):
        shown = target.form.format(target.value) + target.note
        bound = ("at most " if target.most else "") + target.form.format(target.bound) + target.meaning
        rows.append((target.what, shown, bound, "yes" if target.reached else "**no**"))
    said = (
        "The bounds were set before this machine was measured, as multiples of PyTorch. Behind a bound stands what "
        "share of this CPU's multiply-add peak it would ask for: above 100 % no float32 program can reach it here, "
        "since PyTorch itself comes too near the peak.\n\n"
    )
    return "## What must be reached\n\n" + said + table(("", "measured", "must be", "reached"), rows)


def _input(label):
    return label.removeprefix("torch ").removesuffix(", autocast")


def _training(rows):
    def line(row):
        torch, side = best(row, "torch"), row["sides"]["charrnn"]
        gflops = rate(row, "charrnn") * side["flops"] / side["work"] / 1e9
        H, L, B, T = row["size"]
        return (
            f"{row['cell']} {H} x {L}",
            f"{B}",
            f"{T}",
            f"{rate(row, 'charrnn'):,.0f}",
            f"{gflops:,.0f}",
            f"{share(row, 'charrnn', 'peak'):.0%}",
            f"{rate(row, torch):,.0f} ({_input(torch)})",
            f"{_torch_share(row, torch):.0%}",
            f"**{ratio(row, 'charrnn', torch):.2f}**",
        )

    return table(
        ("cell, H x L", "B", "T", "charrnn characters/s", "GFLOP/s", "of the peak", "PyTorch", "of the peak", "times"),
        [line(row) for row in rows.values()],
    )


def _minchar(rows):
    def line(key, row):
        torch, single = best(row, "torch"), best(row, "charrnn, 1 thread")
        numpy = "numpy" in row["sides"]
        return (
            key,
            f"{rate(row, 'charrnn'):,.0f}",
            f"{rate(row, single):,.0f}" if single else "",
            f"{rate(row, torch):,.0f} ({_input(torch)})",
            f"**{ratio(row, 'charrnn', torch):.2f}**",
            f"{rate(row, 'numpy'):,.0f}" if numpy else "",
            f"**{ratio(row, 'charrnn', 'numpy'):.1f}**" if numpy else "",
        )

    return (
        "One layer of 100, one stream, 25 steps. Adagrad is with every element clipped to +-5, as min-char-rnn has it; "
        "the NumPy loop is in its style, in float64.\n\n"
        + table(
            ("", "charrnn characters/s", "on 1 thread", "PyTorch", "times", "NumPy loop", "times"),
            [line(*item) for item in rows.items()],
        )
    )


def _sampling(rows):
    def line(row):
        torch, without = best(row, "torch"), best(row, "no oneDNN")
        H, L = row["size"][:2]
        return (
            f"{row['cell']} {H} x {L}",
            f"{row['streams']}",
            f"{rate(row, 'charrnn'):,.0f}",
            f"{rate(row, torch):,.0f} ({_input(torch)})",
            f"**{ratio(row, 'charrnn', torch):.2f}**",
            f"{rate(row, without):,.0f}" if without else "",
            f"{ratio(row, 'charrnn', without):.2f}" if without else "",
        )

    return (
        "Temperature 0.8; characters/s of all streams together. PyTorch: a loop of steps under `inference_mode`, as it "
        "is installed, and with oneDNN switched off, since oneDNN arranges the weights anew at every step.\n\n"
        + table(
            ("cell, H x L", "streams", "charrnn characters/s", "PyTorch", "times", "oneDNN off", "times"),
            [line(row) for row in rows.values()],
        )
    )


def _startup(rows):
    return table(
        ("", "seconds", "says that it compiles"),
        [
            (
                f"`{key}`" if "," not in key else f"`{key.split(',')[0]}`,{key.split(',')[1]}",
                f"{statistics.median(row['seconds']):.2f}",
                "yes" if row["says_it_compiles"] else "no",
            )
            for key, row in rows.items()
        ],
    )


def _memory(rows):
    lines = []
    for key, row in rows.items():
        for label, figures in row["bytes"].items():
            lines.append((f"{key}: {label}", f"{figures['peak'] / 1e6:,.0f} MB", f"{figures['imports'] / 1e6:,.0f} MB"))
    return (
        "The most that the process ever had in memory. `charrnn train` is the whole command, with validation and "
        "saving; `charrnn` alone the training step, as on PyTorch's side.\n\n"
        + table(("", "peak", "after the imports"), lines)
    )


def _threads(rows):
    lines = []
    for key, row in rows.items():
        for label in row["sides"]:
            name, _, count = label.partition(" ")
            if name == "charrnn":
                times = "" if count == "1" else f"{ratio(row, label, 'charrnn 1'):.2f}"
                torch = "" if count == "1" else f"{ratio(row, f'torch {count}', 'torch 1'):.2f}"
                peak = "" if count == "1" else f"{ratio(row, f'peak {count}', 'peak 1'):.2f}"
                lines.append((key, count, f"{rate(row, label):,.0f}", times, torch, peak))
    return table(
        ("cell, H x L, B, T", "threads", "charrnn characters/s", "times 1 thread", "PyTorch's", "the peak's"), lines
    )


def _busy(rows):
    lines = []
    for key, row in rows.items():
        torch = best(row, "torch")
        lines.append(
            (
                key,
                f"{rate(row, 'charrnn'):,.0f}",
                f"{rate(row, torch):,.0f} ({_input(torch)})",
                f"{ratio(row, 'charrnn', torch):.2f}",
            )
        )
    return "Idle, and while another process of the same niceness keeps one core busy.\n\n" + table(
        ("", "charrnn characters/s", "PyTorch", "times"), lines
    )


def _scaling(rows):
    text = ""
    for row in rows.values():
        H, L, B, T = row["base"]
        lines = []
        for label in row["sides"]:
            if label != "peak":
                lines.append((label, f"{rate(row, label):,.0f}", f"{share(row, label, 'peak'):.0%}"))
        text += (
            f"{row['cell']}, {H} x {L}, B {B}, T {T}, but {row['letter']}:\n\n"
            + table((row["letter"], "characters/s", "of the peak"), lines)
            + "\n"
        )
    return text.rstrip("\n") + "\n"


def _corpus(rows):
    lines = []
    for row in rows.values():
        first = min(row["sides"], key=lambda label: int(label.split()[0]))
        for label, side in row["sides"].items():
            lines.append(
                (label, f"{rate(row, label):,.0f}", f"{ratio(row, label, first):.3f}", f"{side['read_s']:.2f} s")
            )
    return (
        "`charrnn train` with its default model and batch, on texts of invented words with the same vocabulary; steps "
        "of the trainer itself, all sizes in turns.\n\n"
        + table(("text", "characters/s", "times the smallest", "read in"), lines)
    )


def _bfloat16(rows):
    lines = []
    for key, row in rows.items():
        torch, half = best(row, "torch"), "charrnn bfloat16" in row["sides"]
        lines.append(
            (
                key,
                f"{rate(row, 'charrnn bfloat16'):,.0f}" if half else "not there yet",
                f"{rate(row, 'charrnn float32'):,.0f}",
                f"{ratio(row, 'charrnn bfloat16', 'charrnn float32'):.2f}" if half else "",
                f"{rate(row, torch):,.0f} ({_input(torch)})",
                f"**{ratio(row, 'charrnn bfloat16', torch):.2f}**" if half else "",
            )
        )
    return table(("", "charrnn bfloat16", "float32", "times", "PyTorch autocast", "times"), lines)


SECTIONS = (
    ("Training", "training", _training),
    ("The shape of min-char-rnn", "minchar", _minchar),
    ("Sampling", "sampling", _sampling),
    ("Starting", "startup", _startup),
    ("Memory", "memory", _memory),
    ("Threads", "threads", _threads),
    ("A busy core", "busy", _busy),
    ("How cost grows with T, B and H", "scaling", _scaling),
    ("How cost grows with the text", "corpus", _corpus),
    ("bfloat16", "bfloat16", _bfloat16),
)
