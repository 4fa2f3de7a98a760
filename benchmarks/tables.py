"""The tables of docs/BENCHMARKS.md, one function a section: rows of one kind of CPU -> Markdown.

Pure functions of rows, as results.Kind.section gives them.
"""

import statistics

import estimate
from results import best, rate, ratio, share
from targets import gflops, torch_share

MARK = " †"  # behind the name of a row that was taken while the machine was disturbed


def table(header, rows):
    """Return a Markdown table; every column but the first is set right."""
    lines = ["| " + " | ".join(header) + " |", "|---" + "|--:" * (len(header) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def _input(label):
    return label.removeprefix("torch ").removesuffix(", autocast")


def _marked(name, row):
    """Return the name of a row, marked where the machine was disturbed."""
    return name + (MARK if row.get("disturbed") else "")


def _training(rows):
    def line(row):
        torch = best(row, "torch")
        H, L, B, T = row["size"]
        return (
            _marked(f"{row['cell']} {H} x {L}", row),
            f"{B}",
            f"{T}",
            f"{rate(row, 'charrnn'):,.0f}",
            f"{gflops(row, 'charrnn'):,.0f}",
            f"{share(row, 'charrnn', 'peak'):.0%}",
            f"{rate(row, torch):,.0f} ({_input(torch)})",
            f"{torch_share(row, torch):.0%}",
            f"**{ratio(row, 'charrnn', torch):.2f}**",
        )

    return table(
        ("cell, H x L", "B", "T", "charrnn characters/s", "GFLOP/s", "of the peak", "PyTorch", "of the peak", "times"),
        [line(row) for row in rows.values()],
    )


def _default(rows):
    row = next(iter(rows.values()))
    H, L, B, T = row["size"]
    model = row["model"]
    return (
        f"The defaults of `charrnn train`: {H} x {L}, an embedding of {model['embedding_size']}, layer "
        f"normalisation, dropout of {model['dropout']:g}, {B} streams of {T} characters. PyTorch's layers have no "
        "layer normalisation.\n\n"
        + table(
            ("cell", "charrnn characters/s", "GFLOP/s", "of the peak"),
            [
                (
                    _marked(row["cell"], row),
                    f"{rate(row, 'charrnn'):,.0f}",
                    f"{gflops(row, 'charrnn'):,.0f}",
                    f"{share(row, 'charrnn', 'peak'):.0%}",
                )
                for row in rows.values()
            ],
        )
    )


def _weights(rows):
    return (
        "Only the gradients of the weights, on one thread, for a chunk that ran before. They are a third of a step's "
        "products.\n\n"
        + table(
            ("cell, H x L, B, T", "GFLOP/s", "of one thread's peak"),
            [
                (
                    _marked(key, row),
                    f"{rate(row, 'charrnn') / 1e9:,.0f}",
                    f"{ratio(row, 'charrnn', 'peak, 1 thread'):.0%}",
                )
                for key, row in rows.items()
            ],
        )
    )


def _parts(rows):
    names = list(next(iter(rows.values()))["seconds"])
    products = {"shards": 2 / 3, "weight gradients": 1 / 3}  # of a step's

    def line(key, row):
        spent = {name: statistics.median(row["seconds"][name]) for name in names}
        whole, peak = sum(spent.values()), statistics.median(row["peak_flops"])
        cells = []
        for name in names:
            reached = products.get(name, 0) * row["flops"] / spent[name] / peak
            cells.append(f"{spent[name] / whole:.1%}" + (f" ({reached:.0%})" if reached else ""))
        return _marked(key, row), f"{1e3 * whole:.2f}", *cells

    return (
        "How the time of a training step is divided. Shards: forward and backward through all layers and time steps. "
        "Update: norm, clipping and Adam. Rest: transposing the weights, reading the chunk, Python. In brackets: the "
        "share of the peak that the products of this part reach.\n\n"
        + table(("", "ms per step", *names), [line(*item) for item in rows.items()])
    )


def _minchar(rows):
    def line(key, row):
        torch, single = best(row, "torch"), best(row, "charrnn, 1 thread")
        numpy = "numpy" in row["sides"]
        return (
            _marked(key, row),
            f"{rate(row, 'charrnn'):,.0f}",
            f"{rate(row, single):,.0f}" if single else "",
            f"{rate(row, torch):,.0f} ({_input(torch)})",
            f"**{ratio(row, 'charrnn', torch):.2f}**",
            f"{rate(row, 'numpy'):,.0f}" if numpy else "",
            f"**{ratio(row, 'charrnn', 'numpy'):.1f}**" if numpy else "",
        )

    return (
        "One layer of 100 units, one stream, 25 time steps, as in Karpathy's min-char-rnn. With Adagrad, every element "
        "of the gradient is clipped to +-5, as there. The NumPy loop is written in the same style, in float64.\n\n"
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
            _marked(f"{row['cell']} {H} x {L}", row),
            f"{row['streams']}",
            f"{rate(row, 'charrnn'):,.0f}",
            f"{rate(row, torch):,.0f} ({_input(torch)})",
            f"**{ratio(row, 'charrnn', torch):.2f}**",
            f"{rate(row, without):,.0f}" if without else "",
            f"{ratio(row, 'charrnn', without):.2f}" if without else "",
        )

    return (
        "Temperature 0.8; characters per second of all streams together. PyTorch runs a loop of steps under "
        "`inference_mode`: once as installed, and once with oneDNN switched off, because oneDNN rearranges the weights "
        "at every step.\n\n"
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
                _marked(f"`{key}`" if "," not in key else f"`{key.split(',')[0]}`,{key.split(',')[1]}", row),
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
            name = _marked(f"{key}: {label}", row)
            lines.append((name, f"{figures['peak'] / 1e6:,.0f} MB", f"{figures['imports'] / 1e6:,.0f} MB"))
    return (
        "The peak memory of the process. `charrnn train` is the whole command, with validation and saving. `charrnn` "
        "is only the training step, which is what PyTorch's row measures too.\n\n"
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
                lines.append((_marked(key, row), count, f"{rate(row, label):,.0f}", times, torch, peak))
    return table(
        ("cell, H x L, B, T", "threads", "charrnn characters/s", "times 1 thread", "PyTorch's", "the peak's"), lines
    )


def _more_cores(rows):
    def line(key, row):
        parts = {name: estimate.split(ratio(row, f"{name} 2", f"{name} 1")) for name in ("charrnn", "torch", "peak")}
        cells = []
        for cores in estimate.CORES:
            speed = rate(row, "charrnn 1") * parts["charrnn"].times(cores)
            torch = rate(row, "torch 1") * parts["torch"].times(cores)
            cells.append(f"{speed:,.0f} ({speed / torch:.2f})")
        single = share(row, "charrnn 1", "peak 1")
        most = estimate.CORES[-1]
        reached = single * parts["charrnn"].times(most) / parts["peak"].times(most)
        return _marked(key, row), f"{parts['charrnn'].shared:.1%}", f"{single:.0%}", *cells, f"{reached:.0%}"

    lines = [line(*item) for item in rows.items() if "charrnn 2" in item[1]["sides"]]
    if not lines:
        return "This needs a machine with at least two cores.\n"
    return (
        "**This is an estimate, not a measurement.** The table above has the time of a step on one and on two threads. "
        "From these two times, the estimate splits a step into a private part, which the threads divide, and a shared "
        "part, which stays the same with more threads: t(n) = shared + private/n. So shared = 2 t(2) - t(1) and "
        "private = 2 (t(1) - t(2)), neither less than 0. PyTorch's time (with one-hot input) and that of the peak are "
        "split in the same way. The estimate ignores the limits that a larger machine reaches first: memory bandwidth, "
        "caches that all cores share, clocks that fall when many cores work, and too few streams for so many threads. "
        "A small error in t(2) becomes a large one at 16 cores.\n\n"
        + table(
            (
                "cell, H x L, B, T",
                "shared, of t(1)",
                "of the peak on 1",
                *(f"characters/s on {cores} cores (times PyTorch)" for cores in estimate.CORES),
                f"of the peak on {estimate.CORES[-1]}",
            ),
            lines,
        )
    )


def _busy(rows):
    lines = []
    for key, row in rows.items():
        torch = best(row, "torch")
        lines.append(
            (
                _marked(key, row),
                f"{rate(row, 'charrnn'):,.0f}",
                f"{rate(row, torch):,.0f} ({_input(torch)})",
                f"{ratio(row, 'charrnn', torch):.2f}",
            )
        )
    return "On an idle machine, and while another process of the same priority keeps one core busy.\n\n" + table(
        ("", "charrnn characters/s", "PyTorch", "times"), lines
    )


def _scaling(rows):
    text = ""
    for row in rows.values():
        lines = []
        for label in row["sides"]:
            if label != "peak":
                lines.append((label, f"{rate(row, label):,.0f}", f"{share(row, label, 'peak'):.0%}"))
        *most, last = (f"{name} = {size}" for name, size in zip("HLBT", row["base"]) if name != row["letter"])
        text += (
            _marked(f"{row['cell']}, {', '.join(most)} and {last}, with {row['letter']} varied", row)
            + ":\n\n"
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
                (
                    _marked(label, row),
                    f"{rate(row, label):,.0f}",
                    f"{ratio(row, label, first):.3f}",
                    f"{side['read_s']:.2f} s",
                )
            )
    return (
        "`charrnn train` with its default model and batch size, on texts of invented words with the same vocabulary. "
        "The trainer's own steps are timed, and the sizes take turns.\n\n"
        + table(("text", "characters/s", "times the smallest", "read in"), lines)
    )


def _bfloat16(rows):
    lines = []
    for key, row in rows.items():
        torch, half = best(row, "torch"), "charrnn bfloat16" in row["sides"]
        lines.append(
            (
                _marked(key, row),
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
    ("The default model", "default", _default),
    ("Weight gradients alone", "weights", _weights),
    ("A step by part", "parts", _parts),
    ("The shape of min-char-rnn", "minchar", _minchar),
    ("Sampling", "sampling", _sampling),
    ("Starting", "startup", _startup),
    ("Memory", "memory", _memory),
    ("Threads", "threads", _threads),
    ("More cores: an estimate", "threads", _more_cores),
    ("A busy core", "busy", _busy),
    ("How cost grows with T, B and H", "scaling", _scaling),
    ("How cost grows with the text", "corpus", _corpus),
    ("bfloat16", "bfloat16", _bfloat16),
)
