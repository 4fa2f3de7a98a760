"""What must be reached, and what of it was. Pure functions of the rows of one kind of CPU (results.Kind)."""

import statistics
from dataclasses import dataclass

from results import best, rate, ratio, share

LSTM_TARGETS = {"128x2": 2.0, "256x2": 1.8, "512x2": 1.5, "512x3": 1.5}
SAMPLING_TARGETS = {"128x2": 15.0, "512x3": 5.0}

# Where 512-bit vectors run at full rate: multiply-adds on them are so many times as many as on 256-bit vectors, which
# is 2 in theory; and 1 where a CPU does them in two halves, or has one unit for them instead of two.
FULL_RATE = 1.5
FULL_RATE_TIMES = 1.4  # times PyTorch, every row of training
FULL_RATE_SHARES = {
    "lstm": {"128x2": 0.85, "256x2": 0.85, "512x2": 0.82, "512x3": 0.82},
    "gru": dict.fromkeys(("128x2", "256x2", "512x2", "512x3"), 0.80),
    "rnn": dict.fromkeys(("128x2", "256x2", "512x2", "512x3"), 0.80),
}
# Where they do not: below what was measured on 2026-11-21 no row may fall, a hundredth of noise apart.
HALF_RATE_SHARES = {
    "lstm": {"128x2": 0.83, "256x2": 0.88, "512x2": 0.89, "512x3": 0.90},
    "gru": {"128x2": 0.77, "256x2": 0.85, "512x2": 0.88, "512x3": 0.86},
    "rnn": {"128x2": 0.77, "256x2": 0.85, "512x2": 0.88, "512x3": 0.88},
}
DEFAULT_MODEL_SHARE = 0.75  # of an LSTM, with vectors of 512 bits
WEIGHT_GRADIENTS_SHARE = 0.92


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
    disturbed: bool = False  # whether its row was taken while the machine was

    @property
    def reached(self):
        return self.value <= self.bound if self.most else self.value >= self.bound


def vector_rate(machine):
    """Return "full" or "half", the rate of a machine's 512-bit vectors, or None where it has none or nobody measured.

    "wide_over_narrow" is the measured ratio of the multiply-add peaks with vectors of 512 and of 256 bits, one thread.
    """
    times = machine.get("wide_over_narrow")
    if machine["isa"] != "avx512" or times is None:
        return None
    return "full" if times >= FULL_RATE else "half"


def targets(kind):
    """Return the Targets that the rows at hand allow to judge.

    Those against PyTorch are of a CPU with AVX-512; without it PyTorch is to be passed, and shares are told, not
    judged.
    """
    return [
        *_training(kind),
        *_default_model(kind),
        *_weight_gradients(kind),
        *_minchar(kind),
        *_sampling(kind),
        *_machine(kind),
        *_bfloat16(kind),
    ]


def _target(row, *arguments, **more):
    """Return the Target that a row is judged by."""
    return Target(*arguments, **more, disturbed=row.get("disturbed", False))


def _of(kind, row):
    """Return (whether a row is of AVX-512, the rate of its vectors)."""
    machine = kind.runs[row["run"]]["machine"]
    return machine["isa"] == "avx512", vector_rate(machine)


def _training(kind):
    for row in kind.section("training").values():
        cell, shape = row["cell"], "{}x{}".format(*row["size"])
        wide, rate_of_vectors = _of(kind, row)
        torch = best(row, "torch")
        bound = LSTM_TARGETS.get(shape, 1.0) if cell == "lstm" else 3.0
        bound = FULL_RATE_TIMES if rate_of_vectors == "full" else bound if wide else 1.0
        yield _target(
            row,
            f"{cell} {shape} training, times PyTorch",
            ratio(row, "charrnn", torch),
            bound,
            meaning=f" ({bound * torch_share(row, torch):.0%} of the peak)",
        )
        asked = 0.75 if wide and cell == "lstm" and shape in ("512x2", "512x3") else None
        if rate_of_vectors == "full":
            asked = FULL_RATE_SHARES[cell].get(shape)
        elif rate_of_vectors == "half" and shape in HALF_RATE_SHARES[cell]:
            asked = HALF_RATE_SHARES[cell][shape] - 0.01
        if asked:
            what = f"{cell} {shape} whole step, share of the peak"
            yield _target(row, what, share(row, "charrnn", "peak"), asked, form="{:.0%}")


