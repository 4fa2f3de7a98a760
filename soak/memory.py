"""Memory, open files and threads of a training run that saves every few seconds, for half an hour."""

import os
import re
import statistics
import time

from scene import Broken
from watch import Watch, slope

TITLE = "Memory stays flat"
PROMISES = [
    (
        "While a run makes steps, checkpoints, validations and samples, its memory and its numbers of open files, "
        "threads and files in the run folder do not grow",
        "tests/test_loads.py::test_a_runs_memory_and_descriptors_do_not_grow_with_its_checkpoints",
    )
]

MINUTES, QUICK_SECONDS = 30, 20
WARM_UP = 0.1  # of the time, left out of what is judged: buffers are being met for the first time
MOST_GROWTH_MB = 4.0  # of the median of the last tenth over that of the first tenth after the warm-up
SHOWN = 30


def run(scene):
    minutes = QUICK_SECONDS / 60 if scene.quick else MINUTES
    save_every = 10 if scene.quick else 40
    options = [
        "--checkpoint-every",
        save_every,
        "--eval-every",
        5 * save_every,
        "--sample-every",
        5 * save_every,
        "--sample-length",
        200,
    ]
    if scene.quick:
        options += ["--hidden-size", 64]
    process = scene.start(
        "train", scene.text(characters=1_000_000), "--minutes", minutes, "--threads", 1, *options, "-o", "run"
    )
    watch, files, training_s = Watch(process, minutes / 10, details=True), [], 0
    while process.poll() is None:
        time.sleep(minutes / 10)
        if (scene.folder / "run" / "log.jsonl").exists():
            training_s = training_s or watch.elapsed_s()
            files.append(sum(not name.endswith(".tmp") for name in os.listdir(scene.folder / "run")))
    out, err = process.communicate()
    watch.join()
    if process.returncode != 0:
        raise Broken(f"training ended with {process.returncode}: {err[-500:]}")
    steps = int(re.search(r"trained +([\d,]+) steps", out)[1].replace(",", ""))
    return judge(
        [one for one in watch.samples if one["s"] >= training_s],
        files,
        {
            "minutes": minutes,
            "steps": steps,
            "checkpoints": steps // save_every,
            "validations_and_samples": 2 * (steps // (5 * save_every)),
        },
    )


def judge(samples, files, figures):
    """Return the figures of a run's samples, or raise Broken where they grow.

    samples    as Watch has them, from the first step on
    files      how many files the run folder held, at each look
    """
    begins, ends = samples[0]["s"], samples[-1]["s"]
    warm_up_s = WARM_UP * (ends - begins)
    judged = [one for one in samples if one["s"] - begins >= warm_up_s]
    figures |= {
        "warm_up_s": round(warm_up_s),
        "looks": len(samples),
        "series_s": [round(one["s"] - begins) for one in thinned(samples)],
    }
    for name in ("rss_mb", "pss_mb"):
        values = [one[name] for one in judged]
        tenth = max(1, len(values) // 10)
        growth = statistics.median(values[-tenth:]) - statistics.median(values[:tenth])
        figures[name] = {
            "series": [round(one[name], 1) for one in thinned(samples)],
            "first": round(values[0], 1),
            "last": round(values[-1], 1),
            "highest": round(max(values), 1),
            "growth": round(growth, 2),
            "slope_mb_per_hour": round(3600 * slope([one["s"] for one in judged], values), 2),
        }
        if growth > MOST_GROWTH_MB:
            raise Broken(
                f"{name} grew by {growth:.1f} MB in {ends - begins:.0f} s, at most {MOST_GROWTH_MB:g} are allowed: "
                f"{figures[name]['series']}"
            )
    counts = {
        "descriptors": [one["descriptors"] for one in judged],
        "threads": [one["threads"] for one in judged],
        "files": files,
    }
    for name, values in counts.items():
        figures[name] = [min(values), max(values)]
        # One more while a file is being written.
        if statistics.median(values[-len(values) // 4 :]) > statistics.median(values[: len(values) // 4 or 1]) + 1:
            raise Broken(f"{name} grew from {values[:10]} to {values[-10:]}")
    return figures


def thinned(samples):
    """Return some SHOWN of the samples, evenly, the first and the last among them."""
    count = min(SHOWN, len(samples))
    return [samples[round(i * (len(samples) - 1) / max(1, count - 1))] for i in range(count)]


def tell(figures):
    rss, pss = figures["rss_mb"], figures["pss_mb"]
    text = (
        f"One thread trained for {figures['minutes']:g} minutes: {figures['steps']:,} steps with "
        f"{figures['checkpoints']:,} checkpoints and {figures['validations_and_samples']:,} validations and samples. "
        f"Memory was measured {figures['looks']:,} times. The first {figures['warm_up_s']:,} s were a warm-up, which "
        "the "
        "table leaves out. Growth is the median of the last tenth of the measurements minus the median of the first "
        f"tenth. The test fails if a growth is more than {MOST_GROWTH_MB:g} MB.\n\n"
        "| MB | first | last | highest | growth of the median | slope, MB per hour |\n|---|--:|--:|--:|--:|--:|\n"
    )
    for name, one in (("resident (RSS)", rss), ("proportional share (PSS)", pss)):
        text += (
            f"| {name} | {one['first']:.1f} | {one['last']:.1f} | {one['highest']:.1f} | {one['growth']:+.2f} | "
            f"{one['slope_mb_per_hour']:+.2f} |\n"
        )
    text += (
        "\nAt the end, the run loads its best checkpoint, so the last measurement can be higher than those before it. "
        "PSS divides the memory of a shared library among the processes that use it, so it also changes when other "
        "processes start or end.\n"
    )
    series = rss["series"]
    text += f"\nRSS in MB, {len(series)} evenly spaced measurements, warm-up included: `{sparkline(series)}`\n"
    text += f"{', '.join(f'{one:g}' for one in series)}.\n"
    spans = [
        f"{name} {low} to {high}" if low != high else f"{name} {low}"
        for name, (low, high) in (
            ("open files", figures["descriptors"]),
            ("threads", figures["threads"]),
            ("files in the run folder", figures["files"]),
        )
    ]
    return text + f"\nThroughout: {', '.join(spans)}.\n"


def sparkline(values):
    """Draw values as blocks, from zero to their highest: what is flat looks flat."""
    highest = max(values) or 1
    return "".join("▁▂▃▄▅▆▇█"[min(7, int(8 * value / highest))] for value in values)
