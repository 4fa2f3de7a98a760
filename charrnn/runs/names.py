"""The names of what a training run keeps: one home, so that whoever looks for a run need not load what reads it."""

RUNS_FOLDER = "checkpoints"  # in the current folder; the runs that are not named with -o/--output

LAST, BEST = "last.safetensors", "best.safetensors"
GOOD = "good.safetensors"  # where a run that diverges goes back to; nobody else is led to it
LOG, CONFIG, LOCK = "log.jsonl", "config.toml", "lock"

SPEC = "spec.toml"  # in the folder of a sweep, whose runs are the folders beside it