def _default_model(kind):
    for row in kind.section("default").values():
        if row["cell"] == "lstm" and _of(kind, row)[0]:
            what = "charrnn train's default model, whole step, share of the peak"
            yield _target(row, what, share(row, "charrnn", "peak"), DEFAULT_MODEL_SHARE, form="{:.0%}")


def _weight_gradients(kind):
    for row in kind.section("weights").values():
        if _of(kind, row)[1] == "full":
            yield _target(
                row,
                "{} {}x{} weight gradients alone, 1 thread, share of the peak".format(row["cell"], *row["size"]),
                ratio(row, "charrnn", "peak, 1 thread"),
                WEIGHT_GRADIENTS_SHARE,
                form="{:.0%}",
            )


def _minchar(kind):
    for key, row in kind.section("minchar").items():
        wide = _of(kind, row)[0]
        times = ratio(row, "charrnn", best(row, "torch"))
        yield _target(row, f"min-char-rnn shape, {key}, times PyTorch", times, 3.0 if wide else 1.0)
        if "numpy" in row["sides"]:
            times = ratio(row, "charrnn", "numpy")
            yield _target(row, f"min-char-rnn shape, {key}, times the NumPy loop", times, 10.0 if wide else 1.0)


def _sampling(kind):
    for row in kind.section("sampling").values():
        shape = "{}x{}".format(*row["size"])
        bound = SAMPLING_TARGETS.get(shape, 1.0) if row["cell"] == "lstm" and row["streams"] == 1 else 1.0
        streams = "one stream" if row["streams"] == 1 else f"{row['streams']} streams"
        without = best(row, "no oneDNN")
        yield _target(
            row,
            f"{row['cell']} {shape} sampling {streams}, times PyTorch",
            ratio(row, "charrnn", best(row, "torch")),
            bound if _of(kind, row)[0] else 1.0,
            note=f" (oneDNN off: {ratio(row, 'charrnn', without):.2f})" if without else "",
        )


def _machine(kind):
    """Yield what is of threads, memory, starting and long texts."""
    for row in kind.section("threads").values():
        if row["cell"] == "lstm" and row["size"][:2] == [512, 2] and "charrnn 2" in row["sides"]:
            times = ratio(row, "charrnn 2", "charrnn 1")
            yield _target(row, "lstm 512x2 training, 2 threads, times 1 thread", times, 1.85)
    for row in kind.section("memory").values():
        if row["size"][:2] == [512, 3]:
            what = "peak memory of `charrnn train`, times that of PyTorch's training step"
            yield _target(row, what, _memory_ratio(row), 0.6, most=True)
    starts = kind.section("startup")
    for key, bound in (
        ("charrnn --help", 0.15),
        ("charrnn sample --length 1", 0.3),
        ("charrnn sample --length 1, empty cache", 15.0),
    ):
        if key in starts:
            compiles = starts[key]["says_it_compiles"]
            note = "" if bound < 15 else ", and says that it compiles" if compiles else ", but says nothing"
            seconds = statistics.median(starts[key]["seconds"])
            command, comma, rest = key.partition(",")
            yield _target(starts[key], f"`{command}`{comma}{rest}, seconds", seconds, bound, most=True, note=note)
    for row in kind.section("corpus").values():
        if "1000 MB" in row["sides"]:
            yield _target(row, "characters/s on 1 GB of text, times those on 1 MB", ratio(row, "1000 MB", "1 MB"), 0.97)


def _bfloat16(kind):
    for row in kind.section("bfloat16").values():
        if row["size"][:2] == [512, 3] and "charrnn bfloat16" in row["sides"]:
            times = ratio(row, "charrnn bfloat16", "charrnn float32")
            bound = 1.8 if _of(kind, row)[1] == "full" else 1.5
            yield _target(row, "bfloat16 512x3 training, times charrnn's float32", times, bound)
            times = ratio(row, "charrnn bfloat16", best(row, "torch"))
            yield _target(row, "bfloat16 512x3 training, times PyTorch's autocast", times, 1.25)


def torch_share(row, torch):
    """Return the share of the peak that PyTorch reaches, the products counted as for charrnn."""
    return ratio(row, torch, "peak") * row["sides"]["charrnn"]["flops"] / row["sides"]["charrnn"]["work"]


def gflops(row, label):
    """Return the GFLOP/s of a side's products."""
    side = row["sides"][label]
    return rate(row, label) * side["flops"] / side["work"] / 1e9


def _memory_ratio(row):
    peaks = {label: value["peak"] for label, value in row["bytes"].items()}
    return peaks["charrnn train"] / min(peak for label, peak in peaks.items() if label.startswith("torch"))
